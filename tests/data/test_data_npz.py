"""The .npz files of NumPy: both styles of names, and files that lie or attack."""

import io
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest

from xpmlp.data import Known, load, load_evaluation
from xpmlp.data.table import Table
from xpmlp.errors import DataError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4)).astype(np.float32)
Y = RNG.integers(0, 3, 30)


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return tmp_path / "data.npz"

    return write


def npy_bytes(values):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(values), allow_pickle=True)
    return file.getvalue()


def write_members(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def test_without_a_test_part_it_is_split(npz):
    data = load(npz(X=X, y=Y))
    assert (data.name, data.scaling, data.classes) == ("data", "standard", ("0", "1", "2"))
    assert data.X.shape == (24, 4)
    assert data.X_test.shape == (6, 4)
    assert data.X.dtype == np.float32
    assert data.y.dtype == np.int64
    rows = {tuple(row): label for row, label in zip(X, Y, strict=True)}
    for part, labels in ((data.X, data.y), (data.X_test, data.y_test)):
        assert [rows[tuple(row)] for row in part] == labels.tolist()


def test_keras_names_and_images(npz):
    images = RNG.integers(0, 256, (10, 5, 6)).astype(np.uint8)
    path = npz(x_train=images[:7], y_train=Y[:7], x_test=images[7:], y_test=Y[7:10])
    data = load(path)
    assert (data.image_shape, data.scaling) == ((5, 6), "auto")
    np.testing.assert_array_equal(data.X, images[:7].reshape(7, 30), strict=True)
    np.testing.assert_array_equal(data.X_test, images[7:].reshape(3, 30), strict=True)


def test_layout_and_byte_order_do_not_matter(npz):
    data = load(npz(X=np.asfortranarray(X.astype(">f8")), y=Y.astype(">i4")), test_fraction=0)
    assert data.X.dtype.isnative
    assert sorted(map(tuple, data.X)) == sorted(map(tuple, X.astype(float)))


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (np.arange(30) % 3 + 5, ("5", "6", "7")),
        (np.arange(30) % 11, tuple(str(c) for c in range(11))),  # by value, not "0", "1", "10"
        (np.arange(30) % 2 == 0, ("False", "True")),
        (np.array(["b", "a", "c"] * 10), ("a", "b", "c")),
        (np.array([b"no", b"yes"] * 15), ("no", "yes")),
        ((np.arange(30) % 3)[:, None].astype(float), ("0", "1", "2")),
    ],
)
def test_classes(npz, y, classes):
    data = load(npz(X=X, y=y), test_fraction=0)
    assert data.classes == classes
    order = [next(i for i, row in enumerate(X) if (row == found).all()) for found in data.X]
    names = [str(v.decode() if isinstance(v, bytes) else v) for v in y.ravel()[order]]
    assert [classes[c] for c in data.y] == [name.removesuffix(".0") for name in names]


@pytest.mark.parametrize("shape", [(30,), (30, 2)])
def test_real_targets(npz, shape):
    y = RNG.normal(size=shape).astype(np.float32)
    data = load(npz(X=X, y=y), test_fraction=0)
    assert data.classes is None
    assert data.y.dtype == np.float64
    assert data.y.shape == shape
    assert sorted(data.y.ravel()) == sorted(y.ravel().astype(float))


def evaluation(path, classes, width):
    known = Known(Table.of_numbers([f"column {k + 1}" for k in range(width)]))
    found = load_evaluation(path, classes=classes, n_features=width, known=known)
    return found.X, found.y


def test_evaluation(npz):
    path = npz(X=X, y=Y.astype(float))
    found, y = evaluation(path, ("2", "1", "0"), 4)
    np.testing.assert_array_equal(found, X)
    np.testing.assert_array_equal(y, 2 - Y)
    path = npz(X=X, y=Y, X_test=X[:5], y_test=Y[:5])
    assert evaluation(path, ("0", "1", "2"), 4)[0].shape == (5, 4)
    assert evaluation(npz(X=X), None, 4)[1] is None
    with pytest.raises(DataError, match="found 4 features, expected 5"):
        evaluation(path, ("0", "1", "2"), 5)
    with pytest.raises(DataError, match=r"array 'y', index \d+: found the label '2', .* 0, 1$"):
        evaluation(npz(X=X, y=Y), ("0", "1"), 4)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": X}, "found no array 'X'"),
        ({"X": X}, "found no array 'y'"),
        ({"X": X, "y": Y, "X_test": X}, "expected both or neither"),
        ({"X": X, "y": Y[:29]}, r"array 'y': found shape \(29,\), expected \(30,\)"),
        ({"X": X[:, 0], "y": Y}, r"array 'X': found shape \(30,\)"),
        ({"X": X[:0], "y": Y[:0]}, "at least one value"),
        ({"X": X[0, 0], "y": Y}, "at least one value"),
        ({"X": X.astype(complex), "y": Y}, "found dtype complex128"),
        ({"X": X.astype(str), "y": Y}, "expected integers or floats"),
        ({"X": X, "y": Y.astype("M8[s]")}, "expected numbers, booleans or text"),
        ({"X": X, "y": np.array([b"\xff", b"a"] * 15)}, "not Unicode"),
        ({"X": X, "y": np.array([0x110000, 97] * 15, np.uint32).view("U1")}, "not Unicode"),
        ({"X": X, "y": np.array([0xD800, 97] * 15, np.uint32).view("U1")}, "not Unicode"),
        ({"X": X, "y": np.zeros(30, np.int64)}, "every label is '0'"),
        ({"X": X, "y": Y, "X_test": X[:, :3], "y_test": Y}, "rows like those of 'X'"),
        ({"X": X, "y": Y, "X_test": X.astype(float), "y_test": Y}, "found float64"),
        ({"X": X, "y": Y, "X_test": X, "y_test": X[:, :2]}, "rows like those of 'y'"),
    ],
)
def test_arrays_that_do_not_fit(npz, arrays, message):
    path = npz(**arrays)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("task", [None, "classification"])
def test_one_hot_rows_are_classes(npz, task):
    path = npz(X=X, y=np.eye(3)[Y])
    data, same = load(path, task=task), load(npz(X=X, y=Y))
    assert (data.classes, data.targets, data.y.dtype) == (("0", "1", "2"), None, np.int64)
    np.testing.assert_array_equal(data.y, same.y)
    np.testing.assert_array_equal(evaluation(path, ("0", "1", "2"), 4)[1], Y)
    assert load(path, task="regression").classes is None


@pytest.mark.parametrize("dtype", [bool, int, float])
def test_rows_of_0_and_1_are_several_labels(npz, dtype):
    y = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0]] * 10)
    path = npz(X=X, y=y.astype(dtype))
    data = load(path, test_fraction=0)
    assert (data.classes, data.targets, data.outputs) == (("0", "1", "2"), "multilabel", 3)
    assert sorted(data.y.tolist()) == sorted(y.tolist())
    np.testing.assert_array_equal(evaluation(path, ("0", "1", "2"), 4)[1], y)


def test_columns_that_are_neither(npz):
    path = npz(X=X, y=np.stack([Y, Y], 1) + 5)
    with pytest.raises(DataError, match=r"found 2 label columns, expected one .*one-hot"):
        load(path, task="classification")
    with pytest.raises(DataError, match="found 2 label columns, expected one"):
        evaluation(path, ("0", "1", "2"), 4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity(npz, value):
    bad = X.copy()
    bad[7, 2] = value
    with pytest.raises(DataError, match=r"array 'X', index 7, column 3: found -?(nan|inf)"):
        load(npz(X=bad, y=Y))
    y = Y.astype(float)
    y[4] = value
    with pytest.raises(DataError, match="array 'y', index 4: found"):
        load(npz(X=X, y=y))


class Sentinel:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("key", ["X", "y"])
def test_a_pickle_does_not_run(tmp_path, npz, key):
    sentinel = tmp_path / "ran"
    attack = np.array([Sentinel(sentinel)] * 30, dtype=object)
    path = npz(**{"X": X, "y": Y, key: attack})
    with pytest.raises(DataError, match=f"array '{key}'.*would have to be unpickled"):
        load(path)
    write_members(path, X=npy_bytes(X), y=pickle.dumps(Sentinel(sentinel)))
    with pytest.raises(DataError, match=r"not a valid \.npz file"):
        load(path)
    assert not sentinel.exists()


def test_a_lying_shape_and_a_bomb_cost_no_memory(tmp_path):
    bomb = npy_bytes(np.zeros(2**26, np.uint8))
    for old, new in ((b"(67108864,)", b"(4, 999999)"), (b"(67108864,)", b"(-1, -10  )")):
        path = write_members(tmp_path / "bomb.npz", X=bomb.replace(old, new))
        tracemalloc.start()
        with pytest.raises(DataError, match=r"array 'X': found 67108864 bytes, expected -?\d+"):
            load(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4e6


def test_the_total_size_is_limited(npz, monkeypatch):
    monkeypatch.setattr("xpmlp.data.npz.MAX_NPZ_BYTES", 500)
    with pytest.raises(DataError, match="expected at most 500"):
        load(npz(X=X, y=Y))


def test_other_zip_contents(tmp_path):
    path = write_members(tmp_path / "a.npz", X=npy_bytes(X).replace(b"\x01\x00", b"\x02\x00", 1))
    with pytest.raises(DataError, match=r"found .npy version \(2, 0\)"):
        load(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("X.npy", npy_bytes(X))
    with pytest.raises(DataError, match="compression method 14"):
        load(path)
    for content in (b"", b"PK", b"not a zip at all" * 100, npy_bytes(X)):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"not a valid \.npz file"):
            load(path)
