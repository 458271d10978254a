"""Tables on the command line: what was understood of one, and a new one with predictions."""

import csv
import io
import json
import tempfile
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.cli.output import Output
from xpmlp.data import Dataset
from xpmlp.data.features import refuse
from xpmlp.data.frame import Column, Frame
from xpmlp.data.stored import SAMPLED, StoredFrame
from xpmlp.data.table import Table
from xpmlp.errors import DataError, InvalidValueError, short
from xpmlp.storage.atomic import write_atomically

OUT = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")
"""Suffixes of files that ``predict --out`` writes."""


def understood(args: Namespace, data: Dataset, out: Output) -> Table | None:
    """Fit a table to the training rows, and print what each column is; None for other data.

    Raises
    ------
    DataError
        If cells cannot be read, with all columns that have some.
    """
    if not isinstance(data.X, Frame):
        if data.why:  # rows of a file, which are numbers already
            out.row("label", f"{', '.join(data.label)}: {_label(data)} ({data.why})")
        return None
    given: dict[str, Any] = {
        name: getattr(args, name) or () for name in ("categorical", "numeric", "drop")
    }
    labels = [name for names in given.values() for name in names if name in data.label]
    if labels:
        raise InvalidValueError(f"{labels[0]!r} is the label; name another with --label")
    table, problems = Table(**given), list[str]()
    try:
        table.fit(data.X)
    except DataError:
        problems = table.problems(data.X)
        if not problems:
            raise
    for note in data.notes:
        out.row("note", note)
    if isinstance(data.X, StoredFrame):
        out.row("note", f"a large file: columns are judged by {SAMPLED:,} rows, evenly spaced")
    out.row("label", f"{', '.join(data.label)}: {_label(data)} ({data.why})")
    out.show(["", *table.summary().splitlines(), ""])
    if len(data.X_test):
        more = table.problems(data.X_test)
        problems += [p for p in more if not any(_column(p) == _column(q) for q in problems)]
    refuse(problems)
    return table


def _column(problem: str) -> str:
    """Return which column a problem is about."""
    return problem.partition(", column ")[2].partition(": found")[0]


def _label(data: Dataset) -> str:
    if data.targets == "multilabel":
        return f"{data.outputs} labels, each of them yes or no"
    if data.classes:
        counts = np.bincount(np.concatenate([data.y, data.y_test]), minlength=len(data.classes))
        named = zip(data.classes, counts, strict=True)
        return f"{len(data.classes)} classes: " + short(
            ", ".join(f"{n} {c:,}" for n, c in named), 150
        )
    y = np.concatenate([data.y, data.y_test])
    low, high = f"{np.min(y):.6g}", f"{np.max(y):.6g}"
    return f"numbers from {low} to {high}"


def write(path: Path, frame: Frame | None, made: Mapping[str, Any]) -> None:
    """Write the rows as they came, and further columns, as the suffix of the file says.

    A further column with the name of one that came gets " (model)" after it.
    """
    columns: dict[str, Any] = {}
    if frame is not None:
        blocks = [{n: _cells(b.column(n)) for n in frame.names} for b in frame.blocks()]
        columns = {name: [c for block in blocks for c in block[name]] for name in frame.names}
    for name, values in made.items():
        columns[f"{name} (model)" if name in columns else name] = np.asarray(values).tolist()
    kind, rows = path.suffix.lower(), zip(*columns.values(), strict=True)
    if kind == ".parquet":
        write_atomically(path, _parquet(columns))
        return
    text = io.StringIO(newline="")
    if kind in (".csv", ".tsv"):
        writer = csv.writer(text, delimiter="\t" if kind == ".tsv" else ",", lineterminator="\n")
        writer.writerows([columns.keys(), *rows])
    else:
        for row in rows:
            text.write(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n")
    write_atomically(path, text.getvalue().encode())


def _cells(column: Column) -> list[Any]:
    if column.levels is None and column.values.dtype.kind == "f":
        return [None if v != v else v for v in column.values.tolist()]
    return [column.text(row) or None for row in range(len(column.values))]


def _parquet(columns: Mapping[str, Sequence[Any]]) -> bytes:
    import duckdb

    arrays = {f"c{k}": _array(values) for k, values in enumerate(columns.values())}
    named = ", ".join(
        f'c{k} AS "{name.replace(chr(34), chr(34) * 2)}"' for k, name in enumerate(columns)
    )
    with tempfile.TemporaryDirectory(prefix="xpmlp-") as folder, duckdb.connect() as connection:
        connection.register("arrays", arrays)
        made = Path(folder) / "table.parquet"
        connection.execute(f"COPY (SELECT {named} FROM arrays) TO '{made}' (FORMAT parquet)")
        return made.read_bytes()


def _array(values: Sequence[Any]) -> np.ndarray:
    """Return cells as DuckDB takes them: text with None, or numbers with NaN."""
    if any(isinstance(value, str) for value in values):
        return np.array(values, object)
    return np.array([np.nan if value is None else value for value in values])
