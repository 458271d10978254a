"""Chromium without a window, and the page of ``xpmlp play`` in it."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

LIMIT = 60.0
"""Seconds that anything may take: tests wait for conditions, never for durations."""

QUIET = ("background-networking", "component-update", "sync", "gpu", "quic")
"""What would look for servers that a test does not need."""


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """The address of ``xpmlp play``, started as a user starts it, on any free port."""
    command = [sys.executable, "-m", "xpmlp", "play", "--no-browser", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if found := re.search(r"http://[\w.]+:\d+/", line):
                    yield found[0]
                    break
            else:
                raise AssertionError(f"xpmlp play ended: {said}")
        finally:
            process.terminate()


@contextlib.contextmanager
def launched() -> Iterator[Any]:
    """Chromium, that of ``CHROMIUM`` or the one on the path, or else playwright's."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            args=["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET)],
        )
        yield browser
        browser.close()


def until(holds: Callable[[], Any], what: str) -> Any:
    """Wait until something holds, and return it."""
    end = time.monotonic() + LIMIT
    while not (found := holds()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {LIMIT:g} seconds: {what}")
        time.sleep(0.02)
    return found
