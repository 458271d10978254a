"""Pictures one after another, as an animated GIF."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from xpmlp.errors import require

COLORS = 64
"""Size of the GIF's palette; a small one compresses better."""

NEARLY_WHITE = 247

FRAME_MS, LAST_MS = 110, 2500


def animation(pictures: Sequence[Any], colors: int = COLORS) -> bytes:
    """Return a GIF that loops, from arrays of shape (height, width, 3) and dtype uint8.

    They share the last one's palette, so that only what moved has to be stored.
    """
    pillow = require("PIL.Image", extra="cli", purpose="writing a GIF")
    images = [pillow.fromarray(pixels) for pixels in pictures]
    last = images[-1].quantize(colors)
    palette = np.array(last.getpalette()).reshape(-1, 3)
    palette[palette.min(axis=1) > NEARLY_WHITE] = 255  # or the background may become grey
    last.putpalette(palette.ravel().tolist())
    plain = pillow.Dither.NONE
    frames = [image.quantize(palette=last, dither=plain) for image in images]
    content = io.BytesIO()
    times = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return content.getvalue()
