"""CUDA graphs through CuPy, for ``xpmlp_backends.cuda.capture``."""

import re
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from xpmlp.nn.contract import Array, Data
from xpmlp_backends.cuda.capture import CAPTURING, StandIn, Uncapturable
from xpmlp_backends.cupy.cublaslt import Products
from xpmlp_backends.cupy.kernels import Kernels, contiguous
from xpmlp_backends.cupy.ops import Addresses
from xpmlp_backends.cupy.streams import private_stream

HOST_COPY = re.compile("HtoD|DtoH|HtoH")
"""How CUDA's description of a graph names copies from and to the host."""


class CupyGraphs:
    """CUDA graphs through CuPy.

    They are captured on a private stream and with a private memory pool: otherwise blocks freed
    during a capture would return to the common pool, and later calls would write to the graphs'
    memory. They are launched on the current stream, so they follow what is there.
    """

    def __init__(self, cupy: Any, kernels: Kernels, products: Products) -> None:
        self._cupy, self._kernels, self._products = cupy, kernels, products
        self._pool = cupy.cuda.MemoryPool(partial(_allocate, cupy))

    def warm(self, work: Callable[[], object]) -> None:
        """Do work on the graphs' stream and memory, and wait for it."""
        cuda, stream = self._cupy.cuda, private_stream(self._cupy)
        cuda.get_current_stream().synchronize()
        with stream, cuda.using_allocator(self._pool.malloc), self._products.timed():
            work()
            stream.synchronize()

    def capture(self, work: Callable[[], object]) -> Callable[[], object]:
        """Capture work; return what launches it."""
        stream = private_stream(self._cupy)
        with CAPTURING, stream, self._cupy.cuda.using_allocator(self._pool.malloc):
            stream.begin_capture()
            try:
                work()
            except BaseException:
                with suppress(
                    Exception
                ):  # this only ends the capture; the error of the work is raised
                    stream.end_capture()
                raise
            graph = stream.end_capture()
        if HOST_COPY.search(graph.debug_dot_str(1)):
            raise Uncapturable("it copies between the host and the device")
        return graph.launch

    def new(self, x: Array) -> Array:
        """Return a copy in the common pool's memory."""
        return x.copy()

    def room(self, shape: tuple[int, ...], like: Array) -> Array:
        """Return zeros in the common pool's memory."""
        return self._cupy.zeros(shape, dtype=like.dtype)

    def put(self, to: Array, source: Array) -> object:
        """Copy within the device."""
        return self._cupy.copyto(to, source)

    def stand_in(self, data: Data) -> tuple[Hashable, Callable[[], StandIn]]:
        """Data of the same dtypes and row shapes share graphs, which read addresses in a table."""
        parts = [(x.shape[1:], x.dtype.str) if x is not None else None for x in data[:3]]
        kind = (*parts, *(None if x is None else x.shape for x in (data.shift, data.scale)))
        return kind, lambda: AddressedData(self._cupy, self._kernels, data)

    def memory(self) -> int:
        """Bytes that the graphs keep for intermediate results of steps."""
        return int(self._pool.total_bytes())

    def forget(self) -> None:
        """Give the memory back."""
        self._cupy.cuda.get_current_stream().synchronize()
        self._pool.free_all_blocks()


def _allocate(cupy: Any, size: int) -> Any:
    """Take memory from CUDA for a pool of graphs.

    When CUDA's own error says that none is left, a pool frees its unused blocks and tries again;
    here those are memory of graphs. So the common pool frees its blocks first, and if that does not
    help, CuPy's error is raised, which ends the attempt.
    """
    cuda = cupy.cuda
    for last in (False, True):
        try:
            return cuda.MemoryPointer(cuda.Memory(size), 0)
        except cuda.runtime.CUDARuntimeError as error:
            if "cudaErrorMemoryAllocation" not in str(error):
                raise
            if last:
                raise cuda.memory.OutOfMemoryError(size, 0, 0) from error
        cupy.get_default_memory_pool().free_all_blocks()
    return None


class AddressedData:
    """Data that captured steps find by address.

    Attributes
    ----------
    data : Data
        X is ``Addresses``; shift and scale are copies that stay.
    """

    def __init__(self, cupy: Any, kernels: Kernels, data: Data) -> None:
        self._cupy, self._kernels = cupy, kernels
        self._table = cupy.zeros(3, dtype=np.uint64)
        likes = [None if x is None else cupy.zeros((1, *x.shape[1:]), x.dtype) for x in data[:3]]
        X, y, weight = likes
        assert X is not None
        assert y is not None
        shift, scale = (None if x is None else x.copy() for x in (data.shift, data.scale))
        self.data = Data(Addresses(self._table, X, y, weight), y, weight, shift, scale)
        self._held: tuple[Any, ...] = ()

    def become(self, data: Data) -> None:
        """Write the addresses of other data, and copy their scaling."""
        parts = (data.X, data.y, data.weight)
        given = [None if x is None else contiguous(self._cupy, x) for x in parts]
        # Copies that had to be made must live while they are read; the caller holds the others.
        self._held = tuple(a for a, x in zip(given, parts, strict=True) if a is not x)
        self._kernels("point", np.dtype(np.float32), (1,), (1,), self._table, *given)
        for to, source in ((self.data.shift, data.shift), (self.data.scale, data.scale)):
            if to is not None:
                self._cupy.copyto(to, source)
