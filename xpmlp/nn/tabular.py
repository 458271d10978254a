"""Layers for tables, as in RealMLP (Holzmüller et al. 2024), and the smooth clipping of inputs."""

from functools import partial
from math import sqrt
from typing import Any

from xpmlp.nn.activations import Activation
from xpmlp.nn.functions import Array, clamp, over_rows, summed_over_rows
from xpmlp.nn.layers import Backward, Grads, Layer, Params, Pass

BOUND = 3.0
"""What smooth clipping keeps numbers within."""

FAR = 1e18
"""Beyond this a clipped number is the bound; held here, its square overflows in no dtype."""


def smooth_clip(xp: Any, x: Array, share: Array | float = 1.0 / BOUND**2) -> Array:
    """x/√(1 + (x/3)²): x near 0, ±3 far out.

    Parameters
    ----------
    x : Array, shape (n, columns)
    share : Array, shape (columns,), or float
        1/bound² of each column; 0 leaves a column as it is.
    """
    held = clamp(xp, x, FAR)
    return held / xp.sqrt(1.0 + share * (held * held))


def input_scale(units: int) -> Layer:
    """y = g ⊙ x with a learned scale g of each input, which starts at 1."""
    return scale("scale", "scale.g", (units,), "y = g x")


def scale(name: str, g: str, shape: tuple[int, ...], formula: str) -> Layer:
    """y = g ⊙ x with a factor of each unit, shape (units,), or of each of k networks', (k, units).

    dx = dy ⊙ g; dgⱼ = Σᵢ dyᵢⱼ xᵢⱼ. The gradient of an x (n, units) that networks share is the sum
    of theirs.
    """

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        xp, factor = ops.xp, over_rows(p[g])

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            dx = of_shared(xp, dy * factor, x) if need_dx else None
            return dx, {g: summed_over_rows(xp, dy * x, p[g])}

        return x * factor, backward

    return Layer(name, forward, {g: shape}, {}, formula, {g: 1.0})


def of_shared(xp: Any, dx: Array, x: Array) -> Array:
    """Return the gradient of x: summed over the networks, if all of them take the same x."""
    return xp.sum(dx, axis=0) if dx.ndim > x.ndim else dx


def ntk(layer: Layer, n_in: int) -> Layer:
    """Return a dense layer in NTK parametrization: z = x W/√in + b (Jacot et al. 2018).

    With W ~ N(0, 1), z has the variance that W ~ N(0, 1/in) gives without the division. But an
    optimizer whose steps do not depend on the gradient's size, such as Adam, moves x W by 1/√in
    of what it would, so one learning rate suits layers of any width. It is the dense layer at
    x/√in, so dx is divided by √in, too; W, b and their gradients are the layer's own.
    """
    gain = 1.0 / sqrt(n_in)

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        z, inner = layer.forward(ops, p, x * gain, run)

        def backward(dz: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            dx, grads = inner(dz, need_dx)
            return None if dx is None else dx * gain, grads

        return z, backward

    def joined(join: Any, *what: Any) -> Layer:
        return ntk(join(*what), n_in)

    return layer._replace(
        forward=forward,
        formula=layer.formula.replace("x W", "x W/√in"),
        activated=layer.activated and partial(joined, layer.activated),
        dropped=layer.dropped and partial(joined, layer.dropped),
    )


def mixed_activation(name: str, f: Activation, units: int) -> Layer:
    """y = z + a ⊙ (f(z) − z): between the identity and f, with a learned share a of each unit.

    a starts at 1, where y = f(z). daⱼ = Σᵢ dyᵢⱼ (f(z)ᵢⱼ − zᵢⱼ); dz = (1 − a) ⊙ dy + f′(z) ⊙ a ⊙ dy.
    """
    share = f"{name}.a"

    def forward(ops: Any, p: Params, z: Array, run: Pass) -> tuple[Array, Backward]:
        h = ops.activation(ops, z, f)

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            dh, rest, da = ops.mixed_grad(z, h, p[share], dy)
            dz = ops.activation_grad(ops, z, h, dh, f) + rest if need_dx else None
            return dz, {share: da}

        return ops.mixed(z, h, p[share]), backward

    formula = f"y = z + a ({f.name}(z) − z)"
    return Layer(name, forward, {share: (units,)}, {}, formula, {share: 1.0}, kept=units)


def mixed(xp: Any, z: Array, h: Array, a: Array) -> Array:
    """z + a ⊙ (h − z), with z and h (n, units) and a (units,); the reference of ``ops.mixed``.

    Of k networks z and h have one more axis in front, and a has it where each has its own.
    """
    return z + over_rows(a) * (h - z)


def mixed_grad(xp: Any, z: Array, h: Array, a: Array, dy: Array) -> tuple[Array, Array, Array]:
    """Gradients of ``mixed`` by h, z and a; the reference of ``ops.mixed_grad``."""
    share = over_rows(a)
    return dy * share, dy * (1.0 - share), summed_over_rows(xp, dy * (h - z), a)
