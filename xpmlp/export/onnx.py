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
from xpmlp.model.outputs import DECISIONS, MOMENTS, POINTS, PROBABILITIES, QUANTILES
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
        made = {"values": forward.read(fixed, host, out, POINTS)}
        predicts = model.task.loss.predicts
        if predicts == "moments":
            made["deviations"] = forward.read(fixed, host, out, MOMENTS)[:, 1, :]
        elif predicts == "quantiles":
            made["quantiles"] = forward.read(fixed, host, out, QUANTILES)
        return made
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

    All numbers are one array, and so are the flags of those that can be missing; after them and the
    categories, one operation puts the columns in the table's order.
    """
    xp, dtype = onnx.NAMESPACE, getattr(onnx.NAMESPACE, model.dtype)
    measured, rest = [f for f in used if f.measured], [f for f in used if not f.measured]
    flagged = [i for i, f in enumerate(measured) if f.indicator]
    pieces: list[Array] = []
    if measured:
        pieces = _numbers(table, [given[f.name] for f in measured], flagged, onnx, dtype)
    like = pieces[0].dtype if pieces else dtype
    pieces += [xp.astype(_category(f, given[f.name], onnx), like) for f in rest]
    x = xp.concat(pieces, axis=1) if len(pieces) > 1 else pieces[0]
    order = _order(used, len(measured), len(flagged))
    if order != sorted(order):
        x = xp.take(x, onnx.constant(np.array(order)), axis=1)
    if table.scaling != "quartiles":
        return x
    coded = np.isin(np.arange(table.width), [*table.categories])
    clip = onnx.constant(np.where(coded, 0.0, 1 / BOUND**2))
    x = (xp.astype(x, xp.float64) - onnx.constant(table.shift)) * onnx.constant(table.scale)
    return xp.astype(smooth_clip(xp, x, clip), dtype)


def _numbers(
    table: Table, columns: list[Array], flagged: list[int], onnx: Any, dtype: Any
) -> list[Array]:
    """Return the numbers, standardized, and whether those that are ``flagged`` are missing."""
    xp = onnx.NAMESPACE
    x = xp.concat(columns, axis=1) if len(columns) > 1 else columns[0]
    missing = xp.isnan(x)
    x = xp.where(missing, onnx.constant(table.fill), x)
    if table.scaling not in (None, "quartiles"):
        x = (x - onnx.constant(table.shift)) * onnx.constant(table.scale)
    made = [x if table.scaling == "quartiles" else xp.astype(x, dtype)]
    if flagged:
        if len(flagged) < len(columns):
            missing = xp.take(missing, onnx.constant(np.array(flagged)), axis=1)
        made.append(xp.astype(missing, made[0].dtype))
    return made


def _order(used: list[Feature], numbers: int, flags: int) -> list[int]:
    """Return where each of the table's inputs is after numbers, flags and categories."""
    order: list[int] = []
    number, flag, other = 0, numbers, numbers + flags
    for f in used:
        if f.measured:
            order.append(number)
            order += [flag] * f.indicator
            number, flag = number + 1, flag + f.indicator
        else:
            order += range(other, other + len(f.inputs))
            other += len(f.inputs)
    return order


def _category(f: Feature, texts: Array, onnx: Any) -> Array:
    """Return the inputs of a category: a code, or flags."""
    places = {text: k for k, text in enumerate(f.levels)}
    flags = len(f.levels) + f.other
    if f.codes:
        return onnx.codes(texts, {text: k + 1 for text, k in places.items()}, 0)
    nothing = dict.fromkeys(MISSING, flags if f.indicator else -1)
    found = onnx.codes(texts, nothing | places, flags - 1 if f.other else -1)
    return found == onnx.constant(np.arange(flags + f.indicator))
