"""NumPy's counterpart of a captured CUDA graph: a step is recorded once and then replayed.

A step in Python spends more time between NumPy's calls than in them, and each call makes a new
array. Yet every step makes the same calls on the same shapes. So it runs once on ``Recorded``
arrays, which note each call with its arguments and give each result a buffer of its own. From
then on a step is that list of calls, on the same memory. A buffer is used again as soon as its
array is gone, so the recording needs no more memory than the step did.

What cannot be replayed is refused with ``Unrecordable``: reading a value on the host, functions
that are not known here, arrays that appear from elsewhere.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import Lock
from typing import Any, ClassVar, Self
from weakref import ref

import numpy as np

Array = np.ndarray[Any, Any]
Call = Callable[[], Any]

ALIGNMENT = 64
"""Bytes; a cache line, and the widest vector a CPU loads."""


class Unrecordable(Exception):  # noqa: N818 - the step then runs eagerly
    """A step does something that cannot be replayed."""


class Buffer:
    """Memory of recorded arrays: an array of the run, or a loan from the tape's pool."""

    def __init__(self, tape: "Tape", memory: Array, lent: int = 0) -> None:
        # A tape's calls hold arrays, whose bases hold their buffers. Python finds no cycle that
        # goes through an array's base, so a buffer must not hold its tape.
        self._tape = ref(tape)
        self.memory, self._lent = memory, lent
        self.start = memory.ctypes.data
        self.stop = self.start + memory.nbytes

    @property
    def tape(self) -> "Tape":
        """The tape that records."""
        tape = self._tape()
        if tape is None:
            raise Unrecordable("an array was used after its recording")
        return tape

    def __del__(self) -> None:
        tape = self._tape() if self._lent else None
        if tape is not None:
            tape.free[self._lent].append(self.memory)


class Input:
    """Stands in a recorded call for an array that each replay is given: the data."""

    def __init__(self, index: int) -> None:
        self.index = index


class Tape:
    """The calls of one step. They are noted inside ``with tape:``.

    Parameters
    ----------
    inputs : list of ndarray
        Replays may bring other arrays of the same dtype and row shape.
    """

    recording: ClassVar[int] = 0
    """How many tapes are recording, in all threads: while none is, calls need no check."""
    _lock: ClassVar[Lock] = Lock()

    def __init__(self, inputs: list[Array]) -> None:
        self.free: defaultdict[int, list[Array]] = defaultdict(list)
        self._calls: list[Call] = []
        self._late: list[tuple[int, Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []
        self._inputs = inputs

    def __enter__(self) -> Self:
        with Tape._lock:
            Tape.recording += 1
        return self

    def __exit__(self, *_: object) -> None:
        with Tape._lock:
            Tape.recording -= 1

    def wrap(self, array: Array) -> "Recorded":
        """Let a step see an array of the run."""
        return _recorded(array, Buffer(self, array))

    def empty(self, shape: tuple[int, ...], dtype: Any) -> "Recorded":
        """Lend memory for a result."""
        dtype = np.dtype(dtype)
        used = int(np.prod(shape)) * dtype.itemsize
        size = max(-(-used // ALIGNMENT) * ALIGNMENT, ALIGNMENT)
        memory = self.free[size].pop() if self.free[size] else _aligned(size)
        return _recorded(memory[:used].view(dtype).reshape(shape), Buffer(self, memory, size))

    def call(self, f: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call a function that writes to its arguments, now and in every later step."""
        args = tuple(map(self._plain, args))
        kwargs = {name: self._plain(value) for name, value in kwargs.items()}
        if any(isinstance(a, Input) for a in kwargs.values()):
            raise Unrecordable("the data were passed to a function by keyword")
        f(*_filled(args, self._inputs), **kwargs)
        if any(isinstance(a, Input) for a in args):
            self._late.append((len(self._calls), f, args, kwargs))
        self._calls.append(_bound(f, args, kwargs, self._inputs))

    def calls(self, inputs: list[Array]) -> list[Call]:
        """Return the step's calls on these inputs."""
        calls = self._calls.copy()
        for index, f, args, kwargs in self._late:
            calls[index] = _bound(f, args, kwargs, inputs)
        return calls

    def forget_inputs(self) -> None:
        """Keep no reference to the data that it was recorded with."""
        self._inputs = []
        for index, f, *_ in self._late:
            self._calls[index] = f

    def values(self, args: Iterable[Any]) -> list[Any]:
        """Return arguments as NumPy's own arrays."""
        return list(_filled(tuple(map(self._plain, args)), self._inputs))

    def _plain(self, x: Any) -> Any:
        if not isinstance(x, Recorded):
            return x
        buffer, start = x.buffer, x.ctypes.data
        for index, given in enumerate(self._inputs):
            if buffer is not None and buffer.memory is given:
                if (x.shape, x.strides, start) != (given.shape, given.strides, buffer.start):
                    raise Unrecordable("a part of the data was taken without take()")
                return Input(index)
        if buffer is None or not (buffer.start <= start and start + _extent(x) <= buffer.stop):
            raise Unrecordable("an array was made in a way that cannot be followed")
        return x.view(np.ndarray)


class Recorded(np.ndarray[Any, Any]):
    """An array whose calls are noted on a tape. Made by ``Tape.wrap`` and ``Tape.empty``."""

    buffer: Buffer | None

    def __array_finalize__(self, parent: Any) -> None:
        self.buffer = getattr(parent, "buffer", None)

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **kwargs: Any
    ) -> Any:
        """Note a call of a ufunc or of its ``reduce``."""
        if method not in ("__call__", "reduce") or ufunc.nout != 1:
            raise Unrecordable(f"numpy.{ufunc.__name__}.{method}")
        kwargs.pop("subok", None)
        return noted(ufunc if method == "__call__" else ufunc.reduce, inputs, out, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Note one of NumPy's other functions."""
        if func not in HANDLERS:
            raise Unrecordable(f"numpy.{func.__name__}")
        handler = HANDLERS[func]
        if handler is None:
            return super().__array_function__(func, types, args, kwargs)
        return handler(*args, **kwargs)

    def __getitem__(self, index: Any) -> Any:
        """Return a view, also of a single element: its value changes from step to step."""
        found = super().__getitem__(index)
        if isinstance(found, np.ndarray):
            return found
        return super().__getitem__((*(index if isinstance(index, tuple) else (index,)), ...))

    def __setitem__(self, index: Any, value: Any) -> None:
        """Note the copy."""
        launch(np.copyto, self[index], value)

    def astype(self, dtype: Any, *_: Any, copy: Any = True, **__: Any) -> Any:
        """Note the conversion."""
        if not copy and self.dtype == dtype:
            return self
        made = tape_of((self,)).empty(self.shape, dtype)
        launch(np.copyto, made, self, casting="unsafe")
        return made

    def copy(self, *_: Any, **__: Any) -> Any:
        """Note the copy."""
        return self.astype(self.dtype)

    def argmax(self, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Any:
        """Note the call."""
        return noted(np.argmax, (self,), out, {"axis": axis, "keepdims": keepdims})

    def argmin(self, axis: Any = None, out: Any = None, *, keepdims: bool = False) -> Any:
        """Note the call."""
        return noted(np.argmin, (self,), out, {"axis": axis, "keepdims": keepdims})

    def take(self, indices: Any, axis: Any = None, out: Any = None, mode: str = "") -> Any:
        """Note the call, as a method: that takes a third of the function's time."""
        # "clip" writes straight to its result; the plan's indices are always in range.
        return noted(np.ndarray.take, (self, indices), out, {"axis": axis, "mode": "clip"})

    def _read(self, *_: Any) -> Any:
        raise Unrecordable("a value was read on the host")

    __bool__ = __int__ = __float__ = __complex__ = __index__ = item = tolist = _read


HANDLERS: dict[Any, Callable[..., Any] | None] = {}
"""How functions that are no ufuncs are noted; ``functions`` fills it.

None where NumPy's own code may run: it makes views, or calls ufuncs, which are noted.
"""


def noted(f: Callable[..., Any], args: Any, out: Any, kwargs: dict[str, Any]) -> Recorded:
    """Call a function of NumPy that takes ``out``, and note it with memory for its result."""
    target = out[0] if isinstance(out, tuple) else out
    if target is None:
        tape = tape_of((*args, *kwargs.values()))
        named = dict(zip(kwargs, tape.values(kwargs.values()), strict=True))
        tried = np.asarray(f(*tape.values(args), **named))
        target = tape.empty(tried.shape, tried.dtype)
    elif not isinstance(target, Recorded):
        raise Unrecordable("a result was written to an array from elsewhere")
    if isinstance(f, np.ufunc):
        args = _converted(f, args)
    tape_of((target,)).call(f, *args, out=target, **kwargs)
    return target


def _converted(ufunc: np.ufunc, args: Any) -> list[Any]:
    """Turn Python's numbers into arrays of the dtype that NumPy would convert them to each time."""
    kinds = [a.dtype if isinstance(a, np.ndarray | np.generic) else type(a) for a in args]
    dtypes = ufunc.resolve_dtypes((*kinds, None))
    return [
        np.array(a, dtype) if isinstance(a, int | float) else a
        for a, dtype in zip(args, dtypes, strict=False)
    ]


def launch(f: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Call a function that writes its result to an argument; note it if an argument is recorded."""
    if Tape.recording:
        for a in args:
            if isinstance(a, Recorded):
                tape_of((a,)).call(f, *args, **kwargs)
                return
    f(*args, **kwargs)


def empty(like: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Memory for a result: new, or the tape's if ``like`` is being recorded."""
    if Tape.recording and isinstance(like, Recorded):
        return tape_of((like,)).empty(shape, dtype)
    return np.empty(shape, dtype)


def together(arrays: Iterable[Array]) -> Iterator[Array]:
    """Copy arrays to one block, each aligned for vector loads.

    From 4 MiB NumPy asks for huge pages, of which far fewer have to be looked up.
    """
    arrays = list(arrays)
    sizes = [-(-a.nbytes // ALIGNMENT) * ALIGNMENT for a in arrays]
    block, start = _aligned(sum(sizes)), 0
    for array, size in zip(arrays, sizes, strict=True):
        made = block[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
        made[...] = array
        yield made
        start += size


def _filled(args: tuple[Any, ...], inputs: list[Array]) -> tuple[Any, ...]:
    return tuple(inputs[a.index] if isinstance(a, Input) else a for a in args)


def _bound(f: Any, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: list[Array]) -> Call:
    """Bind a call to its arguments, with those of ``inputs`` that it asks for."""
    bound: Callable[..., Call] = getattr(f, "bound", partial(partial, f))
    return bound(*_filled(args, inputs), **kwargs)


def _recorded(array: Array, buffer: Buffer) -> Recorded:
    made = array.view(Recorded)
    made.buffer = buffer
    return made


def _aligned(size: int) -> Array:
    block = np.empty(size + ALIGNMENT, np.uint8)
    start = -block.ctypes.data % ALIGNMENT
    return block[start : start + size]


def _extent(x: Array) -> int:
    """Bytes from an array's first to its last element."""
    if x.size == 0:
        return 0
    if any(stride < 0 for stride in x.strides):
        raise Unrecordable("an array was reversed")
    steps = zip(x.shape, x.strides, strict=True)
    return int(sum((n - 1) * stride for n, stride in steps) + x.itemsize)


def tape_of(args: Iterable[Any]) -> Tape:
    """Return the tape of the first recorded array."""
    for a in args:
        if isinstance(a, Recorded) and a.buffer is not None:
            return a.buffer.tape
    raise Unrecordable("an array was made in a way that cannot be followed")
