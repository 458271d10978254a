"""``xpmlp xor`` and ``xpmlp pictures``: what they print, draw and refuse."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xpmlp.cli import pictures, xor
from xpmlp.cli.parser import parse
from xpmlp.errors import InvalidValueError
from xpmlp.tutorial import original

pytest.importorskip("matplotlib")


def run(command: Any, *arguments: str) -> int:
    name = command.__name__.rpartition(".")[2]
    command.run(parse([name, *arguments, "--backend", "numpy"]))
    return 0


@pytest.mark.slow
def test_it_trains_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(xor, "--out", str(tmp_path), "--gif") == 0
    out = capsys.readouterr().out
    assert out.count("/100 ") == 10  # a line for every tenth epoch
    assert "on 300 new points" in out
    assert (tmp_path / "xor.png").stat().st_size > 10_000
    assert 10_000 < (tmp_path / "xor.gif").stat().st_size < 2_000_000


@pytest.mark.slow
def test_several_numbers_are_several_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(xor, "--hidden", "3", "5", "--epochs", "3", "--out", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "3 hidden neurons:" in out
    assert "5 hidden neurons:" in out
    assert not (tmp_path / "xor.gif").exists()


@pytest.mark.slow
def test_exploding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(xor, "--scenario", "exploding", "--out", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "gradient clipping" in out
    assert max(map(len, out.replace(str(tmp_path), "").splitlines())) <= 80
    assert (tmp_path / "exploding.png").exists()


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.sampled(2)
def test_original(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    full: bool,
) -> None:
    for name in ("QUICK", "FULL"):
        rows = [replace(row, steps=2_001) for row in getattr(original, name)]
        monkeypatch.setattr(original, name, rows)
    options = ["--full"] if full else []
    assert run(xor, "--scenario", "original", "--out", str(tmp_path), *options) == 0
    out = capsys.readouterr().out
    assert out.count("mistaken") == (3 if full else 1)
    assert "not blown up yet" in out
    assert (tmp_path / "original.png").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--full"],
        ["--scenario", "exploding", "--gif"],
        ["--scenario", "original", "--lr", "1"],
        ["--scenario", "original", "--epochs", "0"],
        ["--epochs", "0"],
        ["--lr", "0"],
    ],
)
def test_options_that_cannot_be(options: list[str], tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError):
        run(xor, *options, "--out", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(pictures, "--out", str(tmp_path)) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"activations.png", "digits.png", "network.png", "overfitting.png"}
    assert all(name in capsys.readouterr().out.replace("\n", " ") for name in sorted(names)[:1])
