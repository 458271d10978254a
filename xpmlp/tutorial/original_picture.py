"""The original's runs with its L2 gradient and with the correct one, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.inspect.figures import BLUE, GREY, ORANGE, drawing
from xpmlp.tutorial.original import CHUNK, Result

TOP = 0.29
"""Top of the loss axis: the initial loss is 0.257, the last before NaN far larger."""


def picture(results: Sequence[Result], path: Path) -> None:
    """Draw a panel for each setting, with the loss of both gradients."""
    names = list(dict.fromkeys(result.row.name for result in results))
    title = "The original's runs, with its L2 gradient and with the correct one"
    with drawing(path, max(7.0, 4.2 * len(names)), 4.2, title) as figure:
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            axes.set_title(name)
            axes.set_xlabel("step")
            axes.set_ylabel("loss on the 50 points")
            shown = [result for result in results if result.row.name == name]
            for result in shown:
                _curve(axes, result)
            for result in shown:
                if result.exploded:
                    _end(axes, result)
            axes.set_ylim(0, TOP)
            axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
            axes.xaxis.get_major_locator().set_params(nbins=4)
            axes.legend(loc="lower left")


def _curve(axes: Any, result: Result) -> None:
    """Draw one run."""
    row, losses = result.row, result.losses
    steps = CHUNK * np.arange(1, len(losses) + 1)
    if not row.l2:
        looks = {"color": GREY, "label": "no penalty"}
    elif row.slip:
        looks = {"color": ORANGE, "label": "Σw² added to every element (mistake)"}
    else:
        looks = {"color": BLUE, "label": "λ w added (correct)", "linestyle": "--"}
    axes.plot(steps, losses, linewidth=2, **looks)


def _end(axes: Any, result: Result) -> None:
    """Mark where a run became NaN, with the text on the side that has more room."""
    step = CHUNK * len(result.losses)
    side, align = (10, "left") if step < axes.get_xlim()[1] / 2 else (-10, "right")
    axes.plot(step, 0.96 * TOP, "X", color=ORANGE, markersize=10)
    place = {"xytext": (side, 0), "textcoords": "offset points", "ha": align, "va": "center"}
    axes.annotate(f"NaN soon after {step:,}", (step, 0.96 * TOP), color=ORANGE, **place)
