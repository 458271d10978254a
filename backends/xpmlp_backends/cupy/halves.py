"""Float32 arrays rounded to bfloat16, the factors of products in that precision."""

from typing import Any
from weakref import ref

import numpy as np

from xpmlp.nn.contract import Array
from xpmlp_backends.cupy.kernels import Kernels


class Halves:
    """Float32 arrays rounded to bfloat16, once for as long as the array lives.

    Nobody writes to such an array after it was rounded: the parameters' views are new in each step.
    """

    def __init__(self, cupy: Any, kernels: Kernels) -> None:
        self._cupy, self._kernels = cupy, kernels
        self._made: dict[int, tuple[ref[Any], Array]] = {}

    def keep(self, x: Array, half: Array) -> Array:
        """Take ``half`` for x from now on."""
        number = id(x)
        self._made[number] = (ref(x, lambda _: self._made.pop(number, None)), half)
        return half

    def room(self, x: Array) -> Array:
        """Return memory for x rounded, which a kernel is about to write."""
        return self.keep(x, self._cupy.empty(x.shape, dtype=np.uint16))

    def of(self, x: Array) -> Array:
        """Return x rounded."""
        found = self._made.get(id(x))
        if found is not None and found[0]() is x:
            return found[1]
        return self.keep(x, to_bfloat16(self._cupy, self._kernels, x))


def to_bfloat16(cupy: Any, kernels: Kernels, x: Array) -> Array:
    """Round float32 to bfloat16, given as uint16 with the same order in memory."""
    if not x.flags.c_contiguous:
        return to_bfloat16(cupy, kernels, x.T).T
    rounded = cupy.empty(x.shape, dtype=np.uint16)
    kernels.over(x.size, "to_bfloat16", x.dtype, x, rounded)
    return rounded
