"""An explanation as text for a terminal."""

import textwrap
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from shutil import get_terminal_size
from typing import TextIO

import numpy as np

from xpmlp.inspect.explain.contents import Contents, Quantity
from xpmlp.inspect.explain.notation import EDGE, MOST, formatter, shown

WIDTH = 80
INDENT = "    "

Line = tuple[str, str]
"""A line and its style, as rich names it."""


def plain(explanation: Contents, width: int = WIDTH) -> str:
    """Return the lines without styles."""
    return "\n".join(text for text, _ in lines(explanation, width)) + "\n"


def show(explanation: Contents, stream: TextIO) -> None:
    """Print with colors on a terminal if rich is installed, as plain text otherwise."""
    if stream.isatty():
        try:
            from rich.console import Console
            from rich.text import Text
        except ImportError:
            pass
        else:
            console = Console(file=stream, highlight=False)
            for text, style in lines(explanation, min(console.width, 100)):
                console.print(Text(text, style), soft_wrap=True)
            return
    stream.write(plain(explanation, min(get_terminal_size().columns, WIDTH)))


def lines(explanation: Contents, width: int = WIDTH) -> Iterator[Line]:
    """Yield every line with its style."""
    yield from _styled("bold", textwrap.wrap(explanation.title, width))
    for note in explanation.notes:
        yield from _styled("dim", textwrap.wrap(note, width))
    for section in explanation.sections:
        yield "", ""
        yield f"── {section.title} ".ljust(width, "─"), "bold cyan"
        for rule in section.chain:
            yield from _styled("magenta", _wrapped(rule, width))
        for quantity in section.quantities:
            yield "", ""
            yield from _quantity(quantity, width)


def _quantity(q: Quantity, width: int) -> Iterator[Line]:
    shape = f" {q.shape}" if q.shape else ""
    given = q.note if q.note and not q.formula else ""
    head = f"{q.text}: {given}" if given else q.text
    first, *more = _wrapped(head, width - len(shape))
    yield f"{first:<{width - len(shape)}}{shape}".rstrip(), "bold"
    yield from _styled("bold", more)
    if q.note and not given:
        room = width - len(INDENT)
        yield from _styled("dim", (INDENT + line for line in textwrap.wrap(q.note, room)))
    if q.difference is None:
        yield from _styled(
            "", (f"{INDENT}{row}" for row in matrix(q.values, width - len(INDENT), q.full))
        )
        return
    yield from _pair(q, width)
    yield f"{INDENT}largest difference: {q.error:.1e}", "green"


def _pair(q: Quantity, width: int) -> Iterator[Line]:
    """Put gradient and finite difference side by side if they fit, else below each other."""
    assert q.difference is not None
    room = width - len(INDENT)
    blocks = [
        ["gradient", *matrix(q.values, room, q.full)],
        ["finite difference", *matrix(q.difference, room, q.full)],
    ]
    left = max(map(len, blocks[0])) + 3
    if left + max(map(len, blocks[1])) <= room:
        rows = [f"{a:<{left}}{b}" for a, b in zip_longest(*blocks, fillvalue="")]
    else:
        rows = blocks[0] + blocks[1]
    for row in rows:
        yield f"{INDENT}{row}", "dim" if row.startswith(("gradient", "finite")) else ""


def matrix(values: np.ndarray, width: int, full: bool = False) -> list[str]:
    """Write an array in aligned columns; long rows take several lines, large arrays dots."""
    few = values[shown(values.shape, full)]
    write = formatter(few)
    room = max(len(write(value)) for value in few.ravel())
    written = np.array2string(
        values,
        max_line_width=width,
        threshold=values.size + 1 if full else MOST,
        edgeitems=EDGE,
        formatter={"all": lambda value: f"{write(value):>{room}}"},  # type: ignore[arg-type]
    )
    return [line.rstrip() for line in written.splitlines() if line.strip()]


def _styled(style: str, texts: Iterable[str]) -> Iterator[Line]:
    return ((text, style) for text in texts)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False
    )
