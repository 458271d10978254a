"""The CUDA kernels of this folder: compiled for the GPU, and launched.

CuPy compiles them with NVRTC the first time they are needed (about two seconds for each of float
and double) and keeps the result on disk. Launches allocate nothing and wait for nothing, so a
CUDA graph can capture them.
"""

from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.nn.contract import Array

SOURCES = ("functions", "elementwise", "outputs", "updates", "embeddings")
"""The folder's files, in the order in which they are joined to one source."""

TYPES = {"float32": "float", "float64": "double"}
"""C's names of the dtypes that kernels compute in."""

GATHERED = {
    "bool": "unsigned char", "uint8": "unsigned char", "int8": "signed char", "int16": "short",
    "int32": "int", "int64": "long long", "float32": "float", "float64": "double",
}  # fmt: skip
"""C's names of the dtypes that data may have."""

TYPED = (
    "activate", "slope", "dropout", "column_sums", "total_weight", "assess", "accumulate", "sgd",
    "momentum", "adagrad", "rmsprop", "adam", "batch_product", "sum_by_code",
)  # fmt: skip
UNTYPED = ("point", "to_bfloat16")

THREADS = 256
MOST_BLOCKS = 2048
"""For loops over elements; a thread takes several where there are more."""

NULL = np.uint64(0)


def source() -> str:
    """Return the kernels as CUDA C++."""
    folder = Path(__file__).parent
    return "\n".join((folder / f"{name}.cu").read_text() for name in SOURCES)


def names(dtype: str) -> tuple[str, ...]:
    """Return the C++ names of the kernels for a dtype."""
    T = TYPES[dtype]
    gathers = (f"gather<{T}, {S}>" for S in dict.fromkeys(GATHERED.values()))
    return (*(f"{name}<{T}>" for name in TYPED), *gathers, *UNTYPED)


class Kernels:
    """Launches kernels by name."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._modules: dict[str, Any] = {}
        self._found: dict[tuple[str, str], Callable[..., None]] = {}

    def __call__(
        self, name: str, dtype: Any, grid: tuple[int, ...], block: tuple[int, ...], *arguments: Any
    ) -> None:
        """Put a kernel on the current stream.

        Parameters
        ----------
        name : str
            ``"adam"``, or ``"gather"`` with the data's C type: ``"gather, unsigned char"``.
        dtype : dtype
            What T is.
        grid, block : tuple of int
        *arguments : Array, None, or NumPy scalar of exactly the kernel's type
            None is a null pointer.
        """
        key = (name, str(dtype))
        function = self._found.get(key)
        if function is None:
            function = self._found[key] = self._function(*key)
        function(grid, block, tuple(NULL if a is None else a for a in arguments))

    def over(self, n: int, name: str, dtype: Any, *arguments: Any) -> None:
        """Put a kernel on the current stream that loops over n elements, its last argument."""
        if n:
            blocks = min(ceil(n / THREADS), MOST_BLOCKS)
            self(name, dtype, (blocks,), (THREADS,), *arguments, np.int64(n))

    def _function(self, name: str, dtype: str) -> Callable[..., None]:
        if dtype not in self._modules:
            self._modules[dtype] = self._cupy.RawModule(
                code=source(), options=("-std=c++17",), name_expressions=names(dtype)
            )
        kernel, _, data = name.partition(", ")
        kinds = ", ".join(filter(None, (TYPES[dtype], data)))
        full = kernel if kernel in UNTYPED else f"{kernel}<{kinds}>"
        return self._modules[dtype].get_function(full)


def scalar(dtype: Any) -> Callable[[float], Any]:
    """Return the function that turns a number into a kernel argument of type T."""
    return np.dtype(str(dtype)).type


def shares(rows: int) -> int:
    """Return how many blocks share the rows of a column."""
    return 1 if rows <= 512 else min(64, ceil(rows / 256))


def contiguous(cupy: Any, x: Array) -> Array:
    """Return the array row by row without gaps; x itself if it is so already."""
    return x if x.flags.c_contiguous else cupy.ascontiguousarray(x)
