"""A training run that explodes, and what each textbook remedy does about it.

The outputs have no activation and the loss is squared error, so the loss has no bound, and the
learning rate is too large. Each remedy changes one thing.
"""

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.callbacks import Callback
from xpmlp.data.toy import make_xor
from xpmlp.errors import DivergenceError
from xpmlp.mlp import MLP
from xpmlp.nn.optimizers import SGD
from xpmlp.nn.schedules import InverseTime
from xpmlp.show.figures import BLUE, GREY, ORANGE, drawing
from xpmlp.training.loop import Training

RATE, HIDDEN, BATCH, EPOCHS = 0.5, (50, 50), 10, 60
LEARNED, GUESSING = 0.7, 0.6
"""Accuracy on fresh points: from the first a run has learned, up to the second it guesses."""


@dataclass(frozen=True)
class Trial:
    """The exploding run with something changed: ``name`` says what, ``change`` how exactly.

    ``network`` holds more arguments of ``MLP``.
    """

    name: str
    change: str
    hidden: tuple[int, ...] = HIDDEN
    batch_size: int = BATCH
    network: dict[str, Any] = field(default_factory=dict)
    optimizer: SGD = SGD(RATE)  # noqa: RUF009 - frozen


BASE = Trial(f"learning rate {RATE:g}", f"{HIDDEN[0]} neurons in each of two layers")
REMEDIES = (
    Trial("a smaller learning rate", f"{RATE / 10:g}, a tenth", optimizer=SGD(RATE / 10)),
    Trial(
        "a decaying learning rate",
        f"{RATE:g}/(1 + epochs)",
        optimizer=SGD(InverseTime(RATE, decay=1.0)),
    ),
    Trial("gradient clipping", "norm at most 1", optimizer=SGD(RATE, clip_norm=1.0)),
    Trial("a larger minibatch", f"{10 * BATCH} rows, not {BATCH}", batch_size=10 * BATCH),
    Trial("fewer layers", f"one layer of {HIDDEN[0]}, not two", hidden=HIDDEN[:1]),
    Trial("a stronger L2 penalty", "λ₂ = 0.01, not 0", network={"l2": 0.01}),
    Trial("an L1 penalty", "λ₁ = 0.001, not 0", network={"l1": 0.001}),
)


@dataclass(frozen=True)
class Outcome:
    """The result of a trial.

    ``losses`` are those of every step, with the penalty, and ``means`` those of finished epochs of
    ``steps`` steps. ``accuracy`` is that on 300 fresh points; NaN after an explosion.
    """

    trial: Trial
    losses: Any
    steps: int
    means: list[float]
    accuracy: float

    @property
    def exploded(self) -> int | None:
        """The step, from 1, at which the loss overflowed and ended the run; None if it did not."""
        return len(self.losses) if math.isnan(self.accuracy) else None

    @property
    def verdict(self) -> str:
        """``"exploded"``, ``"guesses"``, ``"learned"``, or ``"learns little"``."""
        if self.exploded:
            return "exploded"
        if self.accuracy <= GUESSING:
            return "guesses"
        return "learned" if self.accuracy >= LEARNED else "learns little"


class Losses(Callback):
    """Keeps the loss of every step, to see the explosion to the step, and the run."""

    every = 1

    def on_train_begin(self, training: Training) -> None:
        """Start."""
        self.values: list[float] = []
        self.training = training

    def on_batch_end(self, training: Training) -> None:
        """Read the loss from the device."""
        self.values.append(training.batch_loss)


def attempt(trial: Trial, *, seed: int = 0, backend: Any = None, epochs: int = EPOCHS) -> Outcome:
    """Run a trial. An explosion is a result, not an error."""
    data, losses = make_xor(seed=seed), Losses()
    options: dict[str, Any] = {"loss": "mse", "seed": seed, "backend": backend}
    mlp = MLP([2, *trial.hidden, 2], "tanh", **options, **trial.network)
    options = {"batch_size": trial.batch_size, "optimizer": trial.optimizer}
    try:
        mlp.fit(data.X, data.y, epochs=epochs, callbacks=[losses], **options)
        accuracy = float(np.mean(mlp.predict(data.X_test) == data.y_test))
    except DivergenceError:
        accuracy = math.nan
    run = losses.training
    return Outcome(trial, np.array(losses.values), run.steps, run.history.get("loss", []), accuracy)


def compare(
    *,
    seed: int = 0,
    backend: Any = None,
    epochs: int = EPOCHS,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Run the exploding trial and every remedy; ``tell`` is called after each."""
    outcomes = []
    for trial in (BASE, *REMEDIES):
        outcomes.append(attempt(trial, seed=seed, backend=backend, epochs=epochs))
        tell(outcomes[-1])
    return outcomes


def summary(outcome: Outcome) -> str:
    """Say in a few words how a trial ended."""
    if outcome.verdict == "exploded":
        return f"exploded at step {outcome.exploded}"
    share = f"{100 * outcome.accuracy:.0f} %"
    if outcome.verdict == "guesses":
        return f"finite, but {share} correct: guessing"
    return f"{share} correct on fresh points"


def describe(outcomes: Sequence[Outcome]) -> str:
    """Say in plain words what the runs show; the exploding one is first."""
    base, *remedies = outcomes
    text = [_of_base(base)]
    for verdict, sentence in SENTENCES.items():
        group = [o for o in remedies if o.verdict == verdict]
        if group:
            text.append(sentence.format(_names(group)))
    ends = [o.means[-1] for o in remedies if o.verdict == "guesses"]
    if ends:
        text.append(
            "A finite loss is not yet a falling one: always answering one half has a loss of "
            f"0.25, and these runs end at {' and '.join(sorted({f'{end:.2f}' for end in ends}))}."
        )
    return " ".join(text)


SENTENCES = {
    "learned": "What helped: {}.",
    "learns little": "These kept it finite, but learned little: {}.",
    "guesses": "These stopped the explosion, but the network still only guesses: {}.",
    "exploded": "These did not help, the loss still exploded: {}.",
}


def _of_base(base: Outcome) -> str:
    if base.verdict != "exploded":
        return f"With {base.trial.name} the loss did not explode here: {summary(base)}."
    losses = base.losses[np.isfinite(base.losses)]
    return (
        f"With {base.trial.name} the loss starts at {losses[0]:.2f} and reaches "
        f"{losses.max():.1e} before it overflows at step {base.exploded}. Each step overshoots: "
        "larger weights make a larger gradient, and that makes a larger step."
    )


def _names(outcomes: Sequence[Outcome]) -> str:
    """Join to ``"a (91 %), b (87 %) and c (step 9)"``, the best first."""
    ordered = sorted(outcomes, key=lambda o: 0.0 if o.exploded else -o.accuracy)
    parts = [
        f"{o.trial.name} ({f'step {o.exploded}' if o.exploded else f'{100 * o.accuracy:.0f} %'})"
        for o in ordered
    ]
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


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
