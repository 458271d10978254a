"""Damage at random: a reader gives what was saved, or says what is wrong."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from model_files import content, small_file
from robustness.mutations import KINDS, mutants, survivors

import xpmlp
from xpmlp.data import load, open_rows, read_idx
from xpmlp.data.table import Table
from xpmlp.errors import CheckpointError, DataError, XpmlpError

DATA = 1000


def test_every_kind_changes_something_and_the_seed_decides() -> None:
    original = bytes(range(100))
    for seed in (1, 2):
        made = list(mutants(original, 60, seed))
        assert made == list(mutants(original, 60, seed))
        assert original not in made
        assert len(set(made)) > 50
        changes = [len(mutant) - len(original) for mutant in made]
        signs = [set(np.sign(changes[k :: len(KINDS)]).tolist()) for k in range(len(KINDS))]
        assert signs == [{0}, {-1}, {1}, {-1}, {0}, {0}]
    assert list(mutants(original, 60, 1)) != made


def test_a_reader_that_lets_damage_pass_is_caught(tmp_path: Path) -> None:
    """The tool itself: it gives back what loads, and lets no other exception pass."""
    loaded = survivors(tmp_path / "m", b"0123456789" * 4, Path.read_bytes, DataError, count=60)
    assert len(loaded) == 60
    with pytest.raises(UnicodeDecodeError):
        survivors(tmp_path / "m", b"0" * 40, Path.read_text, DataError, count=60)


def from_file(path: Path) -> xpmlp.MLP:
    return xpmlp.load(path, backend="numpy")


@pytest.mark.parametrize(("kind", "make"), [("a model file", small_file)])
def test_no_damage_goes_unseen(
    kind: str, make: Any, tmp_path: Path, tried: Any, draws: Any
) -> None:
    path, count = tmp_path / "m.xpmlp", draws(2_000, 12_000)
    path.write_bytes(make())
    expected = content(from_file(path))
    loaded = survivors(path, make(), from_file, CheckpointError, count=count)
    assert len(loaded) < count / 100  # a bit in the padding of the header changes nothing
    assert all(content(one) == expected for one in loaded)
    tried(f"{count:,} mutations of {kind}: 0 silent, 0 other exceptions")


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["IDX", "IDX.gz"])
def test_idx(tmp_path: Path, pack: Any, tried: Any, request: Any) -> None:
    whole = pack(struct.pack(">BBBB2I", 0, 0, 8, 2, 5, 4) + bytes(range(20)))
    loaded = survivors(tmp_path / "values", whole, read_idx, DataError, count=DATA)
    assert len(loaded) < 0.75 * DATA
    assert all(values.nbytes <= 100 for values in loaded)
    tried(f"1,000 mutations of {request.node.callspec.id}: a DataError or an array")


def check(data: Any) -> None:
    assert data.X.ndim == 2
    assert np.isfinite(data.X).all()
    assert len(data.X) == len(data.y)
    assert data.X.shape[1] == data.X_test.shape[1]
    if data.classes is None:
        assert data.y.dtype == np.float64
        assert np.isfinite(data.y).all()
    else:
        assert data.y.dtype == np.int64
        assert 0 <= data.y.min() <= data.y.max() < len(data.classes)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path: Path, save: Any, tried: Any, draws: Any) -> None:
    rng, path = np.random.default_rng(2), tmp_path / "data.npz"
    count = draws(300, DATA)
    y = np.array(["a", "b"] * 5)
    save(path, X=rng.normal(size=(10, 3)), y=y, X_test=rng.normal(size=(10, 3)), y_test=y)
    loaded = survivors(path, path.read_bytes(), load, DataError, count=count)
    assert len(loaded) < count / 2
    for data in loaded:
        check(data)
    tried(f"{count:,} mutations of .npz ({save.__name__}): a DataError or valid data")


@pytest.mark.parametrize("kind", ["npy", "parquet", "arrow", "arrows"])
def test_rows_that_stay_in_their_file(kind: str, tmp_path: Path, tried: Any, draws: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    path, count = tmp_path / f"rows.{kind}", draws(60, 300, DATA)
    X = np.random.default_rng(3).normal(size=(40, 3))
    columns = pa.table({f"c{k}": column for k, column in enumerate(X.T)})
    if kind == "npy":
        np.save(path, X)
    elif kind == "parquet":
        pytest.importorskip("pyarrow.parquet").write_table(columns, path, row_group_size=10)
    else:
        make = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        with make(path, columns.schema) as writer:
            writer.write_table(columns, max_chunksize=10)

    def read(path: Path) -> np.ndarray:
        return open_rows(path).X[:]

    for made in survivors(path, path.read_bytes(), read, XpmlpError, count=count):
        assert made.ndim == 2
        assert np.isfinite(made).all()
    tried(f"{count:,} mutations of .{kind}, read by groups: an error of ours or finite numbers")


KINDS_OF_TABLES = ("csv", "csv.gz", "csv.zip", "tsv", "jsonl", "parquet")


def table(kind: str, folder: Path) -> bytes:
    """A table of numbers, categories, dates and missing cells, in a file."""
    rng, path = np.random.default_rng(4), folder / f"whole.{kind}"
    frame = pd.DataFrame(
        {
            "first": np.round(rng.normal(size=20), 3),
            "second": [None if k == 7 else k * k for k in range(20)],
            "third": [("red", "green", "blue")[k % 3] for k in range(20)],
            "day": [f"2024-0{1 + k % 9}-1{k % 10}" for k in range(20)],
            "label": [("cat", "dog")[k % 2] for k in range(20)],
        }
    )
    if kind == "parquet":
        frame.astype({"day": "datetime64[us]"}).to_parquet(path)
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        name = {"compression": {"method": "zip", "archive_name": "t.csv"}} if "zip" in kind else {}
        frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",", **name)
    return path.read_bytes()


def as_table(path: Path) -> Any:
    """Load a table, and what a network gets of it, or None where no column can be used."""
    data = load(path, test_fraction=0)
    try:
        fitted = Table().fit(data.X)
    except XpmlpError:
        return data, None
    return data, fitted.transform(data.X)


@pytest.mark.parametrize("kind", KINDS_OF_TABLES)
def test_tables(kind: str, tmp_path: Path, tried: Any, draws: Any) -> None:
    count, path = draws(12, 100, DATA), tmp_path / f"data.{kind}"
    whole = table(kind, tmp_path)
    path.write_bytes(whole)
    assert as_table(path)[1].shape == (20, 9)
    loaded = survivors(path, whole, as_table, XpmlpError, count=count)
    for data, inputs in loaded:
        assert len(data.X) == len(data.y) > 0
        assert set(data.X.names).isdisjoint(data.label)
        if data.classes is None:
            assert np.isfinite(data.y).all()
        else:
            assert 0 <= data.y.min() <= data.y.max() < len(data.classes)
        if inputs is not None:
            assert inputs.shape[0] == len(data.X)
            assert np.isfinite(inputs).all()
    assert len(loaded) < count
    assert {p.name for p in tmp_path.iterdir()} == {f"whole.{kind}", f"data.{kind}"}
    tried(f"{count:,} mutations of .{kind}: an error of ours or valid data")
