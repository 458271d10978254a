"""Range, mean and standard deviation of columns, in one pass over blocks of rows.

Each block has its own, and those of blocks are merged in pairs (Chan, Golub and LeVeque 1979). The
tree of pairs follows from the number of blocks alone: several workers may each do some blocks, and
whoever merges all of them gets the same bits.
"""

from typing import Any

import numpy as np

from xpmlp.nn.contract import Array

BLOCK_ROWS = 4096
"""Rows of a block: a copy of all rows in float64 would be too much."""


def of_block(xp: Any, x: Array) -> Array:
    """Return what ``merged`` needs of a block: shape (5, columns).

    These are each column's smallest and largest number, its middle c, half of what the mean is away
    from c, and the standard deviation. The sums are of (x − c)/s, with half the range s: nothing
    overflows, no digits are lost to a large mean, and a constant column has a deviation of exactly
    0.

    Parameters
    ----------
    x : Array of float64, shape (rows, columns)
    """
    low, high = xp.min(x, axis=0), xp.max(x, axis=0)
    middle, half = low / 2 + high / 2, high / 2 - low / 2
    unit = xp.where(half > 0, half, xp.ones_like(half))
    d = (x - middle) / unit
    return xp.stack([low, high, middle, unit * (xp.mean(d, axis=0) / 2), unit * xp.std(d, axis=0)])


def merged(counts: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Return smallest, largest, mean and standard deviation of all rows: float64, (4, columns).

    With the shares a and b of two blocks' rows and δ between their means, the mean is m₁ + b δ and
    the variance a σ₁² + b σ₂² + a b δ². A mean is kept as c + 2h: rounded to one number it would
    lose what is small beside it. Halves, because a range may be beyond the largest number.

    Parameters
    ----------
    counts : ndarray, shape (blocks,)
        Rows of each block.
    blocks : ndarray of float64, shape (blocks, 5, columns)
        What ``of_block`` returns of each, in their order.

    Examples
    --------
    >>> from xpmlp.arrays.moments import merged, of_block
    >>> x = np.array([[1.0], [3.0], [8.0]])
    >>> blocks = np.stack([of_block(np, x[:2]), of_block(np, x[2:])])
    >>> merged(np.array([2, 1]), blocks)[:3, 0]
    array([1., 8., 4.])
    """
    counts = np.asarray(counts, np.float64)
    while len(blocks) > 1:
        end = len(blocks) // 2 * 2
        (low1, high1, c1, h1, dev1), (low2, high2, c2, h2, dev2) = (
            blocks[start:end:2].swapaxes(0, 1) for start in (0, 1)
        )
        both = counts[:end:2] + counts[1:end:2]
        a, b = ((part / both)[:, None] for part in (counts[:end:2], counts[1:end:2]))
        half = (c2 / 2 - c1 / 2) + (h2 - h1)  # of δ
        unit = np.maximum(np.maximum(dev1, dev2), np.abs(half))
        unit = np.where(unit > 0, unit, 1.0)
        square = a * (dev1 / unit) ** 2 + b * (dev2 / unit) ** 2 + 4 * a * b * (half / unit) ** 2
        pairs = [
            *(np.minimum(low1, low2), np.maximum(high1, high2)),
            *(c1, h1 + b * half, unit * np.sqrt(square)),
        ]
        blocks = np.concatenate([np.stack(pairs, axis=1), blocks[end:]])
        counts = np.append(both, counts[end:])
    low, high, c, h, deviation = blocks[0]
    return np.stack([low, high, c + h + h, deviation])
