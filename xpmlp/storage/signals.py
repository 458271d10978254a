"""Ctrl-C and SIGTERM during a training: noted at once, answered when a step is done and saved."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalWatcher:
    """Within the block the first signal is noted; a second one does what it would without.

    At the end of the block the one that was noted and not answered is; none is lost.
    Only in the main thread, where alone Python handles signals; what the process ignores, as one
    that was started with ``nohup`` ignores some, stays ignored.

    Parameters
    ----------
    tell : callable, optional
        Called with the first signal's number, from its handler: it should be brief.

    Attributes
    ----------
    caught : int or None
        The signal that was noted.
    """

    def __init__(self, tell: Callable[[int], None] | None = None) -> None:
        self.caught: int | None = None
        self._tell = tell
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> "SignalWatcher":
        if threading.current_thread() is not threading.main_thread():
            return self
        try:
            for number in SIGNALS:
                before = signal.getsignal(number)
                # None is a handler that Python has not set and could not set again.
                if before not in (signal.SIG_IGN, None):
                    self._before[number] = before
                    signal.signal(number, self._note)
        except BaseException:  # a signal that came while the other's handler was set
            self._let_go()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        self._let_go()  # first: what comes from here on is not noted any more
        if error is None:
            self.answer()
        elif isinstance(error, Exception):
            try:
                self.answer()
            except BaseException as interruption:
                interruption.add_note(f"before that: {error}")
                raise

    def _let_go(self) -> None:
        """Give the signals back, all of them also if one comes meanwhile."""
        before = dict(self._before)
        try:
            self._set(before)
        except BaseException:
            self._set(before)
            raise
        finally:
            self._before.clear()

    def _set(self, handlers: dict[int, Any]) -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def answer(self) -> None:
        """Do what the signal does without this block: mostly raise, or end the process."""
        if self.caught is not None:
            self._let_go()
            number, self.caught = self.caught, None
            outer = getattr(signal.getsignal(number), "__self__", None)
            signal.raise_signal(number)
            if isinstance(outer, SignalWatcher):  # of a training around this one: it has noted it
                raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked child, whom nothing here concerns
            self.caught = number
            self.answer()
            return
        again, self.caught = self.caught is not None, number
        if again:
            self.answer()
        elif self._tell is not None:
            with contextlib.suppress(Exception):  # saving is what counts
                self._tell(number)
