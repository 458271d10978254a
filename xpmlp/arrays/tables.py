"""What NumPy does not read as numbers: data frames whose columns differ, text, missing values."""

from collections.abc import Iterator
from numbers import Real
from typing import Any

import numpy as np

from xpmlp.errors import InvalidTypeError, short

_MISSING = "Fill missing values, or remove such rows"
_ENCODE = (
    "Encode text as numbers (pandas.get_dummies makes a column for each word), or leave it out"
)


def numbers(x: Any, host: np.ndarray, name: str, of_text: str = _ENCODE) -> np.ndarray:
    """Return what is not an array of real numbers as one, if it is a data frame of such columns.

    NumPy makes objects of columns of bool and float, or of pandas' own dtypes, such as Int64.

    Parameters
    ----------
    x : object
        As it was passed.
    host : ndarray
        What NumPy makes of it.
    name : str
        What to call it in messages.
    of_text : str
        What to do with text.

    Raises
    ------
    InvalidTypeError
        With the first column that holds something else, and its first value of that kind.
    """
    made = []
    for place, label, dtype, values in _columns(x, host):
        if values.dtype.kind not in "buif":
            column = "" if label is None else f" in column {label!r}"
            raise InvalidTypeError(
                f"{name}: found dtype {dtype}{column}{_first(values, name, place, of_text)}"
            )
        made.append(values)
    return np.column_stack(made)


def _columns(x: Any, host: np.ndarray) -> Iterator[tuple[tuple[int, ...], Any, Any, np.ndarray]]:
    """Yield each column's index, label, dtype and values; an array is its own only column."""
    if host.ndim != 2 or not hasattr(x, "columns"):
        yield (), None, host.dtype, host
        return
    for i, label in enumerate(x.columns):  # labels may come twice in pandas
        column = x.iloc[:, i] if hasattr(x, "iloc") else x[label]
        yield (i,), label, column.dtype, np.asarray(column)


def _first(values: np.ndarray, name: str, column: tuple[int, ...], of_text: str) -> str:
    """Describe the first value that is no number, and what to do about it."""
    others = (
        (place, value)
        for place, value in np.ndenumerate(values)
        if not isinstance(value, Real | np.bool_) and not _is_written(value)
    )
    place, value = next(others, (None, None))
    if place is None:
        return f" of numbers only; expected a dtype of numbers. Pass np.asarray({name}, float)"
    at = ", ".join(map(str, (*place, *column)))
    value = value.item() if isinstance(value, np.generic) else value
    found = f", {short(repr(value), 80)} at {name}[{at}]" if at else ""
    fix = of_text if isinstance(value, str) else ""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        fix = _MISSING
    return f"{found}; expected numbers (bool, integer or float). {fix}".rstrip(". ")


def _is_written(value: Any) -> bool:
    """Whether it is a number that is written as text."""
    try:
        return isinstance(value, str) and isinstance(float(value), float)
    except ValueError:
        return False
