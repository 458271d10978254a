"""A training that explodes, and what each remedy of the textbooks does about it.

The network gives its two outputs as they are and is trained with squared errors, so nothing
bounds its loss, and the learning rate is too large. Each remedy changes one thing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpmlp.callbacks import Callback
from xpmlp.data.toy import make_xor
from xpmlp.errors import DivergenceError
from xpmlp.mlp import MLP
from xpmlp.nn.optimizers import SGD
from xpmlp.nn.schedules import InverseTime
from xpmlp.training.loop import Training

RATE, HIDDEN, BATCH, EPOCHS = 0.5, (50, 50), 10, 60
LEARNED, GUESSING = 0.7, 0.6
"""Accuracy on fresh points from which a run has learned, and up to which it only guesses."""


@dataclass(frozen=True)
class Trial:
    """The exploding run with something changed.

    Attributes
    ----------
    name : str
        What was changed.
    hidden : tuple of int
    batch_size : int
    network : dict
        More arguments of ``MLP``.
    optimizer : SGD
    """

    name: str
    hidden: tuple[int, ...] = HIDDEN
    batch_size: int = BATCH
    network: dict[str, Any] = field(default_factory=dict)
    optimizer: SGD = SGD(RATE)  # noqa: RUF009 - frozen


BASE = Trial(f"learning rate {RATE:g}")
REMEDIES = (
    Trial("a smaller learning rate", optimizer=SGD(RATE / 10)),
    Trial("a decaying learning rate", optimizer=SGD(InverseTime(RATE, decay=1.0))),
    Trial("gradient clipping", optimizer=SGD(RATE, clip_norm=1.0)),
    Trial("a larger minibatch", batch_size=10 * BATCH),
    Trial("fewer layers", hidden=HIDDEN[:1]),
    Trial("a stronger L2 penalty", network={"l2": 0.01}),
    Trial("an L1 penalty", network={"l1": 0.001}),
)
CHANGED = {
    "a smaller learning rate": f"{RATE / 10:g}, a tenth",
    "a decaying learning rate": f"{RATE:g}/(1 + epochs)",
    "gradient clipping": "norm at most 1",
    "a larger minibatch": f"{10 * BATCH} rows, not {BATCH}",
    "fewer layers": f"one layer of {HIDDEN[0]}, not two",
    "a stronger L2 penalty": "λ₂ = 0.01, not 0",
    "an L1 penalty": "λ₁ = 0.001, not 0",
}
"""What exactly each remedy changes."""


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes
    ----------
    trial : Trial
    losses : ndarray
        Of every step, the penalty included.
    steps : int
        In an epoch.
    means : list of float
        Each finished epoch's mean loss.
    accuracy : float
        On 300 fresh points; NaN after an explosion.
    """

    trial: Trial
    losses: Any
    steps: int
    means: list[float]
    accuracy: float

    @property
    def exploded(self) -> int | None:
        """The first step, from 1, whose loss was not finite."""
        bad = np.flatnonzero(~np.isfinite(self.losses))
        return int(bad[0]) + 1 if len(bad) else None

    @property
    def verdict(self) -> str:
        """``"exploded"``, ``"guesses"``, ``"learned"``, or ``"learns little"``."""
        if math.isnan(self.accuracy):
            return "exploded"
        if self.accuracy <= GUESSING:
            return "guesses"
        return "learned" if self.accuracy >= LEARNED else "learns little"


class Losses(Callback):
    """Keeps every step's loss."""

    every = 1

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_batch_end(self, training: Training) -> None:
        """Read it; the explosion must be seen to the step."""
        self.values.append(training.batch_loss)
        self.steps = training.steps

    def on_train_end(self, training: Training) -> None:
        """Keep the epochs' means, too."""
        self.means = training.history.get("loss", [])


def attempt(trial: Trial, *, seed: int = 0, backend: Any = None, epochs: int = EPOCHS) -> Outcome:
    """Run a trial. An explosion is an outcome like another, not an error."""
    data = make_xor(seed=seed)
    sizes = [2, *trial.hidden, 2]
    options: dict[str, Any] = {"loss": "mse", "seed": seed, "backend": backend}
    mlp = MLP(sizes, "tanh", **options, **trial.network)
    losses = Losses()
    try:
        mlp.fit(
            data.X,
            data.y,
            epochs=epochs,
            batch_size=trial.batch_size,
            optimizer=trial.optimizer,
            callbacks=[losses],
        )
        accuracy = float(np.mean(mlp.predict(data.X_test) == data.y_test))
    except DivergenceError:
        accuracy = math.nan
    return Outcome(trial, np.array(losses.values), losses.steps, losses.means, accuracy)


def compare(
    *,
    seed: int = 0,
    backend: Any = None,
    epochs: int = EPOCHS,
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Run the exploding training and every remedy; ``tell`` hears of each when it is done."""
    outcomes = []
    for trial in (BASE, *REMEDIES):
        outcomes.append(attempt(trial, seed=seed, backend=backend, epochs=epochs))
        tell(outcomes[-1])
    return outcomes


def summary(outcome: Outcome) -> str:
    """Say in a few words what came of a trial."""
    if outcome.verdict == "exploded":
        step = outcome.exploded or len(outcome.losses)
        return f"exploded at step {step}"
    share = f"{100 * outcome.accuracy:.0f} %"
    if outcome.verdict == "guesses":
        return f"finite, but {share} right: guessing"
    return f"{share} right on fresh points"


def describe(outcomes: Sequence[Outcome]) -> str:
    """Say in plain words what the runs show, the exploding one being first."""
    base, *remedies = outcomes
    text = [_of_base(base)]
    for verdict, sentence in SENTENCES.items():
        group = [o for o in remedies if o.verdict == verdict]
        if group:
            text.append(sentence.format(_names(group)))
    ends = [o.means[-1] for o in remedies if o.verdict == "guesses"]
    if ends:
        text.append(
            "A loss that stays finite is not yet one that falls: always answering one half costs "
            f"0.25, and these runs end at {' and '.join(sorted({f'{end:.2f}' for end in ends}))}."
        )
    return " ".join(text)


SENTENCES = {
    "learned": "What helped: {}.",
    "learns little": "These kept it finite, but learned little: {}.",
    "guesses": "These stopped the explosion, but the network still only guesses: {}.",
    "exploded": "These did not help, the loss exploded all the same: {}.",
}


def _of_base(base: Outcome) -> str:
    if base.verdict != "exploded":
        return f"With {base.trial.name} the loss did not explode here: {summary(base)}."
    losses = base.losses[np.isfinite(base.losses)]
    return (
        f"With {base.trial.name} the loss starts at {losses[0]:.2f} and is {losses.max():.1e} "
        f"before it is no number any more, at step {base.exploded}: each step overshoots, the "
        "larger weights make a larger gradient, and that a larger step."
    )


def _names(outcomes: Sequence[Outcome]) -> str:
    """``"a (91 %), b (87 %) and c (step 9)"``, the best first."""
    ordered = sorted(outcomes, key=lambda o: -o.accuracy if o.accuracy == o.accuracy else 0.0)
    parts = [
        f"{o.trial.name} ("
        + (f"step {o.exploded}" if o.verdict == "exploded" else f"{100 * o.accuracy:.0f} %")
        + ")"
        for o in ordered
    ]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
