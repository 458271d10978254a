"""A folder with a subfolder of pictures for each class."""

from pathlib import Path

import numpy as np
import photos
import pytest

import xpmlp
from xpmlp.data.picture_folder import FORM, is_labelled
from xpmlp.errors import DataError

pytest.importorskip("PIL.Image")
pytest.importorskip("scipy.ndimage")


def write(folder: Path, **classes: int) -> Path:
    rows = xpmlp.data.load("digits").X
    for name, count in classes.items():
        (folder / name.strip("_")).mkdir()
        for k in range(count):
            photos.save(photos.ink_of(rows[k]), folder / name.strip("_") / f"{k}.png")
    return folder


def test_the_names_of_the_folders_are_the_classes(tmp_path: Path) -> None:
    data = xpmlp.data.load(write(tmp_path, _10=1, _9=2, _2=3), test_fraction=0)
    assert data.classes == ("2", "9", "10")
    assert sorted(data.y) == [0, 0, 0, 1, 1, 2]
    assert (data.X.shape, data.X.dtype, data.image_shape) == ((6, 784), np.uint8, (28, 28))
    assert (data.name, data.scaling, data.image_form) == (tmp_path.name, "auto", FORM)


def test_a_row_has_the_label_of_its_picture(tmp_path: Path) -> None:
    data = xpmlp.data.load(write(tmp_path, cat=5, dog=5), test_fraction=0.4, seed=3)
    assert (len(data.X), len(data.X_test)) == (6, 4)
    assert np.bincount(np.concatenate([data.y, data.y_test])).tolist() == [5, 5]


def test_pictures_alone_have_no_labels(tmp_path: Path) -> None:
    write(tmp_path, cat=1)
    assert is_labelled(tmp_path)
    assert not is_labelled(tmp_path / "cat")
    assert not is_labelled(tmp_path / "cat" / "0.png")
    assert not is_labelled("digits")


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least two classes"):
        xpmlp.data.load(write(tmp_path, cat=3))


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, cat=2, dog=2)
    (tmp_path / "dog" / "1.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"1\.png: not a readable picture"):
        xpmlp.data.load(tmp_path)
