"""The device's memory: whether data fit there, and what a training needs of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from xpmlp.contract import Backend
from xpmlp.layers import Brick

if TYPE_CHECKING:
    from xpmlp.model import MLP

SHARE = 0.7
"""Most of the free memory that data may take: steps need the rest."""

CHUNK_BYTES = 2**28
"""Most bytes of data from the host that are copied to the device at once."""


def gibibytes(size: float) -> str:
    """Format a number of bytes: ``"1.5 GiB"``."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def too_large(backend: Backend, size: int) -> int | None:
    """Return how many bytes are free where that is not enough for data of this size, else None."""
    memory = backend.memory()
    return None if memory is None or size <= SHARE * memory.free else memory.free


def gathered_bytes(arrays: tuple[Any, ...]) -> int:
    """Return the bytes of one row of some arrays, of which some may be None."""
    return sum(x.nbytes // x.shape[0] for x in arrays if x is not None)


# What a step needs. Rather too much than too little, for operations that make a new array each:
# a test holds both against what the plain formulas take.

KEPT = {"dense": 1, "normalisation": 5, "other": 3}
"""Numbers for each unit that stay until the backward pass is through, by kind of brick."""


def row_bytes(mlp: "MLP") -> int:
    """Bytes that a training step needs for each row of its batch.

    The inputs as they come and scaled; of each brick what the backward pass needs: a dense map's
    output, an activation's or dropout's with its derivative or mask, more for a normalisation;
    and at the widest place gradients and intermediate results: 6 numbers for each unit.
    """
    width = mlp.sizes[0]
    numbers, widest = 3 * width, max(mlp.sizes)
    for brick in _leaves(mlp._model()):
        shape = next((s for s in brick.shapes.values() if len(s) == 2), None)
        width = shape[1] if shape else width
        kind = "dense" if shape else "normalisation" if brick.shapes else "other"
        numbers += KEPT[kind] * width
    return (numbers + 6 * widest + 4 * mlp.sizes[-1]) * _item(mlp)


def state_bytes(mlp: "MLP", slots: int) -> int:
    """Bytes that a training needs whatever its batch: its state, and copies while it is updated.

    Parameters and gradient with their next values and two intermediate results; the optimiser's
    ``slots`` running averages, their next values, and a copy in case the epoch is gone through
    again; the weights of the last epoch's end.
    """
    return (7 + 3 * slots) * mlp.network.layout.size * _item(mlp)


def _leaves(brick: Brick) -> Iterator[Brick]:
    if not brick.parts:
        yield brick
    for part in brick.parts:
        yield from _leaves(part)


def _item(mlp: "MLP") -> int:
    return 8 if mlp.dtype == "float64" else 4
