"""Warnings of ``fit``: inputs far from scaled, and a loss that ran away.

A look at some rows, once in a model's life, and at the history. ``Diagnosis`` measures more, and is
more sensitive: these must not be wrong about a run that goes well.
"""

from math import nan
from typing import Any

import numpy as np

from xpmlp.arrays.rows import Rows, SparseRows, StoredRows
from xpmlp.errors import warn
from xpmlp.model.base import Model
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
    if model.epochs_trained or given.scaling.measures:
        return False
    some = given.x
    if not isinstance(some, StoredRows):  # of which all have been read
        some = some.take(spaced(some.count, min(ROWS, max(NUMBERS // some.array.shape[1], 1))))
    scale = 1.0 if given.scaling.scale is None else float(given.scaling.scale[0])  # of pixels
    with np.errstate(all="ignore"):  # squares may overflow, and are large then
        mean, deviation, reach = (scale * np.asarray(x) for x in _columns(some))
        size = np.sqrt(mean**2 + deviation**2)
    size[list(model.network.codes)] = 0.0
    place = int(size.argmax())
    large = size[place] > LARGE and model.network.architecture.normalization is None
    if not large and not 0 < reach < SMALL:
        return False
    warn(
        f"X: found inputs far from scaled: column {place}, the largest, has mean {mean[place]:.3g} "
        f"and standard deviation {deviation[place]:.3g} in the {some.count:,} rows looked at. "
        "Training may fail, or be slow. Bring each column to mean 0 and standard deviation 1: "
        "xpmlp.MLP(..., scaling='standard'), or scikit-learn's StandardScaler; divide pixels by 255"
    )
    return True


def _columns(x: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each column's mean and standard deviation, and the largest |x|; none become dense."""
    if isinstance(x, SparseRows):
        return *x.moments(), np.abs(x.array.values.astype(np.float64)).max(initial=0)
    if isinstance(x, StoredRows):
        low, high, mean, deviation = x.statistics()
        return mean, deviation, np.maximum(high, -low).max()
    values = np.concatenate([block.astype(np.float64) for block in x.blocks()])
    reach = max(values.max(initial=0), -values.min(initial=0))
    return values.mean(axis=0), values.std(axis=0), reach


def warn_of_loss(training: Any) -> None:
    """Warn if the loss ran away in this ``Training``, which has just ended.

    It has risen by more than the loss of a constant guess; or it was ten times that of classes, and
    is worse still. (Real targets may be far from 0, where networks start.)
    """
    model, given, losses = training.mlp, training.given, training.history.get("loss", [])
    losses, outputs = losses[training.first :], model.sizes[-1]
    if training.stopped and any(getattr(c, "restore_best", False) for c in training.callbacks):
        return  # the weights from before are back
    if not losses or (len(losses) < 3 and losses[-1] <= 2 * min(losses)):
        return
    target = given.target[spaced(len(given.target), min(1024, max(NUMBERS // outputs, 1)))]
    if not np.ptp(target, axis=0).any():
        return  # a constant guess has no loss, with which to compare
    guess = abs(constant_loss(given.task, target, outputs))
    rose = losses[-1] - min(losses) > guess
    jumped = len(losses) > 2 and max(losses) > 10 * guess and losses[-1] > guess
    small = model.penalty.strongest <= 1e-3  # a strong penalty is most of the loss
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
