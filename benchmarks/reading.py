"""Reading a table of text: its kinds and statistics, against polars' plain read, in one run."""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.environment import describe
from benchmarks.rounds import interleave, ratio
from xpmlp.data.table import Table
from xpmlp.data.tables import read_table

NUMBERS, TEXTS = 16, (3, 8, 30, 200)
"""Columns of numbers, and how many values each column of texts has."""


def main(given: Sequence[str]) -> None:
    """Time both readers in turn, and print medians and their ratio as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks reading", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(given)
    import duckdb
    import polars

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        write(path, options.rows)
        runs: dict[str, Callable[[], object]] = {
            "polars": lambda: polars.read_csv(path),
            "duckdb": lambda: duckdb.connect().execute(f"FROM '{path}'").fetchnumpy(),
            "xpmlp": lambda: Table().fit(read_table(path)),
        }
        for run in runs.values():
            run()
        nothing = dict.fromkeys(runs, lambda: None)
        times = interleave(runs, options.rounds, 0, nothing)
    found = {
        "rows": options.rows,
        "seconds": {name: round(median(values), 3) for name, values in times.items()},
        "xpmlp / polars": round(ratio(times, "xpmlp", "polars") or 0, 2),
        "duckdb / polars": round(ratio(times, "duckdb", "polars") or 0, 2),
        "environment": describe(),
    }
    print(json.dumps(found, indent=1))


def write(path: Path, rows: int) -> None:
    """Write numbers of 3 to 6 digits, and texts of few values."""
    rng = np.random.default_rng(0)
    columns = [
        rng.uniform(0, 10.0 ** (1 + k % 4), rows).round(3 + k % 3 if k % 4 else 0)
        for k in range(NUMBERS)
    ]
    codes = [rng.integers(0, count, rows) for count in TEXTS]
    names = [f"x{k}" for k in range(NUMBERS)] + [f"t{k}" for k in range(len(TEXTS))]
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(names) + "\n")
        for row in zip(*(c.tolist() for c in [*columns, *codes]), strict=True):
            numbers, texts = row[:NUMBERS], row[NUMBERS:]
            file.write(",".join([*map(str, numbers), *(f"level{code}" for code in texts)]) + "\n")
