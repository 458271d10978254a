"""Training through CUDA graphs, for any library that can capture them.

A small network's step is a dozen kernels of a few microseconds each: launched one by one, Python
is what takes the time. So a step is captured once, with its memory, and launched as a whole; and
not one step but many, as one graph. The plan's rows for the next steps are copied to a static
buffer, from which step k of the graph reads row k. Graphs have powers of two of steps, up to
``CHUNK``: so any number of steps is a few launches, and at most six graphs are captured.

What cannot be captured (a value read on the host, an operation that waits) runs eagerly, and
``execution`` says so.
"""

import logging
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Protocol

from xpmlp.nn.contract import Array, Data, Execution, Plan, State, Step
from xpmlp_backends.base import copy_state, map_state, one_line, state_arrays, strays

logger = logging.getLogger("xpmlp")

CHUNK = 32
"""Most steps in one graph: some 500 kernels, instantiated in a millisecond."""

CAPTURES = 4
"""Most kinds of batches and data whose graphs are kept: an epoch has two."""


class Uncapturable(Exception):  # noqa: N818 - it does not end a training, which goes on without
    """A step does something that cannot be captured."""


class Graphs(Protocol):
    """CUDA graphs as a library has them."""

    def warm(self, work: Callable[[], object]) -> None:
        """Do work where it will be captured, on the same stream and memory, and wait for it."""
        ...

    def capture(self, work: Callable[[], object]) -> Callable[[], object]:
        """Capture work; return what launches it on the current stream."""
        ...

    def new(self, x: Array) -> Array:
        """Return a copy that no graph's own memory overlaps with."""
        ...

    def room(self, shape: tuple[int, ...], like: Array) -> Array:
        """Return such an array of zeros, likewise."""
        ...

    def put(self, to: Array, source: Array) -> object:
        """Copy within the device."""
        ...

    def stand_in(self, data: Data) -> tuple[Hashable, Callable[[], "StandIn"]]:
        """Return what tells kinds of data apart that need graphs of their own, and a maker."""
        ...

    def forget(self) -> None:
        """Give up the memory of all graphs; none of them is launched again."""
        ...


class StandIn(Protocol):
    """What captured steps see as their data.

    Attributes
    ----------
    data : Data
    """

    data: Data

    def become(self, data: Data) -> None:
        """Let the next launches read this data."""
        ...


class CapturedRun:
    """``run(state, data, plan, start, stop)``: launches graphs.

    Parameters
    ----------
    step : Step
    graphs : Graphs
    to_numpy : callable (Array) -> ndarray
    ran_out : callable (error) -> bool
        Whether an error says that the device's memory is not enough.
    """

    def __init__(
        self,
        step: Step,
        graphs: Graphs,
        to_numpy: Callable[[Array], Any],
        ran_out: Callable[[BaseException], bool],
    ) -> None:
        self._step, self._graphs = step, graphs
        self._to_numpy, self._ran_out = to_numpy, ran_out
        self._state: State | None = None
        self._captures: dict[Hashable, _Capture] = {}
        self._reason: str | None = None

    @property
    def execution(self) -> Execution:
        """Captured, or eager with the reason."""
        if self._reason is None:
            return Execution("captured in CUDA graphs")
        return Execution("eager", (f"the step could not be captured: {self._reason}",))

    def __call__(self, state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
        """Apply the step for k in ``range(start, stop)``; the state's memory is the run's own."""
        if self._reason is None and start < stop:
            try:
                return self._play(state, data, plan, start, stop)
            except Uncapturable as error:
                self._reason = str(error)
                self._forget()
                logger.warning("this step runs eagerly, because %s", self._reason)
            except Exception as error:
                if self._ran_out(error):
                    # The pool gave its free blocks back, among them memory of graphs.
                    self._forget()
                raise
        for k in range(start, stop):
            state = self._step(state, data, plan, k)
        return state

    def _forget(self) -> None:
        self._captures.clear()
        self._state = None
        self._graphs.forget()

    def _play(self, state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
        kind, make = self._graphs.stand_in(data)
        # Graphs keep the scratch memory of the thread that captured them.
        shapes = tuple((tuple(x.shape[1:]), str(x.dtype)) for x in plan)
        key = (kind, shapes, threading.get_ident())
        if key not in self._captures:
            self._captures[key] = self._captured(make(), state, data, plan, start)
            if len(self._captures) > CAPTURES:
                del self._captures[next(iter(self._captures))]
        assert self._state is not None
        copy_state(self._graphs.put, self._state, state._replace(grad=self._state.grad))
        self._captures[key].play(data, plan, start, stop)
        return self._state

    def _captured(
        self, stand_in: StandIn, state: State, data: Data, plan: Plan, k: int
    ) -> "_Capture":
        """Capture a step, and compare it with the step itself."""
        graphs, put = self._graphs, self._graphs.put
        before = map_state(graphs.new, state)
        if self._state is None:
            self._state = map_state(graphs.new, state)
        own = self._state
        made = _Capture(self._step, graphs, self._ran_out, own, stand_in, plan)
        try:
            put(own.params, 0.5 * own.params + 0.125)  # a value kept from here is not right later
            made.warm(data, plan, k)
            copy_state(put, own, before)
            made.play(data, plan, k, k + 1)
            expected = self._step(map_state(graphs.new, before), data, plan, k)
            # What rounding lost of the sums is noise.
            ends = (state_arrays(s._replace(carry=())) for s in (own, expected, before))
            for places in zip(*ends, strict=True):
                if strays(*map(self._to_numpy, places)):
                    raise Uncapturable("it gives another result when its graph is launched")
        finally:
            copy_state(put, state, before)  # where it is the run's own
        return made


class _Capture:
    """The graphs of one kind of batch and data."""

    def __init__(
        self,
        step: Step,
        graphs: Graphs,
        ran_out: Callable[[BaseException], bool],
        state: State,
        stand_in: StandIn,
        plan: Plan,
    ) -> None:
        self._step, self._graphs, self._ran_out = step, graphs, ran_out
        self._own, self._stand_in = state, stand_in
        self._plan = Plan(*(graphs.room((CHUNK, *x.shape[1:]), x) for x in plan))
        self._launches: dict[int, Callable[[], object]] = {}

    def warm(self, data: Data, plan: Plan, k: int) -> None:
        """Take step k twice, so that kernels are compiled and memory is there."""
        self._stand_in.become(data)
        self._read(plan, k, 1)
        for _ in range(2):
            self._graphs.warm(lambda: self._steps(1))

    def play(self, data: Data, plan: Plan, start: int, stop: int) -> None:
        """Take steps ``start`` to ``stop`` of the plan."""
        counts = list(powers(stop - start))
        for count in dict.fromkeys(counts):
            self._capture(count)  # all before the first launch: a failure has changed nothing
        self._stand_in.become(data)
        for count in counts:
            self._read(plan, start, count)
            self._launches[count]()
            start += count

    def _capture(self, count: int) -> None:
        if count in self._launches:
            return
        try:
            self._launches[count] = self._graphs.capture(lambda: self._steps(count))
        except Exception as error:
            if self._ran_out(error) or isinstance(error, Uncapturable):
                raise
            raise Uncapturable(one_line(error)) from error

    def _read(self, plan: Plan, start: int, count: int) -> None:
        """Copy rows of a plan to where graphs read them."""
        for to, source in zip(self._plan, plan, strict=True):
            if 0 not in source.shape:
                self._graphs.put(to[:count, ...], source[start : start + count, ...])

    def _steps(self, count: int) -> None:
        state = self._own
        for k in range(count):
            state = self._step(state, self._stand_in.data, self._plan, k)
        copy_state(self._graphs.put, self._own, state)


def powers(steps: int) -> Iterator[int]:
    """Divide a number of steps into powers of two of at most ``CHUNK``, the largest first."""
    while steps:
        count = 1 << min(steps, CHUNK).bit_length() - 1
        yield count
        steps -= count
