"""PyTorch and CuPy capture one at a time, in whatever threads: on imitations of both."""

import threading
from contextlib import contextmanager
from time import sleep
from types import SimpleNamespace
from typing import Any

import pytest
from emulation import device as imitated
from emulation import emulated
from xpmlp_backends.cuda.capture import CAPTURING
from xpmlp_backends.cupy.graphs import CupyGraphs
from xpmlp_backends.torch.graphs import TorchGraphs


class Cuda:
    """PyTorch's streams and graphs, as far as captures use them."""

    def __init__(self) -> None:
        self.stack, self.log, self.captures = ["default"], [], 0

    def Stream(self, device: Any) -> Any:  # noqa: N802 - its name
        return SimpleNamespace(wait_stream=lambda other: None, synchronize=lambda: None)

    def graph_pool_handle(self) -> object:
        return object()

    @contextmanager
    def stream(self, stream: Any) -> Any:
        self.stack.append(stream)
        try:
            yield
        finally:
            self.stack.pop()

    def CUDAGraph(self) -> Any:  # noqa: N802 - its name
        return SimpleNamespace(
            capture_begin=self._begin, capture_end=self._end, replay=lambda: "replayed"
        )

    def _begin(self, pool: Any, capture_error_mode: str) -> None:
        assert self.stack[-1] != "default"
        assert capture_error_mode == "thread_local"
        self.captures += 1

    def _end(self) -> None:
        self.captures -= 1


@pytest.fixture
def both() -> tuple[Cuda, TorchGraphs, CupyGraphs]:
    cuda, gpu = Cuda(), emulated.backend()
    torch = TorchGraphs(SimpleNamespace(cuda=cuda), "cuda:0")
    return cuda, torch, CupyGraphs(gpu.cupy, gpu.kernels, gpu.products)


def test_captures_in_two_threads_take_turns(both: Any) -> None:
    """Each would see the other's if they were not locked; none fails, so none falls back."""
    cuda, torch, cupy = both
    seen: list[int] = []
    launched: list[Any] = []
    running = [0]

    def work() -> None:
        running[0] += 1
        sleep(0.01)
        seen.append(running[0])
        running[0] -= 1

    def capture(graphs: Any) -> None:
        for _ in range(10):
            launched.append(graphs.capture(work))

    threads = [threading.Thread(target=capture, args=(graphs,)) for graphs in (torch, cupy)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(launched) == 20
    assert seen == [1] * 20
    assert cuda.captures == 0


@pytest.mark.parametrize("library", ["torch", "cupy"])
def test_work_that_fails_ends_its_capture_and_gives_the_lock_back(both: Any, library: str) -> None:
    cuda, torch, cupy = both
    with pytest.raises(ZeroDivisionError):
        (torch if library == "torch" else cupy).capture(lambda: 1 / 0)
    assert not CAPTURING.locked()
    assert cuda.captures == 0
    assert cuda.stack == ["default"]
    assert imitated.current_stream().ptr == 0
    cupy.capture(lambda: None)()
    assert torch.capture(lambda: None)() == "replayed"
