"""Warnings of ``fit``: inputs far from scaled, and a loss that ran away.

A look at some rows, once in a model's life, and at the history. ``Diagnosis`` measures more, and is
more sensitive: these must not be wrong about a run that goes well.
"""

from math import nan
from typing import Any

import numpy as np

from xpmlp.arrays.rows import HostRows, Rows
from xpmlp.errors import warn
from xpmlp.model.base import Model
from xpmlp.model.scaling import Scaling
from xpmlp.model.task import Task
from xpmlp.nn.ops import Ops
from xpmlp.training.prepare import TrainingData

ROWS = 256
NUMBERS = 2**20
"""Most rows and most numbers that are looked at."""

LARGE, SMALL = 100.0, 0.01
"""Healthy: a column's root mean square of at most 13 (pixels from 0 to 16), and a largest number of
at least 0.2. Iris fails with 60000 and with 0.008."""


def spaced(n: int, limit: int) -> np.ndarray:
    """Return up to ``limit`` of the numbers below n, evenly spaced."""
    return np.linspace(0, n - 1, min(n, limit)).astype(np.int64)


def warn_of_inputs(model: Model, given: TrainingData) -> bool:
    """Warn if the first training data are far from mean 0 and deviation 1; return whether.

    Later fits may have other data, but weights that suit the first. Normalized layers undo large
    inputs, not small ones.
    """
    if model.epochs_trained:
        return False
    with np.errstate(all="ignore"):  # squares may overflow, and are large then
        x = _some(given.x, given.scaling)
        size = np.sqrt(np.mean(x * x, axis=0))
        place = int(size.argmax())
        large = size[place] > LARGE and model.network.architecture.normalization is None
        if not large and not 0 < np.abs(x).max() < SMALL:
            return False
        mean, deviation = x[:, place].mean(), x[:, place].std()
    warn(
        f"X: found inputs far from scaled: column {place}, the largest, has mean {mean:.3g} and "
        f"standard deviation {deviation:.3g} in the {len(x)} rows looked at. Training may fail, "
        "or be slow. Bring each column to mean 0 and standard deviation 1: "
        "xpmlp.MLP(..., scaling='standard'), or scikit-learn's StandardScaler; divide pixels by 255"
    )
    return True


def _some(x: Rows, scaling: Scaling) -> np.ndarray:
    """Return some rows as the first layer takes them, float64."""
    rows = x.take(spaced(x.count, min(ROWS, max(NUMBERS // x.array.shape[1], 1))))
    dense = type(rows) is HostRows  # others come from the device, or by way of it
    seen = rows.array if dense else x.backend.to_numpy(rows.part(0, rows.count))
    seen = np.asarray(seen).astype(np.float64)
    if x.scaled or scaling.scale is None:
        return seen
    return (seen - (0.0 if scaling.shift is None else scaling.shift)) * scaling.scale


def warn_of_loss(training: Any) -> None:
    """Warn if the loss ran away in this ``Training``, which has just ended.

    It has risen by more than the loss of a constant guess; or it was ten times that of classes, and
    is worse still. (Real targets may be far from 0, where networks start.)
    """
    model, given, losses = training.mlp, training.given, training.history.get("loss", [])
    losses, outputs = losses[training.first :], model.sizes[-1]
    if not losses or (len(losses) < 3 and losses[-1] <= 2 * min(losses)):
        return
    some = spaced(len(given.target), min(1024, max(NUMBERS // outputs, 1)))
    guess = max(abs(constant_loss(given.task, given.target[some], outputs)), 1e-12)
    rose = losses[-1] - min(losses) > guess
    jumped = len(losses) > 2 and max(losses) > 10 * guess and losses[-1] > guess
    small = max(model.penalty.l1, model.penalty.l2) <= 1e-3  # a strong penalty is most of the loss
    if rose or (jumped and small and given.task.kind != "values"):
        then = int(np.argmin(losses) if rose else np.argmax(losses))
        warn(
            f"the training loss ran away: it was {losses[then]:.3g} in epoch {then + 1} of this "
            f"fit and {losses[-1]:.3g} in the last; a constant guess has {guess:.3g}. Divide the "
            f"learning rate ({training.history['learning_rate'][-1]:.3g}) by 10, or use "
            "clip_norm=1.0 in the optimizer"
        )


def constant_loss(task: Task, y: np.ndarray, outputs: int) -> float:
    """Return the loss if every row gets the mean target, through the inverse of the loss's link.

    NaN where only the loss knows which output predicts what.

    Parameters
    ----------
    task : Task
    y : ndarray
        In the form the loss takes.
    outputs : int
        Of the network.
    """
    if task.columns is not None:
        return nan
    counts = y.ndim == 1
    mean = np.bincount(y, minlength=outputs) / len(y) if counts else y.mean(axis=0, dtype=float)
    p = np.clip(mean, 1e-6, 1 - 1e-6)  # a class that is absent has no finite logit
    inverse = {
        "identity": mean,
        "softmax": np.log(p),
        "sigmoid": np.log(p / (1 - p)),
        "exp": np.log(np.maximum(mean, 1e-6)),
    }[task.loss.link]
    values, _ = task.loss(Ops.reference(np), np.tile(inverse, (len(y), 1)), y)
    return float(np.mean(values))
