"""Locks that the system releases when their process ends, so that a kill leaves none behind.

Whoever holds the lock on a hidden file in a folder owns the folder. The content of the file is
only for messages.
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
_ATTEMPTS = 100  # each fails only if an owner leaves at that moment
_FAR = 2**30  # Windows locks bytes, and others cannot read these: lock one beyond the end


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


fcntl, msvcrt = _module("fcntl"), _module("msvcrt")


def quietly(call: Callable[..., None], *arguments: Any) -> None:
    """Call to clean up: an ``OSError`` must not hide an earlier error, nor undo a success."""
    with contextlib.suppress(OSError):
        call(*arguments)


def lock(handle: int) -> bool | None:
    """Lock an open file without waiting, until the last handle of this opening is closed.

    Returns whether it is locked; None if there are no locks, as on some network file systems.
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
    """Own an existing folder: one process, and one thread of it, at a time.

    `what` names what is done there, for messages: ``"a run"``. On file systems without locks
    others are not kept out.

    Raises
    ------
    RunLockedError
        If another owns it; the message names that process if it is known.
    OSError
        If the folder does not exist or cannot be written to.
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
        if os.getpid() == owner:  # a forked child may get here, too
            _held.remove(handle)
            try:
                quietly(os.unlink, path)  # while it is locked: later it may be the next owner's
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
            # None: without locks, working unprotected is better than not at all.
            if taken is None or (taken and _is_at(handle, path)):
                cleanup.pop_all()
                return handle
            if taken is False:
                break
    return None


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file still has its name: an owner that leaves removes it."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _sign(handle: int) -> None:
    """Write the owner to the file; if the disk is full, the lock holds without it."""
    since = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, f"process {os.getpid()} on {platform.node()} since {since}".encode())


def _owner(path: Path) -> str:
    """Return the owner as written in the file, if that is valid."""
    try:
        with open(path, "rb") as file:
            text = file.read(200).decode(errors="replace")
    except OSError:
        text = ""
    return text if _OWNER.fullmatch(text) else "another process"


_held: set[int] = set()
"""Handles of the locks of this process."""


def _close_all() -> None:
    """In a forked child, close the handles: the locks are the parent's."""
    while _held:
        quietly(os.close, _held.pop())


with contextlib.suppress(AttributeError):  # Windows does not fork
    os.register_at_fork(after_in_child=_close_all)
