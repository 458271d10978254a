"""Operations for NumPy arrays with loops that numba compiles (``loops``).

Each function computes what the reference of the same name does (``xpmlp.nn.ops``), which explains
the formula.
"""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from xpmlp.nn.activations import ACTIVATIONS, Activation
from xpmlp.nn.contract import Array
from xpmlp.nn.ops import Ops
from xpmlp.nn.penalty import Penalty, counts
from xpmlp.nn.random import threshold_and_kept
from xpmlp_backends.numpy import inplace, loops, loops_networks, networks, picture_loops, tabular
from xpmlp_backends.numpy.inplace import SLOTS, dense, dense_activation, dense_grad, products_grad
from xpmlp_backends.numpy.record import empty, launch


@cache
def fused(ops: Ops) -> Ops:
    """Return the operations, with numba's loops where they are faster than NumPy."""
    compiled = networks.Loops(add_bias, bias_relu, column_sums, SLOPES, slope)
    return networks.with_networks(
        _of_one(ops),
        compiled,
        batch_mean=batch_mean_each,
        accumulate=accumulate_each,
        dropout_mask=dropout_mask_each,
        penalize=partial(penalize_each, ops.penalize),
        **tabular.of_networks(),
    )


def _of_one(ops: Ops) -> Ops:
    """Return the operations on the arrays of one network."""
    replaced = (
        dense_activation_grad, label_cross_entropy,
        softmax_cross_entropy, batch_mean, is_largest, accumulate, dropout_mask,
    )  # fmt: skip
    return replace(
        ops,
        gather_batch=partial(inplace.gather_batch, gather_batch),
        uniform=picture_loops.uniform,
        warped=picture_loops.warped,
        dense=partial(dense, partial(launch, loops.add_bias)),
        dense_grad=partial(dense_grad, partial(launch, loops.column_sums)),
        dense_activation=partial(dense_activation, partial(launch, loops.bias_relu)),
        penalize=partial(penalize, ops.penalize),
        **tabular.table(),
        **{f.__name__: f for f in replaced},
        **{name: partial(update, getattr(loops, name), n) for name, n in SLOTS.items()},
    )


# Dense maps


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
    """dz = dh · f′(z) and its column sums in one pass, then the products."""
    if mask is not None:
        dh = ops.dropout_grad(ops, dh, mask)
    if f.name not in SLOPES or f is not ACTIVATIONS[f.name]:
        return ops.dense_grad(x, W, ops.activation_grad(ops, z, h, dh, f), need_dx, out)
    dz = empty(dh, dh.shape, dh.dtype)
    db = empty(dh, dh.shape[1:], dh.dtype) if out[1] is None else out[1]
    launch(loops.slope, SLOPES[f.name], dh, h, dz, db)
    return *products_grad(x, W, dz, need_dx, out[0]), db


SLOPES = {"relu": loops.RELU, "sigmoid": loops.SIGMOID, "tanh": loops.TANH}
"""Activations whose derivative follows from h alone without a costly function."""


# The batch and its loss


def gather_batch(
    X: Array,
    y: Array,
    weight: Array | None,
    rows: Array,
    shift: Array | None,
    scale: Array | None,
    dtype: Any,
) -> tuple[Array, Array, Array | None]:
    """(X[rows] − shift) · scale, y[rows] and weight[rows]."""
    x = empty(rows, (rows.shape[0], X.shape[1]), dtype)
    # Numbers instead of None: each combination of types is compiled by itself.
    shift = np.zeros(1, dtype) if shift is None else shift
    scale = np.ones(1, dtype) if scale is None else scale
    each = shift.shape[0] > 1 or scale.shape[0] > 1
    launch(loops.gather_by_column if each else loops.gather, X, rows, shift, scale, x)
    weight = None if weight is None else np.take(weight, rows, axis=0)
    return x, np.take(y, rows, axis=0), weight


def dropout_mask(key: Array, shape: tuple[int, ...], rate: float | None, dtype: Any) -> Array:
    """0 with probability ``rate``, else 1/(1 − rate): the same bits as everywhere."""
    mask = empty(key, shape, dtype)
    launch(loops.dropout, key, *_constant(key, rate, dtype), mask.reshape(-1))
    return mask


def softmax_cross_entropy(z: Array, target: Array) -> tuple[Array, Array]:
    """−Σⱼ tⱼ ln softmax(z)ⱼ and softmax(z) − t."""
    rows, (shifted, dz) = empty(z, z.shape[:1], z.dtype), _exponentials(z)
    launch(loops.softmax_cross_entropy, shifted, target, rows, dz)
    return rows, dz


def label_cross_entropy(z: Array, labels: Array, smoothing: float = 0.0) -> tuple[Array, Array]:
    """The same for class indices."""
    if z.shape[1] == 2 and z.shape[0] >= MANY_ROWS:
        return _two_classes(z, labels, smoothing)
    rows, (shifted, dz) = empty(z, z.shape[:1], z.dtype), _exponentials(z)
    launch(loops.label_cross_entropy, shifted, labels, smoothing, rows, dz)
    return rows, dz


MANY_ROWS = 512
"""Rows of two classes from which on more calls take less time, such as those of many networks."""


def _two_classes(z: Array, labels: Array, smoothing: float) -> tuple[Array, Array]:
    shifted, dz = empty(z, z.shape, z.dtype), empty(z, z.shape, z.dtype)
    rows, sums, logs = (empty(z, z.shape[:1], z.dtype) for _ in range(3))
    launch(loops_networks.below_larger, z, 0.5 * float(np.finfo(z.dtype).max), shifted)
    launch(np.exp, shifted, dz)
    launch(loops_networks.sums_of_two, dz, sums)
    launch(np.log, sums, logs)
    launch(loops_networks.two_classes, shifted, sums, logs, labels, smoothing, rows, dz)
    return rows, dz


def _exponentials(z: Array) -> tuple[Array, Array]:
    """z less each row's largest, and exp of it: NumPy's takes many numbers at once."""
    shifted, exps = empty(z, z.shape, z.dtype), empty(z, z.shape, z.dtype)
    launch(loops.below_largest, z, 0.5 * float(np.finfo(z.dtype).max), shifted)
    launch(np.exp, shifted, exps)
    return shifted, exps


def batch_mean(rows: Array, dz: Array, weight: Array | None) -> tuple[Array, Array]:
    """The batch's loss, and its gradient."""
    value, share = empty(rows, (), rows.dtype), empty(dz, dz.shape, dz.dtype)
    tiny = float(np.finfo(rows.dtype).smallest_normal)
    launch(loops.batch_mean, rows, dz, weight, tiny, value, share)
    return value, share


def is_largest(z: Array, labels: Array) -> Array:
    """1 where the row's largest z is its label's."""
    rows = empty(z, z.shape[:1], z.dtype)
    launch(loops.is_largest, z, labels, rows)
    return rows


def accumulate(
    totals: Array, carry: Array, finite: Array, value: Array, n: int, score: Array | None
) -> tuple[Array, Array, Array]:
    """Add a batch to the epoch's sums, in place."""
    launch(loops.accumulate, totals, carry, finite, _array(value), n, score)
    return totals, carry, finite


# The same of many networks as one


def add_bias(z: Array, b: Array | None) -> None:
    """z + b, in place, of one network or of all."""
    if b is not None:
        launch((loops if b.ndim == 1 else loops_networks).add_bias, z, b)


def bias_relu(z: Array, b: Array | None) -> None:
    """max(z + b, 0), in place."""
    if b is None:
        z = z.reshape(-1, z.shape[-1])
    launch((loops if z.ndim == 2 else loops_networks).bias_relu, z, b)


def column_sums(dz: Array, db: Array) -> None:
    """The sums over the rows."""
    launch((loops if db.ndim == 1 else loops_networks).column_sums, dz, db)


def slope(which: int, dh: Array, h: Array, dz: Array, db: Array) -> None:
    """dh · f′(z) and its column sums."""
    launch((loops if db.ndim == 1 else loops_networks).slope, which, dh, h, dz, db)


def batch_mean_each(rows: Array, dz: Array, weight: Array | None) -> tuple[Array, Array]:
    """The batch's loss of each network, and its gradient."""
    value, share = empty(rows, rows.shape[:1], rows.dtype), empty(dz, dz.shape, dz.dtype)
    tiny = float(np.finfo(rows.dtype).smallest_normal)
    launch(loops_networks.batch_mean, rows, dz, weight, tiny, value, share)
    return value, share


def accumulate_each(
    totals: Array, carry: Array, finite: Array, value: Array, n: int, score: Array | None
) -> tuple[Array, Array, Array]:
    """Add a batch to the epoch's sums of each network, in place."""
    launch(loops_networks.accumulate, totals, carry, finite, value, n, score)
    return totals, carry, finite


def dropout_mask_each(keys: Array, shape: tuple[int, ...], rate: float | None, dtype: Any) -> Array:
    """The mask of each network."""
    mask = empty(keys, shape, dtype)
    launch(loops_networks.dropout, keys, *_constant(keys, rate, dtype), mask.reshape(shape[0], -1))
    return mask


def _constant(key: Array, rate: float | None, dtype: Any) -> tuple[int, float]:
    """Return threshold and factor of a rate; a factor of 0 says that the key has the threshold."""
    return (0, 0.0) if rate is None else threshold_and_kept(np, key, rate, dtype)


def penalize_each(plain: Any, penalty: Penalty, W: Array, dW: Array) -> tuple[Array, Array]:
    """Each network's part of the penalty's value, and dW with that of its gradient."""
    each = [_of_each(s, W) for s in (penalty.l1, penalty.l2)]
    if type(penalty) is not Penalty or any(s is not None and s.ndim != 1 for s in each):
        return plain(penalty, W, dW)
    value = empty(W, W.shape[:1], W.dtype)
    launch(loops_networks.penalize, W, dW, *each, value)
    return value, dW


def _of_each(strength: Any, W: Array) -> Array | None:
    """Return λ of each network; None if it is 0."""
    if not counts(strength):
        return None
    return strength if isinstance(strength, np.ndarray) else np.full(len(W), strength, W.dtype)


def _array(number: Any, dtype: Any = None) -> Array:
    """Return a number as an array; NumPy's scalars keep their dtype."""
    return number if isinstance(number, np.ndarray) else np.asarray(number, dtype)


# Updates, in place


def penalize(plain: Any, penalty: Penalty, W: Array, dW: Array) -> tuple[Array, Array]:
    """W's part of the penalty's value, and dW with that of its gradient."""
    if type(penalty) is not Penalty:  # a subclass may have other formulas
        return plain(penalty, W, dW)
    strengths = (_array(s, W.dtype) if counts(s) else None for s in (penalty.l1, penalty.l2))
    value = empty(W, (), W.dtype)
    launch(loops.penalize, W, dW, *strengths, value)
    return value, dW


def update(loop: Any, slots: int, p: Array, g: Array, *rest: Any) -> Any:
    """An optimizer's update in one pass; ``rest`` is its state, the rate, and its settings."""
    moments, rate, settings = rest[:slots], rest[slots], rest[slots + 1 :]
    launch(loop, p, g, *moments, _array(rate), *settings)
    return (p, moments) if slots else p
