"""Requests of strangers: other hosts and sites, damaged and endless messages, many connections."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from page import Client, serving, unpacked, until
from robustness.mutations import mutants

from xpmlp.play.guard import FILE_BYTES, JSON_BYTES

pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = {"points": 60, "hidden": [3], "epochs": 10_000}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(most=200) as client:
        yield client.port


@pytest.fixture
def client(port: int) -> Client:
    """A new browser."""
    return Client(port)


FORGED = [
    {"Host": "evil.example"},
    {"Host": "evil.example:{port}"},
    {"Host": "127.0.0.1"},
    {"Host": "127.0.0.1:1"},
    {"Host": "localhost"},
    {"Host": "127.0.0.1:{port}.evil.example"},
    {"Host": "evil.example#127.0.0.1:{port}"},
    {"Host": "user@127.0.0.1:{port}"},
    {"Host": "0.0.0.0:{port}"},
    {"Host": ""},
    {"Origin": "http://evil.example"},
    {"Origin": "https://127.0.0.1:{port}"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://localhost:{port}"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://127.0.0.1:{port}.evil.example"},
    {"Origin": "http://127.0.0.1:{port}@evil.example"},
    {"Origin": "file://"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("forged", FORGED, ids=lambda given: "-".join(given.values()))
def test_forged_hosts_and_origins_are_refused(client: Client, forged: dict[str, str]) -> None:
    client.start(**SMALL)
    headers = {name: value.format(port=client.port) for name, value in forged.items()}
    for method, path in (("GET", "/api/state"), ("POST", "/api/advance"), ("GET", "/")):
        answer = client.ask(method, path, "{}", {"Content-Type": "application/json"} | headers)
        assert answer.error
        assert answer.status in (400, 403)
    assert client.get("/api/state").json["epoch"] == 0


def test_the_page_s_own_origin_passes(client: Client) -> None:
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{client.port}"
        headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        headers["Content-Type"] = "application/json"
        body = json.dumps({"settings": SMALL})
        assert client.ask("POST", "/api/start", body, headers).status == 200
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.ask("GET", "/", None, linked).status == 200


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd",
        "/static/%2fetc%2fpasswd", "/../../etc/passwd", "/static/....//app.py",
        "/static/\\..\\app.py",
        "/static/", "/static", "/api", "/api/", "/app.py", "/static/%00", "/api/%ff", "//api/state",
        "/api/state/x",
    ],
)  # fmt: skip
def test_no_path_leads_outside(client: Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status in (307, 400, 403, 404, 405)
    assert b"def " not in answer.body
    assert b"root:" not in answer.body


def test_forms_of_other_sites_have_no_effect(client: Client) -> None:
    client.start(**SMALL)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        for path in ("/api/advance", "/api/reset", "/api/start", "/api/table?name=a.csv"):
            answer = client.send(path, b"{}", kind)
            assert (answer.status, bool(answer.error)) == (415, True)
    assert client.get("/api/state").json["epoch"] == 0


MESSAGES: dict[str, tuple[str, bytes]] = {
    "start": (
        "/api/start",
        json.dumps(
            {"settings": SMALL | {"noise": 0.1, "activation": "relu", "epochs": 3}}
        ).encode(),
    ),
    "advance": ("/api/advance", b'{"by": "step", "and": [1, 2, 3]}'),
    "explain": ("/api/explain", b'{"point": [0.25, -1.5], "target": 1, "row": 3}'),
    "read": ("/api/digit/read", json.dumps({"pixels": [[0, 255, 7, 0] * 7] * 28}).encode()),
}
"""A message of each kind, to be damaged."""


@pytest.mark.parametrize("name", MESSAGES)
def test_damaged_messages_get_one_line(client: Client, name: str, draws: Any) -> None:
    """500 of each with --slow, 2,000 in all; the run goes on."""
    client.start(**SMALL)
    path, message = MESSAGES[name]
    for mutant in mutants(message, draws(15, 500), seed=7):
        answer = client.send(path, mutant, "application/json")
        assert answer.status < 500, mutant
        if answer.status != 200:
            assert answer.error
            assert len(answer.body) < 1000
    client.start(**SMALL)
    assert client.post("/api/advance").json["epoch"] == 1


def test_damaged_tables_get_one_line(client: Client, draws: Any) -> None:
    table = "\n".join(["a,b,kind", *(f"{k}.5,{k % 7},{'xy'[k % 2]}" for k in range(30))]).encode()
    for mutant in mutants(table, draws(6, 60), seed=3):
        answer = client.send("/api/table?name=a.csv", mutant)
        if answer.status != 200:
            assert answer.error


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"1", b'"x"', b"{", b"\xff\xfe", b"[" * 50_000, b'{"a":' * 10_000,
        b'{"settings": NaN}', b'{"settings": {"noise": Infinity}}',
        b'{"settings": {"seed": 1e999}}',
        b'{"settings": {"seed": ' + b"9" * 5000 + b"}}", b'{"settings": {"data": "\\ud800"}}',
        b'{"settings": {"\\u0000": 1}}', b'{"settings": {"data": "table", "label": "\\ud800"}}',
        b'{"settings": {"hidden": [64, 64, 64, 64, 64, 64, 64]}}', b'{"settings": []}',
        b'{"run": "yes", "settings": {"data": null}}', b'{"settings": {"backend": "strict"}}',
        b'{"settings": {"loss": "poisson"}}', b'{"by": 7, "row": {}, "pixels": "x"}',
    ],
)  # fmt: skip
def test_nonsense_is_told_in_one_line(client: Client, body: bytes) -> None:
    client.start(**SMALL)
    for path in ("/api/start", "/api/explain", "/api/advance", "/api/digit/read"):
        answer = client.send(path, body, "application/json")
        assert answer.status < 500
        if answer.status != 200:
            assert answer.error
            assert len(answer.body) < 1000


@pytest.mark.parametrize("after", ["x", "-1", "1e3", "9" * 50, "", "%00", "1.5", "%D9%A1"])
def test_frames_have_numbers(client: Client, after: str) -> None:
    client.start(**SMALL)
    assert (
        "after" in client.ask("GET", f"/api/frame?after={after.encode().decode('latin-1')}").error
    )


def accepted(
    port: int, path: str, kind: str, head: str, piece: bytes, most: int
) -> tuple[int, int]:
    """Send a body without end; return how many bytes were taken, and the answer's status."""
    sent, found = 0, b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as made:
        made.sendall(
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\n"
            f"{head}\r\n\r\n".encode()
        )
        try:
            while sent < most:
                made.sendall(piece)
                sent += len(piece)
        except OSError:  # it has closed the connection
            pass
        try:
            while part := made.recv(65536):
                found += part
        except OSError:
            pass
    return sent, int(found.split()[1]) if found else 0


@pytest.mark.parametrize(
    ("path", "kind", "limit"),
    [
        ("/api/table?name=a.csv", "application/octet-stream", FILE_BYTES),
        ("/api/digit/model", "application/octet-stream", FILE_BYTES),
        ("/api/start", "application/json", JSON_BYTES),
    ],
)
def test_a_hundred_megabytes_are_refused_early(
    client: Client, path: str, kind: str, limit: int
) -> None:
    """What was taken is the limit and what lies in the sockets, whatever the length said."""
    most, piece = 100 * 10**6, bytes(2**16)
    chunk = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    for head, each in ((f"Content-Length: {most}", piece), ("Transfer-Encoding: chunked", chunk)):
        sent, status = accepted(client.port, path, kind, head, each, most)
        assert status in (0, 413)  # 0: the answer was lost with the connection
        assert sent < limit + 30 * 10**6
    answer = client.send(path, bytes(limit + 1), kind)
    assert (answer.status, "bytes" in answer.error) == (413, True)
    client.start(**SMALL)
    assert client.post("/api/advance").json["epoch"] == 1


def test_a_request_that_breaks_off_leaves_the_server_well(client: Client) -> None:
    for part in (b"POST /api/start HT", b"GET / HTTP/1.1\r\nHo", b"\x16\x03\x01\x02\0", b"\0" * 99):
        with socket.create_connection(("127.0.0.1", client.port), timeout=60) as made:
            made.sendall(part)
    host = f"127.0.0.1:{client.port}"
    with socket.create_connection(("127.0.0.1", client.port), timeout=60) as made:
        made.sendall(
            f"POST /api/start HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            "Content-Length: 500\r\n\r\n{".encode()
        )
    client.start(**SMALL)
    assert client.post("/api/advance").json["epoch"] == 1


def test_two_hundred_connections(client: Client) -> None:
    """All wait for the same frame, and all get it; others are served meanwhile."""
    client.start(**SMALL)
    after = client.frame()[0]["frame"]
    waiting = []
    try:
        for _ in range(200):
            made = http.client.HTTPConnection("127.0.0.1", client.port, timeout=60)
            made.request("GET", f"/api/frame?after={after}", headers={"Cookie": client.cookie})
            waiting.append(made)
        assert client.get("/api/state").status == 200
        assert client.post("/api/advance").json["epoch"] == 1
        for made in waiting:
            response = made.getresponse()
            body = response.read()
            assert response.status in (200, 204)  # 204: it had waited for five seconds
            if response.status == 200:
                assert unpacked(body)[0]["frame"] > after
    finally:
        for made in waiting:
            made.close()


def test_runs_that_are_replaced_end(client: Client) -> None:
    numbers = []
    for _ in range(5):
        numbers.append(client.start(**SMALL)["run"])
        client.post("/api/run")
    client.start(**SMALL)
    names = {f"run {number}" for number in numbers}
    until(lambda: not names & {thread.name for thread in threading.enumerate()})
