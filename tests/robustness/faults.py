"""Make the n-th call on files in a folder fail, or kill the process there.

``io.open`` and what builds on it go through the same calls of ``os`` here, by Python's own
``_pyio``: so a read or write error in the middle of an open file is one of the calls, too.
"""

import _pyio
import builtins
import contextlib
import errno
import fcntl
import io
import math
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

ERRORS = (errno.ENOSPC, errno.EACCES, errno.EIO)
KILL = "kill"
"""In the place of an error number: SIGKILL, which nothing can catch."""

INTERRUPT = "interrupt"
"""Ctrl-C at that very call."""

FULL = "full"
"""From that call on the disk is full: it takes no more bytes and no new folder."""

BY_PATH = ("open", "replace", "rename", "mkdir", "rmdir", "unlink", "remove", "stat", "lstat")
BY_PATH += ("scandir", "listdir", "chmod", "link", "utime", "truncate")
BY_HANDLE = ("read", "readinto", "write", "fsync", "close", "ftruncate")


class Faults:
    """Counts calls and makes one of them fail; ``calls`` has what was called, and on what."""

    def __init__(self, n: int | None, fault: Any, within: Path) -> None:
        self.calls: list[str] = []
        self._n, self._fault, self._folder = n, fault, os.fspath(within)
        self._handles: dict[int, str] = {}

    def by_path(self, name: str) -> Callable[..., Any]:
        """``os.name``, whose first argument is a path."""
        original = getattr(os, name)

        def call(path: Any = ".", *args: Any, **options: Any) -> Any:
            where = self._inside(path)
            if where is not None and self._is_due(name, where):
                to = [None, os.fspath(args[0])] if name in ("replace", "rename", "link") else []
                raise self._error(os.fspath(path), *to)
            result = original(path, *args, **options)
            if where is not None and name == "open":
                self._handles[result] = where
            return result

        return call

    def by_handle(self, name: str, module: Any = os) -> Callable[..., Any]:
        """``os.name``, whose first argument is a handle."""
        original = getattr(module, name)

        def call(handle: int, *args: Any) -> Any:
            where = self._handles.get(handle)
            if where is not None and self._is_due(name, where):
                if name == "write":  # a full disk takes the first part
                    original(handle, bytes(args[0])[: len(args[0]) // 2])
                if name == "close":  # as the system does: the handle is gone all the same
                    original(handle)
                raise self._error()
            if name == "close":
                self._handles.pop(handle, None)
            return original(handle, *args)

        return call

    def _inside(self, path: Any) -> str | None:
        if isinstance(path, int):
            return None
        found = os.path.abspath(os.fsdecode(path))
        return found if (found + os.sep).startswith(self._folder + os.sep) else None

    def _is_due(self, name: str, where: str) -> bool:
        self.calls.append(f"{name} {os.path.relpath(where, self._folder)}")
        if self._fault == FULL:
            return name in ("write", "mkdir") and len(self.calls) >= (self._n or math.inf)
        return len(self.calls) == self._n

    def _error(self, *names: Any) -> BaseException:
        if self._fault == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fault == INTERRUPT:
            return KeyboardInterrupt()
        number = errno.ENOSPC if self._fault == FULL else self._fault
        return OSError(number, os.strerror(number), *names)


@contextlib.contextmanager
def failing(n: int | None, fault: Any, within: Path) -> Iterator[list[str]]:
    """Let the n-th call on files in a folder fail; None only counts.

    Parameters
    ----------
    n : int or None
        From 1. Half of a failing write is written.
    fault : int, FULL, INTERRUPT or KILL
        Error number, such as ``errno.ENOSPC``.
    within : Path
        Other folders work as ever.

    Yields
    ------
    list of str
        The calls made so far: fewer than n, and none has failed.
    """
    faults = Faults(n, fault, within)
    with contextlib.ExitStack() as stack:
        replacements: dict[str, Any] = {name: faults.by_path(name) for name in BY_PATH}
        replacements |= {name: faults.by_handle(name) for name in BY_HANDLE if hasattr(os, name)}
        for name, function in replacements.items():
            stack.enter_context(mock.patch.object(os, name, function))
        flock = faults.by_handle("flock", fcntl)
        stack.enter_context(mock.patch.object(fcntl, "flock", flock))
        original = io.open

        def opened(file: Any, *args: Any, **options: Any) -> Any:
            inside = faults._inside(file) is not None
            return (_pyio.open if inside else original)(file, *args, **options)

        for module in (io, builtins):
            stack.enter_context(mock.patch.object(module, "open", opened))
        yield faults.calls


def calls_made(action: Callable[[], Any], within: Path) -> list[str]:
    """Name the calls that an action makes on files in a folder."""
    with failing(None, None, within) as calls:
        action()
    return calls


def each_failing(
    fault: Any, within: Path, action: Callable[[], Any], every: int = 1
) -> Iterator[tuple[int, BaseException | None]]:
    """Let call after call fail, or every few, until an action gets through without.

    Yields
    ------
    n : int
    error : Exception or None
        What the action raised. None where the failure did not matter.
    """
    for n in count(1, every):
        caught = None
        with failing(n, fault, within) as calls:
            try:
                action()
            except (Exception, KeyboardInterrupt) as error:
                caught = error
        if len(calls) < n:
            assert caught is None, caught
            return
        yield n, caught


def each_killed(within: Path, action: Callable[[], Any], every: int = 1) -> Iterator[int]:
    """Kill a child process at call after call of an action, or every few, until one is through."""
    for n in count(1, every):
        status = in_child(action, n, within)
        if status == 0:
            return
        assert status == -signal.SIGKILL, f"the child ended with {status}"
        yield n


def in_child(action: Callable[[], Any], n: int | None, within: Path) -> int:
    """Do something in a child process that is killed at the n-th call; return its exit status."""

    def until_killed() -> None:
        with failing(n, KILL, within):
            action()

    return ended(started(until_killed))


def started(action: Callable[[], Any]) -> int:
    """Do something in a forked child, which then ends; return its process id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries with threads, which a child does not use
        child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    return child


def ended(child: int) -> int:
    """Wait for a child's end; return its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(child: int) -> None:
    """Kill a child and wait for its end."""
    os.kill(child, signal.SIGKILL)
    assert ended(child) == -signal.SIGKILL
