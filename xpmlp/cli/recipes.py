"""``xpmlp train --recipe``: which recipe trains a table, or digits, and what it sets."""

from argparse import Namespace
from dataclasses import replace

from xpmlp.callbacks import EarlyStopping
from xpmlp.cli.output import Output
from xpmlp.data import Dataset
from xpmlp.data.frame import Frame
from xpmlp.data.stored import StoredFrame
from xpmlp.data.table import Table
from xpmlp.errors import InvalidValueError
from xpmlp.mlp import MLP
from xpmlp.training import digit_recipes
from xpmlp.training.history import History
from xpmlp.training.recipes import RECIPES, Recipe, recipe

PLAIN = (
    *("hidden", "activation", "dropout", "normalization", "residual", "l2", "optimizer", "lr"),
    *("schedule", "batch_size", "early_stopping", "augment", "average"),
)
"""Options of the plain network: one of them, without ``--recipe``, means ``--recipe plain``."""

CHANGES = ("hidden", "lr")
"""Those that change a recipe, if both are given."""

MANY = 100_000
"""Rows from which on a table gets a recipe only if asked: 256 epochs would take hours."""

LINES = 16
"""Most epochs that get a line."""

VALIDATION_SPLIT = 0.2
"""Fraction of the training rows by which the best epoch is chosen."""


def chosen(args: Namespace, data: Dataset, table: Table | None, out: Output) -> Recipe | None:
    """Return the recipe of a run, and set ``args.recipe``; None for the plain network.

    Raises
    ------
    InvalidValueError
        For a recipe together with data or options that have none.
    """
    if args.recipe in digit_recipes.RECIPES and data.image_shape == digit_recipes.SHAPE:
        of_digits(args, out)
    classes = len(data.classes or ())
    fits = isinstance(data.X, Frame) and data.targets != "multilabel" and table is not None
    plain = [name for name in PLAIN if name in args.given]
    if args.recipe is None:
        large = isinstance(data.X, StoredFrame) or len(data.X) > MANY
        args.recipe = "plain" if not fits or large or plain else "best"
        if fits and large and not plain:
            out.row("note", "a large table: --recipe best is better, and takes long")
    elif args.recipe != "plain" and args.resume is None:
        if not fits or args.recipe not in RECIPES:
            raise InvalidValueError(
                f"--recipe {args.recipe}: found data that are no table, or several labels; "
                f"expected {_SUITED[args.recipe]}. Leave the option out"
            )
        if others := [name for name in plain if name not in CHANGES]:
            option = others[0].replace("_", "-")
            raise InvalidValueError(
                f"--{option}: found it with --recipe {args.recipe}, which has its own; leave one "
                "of them out. --hidden, --lr and --epochs change a recipe"
            )
    if args.recipe == "plain":
        return None
    made = recipe(args.recipe, classes)
    given = {"hidden": args.hidden, "learning_rate": args.lr, "epochs": args.epochs}
    made = replace(made, **{name: value for name, value in given.items() if value is not None})
    made = replace(made, hidden=tuple(made.hidden))
    args.hidden, args.lr, args.epochs = list(made.hidden), made.learning_rate, made.epochs
    return made


_DIGITS = "pictures of 28x28 pixels, such as mnist"
_SUITED = {
    "quick": _DIGITS,
    "good": _DIGITS,
    "fast": "a table with one label",
    "best": f"a table with one label, or {_DIGITS}",
}
"""What each recipe is for."""


def of_digits(args: Namespace, out: Output) -> None:
    """Set the options that a recipe for digits stands for, but for those that were given.

    The run is one of the plain network then, and its folder repeats it by these options.
    """
    made = digit_recipes.digit_recipe(args.recipe)
    stands_for = {
        "hidden": list(made.hidden),
        "epochs": made.epochs,
        "batch_size": made.batch_size,
        "lr": made.learning_rate,
        "schedule": "one-cycle",
        "dropout": made.dropout,
        "average": made.average,
        "augment": list(made.augment),
    }
    for name, value in stands_for.items():
        if name not in args.given:
            setattr(args, name, value)
    out.row("recipe", f"{made.name}, which stands for other options; those that are given win")
    args.recipe = "plain"


def network(made: Recipe, args: Namespace, data: Dataset, understood: Table | None) -> MLP:
    """Return the network, with a table that scales as the recipe does."""
    table = made.table(understood).fit(data.X)
    names = ("dtype", "precision", "backend", "device", "seed")
    given = {name: getattr(args, name) for name in names}
    mlp = MLP(**made.network(table, data.outputs) | given)
    made.prepare(mlp, data.y)
    return mlp


def best_epoch(made: Recipe) -> EarlyStopping:
    """Return the callback that keeps the best epoch by its validation rows."""
    return EarlyStopping(made.epochs, _monitor(made), latest=True)


def kept(made: Recipe, history: History) -> str:
    """Say which epoch that was."""
    values = history[_monitor(made)]
    best = max(range(len(values)), key=lambda k: (values[k], k))
    named = "validation accuracy" if made.classes else "validation R2"
    return f"the weights of epoch {best + 1} of {len(values)}, the best by its {named}"


def _monitor(made: Recipe) -> str:
    return "val_accuracy" if made.classes else "val_r2"
