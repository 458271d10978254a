"""The order in which an epoch takes rows that are read from a file, group by group.

Reading single rows of a file that no memory holds would take forever. So groups of rows that lie
together (row groups of Parquet, chunks of Zarr) are shuffled, and then the rows within a buffer.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from xpmlp.nn.random import Purpose, generator, permutation, row_dtype


def cuts(rows: int, shards: int, least: int = 1) -> list[tuple[int, int]]:
    """Return where each shard of a batch begins and ends.

    Shards are contiguous, and their sizes differ by 1 at most, except that the last ones of a batch
    with too few rows are empty.

    Parameters
    ----------
    rows : int
    shards : int
    least : int
        Fewest rows of a shard that is not empty, if the batch has as many.

    Examples
    --------
    >>> from xpmlp.nn.orders import cuts
    >>> cuts(10, 4), cuts(2, 4)
    ([(0, 2), (2, 5), (5, 7), (7, 10)], [(0, 1), (1, 2), (2, 2), (2, 2)])
    """
    some = min(shards, max(rows // least, 1))
    ends = [rows * i // some for i in range(some + 1)] + [rows] * (shards - some)
    return [(ends[i], ends[i + 1]) for i in range(shards)]


class Cut(NamedTuple):
    """How batches are cut into shards, and which of them are this worker's.

    Attributes
    ----------
    shards, least : int
        As for ``cuts``.
    first, last : int
        The worker's shards: from the first to before the last.
    """

    shards: int = 1
    least: int = 1
    first: int = 0
    last: int = 1

    def own(self, rows: int) -> slice:
        """Return which rows of a batch are this worker's.

        Examples
        --------
        >>> from xpmlp.nn.orders import Cut
        >>> Cut(4, 1, 2, 4).own(10), Cut().own(10)
        (slice(5, 10, None), slice(0, 10, None))
        """
        bounds = cuts(rows, self.shards, self.least)
        return slice(bounds[self.first][0], bounds[self.last - 1][1])


def stored_order(
    seed: int,
    epoch: int,
    group_sizes: Sequence[int] | np.ndarray,
    buffer: int,
    shards: int = 1,
    batch_size: int | None = None,
    least: int = 1,
) -> np.ndarray:
    """Return the row order of an epoch over data in a file: each row once.

    The groups are shuffled and laid end to end, and cut into a run of rows for each shard. Within
    a run, rows are shuffled in windows of at most ``buffer`` rows. Batch k is the k-th slice of
    each shard's run, side by side: a worker that computes some shards reads only their groups. The
    order depends on the arguments alone, not on the number of workers.

    A window has whole groups, or those parts of groups that a run has, of at most ``buffer`` rows
    together; or some rows of one larger group. So no more groups are open at a time than fit in the
    buffer, or one, for each shard. Data that fit in the buffer have the order of data in memory.

    Parameters
    ----------
    seed, epoch : int
    group_sizes : sequence of int
        Rows of each group, in the order of the file; 0 for a group without any.
    buffer : int
    shards : int
    batch_size : int, optional
        Rows of a step; all rows if omitted. The last step may have fewer. Without shards it
        changes nothing.
    least : int
        Fewest rows of a shard in a step, unless it has none: 2 with batch normalization.

    Returns
    -------
    ndarray of int32, or int64 for 2³¹ rows and more, shape (n,)

    Examples
    --------
    >>> order = xpmlp.data.stored_order(0, 0, [4, 4, 4, 4], buffer=8)
    >>> order.tolist()
    [5, 14, 4, 6, 12, 13, 7, 15, 0, 8, 11, 1, 2, 3, 9, 10]
    >>> sorted(order.tolist()[:8])  # two of the groups, mixed
    [4, 5, 6, 7, 12, 13, 14, 15]
    """
    n = int(np.sum(group_sizes))
    if n <= buffer:
        return permutation(seed, epoch, n)
    batch = n if batch_size is None else min(batch_size, n)
    full, rest = divmod(n, batch)
    each, last = (np.diff(cuts(n, shards, least))[:, 0] for n in (batch, rest))
    runs = shard_runs(seed, epoch, group_sizes, buffer, each * full + last)
    if shards == 1:
        return next(runs)
    made = np.empty(n, row_dtype(n))
    batches, end = made[: full * batch].reshape(full, batch), made[full * batch :]
    at = done = 0
    for run, width, left in zip(runs, each, last, strict=True):
        batches[:, at : at + width] = run[: full * width].reshape(full, width)
        end[done : done + left] = run[full * width :]
        at, done = at + width, done + left
    return made


def shard_runs(
    seed: int,
    epoch: int,
    group_sizes: Sequence[int] | np.ndarray,
    buffer: int,
    lengths: Sequence[int] | np.ndarray,
    wanted: Collection[int] | None = None,
) -> Iterator[np.ndarray]:
    """Yield the rows of each shard, or of those wanted, in their order.

    Parameters
    ----------
    seed, epoch, group_sizes, buffer
        As for ``stored_order``.
    lengths : sequence of int
        Rows of each shard in the epoch: the sums of its parts of batches.
    wanted : collection of int, optional
    """
    sizes = np.asarray(group_sizes, np.int64)
    first = np.cumsum(sizes) - sizes
    groups = generator(seed, Purpose.SHUFFLE, epoch).permutation(len(sizes))
    ends = np.cumsum(sizes[groups])  # of the shuffled groups, laid end to end
    dtype, stop = row_dtype(int(ends[-1])), 0
    for shard, length in enumerate(np.asarray(lengths).tolist()):
        start, stop = stop, stop + length
        if wanted is not None and shard not in wanted:
            continue
        low, high = np.searchsorted(ends, (start, max(stop - 1, start)), side="right")
        inside = groups[low : high + 1]
        begins = ends[low : high + 1] - sizes[inside]
        sides = np.stack([np.maximum(start - begins, 0), np.minimum(stop - begins, sizes[inside])])
        rng, run, done = (
            generator(seed, Purpose.SHUFFLE, epoch, shard + 1),
            np.empty(length, dtype),
            0,
        )
        for window in _windows((first[inside] + sides).T.tolist(), buffer):
            rows = np.concatenate([np.arange(*piece, dtype=dtype) for piece in window])
            rng.shuffle(rows)
            run[done : done + len(rows)] = rows
            done += len(rows)
        yield run


def _windows(pieces: list[list[int]], buffer: int) -> Iterator[list[list[int]]]:
    """Yield pieces (start, stop) of together ``buffer`` rows at most; a larger one in parts."""
    window: list[list[int]] = []
    held = 0
    for start, stop in pieces:
        size = stop - start
        if window and held + size > buffer:
            yield window
            window, held = [], 0
        if size > buffer:
            ends = np.linspace(start, stop, -(-size // buffer) + 1).astype(np.int64).tolist()
            yield from ([[*piece]] for piece in pairwise(ends))
        elif size > 0:
            window.append([start, stop])
            held += size
    if window:
        yield window
