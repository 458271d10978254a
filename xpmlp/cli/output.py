"""Where a command writes: text for people, JSON for scripts."""

import math
import sys
import textwrap
from pathlib import Path
from typing import Any, TextIO

WIDTH = 80


class Output:
    """The streams of one command.

    Parameters
    ----------
    json_path : str, optional
        File for the result; ``"-"`` is stdout, and all else that is said then goes to stderr.
    quiet : bool
        Say nothing.
    """

    def __init__(self, json_path: str | None = None, quiet: bool = False) -> None:
        self.json_path = json_path
        self.quiet = quiet

    @property
    def stream(self) -> TextIO:
        """Where text for people goes."""
        return sys.stderr if self.json_path == "-" else sys.stdout

    def say(self, text: str, indent: str = "") -> None:
        """Print a sentence, in lines of 80 columns; later ones begin with ``indent``."""
        if not self.quiet:
            lines = textwrap.wrap(
                clean(text), WIDTH, subsequent_indent=indent, break_on_hyphens=False
            )
            print("\n".join(lines), file=self.stream, flush=True)

    def show(self, lines: list[str]) -> None:
        """Print a result line by line, unless it goes to stdout as JSON."""
        if not self.quiet and self.json_path != "-":
            print("\n".join(clean(line) for line in lines))

    def record(self, value: Any) -> None:
        """Write the result as JSON, if that was asked for."""
        if self.json_path == "-":
            print(to_json(value, indent=2))
        elif self.json_path is not None:
            from xpmlp.atomic import write_atomically

            write_atomically(Path(self.json_path), (to_json(value, indent=2) + "\n").encode())


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
    """Replace control characters: names from a file must not steer the terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)


def short(text: str, width: int) -> str:
    """Cut a name to a column's width."""
    return text if len(text) <= width else f"{text[: width - 3]}..."
