"""The run as an animation: the plane and the losses, at some of its epochs."""

from typing import Any

import numpy as np

from xpmlp.errors import InvalidValueError, require
from xpmlp.play.frames import SIDE, Viewer, ends
from xpmlp.show.animation import animation
from xpmlp.show.figures import BLUE, GREY, ORANGE

Array = Any

ZOOM, CURVES, MARGIN = 8, 120, 10
"""Pixels of a place on the plane; height of the curves; and around both."""

PALETTE = (
    BLUE, ORANGE, "#2a9d5c", "#c0392b", "#8e5ea2", "#8a6d3b", "#d670a8", "#5f6770", "#a8a432",
    "#2aa7b8",
)  # fmt: skip
"""Colors of the classes; from the eleventh on they begin anew."""

TEST = "#117733"


def rgb(color: str) -> Array:
    """Return ``"#1f6fb4"`` as three numbers from 0 to 255."""
    return np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)], float)


def film(viewer: Viewer) -> bytes:
    """Return the run so far as a GIF.

    Raises
    ------
    InvalidValueError
        Before the first epoch.
    """
    run = viewer.run
    shots = [*run.film]
    if run.last.epoch > shots[-1].epoch:
        shots.append(run.last)
    if len(shots) < 2:
        raise InvalidValueError("nothing has moved yet; train some epochs first")
    pictures = []
    for shot in shots:
        with run.looking:
            viewer.look_at(shot)
            plane = plane_of(viewer) if viewer.plane is not None else None
        pictures.append(_drawn(viewer, plane, shot.epoch))
    return animation(pictures, colors=255)


def plane_of(viewer: Viewer) -> Array:
    """Return the colors of the plane, shape (SIDE, SIDE, 3); the caller holds ``run.looking``."""
    with np.errstate(all="ignore"):
        layers = [
            np.frombuffer(data, np.uint8).reshape(SIDE, SIDE) for _, data in viewer.boundary()
        ]
    if len(layers) == 2:  # which class, and how sure
        of_class = np.array([rgb(color) for color in PALETTE])
        return _pale(of_class[layers[0] % len(PALETTE)], layers[1][..., None] / 255)
    share = layers[0][..., None] / 255
    colors = np.where(share < 0.5, rgb(BLUE), rgb(ORANGE))
    return _pale(colors, np.abs(2 * share - 1))


def _pale(colors: Array, strength: Array) -> Array:
    return 255 - 0.55 * strength * (255 - colors)


def _drawn(viewer: Viewer, plane: Array | None, epoch: int) -> Array:
    """Draw one picture: the plane with its points, if there is one, and the losses below."""
    image_of = require("PIL.Image", extra="cli", purpose="writing a GIF")
    draw_of = require("PIL.ImageDraw", extra="cli", purpose="writing a GIF")
    side = SIDE * ZOOM
    top = 0 if plane is None else side
    picture = image_of.new("RGB", (side, top + CURVES), "white")
    draw = draw_of.Draw(picture)
    if plane is not None:
        colors = image_of.fromarray(np.rint(plane).astype(np.uint8))
        picture.paste(colors.resize((side, side), image_of.Resampling.BICUBIC), (0, 0))
        for (x, y), color in zip(*_points(viewer), strict=True):
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=color, outline="white")
    _curves(draw, viewer, epoch, top, side)
    return np.asarray(picture)


def _points(viewer: Viewer) -> tuple[list[tuple[float, float]], list[str | tuple[int, ...]]]:
    """Return where the points are, in pixels, and their colors."""
    plane, problem = viewer.plane, viewer.run.problem
    assert plane is not None
    side, y = SIDE * ZOOM, problem.rows[1]
    low = np.array([plane.x[0], plane.y[0]])
    share = (plane.shown - low) / (np.array([plane.x[1], plane.y[1]]) - low)
    places = [(side * a, side * (1 - b)) for a, b in share.tolist()]
    if problem.classes is not None:
        return places, [PALETTE[k % len(PALETTE)] for k in y.tolist()]
    least, most = viewer.values
    part = np.clip((y - least) / ((most - least) or 1.0), 0, 1)[:, None]
    colors = rgb(BLUE) + part * (rgb(ORANGE) - rgb(BLUE))
    return places, [tuple(row) for row in np.rint(colors).astype(int).tolist()]


def _curves(draw: Any, viewer: Viewer, epoch: int, top: int, side: int) -> None:
    """Draw the losses of the first epochs, on a logarithmic axis."""
    history = viewer.run.history
    curves = [(history.get(n, []), c) for n, c in (("loss", GREY), ("val_loss", TEST))]
    logs = [np.log10(np.maximum(values, 1e-6)) for values, _ in curves if len(values)]
    finite = np.concatenate([part[np.isfinite(part)] for part in logs])
    low, high = ends(finite)
    height, width = CURVES - 3 * MARGIN - 10, side - 2 * MARGIN
    total = max(len(history.get("loss", ())) - 1, 1)
    for values, color in curves:
        places = []
        for k, value in enumerate(np.log10(np.maximum(values[:epoch], 1e-6))):
            if np.isfinite(value):
                up = (value - low) / ((high - low) or 1.0)
                y = top + CURVES - MARGIN - up * height
                places.append((MARGIN + k / total * width, y))
        if len(places) > 1:
            draw.line(places, fill=color, width=2)
    draw.text((MARGIN, top + 6), f"epoch {epoch}", fill="black")
    draw.text((side // 3, top + 6), "loss on training rows", fill=GREY)
    draw.text((2 * side // 3, top + 6), "on test rows", fill=TEST)
