"""What a training is recognized by when it is to go on: settings, data, and what watches it."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xpmlp.arrays.dlpack import is_numpy_array
from xpmlp.arrays.sparse import SparseRows
from xpmlp.errors import InvalidValueError, short
from xpmlp.nn.schedules import schedule

if TYPE_CHECKING:
    from xpmlp.training.loop import Training

BLOCK = 2**24
"""Numbers of a data set that are looked at in one go."""


def settings(training: "Training") -> dict[str, Any]:
    """Return all on which the training depends beside the model, in a form to compare."""
    optimizer = replace(
        training.optimizer, learning_rate=schedule(training.optimizer.learning_rate)
    )
    return {
        "optimizer": described(optimizer),
        "epochs": training.epochs - training.first,
        "batch_size": training.batch_size,
        "shuffle": described(training.shuffle),
        "metrics": training.metrics,
        "training rows": training.examples,
        "data": _digest(training),
    }


def compare(saved: Mapping[str, Any], given: Mapping[str, Any], path: Path) -> None:
    """Refuse to go on with another training.

    Raises
    ------
    InvalidValueError
        Names the first thing that differs.
    """
    for name, found in given.items():
        had = saved[name]
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
            f"resume: the training of {path} had other {name}{other}. Give the same to go on "
            "with it, or another folder for a training of its own"
        )


def described(x: Any) -> Any:
    """Say what an optimizer, a schedule or a function is, as JSON can; functions by name."""
    if is_dataclass(x) and not isinstance(x, type):
        values = {field.name: described(getattr(x, field.name)) for field in fields(x)}
        return {"kind": type(x).__name__, **values}
    if isinstance(x, Mapping):
        return {str(name): described(value) for name, value in x.items()}
    if isinstance(x, list | tuple):
        return [described(value) for value in x]
    if x is None or isinstance(x, str | bool):
        return x
    if isinstance(x, Real):
        return float(x) if math.isfinite(x) else str(float(x))
    return getattr(x, "__qualname__", type(x).__qualname__)


def _digest(training: "Training") -> str:
    """SHA-256 of all data: shapes and numbers, in the dtype in which the model computes."""
    data, validation = training.data, training.validation or ()
    digest = hashlib.sha256()
    for array in (data.X, training.feed.targets(), data.weight, *validation):
        if array is None:
            continue
        digest.update(f"{tuple(array.shape)}".encode())
        for block in _blocks(training, array):
            # A byte is the same everywhere, a float what is left of it in the model's dtype.
            kind = block.dtype if block.dtype.itemsize == 1 else training.mlp.dtype
            digest.update(np.ascontiguousarray(block, dtype=kind).data)
    return digest.hexdigest()


def _blocks(training: "Training", array: Any) -> Iterator[np.ndarray]:
    """Bring an array to the host piece by piece; of a sparse one what it holds."""
    if isinstance(array, SparseRows):
        yield from array.parts
        return
    rows = max(BLOCK // max(math.prod(array.shape[1:]), 1), 1)
    for start in range(0, array.shape[0], rows):
        block = array[start : min(start + rows, array.shape[0]), ...]
        yield block if is_numpy_array(block) else training.mlp.backend.to_numpy(block)
