"""Files of Python: they predict what the model does, with the standard library alone."""

import ast
import csv
import io
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from networks import assert_same, fitted, inputs

import xpmlp
from xpmlp.errors import InvalidValueError


def module(mlp: xpmlp.MLP, folder: Path) -> dict[str, Any]:
    mlp.to_python(folder / "model.py")
    return runpy.run_path(str(folder / "model.py"))


def compare(mlp: xpmlp.MLP, folder: Path) -> None:
    X, made = inputs(mlp), module(mlp, folder)
    if mlp.task.kind == "values":
        assert_same(made["predict"](X.tolist()), mlp, X)
    else:
        assert_same(made["predict_proba"](X.tolist()), mlp, X)
        np.testing.assert_array_equal(made["predict"](X.tolist()), mlp.predict(X))


@pytest.mark.sampled(10)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", networks.cases(), ids=lambda case: case[0])
def test_every_network_predicts_the_same(case: Any, dtype: str, tmp_path: Path) -> None:
    _, activation, kind, settings = case
    compare(fitted(kind, activation, dtype=dtype, **settings), tmp_path)


@pytest.mark.parametrize(("kind", "activation", "settings"), networks.varied())
def test_every_piece(kind: str, activation: str, settings: Any, tmp_path: Path) -> None:
    compare(fitted(kind, activation, **settings), tmp_path)


def test_every_backend_writes_the_same_file(backend: Any, tmp_path: Path) -> None:
    mlp = fitted(normalization="layer")
    mlp.to_python(tmp_path / "numpy.py")
    mlp.copy(backend=backend).to_python(tmp_path / "other.py")
    assert (tmp_path / "other.py").read_bytes() == (tmp_path / "numpy.py").read_bytes()


def test_it_imports_the_standard_library_alone(tmp_path: Path) -> None:
    networks.of_people().to_python(tmp_path / "model.py")
    tree = ast.parse((tmp_path / "model.py").read_text("utf-8"))
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert imported <= set(sys.stdlib_module_names)


def run(path: Path, text: str) -> list[list[str]]:
    command = [sys.executable, "-I", "-S", str(path)]
    done = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return list(csv.reader(io.StringIO(done.stdout)))


def test_on_the_command_line_it_predicts_rows_of_a_csv_file(tmp_path: Path) -> None:
    mlp = fitted(dtype="float64")
    mlp.to_python(tmp_path / "model.py")
    X = inputs(mlp)
    rows = [",".join(map(str, row)) for row in X.tolist()]
    for head in ([], ["a,b,c,d,e"], ["1st,b,,d,e"]):
        names, *made = run(tmp_path / "model.py", "\n".join([*head, *rows]))
        assert names == ["label", "0", "1", "2"]
        assert [int(label) for label, *_ in made] == mlp.predict(X).tolist()
        assert_same([list(map(float, p)) for _, *p in made], mlp, X)


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("values", ["value"]),
        ("two values", ["value 1", "value 2"]),
        ("multilabel", ["label 1", "label 2", "label 3"]),
        ("binary", ["label", "0", "1"]),
    ],
)
def test_the_first_line_says_what_the_numbers_are(
    kind: str, head: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    mlp = fitted(kind)
    made = module(mlp, tmp_path)
    row = inputs(mlp)[0].tolist()
    monkeypatch.setattr(sys, "stdin", io.StringIO(",".join(map(str, row))))
    made["main"]()
    names, numbers = csv.reader(io.StringIO(capsys.readouterr().out))
    assert names == head
    start = len(numbers) - expected_width(mlp)
    assert_same([[float(v) for v in numbers[start:]]], mlp, inputs(mlp)[:1])


def expected_width(mlp: xpmlp.MLP) -> int:
    return networks.expected(mlp, inputs(mlp)).shape[1]


def test_a_wrong_number_of_cells_is_an_error(tmp_path: Path) -> None:
    made = module(fitted(), tmp_path)
    with pytest.raises(ValueError, match="found a row of 2 numbers; expected 5"):
        made["predict"]([[1.0, 2.0]])


@pytest.mark.sampled(3)
@pytest.mark.parametrize("codes", [False, True])
@pytest.mark.parametrize("scaling", ["quartiles", "robust", "standard", None])
def test_a_table_takes_cells_by_name(scaling: str | None, codes: bool, tmp_path: Path) -> None:
    mlp = networks.of_people(scaling, codes)
    made = module(mlp, tmp_path)
    for X in (networks.people(), networks.strangers()):
        rows = [dict(zip(X, cells, strict=True)) for cells in zip(*X.values(), strict=True)]
        wanted = mlp.predict_proba(X)
        assert np.abs(np.array(made["predict_proba"](rows)) - wanted).max() <= 1e-6
        names = mlp.metadata["classes"]
        assert made["predict"](rows) == [names[k] for k in mlp.predict(X)]


def test_it_is_written_as_people_write_python(tmp_path: Path) -> None:
    for mlp in (networks.of_people(), fitted("gaussian", "gelu", normalization="layer")):
        mlp.to_python(tmp_path / "model.py")
        text = (tmp_path / "model.py").read_text("utf-8")
        assert "\n\n\n\n" not in text
        assert "\n\n\ndef predict(rows):\n" in text


def test_a_table_is_read_from_a_csv_file(tmp_path: Path) -> None:
    mlp, X = networks.of_people(), networks.strangers()
    mlp.to_python(tmp_path / "model.py")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(X)
    writer.writerows(zip(*X.values(), strict=True))
    head, *rows = run(tmp_path / "model.py", text.getvalue())
    assert head == ["label", *mlp.metadata["classes"]]
    made = np.array([[float(p) for p in row[1:]] for row in rows])
    assert np.abs(made - mlp.predict_proba(X)).max() <= 1e-6


def test_cells_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    made = module(networks.of_people(), tmp_path)
    row = {name: cells[1] for name, cells in networks.people().items()}
    for cell in ("old", "inf"):
        with pytest.raises(ValueError, match=f"column 'age': found '{cell}', expected a number"):
            made["predict"]([row | {"age": cell}])
    del row["town"]
    with pytest.raises(ValueError, match="found no column 'town'"):
        made["predict"]([row])


def test_numeric_columns_take_other_cells_for_missing(tmp_path: Path) -> None:
    X = {"size": ["1,5", "2,25", "big", "4"], "age": [1.0, 3.0, 2.0, 5.0]}
    table = xpmlp.Table(numeric=["size"]).fit(X)
    mlp = xpmlp.MLP([table.width, 2], table=table, targets="labels", backend="numpy", seed=0)
    rows = [dict(zip(X, cells, strict=True)) for cells in zip(*X.values(), strict=True)]
    found = module(mlp, tmp_path)["predict_proba"](rows)
    assert np.abs(np.array(found) - mlp.predict_proba(X)).max() <= 1e-6


def test_dates_are_refused_by_name(tmp_path: Path) -> None:
    X = {"when": ["2024-01-05", "2024-03-09", "2023-05-07"], "age": [1.0, 2.0, 5.0]}
    table = xpmlp.Table().fit(X)
    mlp = xpmlp.MLP([table.width, 2], table=table, targets="labels", backend="numpy")
    with pytest.raises(InvalidValueError, match=r"column 'when' has dates"):
        mlp.to_python(tmp_path / "model.py")


def test_large_numbers_overflow_as_in_numpy(tmp_path: Path) -> None:
    mlp = xpmlp.MLP([1, 1], output="exp", targets="values", dtype="float64", backend="numpy")
    mlp.load_state_dict({"dense1.W": np.array([[1.0]]), "dense1.b": np.zeros(1)})
    assert module(mlp, tmp_path)["predict"]([[1e4], [0.0]]) == [np.inf, 1.0]


def test_a_big_endian_machine_reads_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = module(fitted(), tmp_path)
    kept = made["dense1_W"][0][0]
    monkeypatch.setattr(sys, "byteorder", "big")
    other = runpy.run_path(str(tmp_path / "model.py"))
    found = np.array([other["dense1_W"][0][0]], dtype=np.float32).byteswap()
    assert found[0] == np.float32(kept)
