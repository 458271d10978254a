"""Operations for NumPy arrays without a compiler: in place, and in blocks that stay in the cache.

Each function computes what the reference of the same name does (``xpmlp.nn.ops``), which explains
the formula.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from xpmlp.nn.activations import ACTIVATIONS, Activation
from xpmlp.nn.contract import Array
from xpmlp.nn.ops import Ops
from xpmlp.nn.updates import UPDATES
from xpmlp_backends.base import pack_with
from xpmlp_backends.numpy.record import empty, launch

BLOCK = 65536
"""Elements at a time: in float32 the five arrays of an update are a megabyte of cache."""

DOT = np.ndarray.dot
"""``DOT(a, b, out)``: NumPy's fastest way to BLAS, by half a microsecond a product."""


def in_place(ops: Ops) -> Ops:
    """Return operations that write their results to memory that is there already."""
    updates = {name: blocked(UPDATES[name], slots) for name, slots in SLOTS.items()}
    updates["adam"] = adam
    return replace(
        ops,
        gather_batch=partial(gather_batch, ops.gather_batch),
        dense=partial(dense, _add_bias),
        dense_grad=partial(dense_grad, _column_sums),
        dense_activation=partial(dense_activation, _bias_relu),
        dense_activation_grad=dense_activation_grad,
        pack=pack_with(partial(launch, np.copyto)),
        **updates,
    )


def dense(add_bias: Any, x: Array, W: Array, b: Array | None) -> Array:
    """x W + b; ``add_bias(z, b)`` adds b to the rows of z in place."""
    z = _times(x, W)
    if b is not None:
        add_bias(z, b)
    return z


def _times(x: Any, W: Array) -> Array:
    """x W, in memory of its own; x may be a sparse matrix."""
    if not isinstance(x, np.ndarray):
        return x @ W
    z = empty(x, (x.shape[0], W.shape[1]), x.dtype)
    launch(DOT, x, W, z)
    return z


def _add_bias(z: Array, b: Array) -> None:
    launch(np.add, z, b, z)


def dense_grad(
    column_sums: Any, x: Array, W: Array, dz: Array, need_dx: bool, out: Any = (None, None)
) -> tuple[Array | None, Array, Array]:
    """dz Wᵀ, xᵀ dz and the sums of dz's columns, which ``column_sums(dz, db)`` writes to db."""
    db = empty(dz, dz.shape[1:], dz.dtype) if out[1] is None else out[1]
    column_sums(dz, db)
    return *products_grad(x, W, dz, need_dx, out[0]), db


def _column_sums(dz: Array, db: Array) -> None:
    # As a product, because BLAS sums columns three times as fast as NumPy.
    launch(DOT, np.ones(dz.shape[0], dz.dtype), dz, db)


def products_grad(
    x: Array, W: Array, dz: Array, need_dx: bool, dW: Array | None
) -> tuple[Array | None, Array]:
    """dz Wᵀ and xᵀ dz, which is written to ``dW`` if there is one."""
    dx = None
    if need_dx:
        dx = empty(dz, x.shape, dz.dtype)
        launch(DOT, dz, W.T, dx)
    if dW is None:
        dW = empty(dz, W.shape, dz.dtype)
    if isinstance(x, np.ndarray):
        launch(DOT, x.T, dz, dW)
    else:
        np.copyto(dW, x.T @ dz)
    return dx, dW


def gather_batch(
    dense: Any, X: Any, y: Array, weight: Array | None, rows: Array, *rest: Any
) -> tuple[Array, Array, Array | None]:
    """The batch, whose x is a sparse matrix if X is one; ``dense`` gathers all others."""
    if isinstance(X, np.ndarray):
        return dense(X, y, weight, rows, *rest)
    x = X.sparse_rows(rows).astype(rest[-1], copy=False)
    return x, y[rows], None if weight is None else weight[rows]


def dense_activation(
    bias_relu: Any, ops: Ops, x: Array, W: Array, b: Array | None, f: Activation
) -> tuple[Array, Array]:
    """h = f(x W + b); ReLU's z is not kept, because h > 0 where z > 0.

    ``bias_relu(z, b)`` turns z in place into max(z + b, 0).
    """
    if f is not ACTIVATIONS["relu"]:
        z = ops.dense(x, W, b)
        return z, ops.activation(ops, z, f)
    h = _times(x, W)
    bias_relu(h, b)
    return h, h


def _bias_relu(z: Array, b: Array | None) -> None:
    # NumPy's loop over a row of zeros is twice as fast as its loop over one.
    zeros = np.zeros(z.shape[1], z.dtype)
    for rows in _blocks(z):
        if b is not None:
            launch(np.add, z[rows], b, z[rows])
        launch(np.maximum, z[rows], zeros, out=z[rows])


def dense_activation_grad(
    ops: Ops,
    x: Array,
    W: Array,
    z: Array,
    h: Array,
    dh: Array,
    f: Activation,
    need_dx: bool,
    out: Any = (None, None),
    mask: Array | None = None,
) -> tuple[Array | None, Array, Array]:
    """The gradients, with ReLU's slope taken block by block."""
    if mask is not None:
        dh = ops.dropout_grad(ops, dh, mask)
    if f is ACTIVATIONS["relu"]:
        dz = empty(dh, dh.shape, dh.dtype)
        for rows in _blocks(dh):
            launch(np.greater, h[rows], 0, out=dz[rows])
            launch(np.multiply, dh[rows], dz[rows], dz[rows])
    else:
        dz = ops.activation_grad(ops, z, h, dh, f)
    return ops.dense_grad(x, W, dz, need_dx, out)


SLOTS = {"sgd": 0, "momentum": 1, "nesterov": 1, "adagrad": 1, "rmsprop": 1, "adam": 2}
"""How many arrays of optimizer state each update has."""


def blocked(update: Callable[..., Any], slots: int) -> Callable[..., Any]:
    """Return an update that works in place, block by block."""

    def in_blocks(p: Array, g: Array, *rest: Any) -> Any:
        moments, settings = rest[:slots], rest[slots:]
        for part in _blocks(p):
            targets = [p[part], *(m[part] for m in moments)]
            result = update(np, targets[0], g[part], *targets[1:], *settings)
            results = (result[0], *result[1]) if slots else (result,)
            for target, new in zip(targets, results, strict=True):
                launch(np.copyto, target, new)
        return (p, moments) if slots else p

    return in_blocks


def adam(
    p: Array, g: Array, m: Array, v: Array, c: Array, beta1: float, beta2: float, epsilon: float
) -> Any:
    """``xpmlp.nn.optimizers.adam`` in place, in 13 passes over a block; the formula takes 18.

    c₀ and ε are divided by c₁ first, which saves one.
    """
    settings = (beta1, 1.0 - beta1, beta2, 1.0 - beta2, epsilon)
    b1, rest1, b2, rest2, eps = (np.array(value, p.dtype) for value in settings)
    step, floor = empty(p, (), p.dtype), empty(p, (), p.dtype)
    launch(np.divide, c[0, ...], c[1, ...], step)
    launch(np.divide, eps, c[1, ...], floor)
    for part in _blocks(p):
        theta, grad, mean, square = p[part], g[part], m[part], v[part]
        x = empty(p, theta.shape, p.dtype)
        for f, *args in (
            (np.multiply, mean, b1, mean),
            (np.multiply, grad, rest1, x),
            (np.add, mean, x, mean),
            (np.multiply, grad, grad, x),
            (np.multiply, x, rest2, x),
            (np.multiply, square, b2, square),
            (np.add, square, x, square),
            (np.sqrt, square, x),
            (np.add, x, floor, x),
            (np.divide, mean, x, x),
            (np.multiply, x, step, x),
            (np.multiply, theta, c[2, ...], theta),
            (np.subtract, theta, x, theta),
        ):
            launch(f, *args)
    return p, (m, v)


def _blocks(x: Array) -> list[slice]:
    """Cut an array into slices of whole rows, of about ``BLOCK`` elements each."""
    rows = max(BLOCK * x.shape[0] // max(x.size, 1), 1)
    return [slice(start, start + rows) for start in range(0, x.shape[0], rows)]
