"""MNIST from folders, cache and mirrors; the mirrors are servers on this machine."""

import gzip
import hashlib
import http.server
import multiprocessing
import os
import re
import struct
import threading
import time

import numpy as np
import pytest

from xpmlp.data import load, load_mnist, mnist
from xpmlp.errors import DataError, DownloadError

pytest.importorskip("pooch")

NAMES = tuple(mnist.FILES)
RNG = np.random.default_rng(0)
ARRAYS = {
    name: RNG.integers(0, 256 if "images" in name else 10, (n, 4, 3) if "images" in name else n)
    for name, n in zip(NAMES, (20, 20, 8, 8), strict=True)
}


def idx_bytes(values):
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return header + values.astype(np.uint8).tobytes()


PAYLOADS = {name: idx_bytes(values) for name, values in ARRAYS.items()}
SMALL = {name: (hashlib.sha256(p).hexdigest(), len(p)) for name, p in PAYLOADS.items()}
PACKED = {f"{name}.gz": gzip.compress(payload) for name, payload in PAYLOADS.items()}


class Handler(http.server.BaseHTTPRequestHandler):
    """Serve a small MNIST; the first part of the address says what goes wrong."""

    def do_GET(self):
        _, kind, name = self.path.split("/")
        self.server.seen.append(self.path)
        content = PACKED[name]
        if kind == "missing":
            self.send_error(404)
            return
        if kind == "raw":
            content = PAYLOADS[name.removesuffix(".gz")]
        elif kind == "html":
            content = b"<html>log in to the network</html>"
        elif kind == "altered":
            content = gzip.compress(PAYLOADS[name.removesuffix(".gz")][:-1] + b"\xff")
        elif kind == "endless":
            content = bytes(10**6)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if kind.startswith("cut"):
            content = content[: int(kind[3:])]
        elif kind == "slow":
            self.wfile.write(content[:10])
            self.server.stop.wait(20)
            return
        self.wfile.write(content)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # a client that hangs up is part of the tests


@pytest.fixture(scope="module")
def server():
    with Server(("127.0.0.1", 0), Handler) as server:
        server.seen, server.stop = [], threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.stop.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def mirror(server, monkeypatch):
    monkeypatch.setattr(mnist, "FILES", SMALL)
    monkeypatch.delenv(mnist.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server.seen.clear()
    return lambda kind: f"http://127.0.0.1:{server.server_port}/{kind}/"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "FILES", SMALL)
    monkeypatch.delenv(mnist.FOLDER_VARIABLE, raising=False)
    folder = tmp_path / "given"
    folder.mkdir()
    for name, content in PACKED.items():
        (folder / name).write_bytes(content)
    return folder


def check(data):
    assert (data.name, data.image_shape, data.scaling) == ("mnist", (4, 3), "auto")
    assert data.classes == tuple("0123456789")
    expected = [ARRAYS[name].reshape(len(ARRAYS[name]), -1).squeeze() for name in NAMES]
    for found, values in zip((data.X, data.y, data.X_test, data.y_test), expected, strict=True):
        np.testing.assert_array_equal(found, values)
    assert (data.X.dtype, data.y.dtype) == (np.uint8, np.int64)


def content_of(cache):
    return {path.name: path.read_bytes() for path in (cache / "mnist").iterdir()}


def test_genuine_files():
    if not os.environ.get(mnist.FOLDER_VARIABLE):
        pytest.skip(f"{mnist.FOLDER_VARIABLE} names no folder with the genuine MNIST files")
    data = load("mnist")
    assert data.X.shape == (60_000, 784)
    assert data.X_test.shape == (10_000, 784)
    # counts of the digits and the mean pixel as published for MNIST
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(data.y).tolist() == counts
    assert np.bincount(data.y_test).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
    assert data.X.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert data.image_shape == (28, 28)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("dot", ["-idx", ".idx"])
def test_folder_with_every_style_of_names(folder, suffix, dot):
    for name, payload in PAYLOADS.items():
        (folder / f"{name}.gz").unlink()
        content = gzip.compress(payload) if suffix else payload
        (folder / f"{name.replace('-idx', dot)}{suffix}").write_bytes(content)
    check(load_mnist(folder))


def test_the_argument_comes_before_the_variable(folder, tmp_path, monkeypatch):
    monkeypatch.setenv(mnist.FOLDER_VARIABLE, str(folder))
    check(load("mnist"))
    with pytest.raises(DataError, match="elsewhere"):
        load("mnist", data_dir=tmp_path / "elsewhere")


def test_an_incomplete_folder_is_refused_without_a_download(folder, mirror, server):
    (folder / f"{NAMES[1]}.gz").unlink()
    (folder / f"{NAMES[2]}.gz").unlink()
    with pytest.raises(
        DataError, match=f"{re.escape(str(folder))}: .*{NAMES[1]}, {NAMES[2]} .*--data-dir"
    ):
        load_mnist(folder, mirrors=[mirror("good")])
    assert not server.seen


@pytest.mark.parametrize(
    "change", [lambda p: p[:-1] + b"\xff", lambda p: p + b"x", lambda p: p[:9]]
)
def test_a_wrong_file_in_a_folder(folder, change):
    wrong = change(PAYLOADS[NAMES[0]])
    path = folder / f"{NAMES[0]}.gz"
    path.write_bytes(gzip.compress(wrong))
    expected, size = SMALL[NAMES[0]]
    actual = hashlib.sha256(wrong[: size + 1]).hexdigest()
    with pytest.raises(
        DataError, match=f"{re.escape(str(path))}: .*SHA-256 {actual} .*expected {expected}"
    ):
        load_mnist(folder)


def test_a_cut_file_in_a_folder(folder):
    path = folder / f"{NAMES[0]}.gz"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataError, match=f"{re.escape(str(path))}: broken gzip"):
        load_mnist(folder)


@pytest.mark.parametrize("kind", ["good", "raw"])
def test_download_and_then_the_cache(tmp_path, mirror, server, kind):
    check(load_mnist(mirrors=[mirror(kind)], cache_dir=tmp_path))
    assert content_of(tmp_path) == PAYLOADS
    assert server.seen == [f"/{kind}/{name}.gz" for name in NAMES]
    check(load_mnist(mirrors=[], cache_dir=tmp_path))


def test_nothing_is_printed(tmp_path, mirror, capfd):
    check(load_mnist(mirrors=[mirror("good")], cache_dir=tmp_path))
    assert capfd.readouterr() == ("", "")


def test_a_bad_cached_file_is_fetched_again(tmp_path, mirror, server):
    load_mnist(mirrors=[mirror("good")], cache_dir=tmp_path)
    server.seen.clear()
    (tmp_path / "mnist" / NAMES[2]).write_bytes(b"bit rot")
    check(load_mnist(mirrors=[mirror("good")], cache_dir=tmp_path))
    assert server.seen == [f"/good/{NAMES[2]}.gz"]
    assert content_of(tmp_path) == PAYLOADS


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing", "404"),
        ("html", f"SHA-256 [0-9a-f]{{64}} .*expected {SMALL[NAMES[0]][0]}"),
        ("altered", f"SHA-256 [0-9a-f]{{64}} .*expected {SMALL[NAMES[0]][0]}"),
        ("endless", "found more than"),
        ("slow", "timed out"),
    ],
)
def test_a_failing_mirror(tmp_path, mirror, kind, reason):
    timeout = 0.5 if kind == "slow" else 30.0
    start = time.monotonic()
    with pytest.raises(DownloadError, match=reason) as caught:
        load_mnist(mirrors=[mirror(kind)], cache_dir=tmp_path, timeout=timeout)
    assert time.monotonic() - start < 15
    assert content_of(tmp_path) == {}
    assert isinstance(caught.value, OSError)
    assert "--data-dir" in str(caught.value)
    assert mnist.FOLDER_VARIABLE in str(caught.value)
    # the next mirror helps
    check(load_mnist(mirrors=[mirror(kind), mirror("good")], cache_dir=tmp_path, timeout=timeout))
    assert content_of(tmp_path) == PAYLOADS


def test_a_trickling_mirror_is_given_up(tmp_path, mirror, monkeypatch):
    monkeypatch.setattr(mnist, "_DEADLINE", -1.0)
    with pytest.raises(DownloadError, match="not complete after"):
        load_mnist(mirrors=[mirror("good")], cache_dir=tmp_path)


def test_every_mirror_is_named(tmp_path, mirror):
    mirrors = [mirror("missing"), "http://127.0.0.1:9/", "nonsense://", mirror("html")]
    with pytest.raises(DownloadError) as caught:
        load_mnist(mirrors=mirrors, cache_dir=tmp_path)
    assert all(f"{m}{NAMES[0]}.gz: " in str(caught.value) for m in mirrors)


def test_downloads_cut_at_fifty_places_leave_nothing(tmp_path, mirror):
    whole = len(PACKED[f"{NAMES[0]}.gz"])
    for offset in np.linspace(0, whole - 1, 50).astype(int):
        with pytest.raises(DownloadError):
            load_mnist(mirrors=[mirror(f"cut{offset}")], cache_dir=tmp_path)
        assert content_of(tmp_path) == {}


def test_a_failure_while_storing_leaves_nothing(tmp_path, mirror, monkeypatch):
    def refuse(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mnist.os, "replace", refuse)
    with pytest.raises(DataError, match=r"cache cannot be written: No space left.*--data-dir"):
        load_mnist(mirrors=[mirror("good")], cache_dir=tmp_path)
    assert content_of(tmp_path) == {}


def test_a_cache_that_cannot_be_made(tmp_path, mirror, server):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cache cannot be written"):
        load_mnist(mirrors=[mirror("good")], cache_dir=tmp_path / "file")
    assert not server.seen


def load_repeatedly(address, folder, barrier, rounds, errors):
    mnist.FILES = SMALL
    try:
        for number in range(rounds):
            barrier.wait(timeout=60)
            check(load_mnist(mirrors=[address], cache_dir=folder / str(number)))
    except BaseException as error:
        barrier.abort()
        errors.put(repr(error))
        raise


@pytest.mark.slow
def test_processes_share_a_cache(tmp_path, mirror):
    processes, rounds = 8, 50
    context = multiprocessing.get_context("spawn")
    barrier, errors = context.Barrier(processes), context.Queue()
    arguments = (mirror("good"), tmp_path, barrier, rounds, errors)
    workers = [context.Process(target=load_repeatedly, args=arguments) for _ in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    failed = [worker.exitcode for worker in workers if worker.exitcode]
    assert not failed, errors.get(timeout=5)
    for number in range(rounds):
        assert content_of(tmp_path / str(number)) == PAYLOADS
