"""Rows in DuckDB, and tables that are larger than memory, of which some rows are read at a time."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np

from xpmlp.data.dataset import Array, Where
from xpmlp.data.frame import Column, Frame

ROWS, SAMPLED = 50_000, 200_000
"""Rows that are read at a time, and rows by which a `Table` learns what the columns are."""

WIDE = 500
"""Most columns of text that are counted one by one."""

MAX_LEVELS = 50_000
"""Most distinct texts of a column that is fetched as places among them."""


class Rows:
    """The rows of a file in a DuckDB table.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
    query : str
        Selects the rows: columns c0, c1, ... of DOUBLE, TIMESTAMP and VARCHAR.

    Attributes
    ----------
    count : int
    """

    def __init__(self, connection: Any, query: str) -> None:
        self.connection = connection
        connection.execute(f"CREATE OR REPLACE TABLE rows AS {query}")
        self.count = int(connection.execute("SELECT count(*) FROM rows").fetchone()[0])
        kinds = [row[1] for row in connection.execute("DESCRIBE rows").fetchall()]
        texts = [place for place, kind in enumerate(kinds) if kind == "VARCHAR"]
        counts = ", ".join(f"approx_count_distinct(c{place})" for place in texts)
        few = 0 < len(texts) <= WIDE
        found = connection.execute(f"SELECT {counts} FROM rows").fetchone() if few else ()
        self.levels: dict[int, tuple[str, ...] | None] = {}
        for place, count in zip(texts, found, strict=False):
            self.levels[place] = self._levels(place) if count <= MAX_LEVELS else None

    def _levels(self, place: int) -> tuple[str, ...] | None:
        """Make a type of the distinct texts of a column, and return them, sorted."""
        distinct = f"SELECT DISTINCT c{place} FROM rows WHERE c{place} IS NOT NULL ORDER BY 1"
        self.connection.execute(f"DROP TYPE IF EXISTS e{place}")
        self.connection.execute(f"CREATE TYPE e{place} AS ENUM ({distinct})")
        found = self.connection.execute(f"SELECT enum_range(NULL::e{place})").fetchone()[0]
        return tuple(found) or None

    def fetch(self, places: Mapping[str, int], where: str = "") -> dict[str, Column]:
        """Return columns by name, of the rows that a condition selects."""
        parts = [
            f"enum_code(c{place}::e{place}) AS n{k}"
            if self.levels.get(place)
            else f"c{place} AS n{k}"
            for k, place in enumerate(places.values())
        ]
        found = self.connection.execute(f"SELECT {', '.join(parts)} FROM rows {where}").fetchnumpy()
        named = zip(places.items(), found.values(), strict=True)
        return {name: column_of(v, self.levels.get(place)) for (name, place), v in named}


def column_of(values: Any, levels: tuple[str, ...] | None = None) -> Column:
    """Return what DuckDB has fetched: numbers, times, texts, or places among levels."""
    if levels:
        codes = values.astype(np.int32)
        return Column(codes.filled(-1) if np.ma.isMaskedArray(codes) else codes, levels)
    if values.dtype.kind == "O":
        return Column.of_texts(values.tolist())  # None where it is masked
    if values.dtype.kind == "M":
        return Column(np.ma.filled(values.astype("datetime64[us]"), np.datetime64("NaT")))
    return Column(np.ma.filled(values, np.nan))


class StoredFrame(Frame):
    """A `Frame` whose cells are read when they are needed.

    Parameters
    ----------
    names : sequence of str
    source : Rows
    kept : tempfile.TemporaryDirectory
        The folder of the database.
    """

    def __init__(self, names: Sequence[str], source: Rows, kept: Any) -> None:
        super().__init__({}, str)
        self.places = {name: place for place, name in enumerate(names)}
        self.source, self.kept = source, kept
        self.rows: Array = np.arange(source.count)

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
        found = self.source.fetch({name: self.places[name]})[name]
        return replace(found, values=found.values[self.rows])

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
        last = int(self.rows[-1]) + 1 if len(self.rows) else 0
        for start in range(0, last, ROWS):
            low, high = np.searchsorted(self.rows, (start, start + ROWS))
            if low < high:
                within = f"WHERE rowid >= {start} AND rowid < {start + ROWS}"
                found = Frame(
                    self.source.fetch(self.places, within), self._from(start), self.decimal
                )
                yield found[self.rows[low:high] - start]

    def _from(self, start: int) -> Where:
        return lambda row: self.where(start + row)

    def sample(self) -> Frame:
        """Return up to `SAMPLED` of the rows, evenly spaced."""
        step = -(-len(self.rows) // SAMPLED)
        parts = [block.columns for block in self[::step].blocks()]
        columns = {name: joined([part[name] for part in parts]) for name in self.names}
        rows, where = self.rows[::step], self.where
        return Frame(columns, lambda row: where(int(rows[row])), self.decimal)

    def room(self, width: int, dtype: str) -> Array:
        """Return an array for inputs of all rows, in a file."""
        with tempfile.NamedTemporaryFile(dir=self.kept.name, delete=False) as file:
            return np.memmap(file.name, dtype, "w+", shape=(len(self), width))


def joined(parts: Sequence[Column]) -> Column:
    """Return the rows of several columns as one."""
    if parts[0].levels is None:
        return Column(np.concatenate([part.values for part in parts]))
    if all(part.levels == parts[0].levels for part in parts):
        return Column(np.concatenate([part.values for part in parts]), parts[0].levels)
    texts = [part.text(row) or None for part in parts for row in range(len(part.values))]
    return Column.of_texts(texts)
