"""An explanation as one HTML page that loads nothing: the network drawn, then every value."""

from html import escape
from importlib.resources import files

import numpy as np

from xpmlp.inspect.explain.contents import Contents, Quantity, Section
from xpmlp.inspect.explain.drawing import network
from xpmlp.inspect.explain.notation import EDGE, cells, markup


def page(explanation: Contents) -> str:
    """Return the page."""
    title = escape(explanation.title)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{_style()}</style>
</head>
<body class="xpmlp">
<main>
{_content(explanation, 1)}
</main>
</body>
</html>
"""


def fragment(explanation: Contents) -> str:
    """Return a part of a page, for a notebook; its style is for itself only."""
    content = _content(explanation, 3)
    return f'<style>\n{_style()}</style>\n<div class="xpmlp">\n{content}\n</div>'


def _style() -> str:
    return files("xpmlp.inspect.explain").joinpath("page.css").read_text(encoding="utf-8")


def _content(explanation: Contents, level: int) -> str:
    """Return title, drawings, notes and sections; the title is a heading of this level."""
    notes = "\n".join(f"<p>{escape(note)}</p>" for note in explanation.notes)
    walk = "\n".join(_section(section, level + 1) for section in explanation.sections)
    return f"""<h{level} class="title">{escape(explanation.title)}</h{level}>
{_drawings(explanation)}
<details class="notes" open><summary>What is shown</summary>
{notes}
</details>
{walk}"""


def _drawings(explanation: Contents) -> str:
    first = " (first example)" if explanation["X"].shape[0] > 1 else ""
    captions = (
        "<b>Forward</b>: lines are weights W, circles the values of the units",
        "<b>Backward</b>: lines are dLoss/dW, circles dLoss/d of the units",
    )
    figures = [
        f"<figure><figcaption>{caption}{first}</figcaption>"
        f"{network(explanation, gradients)}</figure>"
        for caption, gradients in zip(captions, (False, True), strict=True)
    ]
    key = (
        '<p class="key"><span class="pos">positive</span> <span class="neg">negative</span> '
        "wider lines are larger numbers</p>"
    )
    wide = " wide" * (len(explanation.columns) > 3 or any(c.units for c in explanation.columns))
    return f'<div class="figures{wide}">{"".join(figures)}</div>{key}'


def _section(section: Section, level: int) -> str:
    rules = "".join(f'<p class="rule">{markup(rule)}</p>' for rule in section.chain)
    body = "\n".join(_quantity(quantity) for quantity in section.quantities)
    head = f'<h{level} class="part">{escape(section.title)}</h{level}>'
    return f"<section>\n{head}\n{rules}\n{body}\n</section>"


def _quantity(q: Quantity) -> str:
    shape = f'<span class="shape">{q.shape}</span>' if q.shape else ""
    note = f'<span class="note">{escape(q.note)}</span>' if q.note else ""
    if q.difference is None:
        numbers = table(q.values, q.full)
    else:
        pair = [("gradient", q.values), ("finite difference", q.difference)]
        numbers = "".join(
            f'<div><p class="label">{label}</p>{table(values, q.full)}</div>'
            for label, values in pair
        )
        numbers += f'<p class="label good">largest difference {q.error:.1e}</p>'
    head = f'<span class="formula">{markup(q.text)}</span>{note}{shape}'
    return f'<article><div class="head">{head}</div><div class="numbers">{numbers}</div></article>'


def table(values: np.ndarray, full: bool = False) -> str:
    """Write an array as a table; one for each example where there are three axes.

    A row that is too wide continues below: all cells are as wide as the longest number.
    """
    if values.ndim > 2:
        few = values if full else values[: 2 * EDGE]
        return "".join(table(one, full) for one in few) + "<p>…</p>" * (len(few) < len(values))
    grid = cells(values, full, "…", lambda text: text.replace("-", "−"))
    rows = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in grid)
    width = max(len(cell) for row in grid for cell in row)
    kind = ' class="matrix"' if values.ndim else ""
    return f'<table{kind} style="--cell:{width}ch">{rows}</table>'
