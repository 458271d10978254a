"""Paths that people give: of a home folder, and of what may be read to its end.

A pipe would wait for ever, and ``/dev/zero`` never end.
"""

import io
import os
import stat
from pathlib import Path

from xpmlp.errors import InvalidValueError, XpmlpError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def expanded(path: str | os.PathLike[str], what: str) -> Path:
    """Return a path with ``~`` as the home folder.

    Parameters
    ----------
    path : path-like
    what : str
        Which argument it is, for the message.

    Raises
    ------
    InvalidValueError
        If it is empty, which would be the current folder, or begins with a home that nobody has.
    """
    if not os.fspath(path):
        raise InvalidValueError(f"{what}: found an empty name; expected that of a file or folder")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InvalidValueError(
            f"{what}: found {os.fspath(path)!r}; there is no home folder of that name here. If it "
            "is meant as it is, put ./ before it"
        ) from error


def open_regular(path: str | os.PathLike[str], error: type[XpmlpError]) -> io.BufferedReader:
    """Open a regular file to read its bytes.

    Parameters
    ----------
    path : path-like
    error : type
        What to raise for anything else, which is not even opened.

    Raises
    ------
    XpmlpError
        The ``error`` given, for a folder, a pipe, a socket or a device.
    OSError
        If there is no such file, or it cannot be opened.
    """
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind != stat.S_IFREG:
        found = _KINDS.get(kind, "something else")
        raise error(f"{os.fspath(path)}: found {found}, expected a regular file")
    return open(path, "rb")
