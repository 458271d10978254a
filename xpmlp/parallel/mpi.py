"""MPI, for arrays of the host: NumPy, and PyTorch and JAX on CPUs."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from xpmlp.errors import require


class MPI:
    """The processes that ``mpiexec`` or Slurm's ``srun`` has started.

    If an exception ends one of several, it ends the others, too: they would wait for it forever.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm, optional
        All processes by default.

    Raises
    ------
    MissingExtraError
        If mpi4py is not installed.

    Examples
    --------
    >>> from xpmlp.parallel import MPI
    >>> MPI.name, MPI.on_host
    ('MPI', True)
    >>> together = MPI()  # doctest: +SKIP
    >>> together.rank, together.size  # doctest: +SKIP
    (0, 4)
    """

    on_host, name = True, "MPI"

    def __init__(self, communicator: Any = None) -> None:
        self._mpi = require("mpi4py.MPI", "mpi", "training on several workers with MPI")
        self._world: Any = self._mpi.COMM_WORLD if communicator is None else communicator
        self.rank, self.size = int(self._world.Get_rank()), int(self._world.Get_size())
        if self.size > 1:
            end_with_others(self)

    def exchange(self, send: Sequence[np.ndarray], receive: Sequence[np.ndarray]) -> None:
        """Send an array to each other worker, and receive one; as ``Communicator`` says."""
        others = [j for j in range(self.size) if j != self.rank]
        calls = [self._world.Irecv(receive[j], j) for j in others if receive[j].size]
        calls += [self._world.Isend(send[j], j) for j in others if send[j].size]
        self._mpi.Request.Waitall(calls)

    def all_reduce(self, array: np.ndarray) -> None:
        """Replace an array by its sum over all workers, as this MPI adds it up."""
        self._world.Allreduce(self._mpi.IN_PLACE, array)

    def abort(self, status: int = 1) -> NoReturn:
        """End all processes at once."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._world.Abort(status)
        raise SystemExit(status)


def end_with_others(together: Any) -> None:
    """Let an exception that nobody catches end all workers, after it has been printed."""
    before = sys.excepthook
    if getattr(before, "ends_others", False):
        return

    def ended(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        before(kind, error, where)
        together.abort(130 if issubclass(kind, KeyboardInterrupt) else 1)

    ended.ends_others = True  # type: ignore[attr-defined]
    sys.excepthook = ended
