"""The exploding run and its remedies, side by side."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.inspect.figures import BLUE, GREY, ORANGE, drawing
from xpmlp.tutorial.exploding import Outcome, summary

LOW, HIGH = 5e-3, 2e3
"""Bounds of the picture's loss axis."""


def picture(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw the exploding run and each remedy side by side, on the same axes."""
    title = "A training run that explodes (grey in the other panels), with one change at a time"
    with drawing(path, 12, 6.4, title) as figure:
        axes = figure.subplots(2, -(-len(outcomes) // 2), sharex=True, sharey=True)
        for ax, outcome in zip(axes.ravel(), outcomes, strict=False):
            _panel(ax, outcome, outcomes[0])
        for ax in axes[-1]:
            ax.set_xlabel("epoch")
        for ax in axes[:, 0]:
            ax.set_ylabel("loss of each step")


def _panel(axes: Any, outcome: Outcome, base: Outcome) -> None:
    bad = outcome.verdict in ("exploded", "guesses")
    color = ORANGE if bad else BLUE
    name = outcome.trial.name.removeprefix("a ").removeprefix("an ")
    axes.set_title(name[0].upper() + name[1:], pad=20)
    small = {"transform": axes.transAxes, "fontsize": 9.5}
    axes.text(0, 1.025, outcome.trial.change, color=GREY, **small)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(LOW, HIGH)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.minorticks_off()
    axes.plot(*_points(base), color="#b9c0c6", linewidth=1.2)
    looks = {"linewidth": 1.8} if outcome is base else {"linewidth": 0.6, "alpha": 0.4}
    axes.plot(*_points(outcome), color=color, **looks)
    axes.plot(np.arange(1, len(outcome.means) + 1), outcome.means, color=color, linewidth=2.2)
    text = "\n".join(textwrap.wrap(summary(outcome), 20))
    axes.text(0.98, 0.97, text, ha="right", va="top", color=color, weight="bold", **small)


def _points(outcome: Outcome) -> tuple[Any, Any]:
    """Return times in epochs, and losses; an explosion ends above the top of the picture."""
    losses = np.minimum(np.nan_to_num(outcome.losses, nan=np.inf), 10 * HIGH)
    return np.arange(1, len(losses) + 1) / outcome.steps, losses
