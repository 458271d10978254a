"""``xpmlp explain``: one forward and backward step with every number."""

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from xpmlp.errors import DataError, InvalidValueError
from xpmlp.storage.paths import expanded

if TYPE_CHECKING:
    from xpmlp.inspect.explain import Explanation

FORMATS = ("text", "markdown", "html")
SUFFIXES = {".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html"}


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Show one forward and backward step with every value: formula, shape, numbers, the chain "
        "rule as it is walked, the finite difference beside each gradient, the updated weights. "
        "Without MODEL it is the worked step of the lecture slides."
    )
    add = parser.add_argument
    add("model", nargs="?", metavar="MODEL", help="a model file, or a run folder")
    data = "digits, mnist, xor, or a .npz or .csv file with labels"
    add("data", nargs="?", metavar="DATA", help=data)
    add("--row", type=int, default=1, metavar="N", help="which example, from 1 (default: 1)")
    optimizer = "whose first step is shown (default: sgd)"
    add("--optimizer", default="sgd", metavar="NAME", help=optimizer)
    add("--lr", type=float, default=1e-3, metavar="RATE", help="learning rate (default: 0.001)")
    training = "dropout and batch normalization as in training (default: as in prediction)"
    add("--training", action="store_true", help=training)
    form = "text, markdown or html (default: by the ending of --out, or text)"
    add("--format", choices=FORMATS, help=form)
    add("--out", metavar="FILE", help="write to a file instead of the screen")
    folder = "folder with the MNIST files (default: $XPMLP_DATA_DIR, or a download)"
    add("--data-dir", metavar="FOLDER", help=folder)
    label = "label column of a text file, name or number from 0 (default: label, ..., or the last)"
    add("--label", metavar="COLUMN", help=label)
    names = "auto, numpy, cupy, torch or jax (default: $XPMLP_BACKEND, or auto: a GPU if it works)"
    add("--backend", metavar="NAME", help=names)
    add("--device", metavar="NAME", help="in the library's terms: cuda:1")


def run(options: Namespace) -> int:
    """Explain as the arguments say.

    Raises
    ------
    InvalidValueError
        If the network is too large to print, or the row is not there.
    DataError
        If the data have no labels, or do not fit the model.
    """
    explanation = _explanation(options)
    path = None if options.out is None else expanded(options.out, "--out")
    form = options.format or SUFFIXES.get(path.suffix.lower() if path else "", "text")
    if path is not None:
        from xpmlp.storage.atomic import write_atomically

        write_atomically(path, _written(explanation, form).encode())
        print(f"{path}: the explanation as {form}")
    elif form == "text":
        from xpmlp.inspect.explain.text import show

        show(explanation, sys.stdout)
    else:
        sys.stdout.write(_written(explanation, form))
    return 0


def _written(explanation: "Explanation", form: str) -> str:
    written: str = getattr(explanation, form)()
    return written


def _explanation(options: Namespace) -> "Explanation":
    from xpmlp.inspect.explain import explain, explain_worked_step

    chosen = _optimizer(options)
    if options.model is None:
        return explain_worked_step(options.backend, options.device, chosen)
    if options.data is None:
        raise InvalidValueError(
            f"DATA is missing: found the model {options.model} alone; expected the data with the "
            f"example to explain: xpmlp explain {options.model} xor --row 1"
        )
    mlp, X, y = _example(options)
    return explain(mlp, X, y, chosen, training=options.training)


def _optimizer(options: Namespace) -> Any:
    from xpmlp.errors import unknown_name
    from xpmlp.nn.optimizers import OPTIMIZERS

    if options.optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", options.optimizer, OPTIMIZERS)
    return OPTIMIZERS[options.optimizer](learning_rate=options.lr)


def _example(options: Namespace) -> tuple[Any, Any, Any]:
    """Load the model and one row of the data."""
    from xpmlp.cli.models import Trained

    trained = Trained.load(options)
    X, y = trained.data(options)
    if y is None:
        raise DataError(f"{options.data}: found no labels; a step needs the target of its example")
    if not 1 <= options.row <= len(X):
        raise InvalidValueError(
            f"--row: found {options.row}; {options.data} has rows 1 to {len(X):,}"
        )
    rows = slice(options.row - 1, options.row)
    return trained.mlp, X[rows], y[rows]
