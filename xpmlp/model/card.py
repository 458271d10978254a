"""A model card: what a model is and how it was made, as Markdown, from what the model knows."""

import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from typing import Any

import numpy as np

from xpmlp.errors import short
from xpmlp.model.base import Model
from xpmlp.nn.optimizers import Optimizer

MOST = 20
"""Most classes and columns that are listed."""


def card(mlp: Model, layers: Iterable[Sequence[Any]], title: str, path: str, results: Any) -> str:
    """Return the card; ``MLP.card`` documents the arguments."""
    parts = [
        f"# {_plain(title)}",
        _sentence(mlp),
        "## Network",
        _table(("layer", "output", "parameters", "computes"), layers),
        _table(("", ""), _network(mlp)),
        "## Data",
        _table(("", ""), _data(mlp)),
        *_columns(mlp),
        "## Training",
        _table(("", ""), _training(mlp)),
        *_history(mlp),
        *_results(results),
        "## Use",
        _use(mlp, path),
        "## Versions",
        _versions(),
    ]
    return "\n\n".join(parts) + "\n"


def _sentence(mlp: Model) -> str:
    """Return what the model predicts from what."""
    task, inputs = mlp.known_task, f"{mlp.sizes[0]} numbers"
    if mlp.table is not None and mlp.table.features:
        inputs = f"{len(mlp.table.features)} columns of a table"
    if task is None:
        return f"A multilayer perceptron on {inputs}, not trained yet."
    outputs = mlp.sizes[-1]
    goal = {
        "values": "a number" if outputs == 1 else "numbers",
        "binary": "which of two classes it is",
        "multilabel": f"which of {outputs} labels apply",
    }.get(task.kind, f"which of {outputs} classes it is")
    return f"A multilayer perceptron that predicts {goal}, from {inputs}."


def _network(mlp: Model) -> list[tuple[str, Any]]:
    task, members = mlp.known_task, mlp.network.members
    rows: list[tuple[str, Any]] = [("parameters", f"{mlp.network.layout.count:,}, {mlp.dtype}")]
    if members is not None:
        rows.append(("networks", f"{members.count}, whose predictions are averaged"))
    if task is not None:
        rows.append(("loss", task.loss.name))
        rows.append(("output", (task.output or task.link).name))
    penalty = {"L1 penalty": mlp.penalty.l1, "L2 penalty": mlp.penalty.l2}
    penalty |= {"largest norm of a unit's weights": mlp.penalty.max_norm}
    return rows + [(name, value) for name, value in penalty.items() if np.any(value)]


def _data(mlp: Model) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [("inputs", f"(n, {mlp.sizes[0]})")]
    known = mlp.metadata
    for name in ("data", "label"):
        if text := _texts(known.get(name)):
            rows.append((name, ", ".join(text)))
    if classes := _texts(known.get("classes")):
        rows.append(("classes", _listed(classes)))
    if mlp.progress is not None and mlp.progress.history.examples:
        rows.append(("training rows", f"{mlp.progress.history.examples:,}"))
    scaling = "none" if mlp.scaling.shift is None else mlp.arguments["scaling"]
    scaling = "by the table" if mlp.table is not None else scaling
    rows.append(("scaling of the inputs", "pixels to 0..1" if mlp.scaling.pixels else scaling))
    return rows


def _columns(mlp: Model) -> list[str]:
    """Return what the model's table takes each column for; nothing if it has no table."""
    if mlp.table is None or not mlp.table.features:
        return []
    rows = [(feature.name, feature.kind) for feature in mlp.table.features]
    more = [(f"and {len(rows) - MOST} more", "")] if len(rows) > MOST else []
    return [_table(("column", "is taken for"), [*rows[:MOST], *more])]


def _training(mlp: Model) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = [("epochs", mlp.epochs_trained)]
    if mlp.progress is not None:
        rows.append(("optimizer", _optimizer(mlp.progress.optimizer)))
        rows.append(("steps", f"{mlp.progress.steps:,}"))
        rows.append(("seconds", f"{sum(mlp.progress.history.get('seconds', ())):.1f}"))
    drawn = " (drawn)" if mlp.seed_is_drawn else ""
    rows.append(("seed", f"{', '.join(map(str, mlp.seeds))}{drawn}"))
    rows.append(("calibrated", "no" if mlp.calibration is None else "yes, on rows held out"))
    return rows


def _optimizer(optimizer: Optimizer) -> str:
    """Return its name, its rate, and what else is not as by default."""
    given = [
        f"{field.name}={getattr(optimizer, field.name)!r}"
        for field in fields(optimizer)
        if field.name == "learning_rate" or getattr(optimizer, field.name) != field.default
    ]
    return f"{type(optimizer).__name__}({', '.join(given)})"


def _history(mlp: Model) -> list[str]:
    """Return the metrics of the last epoch; nothing if the model has no history, as from a file."""
    if mlp.progress is None:
        return []
    history = mlp.progress.history
    last = [(n, f"{v[-1]:.6g}") for n, v in history.items() if v and n != "seconds"]
    return [_table(("after the last epoch", ""), last)] if last else []


def _results(results: Mapping[str, Any] | None) -> list[str]:
    if not results:
        return []
    rows = [(n, f"{v:.6g}" if isinstance(v, float) else v) for n, v in results.items()]
    return ["## Results", _table(("", ""), rows)]


def _use(mlp: Model, path: str) -> str:
    X = "a data frame with these columns" if mlp.table is not None else f"shape (n, {mlp.sizes[0]})"
    calls = ["mlp.predict(X)"]
    if mlp.known_task is not None and mlp.known_task.kind != "values":
        calls.append("mlp.predict_proba(X)")
    code = [
        "import xpmlp",
        "",
        f"mlp = xpmlp.load({path!r})",
        *[f"{calls[0]}  # X: {X}", *calls[1:]],
    ]
    install = "```sh\npip install xpmlp\n```"
    return "\n\n".join([install, "\n".join(["```python", *code, "```"])])


def _versions() -> str:
    xpmlp = import_module("xpmlp").__version__  # by name: it lies above this module
    return (
        f"This card was written with xpmlp {xpmlp}, Python {platform.python_version()} and NumPy "
        f"{np.__version__}."
    )


# Markdown


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return value if value == "---" else _plain(value)


def _plain(value: Any) -> str:
    """Return a text in which nothing is markup: names may come from a file."""
    text = "".join(c if c.isprintable() else " " for c in short(value, 300))
    text = "".join(f"\\{c}" if c in "\\`*[]<>|&~" else c for c in text)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # within a word it is no markup


def _texts(value: Any) -> list[str]:
    """Return a text, or a list of texts, of the model's metadata; nothing for anything else."""
    values = value if isinstance(value, list | tuple) else [value]
    return [each for each in values if isinstance(each, str)]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return ", ".join(short(name, 60) for name in names[:MOST]) + more
