"""Loops for networks on tables, compiled as those of ``loops`` are: one pass over memory each."""

from math import inf, pi

from xpmlp.nn.activations import SELU_ALPHA, SELU_SCALE
from xpmlp.nn.contract import Array
from xpmlp_backends.numpy.loops import Kernel, summing

SELU_BOUND = SELU_SCALE * SELU_ALPHA
TURN = 2.0 * pi
LOWEST = {4: -40.0, 8: -300.0}
"""Below it, by the bytes of a number, eᶻ is nothing beside 1, and so are Mish and its slope. They
are 0 there: of numbers that are almost 0, subnormal ones, a product takes ten times as long."""


@Kernel
def minus_magnitude(z: Array, out: Array, lowest: float) -> None:
    """Minus |z|, but not below the lowest. NaN and infinity stay."""
    low, infinite = z.dtype.type(lowest), z.dtype.type(inf)
    for i in range(z.shape[0]):
        out[i] = low if -low < abs(z[i]) < infinite else -abs(z[i])


@Kernel
def mish(z: Array, n: Array, h: Array, lowest: float) -> None:
    """z tanh(ln(1 + eᶻ)), a fraction of n = exp(−|z|) that neither overflows nor cancels."""
    zero, one, two, low = z.dtype.type(0), z.dtype.type(1), z.dtype.type(2), z.dtype.type(lowest)
    infinite = z.dtype.type(inf)
    for i in range(z.shape[0]):
        right, q = z[i] >= 0, n[i]
        top = one + two * q if right else q * (q + two)
        part = top / (top + (two * q * q if right else two))
        h[i] = zero if -infinite < z[i] < low else z[i] * part


@Kernel
def mish_slope(dh: Array, z: Array, n: Array, dz: Array, lowest: float) -> None:
    """t + z s (1 − t²) with the fractions t of ``mish``, and s of the sigmoid."""
    zero, one, two, low = z.dtype.type(0), z.dtype.type(1), z.dtype.type(2), z.dtype.type(lowest)
    infinite = z.dtype.type(inf)
    for i in range(z.shape[0]):
        right, q = z[i] >= 0, n[i]
        top = one + two * q if right else q * (q + two)
        rest = two * q * q if right else two
        t, below = top / (top + rest), rest / (top + rest)  # below is 1 − t
        s = one / (one + q) if right else q / (one + q)
        dz[i] = zero if -infinite < z[i] < low else dh[i] * (t + z[i] * s * below * (one + t))


@Kernel
def not_above_zero(z: Array, out: Array) -> None:
    zero = z.dtype.type(0)
    for i in range(z.shape[0]):
        out[i] = zero if z[i] > zero else z[i]  # NaN stays


@Kernel
def selu(z: Array, h: Array) -> None:
    """h is eᶻ − 1 where z is not above 0, and becomes SELU."""
    zero, scale, bound = z.dtype.type(0), z.dtype.type(SELU_SCALE), z.dtype.type(SELU_BOUND)
    for i in range(z.shape[0]):
        h[i] = scale * z[i] if z[i] > zero else bound * h[i]


@Kernel
def selu_slope(dh: Array, h: Array, dz: Array) -> None:
    zero, scale, bound = h.dtype.type(0), h.dtype.type(SELU_SCALE), h.dtype.type(SELU_BOUND)
    for i in range(h.shape[0]):
        dz[i] = dh[i] * (scale if h[i] > zero else h[i] + bound)


@Kernel
def mixed(z: Array, h: Array, a: Array, y: Array) -> None:
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            y[i, j] = z[i, j] + a[j] * (h[i, j] - z[i, j])


@Kernel
def mixed_grad(z: Array, h: Array, a: Array, dy: Array, dh: Array, dz: Array, da: Array) -> None:
    one = dy.dtype.type(1)
    da[:] = 0
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            d = dy[i, j]
            dh[i, j] = d * a[j]
            dz[i, j] = d * (one - a[j])
            da[j] += d * (h[i, j] - z[i, j])


@Kernel
def angles(x: Array, w: Array, b: Array, theta: Array) -> None:
    turn = x.dtype.type(TURN)
    for j in range(theta.shape[0]):
        for i in range(theta.shape[1]):
            value = x[i, j] * turn
            for k in range(theta.shape[2]):
                theta[j, i, k] = value * w[j, k] + b[j, k]


@summing
def angles_grad(
    x: Array, w: Array, sine: Array, dcosine: Array, dw: Array, db: Array, dx: Array | None
) -> None:
    turn = x.dtype.type(TURN)
    dw[:] = 0
    db[:] = 0
    for j in range(sine.shape[0]):
        for i in range(sine.shape[1]):
            value = x[i, j] * turn
            for k in range(sine.shape[2]):
                d = sine[j, i, k] * dcosine[j, i, k]
                db[j, k] -= d
                dw[j, k] -= d * value
            if dx is not None:
                total = x.dtype.type(0)
                for k in range(sine.shape[2]):
                    total -= sine[j, i, k] * dcosine[j, i, k] * w[j, k]
                dx[i, j] = turn * total


@Kernel
def shares(x: Array, edge: Array, slope: Array, low: Array, high: Array, v: Array) -> None:
    for j in range(v.shape[0]):
        for i in range(v.shape[1]):
            value = x[i, j]
            for t in range(v.shape[2]):
                u, least, most = (value - edge[j, t]) * slope[j, t], low[j, t], high[j, t]
                u = least if u < least or least != least else u  # NaN stays
                v[j, i, t] = most if u > most or most != most else u


@Kernel
def sum_by_code(dy: Array, codes: Array, sums: Array) -> None:
    sums[:] = 0
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            sums[codes[i], j] += dy[i, j]
