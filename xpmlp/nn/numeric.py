"""Embeddings of numbers: periodic and piecewise-linear functions of each, learned.

Each is made by a function that returns its forward pass, the shapes of its parameters and of its
constants, and how its first values are drawn.
"""

from collections.abc import Callable, Mapping
from math import pi
from typing import Any, NamedTuple

from xpmlp.nn.functions import Array
from xpmlp.nn.layers import Backward, Grads, Params, Pass

Forward = Callable[[Any, Params, Array, Pass], tuple[Array, Backward]]
"""Like ``Layer.forward``: of numbers to their outputs, or of codes to rows of a table."""

Draw = Callable[[Any, tuple[int, ...]], Any]
"""A function (rng, shape) that draws first values on the host."""


class Part(NamedTuple):
    """What becomes of some inputs; the members are those of ``Layer``."""

    forward: Forward
    shapes: Mapping[str, tuple[int, ...]]
    statistics: Mapping[str, tuple[int, ...]]
    initial: Mapping[str, Draw]


def periodic(count: int, frequencies: int, outputs: int, sigma: float) -> Part:
    """e = V cos(θ) + c with θ = 2π w x + b, for each of ``count`` numbers, w from N(0, σ²).

    Arrays have an axis for the number, first: w and b (m, k), V (m, k, o), c (m, o); for n rows θ
    is (m, n, k) and e (m, n, o). By the chain rule dV = cos(θ)ᵀ de, dc = Σₙ de and
    dcos(θ) = de Vᵀ; ``angles_grad`` goes on from there.
    """
    m, k, o = count, frequencies, outputs
    w, b, V, c = (f"embedding.{name}" for name in ("frequency", "phase", "V", "c"))

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        xp = ops.xp
        theta = ops.angles(x, p[w], p[b])
        cosine = xp.cos(theta)
        y = _by_row(xp, ops.batch_product(cosine, p[V])) + xp.reshape(p[c], (-1,))

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            de = _by_number(xp, dy, m)
            dcosine = ops.batch_product(de, xp.matrix_transpose(p[V]))
            dx, dw, db = ops.angles_grad(x, p[w], xp.sin(theta), dcosine, need_dx)
            dV = ops.batch_product(xp.matrix_transpose(cosine), de)
            dc = xp.reshape(xp.sum(dy, axis=0), (m, o))
            return dx, {w: dw, b: db, V: dV, c: dc}

        return y, backward

    shapes = {w: (m, k), b: (m, k), V: (m, k, o), c: (m, o)}
    initial = {w: scaled_by(normal, sigma), b: scaled_by(_uniform, pi)}
    initial |= dict.fromkeys((V, c), scaled_by(_uniform, k**-0.5))
    return Part(forward, shapes, {}, initial)


def angles(xp: Any, x: Array, w: Array, b: Array) -> Array:
    """θ = 2π w x + b; the reference of ``ops.angles``.

    Parameters
    ----------
    x : Array, shape (n, m)
    w, b : Array, shape (m, k)

    Returns
    -------
    Array, shape (m, n, k)
    """
    return x.T[:, :, None] * (2.0 * pi * w)[:, None, :] + b[:, None, :]


def angles_grad(
    xp: Any, x: Array, w: Array, sine: Array, dcosine: Array, need_dx: bool
) -> tuple[Array | None, Array, Array]:
    """Gradients of cos(θ) by x, w and b; the reference of ``ops.angles_grad``.

    With dθ = −sin(θ) ⊙ dcos(θ), shape (m, n, k): dx = 2π Σₖ w dθ, dw = 2π Σₙ x dθ, db = Σₙ dθ.
    """
    dtheta = -(sine * dcosine)
    dw = 2.0 * pi * xp.sum(dtheta * x.T[:, :, None], axis=1)
    dx = 2.0 * pi * xp.sum(dtheta * w[:, None, :], axis=2).T if need_dx else None
    return dx, dw, xp.sum(dtheta, axis=1)


def piecewise(count: int, bins: int, outputs: int) -> Part:
    """e = V v with vₜ = (x − edgeₜ) · slopeₜ limited to [lowₜ, highₜ], for each number.

    The slope is 1/width of bin t, so v is 1 in bins below x's, 0 in those above, and the share of
    its own that lies below x; the outer bins go on beyond the data. Two more of v are x itself and
    1, so V has a and c, too. Shapes are those of ``periodic``, with t in the place of k. edge,
    slope, low and high are constants, from ``bins_of``. dV = vᵀ de; dx = Σₜ slope (de Vᵀ) inside.
    """
    m, t, o = count, bins + 2, outputs
    V = "embedding.V"

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        xp, limits = ops.xp, [run.statistics[name] for name in BINS]
        v = ops.shares(x, *limits)

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            de = _by_number(xp, dy, m)
            dV = ops.batch_product(xp.matrix_transpose(v), de)
            if not need_dx:
                return None, {V: dV}
            edge, slope, low, high = (a[:, None, :] for a in limits)
            u = (x.T[:, :, None] - edge) * slope
            inside = xp.astype((u > low) & (u <= high), u.dtype) * slope  # on an edge, the left one
            dv = ops.batch_product(de, xp.matrix_transpose(p[V]))
            return xp.sum(dv * inside, axis=2).T, {V: dV}

        return _by_row(xp, ops.batch_product(v, p[V])), backward

    return Part(forward, {V: (m, t, o)}, dict.fromkeys(BINS, (m, t)), {V: _last_two})


ENDLESS = 1e9
"""How many widths the outer bins reach beyond the data."""

BINS = tuple(f"embedding.{name}" for name in ("edge", "slope", "low", "high"))
"""Names of the bins' arrays: statistics of the layer, set before the first fit."""


def shares(xp: Any, x: Array, edge: Array, slope: Array, low: Array, high: Array) -> Array:
    """(x − edge) · slope limited to [low, high]; the reference of ``ops.shares``.

    Parameters
    ----------
    x : Array, shape (n, m)
    edge, slope, low, high : Array, shape (m, t)

    Returns
    -------
    Array, shape (m, n, t)
    """
    u = (x.T[:, :, None] - edge[:, None, :]) * slope[:, None, :]
    return xp.minimum(xp.maximum(u, low[:, None, :]), high[:, None, :])


def _by_row(xp: Any, e: Array) -> Array:
    """(m, n, o) as (n, m · o)."""
    m, n, o = e.shape
    return xp.reshape(xp.permute_dims(e, (1, 0, 2)), (n, m * o))


def _by_number(xp: Any, dy: Array, m: int) -> Array:
    """(n, m · o) as (m, n, o)."""
    n, width = dy.shape
    return xp.permute_dims(xp.reshape(dy, (n, m, width // m)), (1, 0, 2))


def batch_product(xp: Any, a: Array, b: Array) -> Array:
    """a[i] b[i] for each i: (m, n, k) by (m, k, o); the reference of ``ops.batch_product``."""
    return a @ b


# First values


def normal(rng: Any, shape: tuple[int, ...]) -> Any:
    """Draw from N(0, 1)."""
    return rng.standard_normal(shape)


def _uniform(rng: Any, shape: tuple[int, ...]) -> Any:
    return rng.uniform(-1.0, 1.0, shape)


def _last_two(rng: Any, shape: tuple[int, ...]) -> Any:
    """Of a piecewise embedding's V: a and c, the last two, are within ±1/√outputs; the rest 0."""
    made = 0.0 * _uniform(rng, shape)
    made[:, -2:, :] = _uniform(rng, (shape[0], 2, shape[2])) * shape[2] ** -0.5
    return made


def scaled_by(draw: Draw, by: float) -> Draw:
    """Return a function that draws numbers so many times as large."""
    return lambda rng, shape: by * draw(rng, shape)
