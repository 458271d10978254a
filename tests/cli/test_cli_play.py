"""``xpmlp play``: it says where the page is, opens the browser, and ends with Ctrl-C."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from xpmlp.cli import main, play
from xpmlp.errors import InvalidValueError, MissingExtraError
from xpmlp.play import serve

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server((serve.HOST, 0)) as made:
        yield made.getsockname()[1]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_it_serves_the_page_until_it_is_told_to_end(number: int, status: int) -> None:
    command = [sys.executable, "-m", "xpmlp", "play", "--no-browser", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline().split()[2]
            assert address.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(address, timeout=60) as page:
                assert b"<html" in page.read()
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == status, err
    assert "Traceback" not in err
    assert out == ("the page has ended\n" if status == 0 else "")


class Served:
    """In the place of uvicorn's server."""

    def __init__(self) -> None:
        self.sockets: list[Any] = []

    def run(self, sockets: list[socket.socket]) -> None:
        self.sockets = sockets


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    made = Served()
    monkeypatch.setattr(serve, "server", lambda listening: made)
    return made


@pytest.mark.filterwarnings("ignore")
def test_the_browser_is_opened(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    opened: list[str] = []

    class AtOnce:
        def __init__(self, target: Any, args: Any, daemon: bool) -> None:
            self.start = lambda: target(*args)

    monkeypatch.setattr(play, "Thread", AtOnce)
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert main(["play", "--port", "0"]) == 0
    port = served.sockets[0].getsockname()[1]
    assert opened == [f"http://127.0.0.1:{port}/"]
    assert opened[0] in capsys.readouterr().out
    assert main(["play", "--port", "0", "--no-browser"]) == 0
    assert len(opened) == 1


def test_a_port_that_is_taken(taken: int, capsys: Capture) -> None:
    assert main(["play", "--no-browser", "--port", str(taken)]) == 2
    error = capsys.readouterr().err
    assert f"--port: {taken} cannot be used" in " ".join(error.split())
    with pytest.raises(InvalidValueError, match="another with --port"):
        serve.bound(taken)


def test_the_next_port_is_taken_if_none_was_asked_for(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "PORT", taken)
    with serve.bound() as made:
        assert taken < made.getsockname()[1] < taken + serve.TRIED
    monkeypatch.setattr(serve, "TRIED", 1)
    with pytest.raises(InvalidValueError, match=f"{taken} to {taken} cannot be used"):
        serve.bound()


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_ports_that_are_none(port: str, capsys: Capture) -> None:
    assert main(["play", f"--port={port}"]) == 2
    assert "from 0 to 65535" in " ".join(capsys.readouterr().err.split())


def test_the_extra_is_named_if_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["play"]) == 2
    assert "pip install 'xpmlp[web]'" in " ".join(capsys.readouterr().err.split())
    assert issubclass(MissingExtraError, ImportError)
