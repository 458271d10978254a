"""The data set that every loader returns, and what the loaders share: labels, splits, errors."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from xpmlp.errors import DataError, InvalidValueError, XpmlpError
from xpmlp.nn.random import Purpose, generator
from xpmlp.storage.paths import open_regular

Array = npt.NDArray[Any]
PathLike = str | os.PathLike[str]
Where = Callable[[int], str]
"""Turns the index of a row into words for a message, such as ``"iris.csv: row 7"``."""


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

    @property
    def outputs(self) -> int:
        """Number of classes, or of targets in a row."""
        return len(self.classes) if self.classes else self.y[:1].size


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


@contextmanager
def opened(path: PathLike) -> Iterator[io.BufferedReader]:
    """Open a regular file to read its bytes; whatever prevents it is a `DataError`."""
    with reading(path), open_regular(path, DataError) as file:
        yield file


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
    if not isinstance(fraction, Real) or not 0 <= fraction < 1:
        raise InvalidValueError(
            f"test_fraction: found {fraction!r}, expected at least 0 and less than 1"
        )
    order = generator(seed, Purpose.SPLIT).permutation(n)
    n_test = min(max(1, round(n * fraction)), n - 1) if fraction else 0
    return order[n_test:], order[:n_test]


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
