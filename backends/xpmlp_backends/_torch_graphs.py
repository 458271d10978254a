"""CUDA graphs through PyTorch, for ``_capture``."""

from collections.abc import Callable, Hashable
from typing import Any

from xpmlp.contract import Array, Data
from xpmlp_backends._capture import StandIn


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
        """Capture work; return what launches it."""
        graph = self._torch.cuda.CUDAGraph()
        with self._torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            work()
        launch: Callable[[], object] = graph.replay
        return launch

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
        """Each data set has graphs of its own, which read it where it lies."""
        kind = tuple((x.data_ptr(), x.shape, x.dtype) for x in data if x is not None)
        return kind, lambda: HeldData(data)

    def forget(self) -> None:
        """Take new memory for what is captured from now on."""
        self._pool = self._torch.cuda.graph_pool_handle()


class HeldData:
    """Data that captured steps read where they lie.

    Attributes
    ----------
    data : Data
    """

    def __init__(self, data: Data) -> None:
        self.data = data

    def become(self, data: Data) -> None:
        """They are the same."""
