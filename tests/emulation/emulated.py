"""CuPy imitated on the host, as far as the CuPy adapter uses it; and the adapter on it.

Products go through an imitation of cuBLASLt, so a wrong layout gives a wrong result, and kernels
are the real ones.
"""

from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import array_api_compat.numpy as numpy_xp
import numpy as np
from emulation.cublaslt import CublasLt
from emulation.device import (
    DEVICE,
    Array,
    CudaError,
    Device,
    Event,
    Stream,
    array,
    copyto,
    empty,
    noted,
    wrapped,
    zeros,
)
from emulation.kernels import RawModule
from xpmlp_backends.cupy.backend import CupyBackend

from xpmlp.arrays import dlpack


class OnHost(type):
    """What ``isinstance`` finds to be NumPy's array, but not the imitated device's."""

    def __instancecheck__(cls, x: object) -> bool:
        return isinstance(x, np.ndarray | np.generic) and not isinstance(x, Array)


dlpack._NUMPY = OnHost("OnHost", (), {})  # type: ignore[assignment]


class MemoryPool:
    def __init__(self, allocator: Any = None) -> None: ...

    def malloc(self, size: int) -> None: ...

    def free_all_blocks(self) -> None: ...

    def used_bytes(self) -> int:
        return 0

    free_bytes = total_bytes = used_bytes


class OutOfMemoryError(MemoryError):
    """CuPy's."""


@contextmanager
def using_allocator(allocator: Any) -> Any:
    yield


def cupy_module() -> Any:
    """As much of CuPy as the adapter names."""
    cuda = SimpleNamespace(
        Stream=Stream,
        Event=Event,
        Device=Device,
        MemoryPool=MemoryPool,
        using_allocator=using_allocator,
        get_current_stream=lambda: Stream.current,
        get_elapsed_time=lambda start, stop: (stop.time - start.time) * 1e3,
        runtime=SimpleNamespace(
            getDeviceProperties=lambda number: {"name": b"emulated"}, CUDARuntimeError=CudaError
        ),
        alloc_pinned_memory=bytearray,
        memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
    )
    members = SimpleNamespace(
        ndarray=Array,
        cuda=cuda,
        RawModule=RawModule,
        empty=empty,
        zeros=zeros,
        where=np.where,
        sign=np.sign,
        empty_like=lambda x: empty(x.shape, x.dtype),
        add=np.add,
        copyto=copyto,
        matmul=np.matmul,
        ascontiguousarray=lambda x: noted("copy", np.ascontiguousarray, (x,), {}),
        array=array,
        asnumpy=lambda x: np.array(x.view(np.ndarray)),
        get_default_memory_pool=MemoryPool,
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
            made = found(*args, **options)
            return made if isinstance(made, Array) else wrapped(made)

        return function


def backend(lt: Any = None, precision: str = "float32", capture: bool = True) -> Any:
    """The CuPy adapter on the imitated device."""
    return CupyBackend(cupy_module(), Namespace(), DEVICE, lt or CublasLt(), precision, capture)
