"""The other requests: why a network says what it says, tables, digits, and what one takes along."""

import tempfile
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from xpmlp.play.asking import Handler, answered, running, session_of
from xpmlp.play.code import script
from xpmlp.play.film import film
from xpmlp.play.frames import Viewer
from xpmlp.play.guard import FILE_BYTES, RefusedError, as_json, body_of, json_of
from xpmlp.play.reader import Reader
from xpmlp.play.sessions import Session
from xpmlp.play.table import SUFFIXES, about
from xpmlp.play.why import diagnosed, explained


async def explain(request: Request) -> Response:
    """Explain the forward and backward pass of one row or point."""
    given = await json_of(request)
    return as_json(await run_in_threadpool(explained, _viewer(request), given))


async def diagnosis(request: Request) -> Response:
    """Say what is wrong with the run."""
    return as_json(await run_in_threadpool(diagnosed, _viewer(request)))


def _viewer(request: Request) -> Viewer:
    session, _ = running(request)
    assert session.viewer is not None
    return session.viewer


# Tables


async def table(request: Request) -> Response:
    """Take a table, and say what its columns are."""
    content = await _file(request)
    name = request.query_params.get("name", "")
    if Path(name).suffix.lower() not in SUFFIXES:
        raise RefusedError(
            415, f"found the file {name[-40:]!r}; expected one of {', '.join(SUFFIXES)}"
        )

    def read(session: Session) -> dict[str, Any]:
        path = session.store(name, content)
        session.about_table = about(path) | {"name": path.name}
        session.table = path
        return session.about_table

    return await answered(request, read)


async def _file(request: Request) -> bytes:
    return await body_of(request, FILE_BYTES, "application/octet-stream")


# Digits


async def digit_state(request: Request) -> Response:
    """Return where the network is that reads digits."""
    session = session_of(request)
    return as_json((session.digits if session else Reader()).state())


async def digit_train(request: Request) -> Response:
    """Begin to train it."""
    await json_of(request)

    def train(session: Session) -> dict[str, Any]:
        session.digits.train()
        return session.digits.state()

    return await answered(request, train)


async def digit_model(request: Request) -> Response:
    """Take a model file in its place."""
    content = await _file(request)
    name = request.query_params.get("name", "model.xpmlp")

    def open_model(session: Session) -> dict[str, Any]:
        reader, path = session.digits, session.store(name, content)
        try:
            reader.open(path)
        finally:
            path.unlink()
        return reader.state()

    return await answered(request, open_model)


async def digit_read(request: Request) -> Response:
    """Read a drawn digit."""
    given = await json_of(request)
    session = session_of(request)
    if session is None or not session.digits.ready:
        raise RefusedError(409, "no network is there yet; train one, or open a model file")
    return as_json(await run_in_threadpool(session.digits.read, given.get("pixels")))


# What one takes along


async def code(request: Request) -> Response:
    """Return a script that makes the same network."""
    session, run = running(request)
    text = script(run.settings, run.problem, session.table)
    return Response(text, media_type="text/x-python", headers=_as("play.py"))


async def model(request: Request) -> Response:
    """Return the network of this moment as a model file."""
    content = await run_in_threadpool(_saved, _viewer(request))
    return Response(content, media_type="application/octet-stream", headers=_as("model.xpmlp"))


async def gif(request: Request) -> Response:
    """Return the run as an animation."""
    content = await run_in_threadpool(film, _viewer(request))
    return Response(content, media_type="image/gif", headers=_as("run.gif"))


def _as(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}"'}


def _saved(viewer: Viewer) -> bytes:
    with viewer.run.looking, tempfile.TemporaryDirectory(prefix="xpmlp-play-") as folder:
        shot, path = viewer.run.last, Path(folder) / "model.xpmlp"
        mlp = viewer.look_at(shot)
        mlp.epochs_trained = shot.epoch
        mlp.save(path)
        return path.read_bytes()


async def leave(request: Request) -> Response:
    """Do nothing: a run pauses when nobody has asked for a while, as another tab may be there."""
    return Response(status_code=204)


GET: dict[str, Handler] = {
    "diagnosis": diagnosis,
    "digit/state": digit_state,
    "code": code,
    "model": model,
    "gif": gif,
}
POST: dict[str, Handler] = {
    "explain": explain,
    "table": table,
    "digit/train": digit_train,
    "digit/model": digit_model,
    "digit/read": digit_read,
    "leave": leave,
}
