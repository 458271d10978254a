"""Uploads rows of host arrays to a GPU: from pinned memory, on a second stream, in two slots.

A copy runs beside the steps only from page-locked ("pinned") host memory and on another stream.
Two things must then be waited for, each by an event: a chunk may be read only when its copy has
arrived, and a slot may be written only when the steps that read it have finished. So, for each
chunk: the current stream waits for the copy; the caller enqueues its steps; an event after them
marks the slot as used; and while they run, the next chunk is gathered and copied.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import cycle
from math import prod
from typing import Any, NamedTuple

import numpy as np

from xpmlp.nn.contract import Array

SLOTS = 2
"""One to train from while the other is filled."""


class Lane(NamedTuple):
    """What a library offers for asynchronous copies.

    Attributes
    ----------
    stream : object
        The second stream: ``wait_event(event)``.
    current : callable () -> object
        The stream on which steps run.
    event : callable () -> object
        Makes an event: ``record(stream)``, ``synchronize()``.
    pinned : callable (shape, dtype) -> (ndarray, object)
        Makes page-locked memory: as a NumPy array, and as ``copy`` takes it.
    empty : callable (shape, dtype) -> Array
        Makes an array on the device.
    copy : callable (array, pinned, rows) -> None
        Enqueues a copy of the first rows on the second stream, and returns at once.
    """

    stream: Any
    current: Callable[[], Any]
    event: Callable[[], Any]
    pinned: Callable[[tuple[int, ...], Any], tuple[np.ndarray, Any]]
    empty: Callable[[tuple[int, ...], Any], Array]
    copy: Callable[[Array, Any, int], None]


class Slot:
    """Memory for one chunk, pinned on the host and on the device, and the events to wait for."""

    def __init__(self, lane: Lane, arrays: tuple[Any, ...], rows: int) -> None:
        self.copied, self.used = lane.event(), lane.event()
        self._lane = lane
        self.device: tuple[Array | None, ...] = tuple(
            None if x is None else lane.empty((rows, *x.shape[1:]), x.dtype) for x in arrays
        )
        self._pinned = [
            None if x is None else lane.pinned((rows, *x.shape[1:]), x.dtype) for x in arrays
        ]
        self.used.record(lane.current())  # work that used this memory before may not be finished

    def fill(self, arrays: tuple[Any, ...], rows: Any) -> None:
        """Gather rows on the host, and enqueue their copy after the steps that read the slot."""
        self.copied.synchronize()  # the last copy may still read the pinned memory
        lane = self._lane
        lane.stream.wait_event(self.used)
        for x, pinned, to in zip(arrays, self._pinned, self.device, strict=True):
            if pinned is not None:
                # "clip" writes straight to its result; row numbers are always in range.
                x.take(rows, axis=0, out=pinned[0][: len(rows)], mode="clip")
                lane.copy(to, pinned[1], len(rows))
        self.copied.record(lane.stream)


class PinnedUploader:
    """``upload(chunks)``: see ``xpmlp.nn.contract.Uploader``. All its uses share two slots.

    Parameters
    ----------
    lane : Lane
    arrays : tuple of ndarray, SparseMatrix or None
        With the same number of rows.
    rows : int
        Most rows of a chunk.
    """

    def __init__(self, lane: Lane, arrays: tuple[Any, ...], rows: int) -> None:
        self._lane, self._arrays = lane, arrays
        self._turns = cycle([Slot(lane, arrays, rows) for _ in range(SLOTS)])

    def __call__(self, chunks: Iterable[Any]) -> Iterator[tuple[Array | None, ...]]:
        """Yield each chunk on the device; the next is sent when the caller asks for it."""
        for rows in chunks:
            slot = next(self._turns)
            slot.fill(self._arrays, rows)
            self._lane.current().wait_event(slot.copied)
            try:
                yield slot.device
            finally:  # also if the caller stops early: it may have enqueued steps
                slot.used.record(self._lane.current())


def of_cupy(cupy: Any) -> Lane:
    """Return streams and pinned memory of CuPy's current device."""
    cuda = cupy.cuda
    stream = cuda.Stream(non_blocking=True)

    def pinned(shape: tuple[int, ...], dtype: Any) -> tuple[np.ndarray, Any]:
        memory = cuda.alloc_pinned_memory(prod(shape) * dtype.itemsize)
        made = np.ndarray(shape, dtype, memory)
        return made, made

    def copy(to: Array, source: Any, rows: int) -> None:
        part = source[:rows]
        to.data.copy_from_host_async(part.ctypes.data, part.nbytes, stream)

    event = partial(cuda.Event, disable_timing=True)
    return Lane(stream, cuda.get_current_stream, event, pinned, cupy.empty, copy)


def of_torch(torch: Any, device: Any) -> Lane:
    """Return PyTorch's streams and pinned memory."""
    cuda = torch.cuda
    stream = cuda.Stream(device)

    def pinned(shape: tuple[int, ...], dtype: Any) -> tuple[np.ndarray, Any]:
        made = torch.empty(shape, dtype=getattr(torch, str(dtype)), pin_memory=True)
        return made.numpy(), made

    def empty(shape: tuple[int, ...], dtype: Any) -> Array:
        return torch.empty(shape, dtype=getattr(torch, str(dtype)), device=device)

    def copy(to: Array, source: Any, rows: int) -> None:
        with cuda.stream(stream):
            to[:rows].copy_(source[:rows], non_blocking=True)

    return Lane(stream, lambda: cuda.current_stream(device), cuda.Event, pinned, empty, copy)
