"""Devices, streams, graphs, memory and arrays of an imitated GPU, in the host's memory.

Graphs note what is put on the stream, and do it when they are launched. They hold addresses, not
arrays, so memory that is freed too early is lent again and overwritten. Memory that is lent is
full of NaN. Devices and streams are current for a thread, and what is on another device is refused.
"""

import ctypes
import threading
import weakref
from collections.abc import Callable
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np


class CudaError(RuntimeError):
    """What CUDA would refuse."""


WAITS: list[str] = []
"""Whatever the host waited for, in order; tests clear it."""


# Devices


COUNT = 2
"""Devices of the machine."""


class _Thread(threading.local):
    """What is current for a thread."""

    def __init__(self) -> None:
        self.device = 0
        self.streams = list(NULL_STREAMS)
        self.allocators: list[Any] = [None]


class Device:
    compute_capability = "90"
    mem_info = (1 << 30, 2 << 30)

    def __init__(self, number: int | None = None) -> None:
        self.id = here.device if number is None else number
        if not 0 <= self.id < COUNT:
            raise CudaError("cudaErrorInvalidDevice: invalid device ordinal")
        self._outer: list[int] = []  # of all threads: an object is for one of them

    def __enter__(self) -> None:
        self._outer.append(here.device)
        here.device = self.id

    def __exit__(self, *error: object) -> None:
        here.device = self._outer.pop()

    def use(self) -> None:
        here.device = self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return self.id

    def __str__(self) -> str:
        return f"<emulated CUDA device {self.id}>"


def on_this_device(what: str, number: int) -> None:
    """As CuPy, which computes where the current device is."""
    if number != here.device:
        raise ValueError(f"{what} is on device {number}, while device {here.device} is current")


# Streams and graphs


class Stream:
    """A stream; work on it is done at once, or noted while it captures."""

    count = 0

    def __init__(self, non_blocking: bool = False) -> None:
        Stream.count += 1
        self._begin(Stream.count, here.device)

    def _begin(self, ptr: int, device_id: int) -> "Stream":
        self.ptr, self.device_id, self.nodes = ptr, device_id, None
        return self

    def __enter__(self) -> "Stream":
        on_this_device("a stream", self.device_id)
        self._outer = [*getattr(self, "_outer", []), here.streams[self.device_id]]
        here.streams[self.device_id] = self
        return self

    def __exit__(self, *error: object) -> None:
        here.streams[self.device_id] = self._outer.pop()

    def begin_capture(self) -> None:
        if self.ptr == 0:
            raise CudaError("cannot capture on the default (legacy) stream")
        if self.is_capturing():
            raise CudaError("cudaErrorIllegalState: the stream already captures")
        self.nodes: list[Any] | None = []
        self.pools: list[Any] = []

    def end_capture(self) -> "Graph":
        nodes, self.nodes = self.nodes, None
        assert nodes is not None
        return Graph(nodes, self.pools, self.device_id)

    def wait_event(self, event: "Event") -> None: ...

    def is_capturing(self) -> bool:
        return self.nodes is not None

    def synchronize(self) -> None:
        waiting("a stream")
        if self.is_capturing():
            raise CudaError("a capturing stream cannot be waited for")


NULL_STREAMS = [Stream.__new__(Stream)._begin(0, number) for number in range(COUNT)]
here = _Thread()


def current_stream() -> Stream:
    return here.streams[here.device]


def waiting(what: str) -> None:
    """Note that the host waits, which no capture allows."""
    if current_stream().is_capturing():
        raise CudaError(f"{what} was waited for while a stream captures")
    WAITS.append(what)


class Graph:
    """What a stream noted; its memory stays as long as the pools that lent it."""

    def __init__(
        self, nodes: list[tuple[str, Callable[[], object]]], pools: list[Any], device_id: int
    ) -> None:
        self.nodes, self._pools, self.device_id = nodes, pools, device_id

    def launch(self, stream: Stream | None = None) -> None:
        on_this_device("a graph", self.device_id)
        with np.errstate(all="ignore"):
            for _, work in self.nodes:
                work()

    def debug_dot_str(self, flags: int = 0) -> str:
        return "\n".join(name for name, _ in self.nodes)


def put(name: str, work: Callable[[], object]) -> None:
    """Do work, or note it."""
    stream = current_stream()
    if stream.is_capturing():
        stream.nodes.append((name, work))  # type: ignore[union-attr]
    else:
        work()


class Event:
    """A moment of the imitated clock."""

    def __init__(self, disable_timing: bool = False) -> None:
        self.device_id = here.device

    def record(self, stream: Any = None) -> None:
        assert stream is None or stream.device_id == self.device_id
        self.time = Clock.now

    def synchronize(self) -> None:
        waiting("an event")


class Clock:
    now = 0.0


# Memory


ALIGNMENT = 512
"""Bytes; as CuPy's memory is aligned."""


class MemoryPool:
    """Lends blocks, and lends them again when nobody has an array there any more."""

    def __init__(self, allocator: Any = None) -> None:
        self._free: dict[tuple[int, int], list[Any]] = {}
        self._lent: dict[int, Any] = {}
        self._blocks: list[Any] = []  # a graph may still have their addresses

    def malloc(self, size: int) -> Any:
        """Return memory of so many bytes, as an object that lives as long as it is lent."""
        key = (here.device, -(-max(size, 1) // ALIGNMENT) * ALIGNMENT)
        free = self._free.setdefault(key, [])
        block = free.pop() if free else self._new(key[1])
        lease = (ctypes.c_char * key[1]).from_buffer(block)
        name = id(lease)

        def returned(_: Any) -> None:
            del self._lent[name]
            free.append(block)

        self._lent[name] = weakref.ref(lease, returned)
        if current_stream().is_capturing() and self not in current_stream().pools:
            current_stream().pools.append(self)
        return lease

    def _new(self, size: int) -> Any:
        raw = np.empty(size + ALIGNMENT, np.uint8)
        begin = -raw.ctypes.data % ALIGNMENT
        self._blocks.append(raw[begin : begin + size])
        return self._blocks[-1]

    def free_all_blocks(self) -> None: ...

    def used_bytes(self) -> int:
        return 0

    free_bytes = total_bytes = used_bytes


DEFAULT = MemoryPool()


@contextmanager
def using_allocator(allocator: Any) -> Any:
    here.allocators.append(allocator)
    try:
        yield
    finally:
        here.allocators.pop()


def empty(shape: Any, dtype: Any = np.float64) -> Any:
    """New memory, full of NaN or of a large number: nobody may read it."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    lease = (here.allocators[-1] or DEFAULT.malloc)(size)
    made = np.frombuffer(lease, np.uint8, size).view(dtype).reshape(shape)
    made[...] = np.nan if made.dtype.kind == "f" else (1 if made.dtype.kind == "b" else 99)
    return made.view(Array)


def by_address(x: Any) -> Any:
    """The same memory, which this array does not keep: all that a graph has."""
    if isinstance(x, list | tuple):
        return type(x)(map(by_address, x))
    if not isinstance(x, Array):
        return x
    interface = {**np.ndarray.__getattribute__(x, "__array_interface__"), "version": 3}
    return np.asarray(SimpleNamespace(__array_interface__=interface))


# Arrays


class Array(np.ndarray[Any, Any]):
    """An array of the imitated device: a NumPy array that notes what is done to it."""

    def __array_finalize__(self, made_from: Any) -> None:
        self.number = getattr(made_from, "number", here.device)

    @property
    def data(self) -> Any:  # type: ignore[override]
        return SimpleNamespace(ptr=self.ctypes.data, copy_from_host_async=self._filled)

    def _filled(self, address: int, size: int, stream: Any) -> None:
        assert size <= self.nbytes
        assert stream.device_id == self.number
        ctypes.memmove(self.ctypes.data, address, size)

    @property
    def device(self) -> Any:  # type: ignore[override]
        return Device(self.number)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        return array.view(Array)

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        if not isinstance(found, np.ndarray):
            index = (*(index if isinstance(index, tuple) else (index,)), ...)
            found = super().__getitem__(index)
        return found

    def __setitem__(self, index: Any, value: Any) -> None:
        on_this_device("an array", self.number)
        to, value = by_address(self), by_address(value)
        put("copy", lambda: np.ndarray.__setitem__(to, index, value))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if ufunc is np.matmul and current_stream().is_capturing():
            raise CudaError("cuBLAS cannot be captured")
        return noted(ufunc.__name__, getattr(ufunc, method), inputs, options)

    def __array_function__(self, func: Any, types: Any, args: Any, options: Any) -> Any:
        if func is np.take:  # CuPy's refuses no index: memory that nobody has filled may hold any
            options = options | {"mode": "clip"}
        if func is np.concatenate and len(args[0]) > 8 and current_stream().is_capturing():
            raise CudaError("concatenate of more than 8 arrays copies from the host")
        return noted(func.__name__, func, args, options)

    def astype(self, dtype: Any, *, copy: bool = True) -> Any:
        if not copy and self.dtype == dtype:
            return self
        return noted("astype", np.ndarray.astype, (self, dtype), {})

    def copy(self, order: Any = "C") -> Any:
        return noted("copy", np.array, (self,), {})

    def _read(self, name: str) -> Any:
        waiting("a value")
        return getattr(np.ndarray, name)(self)

    def __float__(self) -> float:
        return self._read("__float__")

    def __bool__(self) -> bool:
        return self._read("__bool__")

    def __int__(self) -> int:
        return self._read("__int__")


def checked(x: Any) -> None:
    """Refuse arrays of other devices, and the host's."""
    if isinstance(x, list | tuple):
        for each in x:
            checked(each)
    elif isinstance(x, Array):
        on_this_device("an array", x.number)
    elif isinstance(x, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")


def plain(x: Any) -> Any:
    """The same without our class, through lists and tuples."""
    if isinstance(x, Array):
        return x.view(np.ndarray)
    if isinstance(x, list | tuple):
        return type(x)(map(plain, x))
    return x


def noted(name: str, function: Callable[..., Any], args: Any, options: dict[str, Any]) -> Any:
    """Call a function of NumPy, now and whenever the graph that notes it is launched."""
    checked((*args, *options.values()))
    named = {key: plain(value) for key, value in options.items()}
    inputs = [x for x in (*plain(args), *named.values()) if isinstance(x, np.ndarray)]
    if not current_stream().is_capturing():
        return wrapped(function(*plain(args), **named))
    with np.errstate(all="ignore"):
        result = function(*plain(args), **named)
    if isinstance(result, np.ndarray) and not any(np.may_share_memory(result, x) for x in inputs):
        result = result.copy()  # reshape may return a view of new memory
    result = wrapped(result)
    again, named = by_address(args), {key: by_address(value) for key, value in options.items()}
    if "out" in options:
        put(name, lambda: function(*again, **named))
    elif not any(np.may_share_memory(plain(result), x) for x in inputs):  # else it is a view
        to = by_address(result)
        put(name, lambda: np.copyto(to, function(*again, **named)))
    return result


def wrapped(x: Any) -> Any:
    """The same in our class; what is no array stays as it is."""
    if isinstance(x, tuple):
        return tuple(map(wrapped, x))
    if isinstance(x, np.generic) or (isinstance(x, np.ndarray) and x.base is None):
        return _copied(np.asarray(x))  # new, and so to be where CuPy would have it
    return x.view(Array) if isinstance(x, np.ndarray) else x


def _copied(host: np.ndarray) -> Any:
    made = empty(host.shape, host.dtype)
    np.copyto(plain(made), host)
    return made


def array(x: Any, dtype: Any = None) -> Any:
    """A copy on the device."""
    if current_stream().is_capturing() and not isinstance(x, Array):
        raise CudaError("a copy from the host cannot be captured")
    return _copied(np.asarray(plain(x), dtype=dtype))


def asnumpy(x: Any) -> np.ndarray:
    """A copy on the host."""
    waiting("an array")
    return np.array(plain(x))


def zeros(shape: Any, dtype: Any = np.float64) -> Any:
    made = empty(shape, dtype)
    to = by_address(made)
    put("memset", lambda: to.fill(0))
    return made


def copyto(to: Any, source: Any) -> None:
    assert to.shape == source.shape, (to.shape, source.shape)
    assert isinstance(source, Array)
    checked((to, source))
    to, source = by_address(to), by_address(source)
    put("copy", lambda: np.copyto(to, source, casting="same_kind"))
