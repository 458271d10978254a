"""Tables of numbers from CSV files; errors name the row and the column."""

import csv
import io
import itertools
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np

from xpmlp.data.columns import LABEL_NAMES, Choose
from xpmlp.data.dataset import PathLike, Table, opened
from xpmlp.data.labels import MAX_LABEL, is_number
from xpmlp.errors import DataError, short

MAX_ROW = 4 * 2**20
"""The most characters of a row, quoted line breaks included: enough for 100,000 columns."""


def read_csv(path: PathLike, choose: Choose) -> Table:
    """Read the float64 features and the labels (text, or None) that `choose` picks by column.

    The file is UTF-8; cells are separated by comma, semicolon or tab (whichever occurs most in
    the first line) and may be quoted. The first row is a header if it has a name in a column
    whose second row is a number, a label column's name (not y), or no number at all. Blank lines
    are skipped.

    Raises
    ------
    DataError
        If the file cannot be read, is not UTF-8, has a NUL byte, no rows, a row of another length,
        an empty cell, an overlong cell or row, or a feature that is not a finite number. The
        message has the row (the line in the file, from 1) and the column (from 1).
    """
    path = Path(path)
    with opened(path) as file:
        try:
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
            return _parse_csv(text, path, choose)
        except UnicodeDecodeError:
            raise DataError(
                f"{path}: byte {_undecodable(file)} is not UTF-8; save the file as UTF-8"
            ) from None


def _undecodable(file: BinaryIO) -> int:
    """Return the place of the first byte that is not UTF-8, from 0; the stream does not know."""
    file.seek(0)
    try:
        file.read().decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return 0  # the file has changed in the meantime


def _parse_csv(file: TextIO, path: Path, choose: Choose) -> Table:
    records = _records(file, path)
    head = list(itertools.islice(records, 2))
    if not head:
        raise DataError(f"{path}: found no rows, expected rows of numbers")
    width = len(head[0][1])
    names = _header(head, path)
    columns, label = choose(names, width)
    values, labels, lines = array("d"), [], []
    for line, cells in itertools.chain(head[1:] if names else head, records):
        if len(cells) != width:
            raise DataError(
                f"{path}: row {line}: found {len(cells)} columns, expected {width} as in the "
                "first row; correct the row, and quote cells that contain the separator"
            )
        try:
            numbers = [cells[column] for column in columns]
            if "_" in "".join(numbers):
                raise ValueError("float() would read 1_000")
            values.extend(map(float, numbers))
        except ValueError:
            column = next(c for c in columns if not is_number(cells[c]))
            raise _bad_cell(path, line, column, names, cells[column], "a number") from None
        if label is not None:
            text = cells[label].strip()
            if not 0 < len(text) <= MAX_LABEL:
                expected = f"a label of at most {MAX_LABEL} characters"
                raise _bad_cell(path, line, label, names, text, expected)
            labels.append(text)
        lines.append(line)
    if not lines:
        raise DataError(f"{path}: found a header and no rows after it, expected rows of numbers")
    X = np.frombuffer(values, dtype=np.float64).reshape(len(lines), len(columns))
    finite = np.isfinite(X)
    if not finite.all():
        row, k = divmod(int(np.argmin(finite)), len(columns))
        raise _bad_cell(path, lines[row], columns[k], names, str(X[row, k]), "a finite number")
    return Table(
        X,
        # Of variable length: a fixed one would give every row the length of the longest.
        np.array(labels, np.dtypes.StringDType()) if label is not None else None,
        lambda index: f"{path}: row {lines[index]}",
        features=tuple(names[column] for column in columns) if names else None,
    )


def _bad_cell(
    path: Path, line: int, column: int, names: tuple[str, ...] | None, text: str, expected: str
) -> DataError:
    name = f" ({short(names[column], 40)})" if names else ""
    found = repr(short(text, 40)) if text.strip() else "nothing"
    return DataError(
        f"{path}: row {line}, column {column + 1}{name}: found {found}, expected {expected}; "
        "correct the cell or remove the row"
    )


def _records(file: TextIO, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, each with the line on which it begins, from 1."""
    separator = _separator(_Lines(file, path))
    file.seek(0)
    lines = _Lines(file, path)
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    while True:
        line = lines.next_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"{path}: row {line}: {error}; expected cells that are short, with matching quotes"
            ) from error
        if len(cells) > 1 or (cells and cells[0].strip()):
            yield line, cells


def _separator(lines: "_Lines") -> str:
    """Choose the separator with the most cells in the first line that is not blank."""
    for line in lines:
        if line.strip():
            return max(",;\t", key=lambda separator: _width(line, separator))
        lines.next_row()
    return ","


def _width(line: str, separator: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=separator)))
    except csv.Error:  # a cell that is too long: the reader of rows will say where
        return 0


class _Lines:
    """The lines of a file, counted; refuses NUL, and rows that are too long."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self.file, self.path = file, path
        self.number = self.length = 0

    def next_row(self) -> int:
        """Begin a row, and return the number of its first line, from 1."""
        self.length = 0
        return self.number + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.file.readline(MAX_ROW + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.length += len(line)
        if self.length > MAX_ROW:
            raise DataError(
                f"{self.path}: row {self.number}: found more than {MAX_ROW} characters, expected "
                "shorter rows; are there line breaks, and is every quote closed?"
            )
        if "\0" in line:
            raise DataError(
                f"{self.path}: row {self.number}: found a NUL character, expected text; is it a "
                "CSV file?"
            )
        return line


def _header(head: list[tuple[int, list[str]]], path: Path) -> tuple[str, ...] | None:
    """Return the column names if the first row is a header, see `read_csv`."""
    line, first = head[0]
    second = head[1][1] if len(head) > 1 else []
    names = tuple(cell.strip() for cell in first)
    is_name = [not is_number(name) for name in names]
    over_number = any(a and is_number(b) for a, b in zip(is_name, second, strict=False))
    known = any(name.lower() in LABEL_NAMES[:-1] for name in names)  # "y" may well be a class
    if not (all(is_name) or over_number or known):
        return None
    seen = set()
    for column, name in enumerate(names):
        if not name or name in seen:
            found = f"the name {short(name, 40)!r} again" if name else "no name"
            raise DataError(
                f"{path}: row {line}, column {column + 1}: found {found}, expected names that "
                "differ (pandas writes its index as a column without a name unless index=False)"
            )
        seen.add(name)
    return names
