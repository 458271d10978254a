"""Mixed tables on the command line: what was understood, and what new files may differ in."""

import csv
import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

import xpmlp
from xpmlp.cli import main
from xpmlp.data.tables import read_table

Capture = pytest.CaptureFixture[str]
QUICK = ["--backend", "numpy", "--epochs", "30", "--hidden", "8", "--lr", "0.02", "--quiet"]
ROWS = range(120)
SEX = [("male", "female")[k * 7 % 3 % 2] for k in ROWS]
AGE = ["" if k % 11 == 5 else str(20 + k * 13 % 40) for k in ROWS]
FARE = [f"{5 + k * 17 % 50}.{k % 10}" for k in ROWS]
PORT = [("S", "C", "Q", "")[k * 5 % 4] for k in ROWS]
LIVED = [str(int(sex == "female")) for sex in SEX]
NAMES = ("PassengerId", "Survived", "Name", "Sex", "Age", "Fare", "Embarked")
PEOPLE = [
    [str(k + 1), LIVED[k], f'"Smith, Mr. John {k}"', SEX[k], AGE[k], FARE[k], PORT[k]] for k in ROWS
]


def text(rows: Any, names: Any = NAMES) -> str:
    return "".join(",".join(row) + "\n" for row in [names, *rows])


@pytest.fixture(autouse=True)
def _folder(undrawn: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XPMLP_BACKEND", raising=False)
    Path("people.csv").write_text(text(PEOPLE))


KEPT: dict[str, bytes] = {}
"""The run without options, by file: many tests begin with it."""


def trained(*options: str) -> None:
    if KEPT and not options:
        Path("run").mkdir()
        for name, content in KEPT.items():
            Path("run", name).write_bytes(content)
        return
    given = ["--label", "Survived"] if "--label" not in options else []
    assert main(["train", "people.csv", "--out", "run", *given, *QUICK, *options]) == 0
    if not options:
        KEPT.update({path.name: path.read_bytes() for path in Path("run").glob("*.*")})


def predicted(path: str, capsys: Capture, *options: str) -> tuple[list[Any], str]:
    assert main(["predict", "run", path, "--json", "-", *options]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def test_what_was_understood_is_said(capsys: Capture) -> None:
    assert main(["train", "people.csv", "--label", "Survived", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    lines = {line.split()[0]: " ".join(line.split()) for line in said.splitlines() if line.split()}
    assert lines["label"] == "label Survived: 2 classes: 0 80, 1 40 (as you said)"
    assert "it numbers the rows" in lines["PassengerId"]
    assert "it differs in every row" in lines["Name"]
    assert "category" in lines["Sex"]
    assert "number" in lines["Age"]
    assert not Path("runs").exists()


def test_a_model_learns_from_a_mixed_table(capsys: Capture) -> None:
    trained()
    assert json.loads(Path("run/result.json").read_text())["test_accuracy"] == 1.0
    assert main(["evaluate", "run", "people.csv"]) == 0
    assert "accuracy 100.00 %" in capsys.readouterr().out
    rows, _ = predicted("people.csv", capsys)
    assert [row["prediction"] for row in rows] == LIVED
    assert [row["label"] for row in rows] == LIVED


def test_the_other_commands_take_tables(capsys: Capture) -> None:
    trained()
    assert main(["explain", "run", "people.csv", "--row", "3"]) == 0
    assert "finite difference" in capsys.readouterr().out
    Path("people.csv").write_text(text([row[3:6] + row[1:2] for row in PEOPLE]))
    both = ["--backends", "numpy", "torch"]
    pytest.importorskip("torch")
    assert main(["verify", "--data", "people.csv", "--steps", "2", *both]) == 0


NEW = {
    "the same": lambda row: row,
    "without the label": lambda row: [c for k, c in enumerate(row) if k != 1],
    "without identifier and name": lambda row: row[3:],
    "other order": lambda row: row[::-1],
    "a column more": lambda row: [*row, "Cabin" if row[0] == NAMES[0] else "C85"],
    "no labels yet": lambda row: row if row[0] == NAMES[0] else [row[0], "", *row[2:]],
}  # fmt: skip


@pytest.mark.parametrize("change", NEW)
def test_a_new_file(change: str, capsys: Capture) -> None:
    trained()
    change_ = NEW[change]
    Path("new.csv").write_text(text([change_(row) for row in PEOPLE], change_(list(NAMES))))
    rows, said = predicted("new.csv", capsys)
    assert [row["prediction"] for row in rows] == LIVED
    assert ("label" in rows[0]) == (change in ("the same", "other order", "a column more"))
    assert ("ignored: Cabin" in " ".join(said.split())) == (change == "a column more")


def test_new_categories_and_missing_cells(capsys: Capture) -> None:
    trained()
    Path("new.csv").write_text("Sex,Age,Fare,Embarked\nfemale,,,Liverpool\nother,3,1,NA\n")
    rows, _ = predicted("new.csv", capsys)
    assert rows[0]["prediction"] == "1"
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("Sex,Age,Fare\nmale,1,2\n", "new.csv: found no column 'Embarked'; expected Sex, Age"),
        (
            "Sex,Age,Fare,Embarked\nmale,1,2,S\n\nmale,old,2,S\n",
            "new.csv: line 4, column Age: found 'old', expected a number",
        ),
        ("Sex,Survived,Age,Fare,Embarked\nmale,maybe,1,2,S\n", "line 2: found the label 'maybe'"),
        ("Sex,Age,Fare,Embarked\n", "found no rows after the header"),
        ("male,1\nfemale,2\n", "found 2 columns without names, expected 7 as in training, or 6"),
    ],
)  # fmt: skip
def test_a_new_file_that_does_not_fit(new: str, message: str, capsys: Capture) -> None:
    trained()
    Path("new.csv").write_text(new)
    assert main(["predict", "run", "new.csv"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert message in error


def test_labels_first_without_a_header_are_remembered(capsys: Capture) -> None:
    body = text([[row[1], row[3], row[5]] for row in PEOPLE], ()).lstrip()
    Path("people.csv").write_text(body)
    trained("--label", "0")
    assert main(["evaluate", "run", "people.csv"]) == 0
    assert "accuracy 100.00 %" in capsys.readouterr().out
    Path("new.csv").write_text("female,7.5\nmale,8.5\n")  # without the label
    assert [row["prediction"] for row in predicted("new.csv", capsys)[0]] == ["1", "0"]


def test_amounts_are_a_target(capsys: Capture) -> None:
    prices = [f'"${100_000 + 1000 * (k % 60):,}"' for k in ROWS]
    Path("people.csv").write_text(
        text([[str(k % 60), p] for k, p in enumerate(prices)], ["a", "Price"])
    )
    trained("--label", "Price", "--epochs", "200", "--lr", "0.05")
    assert json.loads(Path("run/result.json").read_text())["test_r2"] > 0.9
    assert main(["evaluate", "run", "people.csv"]) == 0
    said = capsys.readouterr().out
    assert "typical error" in said
    assert "times smaller than those of the mean" in said


def test_several_labels(capsys: Capture) -> None:
    rows = [
        [sex, str(int(s == "1")), ("no", "yes")[k % 2]]
        for k, (sex, s) in enumerate(zip(SEX, LIVED, strict=True))
    ]
    rows = [[*row, str(k % 2)] for k, row in enumerate(rows)]
    Path("people.csv").write_text(text(rows, ["Sex", "lived", "odd", "parity"]))
    trained("--label", "lived", "--label", "odd")
    found, _ = predicted("people.csv", capsys)
    names = [["lived"] * (s == "1") + ["odd"] * (k % 2) for k, s in enumerate(LIVED)]
    assert [row["prediction"] for row in found] == [row["label"] for row in found] == names
    assert main(["evaluate", "run", "people.csv"]) == 0
    said = capsys.readouterr().out
    assert "100.00 % of the labels right" in said
    assert {"lived", "odd"} <= set(said.split())


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_rows_are_written_with_their_predictions(suffix: str, capsys: Capture) -> None:
    trained()
    path = Path(f"deep/new.{suffix}")
    path.parent.mkdir()
    assert main(["predict", "run", "people.csv", "--out", str(path), "--limit", "50"]) == 0
    assert "50 rows with their predictions" in " ".join(capsys.readouterr().out.split())
    if suffix in ("csv", "tsv"):
        separator = "\t" if suffix == "tsv" else ","
        made = list(csv.DictReader(path.read_text().splitlines(), delimiter=separator))
        assert [list(row.values())[:7] for row in made] == [
            [cell.strip('"') for cell in row] for row in PEOPLE[:50]
        ]
    elif suffix == "jsonl":
        made = [json.loads(line) for line in path.read_text().splitlines()]
        assert made[5]["Age"] is None
        assert made[1]["Age"] == float(AGE[1])
    else:
        made = duckdb.sql(f"FROM '{path}'").fetchall()  # type: ignore[assignment]
        names = duckdb.sql(f"DESCRIBE FROM '{path}'").fetchall()
        made = [dict(zip([n[0] for n in names], row, strict=True)) for row in made]
        assert made[1]["Fare"] == float(FARE[1])
    assert list(made[0])[:8] == [*NAMES, "prediction"]
    assert [row["prediction"] for row in made] == LIVED[:50]
    chances = [float(row["probability 0"]) + float(row["probability 1"]) for row in made]
    assert chances == pytest.approx([1.0] * 50, abs=1e-5)


def test_all_bad_columns_are_named_at_once(capsys: Capture) -> None:
    rows = [list(row) for row in PEOPLE]
    rows[7][4], rows[9][5], rows[10][5] = "old", "free", "none at all"
    Path("people.csv").write_text(text(rows))
    assert main(["train", "people.csv", "--label", "Survived", "--test-fraction", "0"]) == 2
    error = capsys.readouterr().err
    assert "people.csv: line 9, column Age: found 'old', expected a number" in error
    assert "people.csv: line 11, column Fare: found 'free' (and 1 more such cells)" in error
    trained("--numeric", "Age", "--drop", "Fare")
    table = xpmlp.load("run/model.xpmlp", backend="numpy").table
    kinds = {feature.name: feature.kind for feature in table.features}
    assert (kinds["Age"], kinds["Fare"]) == ("number", "left out")


def test_numbers_may_be_categories(capsys: Capture) -> None:
    rows = [[f"0{k % 3}", str(k % 3), row[1]] for k, row in enumerate(PEOPLE)]
    Path("people.csv").write_text(text(rows, ["zip", "class_", "Survived"]))
    trained("--categorical", "class_", "zip")
    table = xpmlp.load("run/model.xpmlp", backend="numpy").table
    assert table.inputs == tuple(
        f"{name}: {level}" for name, zero in (("zip", "0"), ("class_", "")) for level in
        (f"{zero}{k}" for k in range(3))
    )  # fmt: skip
    found, _ = predicted("people.csv", capsys)
    assert len(found) == len(rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--drop", "Survived"], "'Survived' is the label; name another with --label"),
        (["--drop", "Nome"], "Did you mean 'Name'"),
        (["--numeric", "Sex"], "column 'Sex' has no numbers"),
        (["--label", "nope"], "no label column 'nope'"),
    ],
)
def test_options_that_cannot_be(options: list[str], message: str, capsys: Capture) -> None:
    given = [] if "--label" in options else ["--label", "Survived"]
    assert main(["train", "people.csv", *given, *options]) == 2
    error = capsys.readouterr().err
    assert message in " ".join(error.split())
    assert not Path("runs").exists()


def test_the_table_of_a_model_is_that_of_its_training_rows() -> None:
    """What the test rows hold is not learned from."""
    trained()
    table = xpmlp.load("run/model.xpmlp", backend="numpy").table
    data = xpmlp.data.load("people.csv", label="Survived")
    assert table == xpmlp.Table().fit(data.X)
    whole = read_table("people.csv").without(["Survived"])
    assert table != xpmlp.Table().fit(whole)


def test_one_hot_labels_of_an_npz_file_are_classes(capsys: Capture) -> None:
    y = np.arange(60) % 3
    np.savez("hot.npz", X=np.eye(3)[y] + 0.5, y=np.eye(3)[y])
    assert main(["train", "hot.npz", "--out", "run", *QUICK]) == 0
    assert main(["evaluate", "run", "hot.npz"]) == 0
    assert "accuracy 100.00 %" in capsys.readouterr().out


def test_cells_of_both_parts_that_cannot_be_read_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each column once, before the training, in whichever part the cell is."""
    rows = [f"{k},{2 * k},{k % 2}" for k in range(40)]
    for place, text in ((4, "abc,8,1"), (8, "7,x1,0"), (11, "9,x2,1")):
        rows[place] = text
    path = tmp_path / "bad.csv"
    path.write_text("\n".join(["age,size,kind", *rows]))
    for share in ("0.5", "0"):
        assert main(["train", str(path), "--test-fraction", share, "--dry-run"]) == 2
        error = capsys.readouterr().err
        assert "line 6, column age: found 'abc', expected a number" in error
        assert error.count("column size: found") == 1
        assert error.count("--numeric takes such cells for missing") == 1
    assert main(["train", str(path), "--numeric", "age", "size", "--dry-run"]) == 0
