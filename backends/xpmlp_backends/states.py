"""What recorded and captured runs do with states: walk through their arrays, and compare them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from xpmlp.nn.contract import Array, State


def arrays(state: State) -> list[Array]:
    """Return a state's arrays in one list."""
    return [a for x in state for a in (x if isinstance(x, tuple) else (x,))]


def each(f: Callable[[Any], Any], state: State) -> State:
    """Apply f to every array of a state."""
    return State(*(tuple(map(f, x)) if isinstance(x, tuple) else f(x) for x in state))


def copy(put: Callable[[Array, Array], object], to: State, source: State) -> None:
    """Call ``put(a, b)`` for the arrays of two states, but not where both are the same."""
    for a, b in zip(arrays(to), arrays(source), strict=True):
        if a is not b:
            put(a, b)


def differ(found: Array, expected: Array) -> bool:
    """Whether NumPy arrays of the same step are not the same but for rounding."""
    share = np.sqrt(np.finfo(expected.dtype).eps) if expected.dtype.kind == "f" else 0.0
    with np.errstate(all="ignore"):
        close = np.abs(found - expected) <= share * np.max(np.abs(expected), initial=0)
        same = close | (found == expected) | (np.isnan(found) & np.isnan(expected))
    return not np.all(same)


def strays(found: Array, expected: Array, before: Array) -> bool:
    """Whether NumPy arrays are apart by more than a twentieth of the way that a step took.

    Lengths are compared, not elements: an optimizer like Adam makes a whole step of a gradient
    that is nothing but rounding, and two algorithms for a product may round it to either side.
    """
    if expected.dtype.kind != "f":
        return not np.array_equal(found, expected)
    finite = np.isfinite(expected)
    if not np.array_equal(finite, np.isfinite(found)):
        return True
    found, expected, before = (x[finite].astype(np.float64) for x in (found, expected, before))
    way = np.linalg.norm(np.where(np.isfinite(before), expected - before, expected))
    rounding = 8 * np.finfo(np.float32).eps * np.linalg.norm(expected)
    return bool(np.linalg.norm(found - expected) > 0.05 * way + rounding)
