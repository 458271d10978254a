"""``mpiexec -n 4 xpmlp train``: who the workers are, and what each does of a command."""

import os
import platform
import sys
from argparse import Namespace
from contextlib import AbstractContextManager, nullcontext
from time import sleep

from xpmlp.cli.output import Output
from xpmlp.parallel import gather
from xpmlp.parallel.find import communicator, is_used, launched, sharded
from xpmlp.parallel.run import Sharded
from xpmlp.parallel.sentinel import watching

PATIENCE = 3.0
"""Seconds that the other workers leave to the first to say what is wrong, which is mostly the same
for all."""


def chosen(args: Namespace) -> Sharded | None:
    """Return how the options cut steps, and set ``args.workers`` and ``args.shards``.

    Raises
    ------
    XpmlpError
        If there are no such workers, or too many.
    """
    if args.workers is None and launched() is not None:
        args.workers = "auto"
    form = sharded(args.workers, args.shards, args.reduction)
    args.shards = None if form is None else form.shards
    return form


def is_first(form: Sharded | None) -> bool:
    """Whether this worker prints and writes files."""
    return form is None or form.together.rank == 0


def describe(form: Sharded | None, out: Output) -> None:
    """Print who they are."""
    if form is not None:
        size, added = form.together.size, "in a fixed order"
        added = added if form.reduction == "tree" else "as the engine does it"
        out.row(
            "workers",
            f"{size} ({form.together.name}); {form.shards} shards of a batch, added up {added}",
        )


def resume_with(form: Sharded | None) -> str:
    """Return what comes before the command that resumes a run."""
    found = launched()
    if form is None or found is None:
        return ""
    number = "--nproc-per-node" if found.launcher == "torchrun" else "-n"
    end = "--no-python " if found.launcher == "torchrun" else ""
    return f"{found.launcher} {number} {found.size} {end}"


def watched(form: Sharded | None, command: str) -> AbstractContextManager[object]:
    """Return a context in which a worker that is killed is named, with the command that resumes.

    All workers call it together.
    """
    if form is None or form.together.size == 1:
        return nullcontext()
    here = platform.node()
    each = gather(form.together, [here, os.getpid()])
    if form.together.rank:
        return nullcontext()
    pids = [pid if machine == here else 0 for machine, pid in each]
    name = command.replace("{", "{{").replace("}", "}}")
    say = f"xpmlp: error: worker {{0}} (process {{1}}) has ended, and so do all; to resume: {name}"
    return watching(pids, say)


def is_left_to_first(command: str) -> bool:
    """Whether another worker runs this command; the first says that it does so alone."""
    found = launched()
    if found is None or command == "train":
        return False
    if found.rank == 0:
        note = f"only 'train' uses several workers; of {found.size}, the first runs {command!r}"
        print(f"xpmlp: {note}", file=sys.stderr)
    return found.rank > 0


def end(status: int, interrupted: bool) -> None:
    """After an error, end all workers: the others would wait for this one forever."""
    found = launched()
    if found is not None and is_used(found.engine) and not interrupted:
        communicator(found.engine).abort(status)


def wait_for_first() -> str:
    """Let the first worker report an error that all have, and end them; then return who this is."""
    found = launched()
    if found is None or found.rank == 0:
        return ""
    sleep(PATIENCE)
    return f"worker {found.rank}: "
