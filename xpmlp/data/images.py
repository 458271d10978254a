"""From a picture of a digit to the row of pixels that a network was trained on.

Size, largest value and extent of the ink are measured on the training images and kept with the
model, so that a photo can be brought into the same form.
"""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xpmlp.data.ink import FAINT, find_ink
from xpmlp.errors import DataError, require, short
from xpmlp.storage.paths import open_regular

Array = Any

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")

_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")

MAX_PIXELS = 50_000_000
"""The largest picture: more than phones take, and about 600 MB while it is decoded."""

LARGE = 1000
"""Pictures with a longer side are reduced first."""


class Picture(NamedTuple):
    """A picture in the form of the training images.

    Attributes
    ----------
    row : ndarray of shape (1, height · width)
    done : str
        What was done to the picture, in words.
    warnings : tuple of str
        Why it may be misread, in words.
    """

    row: Array
    done: str
    warnings: tuple[str, ...]


def pixel_facts(X: Array, shape: tuple[int, int]) -> dict[str, Any]:
    """Measure the training images, given as rows of pixels, for `read_image`.

    Returns their ``shape``; ``maximum``, the largest value, 255 for bytes; and ``reach``, the
    share of the image that the ink's longer side usually takes, 20/28 for MNIST.
    """
    sample = X[:1000].reshape(-1, *shape)
    ink = sample > FAINT * sample.max(axis=(1, 2), keepdims=True)
    extents = [np.count_nonzero(ink.any(axis=a), axis=1) / shape[2 - a] for a in (1, 2)]
    maximum = 255 if X.dtype == np.uint8 else float(X.max())
    reach = float(np.median(np.maximum(*extents)))
    return {"shape": list(shape), "maximum": maximum, "reach": reach}


def read_image(path: Path, facts: dict[str, Any], dtype: Any) -> Picture:
    """Read a picture as one row of pixels like the training images; uint8 for a model of bytes.

    `facts` are those of `pixel_facts`.

    Raises
    ------
    DataError
        If it cannot be read, is too large, or has no ink.
    """
    gray, size = _gray(path)
    if not np.isfinite(gray).all():
        raise DataError(f"{path}: found NaN or infinity as a pixel; expected finite brightness")
    ink = find_ink(gray)
    if ink is None:
        what = "one even color" if gray.min() == gray.max() else "no ink"
        raise DataError(f"{path}: found {what}; expected a digit that stands out")
    rows, columns = (np.flatnonzero(ink.values.any(axis=a)) for a in (1, 0))
    cropped = ink.values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = facts["shape"]
    scale = size[0] / gray.shape[1]
    kept = f"{scale * cropped.shape[1]:.0f}x{scale * cropped.shape[0]:.0f}"
    done = [
        f"{size[0]}x{size[1]} pixels to gray",
        "inverted because the background is light" if ink.light else "",
        "the sheet found" if ink.sheet else "",
        f"cropped to the ink ({kept})",
        f"resized and centered in {width}x{height}",
    ]
    return Picture(as_row(cropped, facts, dtype), ", ".join(filter(None, done)), ink.warnings)


def as_row(ink: Array, facts: dict[str, Any], dtype: Any) -> Array:
    """Return ink, cropped and from 0 to 1, as one row of pixels like the training images."""
    height, width = facts["shape"]
    image = _centered(_fitted(ink, height, width, facts["reach"]), height, width)
    maximum = 255 if dtype == np.uint8 else facts["maximum"]
    row = (image * maximum).round(0 if dtype == np.uint8 else 6).astype(dtype)
    return row.reshape(1, -1)


def checked_facts(value: Any, pixels: int) -> dict[str, Any] | None:
    """Return what a model's file has of `pixel_facts`; None if it does not fit so many pixels."""
    try:
        height, width = value["shape"]
        good = type(height) is type(width) is int and height > 0 and height * width == pixels
        good = good and 0 < value["maximum"] < 1e38 and 0 < value["reach"] <= 1
    except (TypeError, KeyError, ValueError):
        return None
    return value if good else None


def _gray(path: Path) -> tuple[Array, tuple[int, int]]:
    """Return brightness as float64, reduced if large, and the size of the picture."""
    pillow = require("PIL.Image", extra="cli", purpose="reading a picture")
    operations = require("PIL.ImageOps", extra="cli", purpose="reading a picture")
    with open_regular(path, DataError) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about what is refused or corrected here
        try:
            # With all formats, it would run Ghostscript for an EPS file of any name.
            opened = pillow.open(file, formats=_FORMATS)
            if opened.width * opened.height > MAX_PIXELS:
                raise DataError(
                    f"{path}: found {opened.width}x{opened.height} pixels, expected at most "
                    f"{MAX_PIXELS:,}; make it smaller first"
                )
            image = _opaque(pillow, operations.exif_transpose(opened))  # turned as the camera was
            reduced = image.reduce(-(-max(image.size) // LARGE))
            return np.asarray(reduced, dtype=np.float64), image.size
        except (DataError, MemoryError):
            raise
        except Exception as error:  # broken files make Pillow raise almost anything
            reason = short(str(error).split(" <_io")[0] or type(error).__name__)
            raise DataError(f"{path}: not a readable picture ({reason})") from error


def _opaque(pillow: Any, image: Any) -> Any:
    """Return the picture in gray, with white for transparent."""
    if image.mode[0] in "IF":  # 16 bits and more, which "L" would clip
        return image.convert("F")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = pillow.new("RGBA", image.size, "white")
        image = pillow.alpha_composite(white, image)
    return image.convert("L")


def _fitted(ink: Array, height: int, width: int, reach: float) -> Array:
    """Resize to the extent of the training images' ink, keeping the aspect ratio."""
    from PIL import Image

    scale = min(reach * height / ink.shape[0], reach * width / ink.shape[1])
    size = [max(1, round(n * scale)) for n in (ink.shape[1], ink.shape[0])]
    image = Image.fromarray(ink.astype(np.float32))  # box averages, so thin strokes stay
    resized = np.asarray(image.resize(size, Image.Resampling.BOX), dtype=np.float64)
    return resized / resized.max()


def _centered(ink: Array, height: int, width: int) -> Array:
    """Put the ink's center of mass in the middle, as MNIST does, and all of it inside."""
    image = np.zeros((height, width))
    top, left = (
        int(np.clip(round((n - 1) / 2 - mass), 0, n - m))
        for n, m, mass in zip(image.shape, ink.shape, _center(ink), strict=True)
    )
    image[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return image


def _center(ink: Array) -> tuple[float, float]:
    down, across = np.indices(ink.shape)
    return float((down * ink).sum() / ink.sum()), float((across * ink).sum() / ink.sum())
