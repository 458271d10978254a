"""Operations for the NumPy arrays of many networks as one, of three axes.

Each function computes what the reference of the same name does (``xpmlp.nn.ops``), which explains
the formula. Products of all networks are one call of ``numpy.matmul``, which calls BLAS for each:
for small matrices that takes a third of a loop's time, and for large ones the same. Networks that
share a matrix are the rows of one network, k times as many.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpmlp.nn.activations import ACTIVATIONS, Activation
from xpmlp.nn.contract import Array
from xpmlp.nn.functions import over_rows
from xpmlp.nn.ops import Ops
from xpmlp_backends.networks import for_networks
from xpmlp_backends.numpy.inplace import DOT
from xpmlp_backends.numpy.record import empty, launch

Loop = Callable[..., None]


BLOCK = 1 << 20
"""Bytes of the rows of some networks that are computed one after another, so that what one call
writes is still in the cache for the next."""


@dataclass(frozen=True)
class Loops:
    """What is done in place to the rows of one network or of k, by NumPy or by numba's loops.

    Attributes
    ----------
    add_bias, bias_relu : callable (z, b)
        Turn z (n, out) or (k, n, out) into z + b, or max(z + b, 0), with b (out,) or (k, out).
    column_sums : callable (dz, db)
        Write the sums over the rows.
    slopes : mapping of str to int
        The activations for which there is ``slope(which, dh, h, dz, db)``.
    """

    add_bias: Loop
    bias_relu: Loop
    column_sums: Loop
    slopes: Mapping[str, int]
    slope: Loop | None = None


def _add_bias(z: Array, b: Array | None) -> None:
    if b is not None:
        launch(np.add, z, over_rows(b), z)


def _bias_relu(z: Array, b: Array | None) -> None:
    _add_bias(z, b)
    launch(np.maximum, z, np.zeros((), z.dtype), out=z)


def _column_sums(dz: Array, db: Array) -> None:
    # As a product, because BLAS sums columns three times as fast as NumPy.
    launch(np.matmul, np.ones((1, dz.shape[-2]), dz.dtype), dz, db[..., None, :])


PLAIN = Loops(_add_bias, _bias_relu, _column_sums, {})


def with_networks(ops: Ops, loops: Loops = PLAIN, **fused: Any) -> Ops:
    """Return NumPy's operations, which then take the arrays of many networks, too.

    ``fused`` are further operations on those; the others are the reference.
    """
    table = Networks(loops)
    several = replace(
        Ops.reference(ops.xp, ops.device),
        dense=table.dense,
        dense_grad=table.dense_grad,
        dense_activation=table.dense_activation,
        dense_activation_grad=table.dense_activation_grad,
        **fused,
    )
    return for_networks(ops, several)


class Networks:
    """Dense maps of many networks."""

    def __init__(self, loops: Loops) -> None:
        self.loops = loops

    def dense(self, x: Array, W: Array, b: Array | None) -> Array:
        """x W + b."""
        return self._mapped(x, W, b, self.loops.add_bias)

    def dense_activation(
        self, ops: Ops, x: Array, W: Array, b: Array | None, f: Activation
    ) -> tuple[Array, Array]:
        """h = f(x W + b); ReLU's z is not kept."""
        if f is ACTIVATIONS["relu"]:
            h = self._mapped(x, W, b, self.loops.bias_relu)
            return h, h
        z = self.dense(x, W, b)
        return z, ops.activation(ops, z, f)

    def _mapped(self, x: Array, W: Array, b: Array | None, finish: Loop) -> Array:
        """x W, to which ``finish(z, b)`` does the rest."""
        z = empty(x, (*_front(x, W), x.shape[-2], W.shape[-1]), x.dtype)
        if W.ndim > 2:
            launch(np.matmul, x, W, z)
            finish(z, b)
            return z
        rows, out = _rows(x), _rows(z)
        for part in _blocks(x, W):
            launch(DOT, rows[part], W, out[part])
            finish(out[part], b)
        return z

    def dense_grad(
        self, x: Array, W: Array, dz: Array, need_dx: bool, out: Any = (None, None)
    ) -> tuple[Array | None, Array, Array]:
        """dz Wᵀ, xᵀ dz and the sums of dz's columns."""
        db = _room(out[1], dz, (*W.shape[:-2], W.shape[-1]))
        self.loops.column_sums(dz if W.ndim > 2 else _rows(dz), db)
        dx = _room(None, dz, (*dz.shape[:-1], W.shape[-2])) if need_dx else None
        if dx is not None and W.ndim > 2:
            _times_transposed(dz, W, dx)
        elif dx is not None:
            for part in _blocks(x, W):
                launch(DOT, _rows(dz)[part], W.T, _rows(dx)[part])
        return dx, _weights_grad(x, W, dz, out[0]), db

    def dense_activation_grad(
        self,
        ops: Ops,
        x: Array,
        W: Array,
        z: Array,
        h: Array,
        dh: Array,
        f: Activation,
        need_dx: bool,
        out: Any = (None, None),
        mask: Any = None,
    ) -> tuple[Array | None, Array, Array]:
        """The gradients of ``dense_activation``: dz and its column sums in one pass."""
        if mask is not None:
            dh = ops.dropout_grad(ops, dh, mask)
        which = self.loops.slopes.get(f.name) if f is ACTIVATIONS.get(f.name) else None
        if which is None or self.loops.slope is None:
            return self.dense_grad(x, W, ops.activation_grad(ops, z, h, dh, f), need_dx, out)
        dz = empty(dh, dh.shape, dh.dtype)
        db = _room(out[1], dh, (*W.shape[:-2], W.shape[-1]))
        dx = _room(None, dz, (*dz.shape[:-1], W.shape[-2])) if need_dx else None
        if W.ndim > 2:
            self.loops.slope(which, dh, h, dz, db)
            if dx is not None:
                _times_transposed(dz, W, dx)
            return dx, _weights_grad(x, W, dz, out[0]), db
        blocks = _blocks(x, W)
        sums = empty(dh, (len(blocks), W.shape[1]), dh.dtype)
        rows = [_rows(a) for a in (dh, h, dz)]
        for i, part in enumerate(blocks):
            self.loops.slope(which, *(a[part] for a in rows), sums[i])
            if dx is not None:
                launch(DOT, rows[2][part], W.T, _rows(dx)[part])
        launch(np.sum, sums, 0, None, db)
        return dx, _weights_grad(x, W, dz, out[0]), db


DEPTH = 2048
"""Rows of one product xᵀ dz: with 8192 OpenBLAS takes three times as long as in four parts."""

SMALL = 256
"""Elements of matrices so small that a product with their transposes takes longer than a copy."""


def _times_transposed(dz: Array, W: Array, dx: Array) -> None:
    """dz Wᵀ of each network."""
    transposed = W.transpose(0, 2, 1)
    if W.shape[1] * W.shape[2] <= SMALL:
        copied = empty(W, transposed.shape, W.dtype)
        launch(np.copyto, copied, transposed)
        transposed = copied
    launch(np.matmul, dz, transposed, dx)


def _weights_grad(x: Array, W: Array, dz: Array, dW: Array | None) -> Array:
    """xᵀ dz: of each network or, if they share W, the sum of them."""
    dW = _room(dW, dz, W.shape)
    if W.ndim > 2:
        launch(np.matmul, x.transpose(*range(x.ndim - 2), -1, -2), dz, dW)
        return dW
    rows, out = _rows(x), _rows(dz)
    starts = range(0, len(rows), DEPTH)
    if len(starts) == 1:
        launch(DOT, rows.T, out, dW)
        return dW
    parts = empty(dz, (len(starts), *W.shape), dz.dtype)
    for i, start in enumerate(starts):
        part = slice(start, start + DEPTH)
        launch(DOT, rows[part].T, out[part], parts[i])
    launch(np.sum, parts, 0, None, dW)
    return dW


def _front(x: Array, W: Array) -> tuple[int, ...]:
    return tuple(x.shape[:-2] or W.shape[:-2])


def _room(out: Array | None, like: Array, shape: tuple[int, ...]) -> Array:
    return empty(like, shape, like.dtype) if out is None else out


def _rows(x: Array) -> Array:
    """Return the rows of all networks as those of one."""
    return x.reshape(-1, x.shape[-1])


def _blocks(x: Array, W: Array) -> list[slice]:
    """Cut the rows of all networks into blocks of some networks' each."""
    (k, n), width = x.shape[:2], sum(W.shape)
    size = n * max(1, BLOCK // (n * width * x.itemsize))
    return [slice(start, min(start + size, k * n)) for start in range(0, k * n, size)]
