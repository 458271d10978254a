"""Tables that are read in parts, compared with the same tables in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import xpmlp
from xpmlp.data import load
from xpmlp.data.frame import Column, Frame
from xpmlp.data.stored import StoredFrame, joined
from xpmlp.data.tables import read_table
from xpmlp.errors import DataError


def text(n: int = 60) -> str:
    rng = np.random.default_rng(0)
    rows = ["size,colour,day,name,label"]
    for k in range(n):
        size = "" if k % 9 == 4 else f"{rng.normal():.3f}"
        colour = ["red", "green", "blue", ""][k % 4]
        rows.append(f"{size},{colour},2024-{1 + k % 12:02}-05,thing {k},{'ab'[k % 2]}")
    return "\n".join(rows) + "\n"


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Frame, StoredFrame]:
    """The same table in memory and in parts of seven rows; names are more than the levels kept."""
    path = tmp_path / "table.csv"
    path.write_text(text())
    memory = read_table(path)
    monkeypatch.setattr("xpmlp.data.tables.BIG", 0)
    monkeypatch.setattr("xpmlp.data.stored.ROWS", 7)
    monkeypatch.setattr("xpmlp.data.stored.MAX_LEVELS", 40)
    parts = read_table(path)
    assert isinstance(parts, StoredFrame)
    return memory, parts


def texts(frame: Frame) -> list[list[str]]:
    return [[frame.column(n).text(k) for n in frame.names] for k in range(len(frame))]


def test_rows_and_columns_are_the_same(both: tuple[Frame, StoredFrame]) -> None:
    memory, parts = both
    assert (parts.shape, parts.names) == (memory.shape, memory.names)
    assert texts(parts) == texts(memory) == texts(parts.sample())
    found = [row for block in parts.blocks() for row in texts(block)]
    assert found == texts(memory)
    assert [len(block) for block in parts.blocks()] == [7] * 8 + [4]
    assert parts.where(3) == memory.where(3)
    assert [block.where(1) for block in parts.blocks()][2] == memory.where(15)


def test_some_rows_keep_the_order_of_the_file(both: tuple[Frame, StoredFrame]) -> None:
    memory, parts = both
    rows = np.array([50, 3, 20, 21])
    assert parts.order(rows).tolist() == [3, 20, 21, 50]
    assert memory.order(rows).tolist() == rows.tolist()
    some = parts[rows][1:]
    assert texts(some) == texts(memory[np.array([20, 21, 50])])
    assert len(some.without(["day", "name"]).names) == 3
    assert some.renamed(["a", "b", "c", "d", "e"]).column("a").text(0) == memory.columns[
        "size"
    ].text(20)
    assert list(parts[np.zeros(0, int)].blocks()) == []
    assert [texts(block) for block in parts[np.array([50])].blocks()] == [texts(memory[[50]])]
    assert memory.where(999).endswith("table.csv: row 1000")


def test_a_table_makes_the_same_inputs(both: tuple[Frame, StoredFrame]) -> None:
    memory, parts = both
    table = xpmlp.Table(drop=["label"]).fit(memory)
    assert xpmlp.Table(drop=["label"]).fit(parts) == table
    made = table.transform(parts, "float32")
    assert isinstance(made, np.memmap)
    np.testing.assert_array_equal(made, table.transform(memory, "float32"))


def test_a_sample_is_evenly_spaced(
    both: tuple[Frame, StoredFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, parts = both
    monkeypatch.setattr("xpmlp.data.stored.SAMPLED", 20)
    sample = parts.sample()
    assert texts(sample) == texts(memory[::3])
    assert sample.where(2) == memory.where(6)


def test_training_on_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows are in the test part, and bad cells have their line."""
    path = tmp_path / "table.csv"
    path.write_text(text())
    memory = load(path)
    monkeypatch.setattr("xpmlp.data.tables.BIG", 0)
    parts = load(path)
    assert sorted(texts(parts.X_test)) == sorted(texts(memory.X_test))
    table = xpmlp.Table().fit(parts.X)
    mlp = xpmlp.MLP([table.width, 4, 2], table=table, backend="numpy", seed=0)
    mlp.fit(parts.X, parts.y, epochs=2, validation_data=(parts.X_test, parts.y_test))
    order = np.argsort([row[3] for row in texts(memory.X_test)])
    other = np.argsort([row[3] for row in texts(parts.X_test)])
    np.testing.assert_array_equal(memory.y_test[order], parts.y_test[other])
    path.write_text(text() + "oops,red,2024-01-05,thing,a\n")
    with pytest.raises(DataError, match="line 62, column size: found 'oops'"):
        xpmlp.Table().fit(load(path, test_fraction=0).X)


def test_parquet_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.parquet"
    frame = pl.DataFrame({"n": [1, None, 3], "t": ["x", None, "y"], "d": [None, "b", "c"]})
    frame = frame.with_columns(day=pl.Series(["2024-01-02", None, "2024-01-04"]).str.to_date())
    frame.write_parquet(path)
    memory = read_table(path)
    monkeypatch.setattr("xpmlp.data.tables.BIG", 0)
    parts = read_table(path)
    expected = [["1", "x", "", "2024-01-02"], ["", "", "b", ""], ["3", "y", "c", "2024-01-04"]]
    assert texts(parts.sample()) == texts(memory) == expected
    assert memory.where(1) == f"{path}: row 2"
    frame.clear().write_parquet(path)
    with pytest.raises(DataError, match="found no rows"):
        read_table(path)


def test_columns_of_other_levels_are_joined() -> None:
    parts = [Column.of_texts(["a", None]), Column.of_texts(["b", "a"])]
    found = joined(parts)
    assert [found.text(row) for row in range(4)] == ["a", "", "b", "a"]
    numbers = joined([Column(np.ones(2)), Column(np.zeros(1))])
    assert numbers.values.tolist() == [1.0, 1.0, 0.0]


@pytest.mark.parametrize("rows", [0, 1])
def test_text_without_rows(rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpmlp.data.tables.BIG", 0)
    path = tmp_path / "table.csv"
    path.write_text("a,b\n" + "1,x\n" * rows)
    if rows:
        assert len(read_table(path)) == 1
    else:
        with pytest.raises(DataError, match="no rows after the header"):
            read_table(path)


@pytest.mark.parametrize("cell", ["1", "oops"])
def test_a_ragged_row_after_the_first(
    cell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xpmlp.data.tables.LOOKED_AT", 3)
    path = tmp_path / "table.csv"
    path.write_text("a,b\n" + "1,x\n" * 5 + f"{cell},x\n" + "1,x\n" * 3 + "1,x,3\n")
    with pytest.raises(DataError, match="line 11: found 3 columns, expected 2"):
        read_table(path)


def test_files_that_are_not_what_they_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match="cannot be read"):
        read_table(path)
    lines = tmp_path / "table.jsonl"
    lines.write_text('{"a": 1, "b": "x"}\n\n{"a": 2, "b": "y"}\n')
    assert read_table(lines).where(1) == f"{lines}: line 3"
    monkeypatch.setattr("xpmlp.data.tables.MAX_COLUMNS", 1)
    with pytest.raises(DataError, match="found 2 columns, expected 1 to"):
        read_table(lines)


def test_labels_that_are_missing_or_several(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(
        "a,y,z\n" + "".join(f"{k},{k * 1.5},{k / 2 if k % 5 else ''}\n" for k in range(30))
    )
    data = load(path, label=["y", "z"], test_fraction=0)
    assert data.notes == ("rows without a label are left out: 6",)
    assert data.y.shape == (24, 2)
    assert data.classes is None


def test_a_fault_of_the_query_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpmlp.data.tables.FEW", 1)
    monkeypatch.setattr("xpmlp.data.tables.cell", lambda place: f"nothing({place})")
    path = tmp_path / "table.csv"
    path.write_text(text())
    with pytest.raises(DataError, match="cannot be read"):
        read_table(path)


def test_many_columns_that_are_unlike_their_first_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xpmlp.data.tables.LOOKED_AT", 3)
    path = tmp_path / "table.csv"
    rows = [",".join(f"c{k}" for k in range(600)), *[",".join(["1"] * 600)] * 4]
    path.write_text("\n".join([*rows, ",".join(["x", "NA", *["2"] * 598])]))
    frame = read_table(path)
    assert frame.shape == (5, 600)
    assert [frame.column("c0").text(k) for k in (0, 4)] == ["1", "x"]
    table = xpmlp.Table(numeric=["c0"]).fit(frame)
    assert table.features[1].missing == 1
    assert table.features[599].kind == "number"


def test_inputs_of_a_large_table_stay_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go the way of rows in a file; what fits in the buffer has the order of memory."""
    path = tmp_path / "table.csv"
    path.write_text(text())
    monkeypatch.setattr("xpmlp.data.tables.BIG", 0)
    parts = load(path, test_fraction=0)
    kinds: list[str] = []

    class Look(xpmlp.Callback):
        def on_train_begin(self, training: Any) -> None:
            kinds.append(type(training.given.x).__name__)

    table = xpmlp.Table().fit(parts.X)
    models = [
        xpmlp.MLP([table.width, 4, 2], table=table, backend="numpy", seed=0) for _ in range(2)
    ]
    models[0].fit(parts.X, parts.y, epochs=2, callbacks=[Look()])
    models[1].fit(
        np.array(table.transform(parts.X, "float32")), parts.y, epochs=2, callbacks=[Look()]
    )
    assert kinds == ["StoredRows", "DeviceRows"]
    for name, values in models[0].state_dict().items():
        np.testing.assert_array_equal(values, models[1].state_dict()[name])
