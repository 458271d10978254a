"""Training through CUDA graphs, for any library that can capture them.

A small network's step is a dozen kernels of a few microseconds each; launched from Python one by
one, the launches take most of the time. So steps are captured once, with their memory, and many of
them are launched as one graph. The plan's rows for the next steps are copied to a static buffer,
from which step k of the graph reads row k. Graphs have powers of two of steps, up to ``CHUNK``: any
number of steps is a few launches, and at most six graphs are captured.

A step that cannot be captured (it reads a value on the host, or waits for the device) runs
eagerly, and ``execution`` says so.
"""

import logging
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Protocol

from xpmlp.nn.contract import Array, Data, Execution, Plan, State, Step
from xpmlp_backends.base import Loop, copy_state, map_state, one_line, state_arrays, strays

logger = logging.getLogger("xpmlp")

CHUNK = 32
"""Most steps in one graph: some 500 kernels, instantiated in a millisecond."""

CAPTURES = 4
"""Most kinds of batches and data whose graphs are kept: an epoch has two."""


CAPTURING = threading.Lock()
"""Held during a capture, by CuPy's graphs and PyTorch's: one at a time in the process."""


class _Thread(threading.local):
    def __init__(self) -> None:
        self.mark = object()  # unlike a thread's number, no later thread has it


_thread = _Thread()


class Uncapturable(Exception):  # noqa: N818 - the step then runs eagerly
    """A step does something that cannot be captured."""


class Graphs(Protocol):
    """What a library offers for CUDA graphs."""

    def warm(self, work: Callable[[], object]) -> None:
        """Do work on the stream and memory of captures, and wait for it."""

    def capture(self, work: Callable[[], object]) -> Callable[[], object]:
        """Capture work; return a function that launches it on the current stream."""

    def new(self, x: Array) -> Array:
        """Return a copy outside of the graphs' memory."""

    def room(self, shape: tuple[int, ...], like: Array) -> Array:
        """Return zeros of the dtype of ``like``, outside of the graphs' memory."""

    def put(self, to: Array, source: Array) -> object:
        """Copy within the device."""

    def stand_in(self, data: Data) -> tuple[Hashable, Callable[[], "StandIn"]]:
        """Return a key, equal for data that can share graphs, and a maker of their stand-in."""

    def forget(self) -> None:
        """Free the memory of all graphs; none of them is launched again."""


class StandIn(Protocol):
    """The data that captured steps read."""

    data: Data

    def become(self, data: Data) -> None:
        """Let the next launches read this data."""


class CapturedRun(Loop):
    """``run(state, data, plan, start, stop)``: launches graphs, or says why steps run eagerly.

    Parameters
    ----------
    step : Step
    graphs : Graphs
    to_numpy : callable (Array) -> ndarray
    ran_out : callable (error) -> bool
        Whether an error says that the device's memory is too small.
    """

    def __init__(
        self,
        step: Step,
        graphs: Graphs,
        to_numpy: Callable[[Array], Any],
        ran_out: Callable[[BaseException], bool],
    ) -> None:
        super().__init__(step)
        self.execution = Execution("captured in CUDA graphs")
        self._graphs, self._to_numpy, self._ran_out = graphs, to_numpy, ran_out
        self._state: State | None = None
        self._captures: dict[Hashable, _Capture] = {}

    def __call__(self, state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
        """Apply the step for k in ``range(start, stop)``; the run owns the returned memory."""
        if self.execution.mode != "eager" and start < stop:
            try:
                return self._launch(state, data, plan, start, stop)
            except Uncapturable as error:
                self._forget()
                logger.warning("this step runs eagerly, because %s", error)
                note = f"the step could not be captured: {error}"
                self.execution = Execution("eager", (note,))
            except Exception as error:
                if self._ran_out(error):
                    # The pool has freed its unused blocks, among them memory of graphs.
                    self._forget()
                raise
        return super().__call__(state, data, plan, start, stop)

    def _forget(self) -> None:
        self._captures.clear()
        self._state = None
        self._graphs.forget()

    def _launch(self, state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
        kind, make = self._graphs.stand_in(data)
        # Graphs keep the scratch memory of the thread that captured them.
        shapes = tuple((tuple(x.shape[1:]), str(x.dtype)) for x in plan)
        key = (kind, shapes, _thread.mark)
        if key not in self._captures:
            self._captures[key] = self._captured(make(), state, data, plan, start)
            if len(self._captures) > CAPTURES:
                del self._captures[next(iter(self._captures))]
        assert self._state is not None
        copy_state(self._graphs.put, self._state, state._replace(grad=self._state.grad))
        self._captures[key].launch(data, plan, start, stop)
        return self._state

    def _captured(
        self, stand_in: StandIn, state: State, data: Data, plan: Plan, k: int
    ) -> "_Capture":
        """Capture a step, and compare it with the step itself."""
        graphs, put = self._graphs, self._graphs.put
        before = map_state(graphs.new, state)
        if self._state is None:
            self._state = map_state(graphs.new, state)
        fixed = self._state
        made = _Capture(self._step, graphs, self._ran_out, fixed, stand_in, plan)
        try:
            # The warm-up has other numbers, so that a value that the step keeps is noticed.
            put(fixed.params, 0.5 * fixed.params + 0.125)
            made.warm(data, plan, k)
            copy_state(put, fixed, before)
            made.launch(data, plan, k, k + 1)
            expected = self._step(map_state(graphs.new, before), data, plan, k)
            # The carry is what rounding lost of the sums: noise.
            ends = (state_arrays(s._replace(carry=())) for s in (fixed, expected, before))
            for three in zip(*ends, strict=True):
                if strays(*map(self._to_numpy, three)):
                    raise Uncapturable("it gives another result when its graph is launched")
        finally:
            copy_state(put, state, before)  # state may be the run's fixed memory
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
        self._state, self._stand_in = state, stand_in
        self._plan = Plan(*(graphs.room((CHUNK, *x.shape[1:]), x) for x in plan))
        self._launches: dict[int, Callable[[], object]] = {}

    def warm(self, data: Data, plan: Plan, k: int) -> None:
        """Take step k twice, so that kernels are compiled and memory is allocated."""
        self._stand_in.become(data)
        self._read(plan, k, 1)
        for _ in range(2):
            self._graphs.warm(lambda: self._steps(1))

    def launch(self, data: Data, plan: Plan, start: int, stop: int) -> None:
        """Take steps ``start`` to ``stop`` of the plan."""
        counts = list(powers(stop - start))
        for count in dict.fromkeys(counts):
            self._capture(count)  # all before the first launch, so a failure changes nothing
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
        """Copy rows of a plan to the buffer that graphs read."""
        for to, source in zip(self._plan, plan, strict=True):
            if 0 not in source.shape:
                self._graphs.put(to[:count, ...], source[start : start + count, ...])

    def _steps(self, count: int) -> None:
        state = self._state
        for k in range(count):
            state = self._step(state, self._stand_in.data, self._plan, k)
        copy_state(self._graphs.put, self._state, state)


def powers(steps: int) -> Iterator[int]:
    """Divide a number of steps into powers of two of at most ``CHUNK``, the largest first."""
    while steps:
        count = 1 << min(steps, CHUNK).bit_length() - 1
        yield count
        steps -= count
