"""IDX files written with struct, read back, and refused when anything is wrong."""

import gzip
import os
import struct
import tracemalloc

import numpy as np
import pytest

from xpmlp.data import read_idx
from xpmlp.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(values):
    code = CODES[values.dtype.str[1:]]
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, code, values.ndim, *values.shape)
    return header + values.astype(values.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 4, 5)).astype(np.uint8)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_reads_every_type(tmp_path, code, pack):
    values = np.arange(-12, 12).reshape(2, 3, 4).astype(code)
    path = tmp_path / "values"
    path.write_bytes(pack(idx_bytes(values)))
    read = read_idx(path)
    np.testing.assert_array_equal(read, values, strict=True)
    assert read.dtype.isnative


def test_gzip_is_told_by_content_not_name(tmp_path, images):
    (tmp_path / "a.gz").write_bytes(idx_bytes(images))
    (tmp_path / "b").write_bytes(gzip.compress(idx_bytes(images)))
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz"), images)
    np.testing.assert_array_equal(read_idx(str(tmp_path / "b")), images)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_every_truncation_is_refused(tmp_path, images, pack):
    whole = pack(idx_bytes(images))
    path = tmp_path / "cut"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="cut"):  # the name of the file, at least
            read_idx(path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("tail", [b"x", b"\1" * 1000])
def test_trailing_bytes_are_refused(tmp_path, images, pack, tail):
    path = tmp_path / "long"
    path.write_bytes(pack(idx_bytes(images) + tail))
    with pytest.raises(DataError, match="found more bytes of values, expected 60"):
        read_idx(path)


def test_garbage_after_the_gzip_stream_is_refused(tmp_path, images):
    path = tmp_path / "long.gz"
    path.write_bytes(gzip.compress(idx_bytes(images)) + b"garbage")
    with pytest.raises(DataError, match="broken gzip"):
        read_idx(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"<html>404", "begins with 3c 68 74 6d"),
        (b"\0\0\x0a\1\0\0\0\1x", "not an IDX file"),
        (b"\0\0\x08\0", "found 0 dimensions, expected 1 to 8"),
        (b"\0\0\x08\xff" + b"\0" * 2000, "found 255 dimensions"),
        (b"\0\0\x08\2\0\0\0\1", "ends within its header of 12 bytes"),
        (b"\0\0\x08\2\0\0\0\0\0\0\0\5", "empty shape"),
        (b"\0\0\x08\3" + b"\xff" * 12, "expected at most 4294967296"),
    ],
)
def test_bad_headers(tmp_path, content, message):
    path = tmp_path / "bad"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(path)


def peak_of_refusal(path):
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            read_idx(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_lying_header_costs_no_memory(tmp_path):
    path = tmp_path / "liar"
    path.write_bytes(b"\0\0\x08\1" + struct.pack(">I", 2**32 - 1) + b"few")
    assert peak_of_refusal(path) < 4e6
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert peak_of_refusal(path) < 4e6


def test_a_gzip_bomb_costs_no_memory(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(10, np.uint8)) + bytes(2**26)))
    assert peak_of_refusal(path) < 4e6


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.idx: cannot be read: No such file") as caught:
        read_idx(tmp_path / "nothing.idx")
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    with pytest.raises(DataError, match="found a folder, expected a regular file"):
        read_idx(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_permission_denied(tmp_path):
    path = tmp_path / "closed"
    path.write_bytes(b"")
    path.chmod(0)
    with pytest.raises(DataError, match="Permission denied"):
        read_idx(path)
