"""Pictures of a training run. A host boundary: what is drawn comes from the host."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.data.frame import Frame
from xpmlp.errors import short
from xpmlp.mlp import MLP
from xpmlp.show.figures import BLUE, GREY, RED, drawing, matplotlib
from xpmlp.training.history import curves

Array = Any

ROW = 6
"""Images in a row."""
SHOWN = 2 * ROW
"""Images of the worst mistakes."""
WIDE = 10
"""Images in a row of a picture of nothing else."""


@dataclass(frozen=True)
class Part:
    """The data on which a picture shows the model.

    Attributes
    ----------
    X, y : ndarray
        Host arrays, as for ``MLP.evaluate``; y holds class indices or values. X may be a `Frame`.
    name : str
        ``"test"`` or ``"training"``, for titles.
    classes, image_shape, features
        As in ``xpmlp.data.Dataset``.
    """

    X: Any
    y: Array
    name: str = "test"
    classes: Sequence[str] | None = None
    image_shape: tuple[int, int] | None = None
    features: Sequence[str] | None = None


def confusion_counts(y: Array, predicted: Array, classes: int) -> Array:
    """Count pairs of classes, shape (classes, classes): rows are true, columns predicted."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (np.asarray(y), np.asarray(predicted)), 1)
    return counts


def training_picture(
    path: Any, mlp: MLP, history: Mapping[str, Sequence[float]], part: Part, title: str
) -> None:
    """Draw the curves, and how the model does on ``part``, as a PNG about 1300 pixels wide.

    For classes there is a confusion matrix, and below it the worst mistakes on images, or the
    decision boundary of two features. For values, predictions are drawn against the truth.

    Parameters
    ----------
    path : path-like
    mlp : MLP
        Trained.
    history : mapping of str to sequence of float
        As ``fit`` returns it; keys with the prefix ``test_`` or ``val_`` are further curves.
    part : Part
    title : str

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    OSError
        If the file cannot be written.
    """
    worst = most_wrong(mlp, part)
    X = part.X.matrix() if isinstance(part.X, Frame) else part.X
    plane = part.classes is not None and part.image_shape is None and part.X.shape[1] == 2
    plane &= X is not None
    below = 4.2 if plane else (0.4 + 2.0 * -(-len(worst) // ROW) if worst else 0)
    with drawing(Path(path), 12, 4.4 + below, title) as figure:
        upper = lower = figure
        if below:
            upper, lower = figure.subfigures(2, 1, height_ratios=(4.4, below))
        loss, metric, result = upper.subplots(1, 3)
        curves(loss, history, "loss")
        curves(metric, history, mlp.task.measures[-1])
        if part.classes is None:
            predictions(result, part.y, mlp.predict(part.X), part.name)
        else:
            counts = confusion_counts(part.y, mlp.predict(part.X), len(part.classes))
            confusion(result, counts, part)
        if plane:
            boundary(lower, mlp, part, X)
        elif worst:
            mistakes(lower, worst, part)


def confusion(axes: Any, counts: Array, part: Part) -> None:
    """Draw a confusion matrix, colored by shares of the true class, so that rare ones show."""
    names = distinct(part.classes or (), 16)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    wrong = int(counts.sum() - np.trace(counts))
    axes.set_title(f"{wrong:,} of {counts.sum():,} {part.name} rows wrong")
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1.15, aspect="equal")
    axes.grid(False)
    step = -(-len(names) // 30)  # more names than that would run into each other
    ticks = range(0, len(names), step)
    size = min(10.0, 170 / len(ticks))  # points
    axes.set_yticks(ticks, [names[k] for k in ticks], fontsize=size)
    turned: dict[str, Any] = {}
    if max(map(len, names)) * len(ticks) > 30:  # they do not fit side by side
        turned = {"ha": "right", "rotation_mode": "anchor", "rotation": 40}
        if len(ticks) > 12:
            turned |= {"va": "center", "rotation": 90}
    axes.set_xticks(ticks, [names[k] for k in ticks], fontsize=size, **turned)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(names) > 12:
        return
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.3 else "#20262c"
            style = {"ha": "center", "va": "center", "fontsize": 8.5 if len(names) > 5 else 12}
            axes.text(column, row, str(count), color=color, **style)


def predictions(axes: Any, y: Array, predicted: Array, name: str) -> None:
    """Draw predicted values against true ones; they are equal on the line."""
    y, predicted = np.asarray(y).ravel(), np.asarray(predicted).ravel()
    axes.set_title(f"Predicted and true, {name} part")
    low, high = min(y.min(), predicted.min()), max(y.max(), predicted.max())
    axes.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle="--")
    few = np.linspace(0, len(y) - 1, min(len(y), 5000)).astype(int)
    axes.scatter(y[few], predicted[few], s=14, color=BLUE, alpha=0.5, linewidths=0)
    plain_numbers(axes.xaxis, "true")
    plain_numbers(axes.yaxis, "predicted")


def plain_numbers(axis: Any, label: str) -> None:
    """Write the values of an axis in full, large and small ones as multiples of a power of ten.

    The power is in the label: matplotlib puts it where it runs into the title, or adds an offset.
    """
    formatter = matplotlib(".ticker").ScalarFormatter(useOffset=False)
    formatter.set_powerlimits((-3, 6))
    low, high = axis.get_view_interval()
    formatter.set_scientific(high - low > 1e-3 * max(abs(low), abs(high)))
    axis.set_major_locator(matplotlib(".ticker").MaxNLocator(5))
    axis.set_major_formatter(formatter)
    texts = formatter.format_ticks(axis.get_majorticklocs())
    power = formatter.get_offset()
    axis.offsetText.set_visible(False)
    axis.set_label_text(f"{label} (× {power})" if power else label)
    if axis.axis_name == "x" and max(map(len, texts)) > 6:
        axis.set_tick_params(rotation=30)


def distinct(names: Sequence[str], limit: int) -> list[str]:
    """Shorten names so that they still differ: by their ends or, if these are what differs, inside.

    >>> distinct(["Iris versicolor", "Iris virginica"], 9)
    ['Iris ve…', 'Iris vi…']
    """
    cut = [name if len(name) <= limit else f"{name[: limit - 2]}…" for name in names]
    if len(set(cut)) == len(set(names)):
        return cut
    half = (limit - 1) // 2
    return [name if len(name) <= limit else f"{name[:half]}…{name[-half:]}" for name in names]


def most_wrong(mlp: MLP, part: Part, limit: int = SHOWN) -> list[tuple[int, int, float]]:
    """Return up to ``limit`` mistakes on images, the most confident first; none without images.

    Each is (row, predicted class, its probability).
    """
    if part.classes is None or part.image_shape is None:
        return []
    chances = mlp.predict_proba(part.X)
    predicted, sure = chances.argmax(axis=1), chances.max(axis=1)
    wrong = np.flatnonzero(predicted != part.y)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:limit]
    return [(int(row), int(predicted[row]), float(sure[row])) for row in worst]


def mistakes_picture(path: Path, mlp: MLP, part: Part, limit: int) -> int:
    """Draw up to so many mistakes, the most confident first, and return how many there are."""
    worst = most_wrong(mlp, part, limit)
    rows = -(-max(len(worst), 1) // WIDE)
    with drawing(path, 1.6 * WIDE, 0.6 + 1.75 * rows) as figure:
        mistakes(figure, worst, part, WIDE)
    return len(worst)


def mistakes(
    figure: Any, worst: Sequence[tuple[int, int, float]], part: Part, row: int = ROW
) -> None:
    """Draw the images of ``most_wrong`` with their predicted classes."""
    title = {"fontsize": 11.5, "fontweight": "bold", "x": 0.01, "ha": "left", "color": "black"}
    figure.suptitle(f"Worst mistakes on the {part.name} part", **title)
    known = distinct(part.classes or (), 14)
    axes = figure.subplots(-(-max(len(worst), 1) // row), row, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for ax, (at, predicted, chance) in zip(axes, worst, strict=False):
        image = part.X[at].reshape(part.image_shape)
        ax.imshow(image, cmap="gray_r", interpolation="nearest")
        names = [known[k] for k in (predicted, part.y[at])]
        text = f"predicted {names[0]} ({100 * chance:.0f} %)\ntrue {names[1]}"
        ax.set_title(text, fontsize=10, fontweight="normal", loc="center", color=RED)


def boundary(figure: Any, mlp: MLP, part: Part, X: Any) -> None:
    """Draw the plane of two features, colored by the predicted class and its probability."""
    colors, palette = matplotlib(".colors"), matplotlib().colormaps["tab10"]
    axes = figure.subplots()
    axes.set_title(f"Decision boundary and the {part.name} part")
    dtype, X = X.dtype, np.asarray(X, dtype=np.float64)
    margin = 0.05 * np.ptp(X, axis=0) + 1e-9
    (left, bottom), (right, top) = X.min(axis=0) - margin, X.max(axis=0) + margin
    across, down = np.meshgrid(np.linspace(left, right, 400), np.linspace(bottom, top, 250))
    grid = np.column_stack([across.ravel(), down.ravel()]).astype(dtype)
    table = isinstance(part.X, Frame)
    chances = mlp.predict_proba(dict(zip(part.X.names, grid.T, strict=True)) if table else grid)
    paint = np.array([colors.to_rgb(palette(k % 10)) for k in range(chances.shape[1])])
    picture = 1 - 0.45 * (1 - chances @ paint).reshape(*across.shape, 3)
    axes.imshow(
        np.clip(picture, 0, 1), extent=(left, right, bottom, top), origin="lower", aspect="auto"
    )
    axes.grid(False)
    for k, name in enumerate(distinct(part.classes or (), 20)):
        rows = X[np.asarray(part.y) == k]
        style = {"s": 22, "edgecolors": "white", "linewidths": 0.6}
        axes.scatter(rows[:, 0], rows[:, 1], color=paint[k], label=name, **style)
    names = part.features or ("feature 1", "feature 2")
    axes.set_xlabel(short(names[0], 100))
    axes.set_ylabel(short(names[1], 40))
    axes.legend(title="class", loc="center left", bbox_to_anchor=(1.0, 0.5))
