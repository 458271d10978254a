"""Tables in files: text with separators, Parquet and JSON lines. DuckDB reads them.

Files are untrusted: DuckDB may open this one file and nothing else, no address of the network, and
load no extension. What cannot be read is a DataError with the row.
"""

import gzip
import re
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from xpmlp.data.dataset import PathLike, opened
from xpmlp.data.frame import Frame
from xpmlp.data.layout import (
    MAX_COLUMNS,
    MAX_ROW,
    SPACED,
    TOO_LONG,
    LineOf,
    are_plain,
    are_quoted,
    are_spaced,
    cell,
    is_header,
    literal,
    names_of,
    reason,
    scan,
)
from xpmlp.data.packed import TEXT, Folder, encoding_of, kind_of, unpack
from xpmlp.data.stored import WIDE, Rows, StoredFrame, column_of
from xpmlp.data.values import MISSING, decimal_mark, numbers
from xpmlp.errors import DataError, MissingExtraError, short

LOOKED_AT = 2_000
"""Rows by which header and numbers are recognized."""

FEW = 1000
"""Most distinct texts of a column's first rows that are expected to be all there are."""

BIG = 256 * 2**20
"""Bytes from which on a file is read in parts, from a database on the disk."""

DUCKDB = ("duckdb", "_duckdb")
"""Modules of its errors."""

_NUMERIC = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*")


def read_table(
    path: PathLike,
    *,
    header: bool | None = None,
    decimal: str | None = None,
    text: Callable[[Sequence[str]], Collection[str]] = lambda names: (),
    known: Sequence[str] = (),
) -> Frame:
    """Read a table; each cell is a number, a time, or text as the file spells it.

    Parameters
    ----------
    path : path-like
        .csv, .tsv, .txt, .data, .parquet, .jsonl or .ndjson, packed (.gz, .zip) or not.
    header : bool, optional
        Whether the first row has the names. By default it does if a text in it stands over
        numbers, or over texts among which it does not occur again.
    decimal : {".", ","}, optional
        By default seen from the numbers.
    text : callable
        Chooses, of the columns' names, those to read as text, such as labels.
    known : sequence of str
        Names by which a header is recognized.

    Returns
    -------
    Frame
        A `StoredFrame` for a file of more than `BIG` bytes.

    Raises
    ------
    DataError
        If the file cannot be read.
    MissingExtraError
        If DuckDB is not installed.
    """
    path = Path(path)
    with _blaming(path), opened(path) as file:  # a regular file
        source = _Source(path, file, header, decimal, text, known)
        return source.typed() if source.kind not in TEXT else source.separated()


class _Source:
    """A file on its way to a `Frame`: its unpacked form, and a connection to DuckDB."""

    def __init__(
        self,
        path: Path,
        file: BinaryIO,
        header: bool | None,
        decimal: str | None,
        text: Callable[[Sequence[str]], Collection[str]],
        known: Sequence[str],
    ) -> None:
        self.path, self.kind, self.header, self.decimal = path, kind_of(path), header, decimal
        self.text, self.known, self.notes = text, set(known), list[str]()
        self.recoded, self.dialect = False, dict[str, Any]()
        self.folder = Folder()
        self.plain = Path(self.folder.name) / "table"
        unpack(file, path, self.plain)
        self.big = self.plain.stat().st_size > BIG
        self.connection = self._connect()

    def _connect(self) -> Any:
        """Return a connection that can read the plain file and nothing else."""
        try:
            import duckdb
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"reading {self.path} needs duckdb; install it with: pip install 'xpmlp[cli]'"
            ) from error
        folder = Path(self.folder.name)
        options: dict[str, Any] = {
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": str(folder / "spilled"),
            **({"memory_limit": "256MB"} if self.big else {}),
        }
        made = duckdb.connect(str(folder / "rows") if self.big else ":memory:", config=options)
        made.execute(f"SET allowed_paths=['{self.plain}']")
        made.execute("SET enable_external_access=false")
        made.execute("SET enable_progress_bar=false")
        made.execute("SET lock_configuration=true")
        return made

    def separated(self) -> Frame:
        """Read separated values."""
        with self.plain.open("rb") as file:
            start = file.read(MAX_ROW + 1)
        if len(start) > MAX_ROW and b"\n" not in start and b"\r" not in start:
            raise DataError(f"{self.path}: line 1: {TOO_LONG}")
        if encoding := encoding_of(start[:1000]):
            self._recode(encoding, encoding.upper())
        elif b"\0" in start:
            line = len(start[: start.index(b"\0")].splitlines()) or 1
            raise DataError(f"{self.path}: line {line}: found a NUL byte, expected text")
        try:
            return self._separated()
        except Exception as error:
            unreadable = isinstance(error, UnicodeDecodeError) or "unicode" in str(error)
            if not unreadable or self.recoded:
                if type(error).__module__ in DUCKDB and self.dialect:
                    bad = LineOf(self.path, self.plain, self.dialect, False).bad()
                    raise DataError(f"{self.path}: {reason(str(error), bad)}") from error
                raise
            self.notes.clear()
            self._recode("cp1252", "Windows-1252, because it is not UTF-8")
            return self._separated()

    def _recode(self, encoding: str, named: str) -> None:
        self.notes.append(f"read as {named}")
        self.recoded = True
        with self._rewritten() as out, self.plain.open(encoding=encoding, errors="replace") as text:
            shutil.copyfileobj(text, out, 2**20)

    @contextmanager
    def _rewritten(self) -> Iterator[TextIO]:
        """Open a file that is read instead from then on."""
        made = self.plain.with_name(f"{self.plain.name}-rewritten")
        with made.open("w", encoding="utf-8") as out:
            yield out
        self.plain = made
        self.connection.close()
        self.connection = self._connect()

    def _separated(self) -> Frame:
        dialect = self._dialect()
        first = self._first(dialect)
        if dialect["skip"]:
            self._say_skipped(dialect, len(first[0]))
        if not dialect["quote"] and any(map(are_quoted, first)):  # but one that does not end
            dialect |= {"quote": '"', "escape": '"'}
            first = self._first(dialect)
        if are_spaced(first):
            with self._rewritten() as out, self.plain.open(encoding="utf-8-sig") as text:
                for number, line in enumerate(text):
                    parts = SPACED.findall(line) if number >= dialect["skip"] else []
                    out.write("\t".join(parts) + "\n")
            quotes = {"delim": "\t", "quote": '"', "escape": '"', "skip": 0}
            dialect = self._dialect() | quotes
            first = self._first(dialect)
        named = self._is_header(first) if self.header is None else self.header
        cells = [column[1:] for column in first] if named else first
        if not cells[0]:
            raise DataError(f"{self.path}: found no rows after the header; expected rows of data")
        names = names_of([column[0] for column in first] if named else [""] * len(first))
        mark = self._mark(cells)
        kept = self.text(names)
        found = [n not in kept and are_plain(c, mark) for n, c in zip(names, cells, strict=True)]
        frame = self._fetch_alike(names, found, cells, dialect, named)
        frame = frame or self._fetch_separated(names, found, dialect, named)
        frame.named, frame.decimal, frame.notes = named, mark, tuple(self.notes)
        frame.where = LineOf(self.path, self.plain, dialect, named)
        return frame

    def _dialect(self) -> dict[str, Any]:
        """Return what separates the cells."""
        *found, width = self.connection.execute(
            "SELECT Delimiter, Quote, Escape, Comment, SkipRows, len(Columns) FROM "
            f"sniff_csv('{self.plain}', all_varchar=true, max_line_size={MAX_ROW})"
        ).fetchone()
        found = [None if value == "(empty)" else value for value in found]
        dialect = dict(zip(("delim", "quote", "escape", "comment", "skip"), found, strict=True))
        if width == 1:  # nothing separates all rows alike: then what does so in most rows
            with self.plain.open(encoding="utf-8", errors="replace", newline="") as file:
                lines = [line.strip("\r\n") for line in islice(file, 200)]
            rows = [line for line in lines if line.strip() and line[0] != "#"]
            marks = {m: Counter(row.count(m) for row in rows if m in row) for m in ",;\t|"}
            rank = {m: counts.most_common(1)[0] for m, counts in marks.items() if counts}
            if rank:
                best = max(rank, key=lambda m: (rank[m][1], rank[m][0]))
                width = rank[best][0] + 1
                skip = next(k for k, line in enumerate(lines) if line.count(best) == width - 1)
                quotes = {"quote": '"', "escape": '"', "skip": skip}
                comment = "#" if any(line[:1] == "#" for line in lines) else None
                dialect |= {"delim": best, "comment": comment, **quotes}
        self.dialect = dialect | {"width": width}
        return self.dialect

    def _say_skipped(self, dialect: Mapping[str, Any], rows: int) -> None:
        """Note what stands above the table, but comments; more than the table is a part of it."""
        comment = dialect["comment"] or "#"
        with self.plain.open(encoding="utf-8-sig", errors="replace") as file:
            lines = [line.strip() for line in islice(file, dialect["skip"])]
        said = [t for t in lines if t and not t.startswith((comment, "sep="))]
        if len(said) > rows:
            raise DataError(
                f"{self.path}: line {len(lines) + 1}: found {dialect['width']} columns, expected "
                f"{said[0].count(dialect['delim']) + 1} as in the first row; correct the row"
            )
        if said:
            self.notes.append(f"left out above the table: {short(' / '.join(said), 60)!r}")

    def _first(self, dialect: dict[str, Any]) -> list[list[str]]:
        """Return the first rows as texts, by column."""
        if dialect["width"] > MAX_COLUMNS:
            raise DataError(
                f"{self.path}: found {dialect['width']:,} columns, expected at most {MAX_COLUMNS:,}"
            )
        texts = scan(self.plain, dialect, header=False)
        rows = self.connection.execute(f"FROM {texts} LIMIT {LOOKED_AT}").fetchall()
        if not any(cell and cell.strip() for row in rows for cell in row):
            raise DataError(f"{self.path}: found no rows, expected rows of data")
        return [[(text or "").strip() for text in column] for column in zip(*rows, strict=True)]

    def _is_header(self, first: list[list[str]]) -> bool:
        """Whether the first row has names."""
        names = {column[0] for column in first}
        return (bool(self.known) and self.known <= names) or is_header(first)

    def _mark(self, cells: list[list[str]]) -> str:
        """Return the decimal mark of all numbers."""
        if self.decimal is not None:
            return self.decimal
        for column in cells:
            texts = [text for text in column[:1000] if text not in MISSING]
            if decimal_mark(texts) == "," and not np.isnan(numbers(texts, ",")).any():
                self.notes.append("numbers have decimal commas")
                return ","
        return "."

    def _fetch_alike(
        self,
        names: list[str],
        found: list[bool],
        cells: list[list[str]],
        dialect: dict[str, Any],
        named: bool,
    ) -> Frame | None:
        """Read all rows if they are like the first: numbers, and texts that occur there.

        Most tables are, and then this takes half the time: numbers and texts are converted as they
        are read.
        """
        types, levels = {}, dict[int, tuple[str, ...]]()
        for k, (column, is_number) in enumerate(zip(cells, found, strict=True)):
            types[k] = "DOUBLE" if is_number else f"e{k}"
            if not is_number:
                levels[k] = tuple(sorted({*column} - {""}))
        if self.big or not all(0 < len(texts) <= FEW for texts in levels.values()):
            return None
        for k, texts in levels.items():
            self.connection.execute(f"CREATE TYPE e{k} AS ENUM ({', '.join(map(literal, texts))})")
        select = [f"enum_code(c{k})" if k in levels else f"c{k}" for k in types]
        source = scan(self.plain, dialect, named, types)
        try:
            named_parts = ", ".join(f"{part} AS n{k}" for k, part in enumerate(select))
            made = self.connection.execute(f"SELECT {named_parts} FROM {source}").fetchnumpy()
        except Exception:  # a cell that is unlike, or a fault that the other way will find
            return None
        finally:
            for k in levels:
                self.connection.execute(f"DROP TYPE e{k}")
        columns = [column_of(values, levels.get(k)) for k, values in enumerate(made.values())]
        frame = Frame(dict(zip(names, columns, strict=True)), str)
        frame.kept = self.folder  # messages look up lines in it
        self.connection.close()
        return frame

    def _fetch_separated(
        self, names: list[str], found: list[bool], dialect: dict[str, Any], named: bool
    ) -> Frame:
        """Read all rows; what is no number after all makes its column text."""
        texts = scan(self.plain, dialect, named)
        if len(found) > WIDE:  # the query would take minutes; a Table reads numbers from texts, too
            found = [False] * len(found)
        while True:
            cells = ", ".join(cell(place) if f else f"c{place}" for place, f in enumerate(found))
            try:
                return self._fetch(names, texts, cells)
            except Exception as error:
                match = re.search(r'converting column "c(\d+)"', str(error))
                if match is None:
                    raise
                found[int(match[1])] = False

    def typed(self) -> Frame:
        """Read Parquet or JSON lines."""
        source = f"read_parquet('{self.plain}')"
        if self.kind != ".parquet":
            source = (
                f"read_json('{self.plain}', format='newline_delimited', sample_size={LOOKED_AT})"
            )
        if self.connection.execute(f"SELECT 1 FROM {source} LIMIT 1").fetchone() is None:
            raise DataError(f"{self.path}: found no rows, expected rows of data")
        described = self.connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
        if not 0 < len(described) <= MAX_COLUMNS:
            raise DataError(
                f"{self.path}: found {len(described):,} columns, expected 1 to {MAX_COLUMNS:,}"
            )
        names, parts = [row[0] for row in described], []
        kept = self.text(names)
        for place, (name, kind, *_) in enumerate(described):
            wanted = "VARCHAR"
            if name not in kept and _NUMERIC.fullmatch(kind):
                wanted = "DOUBLE"
            elif name not in kept and kind.startswith(("DATE", "TIMESTAMP")):
                wanted = "TIMESTAMP"
            cell = '"' + name.replace('"', '""') + '"'
            cell += "->>'$'" if kind == "JSON" else ""  # text without its quotes
            parts.append(f"CAST({cell} AS {wanted}) AS c{place}")
        frame = self._fetch(names, source, ", ".join(parts))
        frame.where = self._line if self.kind != ".parquet" else self._row
        return frame

    def _row(self, row: int) -> str:
        return f"{self.path}: row {row + 1}"

    def _line(self, row: int) -> str:
        with self.plain.open("rb") as file:
            full = (number for number, line in enumerate(file, 1) if line.strip())
            return f"{self.path}: line {next(islice(full, row, None))}"

    def _fetch(self, names: list[str], source: str, select: str) -> Frame:
        rows = Rows(self.connection, f"SELECT {select} FROM {source}")
        if self.big:
            return StoredFrame(names, rows, self.folder)
        frame = Frame(rows.fetch({name: place for place, name in enumerate(names)}), str)
        frame.kept = self.folder  # messages look up lines in it
        self.connection.close()
        return frame


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Turn the errors of DuckDB, and of packed files, into DataErrors about this file."""
    try:
        yield
    except (zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be unpacked: {short(error)}; the file is truncated or altered, get it "
            "again"
        ) from error
    except Exception as error:
        if type(error).__module__ not in DUCKDB:
            raise
        raise DataError(f"{path}: {reason(str(error))}") from error
