"""The data that the page trains on: points of the plane, digits, and a table of the user's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpmlp.data import load, load_digits, make_xor
from xpmlp.data.dataset import Dataset, split
from xpmlp.data.frame import Column
from xpmlp.data.images import pixel_facts
from xpmlp.data.table import Table
from xpmlp.errors import DataError, unknown_name
from xpmlp.nn.random import Purpose, generator

__all__ = ["digits", "make_points", "table_points"]

Array = Any

REACH = 2.0
"""Points drawn here lie in about the square from −REACH to REACH."""

ROWS = 2000
"""Most rows of a table that are trained on: the first of the drawn order."""


@dataclass(frozen=True, eq=False)
class Plane:
    """The square on which the network is shown.

    Attributes
    ----------
    x, y : (float, float)
        The ends of both axes.
    columns : (int, int)
        Which inputs they are.
    shown : ndarray, shape (n, 2)
        Where all rows are, those for training first.
    inputs : callable (ndarray of shape (m, 2)) -> ndarray of shape (m, inputs)
        What the network takes for places on it.
    """

    x: tuple[float, float]
    y: tuple[float, float]
    columns: tuple[int, int]
    shown: Array
    inputs: Callable[[Array], Array]

    def grid(self, side: int) -> Array:
        """Return the inputs of ``side``² places, row by row from the top."""
        across, up = np.linspace(*self.x, side), np.linspace(*self.y, side)[::-1]
        return self.inputs(np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2))


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows to train on and to test on.

    Attributes
    ----------
    X, X_test : ndarray, shape (n, inputs)
    y, y_test : ndarray, shape (n,)
        Class indices or real values.
    classes : tuple of str or None
        None for values.
    inputs : tuple of str
    scaling : str or None
        As for ``xpmlp.MLP``.
    plane : Plane or None
        None for pictures, and for tables with fewer than two columns of numbers.
    table : Table or None
    metadata : dict
        What a saved model should know of the data, as ``xpmlp train`` writes it.

    Examples
    --------
    >>> from xpmlp.play.points import make_points
    >>> data = make_points("waves", n=100, test_share=0.2)
    >>> len(data.y), len(data.y_test), data.classes, data.plane.columns
    (80, 20, None, (0, 1))
    """

    X: Array
    y: Array
    X_test: Array
    y_test: Array
    classes: tuple[str, ...] | None
    inputs: tuple[str, ...]
    scaling: str | None = None
    plane: Plane | None = None
    table: Table | None = None
    metadata: dict[str, Any] | None = None

    @property
    def rows(self) -> tuple[Array, Array]:
        """All inputs and targets, those for training first."""
        return np.concatenate([self.X, self.X_test]), np.concatenate([self.y, self.y_test])

    @property
    def held_out(self) -> tuple[Array, Array] | None:
        """The rows to test on; None if there are none."""
        return (self.X_test, self.y_test) if len(self.y_test) else None


def make_points(
    name: str, *, n: int = 300, noise: float = 0.0, test_share: float = 0.3, seed: int = 0
) -> Problem:
    """Draw points of the plane.

    Parameters
    ----------
    name : {"xor", "circles", "spirals", "moons", "line", "waves"}
        The last two have real values.
    n : int
        Points, those of the test included.
    noise : float
        Standard deviation of what is added to the coordinates; to the values, if they are real.
    test_share : float
        Share of the points that are only tested on, from 0 to below 1.
    seed : int
        Random seed.

    Raises
    ------
    InvalidValueError
        For an unknown name, or numbers out of range.

    Examples
    --------
    >>> from xpmlp.play.points import make_points
    >>> data = make_points("spirals", n=100, noise=0.1)
    >>> data.X.shape, data.X_test.shape, data.classes
    ((70, 2), (30, 2), ('0', '1'))
    """
    if name not in SHAPES:
        raise unknown_name("points", name, SHAPES)
    rng = generator(seed, Purpose.POINTS, 1)
    X, y = make_xor(n=n, seed=seed).X, np.arange(n) % 2
    X, y = SHAPES[name](X, y, rng)
    real = y.dtype.kind == "f"
    if real:
        y = y + noise * rng.standard_normal(n)
    else:
        X = X + noise * rng.standard_normal((n, 2))
    train, test = split(n, test_share, seed)
    shown = X[np.concatenate([train, test])]
    edge = max(REACH, 1.05 * float(np.abs(X).max()))
    plane = Plane((-edge, edge), (-edge, edge), (0, 1), shown, lambda places: places)
    parts = X[train], y[train], X[test], y[test]
    return Problem(*parts, None if real else ("0", "1"), ("x1", "x2"), plane=plane)


def _xor(X: Array, y: Array, rng: Any) -> tuple[Array, Array]:
    """Class 1 where exactly one coordinate is positive."""
    return X, ((X[:, 0] > 0) ^ (X[:, 1] > 0)).astype(np.int64)


def _circles(X: Array, y: Array, rng: Any) -> tuple[Array, Array]:
    """A disk of radius 0.8, and a ring around it."""
    angle = rng.uniform(0, 2 * np.pi, len(y))
    radius = np.where(
        y == 1, 0.8 * np.sqrt(rng.uniform(0, 1, len(y))), rng.uniform(1.3, 1.9, len(y))
    )
    return _polar(radius, angle), y


def _spirals(X: Array, y: Array, rng: Any) -> tuple[Array, Array]:
    """Two arms of 1¾ turns each."""
    along = rng.uniform(0.02, 1, len(y))
    return _polar(1.9 * along, 3.5 * np.pi * along + np.pi * y), y


def _moons(X: Array, y: Array, rng: Any) -> tuple[Array, Array]:
    """Two half circles that reach into each other."""
    angle = rng.uniform(0, np.pi, len(y))
    side = np.where(y == 1, -1.0, 1.0)
    across, up = np.cos(angle) - 0.5, np.sin(angle) - 0.25
    return np.stack([side * across, side * up], axis=1), y


def _line(X: Array, y: Array, rng: Any) -> tuple[Array, Array]:
    """Values that rise evenly in one direction."""
    places = rng.uniform(-REACH, REACH, X.shape)
    return places, places @ np.array([0.4, 0.6])


def _waves(X: Array, y: Array, rng: Any) -> tuple[Array, Array]:
    """Hills and valleys."""
    places = rng.uniform(-REACH, REACH, X.shape)
    return places, np.sin(2 * places[:, 0]) * np.cos(1.5 * places[:, 1])


def _polar(radius: Array, angle: Array) -> Array:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


SHAPES = {
    "xor": _xor,
    "circles": _circles,
    "spirals": _spirals,
    "moons": _moons,
    "line": _line,
    "waves": _waves,
}
"""For each name, a function of normal points, of alternating classes, and of a generator."""


def digits(*, test_share: float = 0.3, seed: int = 0) -> Problem:
    """Return the 1,797 digits of 8 by 8 pixels, see `xpmlp.data.load_digits`.

    Examples
    --------
    >>> from xpmlp.play.points import digits
    >>> digits(test_share=0.2).X.shape
    (1438, 64)
    """
    data = load_digits(test_fraction=test_share, seed=seed)
    names = tuple(f"pixel {k // 8 + 1}, {k % 8 + 1}" for k in range(64))
    return _of_dataset(data, names, None)


def table_points(
    path: Any,
    *,
    label: str | None = None,
    columns: Sequence[str] = (),
    test_share: float = 0.3,
    seed: int = 0,
) -> Problem:
    r"""Read a table, as ``xpmlp train`` does; of more than 2,000 rows it takes as many.

    Parameters
    ----------
    path : path-like
    label : str, optional
        The column to predict; by default as in `xpmlp.data.load`.
    columns : sequence of str
        The columns to predict it from; the first two of numbers are the axes of the picture. If
        none is given, these two, or all if there are fewer.
    test_share, seed
        As for ``make_points``.

    Raises
    ------
    DataError
        If the file cannot be read, or has no such columns, or several labels.

    Examples
    --------
    >>> from pathlib import Path
    >>> from xpmlp.play.points import table_points
    >>> rows = [f"{cm},{cm * 0.4:.1f},{'cat' if cm < 50 else 'dog'}" for cm in range(40, 60)]
    >>> size = Path("pets.csv").write_text("\n".join(["cm,kg,pet", *rows]))
    >>> data = table_points("pets.csv", label="pet", columns=["kg", "cm"])
    >>> data.inputs, data.classes, data.plane.columns
    (('cm', 'kg'), ('cat', 'dog'), (1, 0))
    """
    data = load(path, label=label, test_fraction=test_share, seed=seed)
    wanted = [name for name in columns if name not in data.label]
    if unknown := [name for name in wanted if name not in data.X.names]:
        raise unknown_name("column", unknown[0], data.X.names)
    table, train, test = _fitted(data, wanted)
    numbers = _numbers(table, train)
    if not wanted and len(numbers) > 1:
        wanted = numbers[:2]
        table, train, test = _fitted(data, wanted)
    X = table.transform(train)
    X_test = table.transform(test) if len(test) else X[:0]
    y, y_test = data.y[: len(train)], data.y_test[: len(test)]
    made = _of_dataset(replace(data, X=X, y=y, X_test=X_test, y_test=y_test), table.inputs, table)
    axes = sorted(_numbers(table, train), key=lambda name: _place(name, wanted))[:2]
    return made if len(axes) < 2 else replace(made, plane=_plane_of(table, train, test, axes, X))


def _fitted(data: Dataset, wanted: Sequence[str]) -> tuple[Table, Any, Any]:
    """Return a table of some columns, all if none is given, and its rows in both parts."""
    others = [name for name in data.X.names if wanted and name not in wanted]
    train = data.X[: ROWS - ROWS // 4].without(others)
    return Table().fit(train), train, data.X_test[: ROWS // 4].without(others)


def _numbers(table: Table, frame: Any) -> list[str]:
    """Return the columns whose cells are numbers, not texts such as "$5"."""
    columns = [(f.name, frame.column(f.name)) for f in table.features if f.kind == "number"]
    return [n for n, c in columns if c.levels is None and c.values.dtype.kind == "f"]


def _place(name: str, wanted: Sequence[str]) -> int:
    return wanted.index(name) if name in wanted else len(wanted)


def _of_dataset(data: Dataset, inputs: tuple[str, ...], table: Table | None) -> Problem:
    classes = None if data.classes is None else tuple(map(str, data.classes))
    if data.y.ndim > 1:
        raise DataError(f"{data.name}: found several labels; choose one column to predict")
    metadata: dict[str, Any] = {
        "data": data.name,
        "columns": list(data.columns),
        "label": list(data.label),
    }
    if data.image_shape:
        metadata["image"] = pixel_facts(data.X, data.image_shape)
    return Problem(
        *(data.X, data.y, data.X_test, data.y_test, classes, inputs, data.scaling),
        table=table,
        metadata=metadata,
    )


def _plane_of(table: Table, frame: Any, frame_test: Any, axes: list[str], X: Array) -> Plane:
    """Return the plane of two columns; on it all other inputs have their medians."""
    rest = np.median(X, axis=0)
    places = [table.inputs.index(name) for name in axes]

    def inputs(where: Array) -> Array:
        rows = frame[np.zeros(len(where), np.int64)]
        rows.columns |= {n: Column(where[:, k].astype(float)) for k, n in enumerate(axes)}
        made = np.tile(rest, (len(where), 1))
        made[:, places] = table.transform(rows)[:, places]
        return made

    shown, ends = [], []
    for name in axes:
        parts = [np.asarray(part.column(name).values, float) for part in (frame, frame_test)]
        values = np.concatenate(parts)
        values = np.where(np.isnan(values), np.nanmedian(parts[0]), values)  # as the table does
        low, high = float(values.min()), float(values.max())
        edge = 0.05 * (high - low) or 1.0
        shown.append(values)
        ends.append((low - edge, high + edge))
    return Plane(ends[0], ends[1], (places[0], places[1]), np.stack(shown, axis=1), inputs)
