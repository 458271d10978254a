"""One owner of a folder at a time, and no lock that outlives its owner."""

import contextlib
import errno
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fcntl", reason="the tests lock by flock and fork")
from faults import ERRORS, INTERRUPT, each_failing, each_killed, ended, kill, started

from xpmlp.errors import RunLockedError
from xpmlp.storage import locking
from xpmlp.storage.locking import LOCK, locked

WHAT = "a training"


def take(folder: Path) -> None:
    """Own the folder for a moment."""
    with locked(folder, WHAT):
        pass


def refusal(folder: Path) -> str:
    with pytest.raises(RunLockedError) as caught:
        take(folder)
    assert isinstance(caught.value, OSError)
    return str(caught.value)


@contextlib.contextmanager
def owner(folder: Path) -> Iterator[int]:
    """A process that owns the folder until it is killed."""
    ready, tell = os.pipe()

    def own() -> None:
        with locked(folder, WHAT):
            os.write(tell, b"x")
            signal.pause()

    child = started(own)
    os.close(tell)
    try:
        assert os.read(ready, 1) == b"x"
        yield child
    finally:
        os.close(ready)
        kill(child)


def test_the_second_process_is_refused_and_a_kill_frees_the_folder(tmp_path: Path) -> None:
    with owner(tmp_path) as process:
        message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path}: a training is under way there already, by process ")
    assert re.search(rf"process {process} on \S+ since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.", message)
    assert message.endswith("choose another folder")
    assert os.listdir(tmp_path) == [LOCK]
    take(tmp_path)
    assert os.listdir(tmp_path) == []


def test_threads_of_one_process_are_kept_apart(tmp_path: Path) -> None:
    with locked(tmp_path, WHAT):
        assert f"process {os.getpid()} " in refusal(tmp_path)
        messages: list[str] = []
        thread = threading.Thread(target=lambda: messages.append(refusal(tmp_path)))
        thread.start()
        thread.join()
        assert len(messages) == 1
        (tmp_path / "other").mkdir()
        take(tmp_path / "other")
    take(tmp_path)


def test_a_failure_inside_frees_the_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), locked(tmp_path, WHAT):
        raise KeyboardInterrupt
    take(tmp_path)
    assert os.listdir(tmp_path) == []


def test_never_two_owners(tmp_path: Path, draws: Any, tried: Any) -> None:
    """Processes that take turns, so that one opens the file while another removes it."""
    processes, rounds = 4, draws(100, 300, 2000)
    folder, inside = tmp_path / "run", tmp_path / "inside"
    folder.mkdir()

    def take_turns() -> None:
        done = 0
        while done < rounds:
            with contextlib.suppress(RunLockedError), locked(folder, WHAT):
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
                os.unlink(inside)
                done += 1

    children = [started(take_turns) for _ in range(processes)]
    assert [ended(child) for child in children] == [0] * processes
    assert os.listdir(folder) == []
    tried(f"{processes} processes took one folder {rounds} times each: never two at once")


@pytest.mark.parametrize("fault", [*ERRORS, INTERRUPT])
def test_a_call_that_fails(fault: Any, tmp_path: Path) -> None:
    """Only the first, which opens the file, is needed."""
    for n, error in each_failing(fault, tmp_path, lambda: take(tmp_path)):
        if fault == INTERRUPT:
            assert isinstance(error, KeyboardInterrupt)
        elif n == 1:
            assert isinstance(error, OSError)
            assert error.filename == str(tmp_path / LOCK)
            assert error.__notes__ == ["a training needs a folder that can be written to"]
        else:
            assert error is None
        take(tmp_path)
        assert os.listdir(tmp_path) == []
    assert n >= 6


def test_a_kill_at_any_call(tmp_path: Path) -> None:
    kills = 0
    for _ in each_killed(tmp_path, lambda: take(tmp_path)):
        take(tmp_path)
        assert os.listdir(tmp_path) == []
        kills += 1
    assert kills >= 6


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        take(tmp_path / "missing")
    assert os.listdir(tmp_path) == []


def test_a_forked_child_does_not_free_the_folder(tmp_path: Path) -> None:
    mine = locked(tmp_path, WHAT)
    with mine:
        assert ended(started(lambda: mine.__exit__(None, None, None))) == 0
        assert f"process {os.getpid()} " in refusal(tmp_path)


def test_a_forked_child_does_not_keep_the_folder_of_a_killed_process(tmp_path: Path) -> None:
    ready, tell = os.pipe()

    def stay() -> None:
        os.write(tell, str(os.getpid()).encode())
        signal.pause()

    def own() -> None:
        with locked(tmp_path, WHAT):
            started(stay)
            signal.pause()

    owning = started(own)
    staying = int(os.read(ready, 20))
    try:
        assert f"process {owning} " in refusal(tmp_path)
        kill(owning)
        take(tmp_path)
    finally:
        os.kill(staying, signal.SIGKILL)
        os.close(ready)
        os.close(tell)


def test_what_a_forked_child_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in this process, whose locks and process id are made a child's."""
    with monkeypatch.context() as child, locked(tmp_path, WHAT):
        locking._close_all()
        assert not locking._held
        child.setattr(os, "getpid", lambda: -1)
    assert os.listdir(tmp_path) == [LOCK]
    take(tmp_path)


@pytest.mark.parametrize("said", [b"", b"process 1 on x\x1b[2J since never", b"\xff" * 300])
def test_what_the_file_says_is_not_believed(said: bytes, tmp_path: Path) -> None:
    with locked(tmp_path, WHAT):
        (tmp_path / LOCK).write_bytes(said)
        assert "by another process. Wait" in refusal(tmp_path)


def test_what_a_killed_owner_wrote_is_gone(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("process 1 on a-host since 2020-01-01 00:00:00 " * 3)
    with locked(tmp_path, WHAT):
        assert f"by process {os.getpid()} on" in refusal(tmp_path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert locking._owner(tmp_path / LOCK) == "another process"


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    (tmp_path / LOCK).symlink_to(precious)
    with pytest.raises(OSError, match=re.escape(LOCK)):
        take(tmp_path)
    assert precious.read_bytes() == b"precious"


def test_a_file_without_a_lasting_number_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "samestat", lambda one, other: False)
    refusal(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(handle: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locking.fcntl, "flock", flock)
    with locked(tmp_path, WHAT):
        take(tmp_path)  # nothing keeps it out
    assert os.listdir(tmp_path) == []


def test_a_platform_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "fcntl", locking._module("no_such_module"))
    monkeypatch.setattr(locking, "msvcrt", None)
    with locked(tmp_path, WHAT):
        take(tmp_path)


def test_the_locks_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imitated: they lock bytes at the place where the handle stands, and nobody can read those."""
    places, taken = [], []

    def locking_of_windows(handle: int, mode: int, size: int) -> None:
        if taken:
            raise PermissionError(errno.EACCES, "Permission denied")
        taken.append((mode, size))
        places.append(os.lseek(handle, 0, os.SEEK_CUR))

    windows = SimpleNamespace(LK_NBLCK=2, locking=locking_of_windows)
    monkeypatch.setattr(locking, "fcntl", None)
    monkeypatch.setattr(locking, "msvcrt", windows)
    with locked(tmp_path, WHAT):
        assert taken == [(2, 1)]
        assert places[0] > 10_000
        assert f"process {os.getpid()} " in refusal(tmp_path)
    taken.clear()
    take(tmp_path)
