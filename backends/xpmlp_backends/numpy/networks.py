"""Operations for the NumPy arrays of many networks as one, of three axes.

Each function computes what the reference of the same name does (``xpmlp.nn.ops``), which explains
the formula. Products of all networks are one call of ``numpy.matmul``, which calls BLAS for each:
for small matrices that takes a third of a loop's time, and for large ones the same. Networks that
share a matrix are the rows of one network, k times as many.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpmlp.nn.activations import ACTIVATIONS, Activation
from xpmlp.nn.contract import Array
from xpmlp.nn.ops import Ops
from xpmlp_backends.networks import for_networks
from xpmlp_backends.numpy.record import empty, launch

Loop = Callable[..., None]


@dataclass(frozen=True)
class Loops:
    """What is done to all networks in place, by NumPy or by loops that numba compiles.

    Attributes
    ----------
    add_bias, bias_relu : callable (z, b)
        Turn z (k, n, out) into z + b, or max(z + b, 0), with b (k, out).
    column_sums : callable (dz, db)
        Write the sums over the rows.
    slopes : dict of str to int
        The activations for which there is ``slope(which, dh, h, dz, db)``.
    """

    add_bias: Loop
    bias_relu: Loop
    column_sums: Loop
    slopes: dict[str, int]
    slope: Loop | None = None


def _add_bias(z: Array, b: Array) -> None:
    launch(np.add, z, b[:, None, :], z)


def _bias_relu(z: Array, b: Array | None) -> None:
    if b is not None:
        _add_bias(z, b)
    launch(np.maximum, z, np.zeros((), z.dtype), out=z)


def _column_sums(dz: Array, db: Array) -> None:
    launch(np.matmul, np.ones((1, dz.shape[1]), dz.dtype), dz, db[:, None, :])


PLAIN = Loops(_add_bias, _bias_relu, _column_sums, {})


def with_networks(ops: Ops, loops: Loops = PLAIN, **fused: Any) -> Ops:
    """Return NumPy's operations, which then take the arrays of many networks, too.

    ``fused`` are further operations on those; the others are the reference.
    """
    table = Networks(ops, loops)
    reference = Ops.reference(ops.xp, ops.device)
    several = replace(
        reference,
        dense=table.dense,
        dense_grad=table.dense_grad,
        dense_activation=table.dense_activation,
        dense_activation_grad=table.dense_activation_grad,
        **fused,
    )
    return for_networks(ops, several)


class Networks:
    """Dense maps of many networks.

    Parameters
    ----------
    single : Ops
        The operations on the arrays of one network.
    loops : Loops
    """

    def __init__(self, single: Ops, loops: Loops) -> None:
        self.single, self.loops = single, loops

    def dense(self, x: Array, W: Array, b: Array | None) -> Array:
        """x W + b."""
        if W.ndim == 2:
            return _networks(self.single.dense(_rows(x), W, b), x)
        z = _products(x, W)
        if b is not None:
            self.loops.add_bias(z, b)
        return z

    def dense_activation(
        self, ops: Ops, x: Array, W: Array, b: Array | None, f: Activation
    ) -> tuple[Array, Array]:
        """h = f(x W + b); ReLU's z is not kept."""
        if W.ndim == 2:
            z, h = self.single.dense_activation(ops, _rows(x), W, b, f)
            return _networks(z, x), _networks(h, x)
        if f is not ACTIVATIONS["relu"]:
            z = self.dense(x, W, b)
            return z, ops.activation(ops, z, f)
        h = _products(x, W)
        self.loops.bias_relu(h, b)
        return h, h

    def dense_grad(
        self, x: Array, W: Array, dz: Array, need_dx: bool, out: Any = (None, None)
    ) -> tuple[Array | None, Array, Array]:
        """dz Wᵀ, xᵀ dz and the sums of dz's columns."""
        if W.ndim == 2:
            dx, dW, db = self.single.dense_grad(_rows(x), W, _rows(dz), need_dx, out)
            return None if dx is None else _networks(dx, x), dW, db
        db = _room(out[1], dz, (dz.shape[0], dz.shape[2]))
        self.loops.column_sums(dz, db)
        return *self._products_grad(x, W, dz, need_dx, out[0]), db

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
        """The gradients of ``dense_activation``."""
        if mask is not None:
            dh = ops.dropout_grad(ops, dh, mask)
        if W.ndim == 2:
            given = (_rows(x), W, _rows(z), _rows(h), _rows(dh))
            dx, dW, db = self.single.dense_activation_grad(ops, *given, f, need_dx, out)
            return None if dx is None else _networks(dx, x), dW, db
        if self.loops.slope is None or self.loops.slopes.get(f.name) is None:
            return self.dense_grad(x, W, ops.activation_grad(ops, z, h, dh, f), need_dx, out)
        dz = empty(dh, dh.shape, dh.dtype)
        db = _room(out[1], dh, (dh.shape[0], dh.shape[2]))
        self.loops.slope(self.loops.slopes[f.name], dh, h, dz, db)
        return *self._products_grad(x, W, dz, need_dx, out[0]), db

    def _products_grad(
        self, x: Array, W: Array, dz: Array, need_dx: bool, dW: Array | None
    ) -> tuple[Array | None, Array]:
        dx = None
        if need_dx:
            dx = empty(dz, (*dz.shape[:2], W.shape[1]), dz.dtype)
            launch(np.matmul, dz, W.transpose(0, 2, 1), dx)
        dW = _room(dW, dz, W.shape)
        launch(np.matmul, x.transpose(*range(x.ndim - 2), -1, -2), dz, dW)
        return dx, dW


def _products(x: Array, W: Array) -> Array:
    z = empty(x, (W.shape[0], x.shape[-2], W.shape[2]), x.dtype)
    launch(np.matmul, x, W, z)
    return z


def _room(out: Array | None, like: Array, shape: tuple[int, ...]) -> Array:
    return empty(like, shape, like.dtype) if out is None else out


def _rows(x: Array) -> Array:
    """Return the rows of all networks as those of one."""
    return x.reshape(-1, x.shape[-1])


def _networks(rows: Array, like: Array) -> Array:
    """Return rows as those of each network, as ``like`` has them."""
    return rows.reshape(*like.shape[:-1], rows.shape[-1])
