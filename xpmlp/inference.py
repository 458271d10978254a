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
    forward, flat, statistics = _Forward.of(mlp).run, mlp.weights.flat, mlp.weights.statistics
    if X.shape[0] <= ROWS:
        return forward(flat, statistics, X)
    outputs = [forward(flat, statistics, X[i:j, :]) for i, j in _batches(X.shape[0])]
    return mlp.backend.xp.concat(outputs)


def evaluate_batches(mlp: "MLP", X: Array, target: np.ndarray) -> dict[str, float]:
    """Return loss and metric over all rows; sums are taken in float64 on the host.

    A loss that overflows is infinite, without NumPy's warning.
    """
    with np.errstate(all="ignore"):
        return _evaluate(mlp, X, target)


def _evaluate(mlp: "MLP", X: Array, target: np.ndarray) -> dict[str, float]:
    backend, xp, task = mlp.backend, mlp.backend.xp, mlp.task
    forward, flat, statistics = _Forward.of(mlp).run, mlp.weights.flat, mlp.weights.statistics
    y = backend.asarray(target)
    totals = []
    for start, stop in _batches(X.shape[0]):
        z, part = forward(flat, statistics, X[start:stop, :]), y[start:stop, ...]
        rows, _ = task.loss(backend.ops, z, part)
        totals.append(xp.stack([xp.sum(rows), xp.sum(task.metric.rows(backend.ops, z, part))]))
    loss, score = backend.to_numpy(xp.stack(totals)).astype(np.float64).sum(axis=0)
    n = X.shape[0]
    params = mlp.network.layout.views(xp, flat)
    penalty = float(mlp.penalty.value(xp, [params[name] for name in mlp.network.weights]))
    width = spread(target) if task.kind == "values" else 0.0
    return {
        "loss": float(loss / n + penalty),
        task.metric.name: float(task.metric.finish(score, n, width)),
    }


def _batches(n: int) -> list[tuple[int, int]]:
    return [(start, min(start + ROWS, n)) for start in range(0, n, ROWS)]


class _Forward:
    """A model's forward pass, compiled once for its task and scaling, whatever its weights."""

    def __init__(self, mlp: "MLP") -> None:
        self.backend, self.scaling, self.task = mlp.backend, mlp.scaling, mlp._task
        network, brick, ops = mlp.network, mlp._model(), mlp.backend.ops
        xp, shift_scale = ops.xp, mlp.scaling.arrays(mlp.backend, mlp.dtype)

        def forward(flat: Array, statistics: Array, X: Array) -> Array:
            params = network.layout.views(xp, flat)
            run = Pass(statistics=network.statistics.views(xp, statistics))
            return brick.forward(ops, params, scaled(xp, X, *shift_scale, flat.dtype), run)[0]

        self.run = mlp.backend.compile_forward(forward)

    @staticmethod
    def of(mlp: "MLP") -> "_Forward":
        """Return the model's, made anew where backend, scaling or task have changed."""
        made: _Forward | None = mlp._forward_pass
        if (
            made is None
            or made.backend is not mlp.backend
            or made.scaling is not mlp.scaling
            or made.task is not mlp._task
        ):
            made = mlp._forward_pass = _Forward(mlp)
        return made
