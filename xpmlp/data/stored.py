"""Tables that are larger than memory: rows in a database on the disk, read some at a time."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np

from xpmlp.data.dataset import Array
from xpmlp.data.frame import Column, Frame

ROWS, SAMPLED = 50_000, 200_000
"""Rows that are read at a time, and rows by which a `Table` learns what the columns are."""


class StoredFrame(Frame):
    """A `Frame` whose cells are read when they are needed.

    Parameters
    ----------
    names : sequence of str
    connection : duckdb.DuckDBPyConnection
        With the table ``rows``, whose columns are c0, c1, ...
    kept : object
        What must live as long: the folder of the database.
    """

    def __init__(self, names: Sequence[str], connection: Any, kept: Any) -> None:
        super().__init__({}, str)
        self.places = {name: place for place, name in enumerate(names)}
        self.connection, self.kept = connection, kept
        count = connection.execute("SELECT count(*) FROM rows").fetchone()[0]
        self.rows: Array = np.arange(count)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.places)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any) -> "StoredFrame":
        """Return some rows, in the order of the file."""
        made = copy(self)
        made.rows = np.sort(self.rows[rows])
        return made

    def order(self, rows: Array) -> Array:
        """Return row numbers in the order in which they are best read."""
        return np.sort(rows)

    def column(self, name: str) -> Column:
        """Return a column of all rows."""
        found = self._query(f"SELECT c{self.places[name]} AS c0 FROM rows", [name])
        return found[self.rows].columns[name]

    def without(self, names: Sequence[str]) -> "StoredFrame":
        """Return the other columns."""
        made = copy(self)
        made.places = {name: place for name, place in self.places.items() if name not in names}
        return made

    def renamed(self, names: Sequence[str]) -> "StoredFrame":
        """Return the same columns with other names."""
        made = copy(self)
        made.places = dict(zip(names, self.places.values(), strict=True))
        return made

    def blocks(self) -> Iterator[Frame]:
        """Yield all rows, some at a time."""
        cells = ", ".join(f"c{place} AS c{k}" for k, place in enumerate(self.places.values()))
        last = int(self.rows[-1]) + 1 if len(self.rows) else 0
        for start in range(0, last, ROWS):
            low, high = np.searchsorted(self.rows, (start, start + ROWS))
            if low < high:
                within = f"rowid >= {start} AND rowid < {start + ROWS}"
                found = self._query(f"SELECT {cells} FROM rows WHERE {within}", self.names)
                found.where = lambda row, start=start: self.where(start + row)  # type: ignore[misc]
                yield found[self.rows[low:high] - start]

    def sample(self) -> Frame:
        """Return up to `SAMPLED` of the rows, evenly spaced."""
        step = -(-len(self.rows) // SAMPLED)
        parts = list(self[::step].blocks())
        columns = {n: joined([part.columns[n] for part in parts]) for n in self.names}
        rows, where = self.rows[::step], self.where
        return Frame(columns, lambda row: where(int(rows[row])), self.decimal)

    def _query(self, query: str, names: Sequence[str]) -> Frame:
        return Frame(columns_of(names, self.connection.execute(query).fetchnumpy()), str)


def columns_of(names: Sequence[str], found: Mapping[str, Any]) -> dict[str, Column]:
    """Return what DuckDB has fetched, by name."""
    columns = {}
    for name, values in zip(names, found.values(), strict=True):
        if values.dtype.kind == "O":
            columns[name] = Column.of_texts(values.tolist())  # None where it is masked
        elif values.dtype.kind == "M":
            columns[name] = Column(
                np.ma.filled(values.astype("datetime64[us]"), np.datetime64("NaT"))
            )
        else:
            columns[name] = Column(np.ma.filled(values, np.nan))
    return columns


def joined(parts: Sequence[Column]) -> Column:
    """Return the rows of several columns as one."""
    if parts[0].levels is None:
        return Column(np.concatenate([part.values for part in parts]))
    places: dict[str, int] = {}
    codes = []
    for part in parts:
        to = [places.setdefault(text, len(places)) for text in part.levels or ()]
        codes.append(np.array([*to, -1], np.int32)[part.values])
    return Column(np.concatenate(codes), tuple(places))
