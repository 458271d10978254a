"""From the arguments of ``fit`` to the workers of a run, and how they share its steps."""

import os
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from xpmlp.errors import InvalidTypeError, InvalidValueError, unknown_name
from xpmlp.parallel.communicator import Alone, Communicator
from xpmlp.parallel.mpi import MPI
from xpmlp.parallel.run import REDUCTIONS, SHARDS, Sharded

GROUP = "xpmlp.communicators"
"""The entry points of third parties: functions without arguments that return a communicator."""

LAUNCHERS = {
    "mpiexec": ("mpi", "PMI_SIZE"),
    "mpiexec of Open MPI": ("mpi", "OMPI_COMM_WORLD_SIZE"),
    "mpiexec with PMIx": ("mpi", "PMIX_RANK"),
    "srun": ("mpi", "SLURM_STEP_NUM_TASKS"),
}
"""By name: which engine its processes use, and the variable that it sets in them."""

_MADE: dict[str, Callable[[], Communicator]] = {"mpi": MPI, "alone": Alone}
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


def launched(environment: Mapping[str, str] | None = None) -> tuple[str, str] | None:
    """Return launcher and engine of this process, or None for one that was started alone.

    Examples
    --------
    >>> launched({"PMI_SIZE": "4"}), launched({"PMI_SIZE": "1"}), launched({})
    (('mpiexec', 'mpi'), None, None)
    """
    found = os.environ if environment is None else environment
    for launcher, (engine, variable) in LAUNCHERS.items():
        if variable in found and (variable.endswith("RANK") or found[variable] != "1"):
            return launcher, engine
    return None


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
        name = "alone" if found is None else found[1]
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
        For more workers than shards, and for anything that is no communicator.
    """
    if reduction not in REDUCTIONS:
        raise unknown_name("reduction", reduction, REDUCTIONS)
    if workers is None and shards in (None, 1):
        return None
    found = communicator(workers or "alone") if isinstance(workers, str | None) else workers
    if not isinstance(found, Communicator):
        raise InvalidTypeError(
            f"workers: found {workers!r}; expected 'auto', None or an object with the methods of "
            "xpmlp.parallel.Communicator"
        )
    count = SHARDS if shards is None else shards
    if found.size > count:
        raise InvalidValueError(
            f"workers: found {found.size} for {count} shards of a batch, so some would have "
            f"nothing to do; pass shards={found.size} or more, the same in all runs that are to "
            "give the same result"
        )
    return Sharded(found, count, reduction, threads or 1)
