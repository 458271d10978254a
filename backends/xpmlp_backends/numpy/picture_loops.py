"""Random numbers and distorted pictures for NumPy arrays, by loops that numba compiles.

The formulas are those of ``xpmlp.nn.random.uniform`` and ``xpmlp.nn.warp.warped``.
"""

from typing import Any

import numpy as np

from xpmlp.nn.contract import Array
from xpmlp.nn.random import first_element
from xpmlp_backends.numpy.loops import Kernel
from xpmlp_backends.numpy.record import empty, launch


def uniform(key: Array, shape: tuple[int, ...], first: int, dtype: Any) -> Array:
    """Numbers from −1 to 1: the same bits as everywhere."""
    made = empty(key, shape, dtype)
    keys = key.reshape(-1, key.shape[-1])
    launch(hashes, keys, first_element(first) & 0xFFFFFFFF, made.reshape(len(keys), -1))
    return made


@Kernel
def hashes(keys: Array, start: int, out: Array) -> None:
    u = np.uint32
    unit = out.dtype.type(2.0**-23)
    for k in range(keys.shape[0]):
        first, second = u(u(keys[k, 0]) + u(start)), u(keys[k, 1])
        for i in range(out.shape[1]):
            x = u(u(u(i) * u(0x9E3779B9)) + first)
            x = u(u((x ^ (x >> u(16))) * u(0x7FEB352D)) + second)
            x = u((x ^ (x >> u(15))) * u(0x846CA68B))
            x = u(x ^ (x >> u(16)))
            out[k, i] = out.dtype.type(np.int32(x) >> np.int32(8)) * unit


def warped(x: Array, maps: Array | None, field: Array | None, shape: tuple[int, int, int]) -> Array:
    """What pictures have at s(p), in two passes over the pixels of each."""
    h, w, c = shape
    out = empty(x, x.shape, x.dtype)
    moves = field is not None
    maps = np.array([[1, 0, 0, 0, 1, 0]], x.dtype) if maps is None else maps
    field = np.zeros((1, 1, 2, 1), x.dtype) if field is None else field
    launch(looked_up, x.reshape(-1, h, w, c), maps, field, moves, out.reshape(-1, h, w, c))
    return out


@Kernel
def looked_up(x: Array, maps: Array, field: Array, moves: bool, out: Array) -> None:
    n, h, w, channels = x.shape
    t, u = x.dtype.type, np.uint32
    middle, center, zero, one = t((h - 1) / 2), t((w - 1) / 2), t(0), t(1)
    last_row, last_column, across = t(h + 1), t(w + 1), np.int32(w + 2)
    bordered = np.zeros((channels, (h + 2) * (w + 2)), x.dtype)  # stays in the cache
    corner, (f, g, found) = np.empty(w, np.int32), np.empty((3, w), x.dtype)
    for b in range(n):
        a = maps[b if maps.shape[0] > 1 else 0]
        m = b if field.shape[1] > 1 else 0
        for k in range(channels):
            for p in range(h):
                line = bordered[k, (p + 1) * (w + 2) + 1 :]
                for q in range(w):
                    line[q] = x[b, p, q, k]
        for p in range(h):
            row = t(p) - middle
            first, second = a[0] * row + a[2] + middle + one, a[3] * row + a[5] + center + one
            for q in range(w):
                column = t(q) - center
                i, j = first + a[1] * column, second + a[4] * column
                if moves:
                    i += field[p, m, 0, q]
                    j += field[p, m, 1, q]
                i = last_row if i > last_row else i if i > zero else zero  # NaN is outside, too
                j = last_column if j > last_column else j if j > zero else zero
                i0 = np.int32(i if i < last_row else last_row - one)
                j0 = np.int32(j if j < last_column else last_column - one)
                f[q], g[q] = i - t(i0), j - t(j0)
                corner[q] = i0 * across + j0
            for k in range(channels):
                plane = bordered[k]
                for q in range(w):
                    at = u(corner[q])  # unsigned: no look at whether it counts from the end
                    v00, v01 = plane[at], plane[at + u(1)]
                    v10, v11 = plane[at + u(across)], plane[at + u(across) + u(1)]
                    above, below = v00 + g[q] * (v01 - v00), v10 + g[q] * (v11 - v10)
                    found[q] = above + f[q] * (below - above)
                for q in range(w):
                    out[b, p, q, k] = found[q]
