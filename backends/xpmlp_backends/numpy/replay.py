"""A training as a loop over a recorded step: see ``_record``."""

import logging
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np

from xpmlp.nn.contract import Array, Data, Execution, Forward, Plan, State, Step
from xpmlp_backends.numpy.record import Tape, Unrecordable, launch, together
from xpmlp_backends.states import arrays, copy, differ, each

logger = logging.getLogger("xpmlp")


SMALL = 64
"""Most rows whose forward pass is recorded."""

RECORDINGS = 4
"""Most batch shapes whose memory is kept: an epoch has two."""


class RecordedRun:
    """``run(state, data, plan, start, stop)``: records a step when it meets new shapes.

    NumPy's own warnings are silenced: a diverging loss is reported.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._state: State | None = None
        self._recordings: dict[Any, _Recording] = {}
        self._reason: str | None = None

    @property
    def execution(self) -> Execution:
        """Recorded, or call by call with the reason."""
        if self._reason is None:
            return Execution("recorded")
        return Execution("call by call", (f"the step could not be recorded: {self._reason}",))

    def __call__(self, state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
        """Apply the step for k in ``range(start, stop)``; the state's memory is the run's own."""
        with np.errstate(all="ignore"):
            if self._reason is None and start < stop:
                try:
                    return self._play(state, data, plan, start, stop)
                except Unrecordable as error:
                    self._reason = str(error)
                    logger.warning(
                        "backend numpy: this step runs call by call, because %s", self._reason
                    )
            for k in range(start, stop):
                state = self._step(state, data, plan, k)
            return state

    def _play(self, state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
        state = each(np.asarray, state)
        shapes = tuple(None if x is None else (x.shape[1:], x.dtype) for x in (*data, *plan))
        if shapes not in self._recordings:
            self._record(shapes, state, data, plan, start)
        assert self._state is not None
        copy(np.copyto, self._state, state._replace(grad=self._state.grad))  # which is scratch
        self._recordings[shapes].play(data, plan, start, stop)
        return self._state

    def _record(self, shapes: Any, state: State, data: Data, plan: Plan, k: int) -> None:
        """Record the step, and compare the recording with the step itself."""
        own = self._state
        if own is None:
            copies = together(arrays(state))
            own = each(lambda _: next(copies), state)
        before = each(np.array, state)
        try:
            own.params[...] = (
                0.5 * own.params + 0.125
            )  # a value kept from here is not the right one
            made = _Recording(self._step, own, data, plan)
            copy(np.copyto, own, before)
            made.play(data, plan, k, k + 1)
            expected = self._step(each(np.array, before), data, plan, k)
            for ours, right in zip(arrays(own), arrays(expected), strict=True):
                _compare(ours, np.asarray(right))
        finally:
            copy(np.copyto, state, before)  # where it is the run's own
        made.forget_data()
        self._state = own
        if len(self._recordings) == RECORDINGS:
            del self._recordings[next(iter(self._recordings))]
        self._recordings[shapes] = made


class _Recording:
    """One step on fixed memory: the state's, the plan's current row, and what lies between."""

    def __init__(self, step: Step, state: State, data: Data, plan: Plan) -> None:
        self._row = Plan(*(np.array(x[:1]) for x in plan))
        self._tape = Tape(_given(data))
        wrap = self._tape.wrap
        seen = each(wrap, state)
        fields = Data(*(None if x is None else wrap(x) for x in data))
        with self._tape:
            end = _attempt(step, seen, fields, Plan(*map(wrap, self._row)), 0)
            for place, result in zip(arrays(seen), arrays(end), strict=True):
                if result is not place:
                    launch(np.copyto, place, result)

    def forget_data(self) -> None:
        """Hold on to no data set."""
        self._tape.forget_inputs()

    def play(self, data: Data, plan: Plan, start: int, stop: int) -> None:
        """Take steps ``start`` to ``stop`` of the plan."""
        calls = self._tape.calls(_given(data))
        rows = [(row[0], x) for row, x in zip(self._row, plan, strict=True) if row.size]
        for k in range(start, stop):
            for row, x in rows:
                row[...] = x[k]
            for call in calls:
                call()


class RecordedForward:
    """A forward pass that is recorded for small inputs, where Python takes most of the time.

    One call at a time plays a recording; another thread's computes as if there were none.
    """

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._weights: tuple[Any, ...] = ()
        self._recordings: dict[Any, tuple[Tape, Array]] = {}
        self._refused = False
        self._lock = Lock()

    def __call__(self, params: Array, statistics: Array, X: Array) -> Array:
        """Return the outputs of the rows of X."""
        if self._refused or X.shape[0] > SMALL or not self._lock.acquire(blocking=False):
            return self._forward(params, statistics, X)
        try:
            return self._play(params, statistics, X)
        except Unrecordable:
            self._refused = True
            return self._forward(params, statistics, X)
        finally:
            self._lock.release()

    def _play(self, params: Array, statistics: Array, X: Array) -> Array:
        if not self._weights or self._weights[0] is not params:
            self._weights = params, statistics
            self._recordings.clear()
        shape = (X.shape, X.dtype)
        if shape not in self._recordings:
            if len(self._recordings) == RECORDINGS:
                del self._recordings[next(iter(self._recordings))]
            with np.errstate(all="ignore"):  # what these rows give rise to is said when played
                self._recordings[shape] = self._record(params, statistics, X)
        tape, out = self._recordings[shape]
        for call in tape.calls([X]):
            call()
        return out.copy()

    def _record(self, params: Array, statistics: Array, X: Array) -> tuple[Tape, Array]:
        """Record the pass, on other rows, and compare it with the pass itself."""
        other = np.zeros_like(X) if X.any() else np.ones_like(X)  # what is kept is not right
        tape = Tape([other])
        with tape:
            out = _attempt(self._forward, *map(tape.wrap, (params, statistics, other)))
        made = np.asarray(out)
        for call in tape.calls([X]):
            call()
        _compare(made, self._forward(params, statistics, X))
        tape.forget_inputs()
        return tape, made


def _attempt(f: Callable[..., Any], *args: Any) -> Any:
    """Call what is being recorded. If a fault is its own, it comes again without recording."""
    try:
        return f(*args)
    except Unrecordable:
        raise
    except Exception as error:
        raise Unrecordable(f"{type(error).__name__}: {error}") from error


def _given(data: Data) -> list[Array]:
    return [x for x in data if x is not None]


def _compare(found: Array, expected: Array) -> None:
    """Refuse a recording whose result is not that of what was recorded."""
    if differ(found, expected):
        raise Unrecordable("it gives another result when it is played from its recording")
