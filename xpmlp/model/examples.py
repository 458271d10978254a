"""Examples with their targets, checked as a fitted model takes them."""

from typing import Any, NamedTuple

import numpy as np

from xpmlp.arrays.checks import to_host, weights
from xpmlp.arrays.rows import Rows
from xpmlp.errors import InvalidValueError
from xpmlp.model.base import Model
from xpmlp.model.predict import inputs

_OF_NAMES = (
    "Number the classes (names, y = np.unique(y, return_inverse=True)), or use "
    "xpmlp.sklearn.MLPClassifier, which takes them by name"
)


class Held(NamedTuple):
    """Examples to measure a model on: of a validation set, or of ``evaluate``.

    Attributes
    ----------
    x : Rows
    target : ndarray
        In the form the loss takes.
    weight : ndarray, shape (n,), or None
    y : ndarray
        The targets as they were given, on the host.
    """

    x: Rows
    target: np.ndarray
    weight: np.ndarray | None
    y: np.ndarray


def pair(
    model: Model, X: Any, y: Any, prefix: str = "", table: Any = None
) -> tuple[Rows, np.ndarray]:
    """Check examples and targets: numbers, of as many rows. The examples stay where they are."""
    x = inputs(model, X, f"{prefix}X", table)
    host_y = to_host(model.backend, y, f"{prefix}y", of_text=_OF_NAMES)
    if host_y.ndim == 0 or len(host_y) != x.count:
        raise InvalidValueError(
            f"{prefix}y: found shape {host_y.shape}; {prefix}X has {x.count} rows, shape "
            f"{tuple(x.array.shape)}; expected a target for each"
        )
    return x, host_y


def examples(model: Model, X: Any, y: Any) -> tuple[Rows, np.ndarray]:
    """Check examples and targets for a model that has been fitted, and bring them to its scale.

    Returns
    -------
    x : Rows
    target : ndarray
        In the form the loss takes.
    """
    held = weighted(model, X, y)
    return held.x, held.target


def weighted(model: Model, X: Any, y: Any, sample_weight: Any = None) -> Held:
    """Check the same, with weights, and return all of it."""
    x, host_y = pair(model, X, y)
    scaling, task, dtype = model.scaling, model.task, model.dtype
    target = scaling.encode(task, host_y, model.sizes[-1], dtype)
    weight = weights(model.backend, sample_weight, x.count, dtype)
    return Held(scaling.applied(x, dtype), scaling.of_targets(task, target, dtype), weight, host_y)
