"""Starting workers with mpiexec, in tests."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).parent / "script.py"
LIMIT = 240
"""Seconds after which something hangs; nothing here takes a tenth of it on an idle machine."""


def mpiexec() -> str:
    """The launcher; a skip where there is none."""
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if importlib.util.find_spec("mpi4py") is None or found is None:
        pytest.skip("mpi4py or mpiexec is not installed: pip install 'xpmlp[mpi]'")
    return found


def environment() -> dict[str, str]:
    """The tests' own, without what a launcher has set."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "backends")])
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("PMI", "OMPI_", "SLURM_"))}
    # Its own choice of kernels, which the command line makes, must be the same everywhere.
    return kept | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def started(size: int, *command: str, cwd: Path | None = None) -> "subprocess.Popen[str]":
    """Begin a Python program on so many workers."""
    return subprocess.Popen(
        [mpiexec(), "-n", str(size), sys.executable, *command],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=cwd,
    )


def run(
    size: int, *command: str, status: int | None = 0, cwd: Path | None = None
) -> tuple[str, str]:
    """Run a Python program on so many workers; return what it prints."""
    with started(size, *command, cwd=cwd) as process:
        try:
            out, err = process.communicate(timeout=LIMIT)
        except BaseException:
            process.kill()
            raise
    assert status is None or process.returncode == status, err
    return out, err


def xpmlp(size: int, *arguments: str, **options: Any) -> tuple[str, str]:
    """Run the command line on so many workers."""
    return run(size, "-m", "xpmlp", *arguments, **options)


def alone(*command: str, cwd: Path | None = None) -> Sequence[str]:
    """Run a Python program without a launcher."""
    done = subprocess.run(
        [sys.executable, *command],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        cwd=cwd,
        check=True,
    )
    return done.stdout, done.stderr
