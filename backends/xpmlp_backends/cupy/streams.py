"""Private CUDA streams of CuPy, and objects that each stream and thread needs for itself.

Work on one stream runs in order, so it can share scratch memory; work on two streams may run at
once, so it cannot. Threads are told apart too: a graph keeps the scratch memory of the stream on
which it was captured, and threads may launch their graphs at the same time.
"""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

Made = TypeVar("Made")


class _Thread(threading.local):
    """What ends with its thread."""

    def __init__(self) -> None:
        self.streams: dict[int, Any] = {}


_thread = _Thread()


def private_stream(cupy: Any) -> Any:
    """Return this thread's stream for captures and timings on the current device."""
    number, streams = cupy.cuda.Device().id, _thread.streams
    if number not in streams:
        streams[number] = cupy.cuda.Stream(non_blocking=True)
    return streams[number]


class PerStream(threading.local, Generic[Made]):
    """One object for each thread and stream, made when it is first asked for.

    It lives as long as both: the address of a stream that is gone may be another's.

    Parameters
    ----------
    cupy : module
    make : callable () -> Array
        Called with the common memory pool: a graph's private pool would lend the memory again.
    """

    def __init__(self, cupy: Any, make: Callable[[], Made]) -> None:
        self._cupy, self._make = cupy, make
        self._made: WeakKeyDictionary[Any, Made] = WeakKeyDictionary()

    def __call__(self) -> Made:
        """Return the current thread's and stream's."""
        stream = self._cupy.cuda.get_current_stream()
        if stream not in self._made:
            with self._cupy.cuda.using_allocator(self._cupy.get_default_memory_pool().malloc):
                self._made[stream] = self._make()
        return self._made[stream]
