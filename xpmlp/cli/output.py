"""Where a command writes: text for people, JSON for scripts."""

import math
import os
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any, Literal, TextIO

from xpmlp.errors import InvalidValueError
from xpmlp.storage.atomic import write_atomically
from xpmlp.storage.paths import expanded
from xpmlp.storage.streams import put

WIDTH = 80


class Output:
    """The streams of one command: text for people, unless it is ``quiet``, and the result as JSON.

    With ``"-"`` as `json_path` the result goes to stdout, and text to stderr. A file that cannot
    be written is an InvalidValueError at once, not after the training.
    """

    def __init__(self, json_path: str | None = None, quiet: bool = False) -> None:
        self.json_path: Path | Literal["-"] | None = None
        if json_path is not None:
            self.json_path = "-" if json_path == "-" else expanded(json_path, "--json")
        if isinstance(self.json_path, Path):
            _refuse_unwritable(self.json_path)
        self.quiet = quiet

    @property
    def stream(self) -> TextIO:
        """Where text for people goes."""
        return sys.stderr if self.json_path == "-" else sys.stdout

    def row(self, name: str, text: str) -> None:
        """Print a name and a text, whose further lines begin below its first."""
        self.say(f"{name:<9} {text}", indent=" " * 10)

    def say(self, text: str, indent: str = "") -> None:
        """Print a sentence in lines of 80 columns or fewer, all but the first indented."""
        if not self.quiet:
            lines = textwrap.wrap(
                clean(text),
                min(WIDTH, shutil.get_terminal_size().columns),
                subsequent_indent=indent,
                break_on_hyphens=False,
                break_long_words=False,  # a path, to be copied
            )
            put("\n".join(lines), self.stream)

    def show(self, lines: list[str]) -> None:
        """Print a result line by line, unless it goes to stdout as JSON."""
        if not self.quiet and self.json_path != "-":
            put("\n".join(wrapped(clean(line), sys.stdout) for line in lines), sys.stdout)

    def record(self, value: Any) -> None:
        """Write the result as JSON, if asked for."""
        if self.json_path == "-":
            put(to_json(value, indent=2), sys.stdout)
        elif self.json_path is not None:
            write_atomically(self.json_path, (to_json(value, indent=2) + "\n").encode())


def wrapped(line: str, stream: TextIO) -> str:
    """Break a line at words where a terminal would break it anywhere; files get it as it is."""
    room = shutil.get_terminal_size().columns
    if len(line) <= room or not (stream and stream.isatty()):
        return line
    return textwrap.fill(
        line,
        room,
        subsequent_indent=" " * 10,
        replace_whitespace=False,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _refuse_unwritable(path: Path) -> None:
    """Check the nearest folder that exists, or the file itself if it is a device."""
    if path.is_dir():
        raise InvalidValueError(f"--json {path}: found a folder; expected a file, or -")
    device = path.exists() and not path.is_file()
    place = path if device else next(p for p in path.parents if p.exists())
    if not os.access(place, os.W_OK) or not (device or place.is_dir()):
        raise InvalidValueError(
            f"--json {path}: found {place}; expected a folder that can be written to"
        )


def to_json(value: Any, indent: int | None = None) -> str:
    """Return strict JSON: NaN and infinity, which it lacks, become null."""
    import json  # here, because --help does not need it

    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def clean(text: str) -> str:
    """Replace control characters except tabs: names from files must not control the terminal."""
    return "".join(c if c.isprintable() or c == "\t" else "?" for c in text)
