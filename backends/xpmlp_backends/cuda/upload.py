"""Rows of host arrays on their way to a GPU: pinned memory, a second stream, two places in turn.

A copy runs beside the training only from page-locked ("pinned") host memory and on a stream of its
own. Two things must then be waited for, each by an event: a piece may be read only when its copy is
there, and a place may be written to only when the steps that read it are through. So, for one piece
after another: the training's stream waits for the copy; the caller enqueues its steps; an event
after them marks the place as used; and while they run, the next piece is gathered and copied.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import cycle
from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpmlp.nn.contract import Array

PLACES = 2
"""One to train from while the other is filled."""


class Lane(NamedTuple):
    """What a library has for copies beside its work.

    Attributes
    ----------
    stream : object
        The second stream: ``wait_event(event)``.
    current : callable () -> object
        The stream that the training runs on.
    event : callable () -> object
        Makes an event: ``record(stream)``, ``synchronize()``.
    pinned : callable (shape, dtype) -> (ndarray, object)
        Makes page-locked memory, as NumPy sees it and as ``copy`` takes it.
    empty : callable (shape, dtype) -> Array
        Makes a place on the device.
    copy : callable (place, pinned, rows) -> None
        Enqueues a copy of the first rows on the second stream, and returns at once.
    """

    stream: Any
    current: Callable[[], Any]
    event: Callable[[], Any]
    pinned: Callable[[tuple[int, ...], Any], tuple[np.ndarray, Any]]
    empty: Callable[[tuple[int, ...], Any], Array]
    copy: Callable[[Array, Any, int], None]


class Place:
    """Memory for one piece, pinned on the host and on the device, and what its users wait for."""

    def __init__(self, lane: Lane, arrays: tuple[Any, ...], rows: int) -> None:
        self.copied, self.used = lane.event(), lane.event()
        self._lane = lane
        self.device: tuple[Array | None, ...] = tuple(
            None if x is None else lane.empty((rows, *x.shape[1:]), x.dtype) for x in arrays
        )
        self._pinned = [
            None if x is None else lane.pinned((rows, *x.shape[1:]), x.dtype) for x in arrays
        ]
        self.used.record(lane.current())  # the memory's earlier owner may still be at work

    def fill(self, arrays: tuple[Any, ...], piece: Any) -> None:
        """Gather rows on the host, and enqueue their copy behind what still reads the place."""
        self.copied.synchronize()  # the last copy may still read the pinned memory
        lane = self._lane
        lane.stream.wait_event(self.used)
        for x, pinned, place in zip(arrays, self._pinned, self.device, strict=True):
            if pinned is not None:
                # "clip" writes straight to its result; the rows are a permutation's, which fit.
                x.take(piece, axis=0, out=pinned[0][: len(piece)], mode="clip")
                lane.copy(place, pinned[1], len(piece))
        self.copied.record(lane.stream)


class PinnedUploader:
    """``upload(pieces)``: see ``xpmlp.nn.contract.Uploader``. Two places serve all its uses.

    Parameters
    ----------
    lane : Lane
    arrays : tuple of ndarray, SparseRows or None
        Of as many rows each.
    rows : int
        Most rows of a piece.
    """

    def __init__(self, lane: Lane, arrays: tuple[Any, ...], rows: int) -> None:
        self._lane, self._arrays = lane, arrays
        places = [Place(lane, arrays, rows) for _ in range(PLACES)]
        self._turns = cycle(places)

    def __call__(self, pieces: Iterable[Any]) -> Iterator[tuple[Array | None, ...]]:
        """Yield each piece on the device; the next is sent when the caller comes back for it."""
        for piece in pieces:
            place = next(self._turns)
            place.fill(self._arrays, piece)
            self._lane.current().wait_event(place.copied)
            try:
                yield place.device
            finally:  # also where the caller leaves early: it may have enqueued steps
                place.used.record(self._lane.current())


def of_cupy(cupy: Any, device: Any) -> Lane:
    """Return CuPy's streams and pinned memory."""
    cuda = cupy.cuda
    with device:
        stream = cuda.Stream(non_blocking=True)

    def pinned(shape: tuple[int, ...], dtype: Any) -> tuple[np.ndarray, Any]:
        memory = cuda.alloc_pinned_memory(prod(shape) * dtype.itemsize)
        made = np.ndarray(shape, dtype, memory)
        return made, made

    def empty(shape: tuple[int, ...], dtype: Any) -> Array:
        with device:
            return cupy.empty(shape, dtype)

    def copy(place: Array, source: Any, rows: int) -> None:
        part = source[:rows]
        place.data.copy_from_host_async(part.ctypes.data, part.nbytes, stream)

    def event() -> Any:
        with device:
            return cuda.Event(disable_timing=True)

    return Lane(stream, cuda.get_current_stream, event, pinned, empty, copy)


def of_torch(torch: Any, device: Any) -> Lane:
    """Return PyTorch's streams and pinned memory."""
    cuda = torch.cuda
    stream = cuda.Stream(device)

    def pinned(shape: tuple[int, ...], dtype: Any) -> tuple[np.ndarray, Any]:
        made = torch.empty(shape, dtype=getattr(torch, str(dtype)), pin_memory=True)
        return made.numpy(), made

    def empty(shape: tuple[int, ...], dtype: Any) -> Array:
        return torch.empty(shape, dtype=getattr(torch, str(dtype)), device=device)

    def copy(place: Array, source: Any, rows: int) -> None:
        with cuda.stream(stream):
            place[:rows].copy_(source[:rows], non_blocking=True)

    return Lane(stream, lambda: cuda.current_stream(device), cuda.Event, pinned, empty, copy)
