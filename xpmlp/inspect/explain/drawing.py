"""The network as an SVG drawing: units in columns, weights as lines."""

from collections.abc import Callable
from html import escape
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from xpmlp.inspect.explain.contents import Contents
from xpmlp.inspect.explain.notation import formatter

GAP, MARGIN, TOP = 150.0, 44.0, 28.0
"""Space between columns, at the sides, and for the columns' names, in units of the drawing."""

TALLEST, ROOMY, TIGHT = 640.0, 86.0, 9.0
"""Height that the units of a column share, and the bounds of the distance between two."""

AT = 0.72
"""Where on a line its number is: near the target, where lines from one source spread out."""

LARGEST = 25.0
"""Largest radius of a circle."""

LETTER = 11.0
"""Height of a number; closer lines have none."""


class _Place(NamedTuple):
    x: float
    y: float


def network(explanation: Contents, gradients: bool = False) -> str:
    """Return an ``<svg>`` of weights and the first example's values, or of their gradients.

    Lines and circles have the classes ``pos`` and ``neg`` by sign.
    """
    sizes = [explanation[column.values].shape[-1] for column in explanation.columns]
    step = min(ROOMY, max(TIGHT, TALLEST / max(sizes)))
    width = 2 * MARGIN + GAP * (len(sizes) - 1)
    radius = min(LARGEST, 0.42 * step)
    middle = TOP + radius + step * (max(sizes) - 1) / 2
    height = 2 * middle - TOP + 6
    places = [
        [_Place(MARGIN + GAP * k, middle + step * (i - (n - 1) / 2)) for i in range(n)]
        for k, n in enumerate(sizes)
    ]
    parts = [
        _lines(explanation, f"{'dLoss/d' if gradients else ''}W{k}", a, b, step)
        for k, (a, b) in enumerate(pairwise(places), start=1)
    ]
    parts += [_units(explanation, k, places[k], radius, gradients) for k in range(len(sizes))]
    what = "gradients" if gradients else "weights and values"
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" style="min-width:{0.85 * width:.0f}px" '
        f'role="img" aria-label="The network with its {what}">\n' + "\n".join(parts) + "\n</svg>"
    )


def _lines(explanation: Contents, name: str, a: list[_Place], b: list[_Place], step: float) -> str:
    """Draw one weight matrix, or its gradient: width by magnitude, color by sign."""
    W = explanation[name].values
    largest = float(np.max(np.abs(W))) or 1.0
    write, short = formatter(W), _short(W)
    apart, bunch = step * (1 - AT), (len(a) - 1) * step * (1 - AT) + LETTER
    # The numbers at one target must end before those at the next.
    labeled = apart >= LETTER and (bunch <= step * AT or len(b) == 1)
    lines, labels = [], []
    for (i, j), w in np.ndenumerate(W):
        (x1, y1), (x2, y2) = a[i], b[j]
        thick = 0.6 + 5.4 * abs(float(w)) / largest
        title = f"<title>{escape(name)}[{i}, {j}] = {write(w)}</title>"
        lines.append(
            f'<line class="{_sign(w)}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke-width="{thick:.2f}">{title}</line>'
        )
        if labeled:
            x, y = x1 + AT * (x2 - x1) - 10, y1 + AT * (y2 - y1) + 3.5
            labels.append(f'<text class="weight" x="{x:.1f}" y="{y:.1f}">{short(w)}</text>')
    return "\n".join(lines + labels)


def _units(
    explanation: Contents, k: int, places: list[_Place], radius: float, gradients: bool
) -> str:
    """Draw one column: a circle for each unit, with its number where it fits, and a name."""
    column = explanation.columns[k]
    name = column.gradient if gradients else column.values
    title = escape(name or column.values)
    parts = [f'<text class="name" x="{places[0].x:.1f}" y="16">{title}</text>']
    known = explanation.quantities.get(name)
    values = None if known is None else known.values[0]
    for i, (x, y) in enumerate(places):
        circle = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"'
        if values is None:
            parts.append(f'<circle class="unit" {circle}/>')
            continue
        full = f"{title}[{i}] = {formatter(values)(values[i])}"
        parts.append(
            f'<circle class="unit {_sign(values[i])}" {circle}><title>{full}</title></circle>'
        )
        if radius >= 18:
            parts.append(f'<text x="{x:.1f}" y="{y + 4:.1f}">{_short(values)(values[i])}</text>')
    return "\n".join(parts)


def _sign(value: float) -> str:
    return "neg" if value < 0 else "pos" if value > 0 else "zero"


def _short(values: np.ndarray) -> Callable[[float], str]:
    """Write an array's numbers in about five characters, with a true minus sign."""
    largest = float(np.max(np.abs(values)))
    if 1e-3 <= largest < 1e4 or largest == 0:
        form = ".3f" if largest < 10 else ".1f"
    else:
        form = ".0e"
    return lambda value: format(float(value), form).replace("-", "−")
