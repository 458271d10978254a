"""``Calibration``: what rows held out say of a model's predictions.

For classes it has a temperature: the probabilities become softmax(z/T) or σ(z/T), with the T that
makes the log loss of the held-out rows least (Guo et al. 2017), kept near 1 while they are few. It
changes no decision.

For sets and intervals it has the rows' scores s, which say how badly each was predicted. A new row
is as likely to be in any place of their order. So its score is at most the k-th smallest of n,
k = ⌈(n + 1) c⌉, with a chance of at least c, whatever the network and the data are, if the rows
come from the same source in no particular order: split conformal prediction (Vovk et al. 2005; Lei
et al. 2018). That is the coverage on average over all rows, not of each kind of rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, exp, log
from typing import Any

import numpy as np

from xpmlp.errors import CheckpointError, InvalidTypeError, InvalidValueError, require_between
from xpmlp.model.task import Task

LEAST = 20
"""Fewest rows to calibrate on."""

HOTTEST = 100.0
"""Largest temperature, and 1 divided by the smallest."""

PRIOR = 0.5
"""Standard deviation of ln T, as it is taken to be before a row is seen."""


@dataclass(frozen=True)
class Calibration:
    """What rows held out say of a model's predictions; ``MLP.calibrate`` makes it.

    Attributes
    ----------
    rows : int
        How many there were.
    temperature : float
        By which logits are divided; 1 where values are predicted.
    scores : ndarray of float64, shape (pairs, rows, columns), or None
        Ascending along the rows. For classes −p of the right one, shape (1, rows, 1). For values
        how far y is outside what was predicted, in predicted standard deviations where there are
        some; ``pairs`` are those of the quantiles, from the outermost, else 1. None for several
        labels.

    Examples
    --------
    >>> data = xpmlp.data.load("digits")
    >>> mlp = xpmlp.MLP([64, 32, 10], backend="numpy", seed=0)
    >>> history = mlp.fit(data.X[300:], data.y[300:], optimizer=xpmlp.Adam(0.01))
    >>> calibration = mlp.calibrate(data.X[:300], data.y[:300])
    >>> calibration.rows, 0.4 < calibration.temperature < 1.2
    (300, True)
    """

    rows: int
    temperature: float = 1.0
    scores: Any = field(default=None, compare=False)

    def __repr__(self) -> str:
        heat = "" if self.temperature == 1 else f", temperature={self.temperature:.3g}"
        return f"Calibration(rows={self.rows}{heat})"

    def threshold(self, coverage: float, call: str) -> np.ndarray:
        """Return the score that a new row stays within with this chance, shape (pairs, columns).

        Raises
        ------
        InvalidValueError
            For a coverage outside (0, 1), or one for which there are too few rows.
        """
        within(call, coverage)
        place = ceil((self.rows + 1) * coverage - 1e-9)
        if place > self.rows:
            needed = ceil(coverage / (1 - coverage) - 1e-9)
            raise InvalidValueError(
                f"{call}: found coverage={coverage:g} after a calibration on {self.rows} rows; "
                f"expected at most {self.rows / (self.rows + 1):.4g}, or {needed:,} rows"
            )
        return np.asarray(self.scores)[:, place - 1, :]

    def to_config(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what a model file keeps: entries of its configuration, and arrays."""
        entries = {"rows": self.rows, "temperature": self.temperature}
        return entries, {} if self.scores is None else {"scores": self.scores}

    @classmethod
    def from_config(
        cls, entries: Mapping[str, Any], scores: Any, shape: tuple[int, int] | None
    ) -> "Calibration":
        """Return the calibration in a model file.

        Parameters
        ----------
        entries : mapping
        scores : ndarray or None
        shape : (pairs, columns), or None where there are no scores

        Raises
        ------
        CheckpointError
            If it does not make sense.
        """
        rows, temperature = entries["rows"], entries["temperature"]
        if type(rows) is not int or rows < LEAST:
            raise CheckpointError(f"rows of the calibration: found {rows!r}")
        good = type(temperature) is float and 1 / HOTTEST <= temperature <= HOTTEST
        if not good:
            raise CheckpointError(f"temperature of the calibration: found {temperature!r}")
        expected = None if shape is None else (shape[0], rows, shape[1])
        found = None if scores is None else (scores.shape, scores.dtype)
        if found != (None if expected is None else (expected, np.float64)):
            raise CheckpointError(
                f"calibration.scores: found {found}; expected float64 of shape {expected}"
            )
        if scores is not None and not (np.isfinite(scores) & (scores == np.sort(scores, 1))).all():
            raise CheckpointError("calibration.scores: found numbers that do not ascend")
        return cls(rows, temperature, scores)


def score_shape(task: Task, outputs: int) -> tuple[int, int] | None:
    """Return for how many pairs of quantiles and columns of y there are scores; None if none.

    ``outputs`` are the network's.
    """
    if task.kind == "multilabel":
        return None
    if task.kind != "values":
        return 1, 1
    return pairs(task.loss), task.columns or outputs


def pairs(loss: Any) -> int:
    """Return the number of pairs of quantiles; a single one is a pair with itself."""
    return max(1, len(loss.q) // 2) if loss.predicts == "quantiles" else 1


def within(call: str, coverage: Any) -> None:
    """Refuse a coverage that is no number between 0 and 1."""
    if isinstance(coverage, bool) or not isinstance(coverage, int | float | np.number):
        raise InvalidTypeError(f"{call}: found coverage={coverage!r}; expected a number in (0, 1)")
    require_between(call, "coverage", float(coverage), 0.0, 1.0, open_low=True, open_high=True)


def check_rows(n: int) -> None:
    """Refuse too few rows: InvalidValueError."""
    if n < LEAST:
        raise InvalidValueError(
            f"calibrate: found {n} row{'s' * (n != 1)}; expected {LEAST} or more that the model "
            "was not trained on, some hundred for a good estimate"
        )


def temperature_of(z: np.ndarray, target: np.ndarray, softmax: bool) -> float:
    """Return the temperature T of least log loss for logits z, near 1 while rows are few.

    With β = 1/T the sum of the log losses has the slope Σᵢⱼ (pᵢⱼ − tᵢⱼ) zᵢⱼ in β, where p is
    softmax or σ of βz; times β it is the slope in ln β. Where all rows are right it is below 0 for
    any β: they cannot say how sure to be. So (ln β)²/2s² is added, as if ln T were 0 ± s
    beforehand, which hundreds of rows outweigh. The zero of the slope is found by bisection.

    Parameters
    ----------
    z, target : ndarray, shape (n, outputs)
        Logits, and probabilities.
    softmax : bool
        Whether p is softmax(z/T), or σ(z/T) for each output.
    """
    z = z.astype(np.float64)
    if softmax:
        z = z - z.max(axis=1, keepdims=True)

    def slope(log_b: float) -> float:
        b = exp(log_b)
        if softmax:
            e = np.exp(b * z)
            p = e / e.sum(axis=1, keepdims=True)
        else:
            e = np.exp(-np.abs(b * z))
            p = np.where(z >= 0, 1.0, e) / (1.0 + e)
        return b * float(np.sum((p - target) * z)) + log_b / PRIOR**2

    low, high = -log(HOTTEST), log(HOTTEST)
    if slope(low) > 0:  # no better than chance, on very many rows
        return HOTTEST
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return exp(-high)
