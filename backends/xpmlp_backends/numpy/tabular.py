"""Operations of networks for tables on NumPy arrays, with loops that numba compiles.

Each function computes what the reference of the same name does, which explains the formula, in
``numeric``, ``embeddings``, ``tabular`` or ``activations`` of ``xpmlp.nn``.
"""

from typing import Any

import numpy as np

from xpmlp.nn.activations import ACTIVATIONS, Activation
from xpmlp.nn.contract import Array
from xpmlp.nn.ops import Ops
from xpmlp_backends.numpy import table_loops as loops
from xpmlp_backends.numpy.record import empty, launch


def table() -> dict[str, Any]:
    """Return the operations by their names in ``Ops``."""
    found = (
        activation, activation_grad, mixed, mixed_grad, angles, angles_grad, shares, sum_by_code,
    )  # fmt: skip
    return {f.__name__: f for f in found}


def of_networks() -> dict[str, Any]:
    """Return those on the arrays of many networks as one, where not the reference computes them."""
    return {"mixed": mixed_each, "mixed_grad": mixed_grad_each} | {
        f.__name__: f for f in (activation, activation_grad)
    }


def activation(ops: Ops, z: Array, f: Activation) -> Array:
    """h = f(z): Mish and SELU with one exponential, which NumPy takes of many numbers at once."""
    if f is ACTIVATIONS["mish"]:
        h = empty(z, z.shape, z.dtype)
        launch(loops.mish, _flat(z), _falling(z), _flat(h), loops.LOWEST[z.itemsize])
        return h
    if f is ACTIVATIONS["selu"]:
        h = empty(z, z.shape, z.dtype)
        launch(loops.not_above_zero, _flat(z), _flat(h))
        launch(np.expm1, h, h)
        launch(loops.selu, _flat(z), _flat(h))
        return h
    return f.function(ops, z)


def activation_grad(
    ops: Ops, z: Array, h: Array, dh: Array, f: Activation, mask: Any = None
) -> Array:
    """dz = dh · f′(z)."""
    if mask is not None:
        dh = ops.dropout_grad(ops, dh, mask)
    if f is ACTIVATIONS["mish"]:
        dz = empty(dh, dh.shape, dh.dtype)
        low = loops.LOWEST[z.itemsize]
        launch(loops.mish_slope, _flat(dh), _flat(z), _falling(z), _flat(dz), low)
        return dz
    if f is ACTIVATIONS["selu"]:
        dz = empty(dh, dh.shape, dh.dtype)
        launch(loops.selu_slope, _flat(dh), _flat(h), _flat(dz))
        return dz
    return f.backward(ops, z, h, dh)


def _flat(x: Array) -> Array:
    """The same numbers in one dimension, where a loop is fastest; a copy if they have gaps."""
    if not x.flags.c_contiguous:
        gaps, x = x, empty(x, x.shape, x.dtype)
        launch(np.copyto, x, gaps)
    return x.reshape(-1)


def _falling(z: Array) -> Array:
    """exp(−|z|), flat, but nothing smaller than matters."""
    n = empty(z, (z.size,), z.dtype)
    launch(loops.minus_magnitude, _flat(z), n, loops.LOWEST[z.itemsize])
    launch(np.exp, n, n)
    return n


def mixed(z: Array, h: Array, a: Array) -> Array:
    """z + a ⊙ (h − z)."""
    y = empty(z, z.shape, z.dtype)
    launch(loops.mixed, z, h, a, y)
    return y


def mixed_grad(z: Array, h: Array, a: Array, dy: Array) -> tuple[Array, Array, Array]:
    """Gradients by h, z and a."""
    dh, dz = empty(dy, dy.shape, dy.dtype), empty(dy, dy.shape, dy.dtype)
    da = empty(dy, a.shape, dy.dtype)
    launch(loops.mixed_grad, z, h, a, dy, dh, dz, da)
    return dh, dz, da


def mixed_each(z: Array, h: Array, a: Array) -> Array:
    """The same of each network; of an ``a`` of one axis, which they share, too."""
    y = empty(z, z.shape, z.dtype)
    for i in range(len(z)):
        launch(loops.mixed, z[i], h[i], _of(i, a), y[i])
    return y


def mixed_grad_each(z: Array, h: Array, a: Array, dy: Array) -> tuple[Array, Array, Array]:
    """Its gradients."""
    dh, dz = empty(dy, dy.shape, dy.dtype), empty(dy, dy.shape, dy.dtype)
    da = empty(dy, (len(z), a.shape[-1]), dy.dtype)
    for i in range(len(z)):
        launch(loops.mixed_grad, z[i], h[i], _of(i, a), dy[i], dh[i], dz[i], da[i])
    return dh, dz, da if a.ndim > 1 else np.sum(da, axis=0)


def _of(i: int, a: Array) -> Array:
    return a[i] if a.ndim > 1 else a


def angles(x: Array, w: Array, b: Array) -> Array:
    """θ = 2π w x + b."""
    theta = empty(x, (w.shape[0], x.shape[0], w.shape[1]), x.dtype)
    launch(loops.angles, x, w, b, theta)
    return theta


def angles_grad(
    x: Array, w: Array, sine: Array, dcosine: Array, need_dx: bool
) -> tuple[Array | None, Array, Array]:
    """Gradients of cos(θ) by x, w and b."""
    dw, db = empty(x, w.shape, x.dtype), empty(x, w.shape, x.dtype)
    dx = empty(x, x.shape, x.dtype) if need_dx else None
    launch(loops.angles_grad, x, w, sine, dcosine, dw, db, dx)
    return dx, dw, db


def shares(x: Array, edge: Array, slope: Array, low: Array, high: Array) -> Array:
    """(x − edge) · slope limited to [low, high]."""
    v = empty(x, (edge.shape[0], x.shape[0], edge.shape[1]), x.dtype)
    launch(loops.shares, x, edge, slope, low, high, v)
    return v


def sum_by_code(dy: Array, codes: Array, count: int, out: Array | None = None) -> Array:
    """Sums of the rows of dy with each code."""
    sums = empty(dy, (count, dy.shape[1]), dy.dtype) if out is None else out
    launch(loops.sum_by_code, dy, codes, sums)
    return sums
