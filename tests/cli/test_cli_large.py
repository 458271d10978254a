"""``xpmlp train`` and the rest on rows that stay in their file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import xpmlp
from xpmlp.arrays import stored
from xpmlp.cli import main
from xpmlp.data import load

pytestmark = pytest.mark.usefixtures("undrawn")

N = 300
X = np.random.default_rng(1).standard_normal((N, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "GROUP_BYTES", 5 * 20)


def write(folder: Path, kind: str) -> Path:
    path = folder / f"rows.{kind}"
    table = pa.table(
        {f"c{k}": column for k, column in enumerate(X.T)} | {"class": Y, "last": X[:, 0]}
    )
    if kind == "npy":
        np.save(path, np.c_[X, Y.astype(np.float32)])
    elif kind == "arrow":
        with pa.ipc.new_file(path, table.drop(["last"]).schema) as writer:
            writer.write_table(table.drop(["last"]), max_chunksize=5)
    elif kind == "zarr":
        zarr = pytest.importorskip("zarr")
        group = zarr.open_group(path, mode="w")
        group.create_array("X", data=X, chunks=(5, 4))
        group.create_array("y", data=Y)
    else:
        path = folder / "parts"
        path.mkdir()
        pq.write_table(table.drop(["last"]), path / "a.parquet", row_group_size=5)
    return path


@pytest.mark.parametrize("kind", ["npy", "arrow", "zarr", "parquet"])
def test_train_evaluate_and_predict(kind: str, tmp_path: Path, capsys: Any) -> None:
    path, run = str(write(tmp_path, kind)), str(tmp_path / "run")
    given = ["--epochs", "15", "--seed", "0", "--backend", "numpy", "--lr", "0.01"]
    assert main(["train", path, *given, "--calibrate", "--out", run]) == 0
    said = capsys.readouterr().out
    assert "training rows, 60 test rows" in said
    why = {"npy": "4: 2 classes", "zarr": "backend"}.get(kind, "class: 2 classes")
    assert why in said
    because = {"npy": "(the last column; --label", "zarr": ""}.get(kind, "(because of its name)")
    assert because in said
    assert main(["evaluate", run, path, "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["rows"] == N
    assert record["accuracy"] > 0.9
    assert main(["predict", run, path, "--out", str(tmp_path / "made.csv")]) == 0
    capsys.readouterr()
    made = (tmp_path / "made.csv").read_text().splitlines()
    assert len(made) == N + 1
    mlp = xpmlp.load(tmp_path / "run" / "model.xpmlp", backend="numpy")
    classes = mlp.metadata["classes"]
    assert [line.split(",")[0] for line in made[1:]] == [classes[k] for k in mlp.predict(X)]


def test_the_test_part_has_whole_groups(tmp_path: Path) -> None:
    data = load(write(tmp_path, "arrow"))
    again = load(tmp_path / "rows.arrow")
    assert (len(data.X), len(data.X_test)) == (240, 60)
    assert set(data.X_test.groups.tolist()) == {0, 5}
    np.testing.assert_array_equal(data.X_test[:], again.X_test[:])
    both = np.r_[data.X[:], data.X_test[:]]
    np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(X, axis=0))
    np.testing.assert_array_equal(data.y_test, data.X_test[:, 0] > 0)
    assert data.features == ("c0", "c1", "c2", "c3")
    assert "float32" in repr(data)


def test_few_groups_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "GROUP_BYTES", 2**18)
    data = load(write(tmp_path, "npy"), test_fraction=0.5)
    assert (len(data.X), len(data.X_test)) == (150, 150)
    np.testing.assert_array_equal(data.y, data.X[:, 0] > 0)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["train", "ROWS.npy", "--label", "9"], "found no label column '9'"),
        (["train", "ROWS.zarr", "--label", "1"], "which has labels in y"),
        (["train", "none.npy"], "no such file: none.npy"),
        (["train", "CUT.npy"], "the file is truncated"),
        (["evaluate", "MODEL", "ROWS.npy"], "found 5 features, expected 3, as the model has"),
        (["evaluate", "MODEL", "THREE.npy"], "no labels to compare with"),
    ],
)
def test_what_cannot_work(command: list[str], said: str, tmp_path: Path, capsys: Any) -> None:
    cut = write(tmp_path, "npy").read_bytes()[:-4]
    (tmp_path / "cut.npy").write_bytes(cut)
    np.save(tmp_path / "three.npy", X[:, :3])
    if "ROWS.zarr" in command:
        write(tmp_path, "zarr")
    mlp = xpmlp.MLP([3, 2], targets="labels", backend="numpy")
    mlp.save(tmp_path / "m.xpmlp")
    names = {"MODEL": "m.xpmlp", "CUT.npy": "cut.npy", "THREE.npy": "three.npy"}
    names |= {f"ROWS.{kind}": f"rows.{kind}" for kind in ("npy", "zarr")}
    given = [str(tmp_path / names[part]) if part in names else part for part in command]
    assert main(given) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_label_that_is_said(tmp_path: Path, capsys: Any) -> None:
    path, run = str(write(tmp_path, "npy")), str(tmp_path / "run")
    given = ["--label", "0", "--epochs", "1", "--backend", "numpy", "--out", run]
    assert main(["train", path, *given]) == 0
    assert "0: numbers from -" in capsys.readouterr().out
    assert main(["evaluate", run, path, "--json", "-"]) == 0
    assert "r2" in json.loads(capsys.readouterr().out)
    assert main(["evaluate", run, path, "--label", "1", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["r2"] < 0.1  # another column


def test_labels_that_the_model_does_not_know(tmp_path: Path, capsys: Any) -> None:
    path, run = write(tmp_path, "npy"), str(tmp_path / "run")
    assert main(["train", str(path), "--epochs", "1", "--backend", "numpy", "--out", run]) == 0
    np.save(path, np.c_[X, Y + 7])
    assert main(["evaluate", run, str(path)]) == 2
    said = capsys.readouterr().err
    assert "row 0: found the label '" in said
    assert "expected one of the model's classes: 0, 1" in " ".join(said.split())
