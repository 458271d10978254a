"""The requests of the page, each a function; training and drawing are elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from xpmlp import __version__
from xpmlp.errors import XpmlpError
from xpmlp.play import frames
from xpmlp.play.guard import Guard, RefusedError, as_json, json_of, refusal
from xpmlp.play.run import Run
from xpmlp.play.sessions import BusyError, Session, Sessions
from xpmlp.play.settings import CHOICES, HELP, LIMITS, Settings, installed

STATIC = Path(__file__).parent / "static"
COOKIE = "xpmlp_play"
WAIT = 5.0
"""Seconds that a request for a frame waits for one."""

Handler = Callable[[Request], Any]


def make_app(hosts: Collection[str], sessions: Sessions | None = None) -> Starlette:
    """Return the application.

    Parameters
    ----------
    hosts : collection of str
        Names with the port under which the page is served.
    sessions : Sessions, optional
    """
    found = Sessions() if sessions is None else sessions

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(found.close)

    app = Starlette(
        routes=[
            Route("/", page),
            *(Route(f"/api/{name}", asked, methods=["GET"]) for name, asked in GET.items()),
            *(Route(f"/api/{name}", asked, methods=["POST"]) for name, asked in POST.items()),
            Mount("/static", StaticFiles(directory=STATIC, check_dir=False)),
        ],
        middleware=[Middleware(Guard, hosts=hosts)],
        exception_handlers={
            XpmlpError: _explain_error,
            RefusedError: _explain_refusal,
            HTTPException: _explain_status,
            ClientDisconnect: _explain_status,
        },
        lifespan=lifespan,
    )
    app.state.sessions = found
    return app


async def _explain_error(request: Request, error: Exception) -> Response:
    session = _find(request)
    text = str(error) if session is None else session.message(error)
    return refusal(429 if isinstance(error, BusyError) else 400, text)


async def _explain_refusal(request: Request, error: Exception) -> Response:
    return refusal(getattr(error, "status", 400), str(error))


async def _explain_status(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 400)
    return refusal(status, getattr(error, "detail", "the request ended early"))


# Sessions


def _find(request: Request) -> Session | None:
    sessions: Sessions = request.app.state.sessions
    return sessions.find(request.cookies.get(COOKIE))


def running(request: Request) -> Run:
    """Return the session's run, which has been started."""
    session = _find(request)
    if session is None or session.run is None:
        raise RefusedError(409, "nothing has been started yet")
    session.run.ask()
    return session.run


async def answered(request: Request, make: Callable[[Session], Any]) -> Response:
    """Return as JSON what a function makes of the session; a new one gets its cookie."""
    sessions: Sessions = request.app.state.sessions
    session, token = _find(request), None
    if session is None:
        token, session = sessions.make()
    try:
        answer = as_json(await run_in_threadpool(make, session))
    except XpmlpError as error:
        answer = await _explain_error(request, error)
    if token is not None:
        answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
    return answer


# Requests


async def page(request: Request) -> Response:
    """Return the page."""
    return FileResponse(STATIC / "index.html")


async def options(request: Request) -> Response:
    """Return what can be set, and how."""
    names = {name: list(values) for name, values in CHOICES.items()} | {"backend": installed()}
    return as_json(
        {
            "settings": Settings().as_json(),
            "choices": names,
            "limits": LIMITS,
            "help": HELP,
            "stories": [],
            "version": __version__,
        }
    )


async def state(request: Request) -> Response:
    """Return all of the run but its frames."""
    session = _find(request)
    if session is None or session.run is None:
        return as_json({"settings": Settings().as_json(), "status": "empty", "run": 0})
    session.run.ask()
    return as_json(frames.state(session.run))


async def start(request: Request) -> Response:
    """Begin a run, paused before its first epoch, or at once with ``"run": true``."""
    given = await json_of(request)
    goes = given.pop("run", False) is True
    settings = Settings.checked(given.pop("settings", given))

    def begin(session: Session) -> dict[str, Any]:
        run = session.start(settings)
        if goes:
            run.go()
        return frames.state(run)

    return await answered(request, begin)


async def reset(request: Request) -> Response:
    """Go back to the start, with the same settings."""
    await json_of(request)
    settings = running(request).settings
    return await answered(request, lambda session: _short(session.start(settings)))


async def go(request: Request) -> Response:
    """Train on."""
    await json_of(request)
    run = running(request)
    await run_in_threadpool(run.go)
    return as_json(_short(run))


async def pause(request: Request) -> Response:
    """Pause."""
    await json_of(request)
    run = running(request)
    await run_in_threadpool(run.pause)
    return as_json(_short(run))


async def advance(request: Request) -> Response:
    """Train one step, or to the end of the epoch."""
    given, run = await json_of(request), running(request)
    by = given.get("by", "epoch")
    if by not in ("epoch", "step"):
        raise RefusedError(400, "by: expected epoch or step")
    await run_in_threadpool(run.advance, by)
    return as_json(_short(run))


async def frame(request: Request) -> Response:
    """Wait for a frame other than the one the page has, and return it."""
    asked = request.query_params.get("after", "0")
    if not asked.isdecimal() or len(asked) > 12:
        raise RefusedError(400, "after: expected the number of a frame")
    after, run = int(asked), running(request)
    loop, rung = asyncio.get_running_loop(), asyncio.Event()

    def ring() -> None:
        loop.call_soon_threadsafe(rung.set)

    run.bells.add(ring)
    try:
        run.want()
        if run.last.number == after:
            async with asyncio.timeout(WAIT):
                await rung.wait()
    except TimeoutError:
        return Response(status_code=204)
    finally:
        run.bells.discard(ring)
    session = _find(request)
    if session is None or session.viewer is None:  # it made place for another
        raise RefusedError(409, "nothing has been started yet")
    content = await run_in_threadpool(_draw, session, after)
    return Response(content, media_type="application/octet-stream")


def _draw(session: Session, after: int) -> bytes:
    viewer = session.viewer
    assert viewer is not None
    return viewer.frame(viewer.run.last, after)


def _short(run: Run) -> dict[str, Any]:
    return frames.short(run, run.last)


GET: dict[str, Handler] = {"options": options, "state": state, "frame": frame}
POST: dict[str, Handler] = {
    "start": start,
    "reset": reset,
    "run": go,
    "pause": pause,
    "advance": advance,
}
