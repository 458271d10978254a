"""Operations for CuPy arrays: cuBLASLt's products and the kernels of ``kernels/``.

Each method computes what the reference of the same name does (``xpmlp.nn.ops``), which explains the
formula. None of them reads a value on the host, so a step of them can be captured.
"""

import logging
from dataclasses import replace
from functools import partial
from math import ceil
from typing import Any, NamedTuple

import numpy as np

from xpmlp.nn import losses, metrics
from xpmlp.nn.activations import ACTIVATIONS, Activation
from xpmlp.nn.contract import Array
from xpmlp.nn.ops import Ops
from xpmlp.nn.random import threshold_and_kept
from xpmlp_backends.base import differs, pack_with
from xpmlp_backends.cupy.cublaslt import Products
from xpmlp_backends.cupy.embeddings import Embeddings
from xpmlp_backends.cupy.halves import Halves, to_bfloat16
from xpmlp_backends.cupy.kernels import (
    GATHERED,
    THREADS,
    TYPES,
    Kernels,
    contiguous,
    scalar,
    shares,
)
from xpmlp_backends.cupy.networks import NAMES, Networks
from xpmlp_backends.cupy.streams import PerStream
from xpmlp_backends.cupy.updates import Updates
from xpmlp_backends.networks import for_networks

logger = logging.getLogger("xpmlp")

KERNEL_ACTIVATIONS = (
    "identity", "sign", "binary_step", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu",
    "gelu", "gelu_tanh", "softplus", "swish", "mish", "exp",
)  # fmt: skip
"""In the order of ``enum Activation``, whose last member is no activation: the error function."""

KERNEL_LOSSES = (
    losses.MSE, losses.MAE, losses.Huber, losses.Quantile, losses.Poisson, losses.PoissonDeviance,
    losses.BinaryCrossEntropy, losses.CategoricalCrossEntropy,
    losses.SparseCategoricalCrossEntropy,
)  # fmt: skip
"""In the order of ``enum Loss``."""

SETTINGS = {losses.Huber: "delta", losses.Quantile: "q"}
"""The setting of a loss; the others have label smoothing, or none."""

KERNEL_METRICS = {
    None: (0, 0.0),
    metrics.LABELS: (1, 0.0),
    metrics.ONE_HOT: (2, 0.0),
    metrics.LOGIT_SIDES: (3, 0.0),
    metrics.PROBABILITY_SIDES: (3, 0.5),
    metrics.R2: (4, 0.0),
    metrics.RATE_R2: (5, 0.0),
}
"""Numbers of ``enum Metric``, and thresholds."""

MOST_ROWS_BLOCKS = 1024
"""Most blocks of ``assess``, whose last block sums the results of the others."""


class Addresses:
    """Stands for a data set in a captured step, which reads its addresses from a table.

    Parameters
    ----------
    table : Array of uint64, shape (3,)
        Addresses of X, y and weight.
    X, y, weight : Array or None
        Arrays like those of the data set; only their row shapes and dtypes are read.
    """

    def __init__(self, table: Array, X: Array, y: Array, weight: Array | None) -> None:
        self.table, self.X, self.y, self.weight = table, X, y, weight


class Mask(NamedTuple):
    """Stands for a dropout mask, whose elements kernels compute again.

    Attributes
    ----------
    key : Array of int32, shape (2,) or (3,)
    threshold : int32
        Hashes below it drop their elements.
    kept : scalar of the data's dtype
        What the others are multiplied by.
    """

    key: Array
    threshold: Any
    kept: Any

    @classmethod
    def of(cls, key: Array, rate: float | None, dtype: Any) -> "Mask":
        """Return the mask of a key; kernels read the threshold from it where ``kept`` is 0."""
        if rate is None:
            return cls(key, np.int32(0), scalar(dtype)(0))
        threshold, kept = threshold_and_kept(np, key, rate, dtype)
        return cls(key, np.int32(threshold), scalar(dtype)(kept))


class CudaOps:
    """The operations, on kernels and products.

    Parameters
    ----------
    cupy : module
    kernels : Kernels
    products : Products
    rounds : bool
        Whether the factors of float32 products are rounded to bfloat16.
    """

    def __init__(
        self, cupy: Any, kernels: Kernels, products: Products, rounds: bool = False
    ) -> None:
        self.cupy, self.kernels, self.products = cupy, kernels, products
        self.halves = Halves(cupy, kernels) if rounds else None
        self._sums_right: dict[Any, bool] = {}
        self._arrived = PerStream(cupy, lambda: cupy.zeros(1, dtype=np.uint32))

    def table(self, ops: Ops) -> Ops:
        """Return the table of operations, with these in place of the reference."""
        replaced = (
            self.dense, self.dense_grad, self.dense_activation, self.activation, self.erf,
            self.activation_grad, self.accumulate, self.dropout,
            self.dropout_grad, self.gather_batch,
        )  # fmt: skip
        single = replace(
            ops,
            assess=partial(self.assess, ops.assess),
            pack=pack_with(self.cupy.copyto),
            unpack=partial(self.unpack, ops.unpack),
            **Embeddings(self.cupy, self.kernels).table(),
            **Updates(self.kernels).table(),
            **{f.__name__: f for f in replaced},
        )
        return for_networks(single, Networks(self, single).table(ops), NAMES)

    # Dense maps

    def factors(self, *arrays: Array) -> tuple[Array, ...]:
        """Return the factors of a product, rounded if they are to be."""
        if self.halves is None:
            return arrays
        return tuple(self.halves.of(x) if x.dtype == np.float32 else x for x in arrays)

    def _room(self, x: Array) -> Array | None:
        """Return where a kernel writes its result x rounded; None if that is not needed."""
        return self.halves.room(x) if self.halves and x.dtype == np.float32 else None

    def unpack(self, plain: Any, layout: Any, flat: Array) -> dict[str, Array]:
        """Views of the parameters, all of which are rounded at once."""
        views: dict[str, Array] = plain(layout, flat)
        if self.halves and flat.dtype == np.float32:
            rounded = plain(layout, to_bfloat16(self.cupy, self.kernels, flat))
            for name, view in views.items():
                self.halves.keep(view, rounded[name])
        return views

    def dense(self, x: Array, W: Array, b: Array | None, relu: bool = False) -> Array:
        """x W + b, or ReLU of it."""
        x, W = self.factors(x, W)
        z = self.products(x, W, bias=b, relu=relu)
        if z is None:
            z = self.cupy.add(self.products(x, W), b)
            if relu:
                self.kernels.over(z.size, "activate", z.dtype, _code("relu"), z, z)
        return z

    def dense_grad(
        self, x: Array, W: Array, dz: Array, need_dx: bool, out: Any = (None, None)
    ) -> tuple[Array | None, Array, Array]:
        """dz Wᵀ, xᵀ dz and the column sums of dz."""
        dz = contiguous(self.cupy, dz)
        db = self.cupy.empty(dz.shape[1], dtype=dz.dtype) if out[1] is None else out[1]
        x, W, factor = self.factors(x, W, dz)
        dW = self._with_sums(x, dz, out[0], db) if factor is dz else None
        if dW is None:
            dW = self.products(x.T, factor, out[0])
            self.column_sums(dz, db)
        return self.products(factor, W.T) if need_dx else None, dW, db

    def _with_sums(self, x: Array, dz: Array, out: Array | None, db: Array) -> Array | None:
        """xᵀ dz, with the column sums of dz in db; None if cuBLASLt does not do both.

        Its sums are compared with the kernel's when a shape is new: a wrong bias gradient would
        be in the captured and in the eager step, and so be seen by nobody.
        """
        kind = (x.shape, dz.shape, str(dz.dtype))
        if not self._sums_right.get(kind, True):
            return None
        dW = self.products(x.T, dz, out, sums=db)
        if dW is not None and kind not in self._sums_right and self.products.may_wait:
            expected = self.cupy.empty_like(db)
            self.column_sums(dz, expected)
            found, right = self.cupy.asnumpy(db), self.cupy.asnumpy(expected)
            self._sums_right[kind] = same = not differs(found, right)
            if not same:
                logger.warning("cuBLASLt's sums of dz %s are wrong: a kernel sums", dz.shape)
                return None
        return dW

    def column_sums(self, x: Array, sums: Array) -> None:
        """Write the sums of a matrix's columns to ``sums``, shape (columns,)."""
        (rows, columns), parts = x.shape, shares(x.shape[0])
        grid, block = (ceil(columns / 32), parts), (32, 8)
        to = sums if parts == 1 else self.cupy.empty((parts, columns), dtype=x.dtype)
        call = partial(self.kernels, "column_sums", x.dtype)
        call(grid, block, x, to, np.int32(rows), np.int32(columns))
        if parts > 1:
            call((grid[0], 1), block, to, sums, np.int32(parts), np.int32(columns))

    def dense_activation(
        self, ops: Ops, x: Array, W: Array, b: Array | None, f: Activation
    ) -> tuple[Array, Array]:
        """z = x W + b and h = f(z); ReLU's z is not kept, because h > 0 where z > 0."""
        if f is ACTIVATIONS["relu"] and b is not None:
            h = self.dense(x, W, b, relu=True)
            return h, h
        z = ops.dense(x, W, b)
        return z, ops.activation(ops, z, f)

    def activation(self, ops: Ops, z: Array, f: Activation) -> Array:
        """h = f(z)."""
        if not _has_kernel(f, z):
            return f.function(ops, z)
        z = contiguous(self.cupy, z)
        h = self.cupy.empty_like(z)
        self.kernels.over(z.size, "activate", z.dtype, _code(f.name), z, h)
        return h

    def erf(self, x: Array) -> Array:
        """The error function."""
        x = contiguous(self.cupy, x)
        y = self.cupy.empty_like(x)
        self.kernels.over(x.size, "activate", x.dtype, np.int32(len(KERNEL_ACTIVATIONS)), x, y)
        return y

    def activation_grad(
        self, ops: Ops, z: Array, h: Array, dh: Array, f: Activation, mask: Mask | None = None
    ) -> Array:
        """dz = dh · f′(z), where dh is the gradient after dropout if there is a mask."""
        if not _has_kernel(f, z):
            dh = dh if mask is None else self.dropout_grad(ops, dh, mask)
            return f.backward(ops, z, h, dh)
        z, h, dh = (contiguous(self.cupy, x) for x in (z, h, dh))
        dz = self.cupy.empty_like(dh)
        if mask is not None and not isinstance(mask, Mask):  # that of networks with keys of theirs
            dh, mask = contiguous(self.cupy, ops.dropout_grad(ops, dh, mask)), None
        key, *settings = mask or (None, np.int32(0), scalar(z.dtype)(0))
        self.kernels.over(
            z.size, "slope", z.dtype, _code(f.name), z, h, dh, key, *settings, dz, self._room(dz)
        )
        return dz

    # The batch and its loss

    def gather_batch(
        self,
        X: Any,
        y: Array,
        weight: Array | None,
        rows: Array,
        shift: Array | None,
        scale: Array | None,
        dtype: Any,
    ) -> tuple[Array, Array, Array | None]:
        """(X[rows] − shift) · scale, y[rows] and weight[rows]; X may be ``Addresses``."""
        table = None
        if isinstance(X, Addresses):
            table, X, y, weight = X.table, X.X, X.y, X.weight
        given = [contiguous(self.cupy, a) if table is None else a for a in (X, y)]
        n, columns = rows.shape[0], X.shape[1]
        made = [self.cupy.empty((n, *a.shape[1:]), a.dtype) for a in (y, weight) if a is not None]
        x = self.cupy.empty((n, columns), dtype=dtype)
        self.kernels(
            f"gather, {GATHERED[str(X.dtype)]}", x.dtype, (n,), (min(THREADS, _warps(columns)),),
            table, *given, weight, rows,
            shift, _step(shift), scale, _step(scale),
            np.int32(columns), _words(y), _words(weight), x, self._room(x), made[0],
            made[1] if weight is not None else None,
        )  # fmt: skip
        return x, made[0], made[1] if weight is not None else None

    def dropout(self, ops: Ops, x: Array, key: Array, rate: float | None) -> tuple[Array, Mask]:
        """x · mask, with the same bits as everywhere; the mask is never in memory."""
        mask = Mask.of(key, rate, x.dtype)
        return self.dropout_grad(ops, x, mask), mask

    def dropout_grad(self, ops: Ops, dy: Array, mask: Mask) -> Array:
        """dy · mask."""
        dy = contiguous(self.cupy, dy)
        dx = self.cupy.empty_like(dy)
        self.kernels.over(dy.size, "dropout", dy.dtype, *mask, dy, dx, self._room(dx))
        return dx

    def assess(
        self, plain: Any, ops: Ops, loss: Any, metric: Any, z: Array, y: Array, weight: Any
    ) -> tuple[Array, Array, Array | None]:
        """The batch's loss, its gradient and the metric's sum in one kernel."""
        averaged = getattr(loss, "average", False)
        if type(loss) not in KERNEL_LOSSES or averaged or metric not in KERNEL_METRICS:
            return plain(ops, loss, metric, z, y, weight)
        cupy, T, (n, columns) = self.cupy, scalar(z.dtype), z.shape
        z, y = contiguous(cupy, z), contiguous(cupy, y)
        if loss.targets == "labels":
            y = y.astype(np.int32, copy=False)
        number, threshold = KERNEL_METRICS[metric]
        setting = getattr(loss, SETTINGS.get(type(loss), "label_smoothing"), 0.0)
        blocks = min(ceil(n * 32 / THREADS), MOST_ROWS_BLOCKS)
        dz, parts = cupy.empty_like(z), cupy.empty((blocks, 2), dtype=z.dtype)
        value, score = cupy.empty((), dtype=z.dtype), cupy.empty(1, dtype=z.dtype)
        self.kernels(
            "assess", z.dtype, (blocks,), (THREADS,),
            np.int32(KERNEL_LOSSES.index(type(loss))), np.int32(number), z, y,
            weight, self._total(weight), np.int32(n), np.int32(columns), T(setting), T(threshold),
            T(0.5 * float(np.finfo(str(z.dtype)).max)), dz, self._room(dz), parts,
            self._arrived(), value, score,
        )  # fmt: skip
        return value, dz, None if metric is None else score

    def _total(self, weight: Array | None) -> Array | None:
        if weight is None:
            return None
        dtype, size = weight.dtype, np.int32(weight.shape[0])
        tiny = scalar(dtype)(float(np.finfo(str(dtype)).smallest_normal))
        total = self.cupy.empty((), dtype=dtype)
        self.kernels("total_weight", dtype, (1,), (THREADS,), weight, size, tiny, total)
        return total

    def accumulate(
        self, totals: Array, carry: Array, finite: Array, value: Array, n: int, score: Array | None
    ) -> tuple[Array, Array, Array]:
        """Add a batch to the epoch's sums, in place."""
        T, scores = scalar(totals.dtype), 0 if score is None else score.size
        self.kernels(
            "accumulate", totals.dtype, (1,), (THREADS,),
            totals, carry, finite, value, T(n), score, np.int32(scores),
        )  # fmt: skip
        return totals, carry, finite


def _has_kernel(f: Activation, z: Array) -> bool:
    known = f.name in KERNEL_ACTIVATIONS and f is ACTIVATIONS[f.name]
    return known and str(z.dtype) in TYPES


def _code(name: str) -> Any:
    return np.int32(KERNEL_ACTIVATIONS.index(name))


def _step(column: Array | None) -> Any:
    """Return the step from one column's number to the next: 0 where one serves all columns."""
    return np.int32(0 if column is None or column.size == 1 else 1)


def _words(x: Array | None) -> Any:
    """Return how many words of four bytes a row has."""
    if x is None:
        return np.int32(0)
    return np.int32(x.size // max(x.shape[0], 1) * x.dtype.itemsize // 4)


def _warps(columns: int) -> int:
    return max(32, -(-columns // 32) * 32)
