"""The command line's parser, and the arguments of a run from its options and back."""

import argparse
import contextlib
import difflib
import io
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from xpmlp import __version__
from xpmlp.cli.examples import EXAMPLES
from xpmlp.cli.options import COMMANDS
from xpmlp.cli.output import wrapped
from xpmlp.errors import InvalidValueError

NOT_OF_THE_RUN = (
    "command",
    "given",
    "config",
    "debug",
    "json",
    "quiet",
    "out",
    "resume",
    "workers",
)
"""Options of ``train`` that belong to one call, not to the run that it begins or resumes."""

OVERRIDES = ("backend", "device", "data_dir", "data_on", "debug", "json", "quiet", "workers")
"""Options that may be given with --resume: where to compute, what to print."""


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse arguments, by default the process's own; ``given`` has those that are there.

    Without any, print the help.
    """
    argv = sys.argv[1:] if argv is None else argv
    argv = argv or ["--help"]
    args, bare = build().parse_args(argv), build()
    bare.drop_defaults()
    args.given = vars(bare.parse_args(argv))
    return args


def parsed_quietly(argv: Sequence[str]) -> argparse.Namespace:
    """Parse arguments that a file has.

    Raises
    ------
    ValueError
        For wrong ones, with what the command line says of them.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return parse(argv)
    except SystemExit:
        found = re.search(r"error: (.*) \(see", said.getvalue())
        raise ValueError(found[1] if found else "found --help") from None


def arguments(args: argparse.Namespace) -> list[str]:
    """Return the arguments that repeat the run, even when the defaults have changed."""
    given = [args.data]
    for name, value in vars(args).items():
        option = f"--{name.replace('_', '-')}"
        if name in (*NOT_OF_THE_RUN, "data") or value is None:
            continue
        if value is False:
            given += ["--no-header"] if name == "header" else []
        elif value is True or value == []:
            given.append(option)
        elif isinstance(value, list):
            given += [option, *map(str, value)]
        else:
            given.append(f"{option}={value}")
    return given


def resumed(args: argparse.Namespace, run: argparse.Namespace) -> argparse.Namespace:
    """Return the arguments of an interrupted run, with what may change on resuming.

    Raises
    ------
    InvalidValueError
        If something else was given with --resume.
    """
    for name, value in args.given.items():
        if name not in (*OVERRIDES, "command", "resume"):
            what = f"the data {value!r}" if name == "data" else f"--{name.replace('_', '-')}"
            raise InvalidValueError(
                f"--resume continues a run with its own settings; found {what}. Leave it out, or "
                "start another run"
            )
        setattr(run, name, value)
    return run


def build() -> "_Parser":
    """Return the parser of ``xpmlp``."""
    parser = _Parser(
        prog="xpmlp",
        description="A multilayer perceptron on NumPy, CuPy, PyTorch, JAX or dpnp.",
        epilog=_examples(""),
    )
    parser.add_argument("--version", action="version", version=f"xpmlp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (declare, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, epilog=_examples(name))
        declare(command)
        command.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _examples(command: str) -> str:
    return "\n".join(["examples:", *(f"  {line}" for line in EXAMPLES[command])])


class _Help(argparse.HelpFormatter):
    """Wraps a description at words, and leaves the lines of examples as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class _Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` whose errors are one line and suggest what may have been meant."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs, allow_abbrev=False, formatter_class=_Help)

    def error(self, message: str) -> NoReturn:
        wrong = re.findall(r"(?<!\S)--[\w-]+|(?<=invalid choice: ')[^']+", message)
        known = self._known()
        near = [m for w in wrong for m in difflib.get_close_matches(w, known, n=1) if m != w]
        if near:
            message += f"; did you mean {' '.join(near)}?"
        elif "--hidden: invalid int" in message:
            message += "; the data come first: xpmlp train mnist --hidden 512 512"
        said = f"{self.prog}: error: {message} (see {self.prog} --help)"
        self.exit(2, wrapped(said, sys.stderr) + "\n")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        values = super()._get_values(action, arg_strings)
        if values == [] and action.nargs not in (0, "*"):  # --out=--, in Python 3.11
            raise argparse.ArgumentError(action, "expected a value")
        return values

    def drop_defaults(self) -> None:
        """Make the result have only what is among the arguments, those of commands included."""
        for action in self._actions:
            action.default = argparse.SUPPRESS
            if isinstance(action.choices, dict):
                for command in action.choices.values():
                    command.drop_defaults()

    def _known(self) -> list[str]:
        """Commands and options, those of commands included."""
        known = [o for action in self._actions for o in action.option_strings]
        for action in self._actions:
            if isinstance(action.choices, dict):
                known += action.choices
                known += [o for p in action.choices.values() for o in p._known()]
            elif action.choices:
                known += action.choices
        return known
