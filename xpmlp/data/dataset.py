"""The data set that every loader returns, and what the loaders share."""

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
from xpmlp.show.facts import Rows, as_html, as_text, listed
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
    X, X_test : ndarray or Frame, shape (n, features)
        Inputs in the file's own dtype, finite; the columns of a table, for `xpmlp.Table`; or a
        `StoredMatrix`, whose rows stay in the file.
    y, y_test : ndarray
        Class indices, int64 of shape (n,); 0 and 1 for several labels, int64 of shape (n, labels);
        or real targets, float64 of shape (n,) or (n, k).
    classes : tuple of str or None
        The names of classes 0 to C-1; None for regression.
    image_shape : (int, int) or None
        Height and width if the features are the pixels of an image, row by row.
    features : tuple of str or None
        The names of the columns of `X`, where they are known.
    scaling : {"auto", "standard"}
        How a model should scale the inputs. ``"auto"``: divide uint8 by 255, leave other dtypes
        alone; ``"standard"``: subtract the mean of the training inputs and divide by their
        standard deviation.
    label : tuple of str
        The label columns of a table, and in ``why`` the reason.
    columns : tuple of str
        All columns of a table, in the order of the file.
    notes : tuple of str
        What is worth saying about how a table was read.
    image_form : dict or None
        The form to which pictures were brought, see ``xpmlp.data.picture_folder.FORM``.

    Examples
    --------
    >>> data = xpmlp.data.load("xor")
    >>> mlp = xpmlp.MLP([data.X.shape[1], 8, data.outputs], scaling=data.scaling, backend="numpy")
    >>> history = mlp.fit(data.X, data.y, epochs=2)
    >>> sorted(mlp.evaluate(data.X_test, data.y_test))
    ['accuracy', 'loss']
    """

    name: str
    X: Any
    y: Array
    X_test: Any
    y_test: Array
    classes: tuple[str, ...] | None = None
    image_shape: tuple[int, int] | None = None
    features: tuple[str, ...] | None = None
    scaling: str = "auto"
    label: tuple[str, ...] = ()
    why: str = ""
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    image_form: dict[str, Any] | None = None

    @property
    def outputs(self) -> int:
        """Number of classes, or of labels or targets in a row.

        Examples
        --------
        >>> xpmlp.data.load("xor").outputs
        2
        """
        return len(self.classes) if self.classes else self.y[:1].size

    @property
    def targets(self) -> str | None:
        """The argument of ``xpmlp.MLP``: "multilabel" for several labels, else None.

        Examples
        --------
        >>> data = xpmlp.data.load("xor")
        >>> mlp = xpmlp.MLP([2, 8, data.outputs], targets=data.targets, backend="numpy")
        """
        return "multilabel" if self.classes and self.y.ndim == 2 else None

    def __repr__(self) -> str:
        return as_text(f"Dataset {self.name!r}", self._facts())

    def _repr_html_(self) -> str:
        return as_html(f"Dataset {self.name!r}", self._facts())

    def _facts(self) -> Rows:
        n, width = self.X.shape
        kind = f", {self.X.dtype}" if hasattr(self.X, "dtype") else ", a table"
        images = " × ".join(map(str, self.image_shape or ()))
        goal = f"{self.outputs} value{'s' * (self.outputs > 1)} in a row"
        if self.classes:
            what = "labels" if self.targets else "classes"
            goal = f"{self.outputs} {what}: {listed(self.classes)}"
        rows = {
            "training": f"{n:,} rows, {width:,} features{kind}",
            "test": f"{len(self.X_test):,} rows",
            "targets": goal,
            "features": listed(self.features or ()),
            "images": images,
            "scaling": self.scaling,
        }
        return [(name, text) for name, text in rows.items() if text]


@dataclass(frozen=True, eq=False)
class Known:
    """What a model knows of the table that it was trained on.

    Attributes
    ----------
    table : Table
    columns : tuple of str
        All columns of the file, in order; empty if the model was trained on arrays.
    label : tuple of str
        Those of them that were labels.
    """

    table: Any
    columns: tuple[str, ...] = ()
    label: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Rows for a trained model.

    Attributes
    ----------
    X : ndarray or Frame, shape (n, features)
    y : ndarray or None
        Class indices, -1 for a row without a label, or targets, NaN for one; None without labels.
    notes : tuple of str
        What is worth saying about the file.
    frame : Frame or None
        All columns of a table.
    """

    X: Any
    y: Array | None
    notes: tuple[str, ...] = ()
    frame: Any = None


@dataclass(frozen=True, eq=False)
class Content:
    """The content of a file, before labels are encoded and rows are split; see `Dataset`.

    `y` and `y_test` are numbers or text as in the file; None if it has none. `where` and
    `where_test` name their rows in messages.
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
    """Turn an ``OSError`` into a `DataError` that names the file."""
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
    """Open a regular file to read its bytes; every failure is a `DataError`."""
    with reading(path), open_regular(path, DataError) as file:
        yield file


def split(n: int, fraction: float, seed: int) -> tuple[Array, Array]:
    """Draw the row numbers of the training part and of the test part, int64.

    `fraction` is the test part's, from 0 (no test part) to below 1; otherwise both parts get at
    least one row when there are two. Raises InvalidValueError if `fraction` or `seed` is out of
    range.
    """
    if not isinstance(fraction, Real) or not 0 <= fraction < 1:
        raise InvalidValueError(
            f"test_fraction: found {fraction!r}, expected at least 0 and less than 1"
        )
    order = generator(seed, Purpose.SPLIT).permutation(n)
    n_test = min(max(1, round(n * fraction)), n - 1) if fraction else 0
    return order[n_test:], order[:n_test]


def require_finite(values: Array, where: Where) -> None:
    """Raise a `DataError` for NaN and infinity, naming the first row that has one."""
    finite = np.isfinite(values)
    if not finite.all():
        position = np.unravel_index(int(np.argmin(finite)), values.shape)
        column = f", column {position[1] + 1}" if values.ndim == 2 else ""
        raise DataError(
            f"{where(int(position[0]))}{column}: found {float(values[position])}, expected a "
            "finite number; correct or remove the row"
        )
