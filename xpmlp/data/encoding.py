"""Columns of a table as inputs: numbers that are centred and scaled, flags of categories, codes."""

from collections.abc import Sequence

import numpy as np

from xpmlp.data.dataset import Array
from xpmlp.data.features import Feature, numbers_of, parts_of, problem_of, refuse, times_of
from xpmlp.data.frame import Column, Frame
from xpmlp.data.values import MISSING

NEW = "correct such cells, or leave them empty: then they are missing"
"""Advice about cells that are not what their column was in training."""


def encode(
    made: Array,
    frame: Frame,
    features: Sequence[Feature],
    numbers: tuple[Array, Array, Array],
    numeric: Sequence[str],
) -> None:
    """Write the inputs of some rows to ``made``, shape (n, inputs).

    Parameters
    ----------
    features : sequence of Feature
    numbers : (fill, shift, scale), each of shape (measured inputs,)
        What a missing number is; a number x becomes (x − shift) · scale.
    numeric : sequence of str
        Columns of whose cells those that are no numbers count as missing.

    Raises
    ------
    DataError
        If another cell is not what its column was in training.
    """
    at = place = 0
    for feature in features:
        if feature.kind == "left out":
            continue
        column = frame.column(feature.name).without(MISSING)
        if n := feature.measured:
            values = _measured(feature, column, frame, feature.name in numeric)
            missing = np.isnan(values[:, 0])
            fill, shift, scale = (a[place : place + n] for a in numbers)
            with np.errstate(over="ignore"):
                made[:, at : at + n] = (np.where(np.isnan(values), fill, values) - shift) * scale
            at, place = at + n, place + n
        else:
            column = column.as_texts()
            missing, codes = column.values < 0, _codes(feature, column)
            if feature.codes:
                made[:, at] = codes + 1
                at += 1
                continue
            k = len(feature.levels) + feature.other
            made[:, at : at + k] = codes[:, None] == np.arange(k)
            at += k
        if feature.indicator:
            made[:, at] = missing
            at += 1


def _codes(feature: Feature, column: Column) -> Array:
    """Return the number of each cell's level; of others that of "other", or −1 without one."""
    known = {level: k for k, level in enumerate(feature.levels)}
    rest = len(known) if feature.other else -1
    to = [known.get(text, rest) for text in column.levels or ()]
    return np.array([*to, -1], np.int32)[column.values]


def _measured(feature: Feature, column: Column, frame: Frame, tolerant: bool) -> Array:
    """Return numbers or parts of dates, NaN where there is nothing, shape (n, k)."""
    if feature.kind == "date":
        times, bad = times_of(column)
        refuse(problem_of(bad, column, frame, feature.name, "a date"), NEW)
        return parts_of(times, feature.parts)
    values, bad = numbers_of(column, feature.form)
    if not tolerant:
        refuse(problem_of(bad, column, frame, feature.name, "a number"), NEW)
    return values[:, None]
