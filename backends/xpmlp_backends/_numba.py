"""Operations for NumPy arrays as loops that numba compiles: one pass over memory each.

Every function of the table is the reference of the same name (``xpmlp.ops``), whose formula is
not explained again here. Compiled code is cached on disk where numba finds a folder to write to.
Arithmetic follows IEEE 754, NaN and infinity included; the only licence is to fuse a product and
a sum into one rounding. Loops run on one thread: the matrix products' threads wait actively, and
a second pool beside theirs made both several times slower.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numba
import numpy as np

from xpmlp.activations import ACTIVATIONS, Activation
from xpmlp.contract import Array
from xpmlp.ops import Ops
from xpmlp_backends._inplace import DOT, dense_activation, products_grad
from xpmlp_backends._record import empty, launch


class Kernel:
    """A loop that is compiled when it is first called, for the dtypes of that call."""

    def __init__(self, loop: Callable[..., Any]) -> None:
        self._compiled = compiled(loop)

    def __call__(self, *args: Any) -> None:
        """Run it."""
        self._compiled(*args)

    def bound(self, *args: Any) -> Callable[[], Any]:
        """Return a call with these arguments that does not look for their types any more."""
        found = self._compiled.overloads.get(tuple(map(numba.typeof, args)))
        return partial(self._compiled if found is None else found.entry_point, *args)


def compiled(f: Callable[..., Any]) -> Any:
    """Let numba compile a function when it is first called."""
    try:
        return numba.njit(f, cache=True, error_model="numpy", fastmath={"contract"})
    except RuntimeError:  # no folder to cache in
        return numba.njit(f, error_model="numpy", fastmath={"contract"})


def fused(ops: Ops) -> Ops:
    """Return the operations with what is faster here in place of NumPy's."""
    return replace(
        ops,
        dense=dense,
        dense_grad=dense_grad,
        dense_activation=partial(dense_activation, partial(launch, _bias_relu)),
        dense_activation_grad=dense_activation_grad,
        gather_batch=gather_batch,
        label_cross_entropy=label_cross_entropy,
        softmax_cross_entropy=softmax_cross_entropy,
        batch_mean=batch_mean,
        is_largest=is_largest,
        accumulate=accumulate,
        dropout_mask=dropout_mask,
        sgd=sgd,
        momentum=momentum,
        nesterov=nesterov,
        adagrad=adagrad,
        rmsprop=rmsprop,
        adam=adam,
    )


# Dense maps


def dense(x: Array, W: Array, b: Array | None) -> Array:
    """x W + b."""
    z = empty(x, (x.shape[0], W.shape[1]), x.dtype)
    launch(DOT, x, W, z)
    if b is not None:
        launch(_add_bias, z, b)
    return z


def dense_grad(
    x: Array, W: Array, dz: Array, need_dx: bool, out: tuple[Any, Any] = (None, None)
) -> tuple[Array | None, Array, Array]:
    """dz Wᵀ, xᵀ dz and the column sums of dz."""
    db = empty(dz, dz.shape[1:], dz.dtype) if out[1] is None else out[1]
    launch(_column_sums, dz, db)
    return *products_grad(x, W, dz, need_dx, out[0]), db


def dense_activation_grad(
    ops: Ops,
    x: Array,
    W: Array,
    z: Array,
    h: Array,
    dh: Array,
    f: Activation,
    need_dx: bool,
    out: tuple[Any, Any] = (None, None),
) -> tuple[Array | None, Array, Array]:
    """dz = dh · f′(z) and its column sums in one pass, then the products."""
    if f.name not in SLOPES or f is not ACTIVATIONS[f.name]:
        grads: tuple[Array | None, Array, Array] = ops.dense_grad(
            x, W, f.backward(ops, z, h, dh), need_dx, out
        )
        return grads
    dz = empty(dh, dh.shape, dh.dtype)
    db = empty(dh, dh.shape[1:], dh.dtype) if out[1] is None else out[1]
    launch(SLOPES[f.name], dh, h, dz, db)
    return *products_grad(x, W, dz, need_dx, out[0]), db


@Kernel
def _add_bias(z: Array, b: Array) -> None:
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] += b[j]


@Kernel
def _column_sums(dz: Array, db: Array) -> None:
    db[:] = 0
    for i in range(dz.shape[0]):
        for j in range(dz.shape[1]):
            db[j] += dz[i, j]


@Kernel
def _bias_relu(z: Array, b: Array | None) -> None:
    zero = z.dtype.type(0)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            v = z[i, j] if b is None else z[i, j] + b[j]
            z[i, j] = zero if v <= zero else v  # NaN stays


@Kernel
def _relu_slope(dh: Array, h: Array, dz: Array, db: Array) -> None:
    zero, one = dh.dtype.type(0), dh.dtype.type(1)
    db[:] = 0
    for i in range(dh.shape[0]):
        for j in range(dh.shape[1]):
            d = dh[i, j] * (one if h[i, j] > zero else zero)
            dz[i, j] = d
            db[j] += d


@Kernel
def _sigmoid_slope(dh: Array, h: Array, dz: Array, db: Array) -> None:
    one = dh.dtype.type(1)
    db[:] = 0
    for i in range(dh.shape[0]):
        for j in range(dh.shape[1]):
            d = dh[i, j] * (h[i, j] * (one - h[i, j]))
            dz[i, j] = d
            db[j] += d


@Kernel
def _tanh_slope(dh: Array, h: Array, dz: Array, db: Array) -> None:
    one = dh.dtype.type(1)
    db[:] = 0
    for i in range(dh.shape[0]):
        for j in range(dh.shape[1]):
            d = dh[i, j] * (one - h[i, j] * h[i, j])
            dz[i, j] = d
            db[j] += d


SLOPES = {"relu": _relu_slope, "sigmoid": _sigmoid_slope, "tanh": _tanh_slope}
"""Activations whose derivative follows from h alone without a costly function."""


# The batch and its loss


def gather_batch(
    X: Array, rows: Array, shift: Array | None, scale: Array | None, dtype: Any
) -> Array:
    """(X[rows] − shift) · scale."""
    x = empty(rows, (rows.shape[0], X.shape[1]), dtype)
    sizes = {a.shape[0] for a in (shift, scale) if a is not None}
    launch(_gather_by_column if sizes - {1} else _gather, X, rows, shift, scale, x)
    return x


@Kernel
def _gather(X: Array, rows: Array, shift: Array | None, scale: Array | None, out: Array) -> None:
    for i in range(rows.shape[0]):
        x, y = X[rows[i]], out[i]
        for j in range(x.shape[0]):
            v = out.dtype.type(x[j])  # before any arithmetic, which would promote to float64
            if shift is not None:
                v = v - shift[0]
            if scale is not None:
                v = v * scale[0]
            y[j] = v


@Kernel
def _gather_by_column(
    X: Array, rows: Array, shift: Array | None, scale: Array | None, out: Array
) -> None:
    for i in range(rows.shape[0]):
        x, y = X[rows[i]], out[i]
        for j in range(x.shape[0]):
            v = out.dtype.type(x[j])
            if shift is not None:
                v = v - shift[j if shift.shape[0] > 1 else 0]
            if scale is not None:
                v = v * scale[j if scale.shape[0] > 1 else 0]
            y[j] = v


def dropout_mask(key: Array, shape: tuple[int, ...], rate: float, dtype: Any) -> Array:
    """0 with probability ``rate``, else 1/(1 − rate): the same bits as everywhere."""
    mask = empty(key, shape, dtype)
    launch(_dropout, key, int(rate * 2**32) - 2**31, 1.0 / (1.0 - rate), mask.reshape(-1))
    return mask


@Kernel
def _dropout(key: Array, threshold: int, kept: float, mask: Array) -> None:
    u = np.uint32
    first, second = u(key[0]), u(key[1])
    zero, one = mask.dtype.type(0), mask.dtype.type(kept)
    for i in range(mask.shape[0]):
        x = u(u(u(i) * u(0x9E3779B9)) + first)
        x = u(u((x ^ (x >> u(16))) * u(0x7FEB352D)) + second)
        x = u((x ^ (x >> u(15))) * u(0x846CA68B))
        x = u(x ^ (x >> u(16)))
        mask[i] = one if np.int32(x) >= threshold else zero


def softmax_cross_entropy(z: Array, target: Array) -> tuple[Array, Array]:
    """−Σⱼ tⱼ ln softmax(z)ⱼ and softmax(z) − t."""
    rows, dz = empty(z, z.shape[:1], z.dtype), empty(z, z.shape, z.dtype)
    launch(_softmax_cross_entropy, z, target, 0.5 * float(np.finfo(z.dtype).max), rows, dz)
    return rows, dz


def label_cross_entropy(z: Array, labels: Array, smoothing: float = 0.0) -> tuple[Array, Array]:
    """The same for class indices."""
    rows, dz = empty(z, z.shape[:1], z.dtype), empty(z, z.shape, z.dtype)
    bound = 0.5 * float(np.finfo(z.dtype).max)
    launch(_label_cross_entropy, z, labels, smoothing, bound, rows, dz)
    return rows, dz


@compiled
def _log_softmax(z: Array, bound: float, shifted: Array, p: Array) -> Any:
    """Fill one row's z − max and softmax(z), and return ln Σ exp(z − max)."""
    largest, smallest = z.dtype.type(bound), z.dtype.type(-bound)
    top = smallest
    for j in range(z.shape[0]):
        v = z[j]
        v = largest if v > largest else smallest if v < smallest else v
        shifted[j] = v
        if not v <= top:  # NaN too, and then it stays
            top = v
    total = z.dtype.type(0)
    for j in range(z.shape[0]):
        shifted[j] -= top
        p[j] = np.exp(shifted[j])
        total += p[j]
    for j in range(z.shape[0]):
        p[j] /= total
    return np.log(total)


@Kernel
def _softmax_cross_entropy(z: Array, t: Array, bound: float, rows: Array, dz: Array) -> None:
    shifted = np.empty(z.shape[1], z.dtype)
    for i in range(z.shape[0]):
        log_total = _log_softmax(z[i], bound, shifted, dz[i])
        loss = z.dtype.type(0)
        for j in range(z.shape[1]):
            loss -= t[i, j] * (shifted[j] - log_total)
            dz[i, j] -= t[i, j]
        rows[i] = loss


@Kernel
def _label_cross_entropy(
    z: Array, labels: Array, smoothing: float, bound: float, rows: Array, dz: Array
) -> None:
    shifted = np.empty(z.shape[1], z.dtype)
    spread, own = z.dtype.type(smoothing / z.shape[1]), z.dtype.type(1.0 - smoothing)
    for i in range(z.shape[0]):
        log_total = _log_softmax(z[i], bound, shifted, dz[i])
        k = labels[i]
        loss = own * (log_total - shifted[k])
        dz[i, k] -= own
        if smoothing != 0.0:
            for j in range(z.shape[1]):
                loss += spread * (log_total - shifted[j])
                dz[i, j] -= spread
        rows[i] = loss


def batch_mean(rows: Array, dz: Array, weight: Array | None) -> tuple[Array, Array]:
    """The batch's loss, and its gradient."""
    value, share = empty(rows, (), rows.dtype), empty(dz, dz.shape, dz.dtype)
    tiny = float(np.finfo(rows.dtype).smallest_normal)
    launch(_batch_mean, rows, dz, weight, tiny, value, share)
    return value, share


@Kernel
def _batch_mean(
    rows: Array, dz: Array, weight: Array | None, tiny: float, value: Array, out: Array
) -> None:
    n = rows.shape[0]
    total = 0.0  # in float64
    if weight is not None:
        for i in range(n):
            total += weight[i]
        total = rows.dtype.type(max(total, tiny))
    loss = 0.0
    for i in range(n):
        share = rows.dtype.type(1.0 / n) if weight is None else weight[i] / total
        loss += rows[i] if weight is None else rows[i] * share
        for j in range(dz.shape[1]):
            out[i, j] = dz[i, j] * share
    value[()] = loss / n if weight is None else loss


def is_largest(z: Array, labels: Array) -> Array:
    """1 where the row's largest z is its label's."""
    rows = empty(z, z.shape[:1], z.dtype)
    launch(_is_largest, z, labels, rows)
    return rows


@Kernel
def _is_largest(z: Array, labels: Array, rows: Array) -> None:
    for i in range(z.shape[0]):
        best = 0
        for j in range(1, z.shape[1]):
            if z[i, j] > z[i, best] or (z[i, j] != z[i, j] and z[i, best] == z[i, best]):
                best = j  # the first NaN counts as the largest, as in argmax
        rows[i] = 1 if best == labels[i] else 0


def accumulate(
    totals: Array, carry: Array, finite: Array, value: Array, n: int, score: Array | None
) -> tuple[Array, Array, Array]:
    """Add a batch to the epoch's sums, in place."""
    launch(_accumulate, totals, carry, finite, _array(value), n, score)
    return totals, carry, finite


@Kernel
def _accumulate(
    totals: Array, carry: Array, finite: Array, value: Array, n: int, score: Array | None
) -> None:
    t = totals.dtype.type
    scored = t(0)
    if score is not None:
        for i in range(score.shape[0]):
            scored += score[i]
    for i in range(2):
        add = (t(value[()] * n) if i == 0 else scored) - carry[i]
        total = totals[i] + add
        carry[i] = (total - totals[i]) - add
        totals[i] = total
        if np.isfinite(total):
            finite[i] += 1


def _array(number: Any) -> Array:
    """Return a number that was read from an array as an array again."""
    return number if isinstance(number, np.ndarray) else np.asarray(number)


# Updates, in place


def sgd(p: Array, g: Array, rate: Array) -> Array:
    """θ ← θ − η g."""
    launch(_sgd, p, g, _array(rate))
    return p


@Kernel
def _sgd(p: Array, g: Array, rate: Array) -> None:
    eta = rate[()]
    for i in range(p.shape[0]):
        p[i] -= eta * g[i]


def momentum(p: Array, g: Array, v: Array, rate: Array, mu: float) -> Any:
    """v ← μ v + g, θ ← θ − η v."""
    launch(_momentum, p, g, v, _array(rate), mu)
    return p, (v,)


@Kernel
def _momentum(p: Array, g: Array, v: Array, rate: Array, mu: float) -> None:
    eta, mu = rate[()], p.dtype.type(mu)
    for i in range(p.shape[0]):
        v[i] = mu * v[i] + g[i]
        p[i] -= eta * v[i]


def nesterov(p: Array, g: Array, v: Array, rate: Array, mu: float) -> Any:
    """v ← μ v + g, θ ← θ − η (g + μ v)."""
    launch(_nesterov, p, g, v, _array(rate), mu)
    return p, (v,)


@Kernel
def _nesterov(p: Array, g: Array, v: Array, rate: Array, mu: float) -> None:
    eta, mu = rate[()], p.dtype.type(mu)
    for i in range(p.shape[0]):
        v[i] = mu * v[i] + g[i]
        p[i] -= eta * (g[i] + mu * v[i])


def adagrad(p: Array, g: Array, s: Array, rate: Array, epsilon: float) -> Any:
    """s ← s + g², θ ← θ − η g/(√s + ε)."""
    launch(_adagrad, p, g, s, _array(rate), epsilon)
    return p, (s,)


@Kernel
def _adagrad(p: Array, g: Array, s: Array, rate: Array, epsilon: float) -> None:
    eta, epsilon = rate[()], p.dtype.type(epsilon)
    for i in range(p.shape[0]):
        s[i] += g[i] * g[i]
        p[i] -= eta * g[i] / (np.sqrt(s[i]) + epsilon)


def rmsprop(p: Array, g: Array, s: Array, rate: Array, rho: float, epsilon: float) -> Any:
    """s ← ρ s + (1 − ρ) g², θ ← θ − η g/(√s + ε)."""
    launch(_rmsprop, p, g, s, _array(rate), rho, 1.0 - rho, epsilon)
    return p, (s,)


@Kernel
def _rmsprop(
    p: Array, g: Array, s: Array, rate: Array, rho: float, rest: float, epsilon: float
) -> None:
    t = p.dtype.type
    eta, rho, rest, epsilon = rate[()], t(rho), t(rest), t(epsilon)
    for i in range(p.shape[0]):
        s[i] = rho * s[i] + rest * (g[i] * g[i])
        p[i] -= eta * g[i] / (np.sqrt(s[i]) + epsilon)


def adam(
    p: Array, g: Array, m: Array, v: Array, c: Array, beta1: float, beta2: float, epsilon: float
) -> Any:
    """Adam and AdamW."""
    launch(_adam, p, g, m, v, c, beta1, 1.0 - beta1, beta2, 1.0 - beta2, epsilon)
    return p, (m, v)


@Kernel
def _adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    c: Array,
    beta1: float,
    rest1: float,
    beta2: float,
    rest2: float,
    epsilon: float,
) -> None:
    t = p.dtype.type
    beta1, rest1, beta2, rest2 = t(beta1), t(rest1), t(beta2), t(rest2)
    epsilon, step, root, keep = t(epsilon), c[0], c[1], c[2]
    for i in range(p.shape[0]):
        m[i] = beta1 * m[i] + rest1 * g[i]
        v[i] = beta2 * v[i] + rest2 * (g[i] * g[i])
        p[i] = keep * p[i] - step * m[i] / (root * np.sqrt(v[i]) + epsilon)
