"""Who trains: xpmlp through ``MLP.fit``, and the bare matrix products. The others: ``peers``."""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np

import xpmlp
from benchmarks.problems import Problem
from xpmlp.errors import XpmlpError
from xpmlp.training.history import History

Made = TypeVar("Made")


class Contestant(Protocol):
    """Someone who can train a problem."""

    def start(self) -> None:
        """Take the problem's first weights and a new optimizer."""

    def train(self, steps: int, epochs: int = 1, shuffle: bool = True) -> list[float]:
        """Train on the first ``steps`` batches; return each epoch's mean loss.

        The rows are taken in a new random order, or as they lie. When this returns, the device
        has finished.
        """

    def predict(self, X: np.ndarray) -> Callable[[], Any]:
        """Return a call that gives the classes of these float32 rows, in the library's array."""


class Xpmlp:
    """xpmlp through the public ``fit``: checks, the drawn order, sums of loss and accuracy.

    Parameters
    ----------
    problem : Problem
    backend : str or Backend
    device : str, optional
    precision : {"float32", "tf32", "bf16"}

    Attributes
    ----------
    execution : Execution
        How the steps of the last training ran.
    """

    def __init__(
        self,
        problem: Problem,
        backend: Any,
        device: str | None = None,
        precision: str = "float32",
    ) -> None:
        self.problem = problem
        self.mlp = xpmlp.MLP(
            problem.sizes, backend=backend, device=device, precision=precision, seed=0
        )
        self.execution = History.execution
        self.X = self.mlp.backend.asarray(problem.X)

    def start(self) -> None:
        """Take the problem's first weights; ``fit`` has a new optimizer in any case."""
        self.mlp.load_state_dict(self.problem.state)

    def train(self, steps: int, epochs: int = 1, shuffle: bool = True) -> list[float]:
        """See ``Contestant``."""
        rows = steps * self.problem.batch
        history = self.mlp.fit(
            self.X[:rows],
            self.problem.y[:rows],
            epochs=epochs,
            batch_size=self.problem.batch,
            optimizer=xpmlp.Adam(self.problem.rate),
            shuffle=shuffle,
        )
        self.execution = history.execution
        return history["loss"]

    def predict(self, X: np.ndarray) -> Callable[[], Any]:
        """See ``Contestant``."""
        inputs = self.mlp.backend.asarray(X)

        def call() -> Any:
            classes = self.mlp.predict(inputs)
            self.mlp.backend.synchronize()
            return classes

        return call


class Products:
    """The floor: only the matrix products, through NumPy, into arrays that are there."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.products = list(products(problem.sizes, problem.batch))

    def start(self) -> None:
        """Nothing to do."""

    def train(self, steps: int, epochs: int = 1, shuffle: bool = True) -> list[float]:
        """Compute the products of so many steps; there is no loss."""
        for _ in range(steps * epochs):
            for a, b, out in self.products:
                np.matmul(a, b, out=out)
        return []

    def predict(self, X: np.ndarray) -> Callable[[], Any]:
        """Compute the products of one forward pass; there are no classes."""
        forward = list(products(self.problem.sizes, len(X), training=False))

        def call() -> None:
            for a, b, out in forward:
                np.matmul(a, b, out=out)

        return call


def products(sizes: tuple[int, ...], batch: int, training: bool = True) -> Iterator[Any]:
    """Yield a step's matrix products as (a, b, out): x W, and to train xᵀ dz and dz Wᵀ."""
    rng = np.random.default_rng(0)

    def array(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    for layer, (n_in, n_out) in enumerate(pairwise(sizes)):
        x, W, dz = array(batch, n_in), array(n_in, n_out), array(batch, n_out)
        yield x, W, np.empty_like(dz)
        if training:
            yield x.T, dz, np.empty_like(W)
            if layer:
                yield dz, W.T, np.empty_like(x)


def without_numba() -> Any:
    """Return xpmlp's NumPy backend as it is where Numba is not installed."""
    from xpmlp_backends.numpy.backend import create

    return create(fused=False)


def prepare(makers: Mapping[str, Callable[[], Made]]) -> tuple[dict[str, Made], dict[str, str]]:
    """Make each; and return who is there, and who not, with the reason."""
    made: dict[str, Made] = {}
    left_out: dict[str, str] = {}
    for name, make in makers.items():
        try:
            made[name] = make()
        except (ImportError, RuntimeError, AssertionError, XpmlpError) as error:
            left_out[name] = (str(error).splitlines() or [type(error).__name__])[0]
    return made, left_out
