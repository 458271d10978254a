"""What every request passes: the right host and origin, small bodies; and what every answer says.

The page is for the user of this machine. A page of another site in the same browser could send
requests to it, too: under another name that leads to 127.0.0.1 (refused by Host), or from its own
origin (refused by Origin, and by Sec-Fetch-Site).
"""

import json
from collections.abc import Collection
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
"""Of every answer."""

JSON_BYTES = 64 * 1024
"""The largest body but for files."""

FILE_BYTES = 5 * 10**6
"""The largest file that may be sent."""

PASSED_OVER = 10 * 10**6
"""Bytes beyond the most that are read and forgotten: a browser that is still sending when the
connection ends does not see the answer."""


class RefusedError(Exception):
    """A request that is answered with a status and one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


def as_json(content: Any, status: int = 200) -> Response:
    """Return an answer; ASCII, so that no text a page has sent can break it."""
    return Response(json.dumps(content, allow_nan=False), status, media_type="application/json")


def refusal(status: int, line: str) -> Response:
    """Return an error as one line; a body that was not read ends the connection."""
    answer = as_json({"error": " ".join(line.split())[:500]}, status)
    if status in (413, 415):
        answer.headers["connection"] = "close"
    return answer


class Guard:
    """Refuses what does not come from the page, and adds ``HEADERS`` to all answers.

    Parameters
    ----------
    app : ASGI application
    hosts : collection of str
        Names with the port under which the page is served: ``"127.0.0.1:8080"``.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self.app, self.hosts = app, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":  # no WebSockets here
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            else:
                await self.app(scope, receive, send)
            return

        async def said(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        why = self._why_not(Headers(scope=scope))
        app = self.app if why is None else refusal(403, why)
        await app(scope, receive, said)

    def _why_not(self, headers: Headers) -> str | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return f"this page is served as {min(self.hosts)}; found another Host"
        for origin in headers.getlist("origin"):
            scheme, _, host = origin.partition("://")
            if scheme != "http" or host.lower() != hosts[0].lower():
                return "found a request of another site; only the page itself may ask"
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != (
            "navigate"
        ):
            return "found a request of another site; only the page itself may ask"
        return None


async def body_of(request: Request, most: int, kind: str) -> bytes:
    """Return a request's body; it is never held beyond ``most`` bytes.

    Raises
    ------
    RefusedError
        If it is larger, or of another kind.
    """
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found != kind:  # a form of another site cannot send these
        raise RefusedError(415, f"expected the content type {kind}")
    said = request.headers.get("content-length", "")
    too_large = RefusedError(413, f"found more than {most:,} bytes, which is the most here")
    if said.isdecimal() and int(said[:20]) > most + PASSED_OVER:
        raise too_large
    content, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= most:
            content += chunk
        elif size > most + PASSED_OVER:
            raise too_large
    if size > most:
        raise too_large
    return bytes(content)


async def json_of(request: Request) -> dict[str, Any]:
    """Return a request's JSON object; an empty body is an empty one.

    Raises
    ------
    RefusedError
        For anything else.
    """
    content = await body_of(request, JSON_BYTES, "application/json")
    try:
        found = json.loads(content or b"{}", parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, "expected JSON in UTF-8, without NaN and infinity") from error
    if not isinstance(found, dict):
        raise RefusedError(400, "expected a JSON object")
    return found


def _refuse(name: str) -> float:
    raise ValueError(name)
