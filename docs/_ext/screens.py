"""Pictures of the page of ``xpmlp play``, made in a browser as the site is built.

A fence ``{screen} first-visit`` shows the page wide and narrow, light or dark as the site is. The
text inside says what can be seen. Without a browser the site says so in the pictures' place;
``XPMLP_BROWSER=1`` makes that an error.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

HERE = Path(__file__).parent
PICTURES = HERE.parent / "_build" / "screens"


def why_not() -> str | None:
    """Why there can be no pictures; None if there can."""
    if importlib.util.find_spec("playwright") is None:
        return "playwright is not installed"
    if not (os.environ.get("CHROMIUM") or shutil.which("chromium")):
        return "there is no Chromium"
    return None


def make(app: Sphinx) -> None:
    """Take the pictures, before the pages that show them are read."""
    shutil.rmtree(PICTURES, ignore_errors=True)
    if reason := why_not():
        if os.environ.get("XPMLP_BROWSER") == "1":
            raise ExtensionError(f"no pictures of the page: {reason}")
        return
    PICTURES.mkdir(parents=True)
    command = [sys.executable, str(HERE / "photograph.py"), str(PICTURES)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise ExtensionError(f"no pictures of the page:\n{ran.stdout}{ran.stderr}")


class Screen(Directive):
    """A picture of the page."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return four pictures, of which a reader sees two."""
        name, text = self.arguments[0], " ".join(self.content)
        if not PICTURES.exists():
            return [nodes.paragraph("", "", nodes.emphasis("", f"Not pictured here: {text}"))]
        shown: Any = nodes.container(classes=["screen"])
        for scheme in ("light", "dark"):
            for width in (1280, 390):
                path = f"/_build/screens/{name}-{scheme}-{width}.png"
                classes = [f"only-{scheme}", f"w{width}"]
                alt = text if width == 1280 else f"On a phone: {text}"
                image = nodes.image("", uri=path, alt=alt, classes=classes)
                shown += image
        return [shown]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register it."""
    app.connect("builder-inited", make)
    app.add_directive("screen", Screen)
    return {"parallel_read_safe": True}
