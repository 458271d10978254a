"""``Batch``: the rows of one step, as a custom training loop gets them."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from xpmlp.arrays.checks import whole
from xpmlp.errors import InvalidValueError
from xpmlp.nn.penalty import Penalty
from xpmlp.training.batches import Chunk


@dataclass(frozen=True)
class Batch:
    """The rows of one step, or a part of them.

    Attributes
    ----------
    number : int
        The step in its epoch, from 0.
    rows : ndarray of int32, shape (size,)
        Which rows of X. Of k networks with orders of their own, shape (k, size).
    share : float
        The part's share of the batch, by rows or their weights; 1 for a whole batch.

    Examples
    --------
    >>> mlp = xpmlp.MLP([1, 1], backend="numpy", seed=0)
    >>> X, y = [[1.0], [2.0], [3.0]], [2.0, 4.0, 6.0]
    >>> loop = xpmlp.Loop(mlp, X, y, epochs=1, batch_size=2, shuffle=False)
    >>> [batch.rows.tolist() for batch in loop.batches()]
    [[0, 1], [2]]
    """

    number: int
    rows: np.ndarray
    share: float
    _chunk: Chunk
    _weight: np.ndarray | None
    _part: tuple[int, int, int]  # its number, and where it begins and ends in the batch

    def split(self, parts: int) -> list["Batch"]:
        """Return the batch in parts of about as many rows, for gradients that are added up.

        Raises
        ------
        InvalidValueError
            For a part of a batch, and for more parts than rows.

        Examples
        --------
        >>> points = xpmlp.data.make_xor(n=100)
        >>> mlp = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0)
        >>> loop = xpmlp.Loop(mlp, points.X, points.y, epochs=1, batch_size=50)
        >>> [[part.share for part in batch.split(2)] for batch in loop.batches()]
        [[0.5, 0.5], [0.5, 0.5]]
        """
        size, parts = self.rows.shape[-1], whole("parts", parts)
        if parts > size or self._part[2] - self._part[1] != self._size:
            raise InvalidValueError(
                f"split: found {size} rows to make {parts} parts of; expected a whole batch, and "
                "no more parts than rows"
            )
        ends = [size * i // parts for i in range(parts + 1)]
        w = np.ones(size) if self._weight is None else self._weight.astype(np.float64)
        total = float(w.sum()) or 1.0
        return [
            replace(
                self,
                rows=self.rows[..., a:b],
                share=float(w[a:b].sum()) / total,
                _part=(i, a, b),
            )
            for i, (a, b) in enumerate(pairwise(ends))
        ]

    @property
    def _size(self) -> int:
        """Rows of the whole batch."""
        return int(self._chunk.plan.rows.shape[-1])

    def penalty(self, penalty: Penalty) -> Penalty:
        """Return the penalty on the mean loss of the whole batch, of which this may be a part."""
        w = self._weight
        total = float(self._size) if w is None else float(w.sum(dtype=np.float64))
        if not total:
            return replace(penalty, l1=0.0, l2=0.0)
        return penalty.of_batch(np, total)


def check(batch: Batch, now: Batch | None, whole_one: bool = False) -> None:
    """Refuse a batch that is not the one a loop is at, and where it is asked for a part of one.

    Raises
    ------
    InvalidValueError
    """
    if now is None or batch._chunk is not now._chunk:
        raise InvalidValueError(
            "batch: found one of another step; take each batch as batches() gives it, once: "
            "for batch in loop.batches(): loop.step(batch)"
        )
    if whole_one and batch is not now:
        raise InvalidValueError(
            "batch: found a part of one; add up gradients of the parts, and pass the whole "
            "batch to update"
        )
