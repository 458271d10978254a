"""Loading by name, the split, the built-in data sets, and labels of their evaluation."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xpmlp
from xpmlp.data import Known, load, load_digits, load_evaluation, make_xor
from xpmlp.data.dataset import split
from xpmlp.data.labels import class_name
from xpmlp.data.table import Table
from xpmlp.errors import DataError, InvalidValueError, MissingExtraError

datasets = pytest.importorskip("sklearn.datasets")


def test_digits_are_those_of_scikit_learn():
    pixels, labels = datasets.load_digits(return_X_y=True)
    data = load("digits")
    assert (data.X.shape, data.X_test.shape) == ((1438, 64), (359, 64))
    assert (data.X.dtype, data.y.dtype) == (np.uint8, np.int64)
    assert (data.image_shape, data.scaling) == ((8, 8), "auto")
    assert data.classes == tuple("0123456789")
    assert data.X.max() == 255
    back = np.rint(np.concatenate([data.X, data.X_test]) * (16 / 255))
    y = np.concatenate([data.y, data.y_test])
    expected = sorted((*row, label) for row, label in zip(pixels, labels, strict=True))
    assert sorted((*row, label) for row, label in zip(back, y, strict=True)) == expected


def test_xor():
    data = load("xor", seed=3)
    assert data.X.shape == data.X_test.shape == (300, 2)
    assert (data.X.dtype, data.classes, data.features) == (np.float64, ("0", "1"), ("x1", "x2"))
    for X, y in ((data.X, data.y), (data.X_test, data.y_test)):
        np.testing.assert_array_equal(y, (X.prod(axis=1) < 0).astype(np.int64), strict=True)
    assert not np.isin(data.X, data.X_test).any()


@pytest.mark.parametrize("name", ["digits", "xor"])
def test_the_seed_decides(name):
    np.testing.assert_array_equal(load(name).X, load(name, seed=0).X)
    assert (load(name).X != load(name, seed=1).X).any()


@given(n=st.integers(1, 300), fraction=st.floats(0, 0.999), seed=st.integers(0, 2**64))
def test_split_is_a_partition(n, fraction, seed):
    train, test = split(n, fraction, seed)
    assert sorted([*train, *test]) == list(range(n))
    assert abs(len(test) - n * fraction) <= 1
    assert len(train) > 0
    assert (len(test) > 0) == (fraction > 0 and n > 1)


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan"), "a", None])
def test_split_refuses_fractions(fraction):
    with pytest.raises(InvalidValueError, match="test_fraction"):
        load("digits", test_fraction=fraction)


def test_split_refuses_a_negative_seed():
    with pytest.raises(InvalidValueError, match="seed: found -1"):
        load("xor", seed=-1)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (1.0, "1"),
        (np.float32(-2), "-2"),
        (0.5, "0.5"),
        (np.uint64(2**64 - 1), str(2**64 - 1)),
        (np.True_, "True"),
        ("1.0", "1.0"),
        (1e300, "1e+300"),
    ],
)
def test_class_name(value, name):
    assert class_name(value) == name


def test_unknown_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidValueError, match=r"'mnits'\. Did you mean 'mnist'"):
        load("mnits")
    for name in ("iris.csv", "folder/iris", Path("digits")):
        with pytest.raises(
            DataError, match=r"no such file: .*; expected one of digits, mnist, xor"
        ):
            load(name)
    with pytest.raises(DataError, match=r"found a folder, .*--data-dir"):
        load(str(tmp_path))
    for name in ("model.bin", "data.xls", "data.csv.xz", "digits"):
        Path(name).write_bytes(b"1,2\n3,4\n")
        with pytest.raises(DataError, match=r"unknown kind, .* \.npz, \.csv, \.tsv"):
            load(f"./{name}")


def evaluation(name, classes, width, **options):
    known = Known(Table.of_numbers([f"column {k + 1}" for k in range(width)]))
    return load_evaluation(name, classes=classes, n_features=width, known=known, **options)


def test_evaluation_of_a_built_in_set_is_its_test_part():
    data = load("digits", seed=5, test_fraction=0.3)
    found = evaluation("digits", data.classes, 64, seed=5, test_fraction=0.3)
    X, y = found.X, found.y
    np.testing.assert_array_equal(X, data.X_test)
    np.testing.assert_array_equal(y, data.y_test, strict=True)
    # a model whose classes stand in another order gets its own indices
    y = evaluation("digits", data.classes[::-1], 64, seed=5, test_fraction=0.3).y
    np.testing.assert_array_equal(y, 9 - data.y_test)
    y = evaluation("xor", None, 2).y
    np.testing.assert_array_equal(y, load("xor").y_test.astype(float), strict=True)


def test_a_label_column_where_there_are_no_columns(tmp_path):
    np.savez(tmp_path / "d.npz", X=np.eye(3), y=np.arange(3))
    for name in ("digits", "xor", "mnist", tmp_path / "d.npz"):
        with pytest.raises(InvalidValueError, match=r"label: found 'y' for .*only tables"):
            load(name, label="y")
        with pytest.raises(InvalidValueError, match=r"label: found 'y' for .*only tables"):
            evaluation(name, None, 3, label="y")


@pytest.mark.parametrize("n", [0, -1, 2.5, "3"])
def test_a_wrong_number_of_points(n):
    with pytest.raises(InvalidValueError, match="n: found"):
        make_xor(n=n)


def test_evaluation_of_the_wrong_set():
    with pytest.raises(DataError, match="digits: found 64 features, expected 784"):
        evaluation("digits", tuple("0123456789"), 784)
    with pytest.raises(DataError, match=r"digits: test row .* model's classes: 0, 1"):
        evaluation("digits", ("0", "1"), 64)


def test_without_scikit_learn_the_error_names_the_extra(monkeypatch):
    def refuse(name, *args, **kwargs):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name.split(".")[0])

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(MissingExtraError, match=r"sklearn.*xpmlp\[cli\]"):
        load_digits()


def test_importing_the_package_imports_neither_scikit_learn_nor_pooch():
    code = "import sys, xpmlp.data; sys.exit('sklearn' in sys.modules or 'pooch' in sys.modules)"
    root = Path(xpmlp.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
