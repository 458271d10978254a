"""Paths that people give, and the cache folder."""

import io
import os
import stat
from pathlib import Path

from xpmlp.errors import InvalidValueError, XpmlpError, require

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def expanded(path: str | os.PathLike[str], what: str) -> Path:
    """Return a path with ``~`` as the home folder; ``what`` names the argument in messages.

    Raises
    ------
    InvalidValueError
        If it is empty, which would be the current folder, or there is no such home folder.
    """
    if not os.fspath(path):
        raise InvalidValueError(f"{what}: found an empty name; expected that of a file or folder")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InvalidValueError(
            f"{what}: found {os.fspath(path)!r}; there is no home folder of that name. For a file "
            "or folder of that name, put ./ before it"
        ) from error


def cache_folder() -> Path:
    """Return the user's cache folder: ``XPMLP_CACHE_DIR``, else the system's place for xpmlp.

    Raises
    ------
    MissingExtraError
        If the variable is not set and platformdirs is not installed.
    """
    if chosen := os.environ.get("XPMLP_CACHE_DIR"):
        return expanded(chosen, "XPMLP_CACHE_DIR")
    return Path(require("platformdirs", "cli", "finding the cache folder").user_cache_dir("xpmlp"))


def open_regular(path: str | os.PathLike[str], error: type[XpmlpError]) -> io.BufferedReader:
    """Open a regular file to read its bytes.

    Anything else (a pipe could block forever, ``/dev/zero`` never ends) is not opened: ``error``
    is raised. An ``OSError`` is as of ``open``.
    """
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind != stat.S_IFREG:
        found = _KINDS.get(kind, "something else")
        raise error(f"{os.fspath(path)}: found {found}, expected a regular file")
    return open(path, "rb")
