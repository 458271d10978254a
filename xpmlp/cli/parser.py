"""The arguments of every command, and the defaults."""

import argparse
import difflib
import math
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from xpmlp import __version__
from xpmlp.cli import explain, pictures, verify, xor
from xpmlp.errors import InvalidValueError

DEFAULTS: dict[str, Any] = {
    "hidden": [512, 512],
    "epochs": 20,
    "batch_size": 128,
    "lr": 1e-3,
    "dropout": 0.2,
}
"""Where the data do not ask for something else."""

TABLE_STEPS = 2000
"""Steps a small file should get: few rows make few steps an epoch, and 20 epochs too few."""

DEFAULTS_FOR: dict[str, dict[str, Any]] = {
    "digits": {"batch_size": 64, "lr": 2e-3},
    "xor": {"hidden": [10], "epochs": 60, "batch_size": 8, "lr": 1e-2, "dropout": 0.0},
}
"""What small data sets need instead: more steps, and for XOR a small network."""

ACTIVATIONS = (
    "identity, sign, binary_step, sigmoid, tanh, relu, leaky_relu, elu, gelu, gelu_tanh, "
    "softplus, swish, mish, softmax"
)
SCHEDULES = {"cosine": "Cosine", "one-cycle": "OneCycle", "constant": "Constant"}
"""Names, and the classes of ``xpmlp.schedules`` they stand for."""

OPTIMIZERS = "sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw"

_JSON = "write the result as JSON to a file; - is stdout"


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse arguments, the process's own unless given; ``given`` has those that are there."""
    args, bare = build().parse_args(argv), build()
    bare.drop_defaults()
    args.given = vars(bare.parse_args(argv))
    return args


def fill_in(args: argparse.Namespace, rows: int) -> None:
    """Fill in what was not given: by the data set, or for a person's own file by its rows."""
    defaults = DEFAULTS | DEFAULTS_FOR.get(args.data, {})
    if args.data not in ("digits", "mnist", "xor") and rows <= 10_000:
        batch = args.batch_size or 32
        epochs = math.ceil(TABLE_STEPS * batch / rows)
        defaults |= {"hidden": [64, 64], "batch_size": batch, "epochs": min(max(epochs, 20), 200)}
    for name, value in defaults.items():
        if getattr(args, name) is None:
            setattr(args, name, value)


OWN = ("command", "given", "debug", "json", "quiet", "out", "resume")
"""Options of ``train`` that belong to a call, not to the run that it begins or goes on with."""

OVERRIDES = ("backend", "device", "data_dir", "data_on", "debug", "json", "quiet")
"""Options that may be given with --resume: where to compute, what to say."""


def arguments(args: argparse.Namespace) -> list[str]:
    """Return the arguments that make the same run again, whatever the defaults are then."""
    given = [args.data]
    for name, value in vars(args).items():
        option = f"--{name.replace('_', '-')}"
        if name in (*OWN, "data") or value is None or value is False:
            continue
        if value is True or value == []:
            given.append(option)
        elif isinstance(value, list):
            given += [option, *map(str, value)]
        else:
            given.append(f"{option}={value}")
    return given


def resumed(args: argparse.Namespace, run: argparse.Namespace) -> argparse.Namespace:
    """Return the arguments of an interrupted run, with what may be another now.

    Raises
    ------
    InvalidValueError
        If something else was given with --resume.
    """
    for name, value in args.given.items():
        if name not in (*OVERRIDES, "command", "resume"):
            what = f"the data {value!r}" if name == "data" else f"--{name.replace('_', '-')}"
            raise InvalidValueError(
                f"--resume goes on with a run as it was begun; found {what}. Leave it out, or "
                "begin another run"
            )
        setattr(run, name, value)
    return run


def build() -> "_Parser":
    """Return the parser of ``xpmlp``."""
    parser = _Parser(
        prog="xpmlp",
        description="A multilayer perceptron on NumPy, CuPy, PyTorch or JAX.",
        epilog="Start with: xpmlp train",
    )
    parser.add_argument("--version", action="version", version=f"xpmlp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _train(commands.add_parser("train", help="train a network and keep it in a run folder"))
    _evaluate(commands.add_parser("evaluate", help="measure a trained model on data with labels"))
    _predict(commands.add_parser("predict", help="apply a trained model to data or to a picture"))
    _info(commands.add_parser("info", help="what is installed, what works here, and why not"))
    explain.add_arguments(
        commands.add_parser("explain", help="one forward and backward step with every number")
    )
    verify.add_arguments(
        commands.add_parser("verify", help="train on two backends and find where they part")
    )
    xor.add_arguments(
        commands.add_parser("xor", help="the tutorial: watch XOR being learned, or going wrong")
    )
    pictures.add_arguments(
        commands.add_parser("pictures", help="the tutorial's pictures: activations, digits, ...")
    )
    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _train(parser: argparse.ArgumentParser) -> None:
    parser.usage = "xpmlp train [DATA] [options]"
    parser.description = (
        "Train a network and write model, history, result and a picture into a run folder. "
        "The accuracy on the test part is shown after each epoch; with --early-stopping that of "
        "a tenth of the training part instead, so that the test part chooses nothing."
    )
    add = parser.add_argument
    data = "digits, mnist, xor, or a .npz or .csv file (default: digits)"
    add("data", nargs="?", default="digits", metavar="DATA", help=data)

    add = parser.add_argument_group("network").add_argument
    units = f"units of each hidden layer ({_default('hidden')})"
    add("--hidden", type=int, nargs="*", metavar="N", help=units)
    add("--activation", default="relu", metavar="NAME", help=f"{ACTIVATIONS} (default: relu)")
    add("--dropout", type=float, metavar="P", help=f"({_default('dropout')})")
    add("--normalization", choices=("layer", "batch"), help="between layers (default: none)")
    add("--residual", action="store_true", help="equally wide layers add their input")
    add("--dtype", choices=("float32", "float64"), default="float32", help="(default: float32)")
    rounded = "of matrix products, where a GPU has it (default: float32)"
    choices = ("float32", "tf32", "bf16")
    add("--precision", choices=choices, default="float32", help=rounded)

    add = parser.add_argument_group("training").add_argument
    add("--epochs", type=int, metavar="N", help=f"({_default('epochs')})")
    add("--batch-size", type=int, metavar="N", help=f"rows per step ({_default('batch_size')})")
    add("--lr", type=float, metavar="RATE", help=f"learning rate ({_default('lr')})")
    falls = "how the rate falls over the epochs (default: cosine)"
    add("--schedule", choices=tuple(SCHEDULES), default="cosine", help=falls)
    add("--optimizer", default="adam", metavar="NAME", help=f"{OPTIMIZERS} (default: adam)")
    add("--l2", type=float, default=0.0, metavar="LAMBDA", help="weight penalty (default: 0)")
    patience = "stop after N epochs without improvement, keep the best (default: off)"
    add("--early-stopping", type=int, metavar="N", help=patience)
    watch = "watch the training and say what is wrong with it, why, and what to change"
    add("--diagnose", action="store_true", help=watch)
    add("--seed", type=int, default=0, metavar="N", help="of all that is random (default: 0)")
    steps = "save every N steps, keep the last three and the best (default: at most once a minute)"
    add("--checkpoint-every", type=int, metavar="N", help=steps)
    on = "go on with an interrupted run, as if nothing had happened; or with one of its checkpoints"
    add("--resume", metavar="FOLDER", help=on)

    group = parser.add_argument_group("data")
    _data_options(group)
    add = group.add_argument
    share = "share of rows kept for the test, where the data have no test part (default: 0.2)"
    add("--test-fraction", type=float, default=0.2, metavar="P", help=share)
    task = "what a file's labels are (default: seen from the values)"
    add("--task", choices=("classification", "regression"), help=task)

    group = parser.add_argument_group("machine and output")
    _machine_options(group)
    add = group.add_argument
    lie = "where the data lie in training (default: auto, the host if a GPU's memory is too small)"
    add("--data-on", choices=("auto", "device", "host"), default="auto", help=lie)
    add("--out", metavar="FOLDER", help="run folder (default: runs/DATA, runs/DATA-2, ...)")
    add("--json", metavar="FILE", help=_JSON)
    add("--quiet", action="store_true", help="print errors only")


def _evaluate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measure loss and accuracy, and recall and precision of each class. Of digits, mnist, "
        "xor and .npz files with a test part that is the test part, else every row."
    )
    _model_and_data(parser, "digits, mnist, xor, or a .npz or .csv file with labels")


def _predict(parser: argparse.ArgumentParser) -> None:
    parser.description = "Print the predicted class and its probability, or value, of each row."
    _model_and_data(parser, "as for evaluate, labels not needed; or a .png or .jpg picture")
    parser.add_argument("--limit", type=int, metavar="N", help="first N rows only (default: all)")


def _info(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Show versions, processor, backends and devices, and what is missing; or measure how fast "
        "each backend trains a network here."
    )
    add = parser.add_argument_group("measurement").add_argument
    add("--measure", action="store_true", help="train on each backend for some 2 seconds")
    units = f"units of each layer (default: 784 {_words(DEFAULTS['hidden'])} 10, as for MNIST)"
    add("--sizes", type=int, nargs="+", metavar="N", help=units)
    rows = f"rows per step (default: {DEFAULTS['batch_size']})"
    add("--batch-size", type=int, metavar="N", help=rows)
    add("--dropout", type=float, metavar="P", help=f"(default: {DEFAULTS['dropout']:g})")
    parser.add_argument("--json", metavar="FILE", help=_JSON)


def _model_and_data(parser: argparse.ArgumentParser, data: str) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model file, or a run folder")
    parser.add_argument("data", metavar="DATA", help=data)
    _data_options(parser)
    _machine_options(parser)
    parser.add_argument("--json", metavar="FILE", help=_JSON)


def _data_options(parser: Any) -> None:
    folder = "folder with the MNIST files (default: $XPMLP_DATA_DIR, or a download)"
    parser.add_argument("--data-dir", metavar="FOLDER", help=folder)
    label = "label column of a text file, name or number from 0 (default: label, ..., or the last)"
    parser.add_argument("--label", metavar="COLUMN", help=label)


def _machine_options(parser: Any) -> None:
    names = "auto, numpy, cupy, torch or jax (default: $XPMLP_BACKEND, or auto: a GPU if it works)"
    parser.add_argument("--backend", metavar="NAME", help=names)
    parser.add_argument("--device", metavar="NAME", help="in the library's terms: cuda:1")


def _default(name: str) -> str:
    """Spell out a default: ``default: 20; digits 30, xor 100``."""
    own = [f"{data} {_words(d[name])}" for data, d in DEFAULTS_FOR.items() if name in d]
    if name in ("hidden", "epochs", "batch_size"):
        own.append("less for small files" if name != "epochs" else "more for small files")
    return f"default: {_words(DEFAULTS[name])}" + (f"; {', '.join(own)}" if own else "")


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else f"{value:g}"


class _Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` whose errors are one line and suggest what may have been meant."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        wrong = re.findall(r"(?<!\S)--[\w-]+|(?<=invalid choice: ')[^']+", message)
        known = self._known()
        near = [m for w in wrong for m in difflib.get_close_matches(w, known, n=1) if m != w]
        if near:
            message += f"; did you mean {' '.join(near)}?"
        elif "--hidden: invalid int" in message:
            message += "; the data come first: xpmlp train mnist --hidden 512 512"
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        values = super()._get_values(action, arg_strings)
        if values == [] and action.nargs not in (0, "*"):  # --out=--, in Python 3.11
            raise argparse.ArgumentError(action, "expected a value")
        return values

    def drop_defaults(self) -> None:
        """Leave out of the result what is not among the arguments, those of commands included."""
        for action in self._actions:
            action.default = argparse.SUPPRESS
            if isinstance(action.choices, dict):
                for command in action.choices.values():
                    command.drop_defaults()

    def _known(self) -> list[str]:
        """Commands and options, those of commands included."""
        known = [o for action in self._actions for o in action.option_strings]
        for action in self._actions:
            if isinstance(action.choices, dict):
                known += action.choices
                known += [o for p in action.choices.values() for o in p._known()]
            elif action.choices:
                known += action.choices
        return known
