"""Every request of the page, over HTTP, as a browser sends it."""

import asyncio
import io
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page import Client, serving, until
from PIL import Image

import xpmlp
from xpmlp.play import serve
from xpmlp.play.app import GET, POST
from xpmlp.play.guard import HEADERS
from xpmlp.play.sessions import Session
from xpmlp.play.settings import CHOICES, Settings

pytestmark = pytest.mark.filterwarnings("ignore")

PENGUINS = Path(__file__).resolve().parents[2] / "docs" / "data" / "penguins.csv"
SMALL = {"points": 60, "hidden": [3], "epochs": 5}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(most=200) as client:
        yield client.port


@pytest.fixture
def client(port: int) -> Client:
    """A new browser."""
    return Client(port)


def short(answer: Any) -> tuple[str, int, int]:
    assert answer.status == 200, answer.body
    return answer.json["status"], answer.json["epoch"], answer.json["step"]


def test_the_page_and_its_files(client: Client) -> None:
    page = client.get("/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for name in re.findall(rb'(?:src|href)="(/static/[^"#]+)"', page.body):
        assert client.get(name.decode()).status == 200
    for name, value in HEADERS.items():
        assert page.headers[name] == value
    assert "unsafe" not in page.headers["content-security-policy"]


def test_options_are_complete(client: Client) -> None:
    told = client.get("/api/options").json
    assert told["settings"] == Settings().as_json()
    assert set(told["choices"]) == set(CHOICES)
    assert told["choices"]["normalization"][0] is None
    assert told["limits"]["units"] == [1, 64]
    assert told["version"] == xpmlp.__version__
    assert {"name", "title", "text", "look", "settings", "group"} == set(told["stories"][0])
    for story in told["stories"]:
        assert client.post("/api/start", {"settings": story["settings"]}).status == 200


def test_a_first_visit_is_empty_and_gets_its_cookie_with_the_first_run(client: Client) -> None:
    empty = client.get("/api/state")
    assert (empty.json["status"], empty.headers["set-cookie"]) == ("empty", None)
    answer = client.post("/api/start", {"settings": SMALL, "run": True})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert answer.json["settings"]["hidden"] == [3]
    assert client.post("/api/start", {"settings": SMALL}).headers["set-cookie"] is None
    assert client.get("/api/state").json["status"] == "paused"


def test_a_run_from_start_to_end(client: Client) -> None:
    told = client.start(**SMALL)
    assert (told["status"], told["epoch"], told["sizes"], told["params"]) == (
        "paused", 0, [2, 3, 1], 13,
    )  # fmt: skip
    assert len(told["points"]["x"]) == len(told["points"]["y"]) == 60
    assert sum(told["points"]["test"]) == told["rows"]["test"] == 18
    head, arrays = client.frame()
    assert (head["frame"], head["run"], head["status"]) == (1, told["run"], "paused")
    assert "boundary" in arrays
    assert short(client.post("/api/advance", {"by": "step"})) == ("paused", 0, 1)
    assert short(client.post("/api/advance", {"by": "epoch"})) == ("paused", 1, 0)
    assert short(client.post("/api/advance")) == ("paused", 2, 0)
    client.post("/api/run")
    until(lambda: client.get("/api/state").json["status"] == "done")
    assert short(client.post("/api/pause")) == ("done", 5, 0)
    head, _ = client.frame()
    assert (head["epoch"], len(head["history"]["train"])) == (5, 5)
    again = client.post("/api/reset").json
    assert (again["status"], again["epoch"]) == ("paused", 0)
    assert again["run"] > told["run"]
    assert client.get("/api/state").json["settings"] == told["settings"]


def test_a_frame_is_waited_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.start(**SMALL | {"epochs": 10_000})
    head, _ = client.frame()
    monkeypatch.setattr("xpmlp.play.answers.WAIT", 0.01)
    nothing = client.get(f"/api/frame?after={head['frame']}")
    assert (nothing.status, nothing.body) == (204, b"")
    monkeypatch.undo()
    client.post("/api/run")
    after, epochs = head["frame"], []
    for _ in range(5):
        head, _ = client.frame(after)
        assert head["frame"] != after
        after = head["frame"]
        epochs.append(head["epoch"])
    assert epochs == sorted(epochs)
    assert client.frame(10**9)[0]["frame"] >= after  # of a server that has begun anew
    client.post("/api/pause")


def test_tabs_share_a_run_and_browsers_do_not(client: Client, port: int) -> None:
    told = client.start(**SMALL | {"seed": 5})
    tab, other = Client(port), Client(port)
    tab.cookie = client.cookie
    assert tab.get("/api/state").json["run"] == told["run"]
    assert other.get("/api/state").json["status"] == "empty"
    mine = other.start(**SMALL | {"seed": 6})
    assert mine["run"] != told["run"]
    assert tab.get("/api/state").json["settings"]["seed"] == 5
    assert other.get("/api/state").json["settings"]["seed"] == 6
    other.post("/api/advance")
    assert tab.get("/api/state").json["epoch"] == 0
    forged = Client(port)
    forged.cookie = client.cookie[:-1] + ("A" if client.cookie[-1] != "A" else "B")
    assert forged.get("/api/state").json["status"] == "empty"
    for name in ("frame", "code", "model", "gif", "diagnosis"):
        assert "nothing has been started" in forged.get(f"/api/{name}").error


def test_why(client: Client) -> None:
    client.start(**SMALL)
    found = client.post("/api/explain", {"row": 3}).json
    assert [len(layer["units"]) for layer in found["layers"]] == [3, 1]
    assert client.post("/api/explain", {"point": [0.5, 1], "target": 1}).json["target"] == 1
    assert client.get("/api/diagnosis").json == {"epoch": 0, "findings": []}
    assert "row: found 60" in client.post("/api/explain", {"row": 60}).error


def test_a_table_of_one_s_own(client: Client) -> None:
    assert "open a file first" in client.post("/api/start", {"settings": {"data": "table"}}).error
    told = client.send("/api/table?name=../../Pen%20guins.csv", PENGUINS.read_bytes()).json
    assert (told["name"], told["rows"], told["label"]) == ("Pen-guins.csv", 344, "year")
    kinds = {column["name"]: column["kind"] for column in told["columns"]}
    assert (kinds["species"], kinds["body_mass_g"]) == ("category", "number")
    assert client.get("/api/state").json["table"] == told
    columns = ["flipper_length_mm", "bill_length_mm"]
    run = client.start(data="table", label="species", columns=columns, epochs=30)
    assert run["classes"] == ["Adelie", "Chinstrap", "Gentoo"]
    assert run["table"] == told
    client.post("/api/run")
    until(lambda: client.get("/api/state").json["status"] == "done")
    assert client.frame()[0]["score"]["test"] > 0.8
    assert '"Pen-guins.csv"' in client.get("/api/code").body.decode()
    wrong = client.post("/api/start", {"settings": {"data": "table", "label": "nothing"}}).error
    assert "nothing" in wrong
    assert "/tmp" not in wrong
    assert client.get("/api/state").json["run"] == run["run"]  # the run before goes on


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("a.csv", b"", 400),
        ("a.csv", b"\0\1\2" * 100, 400),
        ("a.jsonl", b"not json", 400),
        ("a.parquet", b"PAR1", 415),
        ("a.csv.gz", b"\x1f\x8b", 415),
        ("a", b"x,y\n1,2", 415),
        ("", b"x,y\n1,2", 415),
    ],
)
def test_tables_that_are_none(client: Client, name: str, content: bytes, status: int) -> None:
    answer = client.send(f"/api/table?name={name}", content)
    assert answer.error
    assert answer.status == status
    assert "xpmlp-play-" not in answer.error


def test_a_digit_is_drawn_and_read(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xpmlp.play.reader.HANDS", 1)  # it takes as many seconds
    pixels = [[0] * 12 + [255] * 4 + [0] * 12] * 28
    assert client.get("/api/digit/state").json["status"] == "empty"
    early = client.post("/api/digit/read", {"pixels": pixels})
    assert (early.status, "no network" in early.error) == (409, True)
    mlp = xpmlp.MLP([784, 5, 10], targets="labels", backend="numpy", seed=0)
    mlp.save(tmp_path / "m.xpmlp")
    told = client.send("/api/digit/model?name=mnist.xpmlp", (tmp_path / "m.xpmlp").read_bytes())
    assert (told.json["status"], told.json["source"]) == ("ready", "mnist.xpmlp")
    found = client.post("/api/digit/read", {"pixels": pixels}).json
    assert (len(found["probabilities"]), found["side"], len(found["hidden"][0])) == (10, 28, 5)
    assert "pixels" in client.post("/api/digit/read", {"pixels": [[1]]}).error
    assert "not a readable" in client.send("/api/digit/model", b"nonsense").error
    assert client.get("/api/digit/state").json["source"] == "mnist.xpmlp"
    assert client.post("/api/digit/train").json["status"] == "training"
    until(lambda: client.get("/api/digit/state").json["status"] == "ready")
    assert client.post("/api/digit/read", {"pixels": pixels}).json["side"] == 8


def test_what_one_takes_along(client: Client, tmp_path: Path) -> None:
    client.start(**SMALL)
    assert "nothing has moved" in client.get("/api/gif").error
    client.post("/api/run")
    until(lambda: client.get("/api/state").json["status"] == "done")
    film = client.get("/api/gif")
    assert film.headers["content-type"] == "image/gif"
    assert getattr(Image.open(io.BytesIO(film.body)), "n_frames", 1) == 6
    code = client.get("/api/code")
    assert "attachment" in code.headers["content-disposition"]
    found: dict[str, Any] = {}
    exec(code.body.decode(), found)
    head, arrays = client.frame()
    assert found["history"]["loss"] == head["history"]["train"]
    path = tmp_path / "m.xpmlp"
    path.write_bytes(client.get("/api/model").body)
    mlp = xpmlp.load(path, backend="numpy")
    assert mlp.epochs_trained == 5
    for k in range(2):
        assert (mlp.parameters[f"dense{k + 1}.W"] == arrays[f"weights:{k}"]).all()
    assert (mlp.parameters["dense1.W"] == found["mlp"].parameters["dense1.W"]).all()


def test_leaving_changes_nothing(client: Client) -> None:
    client.start(**SMALL)
    assert client.send("/api/leave", b"", "text/plain").status == 204
    assert client.get("/api/state").json["status"] == "paused"


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", sorted(GET))
def test_what_is_asked_for_cannot_be_sent(client: Client, name: str) -> None:
    answer = client.post(f"/api/{name}")
    assert answer.error
    assert answer.status == 405


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", sorted(POST))
def test_what_is_sent_cannot_be_asked_for(client: Client, name: str) -> None:
    answer = client.get(f"/api/{name}")
    assert answer.error
    assert answer.status == 405


def test_a_closed_tab_stops_the_run() -> None:
    """With a patience of 0 whoever asks for the state is no tab, but may see it."""
    with serving(patience=0.0) as client:
        client.start(epochs=10_000)
        client.post("/api/run")
        until(lambda: client.get("/api/state").json["status"] == "paused")
        assert client.get("/api/state").json["epoch"] < 10_000


def test_sessions_make_place_when_they_are_idle() -> None:
    with serving(most=2, idle=0.0) as client:
        first = client.start(**SMALL)
        for _ in range(3):
            Client(client.port).start(**SMALL)
        assert client.get("/api/state").json["status"] == "empty"
        assert client.start(**SMALL)["run"] > first["run"]
    with serving(most=2) as client:
        client.start(**SMALL)
        Client(client.port).start(**SMALL)
        refused = Client(client.port).post("/api/start", {"settings": SMALL})
        assert (refused.status, "2 browsers" in refused.error) == (429, True)
        assert client.get("/api/state").json["status"] == "paused"


def test_a_session_that_ends_lets_the_reader_go(monkeypatch: pytest.MonkeyPatch) -> None:
    session, left = Session(), []
    monkeypatch.setattr(session.digits, "leave", lambda: left.append(True))
    session.close()
    assert left == [True]


def test_numbers_in_answers_are_json(client: Client) -> None:
    """A run that overflows has no NaN in its answers, which browsers would refuse."""
    client.start(data="waves", optimizer="sgd", learning_rate=100.0, epochs=50)
    client.post("/api/run")
    until(lambda: client.get("/api/state").json["status"] == "failed")
    for path in ("/api/state", "/api/diagnosis"):
        text = client.get(path).body.decode()
        json.loads(text, parse_constant=lambda name: pytest.fail(name))
    head, arrays = client.frame()
    assert head["message"].startswith("the training diverged")
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_small_answers_are_sent_at_once() -> None:
    """asyncio sets TCP_NODELAY on what such a socket accepts; else an answer takes 40 ms longer."""
    given: list[int] = []

    class Look(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            connection = transport.get_extra_info("socket")
            given.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()

    async def visit() -> None:
        listening = serve.bound(0)
        server = await asyncio.get_running_loop().create_server(Look, sock=listening)
        async with server:
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            await reader.read()
            writer.close()

    asyncio.run(visit())
    assert given
    assert all(given)
