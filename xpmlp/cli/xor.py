"""``xpmlp xor``: the tutorial's runs, from XOR learned to a training that explodes."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from xpmlp.callbacks.display import Lines, Live, display
from xpmlp.cli.output import Output
from xpmlp.errors import InvalidValueError
from xpmlp.storage.paths import expanded
from xpmlp.training.history import percent

if TYPE_CHECKING:
    from xpmlp.callbacks import Callback
    from xpmlp.training.loop import Training

TRAINING = ("hidden", "epochs", "lr", "gif")
"""Options that a scenario has no use for."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Teach XOR to a network with one hidden layer, and draw accuracy, decision boundary and "
        "loss. The scenarios show what goes wrong: a training that explodes beside its remedies, "
        "and the original tutorial's runs with their slip beside the right gradient (a minute)."
    )
    add = parser.add_argument
    units = "hidden neurons; several numbers are several runs (default: 10)"
    add("--hidden", type=int, nargs="+", metavar="N", help=units)
    add("--epochs", type=int, metavar="N", help="(default: 100)")
    add("--lr", type=float, metavar="RATE", help="learning rate at first (default: 0.02)")
    add("--seed", type=int, default=0, metavar="N", help="of all that is random (default: 0)")
    add("--scenario", choices=("exploding", "original"), help="what to show instead")
    full = "all runs of the original, about 4 million steps: a quarter of an hour"
    add("--full", action="store_true", help=full)
    add("--gif", action="store_true", help="draw the training as an animation, too")
    add("--out", default="runs/xor", metavar="FOLDER", help="for the pictures (default: runs/xor)")
    names = "auto, numpy, cupy, torch or jax (default: $XPMLP_BACKEND, or auto: a GPU if it works)"
    add("--backend", metavar="NAME", help=names)


def run(options: Namespace) -> int:
    """Run what the arguments ask for.

    Raises
    ------
    InvalidValueError
        For options that do not go together.
    """
    out, folder = Output(), expanded(options.out, "--out")
    if options.full and options.scenario != "original":
        raise InvalidValueError("--full belongs to --scenario original")
    if options.scenario is None:
        return learn(options, folder, out)
    for name in TRAINING:
        value = getattr(options, name)
        if value is not None and value is not False:  # 0 is something, too
            raise InvalidValueError(f"--{name} does not go with --scenario {options.scenario}")
    return {"exploding": exploding, "original": original}[options.scenario](options, folder, out)


def learn(options: Namespace, folder: Path, out: Output) -> int:
    """Train each network, then draw them all."""
    from xpmlp.tutorial import xor
    from xpmlp.tutorial.panels import Panels

    runs = []
    for hidden in options.hidden or [10]:
        out.say(f"{hidden} hidden neurons, 300 points to learn from")
        made = xor.learn(
            hidden,
            epochs=xor.EPOCHS if options.epochs is None else options.epochs,
            rate=xor.RATE if options.lr is None else options.lr,
            seed=options.seed,
            backend=options.backend,
            callbacks=[progress(sys.stdout)],
        )
        out.say(f"{made.name}: {percent(made.accuracy)} right on 300 fresh points")
        out.show([""])
        runs.append(made)
    panels = Panels(runs)
    panels.png(folder / "xor.png")
    out.say(f"picture: {folder / 'xor.png'}")
    if options.gif:
        panels.gif(folder / "xor.gif")
        out.say(f"animation: {folder / 'xor.gif'}")
    return 0


def exploding(options: Namespace, folder: Path, out: Output) -> int:
    """Run the exploding training and each remedy."""
    from xpmlp.tutorial import exploding as scenario
    from xpmlp.tutorial.exploding_picture import picture

    outcomes = scenario.compare(
        seed=options.seed,
        backend=options.backend,
        tell=lambda o: out.show([f"{o.trial.name:<26} {scenario.summary(o)}"]),
    )
    out.show([""])
    out.say(scenario.describe(outcomes))
    picture(outcomes, folder / "exploding.png")
    out.say(f"picture: {folder / 'exploding.png'}")
    return 0


def original(options: Namespace, folder: Path, out: Output) -> int:
    """Repeat the original's runs: the one that explodes, or all of them."""
    from xpmlp.tutorial import original as scenario
    from xpmlp.tutorial.original_picture import picture

    results = []
    for row in scenario.FULL if options.full else scenario.QUICK:
        gradient = "its" if row.slip else "the right"
        out.say(f"{row.name}: {row.steps:,} steps with {gradient} L2 gradient, in epochs of 1,000")
        watch = [progress(sys.stdout)]
        results.append(scenario.repeat(row, backend=options.backend or "numpy", callbacks=watch))
    out.show(["", *scenario.table(results), ""])
    out.say(scenario.describe(*results[-2:]))
    picture(results, folder / "original.png")
    out.say(f"picture: {folder / 'original.png'}")
    return 0


class Tenths(Lines):
    """A line for every tenth of the training, where no live one can be drawn."""

    def on_epoch_end(self, training: "Training") -> None:
        """Print the row, if a tenth is over."""
        done = training.epoch + 1
        if done * 10 // training.epochs > (done - 1) * 10 // training.epochs:
            super().on_epoch_end(training)


def progress(stream: TextIO) -> "Callback":
    """Return the live display on a terminal, else a line now and then."""
    shown: Any = display(stream, "val")
    return shown if isinstance(shown, Live) else Tenths(stream, "val")
