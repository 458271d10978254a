"""Checks of input arrays, before any compute: what is found, what was expected, the fix.

A host boundary: NumPy arrays, and whatever NumPy can read, come in here. Arrays of the model's
own library and device stay where they are, those of other libraries are taken over on the same
memory; arrays that lie elsewhere are refused, never half-converted. Sparse matrices stay sparse.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np

from xpmlp.arrays.dlpack import (
    detached,
    foreign,
    is_numpy_array,
    is_sparse,
    refusal,
    shares_memory,
    take_over,
)
from xpmlp.arrays.sparse import SparseRows, on_host
from xpmlp.errors import InvalidTypeError, InvalidValueError, unknown_name
from xpmlp.nn.contract import Backend

Array = Any

_KEPT = ("bool", "uint8", "int8", "int16", "int32", "float32", "float64")
"""Dtypes that every library has and that stay as they came; others become the model's dtype."""

BLOCK = 4096
"""Rows of which sums are taken at a time."""


def dtype_name(x: Array) -> str:
    """Return ``"float32"`` for an array of any library (``torch.float32`` prints otherwise)."""
    return _named(type(x.dtype), x.dtype)  # type: ignore[arg-type]


@cache
def _named(library: type, dtype: Any) -> str:
    # The type tells libraries apart, whose dtypes should not be compared with each other.
    return str(dtype).rsplit(".", 1)[-1]


def to_host(backend: Backend, x: Any, name: str) -> np.ndarray:
    """Bring an array of the host, or one that lies where the backend computes, to NumPy.

    Raises
    ------
    InvalidTypeError
        For an array that lies elsewhere, or something that is no array of numbers.
    """
    if is_sparse(x):
        raise InvalidTypeError(
            f"{name}: found a sparse {type(x).__name__}; expected a NumPy array here. Pass "
            f"{name}.toarray()"
        )
    if foreign(backend, x):
        if not shares_memory(backend, x):
            raise refusal(backend, x, name)
        x = take_over(backend, x, name)
    try:
        host = np.asarray(backend.to_numpy(x) if not is_numpy_array(x) and backend.owns(x) else x)
    except Exception as error:  # other libraries raise what they like when asked for an array
        if backend.ran_out(error):
            raise
        raise InvalidTypeError(f"{name}: NumPy cannot make one array of it: {error}") from error
    _check_numbers(host.dtype, name)
    if np.ma.is_masked(x):
        refuse(x, np.ma.getmaskarray(x), "no masked values, which NumPy would uncover", name)
    return host


def refuse(values: np.ndarray, bad: np.ndarray, expected: str, name: str) -> None:
    """Raise for the first bad element, with its place.

    Raises
    ------
    InvalidValueError
        If any is bad.
    """
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        at = ", ".join(map(str, place))
        raise InvalidValueError(
            f"{name}: found {values[place]} at {name}[{at}]; expected {expected}"
        )


def _check_numbers(dtype: np.dtype[Any], name: str) -> None:
    if dtype.kind not in "buif":
        raise InvalidTypeError(
            f"{name}: found dtype {dtype}; expected numbers (bool, integer or float)"
        )


def placed(backend: Backend, x: Any) -> Array:
    """Copy a NumPy array to the device; what lies there stays."""
    return backend.asarray(x) if is_numpy_array(x) else x


def taken(backend: Backend, x: Array, rows: np.ndarray) -> Array:
    """Return rows of an array, where it lies and as sparse as it is."""
    if isinstance(x, SparseRows):
        return x.rows(rows)
    if is_numpy_array(x):
        return x[rows]
    return backend.xp.take(x, backend.asarray(rows.astype(np.int32)), axis=0)


def features(backend: Backend, X: Any, columns: int, dtype: str, name: str = "X") -> Array:
    """Check a matrix of examples, and leave it where it lies: on the host or on the device.

    Parameters
    ----------
    backend : Backend
    X : array-like or sparse matrix, shape (n, columns)
        A sparse one is returned as ``SparseRows``.
    columns : int
        The network's inputs.
    dtype : str
        The model's dtype; wider floats and integers become it, narrower ones stay.
    name : str
        What to call it in messages.

    Raises
    ------
    InvalidTypeError
        For an array that lies elsewhere or a dtype that holds no numbers.
    InvalidValueError
        For a wrong shape, no rows, NaN or infinity (with the first place).
    """
    if is_sparse(X):
        return _sparse_features(X, columns, dtype, name)
    theirs = foreign(backend, X)
    if theirs and not shares_memory(backend, X):
        raise refusal(backend, X, name)
    on_device = theirs or (not is_numpy_array(X) and backend.owns(X))
    x = X if on_device else to_host(backend, X, name)
    _check_shape(tuple(x.shape), columns, name)
    found = dtype_name(x)
    narrow = _is_narrowed(found, dtype)
    if on_device:
        if not found.startswith(("bool", "uint", "int", "float", "bfloat")):
            raise InvalidTypeError(f"{name}: found dtype {x.dtype}; expected real numbers")
        if theirs:
            x = take_over(backend, x, name, dtype if narrow else None)
        else:
            x = detached(x)
            x = backend.xp.astype(x, getattr(backend.xp, dtype)) if narrow else x
    if on_device and not is_numpy_array(x):
        flat = backend.xp.reshape(x, (-1,))
        first = partial(_first_nonfinite, lambda: backend.to_numpy(x))
        _refuse_nonfinite(backend.xp, flat, first, name, dtype)
        return x
    if narrow and not on_device:
        x = narrowed(x, dtype)
    kept = np.ascontiguousarray(x)
    first = partial(_first_nonfinite, lambda: kept)
    _refuse_nonfinite(np, kept.reshape(-1), first, name, dtype)
    return kept


def _sparse_features(X: Any, columns: int, dtype: str, name: str) -> SparseRows:
    _check_shape(tuple(X.shape), columns, name)
    _check_numbers(X.dtype, name)
    x = SparseRows.of(X, name)
    if _is_narrowed(dtype_name(x), dtype):
        x = x.astype(dtype)
    _refuse_nonfinite(np, x.values, x.first_nonfinite, name, dtype)
    return x


def _is_narrowed(found: str, dtype: str) -> bool:
    """Whether numbers of a dtype become the model's."""
    return found not in _KEPT or (found == "float64" and dtype == "float32")


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


def _refuse_nonfinite(
    xp: Any, flat: Array, first: Callable[[], tuple[tuple[int, ...], Any]], name: str, dtype: str
) -> None:
    """Refuse NaN and infinity in an array given flat; ``first()`` finds where, and which.

    Σ x² carries both, and the good case needs one pass and no copy.
    """
    if not dtype_name(flat).startswith("float"):
        return
    with np.errstate(over="ignore"):
        squares = flat.dot(flat) if xp is np else flat @ flat  # the quicker of NumPy's for a row
    if isfinite(squares) or bool(xp.all(xp.isfinite(flat))):  # or only the squares overflowed
        return
    place, value = first()
    at = ", ".join(map(str, place))
    raise InvalidValueError(
        f"{name}: found {value} at {name}[{at}]; expected finite numbers within the range "
        f"of {dtype}. Remove or fill such rows first"
    )


def _first_nonfinite(host: Callable[[], np.ndarray]) -> tuple[tuple[int, ...], Any]:
    values = host()
    place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
    return place, values[place]


def weights(backend: Backend, sample_weight: Any, n: int, dtype: str) -> np.ndarray | None:
    """Check per-sample weights, shape (n,), not negative and not all zero."""
    if sample_weight is None:
        return None
    host = to_host(backend, sample_weight, "sample_weight")
    if host.shape != (n,):
        raise InvalidValueError(
            f"sample_weight: found shape {host.shape}; expected ({n},), one for each row of X"
        )
    kept = narrowed(host, dtype)
    good = np.isfinite(kept) & (kept >= 0)
    refuse(
        host, ~good, f"finite numbers within the range of {dtype}, none negative", "sample_weight"
    )
    if not kept.any():
        raise InvalidValueError(
            f"sample_weight: found only zeros in {dtype}; expected numbers that are not all zero"
        )
    return kept


def narrowed(host: np.ndarray, dtype: str) -> np.ndarray:
    """Return numbers as a dtype, where those beyond its range are infinite, without a warning."""
    with np.errstate(over="ignore"):
        kept: np.ndarray = host.astype(dtype)
    return kept


@dataclass(frozen=True)
class Scaling:
    """What is done to the inputs before the first layer: (X − shift) · scale.

    Attributes
    ----------
    mode : {"auto", "standard", "none"}
        ``"auto"`` divides uint8 by 255, because bytes are pixels, and leaves the rest alone;
        ``"standard"`` subtracts each column's mean and divides by its standard deviation, as
        measured on the first training data, and does the same to real targets; ``"none"``
        leaves all alone.
    pixels : bool or None
        Whether the model was fitted on uint8 under ``"auto"``; None before the first fit.
    shift, scale : ndarray of float64, shape (columns,) or (1,), or None
    target_shift, target_scale : ndarray of float64, shape (outputs,), or None
        Mean and standard deviation of real targets. The network learns
        (y − target_shift)/target_scale, and losses are in those units; predictions are not.
    """

    mode: str = "auto"
    pixels: bool | None = None
    shift: Any = None
    scale: Any = None
    target_shift: Any = None
    target_scale: Any = None

    @classmethod
    def make(cls, mode: str | None) -> "Scaling":
        """Check the name of a mode."""
        mode = "none" if mode is None else mode
        if mode not in ("auto", "standard", "none"):
            raise unknown_name("scaling", mode, ("auto", "standard", "none"))
        return cls(mode)

    def fitted(self, backend: Backend, X: Array) -> "Scaling":
        """Learn from the training inputs, unless that has happened."""
        if self.pixels is not None:
            self.check(X)
            return self
        pixels = self.mode == "auto" and dtype_name(X) == "uint8"
        if pixels:
            return Scaling(self.mode, True, None, np.array([1 / 255]))
        if self.mode == "standard":
            mean, std = _moments(X if on_host(X) else backend.to_numpy(X))
            # A constant column has nothing to say: it becomes 0, not NaN.
            return Scaling(self.mode, False, mean, 1 / np.where(std > 0, std, 1.0))
        return Scaling(self.mode, False)

    def fitted_to_targets(self, target: np.ndarray) -> "Scaling":
        """Learn from real targets, shape (n, outputs), unless that has happened."""
        if self.mode != "standard" or self.target_scale is not None:
            return self
        std = target.std(axis=0, dtype=np.float64)
        return replace(
            self,
            target_shift=target.mean(axis=0, dtype=np.float64),
            target_scale=np.where(std > 0, std, 1.0),
        )

    def of_targets(self, target: np.ndarray) -> np.ndarray:
        """(y − target_shift)/target_scale, for what the loss compares with."""
        if self.target_scale is None:
            return target
        scaled: np.ndarray = ((target - self.target_shift) / self.target_scale).astype(target.dtype)
        return scaled

    def to_targets(self, backend: Backend, prediction: Array) -> Array:
        """The way back, for what a person sees."""
        if self.target_scale is None:
            return prediction
        dtype = dtype_name(prediction)
        scale = backend.asarray(self.target_scale, dtype)
        return prediction * scale + backend.asarray(self.target_shift, dtype)

    def check(self, X: Array, name: str = "X") -> None:
        """Refuse inputs of another kind than the model was fitted on."""
        if self.mode != "auto" or self.pixels is None:
            return
        found = dtype_name(X)
        if self.pixels and found != "uint8":
            raise InvalidTypeError(
                f"{name}: found {found}; this model was fitted on uint8 pixels (0 to 255), which "
                "it divides by 255. Pass uint8, or make the model with scaling=None and scale "
                "the inputs yourself"
            )
        if not self.pixels and found == "uint8":
            raise InvalidTypeError(
                f"{name}: found uint8; this model was fitted on {'other numbers'}, which it does "
                "not scale. Convert with the scale the training data had"
            )

    def arrays(self, backend: Backend, dtype: str) -> tuple[Array | None, Array | None]:
        """Return shift and scale on the device."""
        shift, scale = (
            None if a is None else backend.asarray(a, dtype) for a in (self.shift, self.scale)
        )
        return shift, scale


def _moments(X: np.ndarray | SparseRows) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column in float64, without a copy of all of X."""
    if isinstance(X, SparseRows):
        return X.moments()
    blocks = [X[start : start + BLOCK] for start in range(0, len(X), BLOCK)]
    mean = sum(block.sum(axis=0, dtype=np.float64) for block in blocks) / len(X)
    squares = sum(((block - mean) ** 2).sum(axis=0) for block in blocks)
    return mean, np.sqrt(squares / len(X))


def not_negative(name: str, value: Any) -> float:
    """Return a finite number of 0 or more; InvalidValueError otherwise."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not 0 <= value < float("inf"):
        raise InvalidValueError(f"{name}: found {value!r}; expected a number, 0 or more")
    return float(value)


def whole(name: str, value: Any) -> int:
    """Return a whole number from 1, given as any kind of number; InvalidValueError otherwise."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or value < 1 or value != value // 1:
        raise InvalidValueError(f"{name}: found {value!r}; expected a whole number from 1")
    return int(value)
