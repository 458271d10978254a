"""CuPy arrays on an NVIDIA GPU, and the probe that tells whether one works.

``import cupy`` works without a GPU, and a GPU may have a driver that does not fit. So the probe
starts with what is cheap, the driver library and its device count (about 2 ms), and ends with what
is certain: an allocation, a matrix product and a kernel compiled at run time.
"""

import ctypes
import sys
from contextlib import AbstractContextManager
from functools import cache, partial
from importlib import import_module
from threading import Lock
from typing import Any
from weakref import WeakSet

from xpmlp.errors import BackendError
from xpmlp.nn.contract import Array, Memory, Run, Step, Uploader
from xpmlp.nn.ops import Ops
from xpmlp_backends.base import EagerBackend, Loop, StepNamespace, one_line
from xpmlp_backends.cuda.capture import CapturedRun
from xpmlp_backends.cuda.upload import PinnedUploader, of_cupy
from xpmlp_backends.cupy.cublaslt import Products
from xpmlp_backends.cupy.graphs import CupyGraphs
from xpmlp_backends.cupy.kernels import Kernels
from xpmlp_backends.cupy.ops import CudaOps

INSTALL = "pip install 'xpmlp[cuda13]' (CUDA 13 drivers, 580 and newer) or 'xpmlp[cuda12]'"
DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


RAN_OUT = (
    "cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED"
)  # fmt: skip
"""How runtime, driver and cuBLAS say that memory is too small."""


class CupyBackend(EagerBackend):
    """Custom kernels and cuBLASLt's products, captured in CUDA graphs.

    Parameters
    ----------
    cupy, xp : module
        CuPy, and its array API namespace.
    device : cupy.cuda.Device
    lt : module or str
        ``nvmath.bindings.cublasLt``, or why it cannot be used. Without it, cuBLAS computes
        products, and steps run eagerly.
    precision : {"float32", "tf32", "bf16"}
    capture : bool
        Whether to capture steps.
    """

    capabilities = frozenset({"gpu", "float64", "mutable"})

    def __init__(
        self,
        cupy: Any,
        xp: Any,
        device: Any,
        lt: Any,
        precision: str = "float32",
        capture: bool = True,
    ) -> None:
        super().__init__("cupy", xp, device)
        self.cupy, self._lt, self._capture = cupy, lt, capture
        self.precision = precision
        # array_api_compat's sign counts a mask, and so waits for the device.
        ops = Ops.reference(StepNamespace(xp, sign=partial(_sign, cupy)), device)
        self._graphs: WeakSet[CupyGraphs] = WeakSet()
        self._lock = Lock()
        self.kernels = Kernels(cupy)
        if isinstance(lt, str):
            self.products: Any = partial(_cublas, cupy)
            self.precision = "float32"
        else:
            with self.current():
                self.products = Products(cupy, lt, precision)
        rounds = self.precision == "bf16"
        self.ops = CudaOps(cupy, self.kernels, self.products, rounds).table(ops)

    @property
    def place(self) -> str:
        """The GPU's number."""
        return str(self.device.id)

    def with_precision(self, precision: str) -> "CupyBackend":
        """Return a backend on the same device whose products have this precision."""
        if precision == self.precision or isinstance(self._lt, str):
            return self
        return _shared(self.cupy, self.xp, self.device.id, self._lt, precision, self._capture)

    def current(self) -> AbstractContextManager[Any]:
        """Return a context in which this GPU is the thread's current one."""
        return self.cupy.cuda.Device(self.device.id)  # an object of its own: threads enter it

    def owns(self, x: object) -> bool:
        """Whether x is a CuPy array on this device."""
        return isinstance(x, self.cupy.ndarray) and x.device == self.device

    def asarray(self, host: Any, dtype: str | None = None) -> Array:
        """Copy to the GPU."""
        with self.current():
            return self.cupy.array(host, dtype=dtype)

    def from_dlpack(self, x: Any) -> Array:
        """Import an array that is on this GPU."""
        with self.current():
            return super().from_dlpack(x)

    def to_numpy(self, x: Array) -> Any:
        """Copy to the host; waits for the device."""
        with self.current():
            return self.cupy.asnumpy(x)

    def synchronize(self) -> None:
        """Wait until the GPU has finished the current stream, which has all work of xpmlp."""
        # Not the whole device: that would break another thread's capture.
        with self.current():
            self.cupy.cuda.get_current_stream().synchronize()

    def uploader(self, arrays: tuple[Any, ...], rows: int) -> Uploader:
        """Return a function that copies from pinned memory on a second stream."""
        with self.current():
            return PinnedUploader(of_cupy(self.cupy), arrays, rows)

    def memory(self) -> Memory:
        """Return the GPU's memory; what CuPy's pool reserves but does not use counts as free."""
        with self.current():
            free, total = self.device.mem_info
            pool = self.cupy.get_default_memory_pool()
            with self._lock:
                used = pool.used_bytes() + sum(graphs.memory() for graphs in self._graphs)
            return Memory(used, free + pool.free_bytes(), total)

    def ran_out(self, error: BaseException) -> bool:
        """Whether it is CuPy's OutOfMemoryError, which is a MemoryError, or an error of CUDA's."""
        return super().ran_out(error) or any(word in str(error) for word in RAN_OUT)

    def device_name(self) -> str:
        """Return the GPU's name."""
        found = self.cupy.cuda.runtime.getDeviceProperties(self.device.id)
        return str(found["name"].decode())

    def compile(self, step: Step) -> Run:
        """Return a loop that launches graphs of captured steps."""
        if not self._capture:
            return Loop(step)
        if isinstance(self._lt, str):
            return Loop(step, (self._lt,))
        graphs = CupyGraphs(self.cupy, self.kernels, self.products)
        with self._lock:
            self._graphs.add(graphs)
        return CapturedRun(step, graphs, self.to_numpy, self.ran_out)


def _sign(cupy: Any, x: Array) -> Array:
    """−1, 0 or 1, and NaN where x is."""
    return cupy.where(x == x, cupy.sign(x), x)


def _cublas(
    cupy: Any, a: Array, b: Array, out: Any = None, bias: Any = None, sums: Any = None, **_: Any
) -> Array | None:
    """Compute a b as ``Products`` does, with CuPy alone; None where more is asked for."""
    return cupy.matmul(a, b, out=out) if bias is None and sums is None else None


def driver_problem(library: str = DRIVER) -> str | None:
    """Return None if the NVIDIA driver has a device, else the problem."""
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
    except Exception as error:  # a CUDA library that does not load is an OSError
        return f"CuPy cannot be imported ({one_line(error)}); install it with {INSTALL}"
    try:
        x = cupy.ones((16, 16), dtype=cupy.float32)
        kernel = cupy.ElementwiseKernel("float32 x", "float32 y", "y = x + 1", "xpmlp_probe")
        if float(kernel(x @ x).sum()) != 17 * 256:
            return "the GPU computes wrong results"
    except Exception as error:  # CUDA, cuBLAS and NVRTC raise errors of many types
        return f"the GPU does not work: {one_line(error)}"
    return None


def cublaslt() -> Any:
    """Return the bindings of cuBLASLt, or why they cannot be used, in one line."""
    try:
        lt = import_module("nvmath.bindings.cublasLt")
        lt.get_version()  # loads the library itself
    except Exception as error:  # whatever a missing or broken library raises
        return (
            f"cuBLASLt cannot be used ({one_line(error)}), without which steps are not captured; "
            "install its bindings with: pip install nvmath-python"
        )
    return lt


def device_of(x: Array) -> str:
    """Name the device of an array, as ``create`` takes it."""
    return str(x.device.id)


def create(device: str | None = None, capture: bool = True) -> CupyBackend:
    """Return the backend on a GPU, ``"0"`` or ``"cuda:0"``; by default the current one.

    Raises
    ------
    BackendError
        If CuPy or the GPU does not work, with the reason and the install command.
    """
    reason = why_not()
    if reason is not None:
        fix = "" if "install it with" in reason else f" With a GPU, install CuPy: {INSTALL}."
        raise BackendError(f"backend 'cupy': {reason}.{fix} Without one, use backend='numpy'")
    import array_api_compat.cupy as xp
    import cupy

    try:
        number = int((device or "").removeprefix("cuda:")) if device else cupy.cuda.Device().id
        with cupy.cuda.Device(number):
            pass
    except (ValueError, cupy.cuda.runtime.CUDARuntimeError) as error:
        count = cupy.cuda.runtime.getDeviceCount()
        raise BackendError(
            f"backend 'cupy': found device {device!r}; expected a number from 0 to {count - 1}"
        ) from error
    return _shared(cupy, xp, number, cublaslt(), "float32", capture)


@cache
def _shared(cupy: Any, xp: Any, number: int, lt: Any, precision: str, capture: bool) -> CupyBackend:
    """Return one backend for all callers, which share its kernels and scratch memory."""
    return CupyBackend(cupy, xp, cupy.cuda.Device(number), lt, precision, capture)
