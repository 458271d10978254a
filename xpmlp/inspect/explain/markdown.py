"""An explanation as Markdown with formulas in LaTeX, as GitHub and notebooks show them."""

import numpy as np

from xpmlp.inspect.explain.contents import Contents, Quantity
from xpmlp.inspect.explain.notation import EDGE, cells, formatter, latex

SIDE_BY_SIDE = 3
"""Largest number of columns with which two matrices fit in one line of a page."""


def document(explanation: Contents) -> str:
    """Return the document."""
    parts = [f"# {explanation.title}", *explanation.notes]
    for section in explanation.sections:
        parts.append(f"## {section.title}")
        parts += [_display(latex(rule)) for rule in section.chain]
        for quantity in section.quantities:
            parts += _quantity(quantity)
    return "\n\n".join(parts) + "\n"


def _quantity(q: Quantity) -> list[str]:
    shape = f"shape {q.shape}" if q.shape else ""
    about = "; ".join(filter(None, [q.note, shape]))
    head = [f"${latex(q.name)}$: {about}"] if about else []
    if q.difference is None:
        return [*head, _display(f"{q.latex} = {matrix(q.values, q.full)}")]
    parts = {"gradient": q.values, "finite difference": q.difference}
    own, other = (
        rf"\underbrace{{{matrix(v, q.full)}}}_{{\text{{{name}}}}}" for name, v in parts.items()
    )
    if q.values.ndim < 2 or q.values.shape[1] > SIDE_BY_SIDE:
        joined = rf"\begin{{aligned}} {q.latex} &= {own} \\ &\approx {other} \end{{aligned}}"
    else:
        joined = rf"{q.latex} = {own} \approx {other}"
    return [*head, _display(joined), f"Largest difference of the two: {q.error:.1e}."]


def _display(formula: str) -> str:
    return f"$$\n{formula}\n$$"


def matrix(values: np.ndarray, full: bool = False) -> str:
    r"""Write an array as a ``bmatrix``; one for each example where there are three axes."""
    if values.ndim > 2:
        few = values if full else values[: 2 * EDGE]
        return r",\; ".join(matrix(one, full) for one in few) + r",\; \dots" * (
            len(few) < len(values)
        )
    if values.ndim == 0:
        return _number(formatter(values)(values.item()))
    inner = r" \\ ".join(" & ".join(row) for row in cells(values, full, r"\dots", _number))
    return rf"\begin{{bmatrix}} {inner} \end{{bmatrix}}"


def _number(text: str) -> str:
    digits, e, power = text.partition("e")
    return rf"{digits} \cdot 10^{{{int(power)}}}" if e else text
