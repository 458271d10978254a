"""Loops over NumPy arrays that numba compiles: one pass over memory each.

Compiled code is cached on disk where numba finds a folder to write to. Arithmetic follows
IEEE 754, NaN and infinity included; the only licences are to fuse a product and a sum into one
rounding and, in a ``summing`` kernel, to add in any order. Loops run on one thread: the threads
of the matrix products spin while they wait, and a second pool beside them made both several times
slower.

The formulas are those of the operations that call them (``fused``). Results go to the last
arguments; updates write to the first.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np

from xpmlp.nn.contract import Array

if getattr(numba.config, "DISABLE_JIT", 0):
    raise ImportError("NUMBA_DISABLE_JIT is set, and uncompiled these loops are too slow")


class Kernel:
    """A loop that is compiled when it is first called, for the dtypes of that call."""

    def __init__(self, loop: Callable[..., Any], any_order: bool = False) -> None:
        self.loop = loop
        self._compile = partial(compiled, loop, any_order)
        try:
            self._compiled = self._compile(cache=True)
        except RuntimeError:  # there is no cache folder
            self._compiled = self._compile()

    def __call__(self, *args: Any) -> None:
        """Run it."""
        try:
            self._compiled(*args)
        except OSError:  # compiled, but the cache folder is full or not writable
            self._compiled = self._compile()
            self._compiled(*args)

    def bound(self, *args: Any) -> Callable[[], Any]:
        """Return a call with these arguments that skips the look-up of their types."""
        found = self._compiled.overloads.get(tuple(map(_type, args)))
        return partial(self._compiled if found is None else found.entry_point, *args)


_typeof: Callable[[Any], Any] = numba.typeof
_types: dict[Any, Any] = {}


def _type(x: Any) -> Any:
    """Return numba's type of an argument, which for an array takes longer than a small loop."""
    if not isinstance(x, np.ndarray):
        return _typeof(x)
    kind = (x.dtype, x.ndim, x.flags.num)
    if kind not in _types:
        _types[kind] = _typeof(x)
    return _types[kind]


def compiled(f: Callable[..., Any], any_order: bool = False, cache: bool = False) -> Any:
    """Let numba compile a function when it is first called."""
    licences = {"contract", "reassoc"} if any_order else {"contract"}
    return numba.njit(f, cache=cache, error_model="numpy", fastmath=licences)


summing = partial(Kernel, any_order=True)
"""A kernel whose sums may be added in any order, which takes a fifth of the time."""


# Dense maps


@Kernel
def add_bias(z: Array, b: Array) -> None:
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] += b[j]


@Kernel
def column_sums(dz: Array, db: Array) -> None:
    db[:] = 0
    for i in range(dz.shape[0]):
        for j in range(dz.shape[1]):
            db[j] += dz[i, j]


@Kernel
def bias_relu(z: Array, b: Array | None) -> None:
    zero = z.dtype.type(0)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            v = z[i, j] if b is None else z[i, j] + b[j]
            z[i, j] = zero if v <= zero else v  # NaN stays


RELU, SIGMOID, TANH = range(3)


@Kernel
def slope(which: int, dh: Array, h: Array, dz: Array, db: Array) -> None:
    zero, one = dh.dtype.type(0), dh.dtype.type(1)
    db[:] = 0
    for i in range(dh.shape[0]):
        for j in range(dh.shape[1]):
            y = h[i, j]
            if which == RELU:  # the compiler makes a loop of each case
                d = one if y > zero else zero
            elif which == SIGMOID:
                d = y * (one - y)
            else:
                d = one - y * y
            d = dh[i, j] * d
            dz[i, j] = d
            db[j] += d


# The batch and its loss


@Kernel
def gather(X: Array, rows: Array, shift: Array, scale: Array, out: Array) -> None:
    for i in range(rows.shape[0]):
        x, y = X[rows[i]], out[i]
        for j in range(x.shape[0]):
            # Converted before any arithmetic, which would promote to float64.
            y[j] = (out.dtype.type(x[j]) - shift[0]) * scale[0]


@Kernel
def gather_by_column(X: Array, rows: Array, shift: Array, scale: Array, out: Array) -> None:
    for i in range(rows.shape[0]):
        x, y = X[rows[i]], out[i]
        for j in range(x.shape[0]):
            a = shift[j if shift.shape[0] > 1 else 0]
            y[j] = (out.dtype.type(x[j]) - a) * scale[j if scale.shape[0] > 1 else 0]


@Kernel
def dropout(key: Array, threshold: int, kept: float, mask: Array) -> None:
    u = np.uint32
    first, second = u(key[0]), u(key[1])
    zero, one = mask.dtype.type(0), mask.dtype.type(kept)
    if kept == 0:
        threshold, half = key[2], mask.dtype.type(2147483648.0)
        one = mask.dtype.type(4294967296.0) / (half - mask.dtype.type(key[2]))
    for i in range(mask.shape[0]):
        x = u(u(u(i) * u(0x9E3779B9)) + first)
        x = u(u((x ^ (x >> u(16))) * u(0x7FEB352D)) + second)
        x = u((x ^ (x >> u(15))) * u(0x846CA68B))
        x = u(x ^ (x >> u(16)))
        mask[i] = one if np.int32(x) >= threshold else zero


@Kernel
def below_largest(z: Array, bound: float, shifted: Array) -> None:
    largest, smallest = z.dtype.type(bound), z.dtype.type(-bound)
    for i in range(z.shape[0]):
        top = smallest
        for j in range(z.shape[1]):
            top = z[i, j] if z[i, j] > top else top
        top = min(top, largest)
        for j in range(z.shape[1]):
            v = z[i, j]
            v = largest if v > largest else smallest if v < smallest else v  # NaN stays
            shifted[i, j] = v - top


@partial(compiled, any_order=True)
def normalize(p: Array) -> Any:
    """Divide a row by its sum, and return the sum's logarithm."""
    total = p.dtype.type(0)
    for j in range(p.shape[0]):
        total += p[j]
    for j in range(p.shape[0]):
        p[j] /= total
    return np.log(total)


@summing
def softmax_cross_entropy(shifted: Array, t: Array, rows: Array, dz: Array) -> None:
    for i in range(dz.shape[0]):
        log_total = normalize(dz[i])
        loss = dz.dtype.type(0)
        for j in range(dz.shape[1]):
            loss -= t[i, j] * (shifted[i, j] - log_total)
            dz[i, j] -= t[i, j]
        rows[i] = loss


@summing
def label_cross_entropy(
    shifted: Array, labels: Array, smoothing: float, rows: Array, dz: Array
) -> None:
    spread, own = dz.dtype.type(smoothing / dz.shape[1]), dz.dtype.type(1.0 - smoothing)
    for i in range(dz.shape[0]):
        log_total = normalize(dz[i])
        k = labels[i]
        loss = own * (log_total - shifted[i, k])
        dz[i, k] -= own
        if smoothing != 0.0:
            for j in range(dz.shape[1]):
                loss += spread * (log_total - shifted[i, j])
                dz[i, j] -= spread
        rows[i] = loss


@Kernel
def batch_mean(
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


@Kernel
def is_largest(z: Array, labels: Array, rows: Array) -> None:
    for i in range(z.shape[0]):
        best = 0
        for j in range(1, z.shape[1]):
            if z[i, j] > z[i, best] or (z[i, j] != z[i, j] and z[i, best] == z[i, best]):
                best = j  # the first NaN counts as the largest, as in argmax
        rows[i] = 1 if best == labels[i] else 0


@Kernel
def accumulate(
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


# Updates, in place


@summing
def penalize(W: Array, dW: Array, l1: Array | None, l2: Array | None, value: Array) -> None:
    W, dW = W.reshape(-1), dW.reshape(-1)
    zero, one = W.dtype.type(0), W.dtype.type(1)
    magnitudes, squares = 0.0, 0.0  # in float64
    for i in range(W.shape[0]):
        w, d = W[i], dW[i]
        if l1 is not None:
            magnitudes += abs(w)
            d += l1[()] * (one if w > zero else -one if w < zero else w)  # NaN stays
        if l2 is not None:
            squares += w * w
            d += l2[()] * w
        dW[i] = d
    total = 0.0
    if l1 is not None:
        total += l1[()] * magnitudes
    if l2 is not None:
        total += 0.5 * l2[()] * squares
    value[()] = total


@Kernel
def sgd(p: Array, g: Array, rate: Array) -> None:
    eta = rate[()]
    for i in range(p.shape[0]):
        p[i] -= eta * g[i]


@Kernel
def momentum(p: Array, g: Array, v: Array, rate: Array, mu: float) -> None:
    eta, mu = rate[()], p.dtype.type(mu)
    for i in range(p.shape[0]):
        v[i] = mu * v[i] + g[i]
        p[i] -= eta * v[i]


@Kernel
def nesterov(p: Array, g: Array, v: Array, rate: Array, mu: float) -> None:
    eta, mu = rate[()], p.dtype.type(mu)
    for i in range(p.shape[0]):
        v[i] = mu * v[i] + g[i]
        p[i] -= eta * (g[i] + mu * v[i])


@Kernel
def adagrad(p: Array, g: Array, s: Array, rate: Array, epsilon: float) -> None:
    eta, epsilon = rate[()], p.dtype.type(epsilon)
    for i in range(p.shape[0]):
        s[i] += g[i] * g[i]
        p[i] -= eta * g[i] / (np.sqrt(s[i]) + epsilon)


@Kernel
def rmsprop(p: Array, g: Array, s: Array, rate: Array, rho: float, epsilon: float) -> None:
    t = p.dtype.type
    eta, rho, rest, epsilon = rate[()], t(rho), t(1.0 - rho), t(epsilon)
    for i in range(p.shape[0]):
        s[i] = rho * s[i] + rest * (g[i] * g[i])
        p[i] -= eta * g[i] / (np.sqrt(s[i]) + epsilon)


@Kernel
def adam(
    p: Array, g: Array, m: Array, v: Array, c: Array, beta1: float, beta2: float, epsilon: float
) -> None:
    t = p.dtype.type
    beta1, rest1, beta2, rest2 = t(beta1), t(1.0 - beta1), t(beta2), t(1.0 - beta2)
    epsilon, step, root, keep = t(epsilon), c[0], c[1], c[2]
    for i in range(p.shape[0]):
        m[i] = beta1 * m[i] + rest1 * g[i]
        v[i] = beta2 * v[i] + rest2 * (g[i] * g[i])
        p[i] = keep * p[i] - step * m[i] / (root * np.sqrt(v[i]) + epsilon)
