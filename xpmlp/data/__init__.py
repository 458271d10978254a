"""Data sets for training and evaluation: built-in ones, MNIST, and .npz and .csv files.

>>> from xpmlp.data import load
>>> load("xor").X.shape
(300, 2)
"""

import os
from functools import partial
from pathlib import Path

import numpy as np

from xpmlp.data.columns import Choose, evaluation_columns, training_columns
from xpmlp.data.csv_file import read_csv
from xpmlp.data.dataset import Array, Dataset, PathLike, Table, reading, split
from xpmlp.data.idx import read_idx
from xpmlp.data.labels import encode_labels, map_labels
from xpmlp.data.mnist import load_mnist
from xpmlp.data.npz import read_npz
from xpmlp.data.toy import load_digits, make_xor
from xpmlp.errors import DataError, InvalidValueError, unknown_name
from xpmlp.storage.paths import expanded

__all__ = [
    "NAMES",
    "Dataset",
    "load",
    "load_digits",
    "load_evaluation",
    "load_mnist",
    "make_xor",
    "read_idx",
]

NAMES = ("digits", "mnist", "xor")
"""The data sets that `load` knows by name."""

_CSV_SUFFIXES = (".csv", ".tsv", ".txt", ".data")


def load(
    name: PathLike,
    *,
    data_dir: PathLike | None = None,
    label: str | int | None = None,
    test_fraction: float = 0.2,
    task: str | None = None,
    seed: int = 0,
) -> Dataset:
    """Load a data set for training.

    Parameters
    ----------
    name : str or path
        ``"digits"``, ``"mnist"``, ``"xor"``, or a file: .npz, or text with separated values
        (.csv, .tsv, .txt, .data). A file named like a data set needs a path: ``"./digits"``.
    data_dir : str or path, optional
        Folder with the MNIST files, see `load_mnist`. Only for MNIST.
    label : str or int, optional
        The label column of a text file by name or number, counted from 0 or, with -1, from the
        end. By default a column named label, target, class or y (in this order, in any case),
        else the last. Only for text files.
    test_fraction : float
        Share of the rows that become the test part, at least 0 (none) and below 1. Not used for
        MNIST, XOR and .npz files that have a test part.
    task : {None, "classification", "regression"}
        What the labels of a file are. None infers it: text, booleans, and integers with at most
        ``max(20, sqrt(n))`` distinct values are classes.
    seed : int
        Seed of the split, and of the points of XOR.

    Returns
    -------
    Dataset
        Training and test part. Class names are sorted, by value if they are numbers.

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
    """
    _check_label(label, name)
    if name == "digits":
        return load_digits(test_fraction=test_fraction, seed=seed)
    if name == "mnist":
        return load_mnist(data_dir)
    if name == "xor":
        return make_xor(seed=seed)
    path = _existing_file(name)
    table = _read_table(path, partial(training_columns, label=label, source=str(path)))
    return _with_split(table, path, test_fraction, task, seed)


def _check_label(label: str | int | None, name: PathLike) -> None:
    if label is not None and (name in NAMES or _is_npz(Path(name))):
        raise InvalidValueError(
            f"label: found {label!r} for {name}; only text files have a label column, leave it out"
        )


def _with_split(
    table: Table, path: Path, test_fraction: float, task: str | None, seed: int
) -> Dataset:
    if table.y is None:
        raise DataError(f"{path}: found no array 'y' or 'y_train', expected labels to train on")
    n = len(table.X)
    if table.X_test is None or table.y_test is None:
        y, classes = encode_labels(table.y, task, table.where)
        train, test = split(n, test_fraction, seed)
        parts = table.X[train], y[train], table.X[test], y[test]
    else:
        # Encoded together, so that both parts have the same classes.
        y, classes = encode_labels(np.concatenate([table.y, table.y_test]), task, table.where)
        parts = table.X, y[:n], table.X_test, y[n:]
    scaling = "auto" if table.X.dtype == np.uint8 else "standard"
    return Dataset(path.stem, *parts, classes, table.image_shape, table.features, scaling)


def load_evaluation(
    name: PathLike,
    *,
    classes: tuple[str, ...] | None,
    features: tuple[str, ...] | None = None,
    n_features: int | None = None,
    label: str | int | None = None,
    data_dir: PathLike | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> tuple[Array, Array | None]:
    """Load inputs, and targets if there are any, for a model that is already trained.

    For digits, MNIST, XOR, and .npz files that have a test part, this is the test part; for other
    files it is every row, in the order of the file.

    Parameters
    ----------
    name : str or path
        As for `load`.
    classes : tuple of str or None
        The model's class names: labels become their indices. None for regression.
    features : tuple of str, optional
        The model's feature names, found in a text file's header in any order. Without a header
        the columns keep their order.
    n_features : int, optional
        The model's number of features, if `features` is not known.
    label : str or int, optional
        The label column of a text file. By default the only column that is not a feature, else as
        for `load`. A file with the features only has no labels.
    data_dir, test_fraction, seed
        As given to `load` for training, so that no training row is evaluated.

    Returns
    -------
    X : ndarray of shape (n, features)
        Inputs, as in `Dataset`.
    y : ndarray or None
        Class indices (int64) or real targets (float64); None if the file has no labels.

    Raises
    ------
    DataError
        As `load`, and if the number or names of the features differ from the model's, or a label
        is not one of `classes`.
    DownloadError, InvalidValueError, MissingExtraError
        As `load`.
    """
    if features is not None:
        n_features = len(features)
    y: Array | None
    _check_label(label, name)
    if name in NAMES:
        data = load(name, data_dir=data_dir, test_fraction=test_fraction, seed=seed)
        names = np.array(data.classes)[data.y_test]
        X = data.X_test
        y = map_labels(names, classes, lambda index: f"{name}: test row {index}")
    else:
        path = _existing_file(name)
        choose = partial(evaluation_columns, features=features, n_features=n_features)
        table = _read_table(path, partial(choose, label=label, source=str(path)))
        X, y, where = table.X, table.y, table.where
        if table.X_test is not None and table.where_test is not None:
            X, y, where = table.X_test, table.y_test, table.where_test
        y = map_labels(y, classes, where) if y is not None else None
    if n_features is not None and X.shape[1] != n_features:
        raise DataError(
            f"{name}: found {X.shape[1]} features, expected {n_features}, as the model has"
        )
    return X, y


def _read_table(path: Path, choose: Choose) -> Table:
    return read_npz(path) if _is_npz(path) else read_csv(path, choose)


def _is_npz(path: Path) -> bool:
    return path.suffix.lower() == ".npz"


def _existing_file(name: PathLike) -> Path:
    """Return the path of a file of a known kind; errors suggest what was meant."""
    path = expanded(name, "data")
    known = f"one of {', '.join(NAMES)}, or a file: {', '.join(('.npz', *_CSV_SUFFIXES))}"
    with reading(path):  # a folder on the way may not be readable
        exists, is_folder = path.exists(), path.is_dir()
    if is_folder:
        raise DataError(
            f"{path}: found a folder, expected {known}; for a folder with MNIST, load 'mnist' and "
            "give the folder as --data-dir"
        )
    if not exists:
        looks_like_path = path.suffix or len(path.parts) > 1 or not isinstance(name, str)
        if looks_like_path:
            raise DataError(f"no such file: {path}; expected {known}")
        raise unknown_name("data set or file", os.fspath(name), NAMES)
    if path.suffix.lower() not in (".npz", *_CSV_SUFFIXES):
        raise DataError(f"{path}: found a file of unknown kind, expected {known}")
    return path
