"""How pictures look and are saved: matplotlib's object interface, without global state."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xpmlp.errors import require
from xpmlp.storage.atomic import write_atomically

BLUE, ORANGE, GREY, RED = "#1f6fb4", "#e2711d", "#5f6770", "#c0392b"
STYLE = {
    "font.size": 10,
    "figure.titlesize": 13,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#9aa2aa",
    "axes.labelcolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ec",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
    "text.parse_math": False,  # a class may be called "$5"
}
DPI = 110
TITLE = {"x": 0.012, "ha": "left"}
"""Where the title of a whole figure is."""


def matplotlib(module: str = "") -> Any:
    """Import a module of matplotlib, ``".figure"`` for example; raise if it is not installed."""
    return require(f"matplotlib{module}", extra="cli", purpose="drawing pictures")


@contextmanager
def style() -> Iterator[None]:
    """Draw in xpmlp's style inside the block; matplotlib also looks it up when saving."""
    with matplotlib().rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box is drawn instead
        yield


def blank(width: float, height: float) -> Any:
    """Return an empty matplotlib Figure, its size in inches."""
    size = (width, height)
    return matplotlib(".figure").Figure(figsize=size, dpi=DPI, layout="constrained")


@contextmanager
def drawing(path: Path, width: float, height: float, title: str = "") -> Iterator[Any]:
    """Yield a Figure to draw on, and save it as a PNG unless the block raises."""
    with style():
        figure = blank(width, height)
        if title:
            figure.suptitle(title, **TITLE)
        yield figure
        save(figure, path)


def save(figure: Any, path: Path) -> None:
    """Write a Figure as a PNG file, completely or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(path, content.getvalue())
