"""NumPy on the CPU: the backend that is always there."""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from xpmlp.activations import ACTIVATIONS, Activation
from xpmlp.contract import Array, Forward, Run, Step
from xpmlp.ops import Ops
from xpmlp.optimizers import UPDATES
from xpmlp_backends._base import EagerBackend, only_cpu
from xpmlp_backends._record import empty, launch
from xpmlp_backends._replay import RecordedForward, RecordedRun

BLOCK = 65536
"""Elements an update takes at a time: in float32 its five arrays are a megabyte of cache."""


DOT = np.ndarray.dot
"""``DOT(a, b, out)``: the quickest of NumPy's ways to BLAS, by half a microsecond a product."""


class NumpyBackend(EagerBackend):
    """Recorded steps, and operations that write where their result is wanted.

    Parameters
    ----------
    fused : bool, optional
        Whether to compute with kernels compiled by numba. By default if it is installed, unless
        the environment has ``XPMLP_FUSED=0``.
    """

    def __init__(self, fused: bool | None = None) -> None:
        super().__init__("numpy", xp, "cpu")
        self.ops = in_place(self.ops)
        self.fused = _want_fused() if fused is None else fused
        if self.fused:
            from xpmlp_backends import _numba

            self.ops = _numba.fused(self.ops)

    def owns(self, x: object) -> bool:
        """Whether x is a NumPy array."""
        return isinstance(x, np.ndarray)

    def to_numpy(self, x: Array) -> np.ndarray:
        """Return a copy."""
        return np.array(x)

    def asarray(self, host: Any, dtype: str | None = None) -> Array:
        """Return the array itself where its dtype fits: nothing here writes to data."""
        return np.asarray(host, dtype=dtype)

    def compile(self, step: Step) -> Run:
        """Return a loop that plays the recorded step."""
        return RecordedRun(step)

    def compile_forward(self, forward: Forward) -> Forward:
        """Return a function that plays the recorded pass where a few rows come."""
        return RecordedForward(forward)


# Operations


def in_place(ops: Ops) -> Ops:
    """Return the reference operations, writing where their results are wanted."""
    updates = {name: blocked(UPDATES[name], slots) for name, slots in SLOTS.items()}
    return replace(
        ops,
        dense=dense,
        dense_grad=dense_grad,
        dense_activation=partial(dense_activation, _relu),
        pack=pack,
        adam=adam,
        **updates,
    )


def dense(x: Array, W: Array, b: Array | None) -> Array:
    """``xpmlp.layers.affine`` with the bias added in place."""
    z = empty(x, (x.shape[0], W.shape[1]), x.dtype)
    launch(DOT, x, W, z)
    if b is not None:
        launch(np.add, z, b, z)
    return z


def dense_grad(
    x: Array, W: Array, dz: Array, need_dx: bool, out: tuple[Any, Any] = (None, None)
) -> tuple[Array | None, Array, Array]:
    """``xpmlp.layers.affine_grad`` with the products written to ``out``."""
    db = empty(dz, dz.shape[1:], dz.dtype) if out[1] is None else out[1]
    # As a product, because BLAS adds columns three times as fast as NumPy.
    launch(DOT, np.ones(dz.shape[0], dz.dtype), dz, db)
    return *products_grad(x, W, dz, need_dx, out[0]), db


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
    launch(DOT, x.T, dz, dW)
    return dx, dW


def dense_activation(
    bias_relu: Callable[[Array, Array | None], Any],
    ops: Ops,
    x: Array,
    W: Array,
    b: Array | None,
    f: Activation,
) -> tuple[Array, Array]:
    """h = f(x W + b); ReLU's z is not kept, because h > 0 where z > 0.

    ``bias_relu(z, b)`` is to turn z in place into max(z + b, 0).
    """
    if f is not ACTIVATIONS["relu"]:
        z = ops.dense(x, W, b)
        return z, f.function(ops, z)
    h = empty(x, (x.shape[0], W.shape[1]), x.dtype)
    launch(DOT, x, W, h)
    bias_relu(h, b)
    return h, h


def _relu(z: Array, b: Array | None) -> None:
    if b is not None:
        launch(np.add, z, b, z)
    # NumPy's loop over a row of zeros is twice as fast as its loop over one.
    launch(np.maximum, z, np.zeros(z.shape[1], z.dtype), out=z)


def pack(layout: Any, tensors: Any, out: Array, views: Any) -> Array:
    """``Layout.pack`` in place: what already lies in ``out`` is not copied."""
    for name, view in views.items():
        if tensors[name] is not view:
            launch(np.copyto, view, tensors[name])
    return out


SLOTS = {"sgd": 0, "momentum": 1, "nesterov": 1, "adagrad": 1, "rmsprop": 1}
"""How many running averages each update has."""


def blocked(update: Callable[..., Any], slots: int) -> Callable[..., Any]:
    """Return an update that works in place, block by block, so that a block stays in the cache."""

    def in_blocks(p: Array, g: Array, *rest: Any) -> Any:
        moments, settings = rest[:slots], rest[slots:]
        for start in range(0, p.shape[0], BLOCK):
            part = slice(start, start + BLOCK)
            places = [p[part], *(m[part] for m in moments)]
            result = update(np, places[0], g[part], *places[1:], *settings)
            results = (result[0], *result[1]) if slots else (result,)
            for place, new in zip(places, results, strict=True):
                launch(np.copyto, place, new)
        return (p, moments) if slots else p

    return in_blocks


def adam(
    p: Array, g: Array, m: Array, v: Array, c: Array, beta1: float, beta2: float, epsilon: float
) -> Any:
    """``xpmlp.optimizers.adam`` in place, in 13 passes over a block where the formula takes 18.

    m += (1 − β₁)(g − m);  v += (1 − β₂)(g² − v);  with c₀ and ε divided by c₁ in the last term.
    """
    rest1, rest2, eps = (np.array(x, p.dtype) for x in (1.0 - beta1, 1.0 - beta2, epsilon))
    step, floor = empty(p, (), p.dtype), empty(p, (), p.dtype)
    launch(np.divide, c[0, ...], c[1, ...], step)
    launch(np.divide, eps, c[1, ...], floor)
    for start in range(0, p.shape[0], BLOCK):
        part = slice(start, start + BLOCK)
        _adam(p[part], g[part], m[part], v[part], step, floor, c[2, ...], rest1, rest2)
    return p, (m, v)


def _adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    step: Array,
    floor: Array,
    keep: Array,
    rest1: Array,
    rest2: Array,
) -> None:
    x = empty(p, p.shape, p.dtype)
    for f, *args in (
        (np.subtract, g, m, x),
        (np.multiply, x, rest1, x),
        (np.add, m, x, m),
        (np.multiply, g, g, x),
        (np.subtract, x, v, x),
        (np.multiply, x, rest2, x),
        (np.add, v, x, v),
        (np.sqrt, v, x),
        (np.add, x, floor, x),
        (np.divide, m, x, x),
        (np.multiply, x, step, x),
        (np.multiply, p, keep, p),
        (np.subtract, p, x, p),
    ):
        launch(f, *args)


def _want_fused() -> bool:
    return os.environ.get("XPMLP_FUSED", "1") != "0" and find_spec("numba") is not None


def create(device: str | None = None, fused: bool | None = None) -> NumpyBackend:
    """Return the NumPy backend."""
    only_cpu("numpy", device)
    return NumpyBackend(fused)
