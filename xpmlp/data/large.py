"""``open_rows``: data in files that no memory holds, for ``fit``, ``predict`` and ``evaluate``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xpmlp.arrays.checks import whole
from xpmlp.arrays.stored import StoredMatrix
from xpmlp.data.columns import Label, label_columns, refuse_label
from xpmlp.data.dataset import Array, Dataset, Evaluation, Known, PathLike, reading, split
from xpmlp.data.frame import Column
from xpmlp.data.labels import encode_column, encode_labels, map_labels
from xpmlp.data.sources import Arrow, Npy, Numbers, Parquet, Selected, Zarr, blaming
from xpmlp.errors import DataError, require, unknown_name
from xpmlp.show.facts import as_text
from xpmlp.storage.paths import expanded

ARROW = (".arrow", ".arrows", ".feather", ".ipc")
LARGE = (".npy", *ARROW, ".zarr")
SUFFIXES = (*LARGE, ".parquet")
"""Suffixes of the files that ``open_rows`` reads; those but the last it alone reads."""

MANY = 50
"""Groups from which on the test part has whole groups, so that it can be read without the rest."""


@dataclass(frozen=True, eq=False, repr=False)
class Stored:
    """Rows of numbers in a file, and their labels.

    Attributes
    ----------
    X : StoredMatrix, shape (n, features)
        The inputs, which stay in the file.
    y : ndarray or None
        The labels, in memory: class indices, targets in the file's dtype, or 0 and 1 for several
        labels. None without labels.
    classes : tuple of str or None
        The names of the classes.
    features, label : tuple of str
        Names of the columns of X, and of the labels.
    why : str
        Why these are the labels.

    Examples
    --------
    >>> np.save("rows.npy", np.array([[0.0, 1.0, 3], [2.0, 3.0, 4], [4.0, 5.0, 3]]))
    >>> data = xpmlp.data.open_rows("rows.npy", label=-1)
    >>> data.X.shape, data.y, data.classes
    ((3, 2), array([0, 1, 0], dtype=uint8), ('3', '4'))
    """

    X: StoredMatrix
    y: Array | None
    classes: tuple[str, ...] | None
    features: tuple[str, ...]
    label: tuple[str, ...]
    why: str

    @property
    def outputs(self) -> int:
        """Number of classes, or of labels or targets in a row; 0 without labels.

        Examples
        --------
        >>> np.save("rows.npy", np.array([[0.0, 1.0, 3], [2.0, 3.0, 4], [4.0, 5.0, 3]]))
        >>> xpmlp.data.open_rows("rows.npy", label=-1).outputs
        2
        """
        if self.y is None:
            return 0
        return len(self.classes) if self.classes else self.y[:1].size

    def __repr__(self) -> str:
        labels = "none" if self.y is None else f"{', '.join(self.label)}: {self.outputs} outputs"
        return as_text("Stored", [("X", repr(self.X)), ("labels", labels)])


def open_rows(
    path: PathLike,
    *,
    label: Label = None,
    columns: Sequence[str | int] | None = None,
    task: str | None = None,
    buffer: int | None = None,
) -> Stored:
    """Open rows of numbers in a file, of which training reads some groups at a time.

    The inputs stay in the file; labels are read into memory. ``fit`` reads the file once for the
    statistics of its scaling, and once an epoch. It shuffles groups of rows and, within a buffer,
    rows: see ``stored_order``.

    Parameters
    ----------
    path : path-like
        .npy; .parquet, or a folder of such files; .arrow, .arrows, .feather or .ipc, a file or a
        stream of Arrow's; .zarr, an array, or a group with an array X and perhaps one y. The groups
        are row groups, record batches, chunks, and 256 KiB of a .npy file.
    label : str, int or list of them, optional
        The columns with the labels, by name or number, as for `load`. None means that all columns
        are inputs: pass labels of your own to ``fit``.
    columns : sequence of str or int, optional
        The inputs; by default all columns but the labels.
    task : {None, "classification", "regression"}
        As for `load`.
    buffer : int, optional
        Rows that are shuffled together, and held in memory; by default those of 64 MiB.

    Returns
    -------
    Stored

    Raises
    ------
    DataError
        If the file is missing, truncated, of another kind, or holds something else than numbers.
    MissingExtraError
        If pyarrow or zarr is needed and not installed.
    InvalidValueError
        If the buffer or the task is not valid.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 4)).astype(np.float32)
    >>> np.save("large.npy", np.c_[X, X[:, 0] > 0])
    >>> data = xpmlp.data.open_rows("large.npy", label=-1, buffer=500)
    >>> mlp = xpmlp.MLP([4, 8, data.outputs], scaling="standard", seed=0, backend="numpy")
    >>> history = mlp.fit(data.X, data.y, epochs=5, optimizer=xpmlp.Adam(0.02))
    >>> mlp.evaluate(data.X, data.y)["accuracy"] > 0.95
    True
    """
    path = expanded(path, "path")
    buffer = None if buffer is None else whole("buffer", buffer)
    numbers, labels = _opened(path)
    names, found, why = numbers.names, tuple[str, ...](), ""
    if label is not None:
        found, why = label_columns(names, label, str(path))
    at = [names.index(name) for name in found]
    chosen = [k for k in range(len(names)) if k not in at]
    if columns is not None:
        chosen = [_place(names, column, path) for column in columns]
    if not chosen or set(chosen) & set(at):
        raise DataError(f"{path}: found no inputs, or a label among them; expected other columns")
    X = StoredMatrix(Selected(numbers, chosen), buffer)
    y, classes = labels, None
    if at:
        y, classes = _labels(numbers, at, task)
    elif labels is not None:
        y, classes = encode_labels(labels, task, lambda row: f"{path}: y, row {row}")
    if y is not None and len(y) != len(X):
        raise DataError(
            f"{path}: found {len(y):,} labels, expected one for each of {len(X):,} rows"
        )
    return Stored(X, y, classes, tuple(names[k] for k in chosen), found, why)


def is_large(name: PathLike) -> bool:
    """Whether a file or folder is one that ``open_rows`` alone reads."""
    path = Path(name)
    return path.suffix.lower() in LARGE or (path.is_dir() and any(path.glob("*.parquet")))


def load_rows(
    name: PathLike, label: Label, task: str | None, test_fraction: float, seed: int
) -> Dataset:
    """Load what ``open_rows`` reads as ``xpmlp.data.load`` does: with labels and a test part.

    The label is the last column, or as a table's; a group of Zarr's has its labels in y.
    """
    path = expanded(name, "data")
    (numbers, labels), why = _opened(path), ""
    if labels is not None:
        refuse_label(label, f"{path}, which has labels in y")
    else:
        label, why = label_columns(numbers.names, label, str(path))
    stored = open_rows(path, label=label, task=task)
    y, sizes = stored.y, stored.X.groups
    assert y is not None
    if (sizes > 0).sum() < MANY:
        kept, aside = map(np.sort, split(len(y), test_fraction, seed))
    else:
        is_test = np.zeros(len(sizes), bool)
        is_test[split(len(sizes), test_fraction, seed)[1]] = True
        kept, aside = (np.flatnonzero(np.repeat(part, sizes)) for part in (~is_test, is_test))
    return Dataset(
        path.stem,
        *(stored.X.rows(kept), y[kept], stored.X.rows(aside), y[aside]),
        classes=stored.classes,
        features=stored.features if path.suffix.lower() not in (".npy", ".zarr") else None,
        scaling="auto" if stored.X.dtype == np.uint8 else "standard",
        label=stored.label,
        why=why,
        columns=numbers.names,
    )


def rows_to_evaluate(
    name: PathLike,
    known: Known,
    classes: tuple[str, ...] | None,
    label: Label,
    n_features: int,
) -> Evaluation:
    """Return all rows of such a file for a model, and their labels where it has some."""
    path = expanded(name, "data")
    numbers, labels = _opened(path)
    names = numbers.names

    def where(row: int) -> str:
        return f"{path}: row {row}"

    said: tuple[str, ...] = tuple(n for n in known.label if n in names)
    if label is not None:
        said = label_columns(names, label, str(path))[0]
    at = [names.index(name) for name in said]
    inputs = [k for k in range(len(names)) if k not in at]
    if len(inputs) != n_features:
        raise DataError(
            f"{path}: found {len(inputs)} features, expected {n_features}, as the model has"
        )
    if at:
        labels = np.concatenate([numbers.block(g, at) for g in range(len(numbers.groups))])
        labels = labels[:, 0] if len(at) == 1 else labels
        labels = labels.astype(str) if labels.dtype.kind == "O" else labels
    y = None if labels is None else map_labels(labels, classes, where)
    return Evaluation(StoredMatrix(Selected(numbers, inputs)), y)


def _opened(path: Path) -> tuple[Numbers, Array | None]:
    """Return what a file holds, and the labels beside it."""
    kind = path.suffix.lower()
    with reading(path):
        exists, is_folder = path.exists(), path.is_dir()
    if not exists:
        raise DataError(f"no such file: {path}; expected one of {', '.join(SUFFIXES)}")
    if kind == ".zarr":
        return _zarr(path)
    if kind == ".npy" and not is_folder:
        return Npy(path), None
    if kind == ".parquet" or is_folder:
        return Parquet(path), None
    if kind in ARROW:
        return Arrow(path), None
    raise DataError(
        f"{path}: found a file of unknown kind, expected {', '.join(SUFFIXES)}, or a folder of "
        ".parquet files"
    )


def _zarr(path: Path) -> tuple[Numbers, Array | None]:
    zarr = require("zarr", "large", f"reading {path}")
    with blaming(path):
        found = zarr.open(str(path), mode="r")
        if hasattr(found, "shape"):
            return Zarr(path, found), None
        names = sorted(found.array_keys())
        if "X" not in names:
            raise DataError(f"{path}: found a group of {names}; expected an array X in it")
        y = np.asarray(found["y"][:]) if "y" in names else None
        return Zarr(path, found["X"]), y


def _place(names: Sequence[str], column: str | int, path: Path) -> int:
    if column in names:
        return names.index(str(column))
    if isinstance(column, int) and -len(names) <= column < len(names):
        return column % len(names)
    raise unknown_name(f"column of {path}", str(column), names)


def _labels(
    numbers: Numbers, at: Sequence[int], task: str | None
) -> tuple[Array, tuple[str, ...] | None]:
    """Read label columns, group by group, into as few bytes as they take."""

    def where(row: int) -> str:
        return f"{numbers.name}: row {row}"

    for place in at:
        if numbers.types[place].kind not in "buifO":
            raise DataError(
                f"{numbers.name}: found the label {numbers.names[place]!r} of "
                f"{numbers.types[place]}; expected numbers or text"
            )
    parts = [numbers.block(group, at) for group in range(len(numbers.groups))]
    if len(at) > 1:
        return encode_labels(np.concatenate(parts), task, where)
    with blaming(numbers.path):  # lists, which have no order
        levels = np.unique(np.concatenate([np.unique(part) for part in parts]))
    if levels.dtype.kind != "O" and (
        task == "regression"
        or (
            levels.dtype.kind == "f"
            and not (np.isfinite(levels).all() and (levels == np.trunc(levels)).all())
        )
        or (task is None and len(levels) > max(20.0, np.sqrt(numbers.groups.sum())))
    ):
        return np.concatenate(parts)[:, 0], None
    small = np.min_scalar_type(len(levels))
    codes = np.concatenate([np.searchsorted(levels, part[:, 0]).astype(small) for part in parts])
    if levels.dtype.kind == "O":
        column = Column(codes.astype(np.int32), tuple(map(str, levels)))
        return encode_column(column, task, where, numbers.names[at[0]])
    _, classes = encode_labels(levels, "classification", where)
    return codes, classes
