"""The pictures of the tutorial: activations, a network, sample digits and variants of one."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.data import Dataset
from xpmlp.mlp import MLP
from xpmlp.nn.activations import ACTIVATIONS
from xpmlp.nn.augment import Elastic, Rotate, Scale, Shift
from xpmlp.nn.augmented import Augment
from xpmlp.nn.ops import Ops
from xpmlp.show.figures import BLUE, GREY, ORANGE, drawing

OPS = Ops.reference(np)

REACH = 4.0
"""Activations are drawn from −REACH to REACH."""

STEP = 0.5
"""A larger difference between neighboring values is a jump, across which no line is drawn."""


def activations_picture(path: Path) -> None:
    """Draw every activation with its derivative, and softmax of one row."""
    curves = [a for a in ACTIVATIONS.values() if a.derivative is not None]
    rows = -(-(len(curves) + 1) // 5)
    with drawing(path, 13, 2.5 * rows) as figure:
        axes = figure.subplots(rows, 5)
        for ax, activation in zip(axes.flat, curves, strict=False):
            _activation(ax, activation)
        for ax in axes.flat[len(curves) :]:
            ax.set_axis_off()
        _softmax(axes.flat[len(curves)])
        figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside lower right", ncols=2)


def _activation(axes: Any, activation: Any) -> None:
    z = np.linspace(-REACH, REACH, 400)  # without 0, where some jump
    h = activation.function(OPS, z)
    slope = activation.derivative(OPS, z, h)
    axes.set_title(activation.name)
    axes.plot(z, _broken(h), color=BLUE, linewidth=2.2, label="activation")
    axes.plot(z, _broken(slope), "--", color=ORANGE, linewidth=1.6, label="its derivative")
    axes.set_ylim(-1.6, 4.2 if h[-1] > 2 else 1.6)
    axes.set_xticks([-4, -2, 0, 2, 4])


def _broken(values: Any) -> Any:
    return np.where(np.abs(np.diff(values, prepend=values[0])) > STEP, np.nan, values)


def _softmax(axes: Any) -> None:
    """Draw bars: softmax mixes a whole row, so it has no graph."""
    z = np.array([[2.0, 1.0, 0.0, -1.0]])
    share = ACTIVATIONS["softmax"].function(OPS, z)[0]
    axes.set_axis_on()
    axes.set_title("softmax of a row")
    bars = axes.bar(range(4), share, color=BLUE, width=0.7)
    axes.bar_label(bars, [f"{p:.2f}" for p in share], color=GREY, fontsize=9)
    axes.set_xticks(range(4), [f"{value:g}" for value in z[0]])
    axes.set_ylim(0, 1)
    axes.grid(False, axis="x")


SHOWN = 12
"""Units drawn of a layer: in larger ones the first and last, with dots between."""


def network_picture(path: Path, mlp: MLP) -> None:
    """Draw a network: units, and a line for each weight, thicker for larger ones."""
    layers = [_units(n) for n in mlp.sizes]
    tall = max(len(layer) for layer in layers)
    with drawing(path, 2.2 + 2.4 * len(layers), 1.2 + 0.45 * tall) as figure:
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set_xlim(-0.4, len(layers) - 0.6)
        axes.set_ylim(-1.2, tall + 0.5)
        places = [_places(layer, x, tall) for x, layer in enumerate(layers)]
        for k, (left, right) in enumerate(pairwise(places)):
            _weights(axes, mlp.parameters[f"dense{k + 1}.W"], left, right)
        for x, (layer, spots) in enumerate(zip(layers, places, strict=True)):
            _layer(axes, x, layer, spots, tall)
            last = x == len(layers) - 1
            kind = "inputs" if x == 0 else "outputs" if last else f"in hidden layer {x}"
            axes.text(x, tall + 0.1, f"{mlp.sizes[x]} {kind}", ha="center", weight="bold")
        title = "blue weights are positive, orange dashed ones negative; thick ones are large"
        axes.text((len(layers) - 1) / 2, -1.0, title, ha="center", color=GREY)


def _units(n: int) -> list[int | None]:
    """Return the units to draw, from the top; None stands for those between."""
    if n <= SHOWN:
        return list(range(n))
    return [*range(SHOWN // 2), None, *range(n - SHOWN // 2 + 1, n)]


def _places(layer: list[int | None], x: int, tall: int) -> dict[int, tuple[float, float]]:
    top = (tall + len(layer)) / 2 - 0.5
    return {unit: (x, top - row) for row, unit in enumerate(layer) if unit is not None}


def _weights(axes: Any, W: Any, left: dict[int, Any], right: dict[int, Any]) -> None:
    largest = max(float(np.abs(W).max()), 1e-30)
    for i, (x0, y0) in left.items():
        for j, (x1, y1) in right.items():
            share = float(W[i, j]) / largest
            looks = {"color": BLUE, "linestyle": "-"} if share > 0 else {
                "color": ORANGE, "linestyle": (0, (4, 2))
            }  # fmt: skip
            strength = 0.3 + 2.7 * abs(share)
            axes.plot([x0, x1], [y0, y1], linewidth=strength, alpha=0.8, zorder=1, **looks)


def _layer(axes: Any, x: int, layer: list[int | None], spots: dict[int, Any], tall: int) -> None:
    across, up = zip(*spots.values(), strict=True)
    axes.scatter(across, up, s=260, color="white", edgecolors=GREY, linewidths=1.6, zorder=2)
    if None in layer:
        row = (tall + len(layer)) / 2 - 0.5 - layer.index(None)
        axes.text(x, row, "⋮", ha="center", va="center", fontsize=14, color=GREY)


KEY = np.array([1998, 2003], dtype=np.int32)
"""Draws the variants: any two numbers."""


def like_28(shape: tuple[int, int]) -> list[Any]:
    """Return what suits digits of 28x28 pixels, for another size: distances grow with it."""
    by = min(shape) / 28
    elastic = Elastic(34.0 * by * by, max(4.0 * by, 0.5))
    return [elastic, Rotate(10.0), Scale(0.1), Shift(2.0 * by)]


def augment_picture(path: Path, data: Dataset, augment: Any, row: int = 0) -> None:
    """Draw a picture of a data set, and sixteen variants of it, as a step makes them."""
    shape = data.image_shape or (1, data.X.shape[1])
    made = Augment.of(augment, shape)
    pictures = np.repeat(data.X[row : row + 1], 16, axis=0).astype(np.float32)
    variants = pictures if made is None else made(OPS, pictures, KEY)
    look = {"cmap": "gray_r", "interpolation": "nearest", "vmin": 0, "vmax": pictures.max()}
    with drawing(path, 9.3, 6.2) as figure:
        grid = figure.add_gridspec(4, 6)
        places = [grid[1:3, :2], *(grid[i, 2 + j] for i in range(4) for j in range(4))]
        for place, image in zip(places, [pictures[0], *variants], strict=True):
            ax = figure.add_subplot(place)
            ax.imshow(image.reshape(shape), **look)
            ax.set_axis_off()
        title = {"loc": "center", "fontsize": 11, "color": GREY, "weight": "normal"}
        figure.axes[0].set_title("the picture", **title)


def digits_picture(path: Path, data: Dataset) -> None:
    """Draw the first 64 images of a data set with their classes."""
    with drawing(path, 7, 7.6, f"64 samples of {data.name}") as figure:
        for ax, image, label in zip(figure.subplots(8, 8).flat, data.X, data.y, strict=False):
            ax.imshow(image.reshape(data.image_shape), cmap="gray_r", interpolation="nearest")
            ax.set_title(str(label), loc="center", fontsize=9, color=GREY, weight="normal", pad=2)
            ax.set_axis_off()
