"""Products and sums of embeddings on CuPy arrays, by kernels: cuBLAS's own cannot be captured.

Each computes what ``xpmlp.nn.numeric`` or ``xpmlp.nn.embeddings`` has under its name.
"""

from typing import Any

import numpy as np

from xpmlp.nn.contract import Array
from xpmlp_backends.cupy.kernels import Kernels, contiguous


class Embeddings:
    """The operations, on kernels."""

    def __init__(self, cupy: Any, kernels: Kernels) -> None:
        self.cupy, self.kernels = cupy, kernels

    def table(self) -> dict[str, Any]:
        """Return them by their names in ``Ops``."""
        return {f.__name__: f for f in (self.batch_product, self.sum_by_code)}

    def batch_product(self, a: Array, b: Array) -> Array:
        """a[i] b[i] for each i."""
        a, b = (contiguous(self.cupy, x) for x in (a, b))
        (m, rows, inner), columns = a.shape, b.shape[2]
        out = self.cupy.empty((m, rows, columns), dtype=a.dtype)
        sizes = (np.int32(n) for n in (rows, inner, columns))
        self.kernels.over(out.size, "batch_product", a.dtype, a, b, out, *sizes)
        return out

    def sum_by_code(self, dy: Array, codes: Array, count: int, out: Array | None = None) -> Array:
        """Sums of the rows of dy with each code."""
        dy = contiguous(self.cupy, dy)
        rows, columns = dy.shape
        if out is None:
            out = self.cupy.empty((count, columns), dtype=dy.dtype)
        sizes = (np.int32(rows), np.int32(columns))
        self.kernels.over(out.size, "sum_by_code", dy.dtype, dy, codes, out, *sizes)
        return out
