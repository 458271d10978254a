"""CuPy arrays on an NVIDIA GPU, and the probe that tells whether there really is one.

``import cupy`` works without a GPU, and a GPU can be there without a driver that fits, so the
probe goes from cheap to sure: the driver library and its device count (about 2 ms), then an
allocation, a matrix product and a kernel compiled at run time.
"""

import ctypes
import sys
from dataclasses import replace
from functools import cache
from typing import Any

from xpmlp.contract import Array, Memory, Uploader
from xpmlp.errors import BackendError
from xpmlp_backends._base import EagerBackend, one_line
from xpmlp_backends._upload import PinnedUploader, of_cupy

INSTALL = "pip install 'xpmlp[cuda13]' (CUDA 13 drivers, 580 and newer) or 'xpmlp[cuda12]'"
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


class CupyBackend(EagerBackend):
    """The reference operations on the GPU; matrix products are cuBLAS's."""

    capabilities = frozenset({"gpu", "float64", "mutable"})

    def __init__(self, cupy: Any, xp: Any, device: Any) -> None:
        super().__init__("cupy", xp, device)
        self.cupy = cupy
        from cupyx.scipy.special import erf

        self.ops = replace(self.ops, erf=erf)

    def owns(self, x: object) -> bool:
        """Whether x is a CuPy array on this device."""
        return isinstance(x, self.cupy.ndarray) and x.device == self.device

    def asarray(self, host: Any, dtype: str | None = None) -> Array:
        """Copy to the GPU."""
        with self.device:
            return self.cupy.array(host, dtype=dtype)

    def to_numpy(self, x: Array) -> Any:
        """Copy to the host; waits for the device."""
        return self.cupy.asnumpy(x)

    def synchronize(self) -> None:
        """Wait until the GPU has finished."""
        self.device.synchronize()

    def uploader(self, arrays: tuple[Any, ...], rows: int) -> Uploader:
        """Return copies from pinned memory on a second stream."""
        return PinnedUploader(of_cupy(self.cupy, self.device), arrays, rows)

    def memory(self) -> Memory:
        """Return the GPU's memory; blocks that CuPy's pool keeps and does not use count as free."""
        with self.device:
            free, total = self.device.mem_info
            pool = self.cupy.get_default_memory_pool()
            return Memory(pool.used_bytes(), free + pool.free_bytes(), total)

    def ran_out(self, error: BaseException) -> bool:
        """Whether it is CuPy's OutOfMemoryError, which is a MemoryError, or CUDA's own."""
        failed = isinstance(error, self.cupy.cuda.runtime.CUDARuntimeError)
        return super().ran_out(error) or (failed and "cudaErrorMemoryAllocation" in str(error))

    def device_name(self) -> str:
        """Return the GPU's name."""
        found = self.cupy.cuda.runtime.getDeviceProperties(self.device.id)
        return str(found["name"].decode())


def driver_problem(library: str = DRIVER) -> str | None:
    """Ask the NVIDIA driver for its devices: None if there is one, else what is wrong."""
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return f"there is no NVIDIA driver here ({library} cannot be loaded)"
    if code := driver.cuInit(0):
        return f"the NVIDIA driver does not start (cuInit returned {code})"
    count = ctypes.c_int(0)
    if code := driver.cuDeviceGetCount(ctypes.byref(count)):
        return f"the NVIDIA driver does not count its devices (error {code})"
    return None if count.value else "the NVIDIA driver finds no GPU"


@cache
def why_not() -> str | None:
    """Return None if CuPy can compute on a GPU here, else the reason in one line."""
    problem = driver_problem()
    if problem:
        return problem
    try:
        import cupy
    except Exception as error:  # a library of CUDA that does not load is an OSError
        return f"CuPy cannot be imported ({one_line(error)}); install it with {INSTALL}"
    try:
        x = cupy.ones((16, 16), dtype=cupy.float32)
        kernel = cupy.ElementwiseKernel("float32 x", "float32 y", "y = x + 1", "xpmlp_probe")
        if float(kernel(x @ x).sum()) != 17 * 256:
            return "the GPU computes wrong results"
    except Exception as error:  # whatever CUDA, cuBLAS or NVRTC raise, the GPU is no use
        return f"the GPU does not work: {one_line(error)}"
    return None


def create(device: str | None = None) -> CupyBackend:
    """Return the backend on a GPU: ``"0"`` or ``"cuda:0"``, or the current one unless given.

    Raises
    ------
    BackendError
        If CuPy or the GPU cannot work, with the reason and the install command.
    """
    reason = why_not()
    if reason is not None:
        fix = "" if "install it with" in reason else f" With a GPU, install CuPy: {INSTALL}."
        raise BackendError(f"backend 'cupy': {reason}.{fix} Without one, use backend='numpy'")
    import array_api_compat.cupy as xp
    import cupy

    try:
        number = int((device or "").removeprefix("cuda:")) if device else cupy.cuda.Device().id
        found = cupy.cuda.Device(number)
        found.use()
    except (ValueError, cupy.cuda.runtime.CUDARuntimeError) as error:
        count = cupy.cuda.runtime.getDeviceCount()
        raise BackendError(
            f"backend 'cupy': found device {device!r}; expected a number from 0 to {count - 1}"
        ) from error
    return CupyBackend(cupy, xp, found)
