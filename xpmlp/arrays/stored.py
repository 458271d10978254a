"""Matrices that stay in a file: some rows at a time are read, by whole groups.

Training shuffles the groups, and the rows within a buffer: see ``xpmlp.nn.orders``.
"""

from collections import OrderedDict
from copy import copy
from hashlib import sha256
from math import prod
from threading import Lock
from typing import Any, Protocol

import numpy as np

from xpmlp.arrays.checks import all_finite, check_numbers, narrowed
from xpmlp.arrays.robust import standardized
from xpmlp.errors import InvalidValueError

BUFFER_BYTES = 2**26
"""Bytes of the rows that are shuffled together, unless ``buffer`` says how many: 64 MiB."""

GROUP_BYTES = 2**18
"""Bytes of a group where the file has none of its own."""

HASHED = 2**20
"""Bytes at each end of the data that tell them from others."""


class Source(Protocol):
    """A matrix of numbers in a file.

    Attributes
    ----------
    name : str
        What to call it in messages.
    dtype : numpy.dtype
    columns : int
    groups : sequence of int
        Rows of each group: what lies together in the file, and is read together.
    """

    name: str
    dtype: np.dtype[Any]
    columns: int
    groups: Any

    def read(self, group: int) -> np.ndarray:
        """Return the rows of a group, shape (rows, columns)."""

    def identity(self) -> str:
        """Return what tells the data from others, without reading all of them."""


class StoredMatrix:
    """A matrix in a file, whose rows are read as those of a NumPy array.

    ``fit``, ``predict`` and ``evaluate`` take it as X. ``xpmlp.data.open_rows`` makes one.

    Parameters
    ----------
    source : Source
    buffer : int, optional
        Rows that are shuffled together in training, and held in memory; by default those of 64
        MiB. Larger groups of the file are held one at a time.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    buffer : int

    Examples
    --------
    >>> np.save("points.npy", np.arange(12.0, dtype=np.float32).reshape(4, 3))
    >>> X = xpmlp.data.open_rows("points.npy").X
    >>> X
    StoredMatrix(points.npy: 4 x 3, float32)
    >>> X[1:3]
    array([[3., 4., 5.],
           [6., 7., 8.]], dtype=float32)
    """

    def __init__(self, source: Source, buffer: int | None = None) -> None:
        check_numbers(source.dtype, source.name)
        self.source, self.dtype = source, np.dtype(source.dtype)
        sizes = np.asarray(source.groups, np.int64)
        self._ends = np.cumsum(sizes)
        self.shape = (int(sizes.sum()), source.columns)
        row = max(source.columns * self.dtype.itemsize, 1)
        self.buffer = max(BUFFER_BYTES // row, 1) if buffer is None else buffer
        self._rows: np.ndarray | None = None
        self._scaling: tuple[Any, ...] | None = None
        self._kept = _Kept(source, max(self.buffer, int(sizes.max(initial=0))))

    def __repr__(self) -> str:
        n, columns = self.shape
        return f"StoredMatrix({self.source.name}: {n:,} x {columns:,}, {self.dtype})"

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def groups(self) -> np.ndarray:
        """How many of these rows each group of the file has.

        Examples
        --------
        >>> np.save("points.npy", np.arange(12.0).reshape(4, 3))
        >>> xpmlp.data.open_rows("points.npy").X.groups
        array([4])
        """
        if self._rows is None:
            return np.diff(self._ends, prepend=0)
        return np.diff(np.searchsorted(self._rows, self._ends), prepend=0)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read all rows."""
        return np.asarray(self[:], dtype)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return rows by slice, numbers or mask; ``X[rows, columns]`` has some of the columns."""
        rows, *columns = rows if isinstance(rows, tuple) else (rows,)
        is_slice = isinstance(rows, slice)
        found = self._read(np.arange(*rows.indices(len(self))) if is_slice else self._numbers(rows))
        found = found if is_slice or np.ndim(rows) else found[0]
        return found[(..., *columns)] if columns and columns[0] is not Ellipsis else found

    def take(self, rows: Any, axis: int = 0, out: Any = None, mode: str = "raise") -> np.ndarray:
        """Return rows, in ``out`` if given: ``numpy.ndarray.take`` along axis 0."""
        found = self[rows]
        if out is None:
            return found
        np.copyto(out, found)
        return out

    def _numbers(self, rows: Any) -> np.ndarray:
        given = np.atleast_1d(np.asarray(rows))
        if given.dtype == bool and len(given) == len(self):
            return np.flatnonzero(given)
        if given.size and (given.dtype.kind not in "iu" or not self._has(given)):
            raise IndexError(f"{self.source.name}: found rows {rows!r} of {len(self):,}")
        return np.where(given < 0, given + len(self), given).astype(np.int64)

    def _has(self, given: np.ndarray) -> bool:
        return bool(-len(self) <= given.min() and given.max() < len(self))

    def rows(self, which: np.ndarray) -> "StoredMatrix":
        """Return some rows, in the order of the file, still in the file.

        Examples
        --------
        >>> np.save("points.npy", np.arange(12.0).reshape(4, 3))
        >>> xpmlp.data.open_rows("points.npy").X.rows(np.array([3, 0]))[:]
        array([[ 0.,  1.,  2.],
               [ 9., 10., 11.]])
        """
        made, which = copy(self), np.sort(self._numbers(which))
        made._rows = which if self._rows is None else self._rows[which]
        made.shape = (len(which), self.shape[1])
        return made

    def astype(self, dtype: str) -> "StoredMatrix":
        """Return a matrix that converts the rows it reads."""
        made = copy(self)
        made.dtype = np.dtype(dtype)
        return made

    def standardized(self, shift: Any, scale: Any, dtype: str, clip: Any) -> "StoredMatrix":
        """Return a matrix whose rows are (x − shift) · scale, rounded to ``dtype``."""
        made = self.astype(dtype)
        made._scaling = shift, scale, clip
        return made

    def hold(self, streams: int) -> None:
        """Keep the groups of so many orders of rows, which are read side by side."""
        self._kept.streams = streams

    def identity(self) -> str:
        """Return what tells these rows from others, and from another buffer."""
        digest = sha256(f"{self.source.identity()} {self.buffer}".encode())
        if self._rows is not None:
            digest.update(self._rows.data)
        return digest.hexdigest()

    def _read(self, rows: np.ndarray) -> np.ndarray:
        if self._rows is not None:
            rows = self._rows[rows]
        found = np.empty((len(rows), self.shape[1]), self.source.dtype)
        for group, places in by_group(np.searchsorted(self._ends, rows, side="right")):
            start = self._ends[group - 1] if group else 0
            found[places] = self._kept.get(group)[rows[places] - start]
        return self._checked(self._converted(found), rows)

    def _converted(self, x: np.ndarray) -> np.ndarray:
        if self._scaling is None:
            return x if x.dtype == self.dtype else narrowed(x, str(self.dtype))
        with np.errstate(over="ignore"):
            return standardized(np, x.astype(np.float64), *self._scaling).astype(self.dtype)

    def _checked(self, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return rows if they are finite."""
        if not all_finite(np, x.reshape(-1)):
            row, column = np.argwhere(~np.isfinite(x))[0]
            raise InvalidValueError(
                f"{self.source.name}: found {x[row, column]} in row {rows[row]}, column {column}; "
                f"expected finite numbers within the range of {self.dtype}. Remove or fill such "
                "rows first"
            )
        return x


def some_rows(X: Any, rows: np.ndarray) -> Any:
    """Return some rows of anything that has rows; those in a file stay there, in its order."""
    return X.rows(rows) if isinstance(X, StoredMatrix) else X[rows]


def by_group(groups: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Return the places of each group's rows, in the order in which the groups first come."""
    if not len(groups):
        return []
    order = np.argsort(groups, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    return sorted(((int(groups[p[0]]), p) for p in parts), key=lambda part: part[1][0])


class _Kept:
    """The groups that were read last, of together ``room`` rows for each stream, or one."""

    def __init__(self, source: Source, room: int) -> None:
        self._source, self._room, self.streams = source, room, 1
        self._groups: OrderedDict[int, np.ndarray] = OrderedDict()
        self._held, self._lock = 0, Lock()

    def get(self, group: int) -> np.ndarray:
        """Return the rows of a group; read them if they are not held."""
        with self._lock:
            found = self._groups.get(group)
            if found is not None:
                self._groups.move_to_end(group)
                return found
            size = int(self._source.groups[group])
            while self._groups and self._held + size > self._room * self.streams:
                self._held -= len(self._groups.popitem(last=False)[1])
            found = self._groups[group] = self._source.read(group)
            self._held += len(found)
            return found


class Mapped:
    """A memmap of NumPy's, or what is read like one, as a source.

    Parameters
    ----------
    array : numpy.memmap or zarr.Array, shape (n, columns)
    name : str
    each : int, optional
        Rows of a group.
    """

    def __init__(self, array: Any, name: str, each: int | None = None) -> None:
        self._array, self.name = array, name
        self.dtype, self.columns = array.dtype.newbyteorder("="), array.shape[1]
        self._row = self.columns * self.dtype.itemsize
        self._each = each or group_rows(self._row)
        self.groups = group_sizes(array.shape[0], self._each)

    def read(self, group: int) -> np.ndarray:
        """Copy some rows."""
        start = group * self._each
        return np.array(self._array[start : start + self._each], self.dtype)

    def identity(self) -> str:
        """Return shape, dtype and a hash of the first and last rows."""
        some = max(HASHED // max(self._row, 1), 1)
        digest = sha256(np.ascontiguousarray(self._array[:some]).data)
        digest.update(np.ascontiguousarray(self._array[-some:]).data)
        return f"{self._array.shape} {self.dtype} {digest.hexdigest()}"


def group_rows(row_bytes: int) -> int:
    """Return the rows of a group, in a file that has no groups of its own."""
    return max(GROUP_BYTES // max(row_bytes, 1), 1)


def group_sizes(n: int, each: int) -> np.ndarray:
    """Return the sizes of groups of ``each`` rows, of which the last may have fewer."""
    starts = np.arange(0, n, each)
    return np.minimum(starts + each, n) - starts
