"""Checks before any compute; messages say what was found, what was expected, and the fix."""

from functools import cache
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np

from xpmlp.arrays.dlpack import (
    import_array,
    is_numpy_array,
    is_other_library,
    is_sparse,
    refusal,
    shares_memory,
)
from xpmlp.arrays.tables import numbers
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.nn.contract import Array, Backend

KEPT = ("bool", "uint8", "int8", "int16", "int32", "float32", "float64")
"""Dtypes that every library has and that stay as they came; others become the model's dtype."""


def dtype_name(x: Array) -> str:
    """Return ``"float32"`` for an array of any library (``torch.float32`` prints otherwise)."""
    return _named(type(x.dtype), x.dtype)  # type: ignore[arg-type]


@cache
def _named(library: type, dtype: Any) -> str:
    # The type tells libraries apart, whose dtypes should not be compared with each other.
    return str(dtype).rsplit(".", 1)[-1]


def all_finite(xp: Any, flat: Array) -> bool:
    """Whether an array of one dimension has neither NaN nor infinity.

    Σ x² carries both, and the good case needs one pass and no copy.
    """
    if not dtype_name(flat).startswith("float"):
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        squares = flat.dot(flat) if xp is np else flat @ flat  # the quicker of NumPy's for a row
    return isfinite(squares) or bool(xp.all(xp.isfinite(flat)))  # or only the squares overflowed


def to_host(backend: Backend, x: Any, name: str, **advice: str) -> np.ndarray:
    """Return an array of the host, or of the device where the backend computes, as NumPy's.

    ``advice`` is that of ``xpmlp.arrays.tables.numbers``.

    Raises
    ------
    InvalidTypeError
        For an array on another device, or anything that is not an array of numbers.
    """
    host = x if type(x) is np.ndarray else _read(backend, x, name)
    if host.dtype.kind not in "buif":
        host = numbers(x, host, name, **advice)
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        refuse(x, np.ma.getmaskarray(x), "no masked values, which NumPy would uncover", name)
    return host


def _read(backend: Backend, x: Any, name: str) -> np.ndarray:
    """Return anything but a plain NumPy array as one."""
    if is_sparse(x):
        raise InvalidTypeError(
            f"{name}: found a sparse {type(x).__name__}; expected a NumPy array here. Pass "
            f"{name}.toarray()"
        )
    if is_other_library(backend, x):
        if not shares_memory(backend, x):
            raise refusal(backend, x, name)
        x = import_array(backend, x, name)
    try:
        return np.asarray(backend.to_numpy(x) if not is_numpy_array(x) and backend.owns(x) else x)
    except Exception as error:  # other libraries raise what they like when asked for an array
        if backend.ran_out(error):
            raise
        raise InvalidTypeError(f"{name}: NumPy cannot make one array of it: {error}") from error


def refuse(values: np.ndarray, bad: np.ndarray, expected: str, name: str) -> None:
    """Raise for the first bad element, with its index.

    Raises
    ------
    InvalidValueError
        If any element is bad.
    """
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        at = ", ".join(map(str, place))
        raise InvalidValueError(
            f"{name}: found {values[place]} at {name}[{at}]; expected {expected}"
        )


def check_numbers(dtype: np.dtype[Any], name: str) -> None:
    """Refuse a NumPy dtype that is not of real numbers: InvalidTypeError."""
    if dtype.kind not in "buif":
        raise InvalidTypeError(
            f"{name}: found dtype {dtype}; expected numbers (bool, integer or float)"
        )


def weights(
    backend: Backend, sample_weight: Any, n: int, dtype: str, name: str = "sample_weight"
) -> np.ndarray | None:
    """Check per-sample weights, shape (n,), not negative and not all zero."""
    if sample_weight is None:
        return None
    host = to_host(backend, sample_weight, name)
    if host.shape != (n,):
        raise InvalidValueError(
            f"{name}: found shape {host.shape}; expected ({n},), one for each row of X"
        )
    kept = narrowed(host, dtype)
    good = np.isfinite(kept) & (kept >= 0)
    refuse(host, ~good, f"finite numbers within the range of {dtype}, none negative", name)
    if not kept.any():
        raise InvalidValueError(
            f"{name}: found only zeros in {dtype}; expected numbers that are not all zero"
        )
    return kept


def narrowed(host: np.ndarray, dtype: str) -> np.ndarray:
    """Convert to a dtype; numbers beyond its range become infinite, without a warning."""
    with np.errstate(over="ignore"):
        kept: np.ndarray = host.astype(dtype)
    return kept


def not_negative(name: str, value: Any) -> float:
    """Return a finite number of 0 or more; InvalidValueError otherwise."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not 0 <= value < float("inf"):
        raise InvalidValueError(f"{name}: found {value!r}; expected a number, 0 or more")
    return float(value)


def strengths(name: str, value: Any, count: int | None) -> float | tuple[float, ...]:
    """Return a number of 0 or more, or ``count`` of them; InvalidValueError otherwise.

    Several are allowed if ``count`` is not None.
    """
    if not isinstance(value, list | tuple):
        return not_negative(name, value)
    if count is None or len(value) != count:
        expected = "one number" if count is None else f"one number, or {count}"
        raise InvalidValueError(f"{name}: found {len(value)} numbers; expected {expected}")
    return tuple(not_negative(name, one) for one in value)


def whole(name: str, value: Any) -> int:
    """Return a whole number from 1, given as any kind of number; InvalidValueError otherwise."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or value < 1 or value != value // 1:
        raise InvalidValueError(f"{name}: found {value!r}; expected a whole number from 1")
    return int(value)
