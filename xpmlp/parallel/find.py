"""From the arguments of ``fit`` to the workers of a run, and how they share its steps."""

from typing import Any

from xpmlp.errors import InvalidTypeError, InvalidValueError, unknown_name
from xpmlp.parallel.communicator import Alone, Communicator
from xpmlp.parallel.run import REDUCTIONS, SHARDS, Sharded


def sharded(workers: Any, shards: int | None, reduction: str) -> Sharded | None:
    """Return how steps are cut, or None where one worker takes them whole.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For more workers than shards, and for anything that is no communicator.
    """
    if reduction not in REDUCTIONS:
        raise unknown_name("reduction", reduction, REDUCTIONS)
    together = Alone() if workers is None else workers
    if not isinstance(together, Communicator):
        raise InvalidTypeError(
            f"workers: found {workers!r}; expected 'auto', None or an object with the methods of "
            "xpmlp.parallel.Communicator"
        )
    if workers is None and shards in (None, 1):
        return None
    count = SHARDS if shards is None else shards
    if together.size > count:
        raise InvalidValueError(
            f"workers: found {together.size} for {count} shards of a batch, so some would have "
            f"nothing to do; pass shards={together.size} or more, the same in all runs that are to "
            "give the same result"
        )
    return Sharded(together, count, reduction)
