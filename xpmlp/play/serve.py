"""The server: a socket on 127.0.0.1, and uvicorn that answers on it."""

import socket
import sys

import uvicorn

from xpmlp.errors import InvalidValueError
from xpmlp.play.app import make_app
from xpmlp.play.sessions import Sessions

HOST, PORT, TRIED = "127.0.0.1", 8765, 20
"""Where the page is served, and how many ports are tried from there on."""

CONNECTIONS = 256
"""Most connections at the same time; further ones are told to come again."""


def bound(port: int | None = None) -> socket.socket:
    """Return a socket on a port of this machine; without one, on the first that is free.

    Raises
    ------
    InvalidValueError
        If the port is taken, or may not be used.
    """
    ports = range(PORT, PORT + TRIED) if port is None else [port]
    for tried in ports:
        # asyncio sends small parts at once (TCP_NODELAY) only where a socket says that it is TCP;
        # otherwise each answer waits 40 ms for the page to confirm its first part.
        made = socket.socket(proto=socket.IPPROTO_TCP)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((HOST, tried))
            made.listen()  # who comes before the server does waits for it
        except OSError as error:
            made.close()
            failed = error
            continue
        return made
    which = f"{port}" if port is not None else f"{PORT} to {PORT + TRIED - 1}"
    raise InvalidValueError(
        f"--port: {which} cannot be used ({failed.strerror}); choose another with --port, or 0 for "
        "any that is free"
    )


def hosts(port: int) -> list[str]:
    """Return the names under which a browser of this machine finds the page."""
    return [f"{name}:{port}" for name in (HOST, "localhost")]


def server(listening: socket.socket, sessions: Sessions | None = None) -> uvicorn.Server:
    """Return a server for a socket; ``server.run(sockets=[...])`` answers until it is stopped."""
    sys.setswitchinterval(0.001)  # a request waits less for the thread that trains
    app = make_app(hosts(listening.getsockname()[1]), sessions)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
    )
