"""Every example runs as it stands, quickly, without a warning."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
EXPECTED = {
    *("worked_step", "xor", "exploding", "perceptron", "overfitting", "mnist", "regression"),
    *("custom_layer", "custom_activation", "compare_backends", "scikit_learn"),
    *("two_heads", "several_inputs", "tied_weights"),
}


def test_all_examples_are_there() -> None:
    assert {path.stem for path in EXAMPLES} >= EXPECTED


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_is_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.sampled(12)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    if path.stem == "mnist" and not os.environ.get("XPMLP_DATA_DIR"):
        pytest.skip("the MNIST example needs the files in XPMLP_DATA_DIR, or a download")
    paths = [str(ROOT), str(ROOT / "backends")]
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert not done.stderr
