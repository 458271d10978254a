"""The metric by which an estimator for tables chooses its epoch, measured after each."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from xpmlp.callbacks import Callback
from xpmlp.errors import InvalidValueError
from xpmlp.storage.streams import put

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]
"""Of targets, predictions (probabilities for classes), and the rows' weights."""


def _accuracy(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    return float(np.average(p.argmax(axis=1) == y, weights=weight))


def _log_loss(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    likely = np.clip(p[np.arange(len(y)), y].astype(np.float64), 1e-15, 1.0)
    return float(-np.average(np.log(likely), weights=weight))


def _auc(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    from sklearn.metrics import roc_auc_score

    there = np.unique(y)
    if len(there) < 2:
        raise InvalidValueError(
            "metric: found 'auc' with validation rows of one class; raise validation_fraction, or "
            "use 'log_loss'"
        )
    if p.shape[1] == 2:
        return float(roc_auc_score(y, p[:, 1], sample_weight=weight))
    by_class = [roc_auc_score(y == k, p[:, k], sample_weight=weight) for k in there]
    return float(np.mean(by_class))


def _mse(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    return float(np.mean(np.average((p - y) ** 2, axis=0, weights=weight)))


def _rmse(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    return float(np.sqrt(_mse(y, p, weight)))


def _mae(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    return float(np.mean(np.average(np.abs(p - y), axis=0, weights=weight)))


def _r2(y: np.ndarray, p: np.ndarray, weight: np.ndarray | None) -> float:
    mean = np.average(y, axis=0, weights=weight)
    around, off = _mse(y, np.broadcast_to(mean, y.shape), weight), _mse(y, p, weight)
    return float(off == 0) if around == 0 else 1.0 - off / around


OF_CLASSES: dict[str, Measure] = {"accuracy": _accuracy, "log_loss": _log_loss, "auc": _auc}
OF_VALUES: dict[str, Measure] = {"rmse": _rmse, "mae": _mae, "r2": _r2}


class Held(NamedTuple):
    """Validation rows: inputs, targets, and weights or None."""

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None


class Score(Callback):
    """Adds ``val_<metric>`` of the held-out rows to the history, and prints some epochs.

    Parameters
    ----------
    metric : str
        In ``OF_CLASSES`` or ``OF_VALUES``.
    held_out : Held or None
    predict : callable (mlp, X) -> ndarray
        Returns what the metric takes.
    lines : int
        Most epochs to print; 0 for none.
    """

    def __init__(
        self, metric: str, held_out: Held | None, predict: Callable[..., np.ndarray], lines: int
    ) -> None:
        self.metric, self.held_out, self.predict, self.lines = metric, held_out, predict, lines

    @property
    def monitor(self) -> str:
        """The metric's key in the history."""
        return f"val_{self.metric}"

    def on_epoch_end(self, training: Any) -> None:
        """Measure, and print every n-th epoch."""
        values, held_out = training.history, self.held_out
        if held_out is not None:
            measure = (OF_CLASSES | OF_VALUES)[self.metric]
            with np.errstate(over="ignore"):
                found = measure(held_out.y, self.predict(training.mlp, held_out.X), held_out.weight)
            values.setdefault(self.monitor, []).append(found)
        done = training.epoch + 1
        every = -(-training.epochs // self.lines) if self.lines else done + 1
        if self.lines and (done == training.epochs or done % every == 0):
            scored = "" if held_out is None else f", validation {self.metric} {found:.4g}"
            loss = values["loss"][-1]
            put(f"epoch {done}/{training.epochs}: loss {loss:.4g}{scored}", sys.stdout)
