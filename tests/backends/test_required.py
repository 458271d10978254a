"""``XPMLP_REQUIRE_BACKENDS``: what is named there is tested, or the run fails at once."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "backends/README.md"
TEST = "tests/training/test_training.py::test_history_has_one_number_for_each_epoch"


def run(required: str, folder: Path, chosen: str = "numpy") -> subprocess.CompletedProcess[str]:
    """One small test of the suite, on the backends that are required by these names."""
    path = os.pathsep.join(map(str, (folder, os.environ.get("PYTHONPATH", ""))))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", TEST, "-k", chosen],
        cwd=ROOT,
        env=os.environ | {"XPMLP_REQUIRE_BACKENDS": required, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.skipif(not GUIDE.exists(), reason="this is no checkout")
@pytest.mark.slow
def test_the_guides_backend_is_tested_if_it_is_required(tmp_path: Path) -> None:
    code, group = (
        re.findall(rf"```{kind}\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)[0]
        for kind in ("python", "toml")
    )
    name, place = re.findall(r'(\w+) = "(\w+:\w+)"', group)[0]
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[xpmlp.backends]\n{name} = {place}\n")
    (tmp_path / f"{place.partition(':')[0]}.py").write_text(code)

    ran = run(f"numpy, {name}", tmp_path, f"{name} or numpy")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for tested in ("numpy", name):
        assert re.search(rf"\[{tested}\] .*PASSED", ran.stdout), ran.stdout


@pytest.mark.parametrize("name", ["nosuchlib", "Numpy"])
@pytest.mark.slow
def test_an_unknown_name_fails_at_once(name: str, tmp_path: Path) -> None:
    ran = run(f"numpy,{name}", tmp_path)
    assert ran.returncode == pytest.ExitCode.USAGE_ERROR, ran.stdout
    assert f"XPMLP_REQUIRE_BACKENDS: unknown backend '{name}'" in ran.stderr
    assert "jax" in ran.stderr  # what is known
    assert "PASSED" not in ran.stdout
