"""Streams, graphs and arrays of an imitated GPU, in the host's memory.

Graphs note what is put on the stream and do it when they are launched; new memory is full of NaN.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

SHIM = Path(__file__).with_name("shim.h")
OPTIONS = ("-std=c++17", "-O1", "-shared", "-fPIC", "-ffp-contract=off", "-U_FORTIFY_SOURCE")
COMPILER = shutil.which("g++")


class CudaError(RuntimeError):
    """What CUDA would refuse."""


# Streams and graphs


class Stream:
    """A stream; work on it is done at once, or noted while it captures."""

    current: "Stream"
    count = 0

    def __init__(self, non_blocking: bool = False) -> None:
        Stream.count += 1
        self.ptr, self.nodes = Stream.count, None
        self._outer: list[Stream] = []

    def __enter__(self) -> "Stream":
        self._outer.append(Stream.current)
        Stream.current = self
        return self

    def __exit__(self, *error: object) -> None:
        Stream.current = self._outer.pop()

    def begin_capture(self) -> None:
        self.nodes: list[Any] | None = []
        self.memory: list[Any] = []

    def end_capture(self) -> "Graph":
        nodes, self.nodes = self.nodes, None
        assert nodes is not None
        return Graph(nodes, self.memory)

    def is_capturing(self) -> bool:
        return self.nodes is not None

    def synchronize(self) -> None:
        if self.is_capturing():
            raise CudaError("a capturing stream cannot be waited for")


Stream.current = Stream()


class Graph:
    """What a stream noted, with the memory that was lent meanwhile, as a private pool has it."""

    def __init__(self, nodes: list[tuple[str, Callable[[], object]]], memory: list[Any]) -> None:
        self.nodes, self._memory = nodes, memory

    def launch(self, stream: Stream | None = None) -> None:
        with np.errstate(all="ignore"):
            for _, work in self.nodes:
                work()

    def debug_dot_str(self, flags: int = 0) -> str:
        return "\n".join(name for name, _ in self.nodes)


def put(name: str, work: Callable[[], object]) -> None:
    """Do work, or note it."""
    if Stream.current.is_capturing():
        Stream.current.nodes.append((name, work))  # type: ignore[union-attr]
    else:
        work()


class Event:
    """A moment of the imitated clock."""

    def record(self, stream: Any = None) -> None:
        self.time = Clock.now

    def synchronize(self) -> None: ...


class Clock:
    now = 0.0


# Arrays


class Device:
    id = 0
    compute_capability = "90"
    mem_info = (1 << 30, 2 << 30)

    def __init__(self, number: int = 0) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device)

    def __hash__(self) -> int:
        return 0

    def __str__(self) -> str:
        return "<emulated CUDA device>"

    def synchronize(self) -> None: ...


DEVICE = Device()


class Array(np.ndarray[Any, Any]):
    """An array of the imitated device: a NumPy array that notes what is done to it."""

    @property
    def data(self) -> Any:  # type: ignore[override]
        return SimpleNamespace(ptr=self.ctypes.data)

    @property
    def device(self) -> Any:  # type: ignore[override]
        return DEVICE

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array.view(Array)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        if not isinstance(found, np.ndarray):
            index = (*(index if isinstance(index, tuple) else (index,)), ...)
            found = super().__getitem__(index)
        return found

    def __setitem__(self, index: Any, value: Any) -> None:
        put("copy", lambda: np.ndarray.__setitem__(self, index, value))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if ufunc is np.matmul and Stream.current.is_capturing():
            raise CudaError("cuBLAS cannot be captured")
        return noted(ufunc.__name__, getattr(ufunc, method), inputs, options)

    def __array_function__(self, func: Any, types: Any, args: Any, options: Any) -> Any:
        return noted(func.__name__, func, args, options)

    def astype(self, dtype: Any, *, copy: bool = True) -> Any:
        if not copy and self.dtype == dtype:
            return self
        return noted("astype", np.ndarray.astype, (self, dtype), {})

    def copy(self, order: Any = "C") -> Any:
        return noted("copy", np.array, (self,), {})

    def _read(self, name: str) -> Any:
        if Stream.current.is_capturing():
            raise CudaError("a value was read while a stream captures")
        return getattr(np.ndarray, name)(self)

    def __float__(self) -> float:
        return self._read("__float__")

    def __bool__(self) -> bool:
        return self._read("__bool__")

    def __int__(self) -> int:
        return self._read("__int__")


def plain(x: Any) -> Any:
    """The same without our class, through lists and tuples."""
    if isinstance(x, Array):
        return x.view(np.ndarray)
    if isinstance(x, list | tuple):
        return type(x)(map(plain, x))
    return x


def noted(name: str, function: Callable[..., Any], args: Any, options: dict[str, Any]) -> Any:
    """Call a function of NumPy, now and whenever the graph that notes it is launched."""
    args, named = plain(args), {key: plain(value) for key, value in options.items()}

    def call() -> Any:
        return function(*args, **named)

    if not Stream.current.is_capturing():
        return wrapped(call())
    with np.errstate(all="ignore"):
        result = plain(wrapped(call()))
    inputs = [x for x in (*args, *named.values()) if isinstance(x, np.ndarray)]
    if "out" in options:
        put(name, call)
    elif not any(np.may_share_memory(result, x) for x in inputs):  # else it is a view
        put(name, lambda: np.copyto(result, call()))
    return kept(result)


def wrapped(x: Any) -> Any:
    """The same in our class; what is no array stays as it is."""
    if isinstance(x, tuple):
        return tuple(map(wrapped, x))
    if isinstance(x, np.generic):
        return array(x)
    if isinstance(x, np.ndarray) and x.base is None:  # new, and so to be where CuPy would have it
        return array(x)
    return x.view(Array) if isinstance(x, np.ndarray) else x


ALIGNMENT = 512
"""Bytes; as CuPy's memory is aligned."""


def empty(shape: Any, dtype: Any = np.float64) -> Any:
    """New memory, full of NaN or of a large number: nobody may read it."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape)) * dtype.itemsize
    block = np.empty(count + ALIGNMENT, np.uint8)
    begin = -block.ctypes.data % ALIGNMENT
    made = block[begin : begin + count].view(dtype).reshape(shape)
    made[...] = np.nan if made.dtype.kind == "f" else (1 if made.dtype.kind == "b" else 99)
    return kept(made)


def array(x: Any, dtype: Any = None) -> Any:
    """A copy on the device."""
    host = np.asarray(plain(x), dtype=dtype)
    made = empty(host.shape, host.dtype)
    np.copyto(plain(made), host)
    return made


def kept(x: Any) -> Any:
    """Keep an array as long as the graph that is being captured."""
    if Stream.current.is_capturing():
        Stream.current.memory.append(x)
    return x.view(Array)


def zeros(shape: Any, dtype: Any = np.float64) -> Any:
    made = empty(shape, dtype)
    put("memset", lambda: np.ndarray.fill(made, 0))
    return made


def copyto(to: Any, source: Any) -> None:
    assert to.shape == source.shape, (to.shape, source.shape)
    assert isinstance(source, Array)
    put("copy", lambda: np.copyto(plain(to), plain(source), casting="same_kind"))
