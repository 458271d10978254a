"""Types: a program is right in mypy's strict mode, and planted errors are found."""

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import xpmlp

ROOT, PROGRAM = Path(__file__).resolve().parents[2], Path(__file__).parent / "program.py"

PLANTED = {
    "dropout=[xpmlp.schedules.FlatCos(0.1)]": 'dropout=["much"]',
    'initializer="he"': "initializer=3.0",
    "class_weight={1: 2.0}": 'class_weight={1: "two"}',
    'metrics=["log_loss"': "metrics=[3",
    "shuffle=sampled": "shuffle=cost",
    "batches=make_batches": "batches=3",
    "losses: list[float]": "losses: list[str]",
    "found: dict[str, float]": "found: dict[str, str]",
    "loss, gradient = plain.gradient": "loss, gradient, more = plain.gradient",
    "output=1)": 'output="one")',
    "batch.split(2)": 'batch.split("2")',
    "loop.update(batch, value,": "loop.update(value,",
    "last: float": "last: str",
    "networks: dict[str, list[float]]": "networks: dict[str, float]",
    "plain.load_state_dict(step)": "plain.load_state_dict(3)",
    "patience=2": "patience=None",
}
"""What is right, and what a slip of the pen makes of it."""

ARRAYS = {
    "X", "y", "sample_weight", "validation_data", "rows", "loss", "gradient", "values",
    "batches", "shuffle", "activation", "initializer", "bias_initializer", "changes", "metrics",
}  # fmt: skip
"""Parameters that are arrays, or functions of arrays; ``changes`` are those of ``MLP``."""


def checked(path: Path, cache: Path) -> "subprocess.CompletedProcess[str]":
    pytest.importorskip("mypy")
    options = ["--strict", "--no-error-summary", "--follow-imports=silent", f"--cache-dir={cache}"]
    return subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--config-file", "pyproject.toml", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=600,
    )


def test_the_program_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(PROGRAM)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "backends")))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_planted_errors_are_found(tmp_path: Path) -> None:
    text, cache = PROGRAM.read_text("utf-8"), tmp_path / "cache"
    sound = checked(PROGRAM, cache)
    assert sound.returncode == 0, sound.stdout
    spoiled = text
    for right, wrong in PLANTED.items():
        assert text.count(right) == 1, right
        spoiled = spoiled.replace(right, wrong)
    copy = tmp_path / "spoiled.py"
    copy.write_text(spoiled, "utf-8")
    said = checked(copy, cache).stdout
    lines = spoiled.splitlines()
    for wrong in PLANTED.values():
        number = next(i for i, line in enumerate(lines, start=1) if wrong in line)
        near = {f"spoiled.py:{i}:" for i in range(number - 12, number + 3)}
        assert any(place in said for place in near), f"not found: {wrong}\n{said}"


def public() -> Iterator[tuple[str, Any]]:
    for name in (
        *("MLP.__init__", "MLP.fit", "MLP.evaluate", "MLP.predict", "MLP.logits", "MLP.gradient"),
        *("MLP.activations", "MLP.input_gradient", "MLP.copy", "MLP.to", "MLP.save", "load"),
        *("Loop.__init__", "Loop.batches", "Loop.step", "Loop.gradient", "Loop.update"),
        *("Loop.by_name", "Loop.flat", "Batch.split", "metrics.Measure.__init__"),
        *("EarlyStopping.__init__", "SaveModel.__init__", "register_activation"),
    ):
        found: Any = xpmlp
        for part in name.split("."):
            found = getattr(found, part)
        yield name, found


def test_no_any_but_arrays() -> None:
    wide = [
        f"{name}({parameter.name})"
        for name, function in public()
        for parameter in inspect.signature(function).parameters.values()
        if "Any" in str(parameter.annotation) and parameter.name not in ARRAYS
    ]
    # Functions of arrays, and layers, which are made of such.
    made = {f"MLP.__init__({n})" for n in ("output", "loss", "normalization")}
    assert {*wide} <= made | {"MLP.fit(augment)", "Loop.__init__(augment)"}
