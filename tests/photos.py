"""Pictures of a digit as people take them, made of a real one of 8 by 8 or 28 by 28 pixels."""

from pathlib import Path
from typing import Any

import numpy as np

SIZE = 200


def ink_of(row: Any) -> Any:
    """The digit, from 0 to 1, in 200 by 200 pixels."""
    from PIL import Image

    side = round(len(row) ** 0.5)
    image = Image.fromarray(np.asarray(row, dtype=np.uint8).reshape(side, side))
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)) / 255


def on_paper(*rows: Any) -> Any:
    """Dark ink on light paper, the digits side by side."""
    ink = np.hstack([ink_of(row) for row in rows])
    return 0.95 - 0.8 * np.pad(ink, ((50, 60), (70, 40)))


def unevenly_lit(page: Any) -> Any:
    """The same page in light that falls to 40 % toward a corner."""
    down, across = np.indices(page.shape)
    light = down / page.shape[0] + across / page.shape[1]
    return page * (0.4 + 0.6 * light / light.max())


def in_shadow(page: Any) -> Any:
    """The same page with a soft shadow over half of it."""
    down, across = np.indices(page.shape)
    beside = 0.4 * down + across - 0.7 * page.shape[1]
    return page * (0.5 + 0.5 / (1 + np.exp(-beside / 15)))


def on_table(page: Any) -> Any:
    """The same page on a dark table."""
    return np.pad(page, ((40, 90), (60, 30)), constant_values=0.12)


def cut_off(page: Any) -> Any:
    """The same page without what is left of its ink's first quarter."""
    columns = np.flatnonzero((page < 0.5).any(axis=0))
    return page[:, columns[len(columns) // 4] :]


def save(page: Any, path: Path) -> str:
    """Write it, with a little noise, as a camera has it."""
    from PIL import Image

    noisy = page + np.random.default_rng(0).normal(0, 0.01, page.shape)
    Image.fromarray((255 * np.clip(noisy, 0, 1)).astype(np.uint8)).save(path)
    return str(path)
