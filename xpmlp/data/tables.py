"""Tables in files: text with separators, Parquet and JSON lines. DuckDB reads them.

Files are untrusted: DuckDB may open this one file and nothing else, no address of the network, and
load no extension. What cannot be read is a DataError with the row.
"""

import csv
import gzip
import re
import shutil
import tempfile
import weakref
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
from xpmlp.data.stored import Rows, StoredFrame
from xpmlp.data.values import MISSING, decimal_mark, is_plain, numbers
from xpmlp.errors import DataError, MissingExtraError, short

TEXT = (".csv", ".tsv", ".txt", ".data")
SUFFIXES = (*TEXT, ".parquet", ".jsonl", ".ndjson")
PACKED = (".gz", ".zip")
"""A packed file has both: ``.csv.gz``."""

MAX_ROW, MAX_COLUMNS = 4 * 2**20, 20_000
"""The most bytes of a row, quoted line breaks included, and the most columns."""

TOO_LONG = f"found more than {MAX_ROW:,} bytes, expected rows of at most so many"

MAX_BYTES = 64 * 2**30
"""The most bytes that a packed file may have once it is unpacked."""

LOOKED_AT = 10_000
"""Rows by which header and numbers are recognized."""

BIG = 256 * 2**20
"""Bytes from which on a file is read in parts, from a database on the disk."""

DUCKDB = ("duckdb", "_duckdb")
"""Modules of its errors."""

_NUMERIC = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*")


def kind_of(path: Path) -> str | None:
    """Return the suffix of a table file, without that of the packing; None for other files."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES else None


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


class _Folder:
    """A temporary folder, removed when nothing holds it any more."""

    def __init__(self) -> None:
        self.name = tempfile.mkdtemp(prefix="xpmlp-")
        weakref.finalize(self, shutil.rmtree, self.name, ignore_errors=True)


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
        self.folder = _Folder()
        self.plain = Path(self.folder.name) / "table"
        _unpack(file, path, self.plain)
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
        if encoding := _encoding(start[:1000]):
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
                    bad = _LineOf(self.path, self.plain, self.dialect, False).bad()
                    raise DataError(f"{self.path}: {_reason(str(error), bad)}") from error
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
        if not dialect["quote"] and any(map(_are_quoted, first)):  # but one that does not end
            dialect |= {"quote": '"', "escape": '"'}
            first = self._first(dialect)
        if _are_spaced(first):
            with self._rewritten() as out, self.plain.open(encoding="utf-8-sig") as text:
                for number, line in enumerate(text):
                    parts = _SPACED.findall(line) if number >= dialect["skip"] else []
                    out.write("\t".join(parts) + "\n")
            quotes = {"delim": "\t", "quote": '"', "escape": '"', "skip": 0}
            dialect = self._dialect() | quotes
            first = self._first(dialect)
        named = self._is_header(first) if self.header is None else self.header
        cells = [column[1:] for column in first] if named else first
        if not cells[0]:
            raise DataError(f"{self.path}: found no rows after the header; expected rows of data")
        names = _names([column[0] for column in first] if named else [""] * len(first))
        mark = self._mark(cells)
        kept = self.text(names)
        found = [n not in kept and _are_plain(c, mark) for n, c in zip(names, cells, strict=True)]
        frame = self._fetch_separated(names, found, dialect, named)
        frame.named, frame.decimal, frame.notes = named, mark, tuple(self.notes)
        frame.where = _LineOf(self.path, self.plain, dialect, named)
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
        scan = _scan(self.plain, dialect, header=False)
        rows = self.connection.execute(f"FROM {scan} LIMIT {LOOKED_AT}").fetchall()
        if not any(cell and cell.strip() for row in rows for cell in row):
            raise DataError(f"{self.path}: found no rows, expected rows of data")
        return [[(text or "").strip() for text in column] for column in zip(*rows, strict=True)]

    def _is_header(self, first: list[list[str]]) -> bool:
        """Whether the first row has names."""
        names = {column[0] for column in first}
        return (bool(self.known) and self.known <= names) or _is_header(first)

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

    def _fetch_separated(
        self, names: list[str], found: list[bool], dialect: dict[str, Any], named: bool
    ) -> Frame:
        """Read all rows; what is no number after all makes its column text."""
        numeric = {place for place, is_number in enumerate(found) if is_number}
        try:  # most files have numbers, nothing, and no other word for it: this is fast
            return self._fetch(names, _scan(self.plain, dialect, named, numeric), "*")
        except Exception as error:
            if "converting column" not in str(error):
                raise
        scan = _scan(self.plain, dialect, named)
        while True:
            cells = ", ".join(_cell(place) if f else f"c{place}" for place, f in enumerate(found))
            try:
                return self._fetch(names, scan, cells)
            except Exception as error:
                match = re.search(r'converting column "c(\d+)"', str(error))
                if match is None:
                    raise
                found[int(match[1])] = False

    def typed(self) -> Frame:
        """Read Parquet or JSON lines."""
        scan = f"read_parquet('{self.plain}')"
        if self.kind != ".parquet":
            scan = f"read_json('{self.plain}', format='newline_delimited', sample_size={LOOKED_AT})"
        if self.connection.execute(f"SELECT 1 FROM {scan} LIMIT 1").fetchone() is None:
            raise DataError(f"{self.path}: found no rows, expected rows of data")
        described = self.connection.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()
        if not 0 < len(described) <= MAX_COLUMNS:
            raise DataError(f"{self.path}: found {len(described):,} columns, expected 1 to 20,000")
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
        frame = self._fetch(names, scan, ", ".join(parts))
        frame.where = self._line if self.kind != ".parquet" else self._row
        return frame

    def _row(self, row: int) -> str:
        return f"{self.path}: row {row + 1}"

    def _line(self, row: int) -> str:
        with self.plain.open("rb") as file:
            full = (number for number, line in enumerate(file, 1) if line.strip())
            return f"{self.path}: line {next(islice(full, row, None))}"

    def _fetch(self, names: list[str], scan: str, select: str) -> Frame:
        rows = Rows(self.connection, f"SELECT {select} FROM {scan}")
        if not rows.count:
            raise DataError(f"{self.path}: found no rows, expected rows of data")
        if self.big:
            return StoredFrame(names, rows, self.folder)
        frame = Frame(rows.fetch({name: place for place, name in enumerate(names)}), str)
        frame.kept = self.folder  # messages look up lines in it
        self.connection.close()
        return frame


class _LineOf:
    """Names the row of a text file as editors count lines, from 1."""

    def __init__(self, path: Path, plain: Path, dialect: Mapping[str, Any], named: bool) -> None:
        self.path, self.plain, self.dialect, self.named = path, plain, dialect, named

    def __call__(self, row: int) -> str:
        line = next(islice(self._rows(), row + self.named, None), (None,))[0]
        return f"{self.path}: row {row + 1}" if line is None else f"{self.path}: line {line}"

    def bad(self) -> int | None:
        """Return the line of the first row with more or fewer cells, or with an open quote."""
        width = self.dialect["width"]
        return next((line for line, cells in self._rows(True) if len(cells) != width), None)

    def _rows(self, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
        """Yield each row, and the line on which it begins."""
        d, skipped = self.dialect, 0
        with self.plain.open(encoding="utf-8", errors="replace", newline="") as file:
            for _ in range(d["skip"]):
                skipped += bool(file.readline())
            csv.field_size_limit(MAX_ROW)
            quoting: Any = csv.QUOTE_MINIMAL if d["quote"] else csv.QUOTE_NONE
            quote = d["quote"] or '"'
            made = csv.reader(
                file, delimiter=d["delim"], quotechar=quote, quoting=quoting, strict=strict
            )
            before = skipped
            try:
                for cells in made:
                    if any(cells) and not (d["comment"] and cells[0].startswith(d["comment"])):
                        yield before + 1, cells
                    before = skipped + made.line_num
            except csv.Error:
                yield before + 1, []


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
        raise DataError(f"{path}: {_reason(str(error))}") from error


def _reason(message: str, line: int | None = None) -> str:
    """Return what DuckDB says of a file, without its advice; ``line`` if it is known better."""
    said = re.search(r"Line: (\d+)", message) or re.search(r" in line (\d+)", message)
    where = f"line {line or said[1]}: " if said else ""
    if counts := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message):
        return (
            f"{where}found {counts[2]} columns, expected {counts[1]} as in the first row; correct "
            "the row, and quote cells that contain the separator"
        )
    if "unterminated quote" in message:
        return f"{where}found a quote that does not end; close it"
    if "Maximum line size" in message:
        return f"{where}{TOO_LONG}"
    text = message.removeprefix("Invalid Input Error: ").split("\n")[0]
    text = re.sub(r""" ["'][^"']*xpmlp-[^"']*["'],?""", "", text)  # our own name of the file
    return f"{where}cannot be read: {short(text, 200)}"


def _unpack(file: BinaryIO, path: Path, plain: Path) -> None:
    """Write the content of a packed file; link to one that is not packed."""
    start = file.read(4)
    file.seek(0)
    if start[:2] == b"\x1f\x8b":
        with gzip.GzipFile(fileobj=file) as stream:
            _copy(stream, plain, path)
    elif start == b"PK\x03\x04":
        try:
            _unzip(file, path, plain)
        except (DataError, OSError, zipfile.BadZipFile):
            raise
        except Exception as error:  # encrypted, another method, and what damaged ones raise
            raise DataError(f"{path}: cannot be unpacked: {short(error)}") from error
    else:
        # A link, because DuckDB would take *, ? and [ in the name of the file for a pattern.
        plain.symlink_to(path.resolve())


def _unzip(file: BinaryIO, path: Path, plain: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        members = [m for m in archive.infolist() if not m.is_dir() and "__MACOSX" not in m.filename]
        if len(members) != 1:
            names = short(", ".join(member.filename for member in members))
            raise DataError(f"{path}: found {len(members)} files ({names}), expected one table")
        with archive.open(members[0]) as stream:
            _copy(stream, plain, path)


def _copy(stream: Any, plain: Path, path: Path) -> None:
    count = 0
    with plain.open("wb") as out:
        while chunk := stream.read(2**20):
            count += out.write(chunk)
            if count > MAX_BYTES:
                raise DataError(f"{path}: unpacks to more than {MAX_BYTES >> 30} GiB")


def _encoding(start: bytes) -> str | None:
    """Return the encoding of UTF-16; None for other text."""
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    half = len(start) // 2
    zeros = start[::2].count(0), start[1::2].count(0)
    return next(
        (e for e, n in zip(("utf-16-be", "utf-16-le"), zeros, strict=False) if n > 0.4 * half > 1),
        None,
    )


def _are_quoted(cells: list[str]) -> bool:
    """Whether many cells of a column are in quotes."""
    return sum(len(c) > 1 and c[0] == c[-1] == '"' for c in cells) > 0.1 * len(cells)


_SPACED = re.compile(r'"[^"]*"|\S+')


def _are_spaced(first: list[list[str]]) -> bool:
    """Whether spaces separate the cells: several numbers in one, or as many parts in each row."""
    if len(first) > 1:
        return any(sum(map(is_plain, column[0].split())) > 1 for column in first)
    parts = [_SPACED.findall(row) for row in first[0] if row]
    numeric = [any(map(_is_number, row)) for row in parts[1:1000]]
    return len(set(map(len, parts))) == 1 < len(parts[0]) and sum(numeric) > 0.5 * len(numeric)


def _scan(
    plain: Path, dialect: Mapping[str, Any], header: bool, numeric: Collection[int] = ()
) -> str:
    """Return DuckDB's call that reads the cells of the file, c0, c1, ...: texts, or numbers."""
    kinds = [
        f"'c{place}': '{'DOUBLE' if place in numeric else 'VARCHAR'}'"
        for place in range(dialect["width"])
    ]
    options = [
        f"'{plain}', auto_detect=false, header={str(header).lower()}",
        f"columns={{{', '.join(kinds)}}}",
        *(f"{n}='{_quoted(dialect[n])}'" for n in ("delim", "quote", "escape", "comment")),
        f"skip={dialect['skip']}, max_line_size={MAX_ROW}",
    ]
    return f"read_csv({', '.join(options)})"


def _cell(place: int) -> str:
    """Return a cell as DuckDB's number, or nothing; another text is an error."""
    nothing = ", ".join(f"'{text}'" for text in sorted(MISSING))
    wrong = f"error('converting column \"c{place}\": ' || c{place})"
    return (
        f"coalesce(TRY_CAST(c{place} AS DOUBLE), CASE WHEN c{place} IS NULL OR "
        f"list_contains([{nothing}], trim(c{place})) THEN NULL ELSE {wrong} END) AS c{place}"
    )


def _quoted(text: str | None) -> str:
    return (text or "").replace("'", "''")


def _are_plain(column: Sequence[str], mark: str) -> bool:
    """Whether all cells are numbers that DuckDB reads right, or nothing."""
    there = [text for text in column if text not in MISSING]
    marked = mark == "," and any("." in text for text in there)
    return bool(there) and not marked and all(map(is_plain, there))


def _is_header(first: list[list[str]]) -> bool:
    """Whether the first row has names; see `read_table`."""
    names = [column[0] for column in first]
    if len(first[0]) == 1:
        return not any(map(_is_number, names)) and any(name not in MISSING for name in names)
    numeric = [name for name in names if _is_number(name)]
    if len(set(numeric)) < len(numeric) or not all(name.isdigit() for name in numeric):
        return False  # names that are numbers are whole, and differ
    over_number = over_text = again = repeated = False
    for name, *cells in first:
        if name in MISSING or _is_number(name):
            continue
        there = [text for text in cells if text not in MISSING]
        share = sum(map(_is_number, there[:1000])) / max(len(there[:1000]), 1)
        if share > 0.9:
            over_number = True
            continue
        over_text, again = True, again or name in there
        repeated = repeated or len(set(there)) < len(there)
    if over_number:
        return True
    return over_text and not again and (repeated or not numeric)


def _is_number(text: str) -> bool:
    return not (np.isnan(numbers([text])[0]) and np.isnan(numbers([text], ",")[0]))


def _names(found: Sequence[str]) -> list[str]:
    """Return names that differ; a column without one is called by its number, from 1."""
    names, seen = list[str](), Counter[str]()
    for place, name in enumerate(found):
        made = name or f"column {place + 1}"
        seen[made] += 1
        names.append(f"{made} ({seen[made]})" if seen[made] > 1 else made)
    return names
