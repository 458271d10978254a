"""The others on a GPU, each as fast as its documentation shows how to be."""

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.peers import Jax, Torch
from benchmarks.problems import Problem

WARM_UP = 11
"""Steps before the capture: as many as PyTorch's documentation asks for at most."""


class TorchCompiled(Torch):
    """Forward pass, loss and their gradient in CUDA graphs by ``torch.compile``; fused Adam.

    Parameters
    ----------
    problem : Problem
    device : str
    bf16 : bool
    """

    def __init__(self, problem: Problem, device: str = "cuda", *, bf16: bool = False) -> None:
        import torch

        # What earlier ones compiled would make this one's shapes dynamic, and at last eager.
        torch.compiler.reset()
        super().__init__(problem, device, True, bf16=bf16)

    def _compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        made: Callable[..., Any] = self.torch.compile(
            function, mode="reduce-overhead", dynamic=False
        )
        return made

    def _epoch(self, batches: Sequence[Any]) -> float:
        total = self.torch.zeros((), device=self.device)
        for rows in batches:
            self.torch.compiler.cudagraph_mark_step_begin()
            self.adam.zero_grad()
            loss = self.loss(self.X[rows], self.y[rows])
            loss.backward()
            self.adam.step()
            total += loss.detach()  # the next step writes over it
        return float(total) / len(batches)


class TorchGraph(Torch):
    """The whole step in one CUDA graph: gather, forward, backward, capturable fused Adam.

    Parameters
    ----------
    problem : Problem
    device : str
        On a CPU there is no capture: the same step runs eagerly.
    bf16 : bool
    """

    def __init__(self, problem: Problem, device: str = "cuda", *, bf16: bool = False) -> None:
        super().__init__(problem, device, bf16=bf16)
        torch = self.torch
        self.rows = torch.arange(problem.batch, device=device)
        self.total = torch.zeros((), device=device)
        self.adam = torch.optim.Adam(
            self.model.parameters(), lr=problem.rate, fused=True, capturable=True
        )
        self.replay = self.step if device == "cpu" else self._capture()

    def step(self) -> None:
        """Train on the rows that ``rows`` holds, and add the loss to ``total``."""
        self.adam.zero_grad()
        loss = self.loss(self.X[self.rows], self.y[self.rows])
        loss.backward()
        self.adam.step()
        self.total += loss.detach()

    def _capture(self) -> Callable[[], None]:
        cuda = self.torch.cuda
        side = cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            for _ in range(WARM_UP):
                self.step()
        cuda.current_stream().wait_stream(side)
        self.adam.zero_grad()  # the gradients shall lie in the graph's own memory
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            self.step()
        replay: Callable[[], None] = graph.replay
        return replay

    def start(self) -> None:
        """Take the first weights, and clear Adam's state where the graph will look for it."""
        self._take_weights()
        for state in self.adam.state.values():
            for value in state.values():
                value.zero_()

    def _epoch(self, batches: Sequence[Any]) -> float:
        self.total.zero_()
        for rows in batches:
            self.rows.copy_(rows)
            self.replay()
        return float(self.total) / len(batches)


class JaxOnGpu(Jax):
    """An epoch in one scan; the order is drawn on the device, as a GPU's user would.

    Parameters
    ----------
    problem : Problem
    platform : str
        Where JAX must compute: ``"gpu"``.

    Raises
    ------
    RuntimeError
        If it computes elsewhere.
    """

    def __init__(self, problem: Problem, platform: str = "gpu") -> None:
        import jax

        if jax.default_backend() != platform:
            raise RuntimeError(f"JAX computes on {jax.default_backend()}, not on {platform}")
        super().__init__(problem)
        self.key = jax.random.key(0)
        self.draw = jax.jit(self._draw, static_argnums=1)

    def _draw(self, key: Any, rows: int) -> tuple[Any, Any]:
        key, mine = self.jax.random.split(key)
        return key, self.jax.random.permutation(mine, rows)

    def _order(self, rows: int, shuffle: bool) -> Any:
        if not shuffle:
            return self.jax.numpy.arange(rows)
        self.key, order = self.draw(self.key, rows)
        return order
