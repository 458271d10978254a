"""The application: its addresses, what guards them, and how errors are told."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from xpmlp.errors import XpmlpError
from xpmlp.play import answers, extras
from xpmlp.play.asking import explain_error, session_of
from xpmlp.play.guard import Guard, RefusedError, refusal
from xpmlp.play.sessions import Sessions

GET = answers.GET | extras.GET
POST = answers.POST | extras.POST


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
            Route("/", answers.page),
            *(Route(f"/api/{name}", asked, methods=["GET"]) for name, asked in GET.items()),
            *(Route(f"/api/{name}", asked, methods=["POST"]) for name, asked in POST.items()),
            Mount("/static", StaticFiles(directory=answers.STATIC)),
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
    return explain_error(error, session_of(request))


async def _explain_refusal(request: Request, error: Exception) -> Response:
    return refusal(getattr(error, "status", 400), str(error))


async def _explain_status(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 400)
    return refusal(status, getattr(error, "detail", "the request ended early"))
