"""What is measured of predictions: errors, calibration, coverage. Plain NumPy, on the test rows.

Calibration is measured on rows that did not set it: one half of a fold's test rows sets the
temperature or the width of the intervals, the other half measures, and then the other way round.
"""

import math
from typing import Any

import numpy as np

BINS = 15
"""Of the calibration error."""

COVERAGE = 0.9


def of_classes(p: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return error rate, log loss and calibration error, before and after a temperature.

    Parameters
    ----------
    p : ndarray, shape (n, classes)
    y : ndarray of int, shape (n,)
    """
    p = np.clip(p, 1e-12, 1.0)
    p = p / p.sum(axis=1, keepdims=True)
    warm = np.empty_like(p)
    for here, there in halves(len(y)):
        warm[there] = heated(p[there], temperature(p[here], y[here]))
    return {
        "error": float(np.mean(p.argmax(axis=1) != y)),
        "naive": 1.0 - float(np.bincount(y).max()) / len(y),
        "log_loss": log_loss(p, y),
        "log_loss_scaled": log_loss(warm, y),
        "ece": calibration_error(p, y),
        "ece_scaled": calibration_error(warm, y),
        "ece_by_chance": error_by_chance(warm),
    }


def of_values(predicted: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the root mean squared error, that of the mean, and the coverage of 90 % intervals."""
    residuals = np.abs(predicted - y)
    inside = np.empty(len(y), bool)
    for here, there in halves(len(y)):
        inside[there] = residuals[there] <= half_width(residuals[here])
    return {
        "error": float(np.sqrt(np.mean(residuals**2))),
        "naive": float(np.std(y)),
        "mae": float(np.mean(residuals)),
        "coverage": float(np.mean(inside)),
    }


def halves(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split n rows in two, by chance but always the same, and return both orders of the two."""
    order = np.random.default_rng(1).permutation(n)
    first, second = order[: n // 2], order[n // 2 :]
    return [(first, second), (second, first)]


def half_width(residuals: np.ndarray) -> float:
    """Return the half width of a split-conformal interval: the ⌈(n + 1) 0.9⌉-th residual."""
    rank = math.ceil((len(residuals) + 1) * COVERAGE)
    return math.inf if rank > len(residuals) else float(np.sort(residuals)[rank - 1])


def log_loss(p: np.ndarray, y: np.ndarray) -> float:
    """Return the mean of −log of the true class's probability."""
    return float(-np.mean(np.log(p[np.arange(len(y)), y])))


def heated(p: np.ndarray, t: float) -> np.ndarray:
    """Return the probabilities at temperature t: p^(1/t), normalized."""
    z = np.log(p) / t
    z = np.exp(z - z.max(axis=1, keepdims=True))
    made: np.ndarray = z / z.sum(axis=1, keepdims=True)
    return np.clip(made, 1e-12, 1.0)


def temperature(p: np.ndarray, y: np.ndarray) -> float:
    """Return the temperature with the least log loss, of 81 from 1/10 to 10."""
    grid = np.logspace(-1, 1, 81)
    return float(grid[np.argmin([log_loss(heated(p, t), y) for t in grid])])


def calibration_error(p: np.ndarray, y: np.ndarray) -> float:
    """Return Σ over 15 bins of (share of rows) · |accuracy − confidence| (Naeini et al. 2015)."""
    return _gap(p.max(axis=1), p.argmax(axis=1) == y)


def _gap(confidence: np.ndarray, right: np.ndarray) -> float:
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(place, right - confidence, BINS)
    return float(np.abs(gaps).sum() / len(right))


def error_by_chance(p: np.ndarray, draws: int = 20) -> float:
    """Return the calibration error that probabilities have if they are true: the mean over draws.

    Bins of few rows have other shares of right answers than they expect, by chance alone.
    """
    rng, confidence = np.random.default_rng(2), p.max(axis=1)
    right = rng.random((draws, len(p))) < confidence
    return float(np.mean([_gap(confidence, each) for each in right]))


def of_fold(kind: str, model: Any, X: Any, y: np.ndarray, classes: int) -> dict[str, float]:
    """Measure a fitted contestant on test rows."""
    if kind == "values":
        return of_values(np.asarray(model.predict(X), np.float64).reshape(-1), y)
    p = np.asarray(model.predict_proba(X), np.float64)
    return of_classes(np.pad(p, ((0, 0), (0, classes - p.shape[1]))), y)
