"""What is read from a network's outputs: decisions, probabilities, moments, quantiles.

Of an ensemble they are read from outputs whose prediction is the mean of its networks'
(``xpmlp.model.members``), or from those of each network, as further rows.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from xpmlp.arrays.dlpack import is_numpy_array
from xpmlp.model.base import Model
from xpmlp.model.task import Task
from xpmlp.nn.contract import Array


class Reading(NamedTuple):
    """What to make of a batch of outputs.

    Attributes
    ----------
    of : callable (model, out) -> Array
        From outputs before the loss's link, on the device, one row for each.
    in_units : callable (model, made) -> Array
        The same in the targets' units, where ``made`` may be on the host by now.
    """

    of: Callable[[Model, Array], Array]
    in_units: Callable[[Model, Array], Array] = lambda model, made: made


def _in_units(model: Model, made: Array, shifted: bool = True) -> Array:
    """Bring values, with the targets along the last axis, to the targets' units."""
    if not model.scaling.scales_targets(model.task):
        return made
    return model.scaling.to_targets(model.backend, made, shifted)


def _points(model: Model, out: Array) -> Array:
    """Return one value for each target, shape (n, columns of y)."""
    ops, task = model.backend.ops, model.task
    return task.link.function(ops, task.loss.points(ops, out))


def _decisions(model: Model, out: Array) -> Array:
    xp, kind = model.backend.xp, model.task.kind
    if kind in ("labels", "one_hot"):
        return xp.argmax(out, axis=1)
    out = _points(model, out)
    return xp.astype(out > 0.5, xp.int32) if kind in ("binary", "multilabel") else out


def _of_one(model: Model, made: Array) -> Array:
    """Bring decisions to the targets' units; those of a single output are one-dimensional."""
    made = _in_units(model, made)
    return made[:, 0] if made.ndim == 2 and made.shape[1] == 1 else made


def probable(task: Task) -> str | None:
    """Return what makes the outputs probabilities: "softmax" or "sigmoid"; None if nothing does."""
    name = task.loss.link if task.output is None else task.output.name
    return name if name in ("softmax", "sigmoid") and task.kind != "values" else None


def _logits(model: Model, out: Array) -> Array:
    """Return numbers of which softmax or the logistic function gives the probabilities.

    If the network itself ends in one of the two, they are found again from the probabilities.
    """
    task, xp = model.task, model.backend.xp
    if task.output is None:
        return out
    least = float(xp.finfo(out.dtype).smallest_normal)
    logs = xp.log(xp.maximum(out, least))
    return logs if probable(task) == "softmax" else logs - xp.log(xp.maximum(1.0 - out, least))


def _probabilities(model: Model, out: Array, calibrated: bool) -> Array:
    temperature = model.calibration.temperature if calibrated and model.calibration else 1.0
    if temperature == 1.0:
        p = _points(model, out)
    else:
        # calibrate refuses others than softmax and the logistic function
        link = model.task.link if model.task.output is None else model.task.output
        p = link.function(model.backend.ops, _logits(model, out) * (1.0 / temperature))
    return model.backend.xp.concat([1.0 - p, p], axis=1) if model.task.kind == "binary" else p


def _moments(model: Model, out: Array) -> Array:
    """Return mean and variance, shape (n, 2, columns of y)."""
    loss: Any = model.task.loss
    return model.backend.xp.stack(loss.moments(model.backend.ops, out), axis=1)


def _moments_in_units(model: Model, made: Array) -> Array:
    """Return mean and standard deviation in the targets' units, shape (n, 2, columns of y)."""
    xp = np if is_numpy_array(made) else model.backend.xp
    mean, deviation = made[:, 0, :], xp.sqrt(made[:, 1, :])
    return xp.stack([_in_units(model, mean), _in_units(model, deviation, False)], axis=1)


def _quantiles(model: Model, out: Array) -> Array:
    loss: Any = model.task.loss
    return loss.quantiles(model.backend.ops, out)


DECISIONS = Reading(_decisions, _of_one)
"""What ``MLP.predict`` returns."""
POINTS = Reading(_points, _in_units)
"""One value for each target, shape (n, columns of y)."""
PROBABILITIES = Reading(partial(_probabilities, calibrated=True))
"""What ``MLP.predict_proba`` returns."""
OWN_PROBABILITIES = Reading(partial(_probabilities, calibrated=False))
"""The same without the calibration."""
LOGITS = Reading(_logits)
"""Logits, shape (n, outputs)."""
MOMENTS = Reading(_moments, _moments_in_units)
"""Mean and standard deviation, shape (n, 2, columns of y)."""
QUANTILES = Reading(_quantiles, _in_units)
"""Quantiles, shape (n, quantiles, columns of y), ascending."""


def mean_and_std(xp: Any, made: Array) -> tuple[Array, Array]:
    """Take ``MOMENTS`` apart: shape (n,) each for one target, else (n, columns of y)."""
    mean, deviation = made[..., 0, :], made[..., 1, :]
    return (mean[..., 0], deviation[..., 0]) if mean.shape[-1] == 1 else (mean, deviation)
