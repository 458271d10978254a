"""What can be said about the training data before the first epoch."""

from dataclasses import dataclass

import numpy as np

from xpmlp.model.task import Task
from xpmlp.training.advice import constant_loss

NEIGHBORS = 5
"""Odd, so that two classes cannot tie; small, because the probe is small."""


@dataclass(frozen=True)
class Columns:
    """Statistics of a table's columns, each of shape (columns,).

    ``reach`` is the largest distance from the mean.
    """

    mean: np.ndarray
    std: np.ndarray
    reach: np.ndarray

    @classmethod
    def of(cls, table: np.ndarray) -> "Columns":
        """Measure a table of shape (n, columns)."""
        x = table.astype(np.float64)
        mean = x.mean(axis=0)
        return cls(mean, x.std(axis=0), np.abs(x - mean).max(axis=0))


@dataclass(frozen=True)
class Facts:
    """What the data alone tell: what a network that has learned something must beat.

    Attributes
    ----------
    inputs : Columns
        As the first layer sees them, after scaling.
    targets : Columns or None
        Of real targets; None for classes, and where the loss's link sets the scale.
    counts, shown : tuple of int
        Rows of each class in the training data and in the probe; empty for other targets.
    loss : float
        Mean loss on the probe of the best constant output; NaN if that is not known.
    guess, shown_guess : float
        Accuracy of the most frequent answer, on all training data and on the probe; 0 for R².
    neighbors : float
        Accuracy or R² of predicting each row of the probe as the mean of its nearest neighbors:
        what is possible without learning anything.
    """

    inputs: Columns
    targets: Columns | None
    counts: tuple[int, ...]
    shown: tuple[int, ...]
    loss: float
    guess: float
    shown_guess: float
    neighbors: float

    @classmethod
    def of(
        cls,
        task: Task,
        inputs: Columns,
        y: np.ndarray,
        X_shown: np.ndarray,
        y_shown: np.ndarray,
        outputs: int,
    ) -> "Facts":
        """Measure all targets, and the probe's inputs and targets."""
        rows = np.eye(outputs)[y_shown] if y_shown.ndim == 1 else y_shown.astype(np.float64)
        return cls(
            inputs,
            Columns.of(y) if task.kind == "values" and task.loss.link == "identity" else None,
            _counts(task, y, outputs),
            _counts(task, y_shown, outputs),
            constant_loss(task, y_shown, outputs),
            _guess(task, y, outputs),
            _guess(task, y_shown, outputs),
            _score(task, _mean_of_neighbors(X_shown, rows), rows),
        )


def labels(task: Task, y: np.ndarray) -> np.ndarray | None:
    """Return the class indices of encoded targets; None if they are not classes."""
    if task.kind in ("labels", "one_hot"):
        return y.astype(np.int64) if y.ndim == 1 else y.argmax(axis=1)
    return (y[:, 0] > 0.5).astype(np.int64) if task.kind == "binary" else None


def _counts(task: Task, y: np.ndarray, outputs: int) -> tuple[int, ...]:
    found = labels(task, y)
    if found is None:
        return ()
    return tuple(int(n) for n in np.bincount(found, minlength=max(outputs, 2)))


def _guess(task: Task, y: np.ndarray, outputs: int) -> float:
    if task.kind == "values":
        return 0.0
    counts = _counts(task, y, outputs) or np.unique(y > 0.5, axis=0, return_counts=True)[1]
    return float(max(counts) / len(y))


def _mean_of_neighbors(X: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Predict each row as the mean target of its nearest other rows."""
    x = X.astype(np.float64)
    square = np.sum(x * x, axis=1)
    distance = square[:, None] + square - 2.0 * (x @ x.T)
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1)[:, : max(min(NEIGHBORS, len(x) - 1), 1)]
    return np.asarray(rows[nearest].mean(axis=1))


def _score(task: Task, predicted: np.ndarray, rows: np.ndarray) -> float:
    """Accuracy of probabilities, or R² of values."""
    if task.kind == "values":
        spread = np.sum((rows - rows.mean(axis=0)) ** 2)
        return float(1.0 - np.sum((rows - predicted) ** 2) / spread) if spread > 0 else 0.0
    if rows.shape[1] > 1 and task.kind != "multilabel":
        return float(np.mean(predicted.argmax(axis=1) == rows.argmax(axis=1)))
    return float(np.mean(((predicted > 0.5) == (rows > 0.5)).all(axis=1)))
