"""Pictures seen through a distorted grid: where each pixel looks, and what it finds there.

A pixel of the new picture at p, from the middle c of the picture, takes what the old picture has at

    s(p) = c + A (p − c) + t + d(p)

with a matrix A and a shift t for all of the picture, and a displacement d for each pixel. So any
number of rotations, shears and elastic distortions is one look at the old picture.
"""

from math import pi, sqrt
from typing import Any

from xpmlp.nn.functions import Array


def smoothed(xp: Any, device: Any, field: Array, sigma: float, strength: float = 1.0) -> Array:
    """Return ``strength`` times a field, convolved with a Gaussian of deviation ``sigma`` pixels.

    The Gaussian is a product of one of rows and one of columns, so the convolution is G F G with
    Gᵢⱼ = exp(−(i − j)²/2σ²)/(σ√2π) (Simard, Steinkraus and Platt 2003). Beyond the border the field
    is 0. As rows come first, and columns last, each product is one of two matrices.

    Parameters
    ----------
    field : Array, shape (h, m, 2, w)
        Rows and columns of m fields of displacements.
    """
    h, m, two, w = field.shape
    rows = xp.reshape(field, (h, m * two * w))
    made = gaussian(xp, device, h, sigma, field.dtype) @ rows
    columns = xp.reshape(made, (h * m * two, w))
    across = gaussian(xp, device, w, sigma, field.dtype) * strength
    return xp.reshape(columns @ across, (h, m, two, w))


def gaussian(xp: Any, device: Any, n: int, sigma: float, dtype: Any) -> Array:
    """Return the matrix of a convolution with a Gaussian: (n, n), symmetric."""
    at = xp.astype(xp.arange(n, dtype=xp.int32, device=device), dtype)
    apart = (at[:, None] - at[None, :]) * (1.0 / sigma)
    return xp.exp(apart * apart * -0.5) * (1.0 / (sigma * sqrt(2.0 * pi)))


def warped(
    xp: Any,
    device: Any,
    x: Array,
    maps: Array | None,
    field: Array | None,
    shape: tuple[int, int, int],
) -> Array:
    """Return what pictures have at s(p), interpolated; 0 outside; reference of ``ops.warped``.

    Between four pixels it is bilinear: with f the fraction of the row, g that of the column, and
    the pixels v, (1 − f)((1 − g) v₀₀ + g v₀₁) + f ((1 − g) v₁₀ + g v₁₁). A border of zeros is put
    around the picture, and positions beyond it are taken to it; NaN counts as one of them.

    Parameters
    ----------
    x : Array, shape (n, h · w · c)
        Pictures in rows.
    maps : Array, shape (n, 6) or (1, 6), or None
        Rows of (A, t): a₀₀, a₀₁, t₀ for the row, and a₁₀, a₁₁, t₁ for the column. None is the
        identity.
    field : Array, shape (h, n, 2, w) or (h, 1, 2, w), or None
        Displacements of rows and columns in pixels.
    shape : tuple of int
        (h, w, c).

    Returns
    -------
    Array, shape (n, h · w · c)
    """
    h, w, c = shape
    row, column = (_from_middle(xp, device, n, x.dtype) for n in (h, w))
    i, j = row[None, :, None], column[None, None, :]
    if maps is not None:
        a = [maps[:, q, None, None] for q in range(6)]
        i, j = a[0] * i + a[1] * j + a[2], a[3] * i + a[4] * j + a[5]
    if field is not None:
        i = i + xp.permute_dims(field[:, :, 0, :], (1, 0, 2))
        j = j + xp.permute_dims(field[:, :, 1, :], (1, 0, 2))
    i0, f = _split(xp, i, h)
    j0, g = _split(xp, j, w)
    n, across = x.shape[0], w + 2
    first = xp.arange(n, dtype=xp.int32, device=device)[:, None, None] * ((h + 2) * across)
    corner = xp.reshape(first + i0 * across + j0, (-1,))
    flat = _bordered(xp, device, x, shape)
    v00, v01, v10, v11 = (
        xp.reshape(xp.take(flat, corner + step, axis=0), (n, h, w, c))
        for step in (0, 1, across, across + 1)
    )
    f, g = f[..., None], g[..., None]
    above, below = v00 + g * (v01 - v00), v10 + g * (v11 - v10)
    return xp.reshape(above + f * (below - above), (n, h * w * c))


def _from_middle(xp: Any, device: Any, n: int, dtype: Any) -> Array:
    """Return the places of n pixels from the middle of their row: −1, 0, 1 for three."""
    return xp.astype(xp.arange(n, dtype=xp.int32, device=device), dtype) - (n - 1) / 2


def _split(xp: Any, places: Array, n: int) -> tuple[Array, Array]:
    """Return the pixel before each place, counted with the border, and how far it is from there."""
    at = places + ((n - 1) / 2 + 1.0)
    at = xp.minimum(xp.where(at > 0.0, at, xp.zeros_like(at)), n + 1.0)  # NaN is outside, too
    before = xp.astype(xp.minimum(at, float(n)), xp.int32)
    return before, at - xp.astype(before, places.dtype)


def _bordered(xp: Any, device: Any, x: Array, shape: tuple[int, int, int]) -> Array:
    """Return pictures within a border of zeros, pixel after pixel: (pixels,) or (pixels, c)."""
    h, w, c = shape
    n = x.shape[0]

    def zeros(*size: int) -> Array:
        return xp.zeros(size, dtype=x.dtype, device=device)

    x = xp.reshape(x, (n, h, w * c))
    x = xp.concat([zeros(n, h, c), x, zeros(n, h, c)], axis=2)
    x = xp.concat([zeros(n, 1, (w + 2) * c), x, zeros(n, 1, (w + 2) * c)], axis=1)
    return xp.reshape(x, (-1,) if c == 1 else (-1, c))
