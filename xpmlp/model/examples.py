"""Examples with their targets, checked as a fitted model takes them."""

from typing import Any

import numpy as np

from xpmlp.arrays.checks import to_host
from xpmlp.arrays.rows import Rows
from xpmlp.errors import InvalidValueError
from xpmlp.model.base import Model
from xpmlp.model.predict import inputs

_OF_NAMES = (
    "Number the classes (names, y = np.unique(y, return_inverse=True)), or use "
    "xpmlp.sklearn.MLPClassifier, which takes them by name"
)


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
    x, host_y = pair(model, X, y)
    scaling, task, dtype = model.scaling, model.task, model.dtype
    target = scaling.encode(task, host_y, model.sizes[-1], dtype)
    return scaling.applied(x, dtype), scaling.of_targets(task, target, dtype)
