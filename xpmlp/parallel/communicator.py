"""``Communicator``: what workers must be able to do together; and what follows from it."""

import json
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol, runtime_checkable

import numpy as np

from xpmlp.nn.contract import Array


@runtime_checkable
class Communicator(Protocol):
    """The workers of a run, one process each, as one of them sees them.

    All of them call the same methods in the same order. An implementation needs no more than this;
    ``gather``, ``barrier`` and the sum in a fixed order are made of ``exchange``.

    Attributes
    ----------
    rank, size : int
        Which worker this is, from 0, and how many there are.
    on_host : bool
        Whether arrays have to be NumPy's; otherwise they are the backend's, on its device.
    name : str
        What carries the data: ``"MPI"``.

    Examples
    --------
    >>> from xpmlp.parallel import Alone, Communicator
    >>> alone = Alone()
    >>> isinstance(alone, Communicator), alone.rank, alone.size
    (True, 0, 1)
    """

    rank: int
    size: int
    on_host: bool
    name: str

    def exchange(self, send: Sequence[Array], receive: Sequence[Array]) -> None:
        """Send ``send[j]`` to worker j, and fill ``receive[j]`` with what j sends here.

        Flat, contiguous arrays, ``size`` of each, whose lengths both sides know; those of length 0
        are not sent. Those for this worker itself are not read.
        """

    def all_reduce(self, array: Array) -> None:
        """Replace a flat array by its sum over all workers, in the engine's own order."""

    def abort(self, status: int = 1) -> NoReturn:
        """End all workers at once: one has failed, and the others would wait for it forever."""


class Alone:
    """A run of one worker, in this process.

    Examples
    --------
    >>> from xpmlp.parallel import Alone
    >>> mlp, points = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0), xpmlp.data.make_xor(n=64)
    >>> history = mlp.fit(points.X, points.y, epochs=2, workers=Alone(), shards=4)
    >>> len(history["loss"])
    2
    """

    rank, size, on_host, name = 0, 1, False, "one process"

    def exchange(self, send: Sequence[Array], receive: Sequence[Array]) -> None:
        """Do nothing: there is nobody else."""

    def all_reduce(self, array: Array) -> None:
        """Leave the array as it is: it is the sum."""

    def abort(self, status: int = 1) -> NoReturn:
        """Exit."""
        raise SystemExit(status)


def gather(together: Communicator, value: Any) -> list[Any]:
    """Return what each worker has passed, in the order of the workers; it travels as JSON.

    Examples
    --------
    >>> from xpmlp.parallel import Alone, gather
    >>> gather(Alone(), {"rows": 100})
    [{'rows': 100}]
    """
    if together.size == 1:
        return [value]
    own = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = [np.zeros(1, np.int64) for _ in range(together.size)]
    together.exchange([np.array([own.size])] * together.size, lengths)
    lengths[together.rank][0] = own.size
    found = [np.zeros(int(length[0]), np.uint8) for length in lengths]
    together.exchange([own] * together.size, found)
    found[together.rank] = own
    return [json.loads(one.tobytes()) for one in found]


def barrier(together: Communicator) -> None:
    """Wait until all workers are here."""
    gather(together, None)
