"""dpnp arrays: on an Intel GPU, or on any CPU through Intel's OpenCL runtime."""

import os
import sys
from functools import cache, wraps
from importlib import import_module
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xpmlp.errors import BackendError
from xpmlp.nn.contract import Array, Memory
from xpmlp_backends.base import EagerBackend, one_line, require

INSTALL = "pip install 'xpmlp[dpnp]'"


class DpnpBackend(EagerBackend):
    """The reference operations, on one queue of a SYCL device.

    Parameters
    ----------
    dpnp : module
    device : dpnp.tensor.Device
        Its queue is the one that dpnp takes where only the device is named.
    """

    def __init__(self, dpnp: Any, device: Any) -> None:
        super().__init__("dpnp", dpnp, device)
        self._sycl = device.sycl_device
        has = {"mutable": True, "gpu": self._sycl.is_gpu, "float64": self._sycl.has_aspect_fp64}
        self.capabilities = frozenset(name for name, there in has.items() if there)

    @property
    def place(self) -> str:
        """The device's filter string: ``"level_zero:gpu:0"``."""
        return str(self._sycl.filter_string)

    def owns(self, x: object) -> bool:
        """Whether x is an array of dpnp on this queue: arrays of two queues cannot be mixed."""
        return isinstance(x, self.xp.ndarray) and x.device == self.device

    def from_dlpack(self, x: Any) -> Array:
        """Import an array on this device; dpnp does not wait for the queue it comes from."""
        if hasattr(x, "sycl_queue"):
            x.sycl_queue.wait()
        return self.xp.from_dlpack(x, device=self.device)

    def to_numpy(self, x: Array) -> Any:
        """Return a copy; dpnp's own holds all memory that x is a view of, pinned for the device."""
        import numpy as np

        return np.array(self.xp.asnumpy(x))

    def synchronize(self) -> None:
        """Wait for the queue, which has all work of xpmlp."""
        self.device.sycl_queue.wait()

    def memory(self) -> Memory | None:
        """Return a GPU's memory; used is what all programs use, 0 if the driver does not say."""
        if not self._sycl.is_gpu:
            return None
        total = int(self._sycl.global_mem_size)
        free = int(
            import_module("dpctl.utils").intel_device_info(self._sycl).get("free_memory", total)
        )
        return Memory(total - free, free, total)

    def ran_out(self, error: BaseException) -> bool:
        """Whether an allocation failed, or the driver says that memory is too small."""
        failed = isinstance(error, import_module("dpctl.memory").USMAllocationError)
        return super().ran_out(error) or failed or "OUT_OF_DEVICE_MEMORY" in str(error)

    def device_name(self) -> str:
        """Return what the driver calls the device."""
        return str(self._sycl.name)


@cache
def fill_numbers(tensor: Any) -> None:
    """Let dpnp write the numbers of a formula on the device: ``2.0`` in ``2.0 * x``.

    Its operators copy each from the host, and the copy waits for all work before it.
    """
    copied = tensor.asarray

    @wraps(copied)
    def asarray(obj: Any, **options: Any) -> Any:
        if type(obj) in (bool, int, float) and options.keys() == {"dtype", "sycl_queue"}:
            return tensor.full((), obj, **options)
        return copied(obj, **options)

    tensor.asarray = asarray


# Which devices there are


@cache
def no_gpu() -> str | None:
    """Return None if dpnp can compute on a GPU here, else the reason in one line."""
    try:
        if find_spec("dpnp") is None:
            return "dpnp is not installed"
        # Linux has every GPU there. Asking SYCL takes half a second, importing dpnp another.
        possible = sys.platform != "linux" or any(map(os.path.exists, ("/dev/dri", "/dev/dxg")))
        if not possible or not import_module("dpctl").has_gpu_devices():
            return "dpnp finds no GPU"
        xp = import_module("dpnp")
        x = xp.ones((16, 16), dtype=xp.float32, device="gpu")
        if float((x @ x).sum()) != 16**3:
            return "dpnp's GPU computes wrong results"
    except Exception as error:  # SYCL and its drivers raise errors of many types
        return f"dpnp's GPU does not work: {one_line(error)}"
    return None


def no_device() -> str:
    """Return what to do where dpnp finds no device, with the paths of this installation."""
    name = "intelocl64.dll" if sys.platform == "win32" else "libintelocl.so"
    try:
        found = next(path for path in files("intel-opencl-rt") or () if path.name == name)
    except (PackageNotFoundError, StopIteration):
        return f"dpnp finds no device. For the CPU, install Intel's OpenCL runtime: {INSTALL}"
    path = Path(found.locate()).resolve()
    return (
        f"dpnp finds no device. For the CPU, set OCL_ICD_FILENAMES={path} before Python starts; "
        "a GPU needs Intel's driver"
    )


def device_of(x: Array) -> str:
    """Name the device of an array, as ``create`` takes it."""
    return str(x.sycl_device.filter_string)


def create(device: str | None = None) -> DpnpBackend:
    """Return the backend on ``"gpu"``, ``"opencl:cpu"``, ``"level_zero:gpu:1"``; or SYCL's choice.

    Raises
    ------
    BackendError
        If dpnp or the device does not work, with the install command or what to set.
    """
    dpnp = require("dpnp", "dpnp", INSTALL)
    try:
        found = dpnp.empty(0, device=device).device
    except Exception as error:  # dpctl's errors have no base of their own
        devices = [each.filter_string for each in import_module("dpctl").get_devices()]
        if not devices:
            raise BackendError(f"backend 'dpnp': {no_device()}") from error
        raise BackendError(
            f"backend 'dpnp': found device {device!r}; expected one of {', '.join(devices)}"
        ) from error
    fill_numbers(dpnp.tensor)
    return DpnpBackend(dpnp, found)
