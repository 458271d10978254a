"""Metrics (accuracy for classes, R² for values), and sums over an epoch.

A metric is a number per row, computed on the device from the network's output z, and a last step
on the host. z is taken before the loss's link, which never changes the predicted class.
"""

from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import partial
from typing import Any

from xpmlp.nn.functions import Array

FALLING = ("loss", "mse", "mae", "mape", "median_ae")
"""Endings of the names of metrics of which less is better, "rmse" and "log_loss" among them."""


def falls(name: str, more: Container[str] = ()) -> bool:
    """Whether less of a metric is better: by its name, or because it is one of some ``more``."""
    return name.endswith(FALLING) or name.removeprefix("val_") in more


def is_largest(xp: Any, z: Array, labels: Array) -> Array:
    """1 where the row's first largest z is at its label, else 0; shape (n,)."""
    return xp.astype(xp.argmax(z, axis=1) == labels, z.dtype)


def _all_sides_agree(threshold: float, ops: Any, z: Array, y: Array) -> Array:
    return ops.xp.astype(ops.xp.all((z > threshold) == (y > 0.5), axis=1), z.dtype)


def _squared_error(ops: Any, z: Array, y: Array) -> Array:
    return ops.xp.sum((z - y) * (z - y), axis=1)


@dataclass(frozen=True)
class Metric:
    """A metric computed by rows.

    Attributes
    ----------
    name : str
        ``"accuracy"`` or ``"r2"``; the key in histories.
    rows : callable (ops, z, y) -> Array, shape (n,)
    """

    name: str
    rows: Callable[[Any, Array, Array], Array]

    def finish(self, total: float, n: float, around_mean: float) -> float:
        """Turn the sum over n rows, or over rows whose weights sum to n, into the metric.

        ``around_mean`` is Σ (y − mean)² over the same rows; R² is 1 − Σ (y − ŷ)²/Σ (y − mean)²,
        pooled over the outputs. Of targets that do not vary it is 1 if all are met and else 0, as
        in scikit-learn.
        """
        if self.name == "accuracy":
            return total / n
        if around_mean == 0:
            return float(total == 0)
        return 1.0 - total / around_mean


LABELS = Metric("accuracy", lambda ops, z, y: ops.is_largest(z, y))
"""The largest output is the label's."""
ONE_HOT = Metric("accuracy", lambda ops, z, y: ops.is_largest(z, ops.xp.argmax(y, axis=1)))
"""The largest output is where the target's largest value is."""
LOGIT_SIDES = Metric("accuracy", partial(_all_sides_agree, 0.0))
"""Every logit is on its target's side of 0: all of a row's labels are right."""
PROBABILITY_SIDES = Metric("accuracy", partial(_all_sides_agree, 0.5))
"""The same for outputs that are probabilities."""
R2 = Metric("r2", _squared_error)
"""Coefficient of determination of the outputs."""
RATE_R2 = Metric("r2", lambda ops, z, y: _squared_error(ops, ops.xp.exp(z), y))
"""The same where the prediction is exp of the output."""


def r2_of(loss: Any) -> Metric:
    """Return R² of what a loss of several outputs for each target predicts."""
    return Metric("r2", lambda ops, z, y: _squared_error(ops, loss.points(ops, z), y))


# From rows to a batch, and from batches to an epoch


def assess(
    ops: Any, loss: Any, metric: Any, z: Array, y: Array, weight: Array | None
) -> tuple[Array, Array, Array | None]:
    """Return the batch's loss, its gradient, and the metric by rows, from the outputs.

    Parameters
    ----------
    ops : Ops
    loss : Loss
    metric : Metric or None
    z : Array, shape (n, outputs)
    y : Array, shape (n,) or (n, outputs)
    weight : Array, shape (n,), or None

    Returns
    -------
    value : Array, shape ()
    dz : Array, shape (n, outputs)
    score : Array, shape (n,), or None
        A backend may return sums of several rows instead: only the total is used.
    """
    rows, dz = loss(ops, z, y)
    score = None if metric is None else metric.rows(ops, z, y)
    value, dz = ops.batch_mean(rows, dz, weight)
    return value, dz, score


def batch_mean(xp: Any, rows: Array, dz: Array, weight: Array | None) -> tuple[Array, Array]:
    """The batch's loss Σ wᵢ rᵢ/Σ wᵢ from the rows' losses r, and its gradient dzᵢ wᵢ/Σ wᵢ.

    Parameters
    ----------
    rows : Array, shape (n,)
    dz : Array, shape (n, outputs)
    weight : Array, shape (n,), or None
        None means all ones.

    Returns
    -------
    value : Array, shape ()
    dz : Array, shape (n, outputs)
        Of k networks all of them have one more axis in front.
    """
    if weight is None:
        return xp.mean(rows, axis=-1), dz * (1.0 / rows.shape[-1])
    total = xp.sum(weight, axis=-1, keepdims=True)
    share = weight / xp.maximum(total, float(xp.finfo(rows.dtype).smallest_normal))
    return xp.sum(rows * share, axis=-1), dz * share[..., None]


def accumulate(
    xp: Any, totals: Array, carry: Array, finite: Array, value: Array, n: int, score: Array | None
) -> tuple[Array, Array, Array]:
    """Add a batch to the epoch's sums, with compensated summation (Kahan 1965).

    Parameters
    ----------
    totals, carry : Array, shape (2,)
        Sums of loss times rows and of the metric, and what rounding lost of them.
    finite : Array of int32, shape (2,)
        How many batches left each sum finite.
    value : Array, shape ()
        The batch's loss.
    n : int
        Its number of rows.
    score : Array of any length, or None
        The metric by rows, or sums of it; None adds nothing. Of k networks, ``value`` has the
        shape (k,), ``score`` (k, any), and the others (2, k).

    Returns
    -------
    totals, carry, finite
    """
    scored = xp.zeros_like(value) if score is None else xp.sum(score, axis=-1)
    add = xp.stack((value * n, scored)) - carry
    total = totals + add
    return total, (total - totals) - add, finite + xp.astype(xp.isfinite(total), xp.int32)
