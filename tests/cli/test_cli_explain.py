"""``xpmlp explain``: what it prints, writes and refuses."""

import sys
from pathlib import Path

import numpy as np
import pytest

import xpmlp
from xpmlp.cli import explain
from xpmlp.cli.parser import parse
from xpmlp.errors import InvalidValueError

W1_AFTER = "-0.67747178  0.37768878 -0.07368900"


def run(*arguments: str) -> int:
    explain.run(parse(["explain", *arguments, "--backend", "numpy"]))
    return 0


@pytest.fixture
def model(tmp_path: Path) -> Path:
    data = xpmlp.data.load("xor")
    mlp = xpmlp.MLP([2, 5, 2], activation="tanh", backend="numpy", seed=0)
    mlp.fit(data.X, data.y, epochs=2)
    mlp.save(tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def test_without_arguments_it_is_the_worked_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    out = capsys.readouterr().out
    assert W1_AFTER in out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_on_a_terminal_it_has_colours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert run() == 0
    out = capsys.readouterr().out
    assert "\x1b[" in out
    assert W1_AFTER in out


@pytest.mark.parametrize(
    ("name", "begins"), [("s.html", "<!DOCTYPE html>"), ("s.md", "# "), ("s.txt", "The worked")]
)
def test_the_ending_of_the_file_gives_the_format(tmp_path: Path, name: str, begins: str) -> None:
    assert run("--out", str(tmp_path / name)) == 0
    assert (tmp_path / name).read_text(encoding="utf-8").startswith(begins)


def test_a_format_on_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--format", "markdown") == 0
    assert r"\frac{d\mathrm{Loss}}{dW_{2}}" in capsys.readouterr().out


@pytest.mark.parametrize("row", [1, 3, 300])
def test_a_model_and_a_row_of_data(
    model: Path, row: int, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--row", str(row), "--optimizer", "adam", "--lr", "0.01"]
    assert run(str(model), "xor", *arguments) == 0
    out = capsys.readouterr().out
    assert "2-5-2" in out
    assert "adam at learning rate 0.01" in out
    x = xpmlp.data.load("xor").X_test[row - 1]
    assert f"{np.float32(x[0]):.8f}" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["xor", "--row", "0"], "--row: found 0; xor has rows 1 to"),
        (["xor", "--row", "100000"], "found 100000"),
        ([], "DATA is missing"),
        (["xor", "--optimizer", "adm"], "Did you mean 'adam'"),
    ],
)
def test_refusals_name_the_fix(model: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        run(str(model), *arguments)
