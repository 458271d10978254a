"""Seeded random damage to every kind of file: a DataError or valid data, nothing else."""

import gzip
import struct

import numpy as np
import pytest

from xpmlp.data import load, read_idx
from xpmlp.errors import DataError

N = 1000


def damage(content, rng):
    """Flip, overwrite, delete, insert, cut or repeat something."""
    data = bytearray(content)
    at = int(rng.integers(len(data)))
    length = int(rng.integers(1, 9))
    noise = rng.bytes(length)
    match int(rng.integers(6)):
        case 0:
            data[at] ^= 1 << int(rng.integers(8))
        case 1:
            data[at : at + length] = noise
        case 2:
            del data[at : at + length]
        case 3:
            data[at:at] = noise
        case 4:
            del data[at:]
        case 5:
            data[at:at] = data[at : at + 50 * length]
    return bytes(data)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx(tmp_path, pack):
    rng = np.random.default_rng(1)
    whole = pack(struct.pack(">BBBB2I", 0, 0, 8, 2, 5, 4) + bytes(range(20)))
    path = tmp_path / "values"
    refused = accepted = 0
    for _ in range(N):
        path.write_bytes(damage(whole, rng))
        try:
            values = read_idx(path)
        except DataError as error:
            refused += str(path) in str(error) and len(str(error)) < 1000
        else:
            accepted += 1
            assert values.nbytes <= 100
    assert refused + accepted == N
    assert refused > N / 4


def check(data):
    assert data.X.ndim == 2
    assert np.isfinite(data.X).all()
    assert len(data.X) == len(data.y)
    assert data.X.shape[1] == data.X_test.shape[1]
    if data.classes is None:
        assert data.y.dtype == np.float64
        assert np.isfinite(data.y).all()
    else:
        assert data.y.dtype == np.int64
        assert 0 <= data.y.min() <= data.y.max() < len(data.classes)


def refusals(path, whole, seed):
    rng = np.random.default_rng(seed)
    refused = accepted = 0
    for _ in range(N):
        path.write_bytes(damage(whole, rng))
        try:
            check(load(path))
        except DataError as error:
            refused += str(path) in str(error) and len(str(error)) < 1000
        else:
            accepted += 1
    assert refused + accepted == N  # every refusal names the file, briefly
    return refused


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    rng = np.random.default_rng(2)
    path = tmp_path / "data.npz"
    y = np.array(["a", "b"] * 5)
    save(path, X=rng.normal(size=(10, 3)), y=y, X_test=rng.normal(size=(10, 3)), y_test=y)
    assert refusals(path, path.read_bytes(), seed=3) > N / 2


def test_csv(tmp_path):
    rng = np.random.default_rng(4)
    path = tmp_path / "data.csv"
    lines = [f"{a:.3f},{b:.3f},{'cat' if a > b else 'dog'}" for a, b in rng.normal(size=(10, 2))]
    whole = "\n".join(["first,second,label", *lines]).encode()
    assert refusals(path, whole, seed=5) > N / 4
