"""Forward passes over data of any length, in batches, without gradients."""

from typing import TYPE_CHECKING, Any

import numpy as np

from xpmlp.layers import Pass
from xpmlp.ops import scaled
from xpmlp.targets import spread

if TYPE_CHECKING:
    from xpmlp.model import MLP

Array = Any

ROWS = 4096
"""Rows at a time: large enough for full speed, small enough that the activations fit."""


def forward_batches(mlp: "MLP", X: Array) -> Array:
    """Return the network's output before the loss's link, shape (n, outputs)."""
    forward = _forward(mlp)
    if X.shape[0] <= ROWS:
        return forward(X)
    return mlp.backend.xp.concat(
        [forward(X[start:stop, :]) for start, stop in _batches(X.shape[0])]
    )


def evaluate_batches(mlp: "MLP", X: Array, target: np.ndarray) -> dict[str, float]:
    """Return loss and metric over all rows; sums are taken in float64 on the host.

    A loss that overflows is infinite, without NumPy's warning.
    """
    with np.errstate(all="ignore"):
        return _evaluate(mlp, X, target)


def _evaluate(mlp: "MLP", X: Array, target: np.ndarray) -> dict[str, float]:
    backend, xp, task = mlp.backend, mlp.backend.xp, mlp.task
    forward = _forward(mlp)
    y = backend.asarray(target)
    totals = []
    for start, stop in _batches(X.shape[0]):
        z, part = forward(X[start:stop, :]), y[start:stop, ...]
        rows, _ = task.loss(backend.ops, z, part)
        totals.append(xp.stack([xp.sum(rows), xp.sum(task.metric.rows(backend.ops, z, part))]))
    loss, score = backend.to_numpy(xp.stack(totals)).astype(np.float64).sum(axis=0)
    n = X.shape[0]
    penalty = float(mlp.penalty.value(xp, [forward.params[name] for name in mlp.network.weights]))
    width = spread(target) if task.kind == "values" else 0.0
    return {
        "loss": float(loss / n + penalty),
        task.metric.name: float(task.metric.finish(score, n, width)),
    }


def _batches(n: int) -> list[tuple[int, int]]:
    return [(start, min(start + ROWS, n)) for start in range(0, n, ROWS)]


def _forward(mlp: "MLP") -> "_Forward":
    """Lay the model's parameters out, once until something changes: it matters for single rows."""
    made: _Forward | None = mlp._laid_out
    if made is None or made.source != _Forward.sources(mlp):
        made = mlp._laid_out = _Forward(mlp)
    return made


class _Forward:
    """The model with its parameters laid out once for many batches."""

    @staticmethod
    def sources(mlp: "MLP") -> tuple[int, ...]:
        """Tell the model's state apart from an earlier one: by what it is made of."""
        return tuple(
            map(id, (mlp.backend, mlp.weights.flat, mlp.weights.statistics, mlp.scaling, mlp._task))
        )

    def __init__(self, mlp: "MLP") -> None:
        flat, statistics = mlp.weights.flat, mlp.weights.statistics
        self.source = self.sources(mlp)
        self._alive = (mlp.backend, flat, statistics, mlp.scaling, mlp._task)  # ids stay theirs
        self.ops, xp = mlp.backend.ops, mlp.backend.xp
        self.params = mlp.network.layout.views(xp, flat)
        self.statistics = mlp.network.statistics.views(xp, statistics)
        self.scaling = mlp.scaling.arrays(mlp.backend, mlp.dtype)
        self.dtype = flat.dtype
        self.brick = mlp._model()

    def __call__(self, X: Array) -> Array:
        x = scaled(self.ops.xp, X, *self.scaling, self.dtype)
        out, _ = self.brick.forward(self.ops, self.params, x, Pass(statistics=self.statistics))
        return out
