"""Where the ink of a picture is: in uneven light, on a sheet on a table, light ink on dark."""

from typing import Any, NamedTuple

import numpy as np

from xpmlp.data.paper import WEAKEST, Paper, border, find_paper, middle
from xpmlp.errors import require

Array = Any

FAINT = 0.2
"""Pixels with less than this share of the ink's strength count as paper."""

SPECK = 0.03
"""Parts smaller than this share of the largest are dust."""

LARGE_PART = 0.2
"""Parts of at least this share of the largest may be characters of their own."""

AT_BORDER = "the ink reaches the border; leave some paper around it"
SEVERAL = "the ink has several large parts; if they are several characters, cut out one"


class Ink(NamedTuple):
    """The ink of a picture.

    Attributes
    ----------
    values : ndarray of shape (height, width)
        From 0, paper, to 1.
    light : bool
        Whether the paper is lighter than the ink.
    sheet : bool
        Whether the paper is a sheet that does not fill the picture.
    warnings : tuple of str
        Why it may be misread.
    """

    values: Array
    light: bool
    sheet: bool
    warnings: tuple[str, ...]


def find_ink(gray: Array) -> Ink | None:
    """Find the ink in a picture of finite brightness; None if nothing stands out.

    Ink is what is darker than the paper around it, or lighter on dark paper.

    Parameters
    ----------
    gray : ndarray of shape (height, width), float64
    """
    low, high = min(float(gray.min()), 0.0), float(gray.max())
    if not high > gray.min():
        return None
    ndimage = require("scipy.ndimage", extra="cli", purpose="reading a picture")
    gray = (gray - low) / (high - low)
    smooth = ndimage.gaussian_filter(gray, max(gray.shape) / 400)  # of noise
    paper = find_paper(smooth)
    ink, sure = (_ink_on(paper, values) for values in (gray, smooth))
    strong = sure > middle(sure)
    strength = float(np.quantile(sure[strong], 0.9)) if strong.any() else 0.0
    if strength < WEAKEST:
        return None
    # What is faint is ink beside strong ink: elsewhere it is a shadow, or a stain.
    near = ndimage.binary_dilation(strong, iterations=1 + max(gray.shape) // 50)
    labels, kept = _parts(near & (sure > FAINT * strength), strong)
    ink = np.where(np.isin(labels, kept) & (ink > FAINT * strength), ink / strength, 0.0)
    edge = border(ink) if paper.sheet is None else ink[_rim(paper.sheet)]
    warnings = [AT_BORDER] if edge.any() else []
    if _several(labels, kept):
        warnings.append(SEVERAL)
    return Ink(np.minimum(ink, 1.0), paper.light, paper.sheet is not None, tuple(warnings))


def _ink_on(paper: Paper, gray: Array) -> Array:
    """Return by which share each pixel is darker than the paper there."""
    seen = gray if paper.light else 1 - gray
    ink = np.clip(1 - seen / np.maximum(paper.brightness, 1e-6), 0, None)
    return ink if paper.sheet is None else np.where(paper.sheet, ink, 0.0)


def _parts(ink: Array, strong: Array) -> tuple[Array, Array]:
    """Number the connected parts from 1, and choose those that are ink.

    Each has strong ink, is no dust, and does not fill two corners of the picture, as what lies
    beside a sheet does, if anything else is there.
    """
    ndimage = require("scipy.ndimage", extra="cli", purpose="reading a picture")
    labels, count = ndimage.label(ink, structure=np.ones((3, 3)))
    sizes = np.bincount(labels[strong], minlength=count + 1)
    sizes[0] = 0
    corners = np.bincount(labels[[0, 0, -1, -1], [0, -1, 0, -1]], minlength=count + 1)
    if sizes[corners < 2].any():
        sizes[corners >= 2] = 0
    return labels, np.flatnonzero(sizes > SPECK * sizes.max())


def _several(labels: Array, kept: Array) -> bool:
    """Whether two large parts lie side by side, or one above the other."""
    ndimage = require("scipy.ndimage", extra="cli", purpose="reading a picture")
    sizes = np.bincount(labels.ravel())[kept]
    found = ndimage.find_objects(labels)
    boxes = [found[k - 1] for k in kept[sizes > LARGE_PART * sizes.max()]]
    return any(a[axis].stop <= b[axis].start for a in boxes for b in boxes for axis in (0, 1))


def _rim(sheet: Array) -> Array:
    ndimage = require("scipy.ndimage", extra="cli", purpose="reading a picture")
    return sheet & ~ndimage.binary_erosion(sheet)
