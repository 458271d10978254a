"""NumPy on the CPU: the backend that is always there, and its loop over a recorded step."""

import logging
import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from threading import Lock
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

import xpmlp_backends.numpy.functions  # noqa: F401 - registers how NumPy's functions are recorded
from xpmlp.errors import BackendError
from xpmlp.nn.contract import Array, Data, Execution, Forward, Plan, Run, State, Step
from xpmlp.nn.ops import Ops
from xpmlp_backends.base import (
    EagerBackend,
    Loop,
    copy_state,
    differs,
    map_state,
    one_line,
    state_arrays,
)
from xpmlp_backends.numpy.inplace import in_place
from xpmlp_backends.numpy.networks import with_networks
from xpmlp_backends.numpy.record import Tape, Unrecordable, launch, together

logger = logging.getLogger("xpmlp")

SMALL = 64
"""Most rows whose forward pass is recorded."""

RECORDINGS = 4
"""Most batch shapes whose memory is kept: an epoch has two."""

RECORDED = Execution("recorded")

PAYS = 32
"""Calls on few rows from which on it pays to record, which takes as long as some 25 of them."""

MANY = 1024
"""With as many rows two calls pay: arrays so large take long to allocate each time."""


@cache
def _plain() -> Ops:
    """Return NumPy's operations without numba: one table, which all models share."""
    return in_place(Ops.reference(xp, "cpu"))


class NumpyBackend(EagerBackend):
    """Recorded steps, and operations that write where their result is wanted.

    Parameters
    ----------
    fused : bool, optional
        Whether to compute with loops compiled by numba. By default where it works, unless the
        environment has ``XPMLP_FUSED=0``.

    Raises
    ------
    BackendError
        If they are asked for and numba does not work here.
    """

    capabilities = EagerBackend.capabilities | {"sparse"}

    def __init__(self, fused: bool | None = None) -> None:
        super().__init__("numpy", xp, "cpu")
        self.ops = with_networks(_plain())
        self.fused = os.environ.get("XPMLP_FUSED", "1") != "0" if fused is None else fused
        if self.fused:
            try:
                self.ops = import_module("xpmlp_backends.numpy.fused").fused(_plain())
            except Exception as error:  # whatever a broken installation raises
                self._do_without(error, asked=fused is True)

    def _do_without(self, error: Exception, asked: bool) -> None:
        self.fused = False
        installed = not isinstance(error, ModuleNotFoundError)
        if asked:
            fix = "" if installed else "; install it with: pip install 'xpmlp[fast]'"
            raise BackendError(
                f"backend 'numpy': numba cannot be used: {one_line(error)}{fix}"
            ) from error
        if installed:
            logger.warning("backend numpy: computing without numba, because %s", one_line(error))

    def owns(self, x: object) -> bool:
        """Whether x is a NumPy array."""
        return isinstance(x, np.ndarray)

    def to_numpy(self, x: Array) -> np.ndarray:
        """Return a copy."""
        return np.array(x)

    def asarray(self, host: Any, dtype: str | None = None) -> Array:
        """Return the array itself where its dtype fits: nothing here writes to data."""
        return np.asarray(host, dtype=dtype)

    def compile(self, step: Step) -> Run:
        """Return a loop that replays the recorded step."""
        return RecordedRun(step)

    def compile_forward(self, forward: Forward) -> Forward:
        """Return a function that replays the recorded pass for inputs of a few rows."""
        return RecordedForward(forward)


def device_of(x: Array) -> str:
    """Name the device of an array, as ``create`` takes it."""
    return "cpu"


def create(device: str | None = None, fused: bool | None = None) -> NumpyBackend:
    """Return the NumPy backend."""
    if device not in (None, "cpu"):
        raise BackendError(f"backend 'numpy': found device {device!r}; it has only 'cpu'")
    return NumpyBackend(fused)


class Demand:
    """Says when recording a shape pays, by how often it has come.

    A recording that goes before it has paid must come twice as often to be made again, so that many
    shapes in turn are not recorded in vain.
    """

    def __init__(self) -> None:
        self._calls: dict[Any, int] = {}
        self._needed: dict[Any, int] = {}

    def pays(self, shape: Any, rows: int, calls: int = 1, times: int = 1) -> bool:
        """Count calls that are about to be made, and return whether replaying them is faster.

        ``times`` is how often so many calls will come, as far as is known.
        """
        calls *= 16 if rows >= MANY else 1
        before = self._calls.get(shape, 0)
        self._calls[shape] = before + calls
        return before + calls * times >= self._needed.get(shape, PAYS)

    def make_room(self, recordings: dict[Any, Any]) -> None:
        """Remove the recording that was not used for longest, if there are as many as are kept."""
        if len(recordings) == RECORDINGS:
            shape = next(iter(recordings))
            del recordings[shape]
            needed = self._needed.get(shape, PAYS)
            if self._calls.pop(shape) < needed + PAYS:
                self._needed[shape] = 2 * needed


class RecordedRun(Loop):
    """``run(state, data, plan, start, stop)``: records a step when that pays, then replays it.

    Few steps of a shape run eagerly, and so does a step that cannot be recorded, with a note in
    ``execution``. The numbers are the same, bit for bit. NumPy's own warnings are silenced: a
    diverging loss is reported.
    """

    def __init__(self, step: Step) -> None:
        super().__init__(step)
        self._state: State | None = None
        self._recordings: dict[Any, _Recording] = {}
        self._demand = Demand()
        self._refused = False

    def __call__(self, state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
        """Apply the step for k in ``range(start, stop)``; the run owns the returned memory."""
        with np.errstate(all="ignore"):
            shapes = tuple(None if x is None else (x.shape[1:], x.dtype) for x in (*data, *plan))
            asked = shapes, plan.rows.shape[1], stop - start, self.epochs
            fixed = start < stop and isinstance(data.X, np.ndarray)  # sparse rows vary in size
            if fixed and not self._refused and self._demand.pays(*asked):
                try:
                    return self._replay(shapes, state, data, plan, start, stop)
                except Unrecordable as error:
                    logger.warning("backend numpy: this step runs eagerly, because %s", error)
                    note = f"the step could not be recorded: {error}"
                    self.execution, self._refused = Execution("eager", (note,)), True
            return super().__call__(state, data, plan, start, stop)

    def _replay(
        self, shapes: Any, state: State, data: Data, plan: Plan, start: int, stop: int
    ) -> State:
        state = map_state(np.asarray, state)
        recording = self._recordings.pop(shapes, None)
        if recording is None:
            recording, self._state = self._record(state, data, plan, start)
            self._demand.make_room(self._recordings)
            start += 1
        elif self._state is not None:  # the gradient is scratch, and need not be copied
            copy_state(np.copyto, self._state, state._replace(grad=self._state.grad))
        self._recordings[shapes] = recording
        recording.replay(data, plan, start, stop)
        self.execution = RECORDED
        assert self._state is not None
        return self._state

    def _record(self, state: State, data: Data, plan: Plan, k: int) -> tuple["_Recording", State]:
        """Record step k, and compare what it replays with the step itself.

        Returns
        -------
        recording : _Recording
        state : State
            The memory that it works on, after step k.
        """
        fixed = self._state
        if fixed is None:
            copies = together(state_arrays(state))
            fixed = map_state(lambda _: next(copies), state)
        before = map_state(np.array, state)
        try:
            # The step is recorded with other numbers, so that a value that it keeps is noticed.
            fixed.params[...] = 0.5 * fixed.params + 0.125
            made = _Recording(self._step, fixed, data, plan)
            copy_state(np.copyto, fixed, before)
            made.replay(data, plan, k, k + 1)
            expected = self._step(map_state(np.array, before), data, plan, k)
            for found, right in zip(state_arrays(fixed), state_arrays(expected), strict=True):
                _compare(found, np.asarray(right))
        except BaseException:
            copy_state(np.copyto, state, before)  # state may be the run's fixed memory
            raise
        made.forget_data()
        return made, fixed


class _Recording:
    """One step on fixed memory: the state, the plan's current row, and intermediate results."""

    def __init__(self, step: Step, state: State, data: Data, plan: Plan) -> None:
        self._row = Plan(*(np.array(x[:1]) for x in plan))
        self._tape = Tape(_given(data))
        wrap = self._tape.wrap
        seen = map_state(wrap, state)
        fields = Data(*(None if x is None else wrap(x) for x in data))
        with self._tape:
            end = _attempt(step, seen, fields, Plan(*map(wrap, self._row)), 0)
            for to, result in zip(state_arrays(seen), state_arrays(end), strict=True):
                if result is not to:
                    launch(np.copyto, to, result)

    def forget_data(self) -> None:
        """Keep no reference to a data set."""
        self._tape.forget_inputs()

    def replay(self, data: Data, plan: Plan, start: int, stop: int) -> None:
        """Take steps ``start`` to ``stop`` of the plan."""
        calls = self._tape.calls(_given(data))
        rows = [(row[0], x) for row, x in zip(self._row, plan, strict=True) if row.size]
        for k in range(start, stop):
            for row, x in rows:
                row[...] = x[k]
            for call in calls:
                call()


class RecordedForward:
    """A forward pass that is recorded for small inputs that come often, where Python is slow.

    One thread at a time replays a recording; others call the pass itself meanwhile.
    """

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._weights: tuple[Any, ...] = ()
        self._recordings: dict[Any, tuple[Tape, Array]] = {}
        self._demand = Demand()
        self._refused = False
        self._lock = Lock()

    def __call__(self, params: Array, statistics: Array, X: Array) -> Array:
        """Return the outputs of the rows of X."""
        fixed = isinstance(X, np.ndarray) and X.shape[0] <= SMALL
        if self._refused or not fixed or not self._lock.acquire(blocking=False):
            return self._forward(params, statistics, X)
        try:
            return self._replay(params, statistics, X)
        except Unrecordable:
            self._refused = True
            return self._forward(params, statistics, X)
        finally:
            self._lock.release()

    def _replay(self, params: Array, statistics: Array, X: Array) -> Array:
        if not self._weights or self._weights[0] is not params:
            self._weights = params, statistics
            self._recordings.clear()
            self._demand = Demand()
        shape = (X.shape, X.dtype)
        if not self._demand.pays(shape, X.shape[0]):
            return self._forward(params, statistics, X)
        made = self._recordings.pop(shape, None)
        if made is None:
            with np.errstate(all="ignore"):  # warnings come from the replay
                try:
                    made = self._record(params, statistics, X)
                except Unrecordable:  # perhaps because it takes parts of its input
                    made = self._record(params, statistics, X, copied=True)
        self._demand.make_room(self._recordings)
        self._recordings[shape] = made
        tape, out = made
        for call in tape.calls([X]):
            call()
        return out.copy()

    def _record(
        self, params: Array, statistics: Array, X: Array, copied: bool = False
    ) -> tuple[Tape, Array]:
        """Record the pass on other rows, so that a value that it keeps is noticed; compare."""
        other = np.zeros_like(X) if X.any() else np.ones_like(X)
        tape = Tape([other])
        with tape:
            flat, kept, x = map(tape.wrap, (params, statistics, other))
            out = _attempt(self._forward, flat, kept, x.copy() if copied else x)
        made = np.asarray(out)
        for call in tape.calls([X]):
            call()
        _compare(made, self._forward(params, statistics, X))
        tape.forget_inputs()
        return tape, made


def _attempt(f: Callable[..., Any], *args: Any) -> Any:
    """Call what is being recorded. Its own errors are raised again when it runs unrecorded."""
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
    if differs(found, expected):
        raise Unrecordable("it gives another result when it is replayed")
