"""Who uses the page: a session for each browser, with its run, its table and its digits."""

import re
import secrets
import shutil
import tempfile
import time
from pathlib import Path
from threading import Lock
from typing import Any

from xpmlp.errors import XpmlpError
from xpmlp.play.frames import Viewer
from xpmlp.play.reader import Reader
from xpmlp.play.run import PATIENCE, Run
from xpmlp.play.settings import Settings

MOST = 32
"""Sessions at the same time."""

IDLE = 60.0
"""Seconds after which a session may make place for a new one."""


class BusyError(XpmlpError):
    """There are too many sessions."""


class Session:
    """What one browser does; its tabs share it.

    Attributes
    ----------
    run : Run or None
    viewer : Viewer or None
    table : Path or None
        The file that was sent, and in ``about_table`` what is in it.
    digits : Reader
    lock : Lock
        Held while the run is replaced.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self.patience, self.lock = patience, Lock()
        self.run: Run | None = None
        self.viewer: Viewer | None = None
        self.table: Path | None = None
        self.about_table: dict[str, Any] | None = None
        self.digits = Reader()
        self.seen = time.monotonic()
        self._folder: Path | None = None

    def start(self, settings: Settings) -> Run:
        """Begin a new run; the one before ends.

        Raises
        ------
        XpmlpError
            If the settings cannot work; the run before goes on.
        """
        with self.lock:
            made = Run(settings, self.table, patience=self.patience)
            if self.run is not None:
                self.run.leave()
            self.viewer, self.run = Viewer(made), made
            return made

    def store(self, name: str, content: bytes) -> Path:
        """Write a file that was sent to the session's own folder, and return where it is."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="xpmlp-play-"))
        stem, dot, suffix = name.rpartition(".")
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:50] or "file"
        path = self._folder / f"{stem}{dot}{re.sub(r'[^a-z]', '', suffix.lower())[:10]}"
        path.write_bytes(content)
        return path

    def close(self) -> None:
        """End the run, and remove the files."""
        if self.run is not None:
            self.run.leave()
        self.digits.leave()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def message(self, error: BaseException) -> str:
        """Return an error in one line, without the folder of the session."""
        text = " ".join(str(error).split()) or type(error).__name__
        return text.replace(f"{self._folder}/", "") if self._folder else text


class Sessions:
    """All sessions, by the token in the browser's cookie."""

    def __init__(self, patience: float = PATIENCE, most: int = MOST, idle: float = IDLE) -> None:
        self.patience, self.most, self.idle = patience, most, idle
        self._all: dict[str, Session] = {}
        self._lock = Lock()

    def find(self, token: str | None) -> Session | None:
        """Return the session of a token; None for one that was not given out here."""
        with self._lock:
            found = self._all.get(token or "")
            if found is not None:
                found.seen = time.monotonic()
            return found

    def make(self) -> tuple[str, Session]:
        """Return a new session with its token; one that has long been idle makes place for it.

        Raises
        ------
        BusyError
            If there is no place.
        """
        with self._lock:
            if len(self._all) >= self.most:
                token = min(self._all, key=lambda each: self._all[each].seen)
                if time.monotonic() - self._all[token].seen < self.idle:
                    raise BusyError(
                        f"{self.most} browsers use this page already; close one, or wait a minute"
                    )
                self._all.pop(token).close()
            token = secrets.token_urlsafe(32)
            self._all[token] = made = Session(self.patience)
            return token, made

    def close(self) -> None:
        """End all runs."""
        with self._lock:
            for session in self._all.values():
                session.close()
            self._all.clear()
