"""Ctrl-C and SIGTERM during training: noted at once, answered after the step is saved."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalWatcher:
    """Within the block, note the first signal; a second one acts as it does without the block.

    A signal that was noted and not answered is answered at the end of the block. Works only in
    the main thread, the only one in which Python handles signals. Signals that the process
    ignores, as with ``nohup``, stay ignored.

    Parameters
    ----------
    tell : callable, optional
        Called with the first signal's number, from its handler, so it should be brief.

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
                # None: a handler that Python has not set and cannot restore.
                if before not in (signal.SIG_IGN, None):
                    self._before[number] = before
                    signal.signal(number, self._note)
        except BaseException:  # a signal came while the other's handler was set
            self._restore()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        self._restore()  # first: later signals are not noted
        if error is None:
            self.answer()
        elif isinstance(error, Exception):
            try:
                self.answer()
            except BaseException as interruption:
                interruption.add_note(f"before that: {error}")
                raise

    def _restore(self) -> None:
        """Restore all handlers, even if a signal comes meanwhile."""
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
        """Do what the noted signal does without this block: usually raise, or end the process."""
        if self.caught is not None:
            self._restore()
            number, self.caught = self.caught, None
            outer = getattr(signal.getsignal(number), "__self__", None)
            signal.raise_signal(number)
            if isinstance(outer, SignalWatcher):  # of an outer training run, which has noted it
                raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked child, which is not ours to watch
            self.caught = number
            self.answer()
            return
        again, self.caught = self.caught is not None, number
        if again:
            self.answer()
        elif self._tell is not None:
            with contextlib.suppress(Exception):  # saving is what counts
                self._tell(number)
