"""``xpmlp xor``: the tutorial's runs, from XOR learned to a training run that explodes."""

from argparse import Namespace
from pathlib import Path

from xpmlp.callbacks import ShowProgress
from xpmlp.cli.output import Output
from xpmlp.errors import InvalidValueError
from xpmlp.storage.paths import expanded
from xpmlp.training.history import percent
from xpmlp.training.loop import Training
from xpmlp.tutorial import exploding, original, xor
from xpmlp.tutorial.panels import Panels

NOT_OF_SCENARIOS = ("hidden", "epochs", "lr", "gif")
"""Options that a scenario does not use."""


def run(options: Namespace) -> None:
    """Run what the options ask for.

    Raises
    ------
    InvalidValueError
        For options that do not go together.
    """
    out, folder = Output(), expanded(options.out, "--out")
    if options.full and options.scenario != "original":
        raise InvalidValueError("--full belongs to --scenario original")
    if options.scenario is None:
        _learn(options, folder, out)
        return
    for name in NOT_OF_SCENARIOS:
        value = getattr(options, name)
        if value is not None and value is not False:  # 0 is something, too
            raise InvalidValueError(f"--{name} does not go with --scenario {options.scenario}")
    scenario = {"exploding": _explode, "original": _repeat_original}[options.scenario]
    scenario(options, folder / f"{options.scenario}.png", out)


def _learn(options: Namespace, folder: Path, out: Output) -> None:
    """Train each network, then draw them all."""
    runs = []
    for hidden in options.hidden or [10]:
        out.say(f"{hidden} hidden neurons, 300 training points")
        made = xor.learn(
            hidden,
            epochs=xor.EPOCHS if options.epochs is None else options.epochs,
            rate=xor.RATE if options.lr is None else options.lr,
            seed=options.seed,
            backend=options.backend,
            callbacks=[Tenths()],
        )
        out.say(f"{made.name}: accuracy {percent(made.accuracy)} on 300 new points")
        out.show([""])
        runs.append(made)
    panels = Panels(runs)
    panels.png(folder / "xor.png")
    out.say(f"picture: {folder / 'xor.png'}")
    if options.gif:
        panels.gif(folder / "xor.gif")
        out.say(f"animation: {folder / 'xor.gif'}")


def _explode(options: Namespace, path: Path, out: Output) -> None:
    """Run the exploding training and each remedy."""
    outcomes = exploding.compare(
        seed=options.seed,
        backend=options.backend,
        tell=lambda o: out.show([f"{o.trial.name:<26} {exploding.summary(o)}"]),
    )
    out.show([""])
    out.say(exploding.describe(outcomes))
    exploding.picture(outcomes, path)
    out.say(f"picture: {path}")


def _repeat_original(options: Namespace, path: Path, out: Output) -> None:
    """Repeat the original's runs: the one that explodes, or all of them."""
    results = []
    for row in original.FULL if options.full else original.QUICK:
        gradient = "the original's" if row.slip else "the correct"
        out.say(f"{row.name}: {row.steps:,} steps with {gradient} L2 gradient, 1,000 per epoch")
        backend = options.backend or "numpy"
        results.append(original.repeat(row, backend=backend, callbacks=[Tenths()]))
    out.show(["", *original.table(results), ""])
    out.say(original.describe(*results[-2:]))
    original.picture(results, path)
    out.say(f"picture: {path}")


class Tenths(ShowProgress):
    """The live line on a terminal; elsewhere a line for every tenth of the training."""

    def on_epoch_end(self, training: Training) -> None:
        """Print the row if a tenth is over."""
        done = training.epoch + 1
        tenth = done * 10 // training.epochs > (done - 1) * 10 // training.epochs
        if tenth or self.console is not None:
            super().on_epoch_end(training)
