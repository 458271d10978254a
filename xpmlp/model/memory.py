"""The device's memory: whether data fit there, and what a training needs of it."""

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from xpmlp.nn.contract import Backend
from xpmlp.nn.layers import Layer

if TYPE_CHECKING:
    from xpmlp.mlp import MLP

SHARE = 0.7
"""Most of the free memory that data may take: steps need the rest."""

CHUNK_BYTES = 2**28
"""Most bytes of data from the host that are copied to the device, or made dense, at once."""


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


def rows_within_chunk(mlp: "MLP", most: int) -> int:
    """Return how many rows of inputs to take at once: ``most``, or fewer if they are so wide."""
    return max(1, min(most, CHUNK_BYTES // (mlp.sizes[0] * _itemsize(mlp))))


# What a step needs. Rather too much than too little, for operations that make a new array each:
# a test holds it against what the plain formulas take.

KEPT = {"dense": 1, "activation": 1, "dropout": 2, "normalization": 5}
"""Numbers for each unit that stay until the backward pass is through, by kind of layer."""

PASSING = {"dense": 4, "activation": 6, "dropout": 6, "normalization": 6}
"""Numbers for each unit while a layer is at work: gradients, and results on the way to another."""


def row_bytes(mlp: "MLP") -> int:
    """Bytes that a training step needs for each row of its batch.

    The inputs as they come, converted and scaled; what the backward pass needs of each layer: its
    output, a dropout's mask too, more for a normalization; and what the layer that needs most holds
    while it is at work.
    """
    width, most = mlp.sizes[0], 0
    numbers = 3 * width
    for layer in chain.from_iterable(map(_leaves, mlp.network.layers)):
        matrix = next((shape for shape in layer.shapes.values() if len(shape) == 2), None)
        width = matrix[1] if matrix else width
        kind = _kind(layer, matrix is not None)
        numbers += KEPT[kind] * width
        most = max(most, PASSING[kind] * width)
    return (numbers + most) * _itemsize(mlp)


def _kind(layer: Layer, dense: bool) -> str:
    if dense:
        return "dense"
    if layer.activation is not None:
        return "activation"
    return "normalization" if layer.shapes else "dropout"


def state_bytes(mlp: "MLP", slots: int) -> int:
    """Bytes that a training needs whatever its batch: its state, and copies while it is updated.

    Parameters and gradient, each also in parts, with their next values and some intermediate
    results; the optimizer's ``slots`` running averages, their next values, and a copy in case the
    epoch is gone through again; the weights of the last epoch's end. On a GPU all of it once more,
    in place, while a captured step is compared with the plain one.
    """
    copies = 9 + 4 * slots if "gpu" in mlp.backend.capabilities else 7 + 3 * slots
    return copies * mlp.network.layout.size * _itemsize(mlp)


def _itemsize(mlp: "MLP") -> int:
    return 8 if mlp.dtype == "float64" else 4


def _leaves(layer: Layer) -> Iterator[Layer]:
    if not layer.parts:
        yield layer
    for part in layer.parts:
        yield from _leaves(part)
