"""The requests that set up a run, train, and draw it."""

import asyncio
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from xpmlp import __version__
from xpmlp.play import frames
from xpmlp.play.asking import Handler, answered, running, session_of
from xpmlp.play.guard import RefusedError, as_json, json_of
from xpmlp.play.run import Run
from xpmlp.play.sessions import Session
from xpmlp.play.settings import CHOICES, HELP, LIMITS, Settings, installed
from xpmlp.play.stories import STORIES

STATIC = Path(__file__).parent / "static"
WAIT = 5.0
"""Seconds that a request for a frame waits for one."""


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
            "stories": [story.as_json() for story in STORIES],
            "version": __version__,
        }
    )


async def state(request: Request) -> Response:
    """Return all of the run but its frames."""
    session = session_of(request)
    if session is None or session.run is None:
        table = None if session is None else session.about_table
        settings = Settings().as_json()
        return as_json({"settings": settings, "status": "empty", "run": 0, "table": table})
    session.run.ask()
    return as_json(_whole(session, session.run))


async def start(request: Request) -> Response:
    """Begin a run, paused before its first epoch, or at once with ``"run": true``."""
    given = await json_of(request)
    goes = given.pop("run", False) is True
    settings = Settings.checked(given.pop("settings", given))

    def begin(session: Session) -> dict[str, Any]:
        run = session.start(settings)
        if goes:
            run.go()
        return _whole(session, run)

    return await answered(request, begin)


async def reset(request: Request) -> Response:
    """Go back to the start, with the same settings."""
    await json_of(request)
    settings = running(request)[1].settings
    return await answered(request, lambda session: _short(session.start(settings)))


async def go(request: Request) -> Response:
    """Train on."""
    await json_of(request)
    run = running(request)[1]
    await run_in_threadpool(run.go)
    return as_json(_short(run))


async def pause(request: Request) -> Response:
    """Pause."""
    await json_of(request)
    run = running(request)[1]
    await run_in_threadpool(run.pause)
    return as_json(_short(run))


async def advance(request: Request) -> Response:
    """Train one step, or to the end of the epoch."""
    given, run = await json_of(request), running(request)[1]
    by = given.get("by", "epoch")
    if by not in ("epoch", "step"):
        raise RefusedError(400, "by: expected epoch or step")
    await run_in_threadpool(run.advance, by)
    return as_json(_short(run))


async def frame(request: Request) -> Response:
    """Wait for a frame other than the one the page has, and return it."""
    asked = request.query_params.get("after", "0")
    if not (asked.isascii() and asked.isdecimal()) or len(asked) > 12:
        raise RefusedError(400, "after: expected the number of a frame")
    after, run = int(asked), running(request)[1]
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
    session = session_of(request)
    if session is None or session.viewer is None:  # it made place for another
        raise RefusedError(409, "nothing has been started yet")
    content = await run_in_threadpool(_draw, session, after)
    return Response(content, media_type="application/octet-stream")


def _draw(session: Session, after: int) -> bytes:
    viewer = session.viewer
    assert viewer is not None
    return viewer.frame(viewer.run.last, after)


def _whole(session: Session, run: Run) -> dict[str, Any]:
    return frames.state(run) | {"table": session.about_table}


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
