"""From what a person passes to ``fit`` to what a training takes: everything checked, and moved."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xpmlp.contract import Data
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.inputs import Scaling, features, to_host, weights
from xpmlp.random import Purpose, generator
from xpmlp.targets import Task, kind_of, spread

if TYPE_CHECKING:
    from xpmlp.model import MLP

Array = Any


@dataclass(frozen=True)
class Prepared:
    """What ``fit`` needs.

    Attributes
    ----------
    data : Data
        On the device.
    task : Task
    scaling : Scaling
    spread : float
        Σ (y − mean)² of the targets, for R²; 0 for classes.
    validation : (X on the device, encoded targets on the host) or None
    """

    data: Data
    task: Task
    scaling: Scaling
    spread: float
    validation: tuple[Any, Any] | None


def prepare(
    mlp: "MLP",
    X: Any,
    y: Any,
    sample_weight: Any = None,
    validation_data: tuple[Any, Any] | None = None,
    validation_split: float = 0.0,
) -> Prepared:
    """Check everything, settle task and scaling, split off validation; nothing of ``mlp`` changes.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        See ``MLP.fit``.
    """
    backend, outputs, dtype = mlp.backend, mlp.sizes[-1], mlp.dtype
    x, host_y = pair(mlp, X, y)
    task = Task.make(kind_of(host_y, outputs, mlp.loss), mlp.loss, mlp.output)
    target = task.encode(host_y, outputs, dtype)
    weight = weights(backend, sample_weight, x.shape[0], dtype)
    if validation_split:
        if validation_data is not None:
            raise InvalidValueError("give validation_data or validation_split, not both")
        kept, held = split(mlp.seed, x.shape[0], validation_split)
        take, rows = backend.xp.take, backend.asarray(kept)
        validation_data = (take(x, backend.asarray(held), axis=0), host_y[held])
        x, target = take(x, rows, axis=0), target[kept]
        weight = None if weight is None else take(weight, rows, axis=0)
    scaling = mlp.scaling.fitted(backend, x)
    if task.kind == "values" and task.loss.targets == "values":
        scaling = scaling.fitted_to_targets(target)
    target = scaling.of_targets(target)
    if validation_data is not None:
        if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
            raise InvalidTypeError("validation_data: expected a pair (X, y)")
        held_x, held_y = pair(mlp, *validation_data, "validation ")
        scaling.check(held_x, "validation X")
        held_y = task.encode(held_y, outputs, dtype, "validation y")
        validation_data = (held_x, scaling.of_targets(held_y))
    data = Data(x, backend.asarray(target), weight, *scaling.arrays(backend, dtype))
    return Prepared(
        data, task, scaling, spread(target) if task.kind == "values" else 0.0, validation_data
    )


def pair(mlp: "MLP", X: Any, y: Any, prefix: str = "") -> tuple[Array, np.ndarray]:
    """Check that both are numbers, and as many; the examples go to the device."""
    x = features(mlp.backend, X, mlp.sizes[0], mlp.dtype, f"{prefix}X")
    host_y = to_host(mlp.backend, y, f"{prefix}y")
    if host_y.ndim == 0 or len(host_y) != x.shape[0]:
        raise InvalidValueError(
            f"{prefix}y: found shape {host_y.shape}; {prefix}X has {x.shape[0]} rows, expected "
            "a target for each"
        )
    return x, host_y


def encode(mlp: "MLP", host_y: np.ndarray) -> np.ndarray:
    """Bring targets into the form the loss takes, by the model's task and scaling."""
    return mlp.scaling.of_targets(mlp.task.encode(host_y, mlp.sizes[-1], mlp.dtype))


def split(seed: int, n: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw the rows to train on and the rows held out for validation."""
    held = round(n * share)
    if not 0 < held < n:
        raise InvalidValueError(
            f"validation_split: found {share!r} of {n} rows; expected a share in (0, 1) that "
            "leaves rows on both sides"
        )
    order = generator(seed, Purpose.SPLIT).permutation(n)
    return order[held:], order[:held]
