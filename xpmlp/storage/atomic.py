"""Files that are written completely or not at all.

The content goes to a temporary file in the same folder, is flushed to the disk, and gets its name
in one step. A process that is killed leaves its temporary file behind; the next write of that name
removes it, unless a writer that still runs holds the lock on it.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
from pathlib import Path

from xpmlp.errors import naming
from xpmlp.storage.locking import lock, quietly

_RENAMES_OPEN_FILES = os.name != "nt"
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def write_atomically(path: Path, content: bytes | bytearray | memoryview) -> None:
    """Write a file so that a crash leaves the old or the new content, never a part.

    Permissions are a new file's, by the umask. A symbolic link is replaced, not followed; a device
    or pipe is written to directly. Missing folders are made. The content is not copied.

    Raises
    ------
    OSError
        If it cannot be written, with the file's name; the old file is unchanged, and no temporary
        file is left.
    """
    data = memoryview(content).cast("B")
    with naming(path):
        if not path.name:  # the current folder, or the root
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if _is_device(path):
            _write_through(path, data)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(path.parent, path.name)
        _replace(path, data)
    # The file is written; some file systems cannot flush folders, and some folders are not ours.
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _is_device(path: Path) -> bool:
    """Whether it is a device or pipe such as ``/dev/stdout``, which must not be replaced."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _write_through(path: Path, data: memoryview) -> None:
    handle = os.open(path, os.O_WRONLY | _BINARY)
    try:
        _write_all(handle, data)
    finally:
        os.close(handle)


def _replace(path: Path, data: memoryview) -> None:
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        with contextlib.ExitStack() as cleanup:
            handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
            cleanup.callback(quietly, os.unlink, temporary)  # after success it is gone
            opened = cleanup.enter_context(contextlib.ExitStack())
            opened.callback(quietly, os.close, handle)  # after the fsync nothing can be lost
            # Before it is locked, another writer may remove it as a dead one's.
            if lock(handle) is False or not os.path.exists(temporary):
                continue
            _write_all(handle, data)
            os.fsync(handle)
            if not _RENAMES_OPEN_FILES:
                opened.close()
            os.replace(temporary, path)  # while the lock is held
            return


def _write_all(handle: int, data: memoryview) -> None:
    """Write everything: the system may write less at a time."""
    while data:
        data = data[os.write(handle, data) :]


def remove_stale(folder: Path, name: str | None = None) -> None:
    """Remove temporary files that no writer holds, of one file or of all; ignore failures."""
    if not _RENAMES_OPEN_FILES:
        return  # there a writer releases its lock a moment too early
    ours = re.compile(rf"\.{re.escape(name) if name else '.+'}\.[0-9a-f]{{16}}\.tmp")
    with contextlib.suppress(OSError):
        for found in filter(ours.fullmatch, os.listdir(folder)):
            with contextlib.suppress(OSError):
                handle = os.open(folder / found, os.O_RDWR | _NOFOLLOW)
                try:
                    if lock(handle):
                        os.unlink(folder / found)
                finally:
                    os.close(handle)
