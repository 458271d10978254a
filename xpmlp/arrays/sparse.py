"""Sparse matrices: they stay sparse on the host, and some rows at a time become dense.

SciPy is not imported: anything with ``tocsr`` counts as one of its matrices, and its own methods do
the rest.
"""

from math import prod
from typing import Any

import numpy as np

from xpmlp.arrays.dlpack import is_numpy_array
from xpmlp.errors import InvalidTypeError

THIN = 0.05
"""Up to this share of stored numbers a sparse product is faster than a dense one."""


class SparseMatrix:
    """A sparse matrix whose rows are read as those of a NumPy array: dense, as a copy.

    Parameters
    ----------
    csr : scipy.sparse.csr_matrix or csr_array
        In canonical form: the columns of each row in order, none twice. Nothing writes to it.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
        Of the dense rows.
    """

    def __init__(self, csr: Any) -> None:
        self._csr = csr
        self.shape = tuple(map(int, csr.shape))
        self.dtype = csr.dtype
        self._scaling: tuple[Any, Any] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all rows if they were dense."""
        return prod(self.shape) * self.dtype.itemsize

    def standardized(self, shift: Any, scale: Any, dtype: str) -> "SparseMatrix":
        """Return a matrix whose dense rows are (x − shift) · scale, rounded to ``dtype``."""
        made = SparseMatrix(self._csr)
        made.dtype, made._scaling = np.dtype(dtype), (shift, scale)
        return made

    @property
    def is_thin(self) -> bool:
        """Whether products with the matrix are faster than with its dense rows."""
        return self._scaling is None and self._csr.nnz <= THIN * prod(self.shape)

    def sparse_rows(self, which: Any) -> Any:
        """Return some rows as SciPy's matrix, for products."""
        return self._csr[which]

    @property
    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where each row begins, the columns, and the values."""
        return self._csr.indptr, self._csr.indices, self._csr.data

    @classmethod
    def of(cls, X: Any, name: str = "X") -> "SparseMatrix":
        """Return a matrix of any format, on the same memory if possible.

        Raises
        ------
        InvalidTypeError
            For a matrix that is not on the host.
        """
        csr = X.tocsr()
        parts = (csr.data, csr.indices, csr.indptr)
        if not all(map(is_numpy_array, parts)):
            found, values = type(X), type(csr.data)
            raise InvalidTypeError(
                f"{name}: found a {found.__module__}.{found.__name__} whose values are a "
                f"{values.__module__}.{values.__name__}; expected a sparse matrix on the host, of "
                f"SciPy. Copy it there first ({name}.get() for CuPy's)"
            )
        # A new object: checking its form would set flags on the user's.
        canonical = type(csr)(parts, shape=csr.shape)
        if not canonical.has_canonical_format:
            canonical = canonical.copy()
            canonical.sum_duplicates()
        return cls(canonical)

    def tocsr(self) -> Any:
        """Return SciPy's matrix, so that this object may be passed in like one."""
        return self._csr

    def astype(self, dtype: str) -> "SparseMatrix":
        """Convert the stored values; those beyond the dtype's range become infinite."""
        with np.errstate(over="ignore"):
            return SparseMatrix(self._csr.astype(dtype, copy=False))

    def rows(self, which: np.ndarray) -> "SparseMatrix":
        """Return some rows, sparse."""
        made = SparseMatrix(self._csr[which])
        made.dtype, made._scaling = self.dtype, self._scaling
        return made

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Return dense rows: ``x[numbers]``, ``x[2:5]``, ``x[2:5, ...]`` or ``x[2:5, :]``."""
        return self.take(rows[0] if isinstance(rows, tuple) else rows)

    def take(
        self, rows: Any, axis: int = 0, out: np.ndarray | None = None, mode: str = "raise"
    ) -> np.ndarray:
        """Return dense rows, in ``out`` if given: ``numpy.ndarray.take`` along axis 0."""
        if self._scaling is None:
            return self._csr[rows].toarray(out=out)
        shift, scale = self._scaling
        dense = (self._csr[rows].toarray().astype(np.float64) - shift) * scale
        if out is None:
            return dense.astype(self.dtype)
        np.copyto(out, dense, casting="same_kind")
        return out

    @property
    def values(self) -> np.ndarray:
        """The stored values, in the order of rows, then columns."""
        return self._csr.data

    def first_nonfinite(self) -> tuple[tuple[int, int], Any]:
        """Return row and column of the first NaN or infinity, and its value."""
        first = int(np.flatnonzero(~np.isfinite(self.values))[0])
        row = int(np.searchsorted(self._csr.indptr, first, side="right")) - 1
        return (row, int(self._csr.indices[first])), self.values[first]

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each column's mean and standard deviation, float64: as ``HostRows.moments``."""
        n, columns = self.shape
        where, values = self._csr.indices, self.values.astype(np.float64)
        zeros = n - np.bincount(where, minlength=columns)
        low, high = (
            np.asarray(end.toarray(), dtype=np.float64).reshape(-1)
            for end in (self._csr.min(axis=0), self._csr.max(axis=0))
        )
        middle, half = low / 2 + high / 2, high / 2 - low / 2
        unit = np.where(half > 0, half, 1.0)
        of_zero = -middle / unit
        d = (values - middle[where]) / unit[where]
        first = (np.bincount(where, d, columns) + zeros * of_zero) / n
        second = (np.bincount(where, d * d, columns) + zeros * of_zero**2) / n
        return middle + unit * first, unit * np.sqrt(np.maximum(second - first**2, 0.0))
