"""How a text file is laid out: its header, its numbers, and on which line a row is."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.data.values import MISSING, is_plain, numbers
from xpmlp.errors import short

MAX_ROW, MAX_COLUMNS = 4 * 2**20, 20_000
"""The most bytes of a row, quoted line breaks included, and the most columns."""


class LineOf:
    """Names the row of a text file as editors count lines, from 1."""

    def __init__(self, path: Path, plain: Path, dialect: Mapping[str, Any], named: bool) -> None:
        self.path, self.plain, self.dialect, self.named = path, plain, dialect, named

    def __call__(self, row: int) -> str:
        """Return the file and the line."""
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


def are_quoted(cells: list[str]) -> bool:
    """Whether many cells of a column are in quotes."""
    found = (
        [c for c in cells if len(c) > 1 and c[0] == c[-1] == '"'] if '"' in "".join(cells) else []
    )
    return len(found) > 0.1 * len(cells)


SPACED = re.compile(r'"[^"]*"|\S+')


def are_spaced(first: list[list[str]]) -> bool:
    """Whether spaces separate the cells: several numbers in one, or as many parts in each row."""
    if len(first) > 1:
        return any(sum(map(is_plain, column[0].split())) > 1 for column in first)
    parts = [SPACED.findall(row) for row in first[0] if row]
    numeric = [any(map(is_number, row)) for row in parts[1:1000]]
    return len(set(map(len, parts))) == 1 < len(parts[0]) and sum(numeric) > 0.5 * len(numeric)


def are_plain(column: Sequence[str], mark: str) -> bool:
    """Whether all cells are numbers that DuckDB reads right, or nothing."""
    there = [text for text in column if text not in MISSING]
    marked = mark == "," and any("." in text for text in there)
    return bool(there) and not marked and all(map(is_plain, there))


def is_header(first: list[list[str]]) -> bool:
    """Whether the first row has names; see `read_table`."""
    names = [column[0] for column in first]
    if len(first[0]) == 1:
        return not any(map(is_number, names)) and any(name not in MISSING for name in names)
    numeric = [name for name in names if is_number(name)]
    if len(set(numeric)) < len(numeric) or not all(name.isdigit() for name in numeric):
        return False  # names that are numbers are whole, and differ
    over_number = over_text = again = repeated = False
    for name, *cells in first:
        if name in MISSING or is_number(name):
            continue
        there = [text for text in cells if text not in MISSING]
        share = sum(map(is_number, there[:200])) / max(len(there[:200]), 1)
        if share > 0.9:
            over_number = True
            continue
        over_text, again = True, again or name in there
        repeated = repeated or len(set(there)) < len(there)
    if over_number:
        return True
    return over_text and not again and (repeated or not numeric)


def is_number(text: str) -> bool:
    """Whether a text is a number with a decimal point or comma."""
    return not (np.isnan(numbers([text])[0]) and np.isnan(numbers([text], ",")[0]))


def names_of(found: Sequence[str]) -> list[str]:
    """Return names that differ; a column without one is called by its number, from 1."""
    names, seen = list[str](), Counter[str]()
    for place, name in enumerate(found):
        made = name or f"column {place + 1}"
        seen[made] += 1
        names.append(f"{made} ({seen[made]})" if seen[made] > 1 else made)
    return names


def scan(
    plain: Path, dialect: Mapping[str, Any], header: bool, types: Mapping[int, str] = {}
) -> str:
    """Return DuckDB's call that reads the cells of the file, c0, c1, ...: texts, or other types."""
    kinds = [f"'c{k}': '{types.get(k, 'VARCHAR')}'" for k in range(dialect["width"])]
    options = [
        f"'{plain}', auto_detect=false, header={str(header).lower()}",
        f"columns={{{', '.join(kinds)}}}",
        *(f"{n}={literal(dialect[n])}" for n in ("delim", "quote", "escape", "comment")),
        f"skip={dialect['skip']}, max_line_size={MAX_ROW}",
        # By default 8 rows of the most bytes: few parts for the cores to share.
        *([f"buffer_size={4 * MAX_ROW}"] if types else []),
    ]
    return f"read_csv({', '.join(options)})"


def cell(place: int) -> str:
    """Return a cell as DuckDB's number, or nothing; another text is an error."""
    nothing = ", ".join(f"'{text}'" for text in sorted(MISSING))
    wrong = f"error('converting column \"c{place}\": ' || c{place})"
    return (
        f"coalesce(TRY_CAST(c{place} AS DOUBLE), CASE WHEN c{place} IS NULL OR "
        f"list_contains([{nothing}], trim(c{place})) THEN NULL ELSE {wrong} END) AS c{place}"
    )


def literal(text: str | None) -> str:
    """Return a text in quotes, as in SQL."""
    return "'" + (text or "").replace("'", "''") + "'"


TOO_LONG = f"found more than {MAX_ROW:,} bytes, expected rows of at most so many"


def reason(message: str, line: int | None = None) -> str:
    """Return what DuckDB says of a file, without its advice; ``line`` if it is known better."""
    said = re.search(r"Line: (\d+)", message) or re.search(r" in line (\d+)", message)
    where = f"line {line or said[1]}: " if said else ""
    if counts := re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", message):
        found = f"{counts[2]} column{'' if counts[2] == '1' else 's'}"
        return (
            f"{where}found {found}, expected {counts[1]} as in the first row; correct "
            "the row, and quote cells that contain the separator"
        )
    if "unterminated quote" in message:
        return f"{where}found a quote that does not end; close it"
    if "Maximum line size" in message:
        return f"{where}{TOO_LONG}"
    text = message.removeprefix("Invalid Input Error: ").split("\n")[0]
    text = re.sub(r""" ["'][^"']*xpmlp-[^"']*["'],?""", "", text)  # our own name of the file
    return f"{where}cannot be read: {short(text, 200)}"
