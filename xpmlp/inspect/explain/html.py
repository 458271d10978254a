"""An explanation as one HTML page that loads nothing: the network drawn, then every value."""

from html import escape
from importlib.resources import files

import numpy as np

from xpmlp.inspect.explain.contents import Contents, Quantity, Section
from xpmlp.inspect.explain.drawing import network
from xpmlp.inspect.explain.notation import formatter, markup


def page(explanation: Contents) -> str:
    """Return the page."""
    title = escape(explanation.title)
    style = files("xpmlp.inspect.explain").joinpath("page.css").read_text(encoding="utf-8")
    notes = "\n".join(f"<p>{escape(note)}</p>" for note in explanation.notes)
    walk = "\n".join(_section(section) for section in explanation.sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{_drawings(explanation)}
<details class="notes" open><summary>What is shown</summary>
{notes}
</details>
{walk}
</main>
</body>
</html>
"""


def _drawings(explanation: Contents) -> str:
    first = " (first example)" if explanation["X"].shape[0] > 1 else ""
    captions = (
        "<b>Forward</b>: lines are weights W, circles the values of the units",
        "<b>Backward</b>: lines are dLoss/dW, circles dLoss/d of the units",
    )
    figures = [
        f'<figure><figcaption>{caption}{first}</figcaption><div class="scroll">'
        f"{network(explanation, gradients)}</div></figure>"
        for caption, gradients in zip(captions, (False, True), strict=True)
    ]
    key = (
        '<p class="key"><span class="pos">positive</span> <span class="neg">negative</span> '
        "wider lines are larger numbers</p>"
    )
    return f'<div class="figures">{"".join(figures)}</div>{key}'


def _section(section: Section) -> str:
    rules = "".join(f'<p class="rule">{markup(rule)}</p>' for rule in section.chain)
    body = "\n".join(_quantity(quantity) for quantity in section.quantities)
    return f"<section>\n<h2>{escape(section.title)}</h2>\n{rules}\n{body}\n</section>"


def _quantity(q: Quantity) -> str:
    shape = f'<span class="shape">{q.shape}</span>' if q.shape else ""
    note = f'<span class="note">{escape(q.note)}</span>' if q.note else ""
    if q.difference is None:
        numbers = table(q.values)
    else:
        pair = [("gradient", q.values), ("finite difference", q.difference)]
        numbers = "".join(
            f'<div><p class="label">{label}</p>{table(values)}</div>' for label, values in pair
        )
        numbers += f'<p class="label good">largest difference {q.error:.1e}</p>'
    head = f'<span class="formula">{markup(q.text)}</span>{note}{shape}'
    return f'<article><div class="head">{head}</div><div class="numbers">{numbers}</div></article>'


def table(values: np.ndarray) -> str:
    """Write an array as a table; one for each example where there are three axes."""
    if values.ndim > 2:
        return "".join(table(one) for one in values)
    write = formatter(values)
    rows = "".join(
        "<tr>" + "".join(f"<td>{write(v).replace('-', '−')}</td>" for v in row) + "</tr>"
        for row in np.atleast_2d(values)
    )
    kind = ' class="matrix"' if values.ndim else ""
    return f'<div class="scroll"><table{kind}>{rows}</table></div>'
