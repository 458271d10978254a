"""Folders of pictures: a subfolder for each class, ``digits/7/photo.png``, as in torchvision."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.data.columns import refuse_label
from xpmlp.data.dataset import Array, Dataset, PathLike, Where, reading, split
from xpmlp.data.images import SUFFIXES, Picture, read_image
from xpmlp.data.labels import encode_labels
from xpmlp.errors import DataError, InvalidValueError
from xpmlp.storage.paths import expanded

FORM: dict[str, Any] = {"shape": [28, 28], "maximum": 255, "reach": 20 / 28}
"""The form to which pictures are brought for training: that of MNIST's, see `pixel_facts`."""


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures in a folder, by name, without hidden ones and without subfolders."""
    return [p for p in _entries(folder) if p.suffix.lower() in SUFFIXES and not p.is_dir()]


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, by name, without hidden ones."""
    return [p for p in _entries(folder) if p.is_dir()]


def _entries(folder: Path) -> list[Path]:
    with reading(folder):
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def is_labelled(name: PathLike) -> bool:
    """Whether it is a folder, and one of its subfolders has pictures."""
    path = expanded(name, "data")
    with reading(path):
        return path.is_dir() and any(map(pictures_in, subfolders(path)))


def load_pictures(
    name: PathLike, label: Any, task: str | None, test_fraction: float, seed: int
) -> Dataset:
    """Load a folder with a subfolder of pictures for each class; see `xpmlp.data.load`.

    Every picture is brought to the form of MNIST's images, as `read_image` does for a prediction.
    """
    if task == "regression":
        raise InvalidValueError(
            f"task: found 'regression' for the pictures in {name}; their folders are classes, "
            "leave it out"
        )
    path = expanded(name, "data")
    X, labels, where = read_labelled(path, partial(read_image, facts=FORM, dtype="uint8"), label)
    y, classes = encode_labels(labels, "classification", where)
    train, test = split(len(X), test_fraction, seed)
    height, width = FORM["shape"]
    parts = X[train], y[train], X[test], y[test]
    return Dataset(path.resolve().stem, *parts, classes, (height, width), image_form=FORM)


def read_labelled(
    folder: Path, read: Callable[[Path], Picture], label: Any = None
) -> tuple[Array, Array, Where]:
    """Read the pictures of every class.

    Parameters
    ----------
    folder : Path
    read : callable
        Reads one picture.
    label : str or int, optional
        A label column, which there is none.

    Returns
    -------
    X : ndarray of shape (n, pixels)
    labels : ndarray of str, shape (n,)
        The names of the subfolders.
    where : callable
        Names a row in messages: the path of its picture.

    Raises
    ------
    DataError
        If a subfolder has no pictures, or a picture cannot be read.
    InvalidValueError
        If `label` is given.
    """
    refuse_label(label, f"the pictures in {folder}")
    files: list[Path] = []
    for place in subfolders(folder):
        found = pictures_in(place)
        if not found:
            raise DataError(
                f"{place}: found no pictures, expected some ({', '.join(SUFFIXES)}), as each "
                "subfolder is a class; remove it, or give the folder whose subfolders are classes"
            )
        files += found
    rows = [read(file).row for file in files]
    labels = np.array([file.parent.name for file in files])
    return np.concatenate(rows), labels, lambda index: str(files[index])
