"""The examples people pass in, checked and classified once: on the host, in a file, on the device.

Everything later asks these objects instead of asking again what X is. Arrays of the model's own
library and device stay where they are, those of other libraries are imported on the same memory;
arrays that lie elsewhere are refused, never half-converted.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from xpmlp.arrays.checks import KEPT, all_finite, check_numbers, dtype_name, narrowed, to_host
from xpmlp.arrays.dlpack import (
    detached,
    import_array,
    is_numpy_array,
    is_other_library,
    is_sparse,
    refusal,
    shares_memory,
)
from xpmlp.arrays.host import DeviceRows, HostRows, Rows
from xpmlp.arrays.moments import BLOCK_ROWS, merged, of_block
from xpmlp.arrays.robust import robust, sampled
from xpmlp.arrays.sparse import SparseMatrix
from xpmlp.arrays.stored import Mapped, StoredMatrix
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.nn.contract import Array, Backend

__all__ = ["DeviceRows", "HostRows", "Rows", "SparseRows", "StoredRows", "ThinRows", "rows"]


class SparseRows(HostRows):
    """Examples in a sparse matrix on the host, of which some rows at a time become dense."""

    def take(self, indices: np.ndarray) -> "Rows":
        """Return some rows, as sparse as they are."""
        return SparseRows(self.backend, self.array.rows(indices), self.scaled)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each column's mean and standard deviation, from what is stored alone."""
        return self.array.moments()

    def columns(self, which: Sequence[int]) -> np.ndarray:
        """Return some columns, dense."""
        return np.asarray(self.array.tocsr()[:, list(which)].toarray())

    def standardized(
        self, shift: Any, scale: Any, dtype: str, clip: np.ndarray | None = None
    ) -> "Rows":
        """Return rows that are standardized as they become dense; they are never clipped."""
        return SparseRows(self.backend, self.array.standardized(shift, scale, dtype), scaled=True)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield where each row begins, the columns, and the values."""
        yield from self.array.parts

    def _is_finite(self) -> bool:
        return all_finite(np, self.array.values)

    def _first_nonfinite(self) -> tuple[tuple[int, ...], Any]:
        return self.array.first_nonfinite()


class ThinRows(SparseRows):
    """Sparse rows that stay sparse in the first layer's products, where steps read them."""

    on_host: ClassVar[bool] = False

    def part(self, start: int, stop: int, size: int = 0) -> Any:
        """Return rows ``start`` to ``stop`` as SciPy's matrix."""
        whole = stop - start == self.count
        return self.array.tocsr() if whole else self.array.sparse_rows(slice(start, stop))


class StoredRows(HostRows):
    """Examples in a file, of which some groups at a time are in memory.

    They are checked as they are read.
    """

    def take(self, indices: np.ndarray) -> "Rows":
        """Return some rows, in the order of the file, which stay there."""
        return StoredRows(self.backend, self.array.rows(indices), self.scaled)

    def statistics(self) -> np.ndarray:
        """Return what one pass over the rows has found, which also checks all of them."""
        return self._statistics

    @cached_property
    def _statistics(self) -> np.ndarray:
        return super().statistics()

    def quartiles(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the same as of other rows, in one pass."""
        starts = range(0, self.count, BLOCK_ROWS)
        step, some, parts = sampled(self.count).step, list[np.ndarray](), list[np.ndarray]()
        for start in starts:
            x = self.array[start : start + BLOCK_ROWS]
            some.append(x[-start % step :: step])
            parts.append(of_block(np, x.astype(np.float64)))
        self._statistics = merged(np.diff([*starts, self.count]), np.stack(parts))
        return robust(np.concatenate(some), *self._statistics[:2])

    def columns(self, which: Sequence[int]) -> np.ndarray:
        """Return some columns, read block by block."""
        starts = range(0, self.count, BLOCK_ROWS)
        parts = [self.array[start : start + BLOCK_ROWS, list(which)] for start in starts]
        return np.concatenate(parts)

    def standardized(
        self, shift: Any, scale: Any, dtype: str, clip: np.ndarray | None = None
    ) -> "Rows":
        """Return rows that are standardized as they are read."""
        made = self.array.standardized(shift, scale, dtype, clip)
        return StoredRows(self.backend, made, scaled=True)

    def refuse_nonfinite(self, name: str, dtype: str) -> None:
        """Leave it to the reading: a pass over the file is what ``statistics`` takes."""


def rows(
    backend: Backend, X: Any, columns: int, dtype: str, name: str = "X", wide: bool = False
) -> Rows:
    """Check a matrix of examples, and leave it where it lies.

    Parameters
    ----------
    backend : Backend
        Where the model computes.
    X : array-like or sparse matrix, shape (n, columns)
    columns : int
        The network's inputs.
    dtype : str
        The model's dtype; wider floats and integers become it, narrower ones stay.
    name : str
        What to call it in messages.
    wide : bool
        Whether to keep wider floats and integers, which are standardized before they are rounded.

    Raises
    ------
    InvalidTypeError
        For an array that lies elsewhere or a dtype that holds no numbers.
    InvalidValueError
        For a wrong shape, no rows, NaN or infinity (with the first place).
    """
    host = type(X) is np.ndarray or is_numpy_array(X)
    other = not host and is_other_library(backend, X)
    if other and not shares_memory(backend, X):
        raise refusal(backend, X, name)
    if stored := _stored(X):
        _check_shape(stored.shape, columns, name)
        converts = _becomes(stored, dtype) and not wide
        made: Rows = StoredRows(backend, stored.astype(dtype) if converts else stored)
    elif not host and is_sparse(X):
        made = SparseRows(backend, _sparse(X, columns, dtype, name, wide))
    elif other or (not host and backend.owns(X)):
        _check_shape(tuple(X.shape), columns, name)
        x = _device_array(backend, X, dtype, name, other, wide)
        # A NumPy model imports other libraries' arrays as NumPy's.
        made = HostRows(backend, x) if is_numpy_array(x) else DeviceRows(backend, x)
    else:
        x = to_host(backend, X, name)
        _check_shape(x.shape, columns, name)
        x = narrowed(x, dtype) if _becomes(x, dtype) and not wide else x
        made = HostRows(backend, np.ascontiguousarray(x))
    made.refuse_nonfinite(name, "float64" if wide else dtype)
    return made


def _becomes(x: Array, dtype: str) -> bool:
    """Whether numbers like these become the model's dtype."""
    found = dtype_name(x)
    return found not in KEPT or (found == "float64" and dtype == "float32")


def _device_array(
    backend: Backend, x: Array, dtype: str, name: str, other: bool, wide: bool
) -> Array:
    """Return an array on the device as the backend's own, in a dtype to compute with."""
    if not dtype_name(x).startswith(("bool", "uint", "int", "float", "bfloat")):
        raise InvalidTypeError(f"{name}: found dtype {x.dtype}; expected real numbers")
    becomes = _becomes(x, dtype)
    if wide:  # not every library has other dtypes than these; a wider one is read as it is
        becomes = dtype_name(x) not in (*KEPT, "int64")
        dtype = "float64" if "float64" in backend.capabilities else dtype
    if other:
        x = import_array(backend, x, name, dtype if becomes else None)
        return np.ascontiguousarray(x) if is_numpy_array(x) else x
    x = detached(x)
    return backend.xp.astype(x, getattr(backend.xp, dtype)) if becomes else x


def _sparse(X: Any, columns: int, dtype: str, name: str, wide: bool) -> SparseMatrix:
    _check_shape(tuple(X.shape), columns, name)
    check_numbers(X.dtype, name)
    x = SparseMatrix.of(X, name)
    return x.astype(dtype) if _becomes(x, dtype) and not wide else x


def _stored(X: Any) -> StoredMatrix | None:
    """Return a matrix in a file, a memmap among them; None for anything else."""
    if isinstance(X, np.memmap) and X.ndim == 2 and X.size and getattr(X, "_mmap", None):
        return StoredMatrix(Mapped(X, "X"))
    return X if isinstance(X, StoredMatrix) else None


def _check_shape(shape: tuple[int, ...], columns: int, name: str) -> None:
    if len(shape) != 2:
        fix = f"; try {name}.reshape({shape[0]}, -1)" if len(shape) > 2 else ""
        fix = f"; one example is {name}.reshape(1, -1)" if len(shape) == 1 else fix
        raise InvalidValueError(
            f"{name}: found shape {shape}; expected two dimensions (n, {columns}){fix}"
        )
    if shape[1] != columns:
        raise InvalidValueError(
            f"{name}: found shape {shape}, {shape[1]} columns; expected {columns}, shape "
            f"(n, {columns}), by the network's first size"
        )
    if shape[0] == 0:
        raise InvalidValueError(
            f"{name}: found no rows, shape {shape}; expected (n, {columns}) with one at least"
        )
