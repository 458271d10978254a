"""The fingerprint of a training run: a checkpoint is resumed only by a run with the same."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.arrays.rows import HostRows, StoredRows
from xpmlp.errors import InvalidValueError, short
from xpmlp.nn.schedules import schedule
from xpmlp.parallel.run import Sharded
from xpmlp.training.loop import Training


def settings(training: Training) -> dict[str, Any]:
    """Return everything that the run depends on apart from the model, in a form to compare."""
    optimizer = replace(
        training.optimizer, learning_rate=schedule(training.optimizer.learning_rate)
    )
    config = to_config(optimizer)
    for name in ("groups", "average"):  # older checkpoints do not have them
        if config[name] is None:
            del config[name]
    return {
        "optimizer": config,
        "epochs": training.epochs - training.first,
        "batch_size": training.batch_size,
        "shuffle": to_config(training.shuffle),
        "metrics": training.metrics,
        "training rows": training.examples,
        "data": _digest(training),
        "augment": to_config(training.mlp.augment),
        **(training.form.settings() if isinstance(training.form, Sharded) else {}),
    }


def compare(saved: Mapping[str, Any], given: Mapping[str, Any], path: Path) -> None:
    """Refuse to resume another training run.

    Raises
    ------
    InvalidValueError
        Names the first thing that differs.
    """
    for name in {**given, **saved}:
        had, found = saved.get(name), given.get(name)
        if had == found:
            continue
        while isinstance(had, dict) and isinstance(found, dict):
            name, had, found = next(
                (f"{name}: {part}", had.get(part), found.get(part))
                for part in (*found, *had)
                if had.get(part) != found.get(part)
            )
        other = "" if name == "data" else f": found {short(found)}; it had {short(had)}"
        raise InvalidValueError(
            f"resume: the training of {path} had other {name}{other}. Give the same to resume it, "
            "or another folder to start a new run"
        )


def to_config(x: Any) -> Any:
    """Describe an optimizer, a schedule or a function in JSON; functions by name."""
    if is_dataclass(x) and not isinstance(x, type):
        values = {field.name: to_config(getattr(x, field.name)) for field in fields(x)}
        return {"kind": type(x).__name__, **values}
    if isinstance(x, Mapping):
        return {str(name): to_config(value) for name, value in x.items()}
    if isinstance(x, list | tuple):
        return [to_config(value) for value in x]
    if x is None or isinstance(x, str | bool):
        return x
    if isinstance(x, np.bool_):
        return bool(x)
    if isinstance(x, np.ndarray):
        digest = hashlib.sha256(x.tobytes()).hexdigest()
        return f"array {x.shape} of {x.dtype}, SHA-256 {digest}"
    if isinstance(x, Real):
        return float(x) if math.isfinite(x) else str(float(x))
    return getattr(x, "__qualname__", type(x).__qualname__)


def _digest(training: Training) -> str:
    """SHA-256 of all data: shapes and numbers, in the dtype in which the model computes.

    Of data in a file it takes what tells the file from others, which need not be read again.
    """
    given, backend, digest = training.given, training.mlp.backend, hashlib.sha256()
    held = given.validation
    held_x, *held_y = (None, None, None) if held is None else held[:3]
    targets, held_out = (
        [None if y is None else HostRows(backend, y) for y in pair]
        for pair in ((given.target, given.weight), held_y)
    )
    for rows in (given.x, *targets, held_x, *held_out):
        if rows is None:
            continue
        digest.update(f"{tuple(rows.array.shape)}".encode())
        if isinstance(rows, StoredRows):
            digest.update(rows.array.identity().encode())
            continue
        for block in rows.blocks():
            # A byte is the same everywhere, a float what is left of it in the model's dtype.
            kind = block.dtype if block.dtype.itemsize == 1 else training.mlp.dtype
            digest.update(np.ascontiguousarray(block, dtype=kind).data)
    return digest.hexdigest()
