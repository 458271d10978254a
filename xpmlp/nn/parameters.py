"""All parameters in one flat buffer, with a view per tensor.

One buffer means one optimizer pass, one norm for clipping, one tensor to save. Each tensor
starts on a 64-element boundary, so every view is aligned for vector loads. The gaps are zero and
stay zero, because no optimizer moves a zero parameter with a zero gradient.
"""

from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np

Array = Any

ALIGNMENT = 64
"""Elements; 256 bytes in float32, a GPU's largest vector load and four CPU cache lines."""


class Slot(NamedTuple):
    """One tensor's shape and range in the buffer."""

    shape: tuple[int, ...]
    start: int
    stop: int


class Layout:
    """Names, shapes and positions of tensors in a flat buffer.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        In the order of the buffer.

    Attributes
    ----------
    slots : dict of str to Slot
    size : int
        Number of elements of the buffer, gaps included.
    count : int
        Number of elements of the tensors alone.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.slots: dict[str, Slot] = {}
        end = 0
        for name, shape in shapes.items():
            self.slots[name] = Slot(shape, end, end + prod(shape))
            end += -(-prod(shape) // ALIGNMENT) * ALIGNMENT
        self.size = end
        self.count = sum(prod(shape) for shape in shapes.values())

    def views(self, xp: Any, flat: Array) -> dict[str, Array]:
        """Return each tensor as a view of the buffer (on JAX, a slice), by name."""
        return {
            name: flat[start:stop] if len(shape) == 1 else xp.reshape(flat[start:stop], shape)
            for name, (shape, start, stop) in self.slots.items()
        }

    def flatten(self, tensors: Mapping[str, Any]) -> Any:
        """Copy host arrays into one new float64 array of shape (size,)."""
        flat = np.zeros(self.size)
        for name, (_, start, stop) in self.slots.items():
            flat[start:stop] = np.asarray(tensors[name]).reshape(-1)
        return flat

    def pack(
        self,
        xp: Any,
        device: Any,
        tensors: Mapping[str, Array],
        out: Array,
        views: Mapping[str, Array],
    ) -> Array:
        """Join tensors into one buffer; the reference of ``ops.pack``.

        Parameters
        ----------
        xp : module
        device : object
            Where to create the gaps.
        tensors : mapping of str to Array
            One for each name of the layout.
        out : Array, shape (size,)
            A buffer that a backend may write to; here only its dtype is used.
        views : mapping of str to Array
            ``views(out)``; tensors that are already there need no copy.
        """
        pieces = []
        for name, (_, start, stop) in self.slots.items():
            pieces.append(xp.reshape(tensors[name], (-1,)))
            if gap := (start - stop) % ALIGNMENT:
                pieces.append(xp.zeros(gap, dtype=out.dtype, device=device))
        return xp.concat(pieces) if pieces else out
