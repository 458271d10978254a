"""The optimizers' updates of all parameters at once, in plain array API; a backend may fuse them.

The formulas follow PyTorch's, with which the tests compare them.

Symbols: θ parameters, g gradient, η learning rate, t step from 1, all element by element.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from xpmlp.nn.functions import Array

Updated = tuple[Array, tuple[Array, ...]]


def sgd(xp: Any, p: Array, g: Array, rate: Array) -> Array:
    """θ ← θ − η g."""
    return p - rate * g


def momentum(xp: Any, p: Array, g: Array, v: Array, rate: Array, mu: float) -> Updated:
    """v ← μ v + g, θ ← θ − η v (Polyak 1964)."""
    v = mu * v + g
    return p - rate * v, (v,)


def nesterov(xp: Any, p: Array, g: Array, v: Array, rate: Array, mu: float) -> Updated:
    """v ← μ v + g, θ ← θ − η (g + μ v): the gradient looks ahead (Sutskever et al. 2013)."""
    v = mu * v + g
    return p - rate * (g + mu * v), (v,)


def adagrad(xp: Any, p: Array, g: Array, s: Array, rate: Array, epsilon: float) -> Updated:
    """s ← s + g², θ ← θ − η g/(√s + ε) (Duchi et al. 2011)."""
    s = s + g * g
    return p - rate * g / (xp.sqrt(s) + epsilon), (s,)


def rmsprop(
    xp: Any, p: Array, g: Array, s: Array, rate: Array, rho: float, epsilon: float
) -> Updated:
    """s ← ρ s + (1 − ρ) g², θ ← θ − η g/(√s + ε) (Tieleman and Hinton 2012)."""
    s = rho * s + (1.0 - rho) * (g * g)
    return p - rate * g / (xp.sqrt(s) + epsilon), (s,)


def adam(
    xp: Any,
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    c: Array,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> Updated:
    """Adam (Kingma and Ba 2015), or with a decay λ > 0 AdamW (Loshchilov and Hutter 2019).

    m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²
    θ ← (1 − η λ) θ − η/(1 − β₁ᵗ) · m/(√v/√(1 − β₂ᵗ) + ε)

    ``c`` has the step's [η/(1 − β₁ᵗ), 1/√(1 − β₂ᵗ), 1 − η λ].
    """
    m = beta1 * m + (1.0 - beta1) * g
    v = beta2 * v + (1.0 - beta2) * (g * g)
    return c[2] * p - c[0] * m / (c[1] * xp.sqrt(v) + epsilon), (m, v)


def clip_by_norm(xp: Any, g: Array, limit: float) -> Array:
    """Scale g so that its Euclidean norm over all parameters is at most ``limit``.

    The norm is |g|∞ · ‖u‖ with u = g/|g|∞, so the squares neither overflow nor vanish. Both are
    divided by 4 first: the reciprocal of the largest numbers is subnormal, which JAX takes for 0.
    """
    largest = xp.maximum(xp.max(xp.abs(g)), float(xp.finfo(g.dtype).smallest_normal))
    u = (0.25 * g) / (0.25 * largest)
    norm = xp.sqrt(xp.sum(u * u))
    return xp.where(largest * norm > limit, u * (limit / xp.maximum(norm, 1e-3)), g)


UPDATES: dict[str, Callable[..., Any]] = {
    f.__name__: f for f in (sgd, momentum, nesterov, adagrad, rmsprop, adam, clip_by_norm)
}
"""The reference functions by their names in ``Ops``."""


def with_plain_updates(ops: Any) -> Any:
    """Return operations whose updates take a learning rate for each parameter."""
    return replace(ops, **{name: partial(update, ops.xp) for name, update in UPDATES.items()})
