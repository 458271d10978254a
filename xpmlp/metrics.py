"""Measures of predictions, as functions of NumPy arrays.

They take targets, and what ``predict``, ``predict_proba``, ``predict_interval`` and ``predict_set``
return on the host. They know nothing of models. ``MEASURES`` are those that have a name in ``fit``.
"""

from math import log, pi
from typing import Any, NamedTuple

import numpy as np

from xpmlp.errors import InvalidValueError
from xpmlp.model.measures import MEASURES, Measure

__all__ = [
    "MEASURES",
    "Measure",
    "Reliability",
    "calibration_error",
    "coverage",
    "gaussian_log_loss",
    "log_loss",
    "pinball",
    "reliability",
    "width",
]


class Reliability(NamedTuple):
    """How often predictions of about the same probability are right: see ``reliability``.

    Attributes
    ----------
    confidence : ndarray, shape (bins,)
        Mean probability of the predictions in each bin; NaN where it is empty.
    accuracy : ndarray, shape (bins,)
        Share of them that are right; NaN where it is empty.
    rows : ndarray of int, shape (bins,)
        How many predictions are in it.

    Examples
    --------
    >>> found = xpmlp.metrics.reliability([1, 1], [[0.1, 0.9], [0.4, 0.6]], bins=2)
    >>> found.rows
    array([0, 2])
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    rows: np.ndarray


def log_loss(y: Any, p: Any) -> float:
    """Return the mean of −ln p of the right classes.

    Parameters
    ----------
    y : array-like of int, shape (n,); or of 0 and 1, shape (n, labels)
        Class indices; for several labels in a row each of them.
    p : array-like, shape (n, C), or (n, labels)
        As ``predict_proba`` returns it. For several labels the loss is the sum over them.

    Raises
    ------
    InvalidValueError
        If the shapes do not fit, or there are no rows.

    Examples
    --------
    >>> round(xpmlp.metrics.log_loss([1, 0], [[0.5, 0.5], [0.9, 0.1]]), 3)
    0.399
    """
    y, p = _classes(y, p)
    least = float(np.finfo(np.float64).tiny)
    if y.ndim == 2:
        rows = np.sum(np.log(np.maximum(np.where(y == 1, p, 1 - p), least)), axis=1)
    else:
        rows = np.log(np.maximum(p[np.arange(len(y)), y], least))
    return float(-rows.mean())


def reliability(y: Any, p: Any, bins: int = 15) -> Reliability:
    """Return confidence and accuracy of predictions in bins of equal width.

    A prediction is the most probable class, and its confidence the probability; for several labels
    in a row each of them is a prediction.

    Parameters
    ----------
    y, p
        As for ``log_loss``.
    bins : int
        Number of bins between 0 and 1.

    Raises
    ------
    InvalidValueError
        As ``log_loss``, and for fewer than one bin.

    Examples
    --------
    >>> xpmlp.metrics.reliability([1, 0], [[0.1, 0.9], [0.2, 0.8]], bins=2).accuracy
    array([nan, 0.5])
    """
    y, p = _classes(y, p)
    if bins < 1:
        raise InvalidValueError(f"bins: found {bins}; expected 1 or more")
    if y.ndim == 2:
        confidence, right = np.maximum(p, 1 - p).ravel(), ((p > 0.5) == (y == 1)).ravel()
    else:
        confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean, share = (
            np.bincount(place, weights, minlength=bins) / count
            for weights in (confidence, right.astype(float))
        )
    return Reliability(mean, share, count)


def calibration_error(y: Any, p: Any, bins: int = 15) -> float:
    """Return the expected calibration error: how far confidence is from accuracy.

    It is ``Σ rows/n · |accuracy − confidence|`` over the bins of ``reliability`` (Naeini et al.
    2015; Guo et al. 2017): 0 if of the predictions of probability 0.8 just 80 % are right. With few
    rows it is too large, by chance alone.

    Parameters
    ----------
    y, p, bins
        As for ``reliability``.

    Raises
    ------
    InvalidValueError
        As ``reliability``.

    Examples
    --------
    >>> round(xpmlp.metrics.calibration_error([1, 0], [[0.1, 0.9], [0.3, 0.7]], bins=1), 3)
    0.3
    """
    found = reliability(y, p, bins)
    gaps = np.nan_to_num(np.abs(found.accuracy - found.confidence))
    return float(np.sum(found.rows * gaps) / found.rows.sum())


def coverage(y: Any, predicted: Any) -> Any:
    """Return the share of targets that are in their interval, or of classes in their set.

    Parameters
    ----------
    y : array-like, shape (n,) or (n, targets)
    predicted : array-like, shape (n, 2) or (n, targets, 2); or of bool, shape (n, C)
        As ``predict_interval`` or ``predict_set`` returns it.

    Returns
    -------
    float, or ndarray of shape (targets,) for several targets

    Raises
    ------
    InvalidValueError
        If the shapes do not fit, or there are no rows.

    Examples
    --------
    >>> xpmlp.metrics.coverage([1.0, 5.0], [[0.0, 2.0], [0.0, 2.0]])
    0.5
    >>> xpmlp.metrics.coverage([1, 0], [[True, True], [True, False]])
    1.0
    """
    predicted = np.asarray(predicted)
    if predicted.dtype == bool:
        y, predicted = _classes(y, predicted)
        if y.ndim == 2:
            raise InvalidValueError(
                f"y: found shape {y.shape}; expected class indices, ({len(y)},)"
            )
        return float(predicted[np.arange(len(y)), y].mean())
    y = _values(y, predicted, "intervals", 1)
    if predicted.shape[-1] != 2:
        raise InvalidValueError(
            f"intervals: found shape {predicted.shape}; expected a last axis of 2"
        )
    return _mean((predicted[..., 0] <= y) & (y <= predicted[..., 1]))


def width(intervals: Any) -> Any:
    """Return the mean width of intervals, in the targets' units.

    Parameters
    ----------
    intervals : array-like, shape (n, 2) or (n, targets, 2)
        As ``predict_interval`` returns it.

    Returns
    -------
    float, or ndarray of shape (targets,) for several targets

    Examples
    --------
    >>> xpmlp.metrics.width([[0.0, 2.0], [1.0, 2.0]])
    1.5
    """
    intervals = np.asarray(intervals, dtype=np.float64)
    return _mean(intervals[..., 1] - intervals[..., 0])


def pinball(y: Any, predicted: Any, q: Any) -> float:
    """Return the mean quantile loss: max(q e, (q − 1) e) with e = y − predicted.

    Parameters
    ----------
    y : array-like, shape (n,) or (n, targets)
    predicted : array-like, y's shape; or with one more axis for several quantiles
        As ``predict_quantiles`` returns it.
    q : float, or sequence of float
        The quantiles, in (0, 1). The mean is taken over them too.

    Raises
    ------
    InvalidValueError
        If the shapes do not fit, or there are no rows.

    Examples
    --------
    >>> xpmlp.metrics.pinball([1.0, 2.0], [0.0, 3.0], 0.9)
    0.5
    >>> round(xpmlp.metrics.pinball([1.0, 2.0], [[0.0, 2.0], [1.0, 3.0]], [0.1, 0.9]), 3)
    0.1
    """
    predicted, levels = np.asarray(predicted, dtype=np.float64), np.asarray(q, dtype=np.float64)
    y = _values(y, predicted, "predicted", levels.ndim)
    if levels.ndim and predicted.shape[-1] != len(levels):
        raise InvalidValueError(
            f"predicted: found shape {predicted.shape}; expected a last axis of {len(levels)}, one "
            "for each quantile"
        )
    e = (y[..., None] if levels.ndim else y) - predicted
    return float(np.mean(np.maximum(levels * e, (levels - 1) * e)))


def gaussian_log_loss(y: Any, mean: Any, std: Any) -> float:
    """Return the mean of −ln p(y) for y ~ N(mean, std²), in the targets' units.

    Parameters
    ----------
    y, mean, std : array-like, shape (n,) or (n, targets)
        ``mean, std = mlp.predict(X, return_std=True)``. Several targets count as independent: the
        loss is the sum over them.

    Raises
    ------
    InvalidValueError
        If the shapes do not fit, or there are no rows.

    Examples
    --------
    >>> round(xpmlp.metrics.gaussian_log_loss([1.0], [1.0], [1.0]), 4)  # ½ ln 2π
    0.9189
    """
    mean, std = np.asarray(mean, dtype=np.float64), np.asarray(std, dtype=np.float64)
    y = _values(y, mean, "mean", 0)
    _values(std, mean, "std", 0)
    rows = np.log(std) + 0.5 * (((y - mean) / std) ** 2 + log(2 * pi))
    return float(np.mean(rows.reshape(len(y), -1).sum(axis=1)))


def _mean(values: np.ndarray) -> Any:
    return float(values.mean()) if values.ndim == 1 else values.mean(axis=0)


def _values(y: Any, predicted: np.ndarray, name: str, more: int) -> np.ndarray:
    """Return real targets, compared in shape with predictions that have some more axes."""
    y = np.asarray(y, dtype=np.float64)
    if y.ndim == 0 or not len(y) or predicted.shape[: predicted.ndim - more] != y.shape:
        raise InvalidValueError(
            f"y and {name}: found shapes {y.shape} and {predicted.shape}; expected at least one "
            f"row, and y's shape{' and one more axis' * more}"
        )
    return y


def _classes(y: Any, p: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return class indices or labels, and probabilities for them."""
    y, p = np.asarray(y), np.asarray(p)
    p = p if p.dtype == bool else p.astype(np.float64)
    fits = p.ndim == 2 and len(p) > 0 and (y.shape == p.shape or y.shape == p.shape[:1])
    if not fits:
        raise InvalidValueError(
            f"y and p: found shapes {y.shape} and {p.shape}; expected class indices of shape (n,) "
            "and probabilities of shape (n, C), or both of shape (n, labels)"
        )
    if y.ndim == 2:
        return y, p
    if y.dtype.kind not in "biu" or y.min() < 0 or y.max() >= p.shape[1]:
        raise InvalidValueError(
            f"y: found {y.dtype} from {y.min()} to {y.max()}; expected class indices from 0 to "
            f"{p.shape[1] - 1}"
        )
    return y.astype(np.int64), p
