"""Robust scaling of columns of numbers: by median and quartiles, which outliers hardly move."""

from typing import Any

import numpy as np

from xpmlp.nn.contract import Array
from xpmlp.nn.tabular import smooth_clip

SAMPLED = 100_000
"""Most rows of which median and quartiles are taken, evenly spaced."""

COPIED = 2**22
"""Most numbers of which a copy is sorted at a time."""

ROUNDING = 16 * np.finfo(np.float64).eps
"""A column whose spread is a smaller share of its middle is constant but for rounding."""


def sampled(n: int) -> slice:
    """Return every how manieth of n rows to look at."""
    return slice(None, None, -(-n // SAMPLED) or 1)


def robust(some: np.ndarray, least: np.ndarray, most: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median of each column, and 1/(interquartile range): RealMLP's scaling.

    Where both quartiles are equal, as of counts that are mostly 0, half of the range takes the
    place of the interquartile range. Of a constant column the factor is 0.

    Parameters
    ----------
    some : ndarray, shape (n, columns)
        Rows, of ``sampled(n)`` at least.
    least, most : ndarray, shape (columns,)
        Of all rows.
    """
    columns = some.shape[1]
    width = max(COPIED // max(len(some), 1), 1)
    parts = [
        np.quantile(some[:, start : start + width].astype(np.float64), (0.25, 0.5, 0.75), axis=0)
        for start in range(0, columns, width)
    ]
    low, median, high = np.concatenate(parts, axis=1)
    # Halves, because a range may be beyond the largest number.
    quartiles, reach = high / 2 - low / 2, most / 2 - least / 2
    noise = ROUNDING * np.abs(median) + np.finfo(np.float64).tiny
    half = np.where(quartiles > noise, quartiles, reach / 2)
    with np.errstate(divide="ignore"):
        return median, np.where(half > noise, 0.5 / half, 0.0)


def standardized(xp: Any, x: Array, shift: Array, scale: Array, clip: Array | None = None) -> Array:
    """(x − shift) · scale, and that clipped, where ``clip`` says how: see ``smooth_clip``."""
    x = (x - shift) * scale
    return x if clip is None else smooth_clip(xp, x, clip)
