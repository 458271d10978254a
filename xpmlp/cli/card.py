"""``xpmlp card``: a model card as Markdown, with the results of the run if it is a run folder's."""

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from xpmlp.cli.output import clean
from xpmlp.cli.runs import MODEL, RESULT
from xpmlp.errors import DataError
from xpmlp.mlp import load
from xpmlp.storage.atomic import write_atomically
from xpmlp.storage.paths import expanded
from xpmlp.storage.streams import put

NOT_SHOWN = ("seed", "sizes", "parameters", "dtype", "epochs", "data", "examples_per_second")
"""Results that other parts of the card have, or that are no property of the model."""


def run(args: Namespace) -> None:
    """Print the card, or write it to a file.

    Raises
    ------
    CheckpointError, DataError
        If the model's file or the run's result is broken.
    """
    path = expanded(args.model, "MODEL")
    folder = path if path.is_dir() else path.parent
    path = path / MODEL if path.is_dir() else path
    known = (folder / RESULT).is_file() and path.name == MODEL
    mlp = load(path, backend="numpy")
    name = str(mlp.metadata.get("data") or path.stem) if args.title is None else args.title
    text = mlp.card(name, path.name, results(folder / RESULT) if known else None)
    if args.out is None:
        put("\n".join(map(clean, text.splitlines())), sys.stdout)
    else:
        write_atomically(expanded(args.out, "--out"), text.encode(errors="backslashreplace"))


def results(path: Path) -> dict[str, Any]:
    """Return the numbers and texts of a run's result.

    Raises
    ------
    DataError
        If it is not as ``xpmlp train`` writes it.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise TypeError("it holds no names and values")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); expected the result of a run, as xpmlp train "
            "writes it"
        ) from error
    parts = [found, *(found.get(name) for name in ("settings", "versions"))]
    return {
        name.replace("_", " "): value
        for part in parts
        if isinstance(part, dict)
        for name, value in part.items()
        if isinstance(value, str | int | float) and name not in NOT_SHOWN
    }
