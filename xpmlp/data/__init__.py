"""Data sets for training and evaluation: built-in ones, MNIST, .npz files and tables.

>>> from xpmlp.data import load
>>> load("xor").X.shape
(300, 2)
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from xpmlp.arrays.stored import StoredMatrix
from xpmlp.data.columns import Label, label_columns, named_alike, refuse_label
from xpmlp.data.dataset import Array, Content, Dataset, PathLike, reading, split
from xpmlp.data.dataset import Evaluation as Evaluation
from xpmlp.data.dataset import Known as Known
from xpmlp.data.frame import Frame
from xpmlp.data.idx import read_idx
from xpmlp.data.labels import encode_column, encode_labels, is_yes_or_no, map_column, map_labels
from xpmlp.data.large import LARGE, Stored, is_large, load_rows, open_rows, rows_to_evaluate
from xpmlp.data.mnist import load_mnist
from xpmlp.data.npz import read_npz
from xpmlp.data.packed import PACKED, SUFFIXES, kind_of
from xpmlp.data.picture_folder import is_labelled, load_pictures
from xpmlp.data.tables import read_table
from xpmlp.data.toy import load_digits, make_xor
from xpmlp.data.values import NO_LABEL
from xpmlp.errors import DataError, short, unknown_name
from xpmlp.nn.orders import stored_order
from xpmlp.storage.paths import expanded

__all__ = [
    "NAMES",
    "Dataset",
    "Stored",
    "StoredMatrix",
    "load",
    "load_digits",
    "load_evaluation",
    "load_mnist",
    "make_xor",
    "open_rows",
    "read_idx",
    "stored_order",
]

NAMES = ("digits", "mnist", "xor")
"""The data sets that `load` knows by name."""


def load(
    name: PathLike,
    *,
    data_dir: PathLike | None = None,
    label: Label = None,
    test_fraction: float = 0.2,
    task: str | None = None,
    seed: int = 0,
    header: bool | None = None,
    decimal: str | None = None,
    text: Sequence[str] = (),
) -> Dataset:
    r"""Load a data set for training.

    Parameters
    ----------
    name : str or path
        ``"digits"``, ``"mnist"``, ``"xor"``, or a file: .npz, or a table (.csv, .tsv, .txt, .data,
        .parquet, .jsonl, each of them packed as .gz or .zip, too); rows that stay in their file, as
        for `open_rows` (.npy, .arrow, .zarr, or a folder of .parquet files); or a folder with a
        subfolder of pictures for each class. A file named like a data set needs a path:
        ``"./digits"``.
    data_dir : str or path, optional
        Folder with the MNIST files, see `load_mnist`. Only for MNIST.
    label : str, int or list of them, optional
        The label column of a table by name or number, counted from 0 or, with -1, from the end. By
        default a column named label, target, class or y (in this order, in any case), else the
        last. Several columns are several labels or targets. Only for tables.
    test_fraction : float
        Share of the rows that become the test part, at least 0 (none) and below 1. Not used for
        MNIST, XOR and .npz files that have a test part.
    task : {None, "classification", "regression"}
        What the labels of a file are. None infers it: text, booleans, and integers with at most
        ``max(20, sqrt(n))`` distinct values are classes.
    seed : int
        Seed of the split, and of the points of XOR.
    header : bool, optional
        Whether the first row of a text file has the names; by default seen from the cells.
    decimal : {".", ","}, optional
        The decimal mark of a text file; by default seen from the numbers.
    text : sequence of str
        Columns of a table to be kept as they are spelled.

    Returns
    -------
    Dataset
        Training and test part. Class names are sorted, by value if they are numbers, and spelled
        as in the file. The inputs of a table are a `Frame`, which an ``xpmlp.Table`` turns into
        numbers.

    Raises
    ------
    DataError
        If a file is missing, cannot be read, or holds something that cannot be used.
    DownloadError
        If MNIST must be downloaded and cannot be.
    InvalidValueError
        If a name, the fraction, the task or the seed is not valid.
    MissingExtraError
        If a package is needed that is not installed.

    Examples
    --------
    >>> from pathlib import Path
    >>> rows = [f"{cm},{cm * 0.4:.1f},{'cat' if cm < 50 else 'dog'}" for cm in range(40, 60)]
    >>> size = Path("pets.csv").write_text("\n".join(["cm,kg,pet", *rows]))
    >>> data = xpmlp.data.load("pets.csv", label="pet", test_fraction=0.25)
    >>> data.X.shape, data.X_test.shape, data.classes, data.features
    ((15, 2), (5, 2), ('cat', 'dog'), ('cm', 'kg'))
    >>> table = xpmlp.Table().fit(data.X)
    >>> mlp = xpmlp.MLP([table.width, 8, data.outputs], table=table, backend="numpy")
    """
    _check_label(label, name)
    if name == "digits":
        return load_digits(test_fraction=test_fraction, seed=seed)
    if name == "mnist":
        return load_mnist(data_dir)
    if name == "xor":
        return make_xor(seed=seed)
    if is_labelled(name):
        return load_pictures(name, label, task, test_fraction, seed)
    if is_large(name):
        return load_rows(name, label, task, test_fraction, seed)
    path = _existing_file(name)
    if _is_npz(path):
        return _with_split(read_npz(path), path, test_fraction, task, seed)

    def spelled(names: Sequence[str]) -> set[str]:
        return {*label_columns(names, label, str(path))[0], *text}

    frame = read_table(path, header=header, decimal=decimal, text=spelled)
    return _from_table(frame, path, label, test_fraction, task, seed)


def _check_label(label: Label, name: PathLike) -> None:
    if name in NAMES or _is_npz(Path(name)):
        refuse_label(label, str(name))


def _from_table(
    frame: Frame, path: Path, label: Label, test_fraction: float, task: str | None, seed: int
) -> Dataset:
    columns, notes = frame.names, list(frame.notes)
    names, why = label_columns(columns, label, str(path))
    labels = [frame.column(name).without(NO_LABEL) for name in names]
    there = ~np.any([column.missing for column in labels], axis=0)
    if not there.any():
        raise DataError(f"{path}: found no label in column {', '.join(names)}")
    if not there.all():
        notes.append(f"rows without a label are left out: {(~there).sum():,}")
        frame, labels = frame[there], [replace(c, values=c.values[there]) for c in labels]
    found = [encode_column(c, task, frame.where, n) for n, c in zip(names, labels, strict=True)]
    y, classes = found[0] if len(found) == 1 else _several(found, names, str(path))
    train, test = split(len(frame), test_fraction, seed)
    X = frame.without(names)
    train, test = X.order(train), X.order(test)
    stem = path.name.split(".")[0] or path.stem
    return Dataset(
        stem,
        *(X[train], y[train], X[test], y[test]),
        classes=classes,
        features=X.names,
        scaling="standard",
        label=names,
        why=why,
        columns=columns,
        notes=tuple(notes),
    )


def _several(
    found: Sequence[tuple[Array, tuple[str, ...] | None]], names: Sequence[str], source: str
) -> tuple[Array, tuple[str, ...] | None]:
    """Join label columns: yes or no in each are several labels, numbers several targets."""
    if all(classes is None for _, classes in found):
        return np.column_stack([y for y, _ in found]), None
    if all(classes is not None and is_yes_or_no(classes) for _, classes in found):
        return np.column_stack([y for y, _ in found]), tuple(names)
    kinds = [
        f"{name} ({len(classes)} classes)" if classes else f"{name} (numbers)"
        for name, (_, classes) in zip(names, found, strict=True)
    ]
    raise DataError(
        f"{source}: found the label columns {', '.join(kinds)}; expected 0 and 1, or yes and no, "
        "in each of them, or numbers in each"
    )


def _with_split(
    content: Content, path: Path, test_fraction: float, task: str | None, seed: int
) -> Dataset:
    if content.y is None:
        raise DataError(f"{path}: found no array 'y' or 'y_train', expected labels to train on")
    n = len(content.X)
    if content.X_test is None or content.y_test is None:
        y, classes = encode_labels(content.y, task, content.where)
        train, test = split(n, test_fraction, seed)
        parts = content.X[train], y[train], content.X[test], y[test]
    else:
        # Encoded together, so that both parts have the same classes.
        both = np.concatenate([content.y, content.y_test])
        y, classes = encode_labels(both, task, content.where)
        parts = content.X, y[:n], content.X_test, y[n:]
    scaling = "auto" if content.X.dtype == np.uint8 else "standard"
    return Dataset(path.stem, *parts, classes, content.image_shape, content.features, scaling)


def load_evaluation(
    name: PathLike,
    *,
    classes: tuple[str, ...] | None,
    n_features: int,
    known: Known,
    label: Label = None,
    header: bool | None = None,
    as_text: bool = False,
    data_dir: PathLike | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Evaluation:
    """Load inputs, and targets if there are any, for a model that is already trained.

    For digits, MNIST, XOR, and .npz files that have a test part, this is the test part; for other
    files it is every row, in the order of the file.

    Parameters
    ----------
    name : str or path
        As for `load`.
    classes : tuple of str or None
        The model's class names: labels become their indices. None for regression.
    n_features : int
        The model's number of inputs.
    known : Known
        What the model knows of tables. Columns that it does not know are named in the notes.
    label : str, int or list of them, optional
        The label column of a table; by default that of the training, if the file has it.
    header : bool, optional
        As for `load`.
    as_text : bool
        Whether to keep all columns of a table as they are spelled.
    data_dir, test_fraction, seed
        As given to `load` for training, so that no training row is evaluated.

    Returns
    -------
    Evaluation
        With ``X``, ``y``, ``notes``, and ``frame``, which has all columns of a table.

    Raises
    ------
    DataError
        As `load`, and if columns are missing, or a label is not one of `classes`.
    DownloadError, InvalidValueError, MissingExtraError
        As `load`.

    Examples
    --------
    >>> known = xpmlp.data.Known(xpmlp.Table.of_numbers(["x1", "x2"]))
    >>> found = xpmlp.data.load_evaluation("xor", classes=("0", "1"), n_features=2, known=known)
    >>> found.X.shape, found.y.shape
    ((300, 2), (300,))
    """
    _check_label(label, name)
    if name in NAMES:
        data = load(name, data_dir=data_dir, test_fraction=test_fraction, seed=seed)
        names = np.array(data.classes)[data.y_test]
        labels = map_labels(names, classes, lambda index: f"{name}: test row {index}")
        found = Evaluation(data.X_test, labels)
    elif is_large(name):
        found = rows_to_evaluate(name, known, classes, label, n_features)
    elif not _is_npz(path := _existing_file(name)):
        return _rows(path, known, classes, label, header, as_text)
    else:
        content = read_npz(path)
        X, y, where = content.X, content.y, content.where
        if content.X_test is not None and content.where_test is not None:
            X, y, where = content.X_test, content.y_test, content.where_test
        found = Evaluation(X, map_labels(y, classes, where) if y is not None else None)
    if found.X.shape[1] != n_features:
        raise DataError(
            f"{name}: found {found.X.shape[1]} features, expected {n_features}, as the model has"
        )
    return found


def _rows(
    path: Path,
    known: Known,
    classes: tuple[str, ...] | None,
    label: Label,
    header: bool | None,
    as_text: bool,
) -> Evaluation:
    def spelled(names: Sequence[str]) -> set[str]:
        said = () if label is None else label_columns(names, label, str(path))[0]
        others = [name for name in names if name not in known.table.names]
        found = known.label if known.columns else others  # of the others one is the label
        return set(names) if as_text else {*known.table.texts, *found, *said}

    frame = read_table(path, header=header, text=spelled, known=known.table.names)
    columns, labels = known.columns, known.label
    if not columns:  # then the label is the column that is no input
        others = [name for name in frame.names if name not in known.table.names]
        labels = tuple(others) if frame.named and len(others) == 1 else ("label",)
        columns = (*known.table.names, *labels)
    frame = named_alike(frame, columns, labels, str(path))
    known.table.check(frame.names, str(path))
    if label is not None:
        labels, _ = label_columns(frame.names, label, str(path))
    notes = list(frame.notes)
    if extra := [name for name in frame.names if name not in (*columns, *labels)]:
        notes.append(f"columns that the model does not know are ignored: {short(', '.join(extra))}")
    y = None
    if labels and set(labels) <= set(frame.names):
        several = len(labels) > 1 and classes is not None
        found = [
            map_column(frame.column(name).without(NO_LABEL), classes, several, frame.where)
            for name in labels
        ]
        joined = found[0] if len(found) == 1 else np.column_stack(found)
        y = None if (joined != joined).all() or (joined == -1).all() else joined
    X = frame if known.columns else known.table.transform(frame)
    return Evaluation(X, y, tuple(notes), frame)


def _is_npz(path: Path) -> bool:
    return path.suffix.lower() == ".npz"


def _existing_file(name: PathLike) -> Path:
    """Return the path of a file of a known kind; errors suggest what was meant."""
    path = expanded(name, "data")
    known = (
        f"one of {', '.join(NAMES)}, or a file: .npz, {', '.join(SUFFIXES)} ({', '.join(PACKED)}), "
        f"{', '.join(LARGE)}"
    )
    with reading(path):  # a folder on the way may not be readable
        exists, is_folder = path.exists(), path.is_dir()
    if is_folder:
        raise DataError(
            f"{path}: found a folder, expected {known}, or a folder with a subfolder of pictures "
            "for each class; for a folder with MNIST, load 'mnist' and "
            "give the folder as --data-dir"
        )
    if not exists:
        looks_like_path = path.suffix or len(path.parts) > 1 or not isinstance(name, str)
        if looks_like_path:
            raise DataError(f"no such file: {path}; expected {known}")
        raise unknown_name("data set or file", os.fspath(name), NAMES)
    if not _is_npz(path) and kind_of(path) is None:
        raise DataError(f"{path}: found a file of unknown kind, expected {known}")
    return path
