"""What recorded and captured runs do with states: walk through their arrays, and compare them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from xpmlp.contract import Array, State


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
