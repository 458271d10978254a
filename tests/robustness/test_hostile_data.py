"""Data files made by an enemy, or by a program with a mistake: a DataError, soon and in bounds."""

import csv
import gzip
import io
import os
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_hostile_models import NO_FILE

from xpmlp.data import load, load_evaluation, read_idx
from xpmlp.data.csv_file import MAX_ROW
from xpmlp.errors import DataError

SECONDS = 60.0  # what grows with the square of the size takes minutes below


@contextmanager
def bounded(memory: float) -> Iterator[None]:
    """Processor time, and what Python and NumPy allocate."""
    tracemalloc.start()
    start = time.process_time()
    try:
        yield
        assert time.process_time() - start < SECONDS
        assert tracemalloc.get_traced_memory()[1] < memory
    finally:
        tracemalloc.stop()


def refused(path: Path, message: str, read: Callable[[Path], Any] = load) -> None:
    with pytest.raises(DataError, match=message) as info:
        read(path)
    assert str(path) in str(info.value)
    assert len(str(info.value)) < 1000


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such things as files")
@pytest.mark.parametrize("name", NO_FILE)
@pytest.mark.parametrize(("file", "read"), [("a.csv", load), ("a.npz", load), ("a", read_idx)])
def test_what_is_no_file(
    name: str, file: str, read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    NO_FILE[name](tmp_path / file)
    refused(tmp_path / file, f"found {name}, expected", read)


# CSV

BASIC = "a,b,label\n1,2,x\n3,4.5,é\n"


@pytest.mark.parametrize(
    ("encoding", "byte"),
    [("utf-16", 0), ("utf-16-be", None), ("utf-32", 0), ("latin-1", 22), ("cp037", None)],
)
def test_csv_in_another_encoding(encoding: str, byte: int | None, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(BASIC.encode(encoding))
    refused(tmp_path / "a.csv", "NUL|UTF-8" if byte is None else f"byte {byte} is not UTF-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(range(256)) * 100, "UTF-8|NUL"),
        (b"\xef\xbb\xbf" * 2 + BASIC.encode(), "found no column"),
        (b"a,b,label\n1_000,2,x\n3,4,y\n", "row 2, column 1 .*found '1_000', expected a number"),
        (b"a,b,label\n0x10,2,x\n3,4,y\n", "row 2, column 1 .*found '0x10'"),
        (b"a,b,label\n1e400,2,x\n3,4,y\n", "row 2, column 1 .*expected a finite number"),
        (b"a,b,label\nInfinity,2,x\n3,4,y\n", "row 2, column 1 .*expected a finite number"),
        (b"1" * 200_000 + b"\n2\n", "row 1: field larger than field limit"),
        (b'"' + b"a\n" * 10**5, "row 1: field larger than field limit"),
        (b'"a' * 10**5, "row 1"),
        (b"\x1a\n" * 10, "found no column a, b"),
    ],
)
def test_csv_that_is_nonsense(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    refused(tmp_path / "a.csv", message, lambda path: evaluate(path))


def evaluate(path: Path) -> Any:
    return load_evaluation(path, classes=("x", "y"), features=("a", "b"))


def test_csv_numbers_of_other_scripts_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("١٢٣,\u00a01.5,x\n４,5,y\n", encoding="utf-8")
    X = load(tmp_path / "a.csv", test_fraction=0).X
    assert sorted(X.tolist()) == [[4, 5], [123, 1.5]]


def test_labels_with_an_underscore_are_names(tmp_path: Path) -> None:
    """Python would read 1_1 as 11, and make one class of two."""
    (tmp_path / "a.csv").write_text("x,label\n1,1_1\n2,11\n3,1_1\n")
    data = load(tmp_path / "a.csv", test_fraction=0, task="classification")
    assert data.classes == ("11", "1_1")
    np.savez(tmp_path / "a.npz", X=np.zeros((3, 1)), y=np.array(["1_1", "2_1", "1_1"]))
    assert load(tmp_path / "a.npz").classes == ("1_1", "2_1")


@pytest.mark.parametrize(
    "piece",
    ["1,", "1", '"', '"1\n",', ",", "a\r"],
    ids=["cells", "one", "quotes", "lines", "commas", "CR"],
)
@pytest.mark.sampled(4)
def test_csv_of_one_row_that_never_ends(
    piece: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 MB: what is kept of it is no more than the longest row."""
    before = csv.field_size_limit(2**30)  # as many programs do
    try:
        with open(tmp_path / "a.csv", "w", newline="") as file:
            file.writelines(piece * (10**6 // len(piece)) for _ in range(100))
        with bounded(memory=40 * MAX_ROW):
            refused(tmp_path / "a.csv", "found more than 4194304 characters|found one column")
    finally:
        csv.field_size_limit(before)


@pytest.mark.slow
def test_csv_of_many_columns_takes_a_time_that_grows_with_them(tmp_path: Path, draws: Any) -> None:
    n = draws(30_000, 100_000)
    names = [f"c{i}" for i in range(n)]
    rows = [",".join(names), ",".join("1" * n), ",".join("2" * n)]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    with bounded(memory=5000 * n):
        data = load(tmp_path / "a.csv", test_fraction=0)
        X, y = load_evaluation(tmp_path / "a.csv", classes=("1", "2"), features=data.features)
    assert X.shape == (2, n - 1)
    assert y is not None
    assert y.tolist() == [0, 1]


@pytest.mark.slow
def test_one_long_label_costs_no_more_than_itself(tmp_path: Path, draws: Any) -> None:
    n = draws(50_000, 200_000)
    (tmp_path / "a.csv").write_text("1,a\n" * n + f"1,{'b' * 256}\n")
    with bounded(memory=256 * n):  # NumPy's fixed-width text takes 1,024 bytes for each row
        data = load(tmp_path / "a.csv", test_fraction=0)
    assert data.classes == ("a", "b" * 256)
    assert data.y.sum() == 1


# npz


def npy(values: Any) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(values))
    return file.getvalue()


def npy_header(text: str, body: bytes = b"") -> bytes:
    padded = text.encode("latin-1")
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(padded)) + padded + body


def described(descr: Any, shape: Any) -> bytes:
    return npy_header(repr({"descr": descr, "fortran_order": False, "shape": shape}))


def pack(path: Path, **members: bytes) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path.read_bytes()


@pytest.mark.parametrize(
    "y",
    [
        described("|S0", (2, 10**12)),
        described("<U0", (2, 10**12)),
        described("|V0", (2, 10**12)),
        described("<U1", (10**30,)),
        described("<f8", (2**63, 2)),
        described("<f8", (-1, -2)),
        described("<f8", (2.0,)),
        described("<f8", (True, True)),
        described([("a", "<f8")], (2,)),
        described(("<f8", (10**9,)), ()),
        described("O", (2,)),
        npy_header("(" * 9000),
        npy_header("(" * 90 + ")" * 90),
        npy_header("-" * 9000 + "1"),
        npy_header("{'descr':" * 1000),
        npy_header("9" * 9000),
        npy_header("__import__('os').abort()"),
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), 'more': 1}"),
        b"\x93NUMPY\1\0\xff\xff",
        b"",
    ],
    ids=lambda y: y[10:60].decode("latin-1"),
)
def test_npz_header_that_lies(y: bytes, tmp_path: Path) -> None:
    pack(tmp_path / "a.npz", X=npy(np.zeros((2, 1))), y=y)
    with bounded(memory=20e6):
        refused(tmp_path / "a.npz", "array 'y'|not a valid .npz file")


def test_npz_with_a_very_long_label(tmp_path: Path) -> None:
    """Deflate makes a megabyte of a kilobyte."""
    pack(tmp_path / "a.npz", X=npy(np.zeros((2, 1))), y=npy(np.array(["a" * 2**22, "b"])))
    with bounded(memory=100 * 2**20):
        refused(tmp_path / "a.npz", "found a label of 4194304 characters, expected at most 256")


def listed(path: Path, count: int) -> None:
    """A zip file of nothing but a list of empty members."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, *[0] * 8, 7, *[0] * 6)
    members = b"".join(entry + b"%07d" % i for i in range(count))
    numbers = min(count, 65535), min(count, 65535), len(members)
    path.write_bytes(members + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *numbers, 0, 0))


def test_npz_of_a_million_members(tmp_path: Path) -> None:
    listed(tmp_path / "a.npz", 10)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert len(archive.namelist()) == 10  # so it would be read, were it not for their number
    refused(tmp_path / "a.npz", "found no array 'X'")
    listed(tmp_path / "a.npz", 10**6)
    with bounded(memory=20e6):
        refused(tmp_path / "a.npz", "found a list of members or a value larger than 1048576 bytes")


# IDX


IDX = struct.pack(">BBBBI", 0, 0, 8, 1, 3) + b"abc"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(gzip.compress(IDX)), "not an IDX file: it begins with 1f 8b"),
        pytest.param(
            gzip.compress(b"") * 10**5,
            "not an IDX file: it begins with nothing",
            marks=pytest.mark.slow,
        ),
        (b"\x1f\x8b\x08\x08" + bytes(6) + b"a" * 10**6, "broken gzip"),
        (gzip.compress(IDX) + gzip.compress(bytes(2**24)), "found more bytes"),
        (gzip.compress(IDX)[:-8] + bytes(8), "broken gzip"),
        (gzip.compress(IDX)[:-4] + b"\xff" * 4, "broken gzip"),
    ],
    ids=["twice", "many empty members", "a name without end", "a bomb behind", "CRC", "length"],
)
def test_gzip_that_is_hostile(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with bounded(memory=20e6):
        refused(tmp_path / "a", message, read_idx)


def test_gzip_in_several_members_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(IDX[:5]) + gzip.compress(IDX[5:]) + bytes(100))
    assert bytes(read_idx(tmp_path / "a")) == b"abc"
