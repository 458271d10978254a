"""One way to draw and save a picture, shared by the tutorial's modules."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xpmlp.errors import require
from xpmlp.inspect.plots import DPI, STYLE
from xpmlp.storage.atomic import write_atomically


@contextmanager
def style() -> Iterator[None]:
    """Draw in xpmlp's style inside the block; it is looked up when saving, too."""
    with require("matplotlib", extra="cli", purpose="drawing pictures").rc_context(STYLE):
        yield


def blank(width: float, height: float) -> Any:
    """Return an empty matplotlib Figure, its size in inches."""
    figures = require("matplotlib.figure", extra="cli", purpose="drawing pictures")
    return figures.Figure(figsize=(width, height), dpi=DPI, layout="constrained")


@contextmanager
def drawing(path: Path, width: float, height: float) -> Iterator[Any]:
    """Give a Figure to draw on, and save it as a PNG when the block ends well."""
    with style():
        figure = blank(width, height)
        yield figure
        save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a Figure as a PNG file, whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(path, content.getvalue())
