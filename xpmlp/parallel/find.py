"""From the arguments of ``fit`` to the workers of a run, and how they share its steps."""

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from xpmlp.errors import InvalidTypeError, InvalidValueError, unknown_name
from xpmlp.parallel.communicator import Alone, Communicator
from xpmlp.parallel.mpi import MPI
from xpmlp.parallel.run import REDUCTIONS, SHARDS, Sharded

GROUP = "xpmlp.communicators"
"""The entry points of third parties: functions without arguments that return a communicator."""

LAUNCHERS = (
    ("mpiexec", "mpi", "PMI_SIZE", "PMI_RANK"),
    ("mpiexec", "mpi", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    ("torchrun", "torch", "WORLD_SIZE", "RANK"),
    ("srun", "mpi", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)
"""What starts workers, the engine that they use, and variables with their number and the rank."""


def _gloo() -> Communicator:
    made: Communicator = import_module("xpmlp_backends.torch.distributed").Gloo()
    return made


_MADE: dict[str, Callable[[], Communicator]] = {"mpi": MPI, "torch": _gloo, "alone": Alone}
_FOUND: dict[str, Communicator] = {}


def register(name: str, make: Callable[[], Communicator]) -> None:
    """Let ``fit(workers=name)`` find an engine.

    Parameters
    ----------
    name : str
    make : callable () -> Communicator
        Called once in a process.

    Examples
    --------
    >>> from xpmlp.parallel import Alone, register
    >>> register("pigeons", Alone)
    >>> mlp, points = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0), xpmlp.data.make_xor(n=64)
    >>> history = mlp.fit(points.X, points.y, epochs=2, workers="pigeons")
    """
    _MADE[name] = make
    _FOUND.pop(name, None)


class Launched(NamedTuple):
    """How this process was started with others: by what, the engine, their number, and the rank."""

    launcher: str
    engine: str
    size: int
    rank: int


def launched(environment: Mapping[str, str] | None = None) -> Launched | None:
    """Return how this process was started with others; None for one that was started alone.

    Examples
    --------
    >>> launched({"PMI_SIZE": "4", "PMI_RANK": "2"})
    Launched(launcher='mpiexec', engine='mpi', size=4, rank=2)
    >>> launched({"PMI_SIZE": "1", "PMI_RANK": "0"}), launched({})
    (None, None)
    """
    found = os.environ if environment is None else environment
    for launcher, engine, size, rank in LAUNCHERS:
        numbers = found.get(size, ""), found.get(rank, "")
        if all(map(str.isdecimal, numbers)) and numbers[0] != "1":
            return Launched(launcher, engine, *map(int, numbers))
    return None


def is_used(engine: str) -> bool:
    """Whether this process has met the others."""
    return engine in _FOUND


def communicator(name: str) -> Communicator:
    """Return the workers of this process by the engine's name; "auto" asks the environment.

    Raises
    ------
    InvalidValueError
        For an unknown name.
    MissingExtraError
        If the engine's library is not installed.
    """
    if name == "auto":
        found = launched()
        name = "alone" if found is None else found.engine
    if name == "jax":
        raise InvalidValueError(
            "workers: found 'jax'; jax.distributed adds up in an order of its own, which changes "
            "with the number of workers. Use 'mpi' or 'torch', which carry JAX's arrays on CPUs"
        )
    if name not in _MADE:
        points = {point.name: point for point in entry_points(group=GROUP)}
        if name not in points:
            raise unknown_name("workers", name, ("auto", *_MADE, *points))
        _MADE[name] = points[name].load()
    if name not in _FOUND:
        _FOUND[name] = _MADE[name]()
    return _FOUND[name]


def sharded(
    workers: Any, shards: int | None, reduction: str, threads: int | None = None
) -> Sharded | None:
    """Return how steps are cut, or None where one worker takes them whole.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For a number as workers, more workers than shards, and anything that is no communicator.
    """
    if reduction not in REDUCTIONS:
        raise unknown_name("reduction", reduction, REDUCTIONS)
    if str(workers).isdecimal():
        raise InvalidValueError(
            f"workers: found {workers}; their number is given to mpiexec: mpiexec -n "
            f"{workers} python script.py, or mpiexec -n {workers} xpmlp train, with workers='auto'"
        )
    if workers is None and shards in (None, 1):
        return None
    found = communicator(workers or "alone") if isinstance(workers, str | None) else workers
    if not isinstance(found, Communicator):
        raise InvalidTypeError(
            f"workers: found {workers!r}; expected 'auto', None or an object with the methods of "
            "xpmlp.parallel.Communicator"
        )
    count = SHARDS if shards is None else shards
    if count < 1:  # from the command line; fit has checked it
        raise InvalidValueError(f"shards: found {count}; expected a whole number from 1")
    if found.size > count:
        raise InvalidValueError(
            f"workers: found {found.size} for {count} shards of a batch, so some would have "
            f"nothing to do; pass shards={found.size} or more, the same in all runs that are to "
            "give the same result"
        )
    return Sharded(found, count, reduction, threads or 1)
