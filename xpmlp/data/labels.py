"""From the labels in a file to class indices or real targets."""

import math
from typing import Any

import numpy as np

from xpmlp.data.dataset import Array, Where, require_finite
from xpmlp.errors import DataError, short, unknown_name

TASKS = ("classification", "regression")

MAX_LABEL = 256
"""The longest label text: a longer one is probably prose, the wrong column."""

_TEXT = "UT"  # NumPy's kinds of text, of fixed and of variable length


def encode_labels(
    labels: Array, task: str | None, where: Where
) -> tuple[Array, tuple[str, ...] | None]:
    """Turn labels into int64 class indices and class names, or into float64 targets and None.

    `labels` has shape (n,) or (n, k): numbers, booleans or text. `task` None infers the task as
    `xpmlp.data.load` says; `where` names a row in messages. Class names are sorted, by value if
    all are numbers, else as text.

    Raises
    ------
    DataError
        If a label is NaN or infinite, numbers and text are mixed and `task` is not
        classification, text is given for regression, or there are fewer than two classes.
    InvalidValueError
        If `task` is unknown.
    """
    if task is not None and task not in TASKS:
        raise unknown_name("task", task, TASKS)
    labels = _numbers_if_possible(labels)
    numeric = labels.dtype.kind in "uif"
    if numeric:
        require_finite(labels, where)
    elif labels.dtype.kind in _TEXT and task != "classification":
        _refuse_numbers_among_text(labels, task, where)
    if (task or _infer_task(labels)) == "regression":
        return labels.astype(np.float64), None
    if labels.ndim == 2:
        raise DataError(
            f"{where(0)}: found {labels.shape[1]} label columns, expected one for classification; "
            "give class numbers instead of one-hot rows"
        )
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
    if classes is None:
        labels = _numbers_if_possible(labels)
        if labels.dtype.kind in _TEXT:
            _refuse_numbers_among_text(labels, "regression", where)
        y = labels.astype(np.float64)
        require_finite(y, where)
        return y
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
    if name not in known and isinstance(value, str) and is_number(value):
        name = class_name(float(value))  # "1.0" is "1" written differently
    return known.get(name, -1)


def _numbers_if_possible(labels: Array) -> Array:
    if labels.dtype.kind not in _TEXT or (np.strings.find(labels, "_") >= 0).any():
        return labels
    try:
        return labels.astype(np.float64)
    except ValueError:
        return labels


def _infer_task(labels: Array) -> str:
    if labels.dtype.kind in _TEXT + "b":
        return "classification"
    if labels.ndim == 2 or (labels != np.trunc(labels)).any():
        return "regression"
    few = max(20.0, math.sqrt(len(labels)))
    return "classification" if len(np.unique(labels)) <= few else "regression"


def _refuse_numbers_among_text(labels: Array, task: str | None, where: Where) -> None:
    """Refuse text for regression, and text among numbers, which may be a mistyped number."""
    is_text = np.array([not is_number(text) for text in labels.ravel()])
    if task == "regression" or not is_text.all():
        first = int(np.argmax(is_text))
        index = first // (labels.size // len(labels))
        raise DataError(
            f"{where(index)}: found the label {short(labels.ravel()[first])!r}, expected a "
            "number; correct it, or use task 'classification' if the labels are names"
        )


def is_number(text: str) -> bool:
    """Whether a text is a number: NaN and infinity are, Python's ``1_000`` is not."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text
