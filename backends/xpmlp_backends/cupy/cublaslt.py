"""Matrix products by cuBLASLt, which CUDA graphs can capture; CuPy's, by cuBLAS, they cannot.

cuBLASLt takes the stream and its workspace with each call, adds a bias, applies ReLU or sums
columns along the way (its *epilogue*), and offers several algorithms for a product, of which the
fastest is found by timing. The bindings are NVIDIA's, ``nvmath.bindings.cublasLt``.

cuBLASLt's matrices are column by column: a matrix stored row by row is, to it, its transpose. So
instead of D = A B it is asked for Dᵀ = Bᵀ Aᵀ, which has the same memory, and nothing is copied:

    product          its first factor      its second        its epilogue
    Z = X W + b      Wᵀ   (W as stored)    Xᵀ                BIAS, RELU_BIAS: b
    dX = dZ Wᵀ       W    (transposed)     dZᵀ
    dW = Xᵀ dZ       dZᵀ                   X   (transposed)  BGRADA: db, the sums of dZ's columns
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import gcd
from threading import Lock, local
from typing import Any, NamedTuple

import numpy as np

from xpmlp.nn.contract import Array
from xpmlp_backends.cupy.streams import PerStream
from xpmlp_backends.cupy.tuning import Tuning

logger = logging.getLogger("xpmlp")

WORKSPACE = 32 << 20
"""Bytes; what NVIDIA recommends for GPUs since Hopper."""

CANDIDATES = 16
"""Algorithms to time for each product."""

# From CUDA's headers, library_types.h and cublas_api.h.
R_32F, R_64F, R_16BF = 0, 1, 14
COMPUTE_32F, COMPUTE_64F, COMPUTE_32F_FAST_TF32 = 68, 70, 77
STORED = {"float32": R_32F, "float64": R_64F, "uint16": R_16BF}
"""cuBLASLt's types by CuPy's dtype; bfloat16 is passed as uint16 with the same bits."""


class Side(NamedTuple):
    """A matrix as cuBLASLt sees it.

    Attributes
    ----------
    kind : int
        Its type.
    rows, columns : int
        As stored in memory, column by column.
    transposed : bool
        Whether the product takes it transposed.
    alignment : int
        Bytes; a power of two of at most 256 that divides its address, and those of a batch.
    batch : int
        How many matrices there are, one after another; 1 is one product.
    stride : int
        Elements from one of them to the next; 0 if it is the same for all.
    """

    kind: int
    rows: int
    columns: int
    transposed: bool
    alignment: int
    batch: int = 1
    stride: int = 0

    @classmethod
    def of(cls, x: Array, batch: int = 1) -> "Side":
        """Describe an array of matrices, row by row, or the transposes of such.

        One of two dimensions is the same matrix for a whole batch.
        """
        transposed = not _by_rows(x)
        columns, rows = x.shape[:-3:-1] if transposed else x.shape[-2:]
        stride = rows * columns if x.ndim > 2 else 0
        alignment = gcd(x.data.ptr, stride * x.dtype.itemsize, 256)
        return cls(STORED[str(x.dtype)], rows, columns, transposed, alignment, batch, stride)


def _by_rows(x: Array) -> bool:
    """Whether the matrices of an array of two or three dimensions are stored row by row."""
    return bool(x.flags.c_contiguous)


def _fits(x: Array) -> bool:
    """Whether they are stored row by row or column by column, one after another."""
    return bool(x.flags.c_contiguous or x.swapaxes(-1, -2).flags.c_contiguous)


class Shape(NamedTuple):
    """Everything that the choice of an algorithm depends on."""

    compute: int
    first: Side
    second: Side
    result: Side
    epilogue: str


@dataclass
class Recipe:
    """A product ready to be computed: descriptors and the algorithm."""

    operation: int
    layouts: tuple[int, int, int]
    algorithm: Any
    timed: bool = False
    lock: Lock = field(default_factory=Lock)


class _Thread(local):
    timing = False
    """Whether this thread is in the context ``timed``."""


class Products:
    """Matrix products of CuPy arrays, on the current stream.

    Parameters
    ----------
    cupy : module
    lt : module
        ``nvmath.bindings.cublasLt``.
    precision : {"float32", "tf32", "bf16"}
        "tf32" lets cuBLASLt round float32 factors; for "bf16" they are given rounded.
    tuning : Tuning
        Times algorithms and keeps the choices.
    """

    def __init__(self, cupy: Any, lt: Any, precision: str, tuning: Tuning | None = None) -> None:
        self._cupy, self._lt, self.precision = cupy, lt, precision
        self._handle = lt.create()
        self._recipes: dict[Shape, Recipe | None] = {}
        self._workspace = PerStream(cupy, lambda: cupy.empty(WORKSPACE, dtype=np.uint8))
        self._here = _Thread()
        self._lock = Lock()
        self.tuning = tuning or Tuning(cupy, f"cuBLASLt {lt.get_version()}")
        self.missing: list[str] = []

    def __call__(
        self,
        a: Array,
        b: Array,
        out: Array | None = None,
        bias: Array | None = None,
        relu: bool = False,
        sums: Array | None = None,
    ) -> Array | None:
        """Compute a b, with an epilogue.

        Parameters
        ----------
        a : Array, shape (n, k) or (batch, n, k)
        b : Array, shape (k, m) or (batch, k, m)
            Both float32, both float64, or both uint16 with the bits of bfloat16, whose product is
            float32; row by row or the transpose of such an array.
        out : Array, shape (n, m) or (batch, n, m), optional
            Where to write; row by row. A batch has no epilogue.
        bias : Array, shape (m,), optional
            Added to each row.
        relu : bool
            Whether to apply max(·, 0) to the result; only with a bias.
        sums : Array, shape (m,), optional
            Where to write the sums of b's columns.

        Returns
        -------
        Array, shape (n, m), or None
            None if cuBLASLt cannot do all of it at once; nothing is written then.
        """
        if out is None:
            dtype = np.float32 if a.dtype == np.uint16 else a.dtype
            front = (a if a.ndim > 2 else b).shape[:-2]
            out = self._cupy.empty((*front, a.shape[-2], b.shape[-1]), dtype=dtype)
        a, b = self._placed(a), self._placed(b)
        extra = bias if bias is not None else sums
        shape = self._shape(a, b, out, self._epilogue(bias, relu, sums))
        recipe = self._recipe(shape, (b, a, out), extra)
        if recipe is None:
            return None
        self._compute(recipe, (b, a, out), extra)
        return out

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Find the fastest algorithm for each product that is computed in this context.

        Elsewhere the first that cuBLASLt proposes is used: a prediction should not wait for
        timings.
        """
        before, self._here.timing = self._here.timing, True
        try:
            yield
        finally:
            self._here.timing = before

    @property
    def may_wait(self) -> bool:
        """Whether this thread is in such a context and not in a capture."""
        return self._here.timing and not self._cupy.cuda.get_current_stream().is_capturing()

    def _placed(self, x: Array) -> Array:
        """Return x in an order that cuBLASLt accepts; only a slice is copied."""
        return x if _fits(x) else self._cupy.ascontiguousarray(x)

    @staticmethod
    def _epilogue(bias: Array | None, relu: bool, sums: Array | None) -> str:
        if bias is not None:
            return "RELU_BIAS" if relu else "BIAS"
        return "DEFAULT" if sums is None else "BGRADA"

    def _shape(self, a: Array, b: Array, out: Array, epilogue: str) -> Shape:
        compute = COMPUTE_64F if str(out.dtype) == "float64" else COMPUTE_32F
        if self.precision == "tf32" and compute == COMPUTE_32F:
            compute = COMPUTE_32F_FAST_TF32
        batch = out.shape[0] if out.ndim > 2 else 1
        first, second, result = (Side.of(x, batch) for x in (b, a, out))
        return Shape(compute, first, second, result, epilogue)

    # Descriptors and algorithms

    def _recipe(self, shape: Shape, arrays: Any, extra: Array | None) -> Recipe | None:
        with self._lock:
            found = self._recipes.get(shape)
            if shape not in self._recipes or (found and self._here.timing and not found.timed):
                self._recipes[shape] = self._made(shape, arrays, extra)
            return self._recipes[shape]

    def _made(self, shape: Shape, arrays: Any, extra: Array | None) -> Recipe | None:
        """Choose an algorithm that works; not all that cuBLASLt lists do."""
        operation, layouts = self._described(shape)
        found = self._heuristics(operation, layouts, shape)
        algorithms = [np.array(one) for one in found["algo"]]

        def call(algorithm: Any) -> None:
            self._compute(Recipe(operation, layouts, algorithm), arrays, extra)

        if self._here.timing and algorithms:
            algorithms.insert(0, self.tuning.best(str(shape), algorithms, call))
        for algorithm in algorithms:
            try:
                call(algorithm)
            except self._lt.cuBLASLtError as error:
                logger.debug("an algorithm of cuBLASLt does not work: %s", error)
            else:
                return Recipe(operation, layouts, algorithm, self._here.timing)
        if shape.epilogue == "DEFAULT":
            raise RuntimeError(f"cuBLASLt has no algorithm for {shape}")
        self._say_missing(shape)
        return None

    def _say_missing(self, shape: Shape) -> None:
        """Log, once for each result, that a custom kernel does what the epilogue would do."""
        what = f"{shape.epilogue} for {shape.result.columns} x {shape.result.rows}"
        if what not in self.missing:
            self.missing.append(what)
            logger.info("cuBLASLt has no %s: a custom kernel does it", what)

    def _described(self, shape: Shape) -> tuple[int, tuple[int, int, int]]:
        lt, attribute = self._lt, self._lt.MatmulDescAttribute
        scale = R_64F if shape.compute == COMPUTE_64F else R_32F
        operation = lt.matmul_desc_create(shape.compute, scale)
        self._set(operation, attribute.TRANSA, np.int32(shape.first.transposed))
        self._set(operation, attribute.TRANSB, np.int32(shape.second.transposed))
        self._set(operation, attribute.EPILOGUE, np.uint32(lt.Epilogue[shape.epilogue]))
        first, second, result = map(self._layout, (shape.first, shape.second, shape.result))
        return operation, (first, second, result)

    def _layout(self, side: Side) -> int:
        lt = self._lt
        made: int = lt.matrix_layout_create(side.kind, side.rows, side.columns, side.rows)
        if side.batch > 1:
            attribute, write = lt.MatrixLayoutAttribute, lt.matrix_layout_set_attribute
            _write(write, made, attribute.BATCH_COUNT, np.int32(side.batch))
            _write(write, made, attribute.STRIDED_BATCH_OFFSET, np.int64(side.stride))
        return made

    def _set(self, operation: int, attribute: int, value: Any) -> None:
        _write(self._lt.matmul_desc_set_attribute, operation, attribute, value)

    def _heuristics(self, operation: int, layouts: tuple[int, int, int], shape: Shape) -> Any:
        """Ask for algorithms, the most promising first."""
        lt, attribute = self._lt, self._lt.MatmulPreferenceAttribute
        preference = lt.matmul_preference_create()
        sides = (shape.first, shape.second, shape.result, shape.result)
        wishes = {attribute.MAX_WORKSPACE_BYTES: np.uint64(WORKSPACE)} | {
            attribute[f"MIN_ALIGNMENT_{letter}_BYTES"]: np.uint32(side.alignment)
            for letter, side in zip("ABCD", sides, strict=True)
        }
        for name, value in wishes.items():
            _write(lt.matmul_preference_set_attribute, preference, name, value)
        results = np.zeros(CANDIDATES, dtype=lt.matmul_heuristic_result_dtype)
        count = np.zeros(1, dtype=np.int32)
        first, second, result = layouts
        try:
            lt.matmul_algo_get_heuristic(
                self._handle, operation, first, second, result, result, preference,
                CANDIDATES, results.ctypes.data, count.ctypes.data,
            )  # fmt: skip
        except lt.cuBLASLtError:  # "not supported", for an epilogue that it does not have
            return results[:0]
        finally:
            lt.matmul_preference_destroy(preference)
        usable = results[: count[0]]
        return usable[usable["state"] == 0]

    def _compute(self, recipe: Recipe, arrays: Any, extra: Array | None) -> None:
        lt, (first, second, result) = self._lt, recipe.layouts
        stream = self._cupy.cuda.get_current_stream().ptr
        workspace = self._workspace()
        b, a, out = (x.data.ptr for x in arrays)
        number = np.float64 if str(arrays[2].dtype) == "float64" else np.float32
        one, zero = np.ones(1, number), np.zeros(1, number)
        with recipe.lock:  # the descriptor holds the extra's address
            if extra is not None:
                pointer = self._lt.MatmulDescAttribute.BIAS_POINTER
                self._set(recipe.operation, pointer, np.uint64(extra.data.ptr))
            lt.matmul(
                self._handle, recipe.operation, one.ctypes.data, b, first, a, second,
                zero.ctypes.data, out, result, out, result, recipe.algorithm.ctypes.data,
                workspace.data.ptr, WORKSPACE, stream,
            )  # fmt: skip

    def table(self) -> list[tuple[Any, ...]]:
        """Return what was tuned: product, candidates, the first's and the best's time."""
        return [*self.tuning.table(), *((what, 0, None, None) for what in self.missing)]


def _write(setter: Any, descriptor: int, attribute: int, value: Any) -> None:
    """Set an attribute, whose value is passed by address."""
    held = np.array(value)
    setter(descriptor, int(attribute), held.ctypes.data, held.itemsize)
