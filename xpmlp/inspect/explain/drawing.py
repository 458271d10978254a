"""The network as an SVG drawing: units in columns, weights as lines."""

from collections.abc import Callable
from html import escape
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from xpmlp.inspect.explain.contents import Contents
from xpmlp.inspect.explain.notation import ends, formatter

GAP, MARGIN, TOP = 190.0, 44.0, 28.0
"""Space between columns, at the sides, and for the columns' names, in units of the drawing."""

TALLEST, ROOMY, TIGHT = 640.0, 86.0, 9.0
"""Height that the units of a column share, and the bounds of the distance between two."""

ALL, SOME = 12, 5
"""Units of a layer that are drawn; of a larger one, so many at both ends."""

AT = np.linspace(0.28, 0.72, 23)
"""Where on a line its number may be: clear of the circles at both ends."""

LARGEST = 25.0
"""Largest radius of a circle."""

LETTER = 13.0
"""Height of a number; closer lines have none."""

NAME = 16
"""Most letters of a unit's name."""


class _Place(NamedTuple):
    x: float
    y: float


Places = dict[int, _Place]
"""Where the units of a column are that are drawn."""


def network(explanation: Contents, gradients: bool = False) -> str:
    """Return an ``<svg>`` of weights and the first example's values, or of their gradients.

    Lines and circles have the classes ``pos`` and ``neg`` by sign.
    """
    columns = explanation.columns
    sizes = [explanation[column.values].shape[-1] for column in columns]
    slots = [n if n <= ALL else 2 * SOME + 1 for n in sizes]
    step = min(ROOMY, max(TIGHT, TALLEST / max(slots)))
    radius = min(LARGEST, 0.42 * step)
    left, right = (
        MARGIN + 6.5 * min(NAME, max(map(len, columns[k].units), default=0)) for k in (0, -1)
    )
    width = left + right + GAP * (len(sizes) - 1)
    middle = TOP + radius + step * (max(slots) - 1) / 2
    height = 2 * middle - TOP + 6
    places = [
        {
            unit: _Place(left + GAP * k, middle + step * (slot - (count - 1) / 2))
            for unit, slot in zip(ends(n, ALL, SOME), _slots(n), strict=True)
        }
        for k, (n, count) in enumerate(zip(sizes, slots, strict=True))
    ]
    parts = [
        _lines(explanation, f"{'dLoss/d' if gradients else ''}W{k}", a, b)
        for k, (a, b) in enumerate(pairwise(places), start=1)
    ]
    parts += [_units(explanation, k, places[k], radius, gradients) for k in range(len(sizes))]
    what = "gradients" if gradients else "weights and values"
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" style="max-width:{1.3 * width:.0f}px" '
        f'role="img" aria-label="The network with its {what}">\n' + "\n".join(parts) + "\n</svg>"
    )


def _slots(n: int) -> list[int]:
    """Return the slots of the units that are drawn, with one left free where others are not."""
    return list(range(n)) if n <= ALL else [*range(SOME), *range(SOME + 1, 2 * SOME + 1)]


def _lines(explanation: Contents, name: str, a: Places, b: Places) -> str:
    """Draw one weight matrix, or its gradient: width by magnitude, color by sign."""
    W = explanation[name].values
    largest = float(np.max(np.abs(W))) or 1.0
    write, short = formatter(W), _short(W)
    at = _place_of_numbers(a, b)
    crossing = min(len(a), len(b)) > 1
    lines, labels = [], []
    for (i, (x1, y1)), (j, (x2, y2)) in product(a.items(), b.items()):
        w = W[i, j]
        thick = 0.6 + 5.4 * abs(float(w)) / largest
        title = f"<title>{escape(name)}[{i}, {j}] = {write(w)}</title>"
        lines.append(
            f'<line class="{_sign(w)}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke-width="{thick:.2f}">{title}</line>'
        )
        if at:
            x, y = x1 + at * (x2 - x1), y1 + at * (y2 - y1) + 3.5
            whose = f'<tspan class="whose">{i}→{j}</tspan> ' if crossing else ""
            labels.append(f'<text class="weight" x="{x:.1f}" y="{y:.1f}">{whose}{short(w)}</text>')
    return "\n".join(lines + labels)


def _place_of_numbers(a: Places, b: Places) -> float:
    """Return the place on the lines where their numbers are farthest apart; 0 if too close."""
    y = np.array([(p.y, q.y) for p in a.values() for q in b.values()])
    heights = np.sort(y @ np.array([1 - AT, AT]), axis=0)
    apart = np.min(np.diff(heights, axis=0), axis=0, initial=np.inf)
    best = int(np.argmax(apart))
    return float(AT[best]) if apart[best] >= LETTER else 0.0


def _units(explanation: Contents, k: int, places: Places, radius: float, gradients: bool) -> str:
    """Draw one column: a circle for each unit, with its number where it fits, and a name."""
    column = explanation.columns[k]
    name = column.gradient if gradients else column.values
    title = escape(name or column.values)
    at = next(iter(places.values())).x
    parts = [f'<text class="name" x="{at:.1f}" y="16">{title}</text>']
    known = explanation.quantities.get(name)
    values = None if known is None else known.values[0]
    if len(places) < explanation[column.values].shape[-1]:
        y = (places[SOME - 1].y + list(places.values())[SOME].y) / 2
        parts.append(f'<text x="{at:.1f}" y="{y + 4:.1f}">⋮</text>')
    for i, (x, y) in places.items():
        circle = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"'
        if column.units:
            side, anchor = (x - radius - 5, "end") if k == 0 else (x + radius + 5, "start")
            label = f'x="{side:.1f}" y="{y + 4:.1f}" style="text-anchor:{anchor}"'
            parts.append(f"<text {label}>{escape(_cut(column.units[i]))}</text>")
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


def _cut(name: str) -> str:
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"


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
