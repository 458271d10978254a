"""From the strokes on the page's pad to the pixels of a network, and more hands for training.

The 1,797 digits alone are too few kinds of writing. A network trained on them read 56 % of MNIST's
first 1,000 test digits, brought to 8 by 8 pixels as a drawing is. Trained on them turned, slanted
and drawn with other pens, too, one read 76 % of the first 5,000.
"""

from typing import Any

import numpy as np

from xpmlp.data.images import as_row
from xpmlp.errors import InvalidValueError, require
from xpmlp.nn.random import Purpose, generator

Array = Any

PAD = 28
"""Pixels along each edge of what the page sends."""

INKLESS = 0.05
"""Pixels with less of the ink's strength count as paper."""

FINE = 40
"""Pixels along each edge on which a digit is turned and drawn anew."""


def ink_of(pixels: Any) -> Array:
    """Return the ink of a drawing from 0 to 1, cropped.

    Parameters
    ----------
    pixels : list of 28 lists of 28 numbers
        From 0, paper, to 255, ink.

    Raises
    ------
    InvalidValueError
        For anything else, and without ink.
    """
    rows = isinstance(pixels, list) and len(pixels) == PAD
    if not rows or not all(isinstance(row, list) and len(row) == PAD for row in pixels):
        raise InvalidValueError(f"pixels: expected {PAD} lists of {PAD} numbers from 0 to 255")
    if not all(_is_pixel(value) for row in pixels for value in row):
        raise InvalidValueError("pixels: expected numbers from 0 to 255")
    ink = np.array(pixels, float)
    if ink.max() <= 0:
        raise InvalidValueError("pixels: found no ink; draw a digit first")
    return cropped(ink / ink.max())


def _is_pixel(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value <= 255


def cropped(ink: Array) -> Array:
    """Return the part of a picture that has ink."""
    ink = np.where(ink < INKLESS, 0.0, ink)
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def rewritten(X: Array, facts: dict[str, Any], times: int, seed: int = 0) -> Array:
    """Return pictures of digits as other hands might write them, so many of each, in order.

    Each is turned, slanted, made wider or narrower, and drawn with a pen of another width.

    Parameters
    ----------
    X : ndarray of uint8, shape (n, pixels)
    facts : dict
        Of ``xpmlp.data.images.pixel_facts``.
    times : int
    seed : int

    Returns
    -------
    ndarray of uint8, shape (times · n, pixels)
    """
    ndimage = require("scipy.ndimage", extra="cli", purpose="drawing digits anew")
    rng, shape = generator(seed, Purpose.POINTS, 2), facts["shape"]
    middle, scale = (np.array(shape) - 1) / 2, FINE / 10
    made = []
    for picture in np.tile(X, (times, 1)).reshape(-1, *shape):
        turn, slant, width = rng.normal(0, 0.2), rng.normal(0, 0.3), rng.uniform(0.75, 1.25)
        turned = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        to = np.array(turned) @ np.array([[1.0, 0.0], [slant, width]]) / scale
        start = middle - to @ np.full(2, (FINE - 1) / 2)
        fine = ndimage.affine_transform(picture / 255.0, to, start, (FINE, FINE), order=1)
        edge = rng.uniform(0.25, 0.65)  # of the pen: the lower, the wider
        ink = np.clip((fine - edge) * 4 + 0.5, 0.0, 1.0)
        made.append(as_row(cropped(ink), facts, "uint8"))
    return np.concatenate(made)
