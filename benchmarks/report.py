"""Tables as plain text that fits a terminal: lists of lines."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WIDTH = 80


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Align columns, the first to the left and the others to the right; None is a dash."""
    cells = [[text_of(value) for value in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for first, *others in cells:
        right = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *right]).rstrip())
    return lines


def text_of(value: Any) -> str:
    """Return a number with the three or four figures that count."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    for limit, places in ((1, 3), (10, 2), (100, 1)):
        if abs(value) < limit:
            return f"{value:.{places}f}"
    return f"{value:,.0f}"


def not_there(left_out: Mapping[str, str]) -> list[str]:
    """Return a line for each that was left out, with the reason."""
    return [f"left out: {name}: {why}"[:WIDTH] for name, why in left_out.items()]


def say(lines: Iterable[str]) -> None:
    """Print lines, and an empty one after them."""
    print(*lines, "", sep="\n", flush=True)
