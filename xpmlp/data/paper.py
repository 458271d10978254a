"""The paper of a picture: how bright it is in every place, and a sheet that lies on a table.

Paper is what is wider than a stroke, however unevenly it is lit.
"""

from typing import Any, NamedTuple

import numpy as np

from xpmlp.errors import require

Array = Any

SMALL = 128
"""The longer side of the copy on which a sheet is looked for."""

STROKE = 0.4
"""Dark things narrower than this share of the longer side are ink, and wider ones are paper."""

WEAKEST = 0.05
"""The weakest ink, as a share of the paper's brightness: less is noise."""


class Paper(NamedTuple):
    """The paper of a picture; the arrays have the picture's shape.

    Attributes
    ----------
    light : bool
        Whether the paper is lighter than the ink. If not, invert the picture.
    brightness : ndarray
        What the paper, after inverting, has beside the ink and would have below it.
    sheet : ndarray of bool or None
        Where a sheet is that does not fill the picture.
    """

    light: bool
    brightness: Array
    sheet: Array | None


def find_paper(gray: Array) -> Paper:
    """Find the paper in a picture with values from 0 to 1, a float64 array of two dimensions.

    Gray closing fills what is dark and narrower than a stroke, and leaves a slope as it is, the
    edge of a shadow and that of a table too.
    """
    small = _reduced(gray)
    plane = _plane(small)
    ratio = (small + 0.02) / (plane + 0.02)  # a shadow halves the light, ink takes most of it
    light = bool(1 / ratio.min() > ratio.max())
    # A sheet stands out like ink that is lighter or darker than all around it.
    sheet = _sheet(small, dark=light)
    if sheet is not None:
        light, sheet = not light, _enlarged(sheet, gray.shape) > 0.5
    seen = gray if light else 1 - gray
    return Paper(light, _closed(seen if sheet is None else _spread(seen, sheet)), sheet)


def border(values: Array) -> Array:
    """Return the values along the four sides."""
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def middle(values: Array) -> float:
    """Return the threshold half-way between the means of what is below it and above it."""
    level, step = (float(values.min()) + float(values.max())) / 2, 0.0
    while (above := values > level).any():
        new = float(values[above].mean() + values[~above].mean()) / 2
        if new == level or (new - level) * step < 0:  # it moves one way, but for rounding
            break
        level, step = new, new - level
    return level


def _plane(small: Array) -> Array:
    """Return the brightness of the paper as far as the border tells: even, or falling evenly.

    The border is mostly paper, so that the median of the differences to it decides: a table beside
    a sheet makes no slope, and a shadow over half of the picture does.
    """
    rows, columns = np.indices(small.shape)
    places = np.stack([np.ones(small.shape), rows, columns], axis=-1)
    A, b = np.concatenate([places[0], places[-1], places[:, 0], places[:, -1]]), border(small)
    weights = np.ones(len(b))
    for _ in range(20):  # least squares, weighted until it is least absolute differences
        slope = np.linalg.lstsq(A * weights[:, None], b * weights, rcond=None)[0]
        weights = 1 / np.sqrt(np.maximum(np.abs(b - A @ slope), 1e-3))
    even = np.array([np.median(b), 0.0, 0.0])
    best = min((even, slope), key=lambda p: float(np.median(np.abs(b - A @ p))))
    return np.maximum(places @ best, 0.0)


def _sheet(small: Array, dark: bool) -> Array | None:
    """Return where a sheet of paper is, without its edges, that is darker or lighter than around.

    It is one large piece, nearly a rectangle, mostly inside the picture, with a sharp edge, and
    has something on it. A "0" is no rectangle, a shadow has a soft edge.
    """
    ndimage = require("scipy.ndimage", extra="cli", purpose="reading a picture")
    level = np.log(small + 0.02)  # light multiplies: the same step at every brightness
    bright = level > middle(level)
    pieces, count = ndimage.label(bright != dark)
    piece = pieces == 1 + np.argmax(np.bincount(pieces.ravel(), minlength=count + 2)[1:])
    whole = ndimage.binary_fill_holes(piece)
    large = whole.mean() > 0.25 and piece.sum() > 0.7 * whole.sum()
    if not large or border(whole).mean() > 0.35 or _rectangularity(whole) < 0.82:
        return None
    width = 1 + max(small.shape) // 50
    inside = ndimage.binary_erosion(whole, iterations=width)
    rim = whole & ~inside
    around = ndimage.binary_dilation(whole, iterations=width) & ~whole
    if not inside.any():
        return None
    contrast = level[bright].mean() - level[~bright].mean()
    if abs(np.median(level[rim]) - np.median(level[around])) < 0.5 * contrast:
        return None
    seen = _spread(1 - small if dark else small, inside)
    has_ink = (1 - seen / np.maximum(_closed(seen), 1e-6)).max() > WEAKEST
    return inside if has_ink else None


def _rectangularity(area: Array) -> float:
    """Return the share that the area has of the smallest rectangle around it, turned or not."""
    turns = np.deg2rad(np.arange(0, 90, 2))
    down, across = np.nonzero(area)
    u = np.outer(down, np.cos(turns)) + np.outer(across, np.sin(turns))
    v = np.outer(across, np.cos(turns)) - np.outer(down, np.sin(turns))
    return float(len(down) / ((np.ptp(u, axis=0) + 1) * (np.ptp(v, axis=0) + 1)).min())


def _closed(small: Array) -> Array:
    """Return the brightness with all dark things narrower than a stroke filled."""
    ndimage = require("scipy.ndimage", extra="cli", purpose="reading a picture")
    size = max(3, round(STROKE * max(small.shape)))
    return ndimage.grey_closing(np.pad(small, size, mode="edge"), size)[size:-size, size:-size]


def _spread(values: Array, inside: Array) -> Array:
    """Return the values with those outside replaced by the nearest inside."""
    ndimage = require("scipy.ndimage", extra="cli", purpose="reading a picture")
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    return values[tuple(nearest)]


def _reduced(gray: Array) -> Array:
    from PIL import Image

    factor = -(-max(gray.shape) // SMALL)
    reduced = Image.fromarray(gray.astype(np.float32)).reduce(factor)
    return np.asarray(reduced, dtype=np.float64)


def _enlarged(small: Array, shape: tuple[int, int]) -> Array:
    from PIL import Image

    image = Image.fromarray(small.astype(np.float32))
    resized = image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float64)
