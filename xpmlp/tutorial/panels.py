"""Accuracy, decision boundary and loss side by side, as a picture and as an animation."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.show.animation import animation
from xpmlp.show.figures import BLUE, GREY, ORANGE, TITLE, blank, matplotlib, save, style
from xpmlp.storage.atomic import write_atomically
from xpmlp.tutorial.xor import Run

CLASSES = ((BLUE, "o"), (ORANGE, "^"))
"""Color and marker of each class: the marker helps those who do not see the color."""

PARTS = {"": ("training points", GREY, "--"), "val_": ("fresh points", "#117733", "-")}
"""For each prefix in the history: label, color and dashes of the curve."""

SHADES = ["#9cc4e4", "white", "#f4b98a"]
LEVELS = 12
"""Shades of the plane. A few compress far better in a GIF than a smooth gradient."""

WIDTH, ROW_HEIGHT, HEAD = 10.0, 3.1, 0.35
"""Sizes of the figure, in inches."""


class Panels:
    """A row of three panels for each run, showing one of the recorded frames.

    All runs need the same number of frames.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = runs
        with style():
            self.figure = blank(WIDTH, HEAD + ROW_HEIGHT * len(runs))
            self.canvas = matplotlib(".backends.backend_agg").FigureCanvasAgg(self.figure)
            self.head = self.figure.suptitle("XOR", **TITLE, animated=True)
            axes = self.figure.subplots(len(runs), 3, squeeze=False)
            self.rows = [_Row(run, *row) for run, row in zip(runs, axes, strict=True)]
            self.show(-1)
            # The layout is computed once: doing it for every frame would take most of the time.
            self.figure.draw_without_rendering()
            self.figure.set_layout_engine("none")

    def show(self, frame: int) -> None:
        """Show a frame."""
        epoch = self.runs[0].frames[frame].epoch
        self.head.set_text(f"XOR after {epoch:.3g} of {self.runs[0].frames[-1].epoch} epochs")
        for row in self.rows:
            row.show(frame)

    def png(self, path: Path) -> None:
        """Write the last frame as a PNG."""
        with style():
            self.show(-1)
            self.head.set_animated(False)  # or it is not saved
            save(self.figure, path)
            self.head.set_animated(True)

    def gif(self, path: Path) -> None:
        """Write all frames as an animated GIF that loops."""
        write_atomically(path, animation(list(self._film())))

    def _film(self) -> Iterator[Any]:
        """Draw every frame: static artists once, moving (``animated``) ones each time."""
        with style():
            self.canvas.draw()
            still = self.canvas.copy_from_bbox(self.figure.bbox)
            for frame in range(len(self.runs[0].frames)):
                self.show(frame)
                self.canvas.restore_region(still)
                self.figure.draw_artist(self.head)
                for row in self.rows:
                    for artist in row.moving():
                        artist.axes.draw_artist(artist)
                yield np.asarray(self.canvas.buffer_rgba())[:, :, :3].copy()


class _Row:
    """The panels of one run."""

    def __init__(self, run: Run, accuracy: Any, plane: Any, loss: Any) -> None:
        self.run = run
        self.curves = [_Curves(accuracy, run, "accuracy"), _Curves(loss, run, "loss")]
        self.plane = plane
        self.border: Any = None
        self.image, *self.points = self._draw_plane()

    def _draw_plane(self) -> list[Any]:
        """Return the image, which changes, and the points on top of it."""
        shades = matplotlib(".colors").LinearSegmentedColormap.from_list("", SHADES)
        run, axes = self.run, self.plane
        image = axes.imshow(
            run.frames[-1].chances,
            shades.resampled(LEVELS),
            vmin=0,
            vmax=1,
            extent=(-run.reach, run.reach, -run.reach, run.reach),
            origin="lower",
            animated=True,
        )
        drawn = [image]
        for k, (color, marker) in enumerate(CLASSES):
            points = run.data.X[run.data.y == k]
            looks = {"s": 17, "linewidths": 0.5, "edgecolors": "white", "animated": True}
            drawn.append(
                axes.scatter(points[:, 0], points[:, 1], color=color, marker=marker, **looks)
            )
        axes.grid(False)
        axes.set_title(run.name)
        axes.set_xlabel("x₁")
        axes.set_ylabel("x₂", rotation=0)
        axes.set_xticks([-2, 0, 2])
        axes.set_yticks([-2, 0, 2])
        return drawn

    def show(self, frame: int) -> None:
        epoch, chances = self.run.frames[frame]
        for curves in self.curves:
            curves.show(int(epoch))
        self.image.set_data(chances)
        if self.border is not None:
            self.border.remove()
            self.border = None
        if chances.min() < 0.5 < chances.max():
            x = np.linspace(-self.run.reach, self.run.reach, len(chances))
            looks = {"colors": ["#20262c"], "linewidths": 1.2}
            self.border = self.plane.contour(x, x, chances, levels=[0.5], **looks)
            self.border.set_animated(True)

    def moving(self) -> list[Any]:
        border = [] if self.border is None else [self.border]
        lines = [artist for curves in self.curves for artist in curves.moving()]
        return [self.image, *border, *self.points, *lines]


class _Curves:
    """One metric of the history, on the training points and on the fresh ones."""

    def __init__(self, axes: Any, run: Run, name: str) -> None:
        self.name = name
        self.lines = []
        for key, (label, color, dashes) in PARTS.items():
            values = np.array(run.history[key + name])
            (line,) = axes.plot(
                [], [], dashes, color=color, linewidth=1.8, label=label, animated=True
            )
            self.lines.append((line, values))
        epochs = len(self.lines[0][1])
        axes.set_xlim(0, epochs * 1.02)
        axes.set_xlabel("epoch")
        self.title = axes.set_title("", animated=True)
        top = max(values.max() for _, values in self.lines)
        axes.set_ylim(0, 1.03 if name == "accuracy" else 1.08 * top)
        if name == "accuracy":
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        axes.legend(loc="lower right" if name == "accuracy" else "upper right")

    def show(self, epoch: int) -> None:
        for line, values in self.lines:
            line.set_data(np.arange(1, epoch + 1), values[:epoch])
        text = self.name.capitalize()
        if epoch:
            now = self.lines[-1][1][epoch - 1]
            value = f"{100 * now:.1f} %" if self.name == "accuracy" else f"{now:.3f}"
            text += f"  {value} on fresh points"
        self.title.set_text(text)

    def moving(self) -> list[Any]:
        return [self.title, *(line for line, _ in self.lines)]
