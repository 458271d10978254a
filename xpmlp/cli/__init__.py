"""The command line: ``xpmlp train``, ``evaluate``, ``predict`` and ``info``.

A thin layer over ``xpmlp.MLP``. A command is imported when it runs, so that ``xpmlp --help``
answers at once.
"""

import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import NoReturn, TextIO

from xpmlp.cli import environment
from xpmlp.cli.output import clean, wrapped
from xpmlp.cli.parser import parse
from xpmlp.errors import XpmlpError, naming


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default the process's.

    Returns
    -------
    int
        Exit status: the command's own, mostly 0; 2 for a user's mistake, 130 after Ctrl-C, 143
        after SIGTERM.

    Raises
    ------
    SystemExit
        After ``--help`` and ``--version``, and for arguments that cannot be parsed.
    """
    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # the terminal may lack letters of a class name
            stream.reconfigure(errors="backslashreplace")
    args = parse(argv)
    try:
        if getattr(args, "config", None) is not None:
            args = importlib.import_module("xpmlp.cli.config").with_file(args)
        environment.prepare(args)
        if environment.may_have_others() and _workers().is_left_to_first(args.command):
            return 0
        with _terminable(), _warnings():
            status: int | None = importlib.import_module(f"xpmlp.cli.{args.command}").run(args)
            with naming("standard output"):
                sys.stdout.flush()  # here, where a closed pipe can still be answered
    except BrokenPipeError:
        _discard(sys.stdout)
        return 141  # what a shell reports for a program that SIGPIPE ended
    except Terminated as error:
        return _report(error, "terminated", 143, args.debug)
    except KeyboardInterrupt as error:
        return _report(error, "interrupted", 130, args.debug)
    except (XpmlpError, OSError, MemoryError) as error:
        return _report(error, _message(error), 2, args.debug)
    return status or 0


class Terminated(KeyboardInterrupt):
    """SIGTERM, which by default ends the process without a message."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C, unless it has a handler already."""

    def terminate(number: int, frame: object) -> NoReturn:
        raise Terminated

    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _warnings() -> Iterator[None]:
    """Print the library's warnings in the form of the command line's errors."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("xpmlp: warning: %(message)s"))
    logger = logging.getLogger("xpmlp")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _open_closed() -> None:
    """Point streams closed at the start to nowhere: the next file opened would get their number."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115


def _discard(stream: TextIO) -> None:
    """Point a stream to nowhere, because Python flushes it once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _message(error: BaseException) -> str:
    if isinstance(error, XpmlpError):
        return str(error)
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error) or ("out of memory" if isinstance(error, MemoryError) else repr(error))


def _report(error: BaseException, message: str, status: int, debug: bool) -> int:
    """Print the error and its notes in one line; with --debug the traceback, too."""
    interrupted = isinstance(error, KeyboardInterrupt)
    who, several = "", environment.may_have_others()
    if several and (who := _workers().wait_for_first()) and interrupted:
        return status  # the first has said it, and may still be saving
    notes = [message, *getattr(error, "__notes__", [])]
    line = who + clean(" ".join(part.strip() for part in "; ".join(notes).splitlines()))
    try:
        if debug:
            import traceback

            traceback.print_exception(error)
        kind = "" if interrupted else "error: "
        print(wrapped(f"xpmlp: {kind}{line}", sys.stderr), file=sys.stderr)
    except OSError:
        _discard(sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # what is left in it would fail once more at exit, with another status
        _discard(sys.stdout)
    if several:
        _workers().end(status, interrupted)
    return status


def _workers() -> ModuleType:
    return importlib.import_module("xpmlp.cli.workers")
