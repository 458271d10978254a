"""The benchmark of exports compares files that predict alike, and names what is missing."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks import exports


@pytest.fixture
def one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "NETWORKS", {"784-128-10": ([784, 8, 10], "relu", {})})
    monkeypatch.setattr(exports, "ROWS", (1, 2))


@pytest.mark.slow
def test_both_files_run_and_are_compared(
    one_network: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("torch", "onnx", "onnxruntime"):
        pytest.importorskip(module)
    exports.main(["--rounds", "2", "--out", str(tmp_path / "found.json")])
    shown = capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())
    network = found["onnx"]["784-128-10"]
    assert network["nodes, ours"] == network["nodes, theirs"] == 5
    assert network["1 rows"]["ours / theirs"] > 0
    assert "5 / 5" in shown
    assert "left out" not in shown


def test_what_is_missing_is_left_out_by_name(
    one_network: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    exports.main(["--rounds", "2", "--out", str(tmp_path / "found.json")])
    assert json.loads((tmp_path / "found.json").read_text()).keys() == {"environment"}
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[:2] for line in lines if line] == [
        ["left out", " onnx"],
        ["left out", " c"],
    ]
