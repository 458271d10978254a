"""Data files made by an enemy, or by a program with a mistake: a DataError, soon and in bounds."""

import csv
import gc
import gzip
import io
import json
import os
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from test_hostile_models import NO_FILE

from xpmlp.data import load, read_idx
from xpmlp.data.layout import MAX_COLUMNS, MAX_ROW
from xpmlp.data.table import Table
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


# Tables

BASIC = "a,b,label\n1,2,x\n3,4.5,é\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1"])
def test_csv_in_an_encoding_that_is_read(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(BASIC.encode(encoding))
    assert load(tmp_path / "a.csv", test_fraction=0).classes == ("x", "é")


@pytest.mark.parametrize("encoding", ["utf-32", "cp037"])
def test_csv_in_another_encoding(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(BASIC.encode(encoding))
    refused(tmp_path / "a.csv", "found")


ROWS = b"a,b,label\n" + b"1,2,x\n3,4,y\n" * 20


def fitted(path: Path) -> Any:
    return Table().fit(load(path, test_fraction=0).X)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(range(256)) * 100, "found a NUL"),
        (b"\xef\xbb\xbf" * 2 + b"a\n1\n", "found one column"),
        (ROWS + b"1_000,2,x\n3,4,y\n", "line 42, column a: found '1_000', expected a number"),
        (ROWS + b"0x10,2,x\n3,4,y\n", "line 42, column a: found '0x10'"),
        (ROWS + b"1e400,2,x\n3,4,y\n", "line 42, column a: found '1e400'|found 'inf'"),
        (ROWS + b"Infinity,2,x\n3,4,y\n", "line 42, column a: found '(Infinity|inf)'"),
        (b"1" * 200_000 + b"\n2\n", "found one column"),
        (b'"' + b"a\n" * 10**5, "found"),
        (b'"a' * 10**5, "found"),
        (b"\x1a\n" * 10, "found one column"),
        (b",\n" * 10, "found no"),
        (b"\n" * 10**5, "found no rows"),
        (b"," * 10**5, "found 100,001 columns, expected at most 20,000"),
    ],
)
def test_csv_that_is_nonsense(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with bounded(memory=100e6):
        refused(tmp_path / "a.csv", message, fitted)


@pytest.mark.parametrize(
    "piece",
    ["1,", "1", '"', '"1\n",', ",", "a\r"],
    ids=["cells", "one", "quotes", "lines", "commas", "CR"],
)
@pytest.mark.sampled(4)
def test_csv_of_one_row_that_never_ends(piece: str, tmp_path: Path) -> None:
    """100 MB: what is kept of it is no more than the longest row."""
    before = csv.field_size_limit(2**30)  # as many programs do
    try:
        with open(tmp_path / "a.csv", "w", newline="") as file:
            file.writelines(piece * (10**6 // len(piece)) for _ in range(100))
        with bounded(memory=40 * MAX_ROW):
            refused(tmp_path / "a.csv", "found more than|found one column|found .* columns|found a")
    finally:
        csv.field_size_limit(before)


@pytest.mark.slow
def test_csv_of_many_columns_takes_a_time_that_grows_with_them(tmp_path: Path, draws: Any) -> None:
    n = draws(10_000, MAX_COLUMNS)
    rows = [",".join(f"c{i}" for i in range(n)), ",".join("1" * n), ",".join("2" * n)]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    with bounded(memory=48_000 * n):  # DuckDB takes 37 kB for a column, however few the rows
        data = load(tmp_path / "a.csv", test_fraction=0)
    assert data.X.shape == (2, n - 1)
    assert data.classes == ("1", "2")


@pytest.mark.slow
def test_one_long_label_costs_no_more_than_itself(tmp_path: Path, draws: Any) -> None:
    n = draws(50_000, 200_000)
    (tmp_path / "a.csv").write_text("1,a\n" * n + f"1,{'b' * 256}\n")
    with bounded(memory=256 * n):  # NumPy's fixed-width text takes 1,024 bytes for each row
        data = load(tmp_path / "a.csv", test_fraction=0)
    assert data.classes == ("a", "b" * 256)
    assert data.y.sum() == 1


@pytest.mark.parametrize("kind", ["csv.gz", "csv.zip", "jsonl.gz", "parquet.zip"])
def test_what_unpacks_to_gigabytes(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the 64 MB within, no more is written than the limit, which is lower here, and a block."""
    monkeypatch.setattr("xpmlp.data.packed.MAX_BYTES", 4 * 2**20)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path, block = tmp_path / f"a.{kind}", b"1,2,3,4\n" * 2**17
    if kind.endswith("gz"):
        with gzip.open(path, "wb") as packed:
            packed.writelines([block] * 64)
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a", block * 64)
    assert path.stat().st_size < 2**18
    with bounded(memory=20e6):
        refused(path, "unpacks to more than")
    gc.collect()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_zip_that_lies_about_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpmlp.data.packed.MAX_BYTES", 2**20)
    path = tmp_path / "a.csv.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", b"1,2\n" * 2**20)
    size, said = struct.pack("<L", 2**22), struct.pack("<L", 100)
    path.write_bytes(path.read_bytes().replace(size, said))
    refused(path, "unpack")


@pytest.mark.parametrize("name", ["../../evil.csv", "/etc/passwd", "a\x1b[31m.csv", "con:"])
def test_the_name_in_a_zip_is_not_used(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr(name, BASIC)
    assert load(tmp_path / "a.csv.zip", test_fraction=0).classes == ("x", "é")
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv.zip"]


def test_a_zip_with_a_password(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", BASIC)
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    refused(path, "cannot be unpacked: .*encrypted")


FORBIDDEN = (
    "FROM read_csv('/etc/passwd', header=false)",
    "FROM read_text('/etc/hostname')",
    "FROM read_csv('OTHER')",
    "FROM read_parquet('OTHER')",
    "FROM glob('/etc/*')",
    "FROM read_csv('http://127.0.0.1:9/a.csv')",
    "FROM read_csv('s3://bucket/a.csv')",
    "ATTACH 'OTHER.db'",
    "COPY (SELECT 1) TO 'OTHER.csv'",
    "EXPORT DATABASE 'OTHER'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD 'OTHER'",
    "SET enable_external_access=true",
    "SET allowed_paths=['/etc/passwd']",
    "SET autoload_known_extensions=true",
    "SET lock_configuration=false",
    "RESET enable_external_access",
)


@pytest.mark.parametrize("big", [False, True])
def test_the_database_opens_that_file_and_nothing_else(
    big: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a file could have it run: the connection that has read it, is asked."""
    connections = []
    connect = duckdb.connect

    def noted(*args: Any, **options: Any) -> Any:
        connections.append(connect(*args, **options))
        return connections[-1]

    monkeypatch.setattr(duckdb, "connect", noted)
    monkeypatch.setattr("xpmlp.data.tables.BIG", 0 if big else 2**30)
    (tmp_path / "a.csv").write_text(BASIC)
    (tmp_path / "other.csv").write_text(BASIC)
    data = load(tmp_path / "a.csv", test_fraction=0)
    assert len(connections) == 1
    before = sorted(p.name for p in tmp_path.iterdir())
    for query in FORBIDDEN:
        with pytest.raises(duckdb.Error):
            connections[0].execute(query.replace("OTHER", str(tmp_path / "other.csv")))
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert len(data.X) == 2


@pytest.mark.parametrize(
    "cell",
    [
        "'); DROP TABLE rows; --",
        "read_csv('/etc/passwd')",
        '"; SELECT 1; "',
        "${HOME}",
        "=cmd|calc",
        "__import__('os').abort()",
        "%s%n{0}",
        "\\x00",
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_names_and_cells_are_never_run(cell: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"it's a {kind};.{kind}"
    rows = [{cell: cell if k % 2 else "b", 'a"b': k % 7, "label": "xy"[k % 2]} for k in range(20)]
    if kind == "csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), quoting=csv.QUOTE_NONNUMERIC)
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = load(path, test_fraction=0)
    assert data.X.names == (cell, 'a"b')
    assert set(data.X.column(cell).levels or ()) == {cell, "b"}


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
