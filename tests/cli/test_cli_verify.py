"""``xpmlp verify``: what it prints and writes, and its exit status."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xpmlp_backends

from xpmlp.cli import verify
from xpmlp.cli.parser import parse
from xpmlp.errors import BackendError, XpmlpError

needs_torch = pytest.mark.usefixtures("torch_backend")
Capture = pytest.CaptureFixture[str]
SMALL = ["--data", "xor", "--hidden", "5", "--steps", "12"]


def command(*arguments: str) -> int:
    return verify.run(parse(["verify", *arguments]))


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch whose dense map is off by 1e-6 of its value."""
    right = xpmlp_backends.backend

    def backend(name: Any, device: str | None = None) -> Any:
        if name != "torch":
            return right(name, device)
        made = right("torch", "cpu")
        dense = made.ops.dense
        made.ops = replace(made.ops, dense=lambda *a: dense(*a) * (1 + 1e-6))
        return made

    monkeypatch.setattr(xpmlp_backends, "backend", backend)


def test_backends_agree_on_digits(capsys: Capture) -> None:
    assert command("--backends", "numpy", "strict", "--steps", "20") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "numpy and strict: they agree"
    assert "network    64-32-16-10, 2,778 parameters, float64, seed 0" in lines
    assert lines[-1].startswith("All 20 steps agree to 1e-10; the largest difference is ")
    assert max(map(len, lines)) <= 80


@needs_torch
def test_options_reach_the_training(capsys: Capture) -> None:
    options = ["--backends", "numpy", "torch:cpu", "--dtype", "float32", "--optimizer", "rmsprop"]
    options += ["--lr", "0.02", "--batch-size", "30", "--dropout", "0", "--tolerance", "1e-3"]
    options += ["--normalization", "layer", "--activation", "gelu", "--seed", "4", "--json", "-"]
    assert command(*SMALL, *options) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["agrees"] is True
    assert (result["sizes"], result["dtype"], result["seed"]) == ([2, 5, 2], "float32", 4)
    assert (result["batch_size"], result["tolerance"]) == (30, 1e-3)
    assert result["parameters"] == 2 * 5 + 5 + 2 * 5 + 5 * 2 + 2
    assert result["optimizer"].startswith("RMSProp(learning_rate=0.02")
    assert result["sides"][1]["device"] == "cpu"
    assert len(result["differences"]) == 12


@needs_torch
@pytest.mark.usefixtures("faulty")
def test_status_is_1_where_they_part(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "parity.json"
    assert command(*SMALL, "--backends", "numpy", "torch", "--json", str(file)) == 1
    text = capsys.readouterr().out
    assert text.startswith("numpy and torch: they part at step 1\n")
    assert "step      1 (epoch 1, batch 1)\n  layer     dense1 (z = x W + b)\n" in text
    result = json.loads(file.read_text())
    assert result["agrees"] is False
    assert (result["cause"]["layer"], result["cause"]["quantity"]) == ("dense1", "z")


@needs_torch
@pytest.mark.usefixtures("faulty")
def test_tolerance_decides(capsys: Capture) -> None:
    assert command(*SMALL, "--backends", "numpy", "torch", "--tolerance", "0.01") == 0
    assert "agree to 1e-02" in capsys.readouterr().out


@needs_torch
def test_second_backend_is_the_first_other_that_works(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    why_not = {"cupy": "cupy: no GPU", "torch": None}
    monkeypatch.setattr(xpmlp_backends, "why_not", why_not.get)
    assert command(*SMALL) == 0
    assert capsys.readouterr().out.startswith("numpy and torch: they agree")
    monkeypatch.setattr(xpmlp_backends, "why_not", lambda name: f"{name} is not installed")
    with pytest.raises(BackendError, match=r"pip install 'xpmlp\[torch\]'.*torch is not installed"):
        command(*SMALL)


def test_float64_sets_up_jax_before_it_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_ENABLE_X64", "")  # so that it comes back after the test
    monkeypatch.delenv("JAX_ENABLE_X64")
    assert command(*SMALL, "--backends", "numpy", "numpy", "--dtype", "float32") == 0
    assert "JAX_ENABLE_X64" not in os.environ
    assert command(*SMALL, "--backends", "numpy", "numpy") == 0
    assert os.environ["JAX_ENABLE_X64"] == "1"


@pytest.mark.parametrize(
    "wrong",
    [["--backends", "torhc"], ["--backends", *["numpy"] * 3], ["--steps", "0"], ["--lr", "-1"]],
)
def test_mistakes_are_refused(wrong: list[str]) -> None:
    with pytest.raises(XpmlpError):
        command("--data", "xor", "--backends", "numpy", "numpy", *wrong)
