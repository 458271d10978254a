"""The operations worth fusing, as a table of functions.

``Ops.reference(xp, device)`` fills it with the plain array API formulas, whose derivations are in
the modules they come from. A backend replaces fields with ``dataclasses.replace``. A test compares
every replacement with its reference, so a fast kernel cannot drift from the mathematics.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from xpmlp.nn.embeddings import sum_by_code
from xpmlp.nn.functions import Array, erf
from xpmlp.nn.layers import (
    activation,
    activation_grad,
    affine,
    affine_grad,
    dense_activation,
    dense_activation_grad,
)
from xpmlp.nn.losses import label_cross_entropy, sigmoid_cross_entropy, softmax_cross_entropy
from xpmlp.nn.metrics import accumulate, assess, batch_mean, is_largest
from xpmlp.nn.numeric import angles, angles_grad, batch_product, shares
from xpmlp.nn.parameters import Layout
from xpmlp.nn.penalty import penalize
from xpmlp.nn.random import dropout_mask, dropped, dropped_grad, uniform
from xpmlp.nn.tabular import mixed, mixed_grad
from xpmlp.nn.updates import UPDATES
from xpmlp.nn.warp import warped

Operation = Callable[..., Any]


def gather_batch(
    xp: Any,
    X: Array,
    y: Array,
    weight: Array | None,
    rows: Array,
    shift: Array | None,
    scale: Array | None,
    dtype: Any,
) -> tuple[Array, Array, Array | None]:
    """(X[rows] − shift) · scale in ``dtype``, y[rows] and weight[rows].

    X stays in memory in its dtype, such as uint8. This is the only operation that reads the data,
    so a backend may pass something else for them.

    Parameters
    ----------
    X : Array, shape (n, features)
    y : Array, shape (n,) or (n, outputs)
    weight : Array of ``dtype``, shape (n,), or None
    rows : Array of int32, shape (batch,)
    shift, scale : Array of ``dtype``, shape (features,) or (1,), or None

    Returns
    -------
    x : Array of ``dtype``, shape (batch, features)
    y : Array, shape (batch,) or (batch, outputs)
    weight : Array of ``dtype``, shape (batch,), or None
    """
    x = scaled(xp, xp.take(X, rows, axis=0), shift, scale, dtype)
    weight = None if weight is None else xp.take(weight, rows, axis=0)
    return x, xp.take(y, rows, axis=0), weight


def scaled(xp: Any, x: Array, shift: Array | None, scale: Array | None, dtype: Any) -> Array:
    """(x − shift) · scale in ``dtype``."""
    x = xp.astype(x, dtype, copy=False)
    if shift is not None:
        x = x - shift
    return x if scale is None else x * scale


def pack(xp: Any, device: Any, layout: Layout, tensors: Any, out: Array, views: Any) -> Array:
    """Join tensors into one flat buffer: ``Layout.pack``."""
    return layout.pack(xp, device, tensors, out, views)


def unpack(xp: Any, layout: Layout, flat: Array) -> dict[str, Array]:
    """Return a step's parameters as views of their buffer: ``Layout.views``."""
    return layout.views(xp, flat)


@dataclass(frozen=True)
class Ops:
    """The table. Each operation's arguments are those of its reference, without ``xp``.

    Operations are pure, with two exceptions that let a step run without new memory: buffers given
    as ``out`` may be written to, and the updates (``sgd`` to ``adam``, ``accumulate``,
    ``penalize``) may overwrite parameters, optimizer state, totals and the gradient that they add
    to. Callers use what is returned.

    Attributes
    ----------
    xp : module
        Array API namespace.
    device : object
        Where operations create arrays.
    """

    xp: Any
    device: Any
    dense: Operation
    dense_grad: Operation
    activation: Operation
    activation_grad: Operation
    dense_activation: Operation
    dense_activation_grad: Operation
    mixed: Operation
    mixed_grad: Operation
    angles: Operation
    angles_grad: Operation
    shares: Operation
    batch_product: Operation
    sum_by_code: Operation
    erf: Operation
    softmax_cross_entropy: Operation
    label_cross_entropy: Operation
    sigmoid_cross_entropy: Operation
    assess: Operation
    batch_mean: Operation
    is_largest: Operation
    accumulate: Operation
    dropout_mask: Operation
    dropout: Operation
    dropout_grad: Operation
    gather_batch: Operation
    uniform: Operation
    warped: Operation
    penalize: Operation
    pack: Operation
    unpack: Operation
    clip_by_norm: Operation
    sgd: Operation
    momentum: Operation
    nesterov: Operation
    adagrad: Operation
    rmsprop: Operation
    adam: Operation

    @classmethod
    def reference(cls, xp: Any, device: Any = None) -> "Ops":
        """Return the table of plain array API formulas for a namespace."""
        return cls(
            xp,
            device,
            dense=partial(affine, xp),
            dense_grad=partial(affine_grad, xp),
            activation=activation,
            activation_grad=activation_grad,
            dense_activation=dense_activation,
            dense_activation_grad=dense_activation_grad,
            mixed=partial(mixed, xp),
            mixed_grad=partial(mixed_grad, xp),
            angles=partial(angles, xp),
            angles_grad=partial(angles_grad, xp),
            shares=partial(shares, xp),
            batch_product=partial(batch_product, xp),
            sum_by_code=partial(sum_by_code, xp, device),
            erf=partial(erf, xp),
            softmax_cross_entropy=partial(softmax_cross_entropy, xp),
            label_cross_entropy=partial(label_cross_entropy, xp, device),
            sigmoid_cross_entropy=partial(sigmoid_cross_entropy, xp),
            assess=assess,
            batch_mean=partial(batch_mean, xp),
            is_largest=partial(is_largest, xp),
            accumulate=partial(accumulate, xp),
            dropout_mask=partial(dropout_mask, xp, device=device),
            dropout=dropped,
            dropout_grad=dropped_grad,
            gather_batch=partial(gather_batch, xp),
            uniform=partial(uniform, xp, device=device),
            warped=partial(warped, xp, device),
            penalize=partial(penalize, xp),
            pack=partial(pack, xp, device),
            unpack=partial(unpack, xp),
            **{name: partial(update, xp) for name, update in UPDATES.items()},
        )


OPERATIONS = tuple(f.name for f in fields(Ops) if f.name not in ("xp", "device"))
"""Names of the operations that a backend may replace."""
