"""``xpmlp completion``: a script with which a shell completes commands, options and files."""

import argparse
import sys
from argparse import Namespace

from xpmlp.cli.parser import build
from xpmlp.errors import require
from xpmlp.storage.streams import put

FILES, FOLDERS = ("FILE", "MODEL", "DATA"), ("FOLDER",)
"""Values that are names of files and of folders, by what the help calls them."""


def run(args: Namespace) -> None:
    """Print the script.

    Raises
    ------
    MissingExtraError
        If shtab is not installed.
    """
    shtab = require("shtab", extra="cli", purpose="xpmlp completion")
    parser = build()
    (commands,) = (a for a in parser._actions if isinstance(a.choices, dict))
    for command in commands.choices.values():  # type: ignore[union-attr]
        for action in command._actions:
            _complete(action, shtab)
    put(shtab.complete(parser, args.shell), sys.stdout)


def _complete(action: argparse.Action, shtab: object) -> None:
    """Let the shell complete names of files where an option takes one."""
    for kind, names in (("FILE", FILES), ("DIRECTORY", FOLDERS)):
        if action.metavar in names:
            action.complete = getattr(shtab, kind)  # type: ignore[attr-defined]
