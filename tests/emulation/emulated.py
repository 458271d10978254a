"""CuPy imitated on the host, as far as the CuPy adapter uses it; and the adapter on it.

Products go through an imitation of cuBLASLt, so a wrong layout gives a wrong result, and kernels
are the real ones.
"""

from types import ModuleType, SimpleNamespace
from typing import Any

import array_api_compat.numpy as numpy_xp
import numpy as np
from emulation import device as imitated
from emulation.cublaslt import CublasLt
from emulation.device import Array, noted, wrapped
from emulation.kernels import RawModule
from xpmlp_backends.cupy.backend import CupyBackend

from xpmlp.arrays import dlpack


class OnHost(type):
    """What ``isinstance`` finds to be NumPy's array, but not the imitated device's."""

    def __instancecheck__(cls, x: object) -> bool:
        return isinstance(x, np.ndarray | np.generic) and not isinstance(x, Array)


dlpack._NUMPY = OnHost("OnHost", (), {})  # type: ignore[assignment]


class OutOfMemoryError(MemoryError):
    """CuPy's."""


def cupy_module() -> Any:
    """As much of CuPy as the adapter names."""
    cuda = SimpleNamespace(
        Stream=imitated.Stream,
        Event=imitated.Event,
        Device=imitated.Device,
        MemoryPool=imitated.MemoryPool,
        using_allocator=imitated.using_allocator,
        get_current_stream=imitated.current_stream,
        get_elapsed_time=lambda start, stop: (stop.time - start.time) * 1e3,
        runtime=SimpleNamespace(
            getDeviceProperties=lambda number: {"name": b"emulated"},
            getDeviceCount=lambda: imitated.COUNT,
            CUDARuntimeError=imitated.CudaError,
        ),
        alloc_pinned_memory=bytearray,
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    )
    members = SimpleNamespace(
        ndarray=Array,
        cuda=cuda,
        RawModule=RawModule,
        empty=imitated.empty,
        zeros=imitated.zeros,
        where=np.where,
        sign=np.sign,
        empty_like=lambda x: imitated.empty(x.shape, x.dtype),
        add=np.add,
        copyto=imitated.copyto,
        matmul=np.matmul,
        ascontiguousarray=lambda x: noted("copy", np.ascontiguousarray, (x,), {}),
        array=imitated.array,
        asnumpy=imitated.asnumpy,
        get_default_memory_pool=lambda: imitated.DEFAULT,
    )
    module = ModuleType("cupy")
    vars(module).update(vars(members))
    return module


class Namespace:
    """CuPy's array API namespace: NumPy's, with arrays of the imitated device."""

    def sign(self, x: Any) -> Any:
        """As array_api_compat has it for CuPy: with a mask that is counted."""
        bool(np.sum(np.isnan(x)))
        return np.sign(x)

    def __getattr__(self, name: str) -> Any:
        found = getattr(numpy_xp, name)
        if isinstance(found, type) or not callable(found):
            return found

        def function(*args: Any, device: Any = None, **options: Any) -> Any:
            if name == "asarray" and not isinstance(args[0], Array):
                return imitated.array(args[0], **{k: v for k, v in options.items() if k == "dtype"})
            made = found(*args, **options)
            if isinstance(made, Array) or not isinstance(made, np.ndarray):
                return made
            result = wrapped(made)
            if imitated.current_stream().is_capturing():  # zeros, arange: a kernel each time
                to = imitated.by_address(result)
                imitated.put(name, lambda: np.copyto(to, made))
            return result

        return function


def backend(
    lt: Any = None, precision: str = "float32", capture: bool = True, number: int = 0
) -> Any:
    """The CuPy adapter on an imitated device."""
    made = imitated.Device(number)
    return CupyBackend(cupy_module(), Namespace(), made, lt or CublasLt(), precision, capture)
