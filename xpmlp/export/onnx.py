"""``MLP.to_onnx``: the model's forward pass, called with arrays that record ONNX."""

from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.data.features import Feature
from xpmlp.data.table import Table
from xpmlp.data.values import MISSING
from xpmlp.errors import InvalidValueError, require
from xpmlp.export import forward
from xpmlp.model.base import Model
from xpmlp.model.outputs import DECISIONS, POINTS, PROBABILITIES
from xpmlp.nn.functions import Array
from xpmlp.nn.tabular import BOUND, smooth_clip
from xpmlp.storage.atomic import write_atomically

ROWS = "rows"
"""The name of the axis whose length is free."""


def write(model: Model, path: Any) -> None:
    """Write a model as ONNX; ``MLP.to_onnx`` documents it."""
    require("ndonnx", "onnx", "to_onnx")
    from xpmlp_backends import onnx

    host = forward.Host(onnx.NAMESPACE, onnx.operations(), onnx.constant)
    inputs, x = _inputs(model, onnx)
    layer, arrays = forward.network(model, onnx.normalization)
    values = {name: onnx.constant(value) for name, value in arrays.items()}
    out = forward.logits(forward.Fixed.of(model), host, layer, values, x)
    notes = {"task": model.task.kind, "loss": model.task.loss.name, "version": forward.version()}
    content = onnx.build(inputs, _outputs(model, host, out, onnx), notes)
    write_atomically(Path(path), content)


def _outputs(model: Model, host: Any, out: Array, onnx: Any) -> dict[str, Array]:
    """Return the outputs of the graph by name."""
    fixed = forward.Fixed.of(model)
    if model.task.kind == "values":
        return {"values": forward.read(fixed, host, out, POINTS)}
    label = host.xp.astype(forward.read(fixed, host, out, DECISIONS), host.xp.int64)
    if (names := forward.class_names(model)) is not None:
        label = onnx.named(names, label)
    return {"label": label, "probabilities": forward.read(fixed, host, out, PROBABILITIES)}


def _inputs(model: Model, onnx: Any) -> tuple[dict[str, Array], Array]:
    """Return the inputs of the graph by name, and what the network takes."""
    if model.table is None:
        x = onnx.argument((ROWS, model.sizes[0]), forward.inputs_dtype(model))
        return {"X": x}, x
    table: Table = model.table
    used = [f for f in table.features if f.kind != "left out"]
    for f in used:
        if f.kind == "date":
            raise InvalidValueError(
                f"to_onnx: column {f.name!r} has dates, which ONNX cannot read; make columns of "
                f"numbers of it ({', '.join(f.parts)}), and train again with xpmlp.Table(drop="
                f"[{f.name!r}])"
            )
    given = {f.name: onnx.argument((ROWS, 1), "float64" if f.measured else "utf8") for f in used}
    return given, _encoded(model, table, used, given, onnx)


def _encoded(
    model: Model, table: Table, used: list[Feature], given: dict[str, Array], onnx: Any
) -> Array:
    """Return the inputs that a table makes of columns, in the model's dtype.

    All numbers are read as one array; then their columns and those of the categories are put in
    the table's order.
    """
    xp, dtype = onnx.NAMESPACE, getattr(onnx.NAMESPACE, model.dtype)
    parts: dict[str, Array] = {}
    numbers = [f.name for f in used if f.measured]
    if numbers:
        x = xp.concat([given[name] for name in numbers], axis=1)
        missing = ~xp.isfinite(x)
        if any(f.indicator for f in used if f.measured):
            flags = xp.astype(missing, dtype)
            parts |= {f"{name} is missing": flags[:, i : i + 1] for i, name in enumerate(numbers)}
        if not np.isnan(table.fill).any():
            x = xp.where(missing, onnx.constant(table.fill, "float64"), x)
        if table.scaling not in (None, "quartiles"):
            x = (x - onnx.constant(table.shift)) * onnx.constant(table.scale)
        if table.scaling != "quartiles":
            x = xp.astype(x, dtype)
        parts |= {name: x[:, i : i + 1] for i, name in enumerate(numbers)}
    pieces: list[Array] = []
    for f in used:
        if f.measured:
            pieces += [parts[f.name], *([parts[f"{f.name} is missing"]] * f.indicator)]
        else:
            pieces.append(xp.astype(_category(f, given[f.name], onnx), dtype))
    if table.scaling != "quartiles":
        return xp.concat(pieces, axis=1)
    x = xp.concat([xp.astype(p, xp.float64) for p in pieces], axis=1)
    coded = np.isin(np.arange(table.width), [*table.categories])
    clip = onnx.constant(np.where(coded, 0.0, 1 / BOUND**2))
    x = (x - onnx.constant(table.shift)) * onnx.constant(table.scale)
    return xp.astype(smooth_clip(xp, x, clip), dtype)


def _category(f: Feature, texts: Array, onnx: Any) -> Array:
    """Return the inputs of a category: a code, or flags."""
    places = {text: k for k, text in enumerate(f.levels)}
    flags = len(f.levels) + f.other
    if f.codes:
        return onnx.codes(texts, {text: k + 1 for text, k in places.items()}, 0)
    nothing = dict.fromkeys(MISSING, flags if f.indicator else -1)
    found = onnx.codes(texts, nothing | places, flags - 1 if f.other else -1)
    return found == onnx.constant(np.arange(flags + f.indicator))
