"""Printing at once, with an error that names the stream."""

from typing import TextIO

from xpmlp.errors import naming

_NAMES = {"<stdout>": "standard output", "<stderr>": "standard error"}


def put(text: str, stream: TextIO) -> None:
    """Print a text and flush; an ``OSError`` gets the name of the stream, which it lacks."""
    name = str(getattr(stream, "name", "the stream"))
    with naming(_NAMES.get(name, name)):
        print(text, file=stream, flush=True)
