"""The device's memory: whether data fit, what a step needs, and what to say when it ran out."""

import gc
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from xpmlp.errors import DeviceMemoryError, XpmlpError
from xpmlp.model.backends import on_device
from xpmlp.model.base import Model
from xpmlp.nn.contract import Backend, Memory
from xpmlp.nn.layers import Layer

Result = TypeVar("Result")

SHARE = 0.7
"""Largest share of the free memory that data may take: steps need the rest."""

CHUNK_BYTES = 2**28
"""Most bytes of host data that are copied to the device, or made dense, at a time."""


def gibibytes(size: float) -> str:
    """Format a number of bytes: ``"1.5 GiB"``."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def too_large(memory: Memory, size: int) -> bool:
    """Whether data of this size are too large for the free memory."""
    return size > SHARE * memory.free


def gathered_bytes(arrays: tuple[Any, ...]) -> int:
    """Return the bytes of one row of all arrays; None counts as nothing."""
    return sum(x.nbytes // x.shape[0] for x in arrays if x is not None)


def rows_within_chunk(mlp: Model, most: int) -> int:
    """Return how many rows of inputs to take at a time: ``most``, or fewer if they are wide."""
    return max(1, min(most, CHUNK_BYTES // (mlp.sizes[0] * _itemsize(mlp))))


# What a step needs: an upper bound, for operations that each make a new array. A test compares it
# with what the plain formulas take.

KEPT = {"dense": 1, "activation": 1, "dropout": 2, "normalization": 5}
"""Numbers kept for each unit until the backward pass is done, by kind of layer."""

PASSING = {"dense": 4, "activation": 6, "dropout": 6, "normalization": 6}
"""Temporary numbers for each unit while a layer computes, by kind of layer."""


def row_bytes(mlp: Model) -> int:
    """Bytes that a training step needs for each row of its batch.

    The inputs (as they come, converted, scaled); what the backward pass needs of each layer (its
    output, the mask of a dropout, more for a normalization); and the temporary numbers of the
    layer that has the most.
    """
    width, most = mlp.sizes[0], 0
    numbers = 3 * width
    for layer in chain.from_iterable(map(_leaves, mlp.network.layers)):
        matrix = next((s for name, s in layer.shapes.items() if name.endswith(".W")), None)
        width = layer.width or (matrix[-1] if matrix else width)
        numbers, most = numbers + layer.kept, max(most, layer.kept)
        kind = _kind(layer, matrix is not None)
        numbers += KEPT[kind] * width
        most = max(most, PASSING[kind] * width)
    networks = 1 if mlp.network.members is None else mlp.network.members.count
    return (numbers + most) * networks * _itemsize(mlp)


def _kind(layer: Layer, dense: bool) -> str:
    if dense:
        return "dense"
    if layer.activation is not None:
        return "activation"
    return "normalization" if layer.shapes else "dropout"


def state_bytes(mlp: Model, slots: int) -> int:
    """Bytes that training needs for any batch size: its state, and copies during an update.

    Parameters and gradient, each also in parts, with their next values and intermediate results;
    the ``slots`` arrays of the optimizer state, their next values, and a copy for going through
    the epoch again; the weights at the end of the last epoch. A GPU needs all of it once more
    while a captured step is compared with the plain one.
    """
    copies = 9 + 4 * slots if "gpu" in mlp.backend.capabilities else 7 + 3 * slots
    return copies * mlp.network.layout.size * _itemsize(mlp)


def _itemsize(mlp: Model) -> int:
    return 8 if mlp.dtype == "float64" else 4


def _leaves(layer: Layer) -> Iterator[Layer]:
    if not layer.parts:
        yield layer
    for part in layer.parts:
        yield from _leaves(part)


# When memory ran out

MARGIN = 0.9
"""Share of the free memory to plan with: allocators lose some between blocks."""


@dataclass
class Request:
    """What ``fit`` was asked for, in numbers alone: it must not keep arrays alive."""

    batch_size: int
    slots: int  # arrays of the optimizer state
    data: int = 0  # bytes to copy from the host
    on_host: bool = False  # whether the data stay there


def release(error: BaseException) -> str:
    """Free all arrays that an error keeps alive in the frames it passed; return a description."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    chain: BaseException | None = error
    while chain is not None:
        traceback.clear_frames(chain.__traceback__)
        chain = chain.__context__
    return ": ".join([type(error).__name__, *lines[:1]])


@on_device
def within_memory(
    mlp: Model,
    advise: Callable[[], str],
    attempt: Callable[..., Result],
    *args: Any,
    **options: Any,
) -> Result:
    """Return ``attempt(mlp, *args, **options)``; if memory runs out, say what helps.

    Raises
    ------
    DeviceMemoryError
        After everything the attempt held has been freed, so that ``advise`` sees the truth.
    """
    try:
        return attempt(mlp, *args, **options)
    except Exception as error:
        if isinstance(error, XpmlpError) or not mlp.backend.ran_out(error):
            raise
        reason = release(error)
    # Only here, outside ``except``, nothing refers to the failed attempt any more.
    mlp.forget_compiled()
    gc.collect()
    raise DeviceMemoryError(f"{advise()}. What failed: {reason}")


def advice_on_training(mlp: Model, asked: Request) -> str:
    """Return advice: which batch size would fit, or what else helps."""
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
    """Halve a batch size until it fits; return 0 if none does."""
    while size * each > room and size:
        size //= 2
    return size if room > 0 else 0


def advice_on_use(mlp: Model, call: str) -> str:
    """Return advice where not even a single row fits."""
    memory = mlp.backend.memory()
    free = "" if memory is None else f": {gibibytes(memory.free)} of it are free"
    return (
        f"{call}: {_where(mlp.backend)} is too small for one row at a time{free}. Try NumPy "
        "arrays, of which only some rows are copied there, fewer rows, or a smaller network"
    )


def _where(backend: Backend) -> str:
    return f"the memory of {backend.device_name()} ({backend.name})"
