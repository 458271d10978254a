"""The shared cache: nothing wrong is ever in it, whatever the network, the disk or others do."""

import multiprocessing
import os

import numpy as np
import pytest

pytest.importorskip("pooch")
pytest.importorskip("fcntl", reason="crashes are injected on POSIX only")
from faults import ERRORS, INTERRUPT, each_failing, each_killed, ended, started
from small_mnist import NAMES, PACKED, PAYLOADS, check, content_of

from xpmlp.data import load_mnist, mnist
from xpmlp.errors import DataError, DownloadError

FIRST = PACKED[f"{NAMES[0]}.gz"]


@pytest.fixture
def at_hand(mirror, monkeypatch):
    """Downloads without a network, for those who try the disk hundreds of times."""
    monkeypatch.setattr(mnist, "_fetch", lambda url, name, timeout: bytearray(PAYLOADS[name]))


def places():
    return np.linspace(0, len(FIRST) - 1, 50).astype(int)


@pytest.mark.parametrize("kind", ["cut", "short"])
def test_downloads_that_are_cut(kind, tmp_path, mirror, tried):
    for place in places():
        with pytest.raises(DownloadError, match=NAMES[0]):
            load_mnist(mirrors=[mirror(f"{kind}{place}")], cache_dir=tmp_path)
        assert content_of(tmp_path) == {}
    how = {"cut": "a dropped connection", "short": "a wrong length"}[kind]
    tried(f"downloads cut at 50 places by {how}: 50 refused, nothing in the cache")


def test_downloads_with_an_altered_byte(tmp_path, mirror, tried):
    """Some bytes of a gzip header mean nothing; then the content is the genuine one."""
    refused = 0
    for place in places():
        cache = tmp_path / str(place)
        try:
            check(load_mnist(mirrors=[mirror(f"flip{place}")], cache_dir=cache))
        except DownloadError:
            refused += 1
        assert content_of(cache).items() <= PAYLOADS.items(), f"byte {place}"
    assert refused >= 40
    tried(f"downloads with a byte altered, at 50 places: {refused} refused, 0 wrong files")


@pytest.mark.parametrize("fault", [*ERRORS, INTERRUPT])
def test_a_call_that_fails_while_storing(fault, tmp_path, at_hand, tried, draws):
    warned, every = 0, draws(5, 1)

    def load():
        check(load_mnist(mirrors=["mirror/"], cache_dir=tmp_path))

    for n, error in each_failing(fault, tmp_path, load, every):
        assert (error is None) == (fault != INTERRUPT), f"call {n}: {error!r}"
        found = content_of(tmp_path)
        assert found.items() <= PAYLOADS.items()
        warned += len(found) < 4
        load()
        assert content_of(tmp_path) == PAYLOADS
        empty(tmp_path)
    assert n > 40
    assert warned >= 4 * 4 / every
    what = "interrupted" if fault == INTERRUPT else os.strerror(fault)
    tried(f"MNIST into the cache, {what} at {n // every} calls: 0 wrong files, the next try works")


def empty(folder):
    for path in (folder / "mnist").glob("*"):
        path.unlink()


def test_a_kill_while_storing(tmp_path, at_hand, tried, draws):
    every = draws(6, 1)

    def load():
        check(load_mnist(mirrors=["mirror/"], cache_dir=tmp_path))

    for n in each_killed(tmp_path, load, every):
        visible = {k: v for k, v in content_of(tmp_path).items() if not k.startswith(".")}
        assert visible.items() <= PAYLOADS.items(), f"call {n}"
        load()
        assert content_of(tmp_path) == PAYLOADS
        empty(tmp_path)
    assert n > 40
    tried(f"MNIST into the cache, killed at {n // every} calls: 0 wrong files, the next try works")


@pytest.mark.parametrize("fault", ERRORS)
def test_a_cached_file_that_cannot_be_read(fault, tmp_path, at_hand):
    load_mnist(mirrors=["mirror/"], cache_dir=tmp_path)

    def load():
        check(load_mnist(mirrors=["mirror/"], cache_dir=tmp_path))

    for n, error in each_failing(fault, tmp_path, load):
        assert error is None, f"call {n}: {error!r}"
        assert content_of(tmp_path) == PAYLOADS
    assert n >= 12


@pytest.mark.parametrize("fault", ERRORS)
def test_a_file_in_a_folder_that_cannot_be_read(fault, tmp_path, mirror):
    for name, payload in (PACKED | PAYLOADS).items():
        if name != f"{NAMES[0]}":
            (tmp_path / name).write_bytes(payload)
    refused = 0
    for _, error in each_failing(fault, tmp_path, lambda: check(load_mnist(tmp_path))):
        if error is not None:
            refused += 1
            assert isinstance(error, DataError)
            assert f"{tmp_path}/" in str(error)
            assert f"cannot be read: {os.strerror(fault)}; check the path" in str(error)
    assert refused >= 12


def load_repeatedly(address, folder, rounds, barrier):
    for number in range(rounds):
        barrier.wait(60)
        check(load_mnist(mirrors=[address], cache_dir=folder / str(number)))


def test_processes_share_a_cache(tmp_path, mirror, tried, draws):
    processes, rounds = draws(4, 8), draws(5, 20, 50)
    barrier = multiprocessing.get_context("fork").Barrier(processes)
    children = [
        started(lambda: load_repeatedly(mirror("good"), tmp_path, rounds, barrier))
        for _ in range(processes)
    ]
    assert [ended(child) for child in children] == [0] * processes
    for number in range(rounds):
        assert content_of(tmp_path / str(number)) == PAYLOADS
    tried(
        f"{processes} processes, {rounds} rounds on a cache that is empty: each got a valid data "
        "set, and no temporary is left"
    )
