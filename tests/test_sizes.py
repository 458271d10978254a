"""CI's two parts of the suite are together all of it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def collected(part: str) -> set[str]:
    """The tests of some files, among them tests of every backend, drawn and slow ones."""
    files = ("training/test_training.py", "robustness/test_checkpoints.py", "backends/test_ops.py")
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", part, *files],
        cwd=ROOT / "tests", capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {line for line in found.stdout.splitlines() if "::" in line}


@pytest.mark.slow
def test_no_test_falls_between_the_first_part_and_the_rest() -> None:
    everything, first, rest = map(collected, ("--slow", "--first", "--rest"))
    assert first
    assert rest
    assert first | rest == everything
    assert {*everything} - first  # neither part is the whole
    assert {*everything} - rest
