"""The exploding training and its remedies, side by side."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.inspect.plots import BLUE, GREY, ORANGE
from xpmlp.tutorial.exploding import CHANGED, Outcome, summary
from xpmlp.tutorial.figures import drawing

LOW, HIGH = 5e-3, 2e3
"""Bounds of the picture's loss axis."""


def picture(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw the exploding run and each remedy beside each other, on the same axes."""
    with drawing(path, 12, 6.4) as figure:
        title = (
            "A training that explodes (grey in the other panels), and one thing changed at a time"
        )
        figure.suptitle(title, fontsize=13, x=0.012, ha="left")
        axes = figure.subplots(2, -(-len(outcomes) // 2), sharex=True, sharey=True)
        for ax, outcome in zip(axes.ravel(), outcomes, strict=False):
            _panel(ax, outcome, outcomes[0])
        for ax in axes[-1]:
            ax.set_xlabel("epoch")
        for ax in axes[:, 0]:
            ax.set_ylabel("loss of each step")


def _panel(axes: Any, outcome: Outcome, base: Outcome) -> None:
    bad = outcome.verdict in ("exploded", "guesses")
    colour = ORANGE if bad else BLUE
    name = outcome.trial.name.removeprefix("a ").removeprefix("an ")
    axes.set_title(name[0].upper() + name[1:], pad=20)
    small = {"transform": axes.transAxes, "fontsize": 9.5}
    axes.text(0, 1.025, CHANGED.get(outcome.trial.name, "50 neurons in each of two layers"),
              color=GREY, **small)  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(LOW, HIGH)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.plot(*_points(base), color="#b9c0c6", linewidth=1.2)
    looks = {"linewidth": 1.8} if outcome is base else {"linewidth": 0.6, "alpha": 0.4}
    axes.plot(*_points(outcome), color=colour, **looks)
    axes.plot(np.arange(1, len(outcome.means) + 1), outcome.means, color=colour, linewidth=2.2)
    text = "\n".join(textwrap.wrap(summary(outcome), 20))
    axes.text(0.98, 0.97, text, ha="right", va="top", color=colour, weight="bold", **small)


def _points(outcome: Outcome) -> tuple[Any, Any]:
    """Times in epochs and losses; one beyond the picture's top where they ended."""
    losses = np.where(np.isfinite(outcome.losses), outcome.losses, 10 * HIGH)
    stop = outcome.exploded or len(losses)
    return np.arange(1, stop + 1) / outcome.steps, np.minimum(losses[:stop], 10 * HIGH)
