"""Loops over the NumPy arrays of many networks as one, by those over one network's (``loops``)."""

import numpy as np

from xpmlp.nn.contract import Array
from xpmlp_backends.numpy import loops
from xpmlp_backends.numpy.loops import Kernel, compiled, summing

_add_bias = compiled(loops.add_bias.loop)
_bias_relu = compiled(loops.bias_relu.loop)
_column_sums = compiled(loops.column_sums.loop)
_slope = compiled(loops.slope.loop)
_dropout = compiled(loops.dropout.loop)
_penalize = compiled(loops.penalize.loop, True)

THIN = 4
"""Columns that are summed one after another, in a fifth of the time of rows so short."""


@Kernel
def add_bias(z: Array, b: Array) -> None:
    for k in range(z.shape[0]):
        _add_bias(z[k], b[k])


@Kernel
def bias_relu(z: Array, b: Array) -> None:
    for k in range(z.shape[0]):
        _bias_relu(z[k], b[k])


@summing
def column_sums(dz: Array, db: Array) -> None:
    for k in range(dz.shape[0]):
        if dz.shape[2] > THIN:
            _column_sums(dz[k], db[k])
            continue
        for j in range(dz.shape[2]):
            total = dz.dtype.type(0)
            for i in range(dz.shape[1]):
                total += dz[k, i, j]
            db[k, j] = total


@Kernel
def slope(which: int, dh: Array, h: Array, dz: Array, db: Array) -> None:
    for k in range(dh.shape[0]):
        _slope(which, dh[k], h[k], dz[k], db[k])


@Kernel
def batch_mean(
    rows: Array, dz: Array, weight: Array | None, tiny: float, value: Array, out: Array
) -> None:
    for k in range(rows.shape[0]):
        n = rows.shape[1]
        total = 0.0  # in float64
        if weight is not None:
            for i in range(n):
                total += weight[k, i]
            total = rows.dtype.type(max(total, tiny))
        loss = 0.0
        if weight is None:
            share, numbers, scaled = rows.dtype.type(1.0 / n), dz[k].reshape(-1), out[k].reshape(-1)
            for i in range(numbers.shape[0]):
                scaled[i] = numbers[i] * share
            for i in range(n):
                loss += rows[k, i]
            value[k] = loss / n
            continue
        for i in range(n):
            share = weight[k, i] / total
            loss += rows[k, i] * share
            for j in range(dz.shape[2]):
                out[k, i, j] = dz[k, i, j] * share
        value[k] = loss


@Kernel
def accumulate(
    totals: Array, carry: Array, finite: Array, value: Array, n: int, score: Array | None
) -> None:
    t = totals.dtype.type
    for k in range(totals.shape[1]):
        scored = t(0)
        if score is not None:
            for i in range(score.shape[1]):
                scored += score[k, i]
        for i in range(2):
            add = (t(value[k] * n) if i == 0 else scored) - carry[i, k]
            total = totals[i, k] + add
            carry[i, k] = (total - totals[i, k]) - add
            totals[i, k] = total
            if np.isfinite(total):
                finite[i, k] += 1


@summing
def penalize(W: Array, dW: Array, l1: Array | None, l2: Array | None, value: Array) -> None:
    for k in range(W.shape[0]):
        one = None if l1 is None else l1[k : k + 1].reshape(())
        two = None if l2 is None else l2[k : k + 1].reshape(())
        _penalize(W[k], dW[k], one, two, value[k : k + 1].reshape(()))


@Kernel
def dropout(keys: Array, threshold: int, kept: float, mask: Array) -> None:
    for k in range(keys.shape[0]):
        _dropout(keys[k], threshold, kept, mask[k])


# Two classes, of many rows: a loop over rows of two numbers is what the compiler makes vectors of


@Kernel
def below_larger(z: Array, bound: float, shifted: Array) -> None:
    largest, smallest = z.dtype.type(bound), z.dtype.type(-bound)
    for i in range(z.shape[0]):
        a = min(max(z[i, 0], smallest), largest)  # NaN stays
        b = min(max(z[i, 1], smallest), largest)
        top = max(a, b)
        shifted[i, 0], shifted[i, 1] = a - top, b - top


@Kernel
def sums_of_two(x: Array, sums: Array) -> None:
    for i in range(x.shape[0]):
        sums[i] = x[i, 0] + x[i, 1]


@Kernel
def two_classes(
    shifted: Array,
    sums: Array,
    logs: Array,
    labels: Array,
    smoothing: float,
    rows: Array,
    dz: Array,
) -> None:
    spread, own = dz.dtype.type(smoothing / 2), dz.dtype.type(1.0 - smoothing)
    zero, one = dz.dtype.type(0), dz.dtype.type(1)
    for i in range(dz.shape[0]):
        second = one if labels[i] == 1 else zero
        t0, t1 = spread + own * (one - second), spread + own * second
        rows[i] = t0 * (logs[i] - shifted[i, 0]) + t1 * (logs[i] - shifted[i, 1])
        dz[i, 0] = dz[i, 0] / sums[i] - t0
        dz[i, 1] = dz[i, 1] / sums[i] - t1
