"""What people judge a network by: accuracy for classes, R² for values.

A metric is a number per row, computed on the device from the network's output z (before the
loss's link, which never changes which class wins), and a last step on the host.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Array = Any


def is_largest(xp: Any, z: Array, labels: Array) -> Array:
    """1 where the row's largest z, the first of equals, is its label's, else 0; shape (n,)."""
    return xp.astype(xp.argmax(z, axis=1) == labels, z.dtype)


def _argmax_is_label(ops: Any, z: Array, y: Array) -> Array:
    return ops.is_largest(z, y)


def _argmax_agrees(ops: Any, z: Array, y: Array) -> Array:
    return ops.is_largest(z, ops.xp.argmax(y, axis=1))


def _all_sides_agree(threshold: float) -> Callable[[Any, Array, Array], Array]:
    def rows(ops: Any, z: Array, y: Array) -> Array:
        xp = ops.xp
        return xp.astype(xp.all((z > threshold) == (y > 0.5), axis=1), z.dtype)

    return rows


def _squared_error(ops: Any, z: Array, y: Array) -> Array:
    return ops.xp.sum((z - y) * (z - y), axis=1)


def _squared_error_of_rate(ops: Any, z: Array, y: Array) -> Array:
    return _squared_error(ops, ops.xp.exp(z), y)


@dataclass(frozen=True)
class Metric:
    """A metric by rows.

    Attributes
    ----------
    name : str
        ``"accuracy"`` or ``"r2"``; the key in histories.
    rows : callable (ops, z, y) -> Array, shape (n,)
    """

    name: str
    rows: Callable[[Any, Array, Array], Array]

    def finish(self, total: float, n: int, spread: float) -> float:
        """Turn the sum over n rows into the metric.

        ``spread`` is Σ (y − mean)² over the same rows; R² is 1 − Σ (y − ŷ)²/Σ (y − mean)²,
        pooled over the outputs, and NaN where the targets do not vary.
        """
        if self.name == "accuracy":
            return total / n
        return 1.0 - total / spread if spread > 0 else float("nan")


LABELS = Metric("accuracy", _argmax_is_label)
"""The largest output is the label's."""
ONE_HOT = Metric("accuracy", _argmax_agrees)
"""The largest output is where the target's largest value is."""
LOGIT_SIDES = Metric("accuracy", _all_sides_agree(0.0))
"""Every logit is on its target's side of 0: all of a row's labels are right."""
PROBABILITY_SIDES = Metric("accuracy", _all_sides_agree(0.5))
"""The same for outputs that are probabilities."""
R2 = Metric("r2", _squared_error)
"""Coefficient of determination of the outputs."""
RATE_R2 = Metric("r2", _squared_error_of_rate)
"""The same where the prediction is exp of the output."""
