"""CUDA graphs through PyTorch, for ``xpmlp_backends.cuda.capture``."""

from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

from xpmlp.nn.contract import Array, Data
from xpmlp_backends.cuda.capture import CAPTURING, StandIn


class TorchGraphs:
    """CUDA graphs through PyTorch, whose allocator gives them memory of their own."""

    def __init__(self, torch: Any, device: Any) -> None:
        self._torch, self._device = torch, device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def warm(self, work: Callable[[], object]) -> None:
        """Do work on the graphs' stream, and wait for it."""
        cuda = self._torch.cuda
        self._stream.wait_stream(cuda.current_stream(self._device))
        with cuda.stream(self._stream):
            work()
        self._stream.synchronize()

    def capture(self, work: Callable[[], object]) -> Callable[[], object]:
        """Capture work; return what launches it.

        Not with ``torch.cuda.graph``, which waits for the whole device and empties the cache: that
        breaks the captures of other threads.
        """
        cuda = self._torch.cuda
        graph = cuda.CUDAGraph()
        with CAPTURING, cuda.stream(self._stream):
            # "thread_local": other threads may allocate meanwhile.
            graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
            try:
                work()
            except BaseException:
                with suppress(Exception):  # it only ends the capture; the work's error is raised
                    graph.capture_end()
                raise
            graph.capture_end()
        return graph.replay

    def new(self, x: Array) -> Array:
        """Return a copy."""
        return x.clone()

    def room(self, shape: tuple[int, ...], like: Array) -> Array:
        """Return zeros."""
        return like.new_zeros(shape)

    def put(self, to: Array, source: Array) -> object:
        """Copy within the device."""
        return to.copy_(source)

    def stand_in(self, data: Data) -> tuple[Hashable, Callable[[], StandIn]]:
        """Graphs read X at its address; all else is small, and copied to a fixed address."""
        rest = tuple((x.shape, x.dtype) if x is not None else None for x in data[1:])
        kind = (data.X.data_ptr(), data.X.shape, data.X.dtype, *rest)
        return kind, lambda: HeldData(data)

    def forget(self) -> None:
        """Use new memory for later captures."""
        self._pool = self._torch.cuda.graph_pool_handle()


class HeldData:
    """Data whose X captured steps read at its address."""

    def __init__(self, data: Data) -> None:
        self.data = Data(data.X, *(None if x is None else x.clone() for x in data[1:]))

    def become(self, data: Data) -> None:
        """Copy all but X, which is the same."""
        for to, source in zip(self.data[1:], data[1:], strict=True):
            if to is not None:
                to.copy_(source)
