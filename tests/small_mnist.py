"""A small MNIST, and a server on this machine that delivers it, whole or not."""

import contextlib
import gzip
import hashlib
import http.server
import struct
import threading

import numpy as np

from xpmlp.data import mnist

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
        elif kind.startswith("short"):  # cut, and the length says that this is all
            content = content[: int(kind[5:])]
        elif kind.startswith("flip"):
            at = int(kind[4:]) % len(content)
            content = content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]
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

    def address(self, kind):
        return f"http://127.0.0.1:{self.server_port}/{kind}/"

    def handle_error(self, request, client_address):
        pass  # a client that hangs up is part of the tests


@contextlib.contextmanager
def serving():
    """Start the server; its ``seen`` has what was asked for, ``address(kind)`` is a mirror."""
    with Server(("127.0.0.1", 0), Handler) as server:
        server.seen, server.stop = [], threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.stop.set()
            server.shutdown()
            thread.join()


def check(data):
    assert (data.name, data.image_shape, data.scaling) == ("mnist", (4, 3), "auto")
    assert data.classes == tuple("0123456789")
    expected = [ARRAYS[name].reshape(len(ARRAYS[name]), -1).squeeze() for name in NAMES]
    for found, values in zip((data.X, data.y, data.X_test, data.y_test), expected, strict=True):
        np.testing.assert_array_equal(found, values)
    assert (data.X.dtype, data.y.dtype) == (np.uint8, np.int64)


def content_of(cache):
    """Every file in the cache, hidden ones too."""
    return {path.name: path.read_bytes() for path in (cache / "mnist").glob("*")}


def use_small(monkeypatch):
    """Take the small files for the genuine ones, and look for them in the cache."""
    monkeypatch.setattr(mnist, "FILES", SMALL)
    monkeypatch.delenv(mnist.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
