"""Streams that are closed or full, and a place for the result that cannot be written to."""

import io
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xpmlp.cli import main, train

Capture = pytest.CaptureFixture[str]
CODE = "import sys; sys.modules['matplotlib'] = None; import xpmlp.cli; sys.exit(xpmlp.cli.main())"
TRAIN = "train xor --epochs 1 --backend numpy --out run"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # as in a shell: what is printed waits


def shell(command: str) -> subprocess.CompletedProcess[str]:
    line = f"{shlex.quote(sys.executable)} -c {shlex.quote(CODE)} {command}"
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell closes the streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.sampled(3)
def test_closed_streams_cost_nothing(closed: str) -> None:
    ended = shell(f"{TRAIN} {closed}")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ("test accuracy" in ended.stdout) == (">&-" not in closed.split())
    assert Path("run/result.json").exists()


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell closes the streams")
@pytest.mark.slow
def test_what_a_closed_stream_would_have_got_goes_to_no_other() -> None:
    ended = shell(f"{TRAIN} --json - 2>&-")
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["epochs"] == 1
    ended = shell("train mnits 2>&-")
    assert (ended.returncode, ended.stdout) == (2, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("command", [TRAIN, f"{TRAIN} --json -", "info"])
@pytest.mark.sampled(3)
def test_a_full_standard_output_is_named(command: str) -> None:
    ended = shell(f"{command} >/dev/full")
    assert ended.returncode == 2
    assert "xpmlp: error: standard output: No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_what_is_left_in_a_full_standard_output_leaves_the_status() -> None:
    code = (
        "import sys, xpmlp.cli, xpmlp.cli.train as train\n"
        "def run(args):\n    sys.stdout.write('left')\n    raise OSError('no disk')\n"
        "train.run = run\n"
        "sys.exit(xpmlp.cli.main())"
    )
    given = [sys.executable, "-c", code, "train", "xor"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            given, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False
        )
    assert ended.returncode == 2
    assert ended.stderr == "xpmlp: error: no disk\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("command", ["train mnits", "train mnits --debug", f"{TRAIN} --json -"])
@pytest.mark.sampled(2)
def test_a_full_standard_error_leaves_the_status(command: str) -> None:
    ended = shell(f"{command} 2>/dev/full")
    assert (ended.returncode, ended.stdout) == (2, "")


@pytest.mark.parametrize("stream", [None, io.StringIO(), open(os.devnull, "w")])  # noqa: SIM115
def test_a_signal_is_told_to_standard_error_or_nobody(
    stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    monkeypatch.setattr(os, "write", lambda handle, text: written.append(handle))
    if stream is not None:
        stream.close()
    with monkeypatch.context() as context:
        context.setattr(sys, "stderr", stream)
        train.tell(signal.SIGINT)
    assert written == []


def test_a_full_stream_does_not_fail_the_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    def full(handle: int, text: bytes) -> int:
        written.append(handle)
        raise OSError(28, "No space left on device")

    with open(os.devnull, "wb") as stream, monkeypatch.context() as context:
        context.setattr(sys, "stderr", stream)
        context.setattr(os, "write", full)
        train.tell(signal.SIGINT)
        assert written == [stream.fileno()]


@pytest.mark.parametrize(
    ("place", "found"),
    [("folder", "a folder"), ("file/result.json", "file"), ("closed/deep/result.json", "closed")],
)
def test_a_place_for_the_result_that_cannot_be_is_said_before_the_training(
    place: str, found: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    Path("folder").mkdir()
    Path("closed").mkdir()
    Path("file").touch()
    access = os.access  # root may write everywhere
    monkeypatch.setattr(os, "access", lambda p, mode: Path(p).name != "closed" and access(p, mode))
    assert main([*TRAIN.split(), "--json", place]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"xpmlp: error: --json {place}: found {found}")
    assert error.count("\n") == 1
    assert not Path("run").exists()


@pytest.mark.parametrize("place", ["new/deep/result.json", "old.json", os.devnull])
@pytest.mark.sampled(3)
def test_a_place_that_can_be(place: str) -> None:
    Path("old.json").touch()
    assert main([*TRAIN.split(), "--quiet", "--json", place]) == 0
    assert place == os.devnull or json.loads(Path(place).read_text())["epochs"] == 1
