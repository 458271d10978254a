"""``xpmlp explain``: one forward and backward step with every number."""

import sys
from argparse import Namespace
from dataclasses import replace

from xpmlp.cli.models import Trained
from xpmlp.errors import DataError, InvalidValueError
from xpmlp.inspect.explain import Explanation, explain, explain_worked_step
from xpmlp.inspect.explain.text import show
from xpmlp.nn.optimizers import Optimizer, optimizer
from xpmlp.storage.atomic import write_atomically
from xpmlp.storage.paths import expanded

SUFFIXES = {".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html"}


def run(options: Namespace) -> None:
    """Explain as the options say.

    Raises
    ------
    InvalidValueError
        If the row does not exist.
    DataError
        If the data have no labels, or do not fit the model.
    """
    chosen = replace(optimizer(options.optimizer), learning_rate=options.lr)
    if options.model is None:
        explanation = explain_worked_step(options.backend, options.device, chosen)
    else:
        explanation = _example(options, chosen)
    path = None if options.out is None else expanded(options.out, "--out")
    form = options.format or SUFFIXES.get(path.suffix.lower() if path else "", "text")
    if path is not None:
        write_atomically(path, getattr(explanation, form)().encode())
        print(f"explanation in {path}, as {form}")
    elif form == "text":
        show(explanation, sys.stdout)
    else:
        sys.stdout.write(getattr(explanation, form)())


def _example(options: Namespace, chosen: Optimizer) -> Explanation:
    """Explain a model's step on one row of the data."""
    if options.data is None:
        raise InvalidValueError(
            f"DATA is missing: found the model {options.model} alone; expected the data with the "
            f"example to explain: xpmlp explain {options.model} xor --row 1"
        )
    trained = Trained.load(options)
    found = trained.data(options)
    X, y, mlp = found.X, found.y, trained.mlp
    if y is None:
        raise DataError(f"{options.data}: found no labels; a step needs the target of its example")
    if not 1 <= options.row <= len(X):
        raise InvalidValueError(
            f"--row: found {options.row}; {options.data} has rows 1 to {len(X):,}"
        )
    row, how = slice(options.row - 1, options.row), (options.training, options.full)
    return explain(mlp, X[row], y[row], chosen, training=how[0], full=how[1])
