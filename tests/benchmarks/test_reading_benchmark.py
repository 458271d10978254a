"""The benchmark of reading times the readers of one file that all understand alike."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import reading
from xpmlp.data.tables import read_table

polars = pytest.importorskip("polars")
pytest.importorskip("duckdb")


def test_both_are_timed_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    reading.main(["--rows", "300", "--rounds", "2"])
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 300
    assert min(found["seconds"].values()) > 0
    assert found["xpmlp / polars"] > 0
    assert found["environment"]["python"]


def test_all_read_the_same(tmp_path: Path) -> None:
    reading.write(path := tmp_path / "table.csv", 300)
    ours, theirs = read_table(path), polars.read_csv(path)
    assert list(ours.names) == theirs.columns
    for name in theirs.columns:
        column = ours.column(name)
        if column.levels is None:
            np.testing.assert_array_equal(column.values, theirs[name].cast(polars.Float64))
        else:
            assert [column.levels[k] for k in column.values] == theirs[name].to_list()
    assert sum(ours.column(name).levels is None for name in ours.names) == reading.NUMBERS
