"""When the device's memory ran out: let go of what the attempt held, and say what would fit."""

import gc
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from xpmlp.errors import DeviceMemoryError, XpmlpError
from xpmlp.model.memory import CHUNK_BYTES, gibibytes, row_bytes, state_bytes
from xpmlp.nn.contract import Backend

if TYPE_CHECKING:
    from xpmlp.mlp import MLP

Result = TypeVar("Result")

MARGIN = 0.9
"""Share of the free memory to plan with: allocators lose some between blocks."""


@dataclass
class Request:
    """What a training was asked for, in numbers alone: it must not keep arrays alive.

    Attributes
    ----------
    batch_size : int
    slots : int
        The optimizer's running averages.
    data : int
        Bytes that were to be copied from the host.
    on_host : bool
        Whether the data stay there.
    """

    batch_size: int
    slots: int
    data: int = 0
    on_host: bool = False


def guarded(
    advise: Callable[[], str],
    attempt: Callable[..., Result],
    mlp: "MLP",
    *args: Any,
    **options: Any,
) -> Result:
    """Return ``attempt(mlp, *args, **options)``; where memory runs out, say what helps.

    Raises
    ------
    DeviceMemoryError
        When what the attempt held is free again, so that ``advise`` sees what there is.
    """
    try:
        return attempt(mlp, *args, **options)
    except Exception as error:
        if isinstance(error, XpmlpError) or not mlp.backend.ran_out(error):
            raise
        reason = release(error)
    # Only here, outside of ``except``, does nothing refer to the failed attempt any more.
    mlp._forget_compiled()
    gc.collect()
    raise DeviceMemoryError(f"{advise()}. What failed: {reason}")


def release(error: BaseException) -> str:
    """Let go of all arrays that an error keeps alive in the frames it went through; describe it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    chain: BaseException | None = error
    while chain is not None:
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__context__
    return ": ".join([type(error).__name__, *lines[:1]])


def advice_on_training(mlp: "MLP", asked: Request) -> str:
    """Say which batch size would fit, or what else helps."""
    backend = mlp.backend
    found = f"fit: {_where(backend)} is too small for batch_size={asked.batch_size}"
    memory = backend.memory()
    if memory is None:
        return f"{found}; try a smaller one, or a smaller network"
    each = row_bytes(mlp)
    found += (
        f": a step needs about {gibibytes(each)} a row, and {gibibytes(memory.free)} of "
        f"{gibibytes(memory.total)} are free"
    )
    room = MARGIN * memory.free - state_bytes(mlp, asked.slots)
    chunks = min(2 * CHUNK_BYTES, memory.free // 4)
    size = _halved(asked.batch_size // 2, each, room - (chunks if asked.on_host else asked.data))
    if size:
        host = "data_on='host', " if asked.on_host else ""
        return f"{found}. Try {host}batch_size={size}, which fits"
    size = 0 if asked.on_host else _halved(asked.batch_size, each, room - chunks)
    if size:
        return (
            f"{found}, with the data taking {gibibytes(asked.data)}. Try data_on='host', "
            f"batch_size={size}, which fits"
        )
    return f"{found}. No batch size fits: try a smaller network, or free memory there"


def _halved(size: int, each: int, room: float) -> int:
    """Halve a batch size until it fits; 0 if none does."""
    while size * each > room and size:
        size //= 2
    return size if room > 0 else 0


def advice_on_use(mlp: "MLP", call: str) -> str:
    """Say what helps where not even a single row fits."""
    memory = mlp.backend.memory()
    free = "" if memory is None else f": {gibibytes(memory.free)} of it are free"
    return (
        f"{call}: {_where(mlp.backend)} is too small for one row at a time{free}. Try NumPy "
        "arrays, of which only some rows are copied there, fewer rows, or a smaller network"
    )


def _where(backend: Backend) -> str:
    return f"the memory of {backend.device_name()} ({backend.name})"
