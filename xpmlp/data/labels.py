"""From the labels in a file to class indices or real targets."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from xpmlp.data.dataset import Array, Where, require_finite
from xpmlp.data.frame import Column
from xpmlp.data.values import YES, decimal_mark, is_plain, numbers
from xpmlp.errors import DataError, short, unknown_name

TASKS = ("classification", "regression")

MAX_LABEL = 256
"""The longest label text: a longer one is probably prose, the wrong column."""

_TEXT = "UT"  # NumPy's kinds of text, of fixed and of variable length


def encode_column(
    column: Column, task: str | None, where: Where, name: str
) -> tuple[Array, tuple[str, ...] | None]:
    """Turn a table's label column into class indices and class names, or targets and None.

    Class names are spelled as in the file: 02134 stays so. Numbers may be written as amounts or
    with a decimal comma; such numbers, and those of many values, are targets.

    Raises
    ------
    DataError
        If the column suits neither: numbers among which there is text, or texts that differ in
        nearly every row.
    """
    if task is not None and task not in TASKS:
        raise unknown_name("task", task, TASKS)
    levels = list(column.levels or ())
    values = numbers(levels, decimal_mark(levels) or ".")
    numeric = bool(np.isfinite(values).all())
    n, plain = len(column.values), all(map(is_plain, levels))
    whole = plain and bool((values == np.trunc(values)).all())
    few = len(levels) <= max(20.0, math.sqrt(n))
    if task is None:
        task = "regression" if numeric and not (whole and few) else "classification"
        if not numeric:
            _refuse_few_texts(column, values, where)
    if task == "regression":
        if not numeric:
            first = int(np.isnan(values)[column.values].argmax())
            raise _no_number(where(first), column.text(first))
        return values[column.values], None
    if len(levels) > 20 and len(levels) > 0.5 * n:
        raise DataError(
            f"{where(0)}: the label {short(name, 40)!r} has {len(levels):,} different values in "
            f"{n:,} rows, which are no classes; choose another column with --label, or use --task "
            "regression for numbers"
        )
    if len(levels) < 2:
        raise DataError(
            f"{where(0)}: every label is {short(levels[0])!r}, expected at least two classes; "
            "choose another label column, or task 'regression' for numbers"
        )
    names = _classes(levels, values if numeric else None)
    index = {text: k for k, (texts, _) in enumerate(names) for text in texts}
    return np.array([index[text] for text in levels])[column.values], tuple(n for _, n in names)


def _classes(levels: list[str], values: Array | None) -> list[tuple[list[str], str]]:
    """Return the texts of each class, and its name, sorted; 1 and 1.0 are one class."""
    if values is None:
        return [([text], text) for text in sorted(levels)]
    alike: dict[float, list[str]] = {}
    for text, value in sorted(zip(levels, values, strict=True), key=lambda pair: pair[1]):
        alike.setdefault(float(value), []).append(text)
    return [
        group
        for value, texts in alike.items()
        for group in (
            [(texts, class_name(value))] if value.is_integer() else [([t], t) for t in texts]
        )
    ]


def _refuse_few_texts(column: Column, values: Array, where: Where) -> None:
    """Refuse a few texts among numbers, which may be mistyped."""
    bad = np.isnan(values)[column.values]
    if 0 < bad.sum() <= 0.1 * len(bad):
        first = int(bad.argmax())
        raise _no_number(where(first), column.text(first))


def _no_number(place: str, text: str) -> DataError:
    return DataError(
        f"{place}: found the label {short(text)!r}, expected a number; correct it, or use task "
        "'classification' if the labels are names"
    )


def map_column(
    column: Column, classes: tuple[str, ...] | None, several: bool, where: Where
) -> Array:
    """Turn a table's label column into indices of a model's classes, or for None into targets.

    Rows without a label get -1, or NaN. ``several`` says that it is one of several labels, which
    are 0 or 1. Raises a DataError, with the place, for a label that is not one of the classes.
    """
    column = column.as_texts()
    levels = list(column.levels or ())
    if classes is None:
        values = numbers(levels, decimal_mark(levels) or ".")
        bad, expected = np.isnan(values), "a number"
        y = np.append(values, np.nan)[column.values]
    else:
        known = {name: index for index, name in enumerate(classes)}
        codes = [YES.get(text.lower(), -1) if several else _code(text, known) for text in levels]
        bad, y = np.array(codes) < 0, np.array([*codes, -1])[column.values]
        expected = f"one of the model's classes: {short(', '.join(classes))}"
        expected = "0 or 1" if several else expected
    bad = np.append(bad, False)[column.values]
    if bad.any():
        first = int(bad.argmax())
        raise DataError(
            f"{where(first)}: found the label {short(column.text(first))!r}, expected {expected}"
        )
    return y


def is_yes_or_no(classes: Sequence[str]) -> bool:
    """Whether the classes are no and yes, in this order."""
    return [YES.get(name.lower()) for name in classes] == [0, 1]


def encode_labels(
    labels: Array, task: str | None, where: Where
) -> tuple[Array, tuple[str, ...] | None]:
    """Turn labels into int64 class indices and class names, or into float64 targets and None.

    `labels` has shape (n,) or (n, k): numbers, booleans or text. One-hot rows are classes; other
    rows of 0 and 1 are several labels, int64 of shape (n, k). `task` None infers the task as
    `xpmlp.data.load` says; `where` names a row in messages. Class names are sorted, by value if
    all are numbers, else as text.

    Raises
    ------
    DataError
        If a label is NaN or infinite, texts suit neither (`encode_column`), or there are fewer than
        two classes.
    InvalidValueError
        If `task` is unknown.
    """
    if task is not None and task not in TASKS:
        raise unknown_name("task", task, TASKS)
    if labels.dtype.kind in _TEXT:
        return encode_column(_one_column(labels, where), task, where, "y")
    if labels.dtype.kind != "b":
        require_finite(labels, where)
    if task != "regression" and _is_one_hot(labels):
        labels = labels.argmax(axis=1)
    elif task is None and _is_zero_or_one(labels):
        task = "classification"
    if (task or _infer_task(labels)) == "regression":
        return labels.astype(np.float64), None
    if labels.ndim == 2:
        if not _is_zero_or_one(labels):
            raise DataError(
                f"{where(0)}: found {labels.shape[1]} label columns, expected one for "
                "classification, one-hot rows, or 0 and 1 for several labels"
            )
        return labels.astype(np.int64), tuple(map(str, range(labels.shape[1])))
    values, indices = np.unique(labels, return_inverse=True)
    if len(values) < 2:
        raise DataError(
            f"{where(0)}: every label is {short(class_name(values[0]))!r}, expected at least two "
            "classes; choose another label column, or task 'regression' for numbers"
        )
    return indices.astype(np.int64), tuple(class_name(value) for value in values)


def map_labels(labels: Array, classes: tuple[str, ...] | None, where: Where) -> Array:
    """Turn labels into indices of a model's classes, int64, or for None into float64 targets.

    Raises a DataError, with the place from `where`, for a label that is not one of the classes,
    or not a finite number for regression.
    """
    if labels.dtype.kind in _TEXT:
        return map_column(_one_column(labels, where), classes, False, where)
    if classes is None:
        y = labels.astype(np.float64)
        require_finite(y, where)
        return y
    if labels.ndim == 2 and labels.shape[1] == len(classes) and _is_zero_or_one(labels):
        return labels.argmax(axis=1) if _is_one_hot(labels) else labels.astype(np.int64)
    if labels.ndim == 2:
        raise DataError(f"{where(0)}: found {labels.shape[1]} label columns, expected one")
    known = {name: index for index, name in enumerate(classes)}
    values, indices = np.unique(labels, return_inverse=True)
    codes = np.array([_code(value, known) for value in values])
    y = codes[indices].astype(np.int64)
    if (y < 0).any():
        first = int(np.argmax(y < 0))
        raise DataError(
            f"{where(first)}: found the label {short(class_name(labels[first]))!r}, expected "
            f"one of the model's classes: {short(', '.join(classes))}"
        )
    return y


def class_name(value: Any) -> str:
    """Return a label as text, integers without a decimal point: ``1.0`` as ``"1"``."""
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
    return str(value)


def _code(value: Any, known: dict[str, int]) -> int:
    name = class_name(value)
    if name not in known and isinstance(value, str) and is_plain(value):
        name = class_name(float(value))  # "1.0" is "1" written differently
    return known.get(name, -1)


def _one_column(labels: Array, where: Where) -> Column:
    """Return texts as a table's column."""
    if labels.ndim == 2:
        raise DataError(f"{where(0)}: found {labels.shape[1]} columns of text, expected one label")
    levels, codes = np.unique(labels, return_inverse=True)
    return Column(codes, tuple(map(str, levels)))


def _is_one_hot(labels: Array) -> bool:
    """Whether each of several columns is a class, of which each row has one."""
    return _is_zero_or_one(labels) and bool(((labels != 0).sum(axis=1) == 1).all())


def _is_zero_or_one(labels: Array) -> bool:
    """Whether several columns hold nothing but 0 and 1."""
    return labels.ndim == 2 and labels.dtype.kind in "buif" and bool(np.isin(labels, (0, 1)).all())


def _infer_task(labels: Array) -> str:
    if labels.dtype.kind == "b":
        return "classification"
    if labels.ndim == 2 or (labels != np.trunc(labels)).any():
        return "regression"
    few = max(20.0, math.sqrt(len(labels)))
    return "classification" if len(np.unique(labels)) <= few else "regression"
