"""Files that ``open_rows`` reads: every format against the same arrays, and broken ones."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import xpmlp
from xpmlp.arrays import stored
from xpmlp.data import open_rows, sources
from xpmlp.errors import DataError, InvalidTypeError, InvalidValueError, MissingExtraError

N, COLUMNS, GROUP = 103, 5, 10
X = np.random.default_rng(1).standard_normal((N, COLUMNS)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64) + 3


@pytest.fixture(autouse=True)
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of ten rows in a .npy file, too."""
    monkeypatch.setattr(stored, "GROUP_BYTES", GROUP * X[0].nbytes)


def table(**more: Any) -> pa.Table:
    return pa.table({f"c{k}": X[:, k] for k in range(COLUMNS)} | {"label": Y} | more)


def write_npy(folder: Path) -> Path:
    np.save(folder / "a.npy", X)
    return folder / "a.npy"


def write_parquet(folder: Path) -> Path:
    pq.write_table(table(), folder / "a.parquet", row_group_size=GROUP)
    return folder / "a.parquet"


def write_folder(folder: Path) -> Path:
    made = folder / "parts"
    (made / "later").mkdir(parents=True)
    pq.write_table(table()[:47], made / "a.parquet", row_group_size=GROUP)
    pq.write_table(table()[47:], made / "later" / "b.parquet", row_group_size=GROUP)
    return made


def write_arrow(folder: Path, name: str = "a.arrow", codec: str | None = None) -> Path:
    make = pa.ipc.new_file if name == "a.arrow" else pa.ipc.new_stream
    options = pa.ipc.IpcWriteOptions(compression=codec)
    with make(folder / name, table().schema, options=options) as writer:
        writer.write_table(table(), max_chunksize=GROUP)
    return folder / name


def write_stream(folder: Path) -> Path:
    return write_arrow(folder, "a.arrows", "zstd")


def write_zarr(folder: Path) -> Path:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(folder / "a.zarr", mode="w")
    group.create_array("X", data=X, chunks=(5, 3))
    group.create_array("y", data=Y)
    return folder / "a.zarr"


WRITERS = {
    "npy": write_npy,
    "parquet": write_parquet,
    "folder": write_folder,
    "arrow": write_arrow,
    "stream": write_stream,
    "zarr": write_zarr,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_numbers_by_every_way_of_asking(kind: str, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path)
    named = kind not in ("npy", "zarr")
    data = open_rows(path, label="label" if named else None, buffer=20)
    assert data.X.groups.sum() == len(data.X) == N
    assert data.X.groups.max() == GROUP
    assert (data.X.shape, data.X.ndim, data.X.nbytes) == (X.shape, 2, X.nbytes)
    assert data.X.dtype == X.dtype
    np.testing.assert_array_equal(np.asarray(data.X), X, strict=True)
    rng = np.random.default_rng(0)
    for rows in (slice(3, 40, 2), slice(None), rng.integers(-N, N, 60), X[:, 1] > 0, [], 7):
        np.testing.assert_array_equal(data.X[rows], X[rows])
    np.testing.assert_array_equal(data.X[5:30, [3, 0]], X[5:30][:, [3, 0]])
    np.testing.assert_array_equal(data.X[5:30, ...], X[5:30])
    out = np.empty((3, COLUMNS), np.float32)
    assert data.X.take(np.array([8, 2, 8]), axis=0, out=out, mode="clip") is out
    np.testing.assert_array_equal(out, data.X.take([8, 2, 8]))
    some = data.X.rows(np.array([90, 3, 4, 17])).rows(np.array([3, 1, 0]))
    np.testing.assert_array_equal(some[:], X[[3, 4, 90]])
    assert some.groups[[0, 9]].tolist() == [2, 1] if kind != "folder" else some.groups.sum() == 3
    if kind == "npy":
        assert (data.y, data.classes, data.outputs) == (None, None, 0)
    else:
        np.testing.assert_array_equal(data.y, Y - 3)
        assert (data.classes, data.outputs) == (("3", "4"), 2)
    assert f"a StoredMatrix({path}"[2:] in repr(data)


@pytest.mark.parametrize("rows", [[N], [-N - 1], [0.5], [True, False]])
def test_rows_that_are_not_there(rows: Any, tmp_path: Path) -> None:
    with pytest.raises(IndexError, match="of 103"):
        open_rows(write_npy(tmp_path)).X[rows]


def test_groups_are_read_once_and_few_are_held(tmp_path: Path) -> None:
    matrix = open_rows(write_parquet(tmp_path), label="label", buffer=35).X
    read: list[int] = []
    original = matrix.source.read
    matrix.source.read = lambda group: read.append(group) or original(group)  # type: ignore
    for start in range(0, N, 3):
        matrix[start : start + 3]
        assert matrix._kept._held <= 35
    assert read == list(range(11))
    matrix[[5, 45, 5, 95]]
    assert read[11:] == [0, 4]  # 9 and 10 are held


def test_columns_labels_and_tasks(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    words = np.array(["no", "yes"])[Y - 3]
    real = X[:, 1].astype(np.float64)
    pq.write_table(table(word=words, real=real, bit=Y == 4), path, row_group_size=GROUP)
    data = open_rows(path, label="word", columns=["c3", 0])
    assert (data.features, data.label, data.classes) == (("c3", "c0"), ("word",), ("no", "yes"))
    np.testing.assert_array_equal(data.X[:], X[:, [3, 0]])
    np.testing.assert_array_equal(data.y, Y - 3)
    data = open_rows(path, label="real", columns=["c0"])
    np.testing.assert_array_equal(data.y, real)
    assert data.classes is None
    assert data.outputs == 1
    data = open_rows(path, label="label", columns=["c0", "bit"], task="regression")
    np.testing.assert_array_equal(data.y, Y)
    data = open_rows(path, label=["real", "c1"], columns=["c0"])
    np.testing.assert_array_equal(data.y, np.c_[real, X[:, 1]])
    with pytest.raises(DataError, match=r"column 'word' of object; expected numbers"):
        open_rows(path, label="label")
    with pytest.raises(DataError, match="found no label column 'lable'"):
        open_rows(path, label="lable")
    with pytest.raises(InvalidValueError, match=r"unknown column of .*'c9'"):
        open_rows(path, columns=["c9"])
    with pytest.raises(DataError, match="found no inputs, or a label among them"):
        open_rows(path, label="c0", columns=["c0"])
    with pytest.raises(InvalidValueError, match="buffer: found 0"):
        open_rows(path, buffer=0)


def test_labels_of_other_types(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    names = pa.array(np.array(["no", "yes"])[Y - 3]).dictionary_encode()
    day = pa.array(np.arange(N).astype("datetime64[D]")).cast(pa.timestamp("us", "UTC"))
    same, date = np.ones(N), np.arange(N).astype("datetime64[s]")
    columns = {"names": names, "bit": Y == 4, "day": day, "date": date, "same": same}
    pq.write_table(table(**columns, struct=[{"a": 1}] * N), path, row_group_size=GROUP)
    for label, classes in (("names", ("no", "yes")), ("bit", ("False", "True"))):
        data = open_rows(path, label=label, columns=["c0"])
        np.testing.assert_array_equal(data.y, Y - 3)
        assert data.classes == classes
    with pytest.raises(
        DataError, match=r"label 'date' of datetime64\[ms\]; expected numbers or text"
    ):
        open_rows(path, label="date", columns=["c0"])
    with pytest.raises(DataError, match="row 0: every label is '1'"):
        open_rows(path, label="same", columns=["c0"])
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read"):
        open_rows(path, label="struct", columns=["c0"])
    for column in ("day", "struct"):
        with pytest.raises(DataError, match=f"column '{column}' of object"):
            open_rows(path, columns=[column])
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("X", data=X)
    group.create_array("y", data=Y[1:])
    with pytest.raises(DataError, match="found 102 labels, expected one for each of 103 rows"):
        open_rows(tmp_path / "a.zarr")


def test_a_label_in_a_matrix_of_floats(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.c_[X, Y.astype(np.float32)])
    data = open_rows(tmp_path / "a.npy", label=-1)
    np.testing.assert_array_equal(data.X[:], X)
    np.testing.assert_array_equal(data.y, Y - 3)
    assert data.y is not None
    assert data.y.dtype == np.uint8


def test_pictures_are_flattened_and_bytes_stay_bytes(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (40, 4, 3)).astype(np.uint8)
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, pictures, (2, 0))
    matrix = open_rows(tmp_path / "a.npy").X
    np.testing.assert_array_equal(matrix[:], pictures.reshape(40, -1), strict=True)
    np.save(tmp_path / "big.npy", pictures.reshape(40, -1).astype(">f4"))
    assert open_rows(tmp_path / "big.npy").X[:].dtype == np.dtype("float32")


def test_a_memmap_is_read_like_a_file(tmp_path: Path) -> None:
    mapped = np.load(write_npy(tmp_path), mmap_mode="r")
    source = stored.Mapped(mapped, "X")
    assert source.groups.tolist() == [10] * 10 + [3]
    np.testing.assert_array_equal(source.read(2), X[20:30])
    assert not np.shares_memory(source.read(2), mapped)


def test_identity_follows_the_numbers_not_the_place(tmp_path: Path) -> None:
    path = write_parquet(tmp_path)
    first = open_rows(path, buffer=9).X
    (tmp_path / "copy.parquet").write_bytes(path.read_bytes())
    assert open_rows(tmp_path / "copy.parquet", buffer=9).X.identity() == first.identity()
    assert open_rows(path, buffer=8).X.identity() != first.identity()
    assert first.rows(np.arange(9)).identity() != first.identity()
    changed = X.copy()
    changed[50, 2] += 1
    np.save(tmp_path / "a.npy", X)
    np.save(tmp_path / "b.npy", changed)
    identities = {open_rows(tmp_path / name).X.identity() for name in ("a.npy", "b.npy")}
    assert len(identities) == 2
    zarr = pytest.importorskip("zarr")
    for name, values in (("a", X), ("b", np.r_[X[:-1], X[:1]])):
        zarr.create_array(tmp_path / f"{name}.zarr", data=values)
        identities.add(open_rows(tmp_path / f"{name}.zarr").X.identity())
    assert len(identities) == 4


# What is refused


@pytest.mark.parametrize("kind", ["npy", "parquet", "arrow", "stream", "zarr"])
def test_truncated_files(kind: str, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path)
    cut = path if kind != "zarr" else path / "X" / "zarr.json"
    whole = cut.read_bytes()
    for size in (0, 5, 40, len(whole) // 2, len(whole) - 20):
        cut.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"a\.(npy|parquet|arrows?|zarr)"):
            open_rows(path).X[:]


@pytest.mark.parametrize("kind", ["npy", "parquet", "folder", "arrow"])
def test_a_file_that_changes_while_it_is_read(kind: str, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path)
    matrix = open_rows(path, buffer=10, columns=[0]).X
    assert matrix[0] == X[0, 0]
    file = path / "a.parquet" if kind == "folder" else path
    os.utime(file, ns=(1, 1))
    with pytest.raises(DataError, match="written since it was opened"):
        matrix[30]
    file.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        matrix[30]


def test_a_npy_file_that_shrinks_within_a_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_npy(tmp_path)
    matrix = open_rows(path).X
    monkeypatch.setattr(sources.Numbers, "unchanged", lambda self: self.path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match="fewer rows than before"):
        matrix[:]


NPY: dict[str, tuple[Any, str]] = {
    "objects": (np.array([[None]]), "array of object"),
    "one dimension": (np.zeros(4), "expected numbers, shape"),
    "no rows": (np.zeros((0, 3)), "expected numbers, shape"),
    "fields": (np.zeros((2, 2), "f4,f4"), "expected numbers, shape"),
    "text": (np.zeros((2, 2), "U3"), "expected numbers of 8 bytes"),
    "by columns": (np.asfortranarray(np.zeros((4, 3))), "column by column"),
}


@pytest.mark.parametrize("case", NPY)
def test_npy_files_that_hold_something_else(case: str, tmp_path: Path) -> None:
    values, said = NPY[case]
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    with pytest.raises(DataError, match=said):
        open_rows(tmp_path / "a.npy")


def test_npy_files_that_lie(tmp_path: Path) -> None:
    path = write_npy(tmp_path)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(DataError, match="the file is altered"):
        open_rows(path)
    path.write_bytes(b"\x93NUMPY\x03\x00" + path.read_bytes()[8:])
    with pytest.raises(DataError, match=r"version \(3, 0\)"):
        open_rows(path)


def test_paths_that_are_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("1,2")
    for name, said in {
        "none.npy": "no such file",
        "a.txt": "unknown kind",
        "empty": r"no .parquet file in the folder",
    }.items():
        with pytest.raises(DataError, match=said):
            open_rows(tmp_path / name)


def test_cells_that_are_empty_or_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    column = [1.0] * 25 + [None] + [2.0] * (N - 26)
    pq.write_table(table(holes=column), path, row_group_size=GROUP)
    with pytest.raises(DataError, match="empty cell in row 25, column 'holes'"):
        open_rows(path).X[:]
    bad = X.copy()
    bad[61, 2] = np.inf
    np.save(tmp_path / "a.npy", bad)
    matrix = open_rows(tmp_path / "a.npy").X
    matrix[:61]
    with pytest.raises(InvalidValueError, match=r"found inf in row 61, column 2; .* of float32"):
        matrix[3:]
    np.save(tmp_path / "wide.npy", np.array([[1.0, 1e300]]))
    wide = open_rows(tmp_path / "wide.npy").X
    assert wide[0, 1] == 1e300
    with pytest.raises(InvalidValueError, match="range of float32"):
        wide.astype("float32")[0]


def test_folders_and_streams_that_do_not_fit(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    pq.write_table(pa.table({"other": [1.0]}), folder / "z.parquet")
    with pytest.raises(DataError, match=r"z.parquet: found other columns than in a.parquet"):
        open_rows(folder)
    with pa.ipc.new_stream(tmp_path / "none.arrows", table().schema):
        pass
    with pytest.raises(DataError, match="found no rows"):
        open_rows(tmp_path / "none.arrows")
    zarr = pytest.importorskip("zarr")
    zarr.open_group(tmp_path / "a.zarr", mode="w").create_array("z", data=X)
    with pytest.raises(DataError, match=r"group of \['z'\]; expected an array X"):
        open_rows(tmp_path / "a.zarr")
    zarr.create_array(tmp_path / "flat.zarr", data=X[0])
    with pytest.raises(DataError, match=r"array of shape \(5,\)"):
        open_rows(tmp_path / "flat.zarr")


@pytest.mark.parametrize(("kind", "package"), [("parquet", "pyarrow.parquet"), ("zarr", "zarr")])
def test_what_is_not_installed(
    kind: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = WRITERS[kind](tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'xpmlp\[large\]'"):
        open_rows(path)


def test_where_arrays_belong(tmp_path: Path) -> None:
    """A stored matrix is X, of the network's width; it has no rows that are numbers of nothing."""
    matrix = open_rows(write_npy(tmp_path)).X
    mlp = xpmlp.MLP([3, 2], backend="numpy")
    with pytest.raises(InvalidValueError, match="5 columns; expected 3"):
        mlp.fit(matrix, Y - 3)
    with pytest.raises((InvalidTypeError, InvalidValueError)):
        xpmlp.MLP([5, 2], backend="numpy").fit(matrix, (Y - 3)[:5])


def test_a_machine_without_memory_is_no_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(MemoryError), sources.blaming(tmp_path):
        raise MemoryError
    with pytest.raises(DataError, match="malloc of size"), sources.blaming(tmp_path):
        raise pa.ArrowMemoryError("malloc of size 2**60 failed")
