"""The data set that every loader returns, and what the loaders share: labels, splits, errors."""

import math
import operator
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xpmlp.errors import DataError, InvalidValueError, XpmlpError, unknown_name

Array = npt.NDArray[Any]
PathLike = str | os.PathLike[str]
Where = Callable[[int], str]
"""Turns the index of a row into words for a message, such as ``"iris.csv: row 7"``."""

TASKS = ("classification", "regression")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test data as NumPy arrays.

    Attributes
    ----------
    name : str
        What was loaded: ``"mnist"``, or the name of the file without its suffix.
    X, X_test : ndarray of shape (n, features)
        Inputs in the file's own dtype: uint8 for images, float64 for CSV. Finite.
    y, y_test : ndarray
        Class indices, int64 of shape (n,), or real targets, float64 of shape (n,) or (n, k).
    classes : tuple of str or None
        The names of classes 0 to C-1; None for regression.
    image_shape : (int, int) or None
        Height and width if the features are the pixels of an image, row by row.
    features : tuple of str or None
        The names of the columns of `X`, where they are known.
    scaling : {"auto", "standard"}
        What a model should do with the inputs. ``"auto"``: divide uint8 by 255 and leave other
        dtypes alone; ``"standard"``: subtract the mean and divide by the standard deviation of
        the training inputs.
    """

    name: str
    X: Array
    y: Array
    X_test: Array
    y_test: Array
    classes: tuple[str, ...] | None = None
    image_shape: tuple[int, int] | None = None
    features: tuple[str, ...] | None = None
    scaling: str = "auto"


@dataclass(frozen=True, eq=False)
class Table:
    """What a file holds, before its labels are encoded and its rows are split.

    Attributes
    ----------
    X, X_test : ndarray of shape (n, features)
        Inputs; `X_test` is None if the file has no test part.
    y, y_test : ndarray or None
        Labels as they are in the file (numbers or text); None where the file has none.
    where, where_test : callable
        Name a row of `y` or `y_test` in a message.
    features, image_shape
        As in `Dataset`.
    """

    X: Array
    y: Array | None
    where: Where
    X_test: Array | None = None
    y_test: Array | None = None
    where_test: Where | None = None
    features: tuple[str, ...] | None = None
    image_shape: tuple[int, int] | None = None


@contextmanager
def reading(path: PathLike) -> Iterator[None]:
    """Turn an ``OSError`` while `path` is read into a `DataError` that names it."""
    try:
        yield
    except XpmlpError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"{os.fspath(path)}: cannot be read: {reason}; check the path and its permissions"
        ) from error


def short(text: object, limit: int = 200) -> str:
    """Shorten what a message quotes from a file, which may be of any length."""
    words = str(text)
    return words if len(words) <= limit else f"{words[:limit]}..."


def split(n: int, fraction: float, seed: int) -> tuple[Array, Array]:
    """Draw the rows of the training part and of the test part.

    Parameters
    ----------
    n : int
        Number of rows.
    fraction : float
        The test part's share, 0 (no test part) or more and below 1. Both parts get at least
        one row when there are two rows and `fraction` is not 0.
    seed : int
        Seed of the permutation (NumPy's Philox generator), 0 or more.

    Returns
    -------
    train, test : ndarray of int64
        Row numbers, disjoint, together all of 0 to n-1.

    Raises
    ------
    InvalidValueError
        If `fraction` or `seed` is out of range.
    """
    if not 0 <= fraction < 1:
        raise InvalidValueError(
            f"test_fraction: found {fraction!r}, expected at least 0 and less than 1"
        )
    order = generator(seed).permutation(n)
    n_test = min(max(1, round(n * fraction)), n - 1) if fraction else 0
    return order[n_test:], order[:n_test]


def generator(seed: int) -> np.random.Generator:
    """Make the seeded random generator (NumPy's Philox) of everything random in this package."""
    number = operator.index(seed)
    if number < 0:
        raise InvalidValueError(f"seed: found {seed!r}, expected an integer of 0 or more")
    return np.random.Generator(np.random.Philox(number))


def encode_labels(
    labels: Array, task: str | None, where: Where
) -> tuple[Array, tuple[str, ...] | None]:
    """Turn labels as they stand in a file into class indices or real targets.

    Parameters
    ----------
    labels : ndarray of shape (n,) or (n, k)
        Numbers, booleans or text.
    task : {None, "classification", "regression"}
        None decides: text and booleans are classes; so are whole numbers with at most
        ``max(20, sqrt(n))`` distinct values; all else is regression.
    where : callable
        Names a row in a message.

    Returns
    -------
    y : ndarray
        int64 of shape (n,), or float64 of the shape of `labels`.
    classes : tuple of str or None
        Class names, sorted: by value if all are numbers, else as text. None for regression.

    Raises
    ------
    DataError
        If a label is NaN or infinite, numbers and text are mixed and `task` does not say that
        they are classes, text is given for regression, or there are fewer than two classes.
    InvalidValueError
        If `task` is not one of the three.
    """
    if task is not None and task not in TASKS:
        raise unknown_name("task", task, TASKS)
    labels = _numbers_if_possible(labels)
    numeric = labels.dtype.kind in "uif"
    if numeric:
        require_finite(labels, where)
    elif labels.dtype.kind == "U" and task != "classification":
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
    """Turn labels into the targets of a model that already has its classes.

    Parameters
    ----------
    labels : ndarray of shape (n,) or (n, k)
        Numbers, booleans or text.
    classes : tuple of str or None
        The model's class names; None for regression.
    where : callable
        Names a row in a message.

    Returns
    -------
    ndarray
        Class indices, int64 of shape (n,), or float64 targets.

    Raises
    ------
    DataError
        If a label is not one of the classes, or not a finite number for regression.
    """
    if classes is None:
        labels = _numbers_if_possible(labels)
        if labels.dtype.kind == "U":
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
    """Name a class by its label: whole numbers without a decimal point, ``1.0`` as ``"1"``."""
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
    return str(value)


def _code(value: Any, known: dict[str, int]) -> int:
    name = class_name(value)
    if name not in known and isinstance(value, str) and is_number(value):
        name = class_name(float(value))  # "1.0" is "1" written differently
    return known.get(name, -1)


def require_finite(values: Array, where: Where) -> None:
    """Refuse NaN and infinity, naming the first row that has one (DataError)."""
    finite = np.isfinite(values)
    if not finite.all():
        position = np.unravel_index(int(np.argmin(finite)), values.shape)
        column = f", column {position[1] + 1}" if values.ndim == 2 else ""
        raise DataError(
            f"{where(int(position[0]))}{column}: found {float(values[position])}, expected a "
            "finite number; correct or remove the row"
        )


def _numbers_if_possible(labels: Array) -> Array:
    if labels.dtype.kind != "U":
        return labels
    try:
        return labels.astype(np.float64)
    except ValueError:
        return labels


def _infer_task(labels: Array) -> str:
    if labels.dtype.kind in "Ub":
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
            "number; correct it, or say task 'classification' if the labels are names"
        )


def is_number(text: str) -> bool:
    """Whether `text` reads as a number (NaN and infinity included)."""
    try:
        float(text)
    except ValueError:
        return False
    return True
