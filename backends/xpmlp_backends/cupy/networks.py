"""Operations for the CuPy arrays of many networks as one, of three axes.

Products of all networks are one strided batched product of cuBLASLt. Networks that share a matrix
are the rows of one network, k times as many. The rest is the reference (``xpmlp.nn.ops``), which
explains the formulas.
"""

from dataclasses import replace
from typing import Any

from xpmlp.nn.activations import Activation
from xpmlp.nn.contract import Array
from xpmlp.nn.ops import Ops
from xpmlp_backends.cupy.kernels import contiguous

NAMES = (
    "dense", "dense_grad", "dense_activation", "sum_by_code", "accumulate", "dropout",
    "dropout_grad",
)  # fmt: skip
"""The operations that differ for arrays of three axes."""


class Networks:
    """Dense maps of many networks.

    Parameters
    ----------
    cuda : CudaOps
        Has ``factors`` and ``products``.
    single : Ops
        The operations on the arrays of one network.
    """

    def __init__(self, cuda: Any, single: Ops) -> None:
        self.cuda, self.single, self.xp = cuda, single, single.xp

    def table(self, reference: Ops) -> Ops:
        """Return the operations on arrays of three axes."""
        return replace(
            reference,
            dense=self.dense,
            dense_grad=self.dense_grad,
            dense_activation=self.dense_activation,
        )

    def dense(self, x: Array, W: Array, b: Array | None) -> Array:
        """x W + b."""
        if W.ndim == 2:
            return _networks(self.single.dense(_rows(x), W, b), x)
        z = self.cuda.products(*self._factors(x, W))
        return z if b is None else self.cuda.cupy.add(z, b[:, None, :], out=z)

    def dense_activation(
        self, ops: Ops, x: Array, W: Array, b: Array | None, f: Activation
    ) -> tuple[Array, Array]:
        """z = x W + b and h = f(z)."""
        if W.ndim == 2:
            z, h = self.single.dense_activation(ops, _rows(x), W, b, f)
            return _networks(z, x), _networks(h, x)
        z = self.dense(x, W, b)
        return z, ops.activation(ops, z, f)

    def dense_grad(
        self, x: Array, W: Array, dz: Array, need_dx: bool, out: Any = (None, None)
    ) -> tuple[Array | None, Array, Array]:
        """dz Wᵀ, xᵀ dz and the sums of dz's columns."""
        if W.ndim == 2:
            dx, dW, db = self.single.dense_grad(_rows(x), W, _rows(dz), need_dx, out)
            return None if dx is None else _networks(dx, x), dW, db
        db = self.xp.sum(dz, axis=1)
        x, W, factor = self._factors(x, W, dz)
        dW = self.cuda.products(x.swapaxes(-1, -2), factor, out[0])
        return self.cuda.products(factor, W.swapaxes(-1, -2)) if need_dx else None, dW, db

    def _factors(self, *arrays: Array) -> tuple[Array, ...]:
        """Return the factors of a product, rounded if they are to be."""
        rounded: tuple[Array, ...] = self.cuda.factors(
            *(contiguous(self.cuda.cupy, x) for x in arrays)
        )
        return rounded


def _rows(x: Array) -> Array:
    """Return the rows of all networks as those of one."""
    return x.reshape(-1, x.shape[-1])


def _networks(rows: Array, like: Array) -> Array:
    """Return rows as those of each network, as ``like`` has them."""
    return rows.reshape(*like.shape[:-1], rows.shape[-1])
