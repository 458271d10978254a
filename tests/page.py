"""The server of ``xpmlp play`` in a thread, and a browser's part of talking to it."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from xpmlp.play import serve
from xpmlp.play.run import Run
from xpmlp.play.sessions import Sessions
from xpmlp.play.settings import Settings

LIMIT = 60.0
"""Seconds after which a condition counts as never met."""


def until(condition: Callable[[], Any]) -> Any:
    """Wait for a condition, and return what it is then."""
    end = time.monotonic() + LIMIT
    while not (found := condition()):
        assert time.monotonic() < end, "the condition was not met"
        time.sleep(0.005)
    return found


@contextlib.contextmanager
def begun(given: Any = None, table: Any = None, **options: Any) -> Iterator[Run]:
    """A run of these settings, as fast as it goes; it ends with the block."""
    settings = Settings.checked({"pace": None} | (given or {}))
    run = Run(settings, table, **{"patience": 1e6} | options)
    try:
        yield run
    finally:
        run.leave()
        run.join()


def finished(run: Run) -> Run:
    """Train to the end."""
    run.go()
    run.join()
    return run


class Answer(NamedTuple):
    """What the server said."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The line of an error, after checking that it is one line and a client's error."""
        assert 400 <= self.status < 500, (self.status, self.body[:200])
        line: str = self.json["error"]
        assert line
        assert "\n" not in line
        return line


class Client:
    """A browser: it keeps its cookie."""

    def __init__(self, port: int) -> None:
        self.port, self.cookie = port, ""

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        given = {"Cookie": self.cookie} if self.cookie else {}
        try:
            connection.request(method, path, body, given | (headers or {}))
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        finally:
            connection.close()
        if cookie := answer.headers["set-cookie"]:
            self.cookie = cookie.partition(";")[0]
        return answer

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, content: Any = None) -> Answer:
        """Send JSON."""
        body = json.dumps({} if content is None else content).encode()
        return self.send(path, body, "application/json")

    def send(self, path: str, body: bytes, kind: str = "application/octet-stream") -> Answer:
        return self.ask("POST", path, body, {"Content-Type": kind})

    def start(self, **settings: Any) -> Any:
        """Begin a run that is not slowed down."""
        answer = self.post("/api/start", {"settings": {"pace": None} | settings})
        assert answer.status == 200, answer.body
        return answer.json

    def frame(self, after: int = 0) -> tuple[Any, dict[str, np.ndarray]]:
        """Return a frame's head and arrays."""
        answer = self.get(f"/api/frame?after={after}")
        assert answer.status == 200, answer.body
        return unpacked(answer.body)


def unpacked(body: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """Take a frame apart, as the page does."""
    length = int.from_bytes(body[:4], "little")
    head, at = json.loads(body[4 : 4 + length]), 4 + length
    assert at % 4 == 0
    arrays = {}
    for about in head["arrays"]:
        dtype = np.dtype({"u1": np.uint8, "f4": "<f4"}[about["dtype"]])
        assert at % dtype.itemsize == 0
        count = int(np.prod(about["shape"]))
        arrays[about["name"]] = np.frombuffer(body, dtype, count, at).reshape(about["shape"])
        at += count * dtype.itemsize
    assert at == len(body)
    return head, arrays


@contextlib.contextmanager
def serving(**options: Any) -> Iterator[Client]:
    """A server, and a first client of it; ``options`` are those of ``Sessions``."""
    listening = serve.bound(0)
    sessions = Sessions(**{"patience": 1e6} | options)
    server = serve.server(listening, sessions)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        until(lambda: server.started)
        yield Client(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(LIMIT)
        assert not thread.is_alive()
