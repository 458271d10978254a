"""What requests need of the server: the session of the browser, its run, and an answer."""

from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from xpmlp.errors import XpmlpError
from xpmlp.play.guard import RefusedError, as_json, refusal
from xpmlp.play.run import Run
from xpmlp.play.sessions import BusyError, Session, Sessions

COOKIE = "xpmlp_play"

Handler = Callable[[Request], Any]


def session_of(request: Request) -> Session | None:
    """Return the session of the browser's cookie; None for a new browser."""
    sessions: Sessions = request.app.state.sessions
    return sessions.find(request.cookies.get(COOKIE))


def running(request: Request) -> tuple[Session, Run]:
    """Return the session and its run.

    Raises
    ------
    RefusedError
        If none has been started.
    """
    session = session_of(request)
    if session is None or session.run is None:
        raise RefusedError(409, "nothing has been started yet")
    session.run.ask()
    return session, session.run


async def answered(request: Request, make: Callable[[Session], Any]) -> Response:
    """Return as JSON what a function makes of the session; a new one gets its cookie."""
    sessions: Sessions = request.app.state.sessions
    session, token = session_of(request), None
    if session is None:
        token, session = sessions.make()
    try:
        answer = as_json(await run_in_threadpool(make, session))
    except XpmlpError as error:
        answer = explain_error(error, session)
    if token is not None:
        answer.set_cookie(COOKIE, token, httponly=True, samesite="strict")
    return answer


def explain_error(error: Exception, session: Session | None) -> Response:
    """Return an error of the library as one line."""
    text = str(error) if session is None else session.message(error)
    return refusal(429 if isinstance(error, BusyError) else 400, text)
