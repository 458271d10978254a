"""Private CUDA streams of CuPy, and objects that each stream and thread needs for itself.

Work on one stream runs in order, so it can share scratch memory; work on two streams may run at
once, so it cannot. Threads are told apart too: a graph keeps the scratch memory of the stream on
which it was captured, and threads may launch their graphs at the same time.
"""

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Made = TypeVar("Made")

_private: dict[tuple[int, int], Any] = {}


def private_stream(cupy: Any) -> Any:
    """Return this thread's stream for captures and timings on the current device."""
    key = (threading.get_ident(), cupy.cuda.Device().id)
    if key not in _private:
        _private[key] = cupy.cuda.Stream(non_blocking=True)
    return _private[key]


class PerStream(Generic[Made]):
    """One object for each thread and stream, made when it is first asked for.

    Parameters
    ----------
    cupy : module
    make : callable () -> Array
        Called with the common memory pool: a graph's private pool would lend the memory again.
    """

    def __init__(self, cupy: Any, make: Callable[[], Made]) -> None:
        self._cupy, self._make = cupy, make
        self._made: dict[tuple[int, int], Made] = {}

    def __call__(self) -> Made:
        """Return the current thread's and stream's."""
        key = (threading.get_ident(), self._cupy.cuda.get_current_stream().ptr)
        if key not in self._made:
            with self._cupy.cuda.using_allocator(self._cupy.get_default_memory_pool().malloc):
                self._made[key] = self._make()
        return self._made[key]
