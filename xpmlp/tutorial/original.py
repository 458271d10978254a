"""The runs of the original script, with and without its mistake.

omar-florez/scratch_mlp trains a network without biases, sigmoid twice, on the first 50 of 300
points, by gradient descent on the full batch. Its gradient of the L2 penalty adds the scalar
λ Σw² to every element instead of λ w: larger weights push *all* weights further in one direction,
until the loss diverges. Its article blames exploding gradients.

Its loss is 1/(2N) Σ(y − h₂)² + λ/(2N) Σw², and its gradient is that of N times this loss. So
xpmlp's loss and step give the same run with l2 = λ/N and N times the learning rate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.callbacks import Callback
from xpmlp.errors import DivergenceError
from xpmlp.inspect.explain.worked import slides_network, slides_points
from xpmlp.mlp import MLP
from xpmlp.nn.optimizers import SGD
from xpmlp.nn.penalty import Penalty
from xpmlp.show.figures import BLUE, GREY, ORANGE, drawing
from xpmlp.training.loop import Training

N = 50
"""Points that the original trains on."""

CHUNK = 1000
"""Steps in an epoch here: the 50 points are repeated, because each epoch has a fixed cost."""


@dataclass(frozen=True)
class Row:
    """A run of the original, ``rate`` and ``l2`` as there; ``slip`` keeps its wrong gradient."""

    hidden: int
    rate: float
    l2: float
    steps: int
    slip: bool = True

    @property
    def name(self) -> str:
        """``"50 hidden, rate 0.003, λ 0.0001"``."""
        return f"{self.hidden} hidden, rate {self.rate:g}, λ {self.l2:g}"


EXPLODES = Row(50, 0.003, 1e-4, 120_000)
"""What the article shows as exploding gradients: NaN before step 200,000."""

QUICK = (EXPLODES, replace(EXPLODES, slip=False))
FULL = (
    Row(3, 0.003, 0.0, 300_000),
    Row(10, 0.001, 1e-6, 300_000),
    Row(10, 0.001, 1e-6, 300_000, slip=False),
    Row(50, 0.003, 1e-6, 1_000_000),
    Row(50, 0.003, 1e-6, 1_000_000, slip=False),
    replace(EXPLODES, steps=200_000),
    replace(EXPLODES, steps=1_000_000, slip=False),
)
"""All that the article shows. Without a penalty the mistake has no effect."""


@dataclass(frozen=True)
class SlippedPenalty(Penalty):
    """The original's mistake, for comparison: the value is correct, the gradient is not."""

    def add_gradient(self, xp: Any, W: Any, dW: Any) -> Any:
        """dW + λ₂ Σw², the scalar added to every element."""
        return dW + self.l2 * xp.sum(W * W)


@dataclass(frozen=True)
class Result:
    """The result of a run: mean ``losses`` of each ``CHUNK`` of steps, and the values at the end.

    These are taken before the update of the last step: ``loss`` on the 50 points, ``accuracy`` on
    all 300, and ``squares`` Σw₁². They are NaN after an explosion.
    """

    row: Row
    losses: list[float]
    loss: float = math.nan
    accuracy: float = math.nan
    squares: float = math.nan

    @property
    def exploded(self) -> bool:
        """Whether it ended in NaN."""
        return math.isnan(self.loss)


class _Record(Callback):
    """Keeps the mean loss of each chunk, which ``fit`` does not return after an explosion."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_epoch_end(self, training: Training) -> None:
        self.losses.append(training.history["loss"][-1])


def points(n: int = 300) -> tuple[Any, Any]:
    """Return the original's first n points, and XOR of their signs as one-hot rows."""
    X = slides_points(n)
    return X, np.eye(2)[((X[:, 0] > 0) ^ (X[:, 1] > 0)).astype(int)]


def network(row: Row, backend: Any = "numpy") -> MLP:
    """Return the network of a run with the original's initial weights."""
    mlp = slides_network(row.hidden, l2=row.l2 / N, dtype="float64", backend=backend)
    if row.slip:
        mlp.penalty = SlippedPenalty(l2=row.l2 / N)
    return mlp


def repeat(row: Row, *, backend: Any = "numpy", callbacks: Sequence[Callback] = ()) -> Result:
    """Train as the original does. An explosion is a result, not an error."""
    mlp, record = network(row, backend), _Record()
    chunks, rest = divmod(row.steps - 1, CHUNK)  # the last step only sees the loss
    try:
        if rest:
            _train(mlp, row, rest, 1, ())
        if chunks:
            _train(mlp, row, CHUNK, chunks, [record, *callbacks])
    except DivergenceError:
        return Result(row, record.losses)
    W1 = mlp.parameters["dense1.W"]
    return Result(
        row,
        record.losses,
        mlp.evaluate(*points(N))["loss"],
        mlp.evaluate(*points())["accuracy"],
        float(np.sum(W1 * W1)),
    )


def _train(mlp: MLP, row: Row, steps: int, epochs: int, callbacks: Sequence[Callback]) -> None:
    X, y = points(N)
    mlp.fit(
        np.tile(X, (steps, 1)),
        np.tile(y, (steps, 1)),
        epochs=epochs,
        batch_size=N,
        shuffle=False,
        optimizer=SGD(row.rate * N),  # the original sums the gradients of the points
        callbacks=callbacks,
    )


def table(results: Sequence[Result]) -> list[str]:
    """Return the results as lines of a table."""
    heads = ("hidden, rate, λ", "L2 gradient", "steps", "loss", "accuracy", "Σw₁²")
    lines = ["{:<17} {:<11} {:>9} {:>9} {:>9} {:>9}".format(*heads)]
    for result in results:
        row = result.row
        gradient = "any" if not row.l2 else "mistaken" if row.slip else "correct"
        head = f"{f'{row.hidden}, {row.rate:g}, {row.l2:g}':<17} {gradient:<11}"
        if result.exploded:
            until = CHUNK * (len(result.losses) + 1)
            lines.append(f"{head} {until:>9,}  NaN: exploded before this step")
        else:
            values = f"{result.loss:>9.6f} {result.accuracy:>9.3f} {result.squares:>9,.0f}"
            lines.append(f"{head} {row.steps:>9,} {values}")
    return lines


def describe(slipped: Result, right: Result) -> str:
    """Say in plain words what the same settings do with and without the mistake."""
    if slipped.exploded:
        end = f"becomes NaN soon after step {CHUNK * len(slipped.losses):,}"
    else:
        end = f"is {slipped.loss:.3f} after {slipped.row.steps:,} steps"
    sight = (
        f"With the original's L2 gradient the loss {end}; with the correct one it is "
        f"{right.loss:.3f} after {right.row.steps:,} steps, at the same learning rate."
    )
    if not slipped.exploded or right.exploded:
        return f"{sight} After so few steps the mistake has not blown up yet."
    return (
        f"{sight} So it is not the gradients that explode: the mistake adds the scalar λΣw² to "
        "every element, which pushes all weights in the same direction, the more the larger they "
        "are."
    )


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
