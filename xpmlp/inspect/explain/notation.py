"""One notation for all renderers: formulas are written as text, and translated.

A terminal shows ``dLoss/dW2 = h1ᵀ dLoss/dz2`` as it is; LaTeX and HTML show fractions and indices.
A letter with digits is a symbol with an index; longer words stay words.
"""

import html
import re
from collections.abc import Callable
from functools import partial
from math import prod
from re import Match

import numpy as np

Grid = list[list[str]]

_LETTER = "[A-Za-zα-ωΦ]"
_TOKEN = re.compile(
    rf"d(?P<top>Loss|{_LETTER}\d*)/d(?P<bottom>{_LETTER}\d*)"
    r"|√\((?P<root>[^()]*)\)"
    rf"|(?P<letter>{_LETTER})(?P<index>\d*)(?![A-Za-z_])"
    r"|(?P<word>[A-Za-z][A-Za-z_\d]*)(?P<called>(?=[(′]))?"
    r"|(?P<other>.)"
)

_LATEX = {
    "ᵀ": r"^{\top}", "*": "^{*}", "′": "'", "²": "^2", "³": "^3", "ᵢ": "_i", "ⱼ": "_j",
    "⊙": r" \odot ", "·": r" \cdot ", "−": "-", "±": r"\pm ", "½": r"\tfrac{1}{2}",
    "Σ": r"\sum ", "∂": r"\partial ", "√": r"\surd ", "%": r"\%", "→": r" \to ",
    "[": r"\left[", "]": r"\right]",
}  # fmt: skip
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "λ": "lambda",
    "μ": "mu", "π": "pi", "σ": "sigma", "φ": "varphi", "Φ": "Phi", "ω": "omega", "θ": "theta",
}  # fmt: skip


def latex(text: str) -> str:
    """Translate a formula into LaTeX, without the dollar signs."""
    return _TOKEN.sub(_latex, text)


def _latex(token: Match[str]) -> str:
    part = token.groupdict()
    if part["top"]:
        return rf"\frac{{d{latex(part['top'])}}}{{d{latex(part['bottom'])}}}"
    if part["root"] is not None:
        return rf"\sqrt{{{latex(part['root'])}}}"
    if part["letter"]:
        letter = f"\\{_GREEK[part['letter']]} " if part["letter"] in _GREEK else part["letter"]
        return f"{letter.strip()}_{{{part['index']}}}" if part["index"] else letter
    if part["word"]:
        word = part["word"].replace("_", r"\_")
        plain = part["called"] is not None or word == "Loss"
        return rf"\mathrm{{{word}}}" if plain else rf"\text{{ {word} }}"
    return _LATEX.get(part["other"], part["other"])


def markup(text: str) -> str:
    """Translate a formula into HTML; fractions need the style of ``.frac``."""
    return _TOKEN.sub(_markup, text)


def _markup(token: Match[str]) -> str:
    part = token.groupdict()
    if part["top"]:
        above, below = (f"<span>d{markup(part[side])}</span>" for side in ("top", "bottom"))
        return f'<span class="frac">{above}{below}</span>'
    if part["root"] is not None:
        return f"√({markup(part['root'])})"
    if part["letter"]:
        index = f"<sub>{part['index']}</sub>" if part["index"] else ""
        return f"<i>{part['letter']}</i>{index}"
    if part["word"]:
        return html.escape(part["word"])
    return {"ᵀ": "<sup>T</sup>", "*": "<sup>*</sup>"}.get(part["other"], html.escape(part["other"]))


DECIMALS = 8

MOST, EDGE = 200, 3
"""Numbers of an array that are shown; of a larger one, so many at both ends of each axis."""


def ends(n: int, most: int = 2 * EDGE, edge: int = EDGE) -> list[int]:
    """Return the indices that are shown of n: all, or those at both ends."""
    return list(range(n)) if n <= most else [*range(edge), *range(n - edge, n)]


def shown(shape: tuple[int, ...], full: bool) -> tuple[np.ndarray, ...]:
    """Return which values of an array are shown, as indices that keep its axes."""
    small = full or prod(shape) <= MOST
    return np.ix_(*(list(range(n)) if small else ends(n) for n in shape))


def cells(values: np.ndarray, full: bool, gap: str, write: Callable[[str], str] = str) -> Grid:
    """Write an array of up to two axes, with a gap where values are left out."""
    values = np.atleast_2d(values)
    places, text = shown(values.shape, full), formatter(values[shown(values.shape, full)])
    rows = [[write(text(value)) for value in row] for row in values[places]]
    if rows and len(rows[0]) < values.shape[1]:
        rows = [[*row[:EDGE], gap, *row[EDGE:]] for row in rows]
    if len(rows) < len(values):
        rows.insert(EDGE, [gap] * len(rows[0]))
    return rows


def formatter(values: np.ndarray) -> Callable[[float], str]:
    """Choose how to write an array's numbers: 8 decimals, in powers of ten if that loses all."""
    if values.dtype.kind in "bui":
        return lambda value: str(int(value))
    largest = float(np.max(np.abs(values), where=np.isfinite(values), initial=0.0))
    fixed = largest == 0 or 1e-4 <= largest < 1e8
    return partial(_number, f".{DECIMALS}{'f' if fixed else 'e'}")


def _number(form: str, value: float) -> str:
    text = format(float(value), form)
    return text.lstrip("-") if not text.strip("-0.") else text  # no minus before a zero
