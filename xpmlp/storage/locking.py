"""Locks that the system frees when their process dies, so that a kill leaves nothing to clear up.

A folder is owned by whoever holds the lock on a hidden file in it. What the file says is for the
message to others alone; only the lock counts.
"""

import contextlib
import errno
import importlib
import os
import platform
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from xpmlp.errors import RunLockedError

LOCK = ".xpmlp.lock"
"""Name of the file that is locked."""

_OWNER = re.compile(r"process \d{1,10} on [\w.-]{1,64} since [\d-]{10} [\d:]{8}")
_ATTEMPTS = 100  # each fails only if an owner leaves at that very moment
_FAR = 2**30  # Windows locks bytes, which others then cannot read: one that is not there will do


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


fcntl, msvcrt = _module("fcntl"), _module("msvcrt")


def quietly(call: Callable[..., None], *arguments: Any) -> None:
    """Clean up: a failure of that must not hide the one before it, nor undo a success."""
    with contextlib.suppress(OSError):
        call(*arguments)


def lock(handle: int) -> bool | None:
    """Lock an open file without waiting, until the last handle of this opening is closed.

    Returns
    -------
    bool or None
        Whether it is now locked; None where there are no locks, as on some network file systems.
    """
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt is not None:
            os.lseek(handle, _FAR, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            return None
    except OSError as error:
        taken = (errno.EACCES, errno.EDEADLK) if fcntl is None else (errno.EAGAIN,)
        return False if error.errno in taken else None
    return True


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Own a folder: one process, and one thread of it, at a time.

    Where the file system has no locks, nothing keeps another out.

    Parameters
    ----------
    folder : Path
        An existing folder that can be written to.
    what : str
        What is done there, for the message: ``"a training"``.

    Raises
    ------
    RunLockedError
        If another owns it; the message names that process, if it said who it is.
    OSError
        If the folder is not there or cannot be written to.
    """
    path = folder / LOCK
    try:
        handle = _acquire(path)
    except OSError as error:
        error.add_note(f"{what} needs a folder that can be written to")
        raise
    if handle is None:
        raise RunLockedError(
            f"{folder}: {what} is under way there already, by {_owner(path)}. Wait for it, end it, "
            "or choose another folder"
        )
    owner = os.getpid()
    _held.add(handle)
    try:
        _sign(handle)
        yield
    finally:
        if os.getpid() == owner:  # a forked child may come by here too
            _held.remove(handle)
            try:
                quietly(os.unlink, path)  # while it is locked, or it would be the next owner's
            finally:
                quietly(os.close, handle)


def _acquire(path: Path) -> int | None:
    """Return the handle of the locked file; None if another holds it."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    for _ in range(_ATTEMPTS):
        with contextlib.ExitStack() as cleanup:
            handle = os.open(path, flags, 0o666)
            cleanup.callback(quietly, os.close, handle)
            taken = lock(handle)
            # No locks here: going on unguarded is better than not at all.
            if taken is None or (taken and _is_at(handle, path)):
                cleanup.pop_all()
                return handle
            if taken is False:
                break
    return None


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file still has its name: its last owner removes it while others open it."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _sign(handle: int) -> None:
    """Say in the file whose it is, unless the disk is full: the lock holds without it."""
    since = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, f"process {os.getpid()} on {platform.node()} since {since}".encode())


def _owner(path: Path) -> str:
    """Return what the owner wrote, if it reads like that."""
    try:
        with open(path, "rb") as file:
            text = file.read(200).decode(errors="replace")
    except OSError:
        text = ""
    return text if _OWNER.fullmatch(text) else "another process"


_held: set[int] = set()
"""Handles of the locks of this process."""


def _let_go() -> None:
    """In a forked child: the lock is the parent's, and ends with it."""
    while _held:
        quietly(os.close, _held.pop())


with contextlib.suppress(AttributeError):  # Windows does not fork
    os.register_at_fork(after_in_child=_let_go)
