"""``xpmlp card``: of a run folder, of a model file, and of a folder that something else wrote."""

import json
import re
from pathlib import Path

import pytest

import xpmlp
from xpmlp.cli import main, train

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XPMLP_BACKEND", raising=False)
    monkeypatch.setattr(train, "draw", lambda *_: False)
    assert main(["train", "xor", "--epochs", "2", "--backend", "numpy", "--quiet"]) == 0


def card(capsys: Capture, *arguments: str) -> str:
    capsys.readouterr()
    assert main(["card", *arguments]) == 0
    return capsys.readouterr().out


def test_a_run_has_its_results_and_settings(capsys: Capture) -> None:
    said = card(capsys, "runs/xor")
    result = json.loads(Path("runs/xor/result.json").read_text())
    assert said.startswith("# xor\n\nA multilayer perceptron that predicts which of 2 classes")
    assert f"| test accuracy | {result['test_accuracy']:.6g} |" in said
    assert "| optimizer | adam |" in said
    assert "| lr | 0.01 |" in said
    assert "| train rows | 300 |" in said
    assert "xpmlp.load('model.xpmlp')" in said
    assert not re.search(r"\| [\[{]|\| (versions|settings) \|", said)  # no lists
    assert card(capsys, "runs/xor/model.xpmlp") == said
    prose = [line for line in said.splitlines() if not line.startswith("|")]
    assert max(map(len, prose)) <= 80


def test_a_file_alone_has_no_results(capsys: Capture) -> None:
    Path("runs/xor/model.xpmlp").rename("runs/xor/mine.xpmlp")
    said = card(capsys, "runs/xor/mine.xpmlp", "--title", "My model")
    assert said.startswith("# My model\n")
    assert "## Results" not in said
    assert "xpmlp.load('mine.xpmlp')" in said
    assert "| epochs | 2 |" in said


def test_it_is_written_to_a_file(capsys: Capture) -> None:
    assert card(capsys, "runs/xor", "--out", "deep/README.md") == ""
    assert Path("deep/README.md").read_text().startswith("# xor\n")


@pytest.mark.parametrize("wrong", ["", "[1]", "{", "[" * 100_000, '"\udcff"'])
def test_a_broken_result_is_one_error(wrong: str, capsys: Capture) -> None:
    Path("runs/xor/result.json").write_text(wrong, errors="surrogateescape")
    capsys.readouterr()
    assert main(["card", "runs/xor"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("xpmlp: error: runs/xor/result.json: cannot be read (")
    assert said.count("\n") == 1


def test_a_result_of_another_form_is_text(capsys: Capture) -> None:
    odd = {
        "test_loss": None,
        "<b>\x1b[31m": "|x|",
        "settings": 3,
        "versions": {"a": [1], "b": True},
    }
    Path("runs/xor/result.json").write_text(json.dumps(odd))
    said = card(capsys, "runs/xor")
    assert "\x1b" not in said
    assert "| \\<b\\> \\[31m | \\|x\\| |" in said
    assert "| b | True |" in said


def test_no_model(capsys: Capture) -> None:
    assert main(["card", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_the_card_is_that_of_the_model(capsys: Capture) -> None:
    mlp = xpmlp.load("runs/xor/model.xpmlp", backend="numpy")
    Path("runs/xor/result.json").unlink()
    assert card(capsys, "runs/xor") == mlp.card("xor")
