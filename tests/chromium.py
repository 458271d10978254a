"""Chromium without a window, and the page of ``xpmlp play`` in it."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LIMIT = 60.0
"""Seconds that anything may take: tests wait for conditions, never for durations."""

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
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


def in_page(page, what):
    """The value of an expression in which ``run`` is the page's run."""
    # The content security policy forbids to make code of texts, but not to import the page's own.
    return page.evaluate(
        f"async () => {{ const {{ run }} = await import('/static/js/run.js'); return {what}; }}"
    )


def fact(page, name):
    return page.text_content(f"#fact-{name}")


def network(page):
    return in_page(page, "run.frame && run.state.sizes")


def settings(page):
    return in_page(page, "run.settings")


def status(page, wanted):
    until(lambda: in_page(page, "run.frame?.status") == wanted, f"status {wanted}")


def error(page):
    return page.text_content("#error") if page.is_visible("#error") else ""


def pause(page):
    until(lambda: in_page(page, "run.frame && run.drawn"), "a frame")
    if page.text_content("#run") == "Pause":
        page.click("#run")
    until(lambda: in_page(page, "run.frame?.status") in ("paused", "done", "failed"), "a pause")


def start(page, **wanted):
    """Start with settings as a link has them, and stand still."""
    page.evaluate(
        "hash => { location.hash = hash; }", "&".join(f"{k}={v}" for k, v in wanted.items())
    )
    until(lambda: all(shown(settings(page)[k]) == v for k, v in wanted.items()), f"{wanted}")
    pause(page)


def shown(value):
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def download(page, button):
    with page.expect_download() as found:
        page.click(button)
    return found.value, Path(found.value.path()).read_bytes()


def draw(page, *lines):
    """Draw lines on the pad, in parts of its width."""
    box = page.locator("#pad").bounding_box()
    for (x, y), *more in lines:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.mouse.down()
        for x, y in more:
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=6)
        page.mouse.up()


def explained(page):
    return in_page(
        page,
        "(await (await fetch('/api/explain', {method: 'POST', body: '{\"row\": 0}',"
        " headers: {'Content-Type': 'application/json'}})).json())",
    )


def numbers(page):
    """The rows of the table, as numbers."""
    rows = page.evaluate(
        "() => [...document.querySelectorAll('#why tbody tr')].map((tr) =>"
        " [...tr.children].map((td) => td.textContent))"
    )
    return [
        [row[0], *(float(c.replace("−", "-").replace(",", "")) for c in row[1:])] for row in rows
    ]


def blameless(page):
    assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
    if axe := os.environ.get("XPMLP_AXE"):
        page.evaluate(Path(axe).read_text(encoding="utf-8"))
        found = page.evaluate("async () => (await axe.run()).violations")
        assert [(v["help"], v["nodes"][0]["html"][:200]) for v in found] == []
