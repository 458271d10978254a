"""The metric by which an estimator for tables chooses its epoch, measured after each."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from xpmlp.callbacks import Callback
from xpmlp.model.measures import MEASURES
from xpmlp.storage.streams import put


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
        In ``xpmlp.model.measures.MEASURES``.
    held_out : Held or None
    predict : callable (mlp, X) -> ndarray
        Returns probabilities, or values.
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
            measure, p = MEASURES[self.metric], self.predict(training.mlp, held_out.X)
            classes = p.shape[1] if measure.takes != "values" else 0
            p = p.argmax(axis=1) if measure.takes == "classes" else p
            found = measure(held_out.y, p, held_out.weight, classes)
            values.setdefault(self.monitor, []).append(found)
        done = training.epoch + 1
        every = -(-training.epochs // self.lines) if self.lines else done + 1
        if self.lines and (done == training.epochs or done % every == 0):
            scored = "" if held_out is None else f", validation {self.metric} {found:.4g}"
            loss = values["loss"][-1]
            put(f"epoch {done}/{training.epochs}: loss {loss:.4g}{scored}", sys.stdout)
