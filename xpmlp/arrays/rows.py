"""The examples people pass in, checked and classified once: on the host, sparse, on the device.

Everything later asks these objects instead of asking again what X is. Arrays of the model's own
library and device stay where they are, those of other libraries are imported on the same memory;
arrays that lie elsewhere are refused, never half-converted.
"""

from collections.abc import Callable, Iterator, Sequence
from math import isfinite, prod
from typing import Any, ClassVar

import numpy as np

from xpmlp.arrays.checks import KEPT, check_numbers, dtype_name, narrowed, to_host
from xpmlp.arrays.dlpack import (
    detached,
    import_array,
    is_numpy_array,
    is_other_library,
    is_sparse,
    refusal,
    shares_memory,
)
from xpmlp.arrays.robust import robust, sampled, standardized
from xpmlp.arrays.sparse import SparseMatrix
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.nn.contract import Array, Backend

SUMMED = 4096
"""Rows that are summed at a time: a copy of all of X in float64 would be too much."""

BLOCK = 2**24
"""Most numbers in a block."""


class HostRows:
    """Examples in a NumPy array.

    Parameters
    ----------
    backend : Backend
        Where the model computes.
    array : ndarray or SparseMatrix, shape (n, columns)
    scaled : bool
        Whether the numbers are as the first layer takes them, so that no step scales them.
    """

    on_host: ClassVar[bool] = True

    def __init__(self, backend: Backend, array: Any, scaled: bool = False) -> None:
        self.backend, self.array, self.scaled = backend, array, scaled

    @property
    def count(self) -> int:
        """Number of rows."""
        return int(self.array.shape[0])

    @property
    def dtype(self) -> str:
        """Name of the dtype."""
        return dtype_name(self.array)

    @property
    def nbytes(self) -> int:
        """Bytes that the rows take when they are dense."""
        return int(self.array.nbytes)

    def take(self, indices: np.ndarray) -> "Rows":
        """Return some rows, which lie where these do."""
        return HostRows(self.backend, self.array[indices], self.scaled)

    def part(self, start: int, stop: int, size: int = 0) -> Array:
        """Return rows ``start`` to ``stop`` as a dense array on the device, of ``size`` rows.

        Rows of zeros follow where there are fewer.
        """
        host = self.array[start:stop]
        if size > len(host):
            some, host = host, np.zeros((size, *host.shape[1:]), host.dtype)
            host[: len(some)] = some
        return self.backend.asarray(host)

    def to_device(self) -> "Rows":
        """Return the same rows on the device."""
        return DeviceRows(self.backend, self.part(0, self.count), self.scaled)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each column's mean and standard deviation, float64, shape (columns,) each.

        Sums are of (x − c)/s with each column's middle c and half its range s: nothing overflows,
        no digits are lost to a large mean, and a constant column has a deviation of exactly 0.
        """
        starts, (low, high) = range(0, self.count, SUMMED), self._range()
        middle, half = low / 2 + high / 2, high / 2 - low / 2
        unit = np.where(half > 0, half, 1.0)
        sums = [np.stack(self._over(_sums, start, middle, unit)) for start in starts]
        first, second = np.sum(sums, axis=0) / self.count
        return middle + unit * first, unit * np.sqrt(np.maximum(second - first**2, 0.0))

    def _range(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each column's smallest and largest number, float64."""
        ends = [np.stack(self._over(_ends, start)) for start in range(0, self.count, SUMMED)]
        return np.min([e[0] for e in ends], axis=0), np.max([e[1] for e in ends], axis=0)

    def quartiles(self) -> tuple[np.ndarray, np.ndarray]:
        """Return each column's median, and the factor of robust scaling; see ``robust``."""
        return robust(self.sample(range(self.array.shape[1])), *self._range())

    def sample(self, columns: Sequence[int]) -> np.ndarray:
        """Return columns of the rows that quantiles are taken of."""
        return self.take(np.arange(self.count)[sampled(self.count)]).columns(columns)

    def columns(self, which: Sequence[int]) -> np.ndarray:
        """Return some columns on the host, shape (n, columns)."""
        return np.asarray(self.array[:, list(which)])

    def standardized(
        self, shift: Any, scale: Any, dtype: str, clip: np.ndarray | None = None
    ) -> "Rows":
        """Return (x − shift) · scale, computed in float64 and then rounded to ``dtype``.

        Parameters
        ----------
        shift, scale : ndarray of float64, shape (columns,) or (1,)
        clip : ndarray of float64, shape (columns,), optional
            What ``smooth_clip`` then takes.
        """
        made = np.empty(self.array.shape, dtype)
        for start in range(0, self.count, SUMMED):
            x = self.array[start : start + SUMMED].astype(np.float64)
            with np.errstate(over="ignore"):
                made[start : start + SUMMED] = standardized(np, x, shift, scale, clip)
        return HostRows(self.backend, made, scaled=True)

    def _over(self, f: Callable[..., Any], start: int, *by: np.ndarray) -> Any:
        """Return ``f(xp, block, *by)`` of some rows in float64."""
        return f(np, self.array[start : start + SUMMED].astype(np.float64), *by)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all numbers, on the host, some rows at a time."""
        yield from blocks(self.backend, self.array)

    def refuse_nonfinite(self, name: str, dtype: str) -> None:
        """Refuse NaN and infinity.

        Raises
        ------
        InvalidValueError
            With the first place.
        """
        if not self._is_finite():
            place, value = self._first_nonfinite()
            at = ", ".join(map(str, place))
            raise InvalidValueError(
                f"{name}: found {value} at {name}[{at}]; expected finite numbers within the range "
                f"of {dtype}. Remove or fill such rows first"
            )

    def _is_finite(self) -> bool:
        return _all_finite(np, self.array.reshape(-1))

    def _first_nonfinite(self) -> tuple[tuple[int, ...], Any]:
        host = self.array if self.on_host else self.backend.to_numpy(self.array)
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(host))[0])
        return place, host[place]


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
        return _all_finite(np, self.array.values)

    def _first_nonfinite(self) -> tuple[tuple[int, ...], Any]:
        return self.array.first_nonfinite()


class ThinRows(SparseRows):
    """Sparse rows that stay sparse in the first layer's products, where steps read them."""

    on_host: ClassVar[bool] = False

    def part(self, start: int, stop: int, size: int = 0) -> Any:
        """Return rows ``start`` to ``stop`` as SciPy's matrix."""
        whole = stop - start == self.count
        return self.array.tocsr() if whole else self.array.sparse_rows(slice(start, stop))


class DeviceRows(HostRows):
    """Examples in an array of the backend's own."""

    on_host: ClassVar[bool] = False

    def take(self, indices: np.ndarray) -> "Rows":
        """Return some rows, on the device."""
        at = self.backend.asarray(indices.astype(np.int32))
        return DeviceRows(self.backend, self.backend.xp.take(self.array, at, axis=0), self.scaled)

    def part(self, start: int, stop: int, size: int = 0) -> Array:
        """Return rows ``start`` to ``stop``: a view where the library has them."""
        n, xp = stop - start, self.backend.xp
        found = self.array if n == self.count else self.array[start:stop, ...]
        if size <= n:
            return found
        rest = (size - n, *found.shape[1:])
        return xp.concat([found, xp.zeros(rest, dtype=found.dtype, device=self.backend.device)])

    def columns(self, which: Sequence[int]) -> np.ndarray:
        """Return some columns on the host."""
        at = self.backend.asarray(np.array(which, np.int32))
        return np.asarray(self.backend.to_numpy(self.backend.xp.take(self.array, at, axis=1)))

    def standardized(
        self, shift: Any, scale: Any, dtype: str, clip: np.ndarray | None = None
    ) -> "Rows":
        """Return it on the device; computed on the host if the device has no float64."""
        backend, xp = self.backend, self.backend.xp
        if "float64" not in backend.capabilities:
            return self._copied().standardized(shift, scale, dtype, clip).to_device()
        by = [
            None if a is None else backend.asarray(np.asarray(a), "float64")
            for a in (shift, scale, clip)
        ]
        parts = [
            xp.astype(
                standardized(xp, xp.astype(self._block(start), xp.float64), *by), getattr(xp, dtype)
            )
            for start in range(0, self.count, SUMMED)
        ]
        return DeviceRows(backend, parts[0] if len(parts) == 1 else xp.concat(parts), scaled=True)

    def _over(self, f: Callable[..., Any], start: int, *by: np.ndarray) -> Any:
        backend, block = self.backend, self._block(start)
        if "float64" not in backend.capabilities:
            return f(np, np.asarray(backend.to_numpy(block)).astype(np.float64), *by)
        on_device = (backend.asarray(x, "float64") for x in by)
        found = f(backend.xp, backend.xp.astype(block, backend.xp.float64), *on_device)
        return [np.asarray(backend.to_numpy(x)) for x in found]

    def _block(self, start: int) -> Array:
        return self.array[start : min(start + SUMMED, self.count), ...]

    def _copied(self) -> HostRows:
        return HostRows(self.backend, np.asarray(self.backend.to_numpy(self.array)))

    def _is_finite(self) -> bool:
        xp = self.backend.xp
        return _all_finite(xp, xp.reshape(self.array, (-1,)))


Rows = HostRows
"""Examples of any of the three kinds."""


def _ends(xp: Any, x: Array) -> tuple[Array, Array]:
    return xp.min(x, axis=0), xp.max(x, axis=0)


def _sums(xp: Any, x: Array, middle: Array, unit: Array) -> tuple[Array, Array]:
    """Σ d and Σ d² of d = (x − middle)/unit."""
    d = (x - middle) / unit
    return xp.sum(d, axis=0), xp.sum(d * d, axis=0)


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
    if not host and is_sparse(X):
        made: Rows = SparseRows(backend, _sparse(X, columns, dtype, name, wide))
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


def blocks(backend: Backend, array: Any) -> Iterator[np.ndarray]:
    """Yield an array's numbers on the host, some rows at a time."""
    size = max(BLOCK // max(prod(array.shape[1:]), 1), 1)
    for start in range(0, array.shape[0], size):
        block = array[start : min(start + size, array.shape[0]), ...]
        yield block if is_numpy_array(block) else backend.to_numpy(block)


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


def _all_finite(xp: Any, flat: Array) -> bool:
    """Whether an array of one dimension has neither NaN nor infinity.

    Σ x² carries both, and the good case needs one pass and no copy.
    """
    if not dtype_name(flat).startswith("float"):
        return True
    with np.errstate(over="ignore"):
        squares = flat.dot(flat) if xp is np else flat @ flat  # the quicker of NumPy's for a row
    return isfinite(squares) or bool(xp.all(xp.isfinite(flat)))  # or only the squares overflowed
