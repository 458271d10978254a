"""Tables of columns: what a reader returns, and what pandas, polars and Arrow frames become."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np

from xpmlp.data.dataset import Array, Where
from xpmlp.errors import InvalidTypeError, MissingExtraError, short


@dataclass(frozen=True, eq=False)
class Column:
    """The cells of a column.

    Attributes
    ----------
    values : ndarray of shape (n,)
        Numbers, float64 with NaN where there is none; times, datetime64[us] with NaT; or int32
        places in `levels`, -1 where there is nothing.
    levels : tuple of str or None
        The distinct texts of a column of text.
    """

    values: Array
    levels: tuple[str, ...] | None = None

    @classmethod
    def of_texts(cls, texts: Sequence[Any]) -> "Column":
        """Make a column of texts, or None where there is nothing."""
        places = {
            text: k for k, text in enumerate(t for t in dict.fromkeys(texts) if t is not None)
        }
        codes = np.fromiter((places.get(text, -1) for text in texts), np.int32, len(texts))
        return cls(codes, tuple(map(str, places)))

    @cached_property
    def full(self) -> bool:
        """Whether it is one of numbers, and each is there and finite."""
        return self.values.dtype.kind == "f" and bool(
            np.isfinite(self.values.min(initial=0.0)) & np.isfinite(self.values.max(initial=0.0))
        )

    @property
    def missing(self) -> Array:
        """Whether there is nothing, by row."""
        if self.full:
            return np.zeros(len(self.values), bool)
        return self.values < 0 if self.levels is not None else np.isnan(self.values)

    def text(self, row: int) -> str:
        """Return a cell as text; empty if there is nothing."""
        value = self.values[row]
        if self.levels is not None:
            return "" if value < 0 else self.levels[value]
        return "" if np.isnan(value) else spelled(value)

    def as_texts(self) -> "Column":
        """Return a column of numbers or times as one of texts: 3.0 as "3"."""
        if self.levels is not None:
            return self
        there = ~self.missing
        values, codes = np.unique(self.values[there], return_inverse=True)
        made = np.full(len(self.values), -1, np.int32)
        made[there] = codes
        return Column(made, tuple(map(spelled, values)))

    def without(self, nothing: frozenset[str]) -> "Column":
        """Return it with some texts taken for nothing, and spaces around texts removed."""
        if self.levels is None:
            return self
        kept = [text.strip() for text in self.levels]
        places = {text: k for k, text in enumerate(dict.fromkeys(kept)) if text not in nothing}
        places = {text: k for k, text in enumerate(places)}
        if len(places) == len(self.levels):
            return replace(self, levels=tuple(kept))
        to = np.array([*(places.get(text, -1) for text in kept), -1], np.int32)
        return Column(to[self.values], tuple(places))


class Frame:
    """Columns of equal length, each with a name.

    Parameters
    ----------
    columns : mapping of str to Column
    where : callable
        Names a row in messages.
    decimal : {".", ","}
        The decimal mark of numbers among the texts.
    named : bool
        Whether the names are the data's own, not numbers of columns.
    notes : sequence of str
        What a reader found worth saying about the file.
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        where: Where,
        decimal: str = ".",
        named: bool = True,
        notes: Sequence[str] = (),
    ) -> None:
        self.columns, self.where, self.decimal = dict(columns), where, decimal
        self.named, self.notes = named, notes
        self.kept: Any = None  # what must live as long as the frame

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.columns)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self), len(self.names)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())).values)

    def __getitem__(self, rows: Any) -> "Frame":
        """Return some rows, by slice, numbers or mask."""
        made, where = copy(self), self.where
        chosen = np.arange(len(self))[rows]
        made.columns = {n: replace(c, values=c.values[rows]) for n, c in self.columns.items()}
        made.where = lambda row: where(int(chosen[row]))
        return made

    def order(self, rows: Array) -> Array:
        """Return row numbers in the order in which they are best read."""
        return rows

    def column(self, name: str) -> Column:
        """Return a column."""
        return self.columns[name]

    def without(self, names: Sequence[str]) -> "Frame":
        """Return the other columns."""
        made = copy(self)
        made.columns = {name: c for name, c in self.columns.items() if name not in names}
        return made

    def renamed(self, names: Sequence[str]) -> "Frame":
        """Return the same columns with other names."""
        made = copy(self)
        made.columns = dict(zip(names, self.columns.values(), strict=True))
        return made

    def blocks(self) -> Iterator["Frame"]:
        """Yield all rows, some at a time."""
        yield self

    def sample(self) -> "Frame":
        """Return as many rows as a `Table` learns from: all."""
        return self

    def room(self, width: int, dtype: str) -> Array:
        """Return an array for inputs of all rows."""
        return np.empty((len(self), width), dtype)

    def matrix(self) -> Array | None:
        """Return the numbers as float64, shape (n, columns); None if some are texts or missing."""
        kept = [c.values for c in self.columns.values() if c.values.dtype == np.float64]
        if not kept or len(kept) < len(self.columns) or any(np.isnan(v).any() for v in kept):
            return None
        return np.column_stack(kept)


def spelled(value: Any) -> str:
    """Return a number or a time as text: 3.0 as "3", a time without what is 0."""
    if isinstance(value, np.datetime64):
        return str(value.astype("datetime64[s]")).replace("T", " ").removesuffix(" 00:00:00")
    number = float(value)
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)


def is_frame(X: Any) -> bool:
    """Whether X has named columns: a pandas, polars or Arrow frame, a dict, or a `Frame`."""
    named = hasattr(X, "columns") or hasattr(X, "column_names")
    return isinstance(X, Frame | Mapping) or (named and not hasattr(X, "__array_namespace__"))


def frame_of(X: Any, name: str = "X") -> Frame:
    """Return the columns of a frame; numbers stay where they are, if they are float64.

    Raises
    ------
    InvalidTypeError
        For anything else, and for columns of lists or other objects.
    MissingExtraError
        If narwhals is needed, which reads frames, and not installed.
    """
    if isinstance(X, Frame):
        return X
    if not isinstance(X, Mapping):
        X = _columns(X, name)
    made = {str(key): _column(values, f"{name}[{key!r}]") for key, values in X.items()}
    if len(made) < len(X):
        raise InvalidTypeError(f"{name}: found two columns of one name; expected names that differ")
    if not made or len({len(c.values) for c in made.values()}) > 1:
        raise InvalidTypeError(f"{name}: found no columns of equal length; expected a data frame")
    return Frame(made, lambda row: f"{name}: row {row}")


def _columns(X: Any, name: str) -> dict[str, Any]:
    try:
        import narwhals as nw
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{name}: reading data frames needs narwhals; install it with: pip install 'xpmlp[cli]'"
        ) from error
    try:
        frame = nw.from_native(X, eager_only=True)
    except TypeError as error:
        raise InvalidTypeError(
            f"{name}: found {type(X).__name__}; expected a data frame of pandas, polars or Arrow, "
            "or a dict of columns"
        ) from error
    except ValueError as error:  # two columns of one name
        said = " ".join(str(error).split())
        raise InvalidTypeError(f"{name}: {short(said)}; expected names that differ") from error
    return {c: _plain(nw, s) for c, s in zip(frame.columns, frame.iter_columns(), strict=True)}


def _plain(nw: Any, series: Any) -> Any:
    """Return a narwhals series as an array or a list."""
    dtype = series.dtype
    if dtype.is_numeric():
        return series.cast(nw.Float64).to_numpy()
    if isinstance(dtype, nw.Datetime) and dtype.time_zone is not None:
        return series.dt.replace_time_zone(None).to_numpy()
    return series.to_numpy() if isinstance(dtype, nw.Datetime | nw.Date) else series.to_list()


def _column(values: Any, name: str) -> Column:
    array = values if isinstance(values, np.ndarray) else None
    if array is None:
        array = np.empty(len(values), object)
        array[:] = values
    if array.ndim != 1:
        raise InvalidTypeError(f"{name}: found shape {array.shape}; expected one column")
    if array.dtype.kind in "uif":
        return Column(array.astype(np.float64, copy=False))
    if array.dtype.kind == "M":
        return Column(array.astype("datetime64[us]"))
    texts = [None if _is_nothing(value) else value for value in array.tolist()]
    kinds = {type(value) for value in texts} - {type(None)}
    if kinds and all(issubclass(kind, _NUMBERS) and kind is not bool for kind in kinds):
        return Column(np.array([np.nan if value is None else float(value) for value in texts]))
    if kinds and all(issubclass(kind, date) for kind in kinds):
        return Column(np.array([_time(value) for value in texts], "datetime64[us]"))
    odd = [kind for kind in kinds if not issubclass(kind, str | bool | int | float)]
    if odd:
        raise InvalidTypeError(
            f"{name}: found {short(odd[0].__name__)} objects; expected numbers, text, booleans or "
            "times"
        )
    return Column.of_texts([None if value is None else str(value) for value in texts])


_NUMBERS = (int, float, Decimal, np.integer, np.floating)


def _time(value: Any) -> Any:
    """Return a time without its zone."""
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value


def _is_nothing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, _NUMBERS) and value != value
