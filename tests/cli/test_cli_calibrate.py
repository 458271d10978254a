"""``xpmlp train --calibrate``, and what ``evaluate`` and ``predict`` say then."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp import metrics
from xpmlp.cli import main

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("undrawn")
FAST = ["--hidden", "8", "--epochs", "15", "--lr", "0.02", "--quiet", "--backend", "numpy"]


def table(path: Path, n: int, kind: str, seed: int = 0) -> Path:
    """Rows of which one column makes values, values of two kinds, classes or labels, with noise."""
    rng = np.random.default_rng(seed)
    a, b, noise = rng.standard_normal((3, n))
    low, high = np.where(a + noise > 0, "high", "low"), np.where(b + noise > 0, 1, 0)
    columns: dict[str, Any] = {"a": a.round(4), "b": b.round(4)}
    columns |= {
        "values": {"y": (10 * a + 3 * noise).round(3)},
        "two": {"y": (10 * a + noise).round(3), "z": (b - a + noise).round(3)},
        "classes": {"y": low},
        "labels": {"y": high, "z": (a > 0).astype(int)},
    }[kind]
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([columns, *zip(*columns.values(), strict=True)])
    return path


def trained(folder: Path, kind: str, *options: str, n: int = 400) -> tuple[str, dict[str, Any]]:
    """A run folder, and its result."""
    pytest.importorskip("duckdb")
    file, run = table(folder / f"{kind}.csv", n, kind), folder / "run"
    labels = ["--label", "y", *(["--label", "z"] if kind in ("two", "labels") else [])]
    given = [str(file), "--out", str(run), *labels, *FAST, *options]
    assert main(["train", *given]) == 0
    return str(run), json.loads((run / "result.json").read_text())


@pytest.mark.parametrize("kind", ["values", "two"])
def test_intervals_of_values(kind: str, tmp_path: Path, capsys: Capture) -> None:
    run, result = trained(tmp_path, kind, "--calibrate")
    found = result["calibration"]
    assert found["rows"] == 80  # a quarter of 320
    assert result["train_rows"] == 240
    assert 0.75 < found["test_covered"] <= 1
    assert xpmlp.load(f"{run}/model.xpmlp", backend="numpy").calibration.rows == 80
    new = str(table(tmp_path / "new.csv", 500, kind, seed=1))
    capsys.readouterr()
    assert main(["predict", run, new, "--interval", "0.8", "--json", "-"]) == 0
    rows = json.loads(capsys.readouterr().out)
    ends = np.array([[row["lower"], row["upper"]] for row in rows])
    y = np.array([row["label"] for row in rows])
    ends = np.stack([ends[:, 0], ends[:, 1]], axis=-1)
    assert (np.abs(metrics.coverage(y, ends) - 0.8) < 0.15).all()
    assert main(["evaluate", run, new, "--json", "-"]) == 0
    said = json.loads(capsys.readouterr().out)["interval"]
    assert 0.75 < said["covered"] <= 1
    assert said["width"] > ends[..., 1].mean() - ends[..., 0].mean()


def test_what_is_printed_of_intervals(tmp_path: Path, capsys: Capture) -> None:
    run, _ = trained(tmp_path, "values", "--calibrate")
    new = str(tmp_path / "values.csv")
    capsys.readouterr()
    assert main(["predict", run, new, "--interval", "0.5", "--limit", "2"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["row", "prediction", "lower", "upper", "label"]
    lower, upper = map(float, lines[0].split()[2:4])
    assert lower < float(lines[0].split()[1]) < upper
    assert main(["evaluate", run, new]) == 0
    assert "90% intervals: " in capsys.readouterr().out
    written = tmp_path / "out.csv"
    assert main(["predict", run, new, "--interval", "0.5", "--out", str(written)]) == 0
    with open(written, encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    assert float(row["lower"]) == pytest.approx(lower, rel=1e-4)


def test_temperature_and_sets_of_classes(tmp_path: Path, capsys: Capture) -> None:
    run, result = trained(tmp_path, "classes", "--calibrate")
    found = result["calibration"]
    assert found["temperature"] == xpmlp.load(f"{run}/model.xpmlp").calibration.temperature
    assert found.keys() >= {"test_calibration_error", "test_calibration_error_before"}
    new = str(table(tmp_path / "new.csv", 500, "classes", seed=1))
    capsys.readouterr()
    assert main(["predict", run, new, "--sets", "0.9", "--json", "-"]) == 0
    rows = json.loads(capsys.readouterr().out)
    inside = [row["label"] in row["set"].split(", ") for row in rows]
    assert 0.8 < np.mean(inside) < 0.98
    assert {row["set"] for row in rows} == {"high", "low", "high, low"}
    assert main(["predict", run, new, "--sets", "0.9", "--limit", "3"]) == 0
    assert capsys.readouterr().out.split()[:5] == [
        "row",
        "prediction",
        "probability",
        "set",
        "label",
    ]
    assert main(["evaluate", run, new, "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["calibrated"]["temperature"] == found["temperature"]
    assert 0 < record["calibration_error"] < 0.3
    assert main(["evaluate", run, new]) == 0
    assert "calibration error" in capsys.readouterr().out


def test_several_labels(tmp_path: Path, capsys: Capture) -> None:
    run, result = trained(tmp_path, "labels", "--calibrate")
    assert result["calibration"]["temperature"] > 0
    capsys.readouterr()
    assert main(["evaluate", run, str(tmp_path / "labels.csv")]) == 0
    assert " at the temperature " in capsys.readouterr().out


def test_without_a_calibration(tmp_path: Path, capsys: Capture) -> None:
    run, result = trained(tmp_path, "classes")
    assert result["calibration"] is None
    new = str(tmp_path / "classes.csv")
    capsys.readouterr()
    assert main(["evaluate", run, new, "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    mlp = xpmlp.load(f"{run}/model.xpmlp", backend="numpy")
    assert mlp.calibration is None
    assert 0 <= record["calibration_error"] < 1
    assert "calibrated" not in record
    for option, match in (("--sets", "has no calibration"), ("--interval", "use --sets")):
        assert main(["predict", run, new, option, "0.9"]) == 2
        assert match in " ".join(capsys.readouterr().err.split())


def test_a_model_without_probabilities(tmp_path: Path, capsys: Capture) -> None:
    """Nothing is said of what is not there: outputs of a regression loss for classes."""
    mlp = xpmlp.MLP([64, 10], targets="labels", loss="mse", backend="numpy", seed=0)
    mlp.save(tmp_path / "m.xpmlp")
    assert main(["evaluate", str(tmp_path / "m.xpmlp"), "digits", "--json", "-"]) == 0
    assert "calibration_error" not in json.loads(capsys.readouterr().out)
    assert main(["evaluate", str(tmp_path / "m.xpmlp"), "digits"]) == 0
    assert "calibration" not in capsys.readouterr().out


def test_values_have_no_sets(tmp_path: Path, capsys: Capture) -> None:
    run, _ = trained(tmp_path, "values")
    new = str(tmp_path / "values.csv")
    for option, match in (("--interval", "xpmlp train --calibrate"), ("--sets", "use --interval")):
        assert main(["predict", run, new, option, "0.9"]) == 2
        assert match in " ".join(capsys.readouterr().err.split())


def test_what_is_said_of_a_training(tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("duckdb")
    file = table(tmp_path / "t.csv", 400, "classes")
    options = [option for option in FAST if option != "--quiet"]
    out = ["--out", str(tmp_path / "run")]
    assert main(["train", str(file), "--label", "y", *out, *options, "--calibrate"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "calibrated on 80 rows held out; temperature " in said
    assert "calibration error on the test rows " in said


def test_no_test_part(tmp_path: Path) -> None:
    for kind in ("classes", "values"):
        (tmp_path / kind).mkdir()
        _, result = trained(tmp_path / kind, kind, "--calibrate", "--test-fraction", "0")
        assert result["calibration"].keys() <= {"rows", "temperature"}


def test_too_few_rows(tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("duckdb")
    file = table(tmp_path / "t.csv", 90, "classes")
    out = ["--out", str(tmp_path / "run")]
    assert main(["train", str(file), "--label", "y", *out, *FAST, "--calibrate"]) == 2
    assert "--calibrate: found 72 training rows" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_picture_has_no_set(tmp_path: Path, capsys: Capture) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("L", (8, 8)).save(tmp_path / "p.png")
    run = str(tmp_path / "run")
    assert main(["train", "digits", "--out", run, *FAST, "--calibrate"]) == 0
    assert main(["predict", run, str(tmp_path / "p.png"), "--sets", "0.9"]) == 2
    assert "--sets: found pictures" in capsys.readouterr().err


def test_a_resumed_run_is_calibrated_as_the_whole_one(tmp_path: Path) -> None:
    """The same rows are held out."""
    pytest.importorskip("duckdb")
    file = table(tmp_path / "t.csv", 400, "classes")
    given = [str(file), "--label", "y", *FAST, "--calibrate", "--checkpoint-every", "3"]
    whole, begun = tmp_path / "whole", tmp_path / "begun"
    assert main(["train", *given, "--out", str(whole)]) == 0
    assert main(["train", *given, "--out", str(begun)]) == 0
    for name in ("result.json", "model.xpmlp"):
        (begun / name).unlink()
    assert main(["train", "--resume", str(begun), "--quiet"]) == 0
    results = [json.loads((path / "result.json").read_text()) for path in (whole, begun)]
    assert results[0]["calibration"] == results[1]["calibration"]
