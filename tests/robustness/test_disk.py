"""A disk that fails under those who read, and under the command line: an error with a name."""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fcntl", reason="crashes are injected on POSIX only")
from faults import ERRORS, FULL, each_failing

import xpmlp
from xpmlp.cli import main
from xpmlp.data import load
from xpmlp.errors import DataError


def a_model(folder: Path) -> Any:
    path = folder / "m.xpmlp"
    xpmlp.MLP([2, 3, 2], backend="numpy", seed=0).save(path)
    return lambda: xpmlp.load(path, backend="numpy").state_dict()["dense1.W"]


def a_table(folder: Path) -> Any:
    path = folder / "table.csv"
    path.write_text("x,y\n" + "1.5,2\n2.5,3\n" * 3000)
    return lambda: load(path).X.matrix()


def an_archive(folder: Path) -> Any:
    path = folder / "data.npz"
    np.savez(path, X=np.ones((20_000, 2)), y=np.arange(20_000) % 2)
    return lambda: load(path).X


@pytest.mark.parametrize("fault", ERRORS)
@pytest.mark.parametrize("make", [a_model, a_table, an_archive])
def test_a_file_that_cannot_be_read(make: Any, fault: int, tmp_path: Path, tried: Any) -> None:
    read = make(tmp_path)
    (path,) = tmp_path.iterdir()
    expected, found, reads = read(), [], 0

    def again() -> None:
        found[:] = [read()]

    for n, error in each_failing(fault, tmp_path, again):
        reads = n
        if error is None:
            np.testing.assert_array_equal(found[0], expected)
        else:
            assert isinstance(error, DataError | OSError), f"call {n}: {error!r}"
            assert str(path) in str(error), f"call {n}: {error!r}"
            reasons = (os.strerror(fault), "File is not a zip file")  # zipfile hides what it was
            assert any(reason in str(error) for reason in reasons), f"call {n}: {error!r}"
    assert reads >= 4
    tried(f"{path.name}, {os.strerror(fault)} at {reads} calls: an error that names it, or valid")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EACCES, FULL])
def test_the_command_line_on_a_failing_disk(
    fault: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tried: Any,
    draws: Any,
) -> None:
    folder, statuses, every = tmp_path / "run", [], draws(9, 1)
    arguments = ["train", "xor", "--epochs", "2", "--quiet", "--backend", "numpy"]

    def train() -> None:
        statuses.append(main([*arguments, "--out", str(folder)]))

    reason = os.strerror(errno.ENOSPC if fault == FULL else fault)
    for n, error in each_failing(fault, tmp_path, train, every):
        assert error is None, f"call {n}: {error!r}"
        out, err = capsys.readouterr()
        assert out == ""
        files = {p.name: p for p in folder.iterdir()} if folder.exists() else {}
        assert not [name for name in files if name.endswith(".tmp")], f"call {n}"
        if "model.xpmlp" in files:
            xpmlp.load(files["model.xpmlp"], backend="numpy")
        if statuses[-1] == 0:
            assert err == "", f"call {n}"
            assert {"model.xpmlp", "history.jsonl", "result.json", "picture.png"} <= files.keys()
            json.loads(files["result.json"].read_text())
        else:
            assert statuses[-1] == 2, f"call {n}"
            assert err.count("\n") == 1, err
            assert err.startswith(f"xpmlp: error: {folder}"), f"call {n}: {err}"
            assert reason in err, f"call {n}: {err}"
        shutil.rmtree(folder, ignore_errors=True)
    failed, calls = statuses.count(2), len(statuses) - 1
    assert failed >= 8 / every
    when = "from" if fault == FULL else "at"
    tried(f"xpmlp train, {reason} {when} {calls} calls: {failed} times one line and exit 2")
