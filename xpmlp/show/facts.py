"""Objects in a few lines: aligned text for a terminal, tables for a notebook."""

from collections.abc import Sequence
from html import escape

from xpmlp.errors import short

Rows = Sequence[Sequence[str]]


def as_text(title: str, rows: Rows) -> str:
    """Return the title, and below it the rows in aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([title, *(f"  {line}".rstrip() for line in lines)])


def as_html(title: str, *tables: Rows) -> str:
    """Return the title and tables as HTML; the first cell of a row is its head.

    It has no colors of its own, so that it follows a light or dark page.
    """
    style = 'style="text-align: left; padding: 0.1em 1em 0.1em 0"'
    parts = [f"<div><strong>{escape(title)}</strong>"]
    for rows in tables:
        lines = []
        for head, *cells in rows:
            cells = [f"<td {style}>{escape(cell)}</td>" for cell in cells]
            first = f'<th scope="row" {style}>{escape(head)}</th>' if head else "<td></td>"
            lines.append(f"<tr>{first}{''.join(cells)}</tr>")
        parts.append(f"<table>{''.join(lines)}</table>")
    return "\n".join([*parts, "</div>"])


def listed(names: Sequence[str], most: int = 6) -> str:
    """Join names by commas, the first and the last if there are many.

    >>> listed([str(k) for k in range(10)])
    '0, 1, 2, …, 9'
    """
    some = list(names) if len(names) <= most else [*names[:3], "…", names[-1]]
    return ", ".join(short(name, 40) for name in some)
