"""Forward passes over data of any length, in batches, without gradients."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from xpmlp.arrays.checks import placed
from xpmlp.arrays.sparse import on_host
from xpmlp.model.memory import rows_within_chunk
from xpmlp.model.shortage import release
from xpmlp.model.task import spread
from xpmlp.nn.contract import Forward
from xpmlp.nn.layers import Pass
from xpmlp.nn.ops import scaled

if TYPE_CHECKING:
    from xpmlp.mlp import MLP

Array = Any

Batches = list[tuple[int, int]]

logger = logging.getLogger("xpmlp")

ROWS = 4096
"""Rows at a time: large enough for full speed, small enough that the activations fit."""


def forward_batches(mlp: "MLP", X: Array, finish: Callable[["MLP", Array], Array]) -> Array:
    """Return ``finish(mlp, outputs)`` for all rows: outputs are those before the loss's link.

    X may lie on the host; then the rows of each batch are copied to the device, dense if X is
    sparse, and the results back.
    """
    backend, weights = mlp.backend, mlp.weights
    there = backend.owns(X)

    def some_rows(run: Forward, start: int, stop: int) -> Array:
        if there:
            x = X if stop - start == X.shape[0] else X[start:stop, :]
        else:
            x = backend.asarray(X[start:stop, :])
        made = finish(mlp, run(weights.flat, weights.statistics, x))
        return made if there else backend.to_numpy(made)

    def all_rows(run: Forward, batches: Batches) -> Array:
        parts = [some_rows(run, *ends) for ends in batches]
        if len(parts) == 1:
            return parts[0]
        return backend.xp.concat(parts) if there else np.concatenate(parts)

    return _in_batches(mlp, X.shape[0], all_rows)


def decisions(mlp: "MLP", out: Array) -> Array:
    """From the network's outputs to what ``MLP.predict`` returns."""
    backend, xp, kind = mlp.backend, mlp.backend.xp, mlp.task.kind
    if kind in ("labels", "one_hot"):
        return xp.argmax(out, axis=1)
    out = mlp.task.link.function(backend.ops, out)
    if kind in ("binary", "multilabel"):
        out = xp.astype(out > 0.5, xp.int32)
    else:
        out = mlp.scaling.to_targets(backend, out)
    return out[:, 0] if out.shape[1] == 1 else out


def probabilities(mlp: "MLP", out: Array) -> Array:
    """From the network's outputs to what ``MLP.predict_proba`` returns."""
    p = mlp.task.link.function(mlp.backend.ops, out)
    return mlp.backend.xp.concat([1.0 - p, p], axis=1) if mlp.task.kind == "binary" else p


def evaluate_batches(mlp: "MLP", X: Array, target: np.ndarray) -> dict[str, float]:
    """Return loss and metric over all rows; sums are taken in float64 on the host.

    X may lie on the host, sparse too. A loss that overflows is infinite, without NumPy's warning.
    """
    with np.errstate(all="ignore"):
        return _evaluate(mlp, X, target)


def _evaluate(mlp: "MLP", X: Array, target: np.ndarray) -> dict[str, float]:
    backend, xp, task = mlp.backend, mlp.backend.xp, mlp.task
    flat, statistics, n = mlp.weights.flat, mlp.weights.statistics, X.shape[0]
    y = target if on_host(X) else backend.asarray(target)

    def batch(run: Forward, start: int, stop: int) -> Array:
        x, part = (placed(backend, a[start:stop, ...]) for a in (X, y))
        z = run(flat, statistics, x)
        rows, _ = task.loss(backend.ops, z, part)
        return xp.stack([xp.sum(rows), xp.sum(task.metric.rows(backend.ops, z, part))])

    def totals(run: Forward, batches: Batches) -> np.ndarray:
        return np.asarray(backend.to_numpy(xp.stack([batch(run, *ends) for ends in batches])))

    loss, score = _in_batches(mlp, n, totals).astype(np.float64).sum(axis=0)
    params = mlp.network.layout.views(xp, flat)
    weights = [params[name] for name in mlp.network.weights]
    penalty = float(mlp.penalty.of_batch(xp, n).value(xp, weights))
    width = spread(target) if task.kind == "values" else 0.0
    return {
        "loss": float(loss / n + penalty),
        task.metric.name: float(task.metric.finish(score, n, width)),
    }


def _in_batches(mlp: "MLP", n: int, f: Callable[[Forward, Batches], Array]) -> Array:
    """Compute over n rows in batches; where the device has no memory for so many, of fewer rows."""
    forward = _Forward.of(mlp)
    while True:
        rows = min(forward.rows, n)
        try:
            return f(forward.run, _batches(n, rows))
        except Exception as error:
            if rows == 1 or not mlp.backend.ran_out(error):
                raise
            release(error)
        forward.rows = rows // 2
        logger.warning("%d rows at a time are too many for the device's memory", rows)


def _batches(n: int, rows: int) -> Batches:
    if n == rows:
        return [(0, n)]
    return [(start, min(start + rows, n)) for start in range(0, n, rows)]


class _Forward:
    """A model's forward pass, compiled once for its task and scaling, whatever its weights."""

    def __init__(self, mlp: "MLP") -> None:
        self.rows = rows_within_chunk(mlp, ROWS)
        self.backend, self.scaling, self.task = mlp.backend, mlp.scaling, mlp._task
        network, layer, ops = mlp.network, mlp._model(), mlp.backend.ops
        xp, shift_scale = ops.xp, mlp.scaling.arrays(mlp.backend, mlp.dtype)

        def forward(flat: Array, statistics: Array, X: Array) -> Array:
            params = network.layout.views(xp, flat)
            run = Pass(statistics=network.statistics.views(xp, statistics))
            return layer.forward(ops, params, scaled(xp, X, *shift_scale, flat.dtype), run)[0]

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
