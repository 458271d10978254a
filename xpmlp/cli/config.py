"""Settings of ``xpmlp train`` in a TOML file: read for ``--config``, written to each run folder.

A setting has the name of its option: ``hidden = [64, 64]``, ``early-stopping = 5``. The options of
the command line win.
"""

import argparse
import json
import tomllib
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xpmlp import __version__
from xpmlp.cli.parser import NOT_OF_THE_RUN, build, parsed_quietly
from xpmlp.errors import InvalidValueError, short, unknown_name
from xpmlp.storage.paths import expanded

CONFIG = "run.toml"
"""The file's name in a run folder."""

NOT_IN_A_FILE = ("help", "config", "resume", "debug")
"""Options of ``train`` that are no settings."""


def with_file(args: Namespace) -> Namespace:
    """Return arguments with the settings of the file of ``--config``, which give way to them.

    Raises
    ------
    InvalidValueError
        If the file is no TOML, or has a setting that ``xpmlp train`` does not take.
    OSError
        If it cannot be read.
    """
    path = expanded(args.config, "--config")
    try:
        settings = tomllib.loads(path.read_bytes().decode())
        of_file = parsed_quietly(["train", *_arguments(settings)]).given
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(f"{path}: {error}") from error
    new = {name: value for name, value in of_file.items() if name not in args.given}
    vars(args).update(new)
    args.given |= new
    return args


def _options() -> dict[str, argparse.Action]:
    """Return what declares each setting, by name."""
    (commands,) = (a for a in build()._actions if isinstance(a.choices, dict))
    actions = commands.choices["train"]._actions  # type: ignore[index]
    return {action.dest: action for action in actions if action.dest not in NOT_IN_A_FILE}


def _arguments(settings: Mapping[str, Any]) -> list[str]:
    """Return the command line's arguments for settings, the data first."""
    options, data, rest = _options(), [], []
    for name, value in settings.items():
        action = options.get(name.replace("-", "_"))
        if action is None:
            raise unknown_name("setting", name, [key.replace("_", "-") for key in options])
        if action.dest == "data":
            data = [_text(name, value)]
        else:
            rest += _option(action, name, value)
    return [*data, *rest]


def _option(action: argparse.Action, name: str, value: Any) -> list[str]:
    """Return the arguments of one setting."""
    option = action.option_strings[0]
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"{name}: found {short(repr(value))}; expected true or false")
        return [option] if value else [*action.option_strings[1:]]  # --no-header, if it has one
    several = action.nargs in ("*", "+")
    values = [value]
    if isinstance(value, list) and (several or isinstance(action, argparse._AppendAction)):
        values = value
    texts = [_text(name, each) for each in values]
    if several and not isinstance(action, argparse._ExtendAction):
        return [option, *texts]
    return [f"{option}={text}" for text in texts]


def _text(name: str, value: Any) -> str:
    """Write one value as on the command line."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{name}: found {short(repr(value))}; expected a text or a number")
    return value if isinstance(value, str) else repr(value)


def written(args: Namespace, left_out: tuple[str, ...] = ()) -> bytes:
    """Return a file with the settings of a run, which repeats it.

    Parameters
    ----------
    args : Namespace
        All options of the run.
    left_out : tuple of str
        Options that the run has no use for.
    """
    lines = [f"# xpmlp {__version__}: xpmlp train --config {CONFIG} repeats this run"]
    skipped = {*NOT_OF_THE_RUN, *left_out}
    for name, value in vars(args).items():
        if name in skipped or value is None or (value is False and name != "header"):
            continue
        lines.append(f"{name.replace('_', '-')} = {_toml(value)}")
    return ("\n".join(lines) + "\n").encode(errors="backslashreplace")


def _toml(value: Any) -> str:
    """Write a value as TOML, which has JSON's texts but for two rules of escaping."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower() if isinstance(value, bool) else repr(value)
