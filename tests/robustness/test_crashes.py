"""A save that fails or is killed at any of its calls leaves the old file or the new one."""

import errno
import os
import shutil
import stat
import threading
import time
import tracemalloc
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fcntl", reason="crashes are injected on POSIX only")
from faults import ERRORS, INTERRUPT, calls_made, each_failing, each_killed, kill, started

import xpmlp
from xpmlp.storage import atomic
from xpmlp.storage.atomic import write_atomically

NAME = "m.xpmlp"
STALE = f".{NAME}.{'0123456789abcdef'}.tmp"
"""The name of a temporary, as a writer that was killed leaves it."""


@cache
def model(seed: int) -> xpmlp.MLP:
    return xpmlp.MLP([3, 4, 2], backend="numpy", seed=seed)


@cache
def content() -> bytes:
    """The old file, that of the model 0."""
    path = Path(os.environ["XPMLP_CACHE_DIR"]) / f"crashes-{os.getpid()}"
    model(0).save(path)
    return path.read_bytes()


def is_of(path: Path, seed: int) -> bool:
    """Whether the file loads and has the weights of the model."""
    found, expected = (m.state_dict() for m in (xpmlp.load(path, backend="numpy"), model(seed)))
    return found.keys() == expected.keys() and all(
        np.array_equal(found[name], expected[name]) for name in found
    )


class Place:
    """Where is saved: over an old file, with a stale temporary beside it; or in a new folder."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.old = folder, kind == "old"
        self.path = folder / NAME if self.old else folder / "runs" / "first" / NAME
        content()

    def prepare(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        if self.old:
            self.path.write_bytes(content())
            (self.folder / STALE).write_bytes(b"half a file")

    def save(self) -> None:
        model(1).save(self.path)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.rglob("*") if not path.is_dir())

    def check_next_save(self) -> None:
        self.save()
        assert is_of(self.path, 1)
        assert self.files() == [NAME]


@pytest.fixture(params=["old", "new"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    place = Place(tmp_path / "there", request.param)
    place.prepare()
    return place


def test_the_tool_sees_every_step_of_a_save(tmp_path: Path) -> None:
    place = Place(tmp_path / "there", "old")
    place.prepare()
    names = [call.split()[0] for call in calls_made(place.save, place.folder)]
    kept = [name for name in names if name in ("write", "fsync", "unlink", "replace")]
    assert kept == ["unlink", "write", "fsync", "replace", "unlink", "fsync"]


@pytest.mark.parametrize("fault", [*ERRORS, INTERRUPT])
def test_a_save_that_fails_at_any_call(place: Place, fault: Any, tried: Any) -> None:
    failed = done = 0
    for _, error in each_failing(fault, place.folder, place.save):
        if error is None:  # what failed was no part of the promise: the new file is there
            done += 1
            assert is_of(place.path, 1)
        else:
            failed += 1
            found = place.path.read_bytes() if place.path.exists() else None
            if fault == INTERRUPT:
                assert isinstance(error, KeyboardInterrupt)
                assert found == (content() if place.old else None) or is_of(place.path, 1)
            else:
                assert found == (content() if place.old else None)
                assert isinstance(error, OSError)
                assert (error.errno, error.filename) == (fault, str(place.path))
                assert repr(str(place.path)) in str(error)
                assert STALE not in str(error)
        assert set(place.files()) <= {NAME, STALE}
        place.check_next_save()
        place.prepare()
    assert failed >= 4
    kind = errno.errorcode.get(fault, fault)
    where = "over an old file" if place.old else "in a new folder"
    tried(f"a save {where}, {kind} at {failed + done} calls: {failed} errors, 0 files lost")


def test_a_save_that_is_killed_at_any_call(place: Place, tried: Any) -> None:
    old = new = 0
    for _ in each_killed(place.folder, place.save):
        found = place.path.read_bytes() if place.path.exists() else None
        if found == (content() if place.old else None):
            old += 1
        else:
            assert is_of(place.path, 1)
            new += 1
        place.check_next_save()
        place.prepare()
    assert old
    assert new
    where = "over an old file" if place.old else "in a new folder"
    tried(f"a save {where}, killed at {old + new} calls: 0 files lost, temporaries removed")


def test_saves_that_are_killed_at_random_times(tmp_path: Path, draws: Any, tried: Any) -> None:
    """Of a megabyte, so that most are killed while they write."""
    path = tmp_path / NAME
    whole = [bytes([k]) * 2**20 for k in range(2)]
    write_atomically(path, whole[0])
    rng, kills = np.random.default_rng(7), draws(10, 50, 1000)
    left = 0

    def write_on() -> None:
        while True:
            for some in whole:
                write_atomically(path, some)

    for delay in rng.uniform(0.0, 0.01, kills):
        child = started(write_on)
        time.sleep(delay)
        kill(child)
        assert path.read_bytes() in whole
        left += len(os.listdir(tmp_path)) > 1
    write_atomically(path, whole[0])
    assert os.listdir(tmp_path) == [NAME]
    tried(f"{kills} SIGKILLs at random times: 0 files lost; {left} left a temporary, all removed")


def test_processes_that_write_one_file(tmp_path: Path, draws: Any) -> None:
    """None removes the temporary of another that lives, and a reader sees whole files only."""
    path = tmp_path / NAME
    whole, times = [bytes([k]) * 10_000 for k in range(4)], draws(50, 100, 200)
    write_atomically(path, whole[0])

    def write_often(some: bytes) -> None:
        for _ in range(times):
            write_atomically(path, some)

    children = [started(partial(write_often, some)) for some in whole]
    while children:
        assert path.read_bytes() in whole
        child, status = os.waitpid(children[0], os.WNOHANG)
        if child:
            assert status == 0
            children.remove(child)
    assert os.listdir(tmp_path) == [NAME]


def test_the_temporary_of_a_living_writer_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, original = tmp_path / NAME, os.fsync
    reached, go_on = threading.Event(), threading.Event()

    def slow(handle: int) -> None:
        if threading.current_thread() is writer:
            reached.set()
            assert go_on.wait(60)
        original(handle)

    monkeypatch.setattr(os, "fsync", slow)
    writer = threading.Thread(target=write_atomically, args=(path, b"first"))
    writer.start()
    assert reached.wait(60)
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert len(os.listdir(tmp_path)) == 2
    go_on.set()
    writer.join()
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == [NAME]


@pytest.mark.parametrize("kept", [False, True])
def test_a_writer_whose_temporary_is_cleaned_before_it_is_locked_starts_again(
    kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = atomic.lock

    def lock(handle: int) -> bool | None:
        monkeypatch.setattr(atomic, "lock", original)
        (temporary,) = tmp_path.iterdir()
        temporary.unlink()
        return False if kept else original(handle)

    monkeypatch.setattr(atomic, "lock", lock)
    write_atomically(tmp_path / NAME, b"content")
    assert (tmp_path / NAME).read_bytes() == b"content"
    assert os.listdir(tmp_path) == [NAME]


@pytest.mark.parametrize("where", ["no locks", "Windows"])
def test_without_locks_nothing_is_removed_and_nothing_fails(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "Windows":
        monkeypatch.setattr(atomic, "_RENAMES_OPEN_FILES", False)
    else:
        monkeypatch.setattr(atomic, "lock", lambda handle: None)
    (tmp_path / STALE).write_bytes(b"half a file")
    write_atomically(tmp_path / NAME, b"content")
    assert (tmp_path / NAME).read_bytes() == b"content"
    assert sorted(os.listdir(tmp_path)) == [STALE, NAME]


def test_only_temporaries_of_that_name_are_removed(tmp_path: Path) -> None:
    others = {f".best.{STALE[1:]}", f"{STALE}.tmp", STALE.replace("0", "x"), STALE[1:], "x.tmp"}
    for name in others | {STALE}:
        (tmp_path / name).write_bytes(b"")
    write_atomically(tmp_path / NAME, b"content")
    assert set(os.listdir(tmp_path)) == others | {NAME}


def test_writes_that_take_less_than_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: original(handle, bytes(data[:7])))
    write_atomically(tmp_path / NAME, bytes(range(256)))
    assert (tmp_path / NAME).read_bytes() == bytes(range(256))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, np.frombuffer])
def test_content_is_not_copied(kind: Any, tmp_path: Path) -> None:
    size = 2**24
    content = kind(bytes(size))
    tracemalloc.start()
    try:
        write_atomically(tmp_path / NAME, content)
        assert tracemalloc.get_traced_memory()[1] < size / 16
    finally:
        tracemalloc.stop()
    assert (tmp_path / NAME).read_bytes() == bytes(size)


def test_the_umask_of_other_threads_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "umask")  # calling it would fail
    write_atomically(tmp_path / NAME, b"content")
    assert (tmp_path / NAME).read_bytes() == b"content"


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(IsADirectoryError, match=f"directory: '{tmp_path / NAME}'"):
        write_atomically(tmp_path / NAME, b"content")
    assert os.listdir(tmp_path) == [NAME]


def test_a_file_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=f"'{tmp_path / 'file' / 'runs' / NAME}'"):
        write_atomically(tmp_path / "file" / "runs" / NAME, b"content")


def test_a_full_device(tmp_path: Path) -> None:
    """By a link, so that no mistake replaces the machine's own."""
    (tmp_path / NAME).symlink_to("/dev/full")
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / NAME}'"):
        model(0).save(tmp_path / NAME)
    assert os.listdir(tmp_path) == [NAME]
    assert stat.S_ISCHR((tmp_path / NAME).stat().st_mode)


def test_a_pipe_is_written_to_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    received: list[bytes] = []
    read = (tmp_path / NAME).read_bytes
    reader = threading.Thread(target=lambda: received.append(read()), daemon=True)
    reader.start()
    write_atomically(tmp_path / NAME, content())
    reader.join(10)
    assert received == [content()]
    assert os.listdir(tmp_path) == [NAME]
