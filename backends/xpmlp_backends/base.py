"""``EagerBackend``, the public base class of backends, and what the adapters share below it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from importlib import import_module
from typing import Any, Self

import numpy as np

from xpmlp.errors import BackendError
from xpmlp.nn.contract import (
    Array,
    Backend,
    Data,
    Execution,
    Forward,
    Memory,
    Plan,
    Run,
    State,
    Step,
    Uploader,
)
from xpmlp.nn.ops import Ops
from xpmlp_backends.registry import backend as find_backend


class EagerBackend:
    """A backend that runs a step by calling it. Subclass it to write a backend.

    A subclass must add the two methods that only its library can answer; without them the object
    is not a ``Backend``:

    - ``owns(x) -> bool``: whether x is an array of this library on this device.
    - ``to_numpy(x) -> ndarray``: a copy on the host that owns its memory.

    Everything else has a default that is correct for any array API namespace. Override what the
    library does better; ``xpmlp.nn.contract.Backend`` says what each member must do.

    ============================  ==================================================================
    member                        default
    ============================  ==================================================================
    ``ops``                       the reference formulas, ``Ops.reference(xp, device)``; replace
                                  fields with ``dataclasses.replace``
    ``compile``                   a loop that calls the step
    ``compile_forward``           the function itself
    ``padded``                    the number itself: passes take any number of rows
    ``capabilities``              ``{"float64", "mutable"}``
    ``asarray``, ``uploader``     copies with ``xp.asarray``
    ``from_dlpack``               ``xp.from_dlpack``
    ``current``                   nothing: arrays say where they are
    ``synchronize``, ``memory``   for a CPU: nothing to wait for, no memory of its own
    ``ran_out``                   true for a ``MemoryError``
    ``device_name``, ``place``    ``str(device)``
    ``with_precision``            the backend itself: float32 is never rounded
    copies and pickles            a copy is the backend itself; a pickle holds name, place and
                                  precision
    ============================  ==================================================================

    Parameters
    ----------
    name : str
        The name by which ``xpmlp.backend`` finds it.
    xp : module
        Array API namespace.
    device : object
        Passed to the namespace's creation functions.

    Examples
    --------
    >>> import xpmlp_backends
    >>> class Plain(xpmlp_backends.EagerBackend):
    ...     def owns(self, x):
    ...         return isinstance(x, np.ndarray)
    ...     def to_numpy(self, x):
    ...         return np.array(x)
    >>> import array_api_compat.numpy as xp
    >>> mlp, points = xpmlp.MLP([2, 8, 2], seed=0, backend="numpy"), xpmlp.data.make_xor(n=50)
    >>> backends = ("numpy", Plain("plain", xp, "cpu"))
    >>> xpmlp.verify(mlp, points.X, points.y, backends=backends, steps=4).agrees
    True
    """

    capabilities: frozenset[str] = frozenset({"float64", "mutable"})
    precision: str = "float32"

    def __init__(self, name: str, xp: Any, device: Any) -> None:
        self.name = name
        self.xp = xp
        self.device = device
        self.ops = Ops.reference(xp, device)

    @property
    def place(self) -> str | None:
        """What ``xpmlp.backend(name, place)`` takes to find this device again."""
        return str(self.device)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.name, self.place, self.precision)

    def with_precision(self, precision: str) -> Self:
        """Return the backend itself: it computes in float32, which is only more exact."""
        return self

    def current(self) -> AbstractContextManager[Any]:
        """Return a context that does nothing."""
        return nullcontext()

    def asarray(self, host: Any, dtype: str | None = None) -> Array:
        """Copy a NumPy array to the device, in ``dtype`` (a name) or as it is."""
        return self.xp.asarray(
            host, dtype=dtype and getattr(self.xp, dtype), device=self.device, copy=True
        )

    def from_dlpack(self, x: Any) -> Array:
        """Import an array of another library on this device."""
        return self.xp.from_dlpack(x)

    def uploader(self, arrays: tuple[Any, ...], rows: int) -> Uploader:
        """Return a function that gathers rows and copies them with ``asarray``."""

        def upload(chunks: Iterable[Any]) -> Iterator[tuple[Array | None, ...]]:
            for rows in chunks:
                yield tuple(None if x is None else self.asarray(x[rows]) for x in arrays)

        return upload

    def synchronize(self) -> None:
        """Wait until the device has finished; a CPU always has."""

    def device_name(self) -> str:
        """Return what the library calls the device."""
        return str(self.device)

    def memory(self) -> Memory | None:
        """Return None: arrays are in the host's memory."""
        return None

    def ran_out(self, error: BaseException) -> bool:
        """Whether it is a MemoryError."""
        return isinstance(error, MemoryError)

    def compile(self, step: Step) -> Run:
        """Return a plain loop."""
        return Loop(step)

    def padded(self, rows: int) -> int:
        """Return the number itself."""
        return rows

    def compile_forward(self, forward: Forward) -> Forward:
        """Return the function itself."""
        return forward


def _again(name: str, place: str | None, precision: str) -> Backend:
    """Find a pickled backend; it may not work where it is loaded, which is a BackendError."""
    return find_backend(name, place).with_precision(precision)


class Loop:
    """``run(state, data, plan, start, stop)``: calls the step again and again."""

    def __init__(self, step: Step, notes: tuple[str, ...] = ()) -> None:
        self._step = step
        self.execution = Execution("eager", notes)
        self.epochs = 1

    def __call__(self, state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
        """Apply the step for ``k`` in ``range(start, stop)``."""
        for k in range(start, stop):
            state = self._step(state, data, plan, k)
        return state


class StepNamespace:
    """An array API namespace for use within steps, with some functions replaced.

    ``array_api_compat`` makes a few functions wait for the device, or copy a number to it; a CUDA
    graph cannot capture that.

    Parameters
    ----------
    xp : module
    **functions : callable
        What to use in place of the namespace's functions of these names.
    """

    def __init__(self, xp: Any, **functions: Any) -> None:
        self._xp = xp
        vars(self).update(functions)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._xp, name)
        setattr(self, name, found)
        return found


def within(
    context: Callable[[], AbstractContextManager[Any]], function: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a function that makes a context for each call, and runs in it."""

    @wraps(function)
    def run(*arguments: Any) -> Any:
        with context():
            return function(*arguments)

    return run


def pack_with(put: Callable[[Array, Array], object]) -> Callable[..., Array]:
    """Return ``Layout.pack`` in place: ``put(a, b)`` copies only what is not in ``out`` yet."""

    def pack(layout: Any, tensors: Any, out: Array, views: Any) -> Array:
        for name, view in views.items():
            if tensors[name] is not view:
                put(view, tensors[name])
        return out

    return pack


# The arrays of a state, for runs that keep one in fixed memory


def state_arrays(state: State) -> list[Array]:
    """Return a state's arrays in one list."""
    return [a for x in state for a in (x if isinstance(x, tuple) else (x,))]


def map_state(f: Callable[[Any], Any], state: State) -> State:
    """Apply f to every array of a state."""
    return State(*(tuple(map(f, x)) if isinstance(x, tuple) else f(x) for x in state))


def copy_state(put: Callable[[Array, Array], object], to: State, source: State) -> None:
    """Call ``put(a, b)`` for the arrays of two states, except where both are the same array."""
    for a, b in zip(state_arrays(to), state_arrays(source), strict=True):
        if a is not b:
            put(a, b)


def differs(found: Array, expected: Array) -> bool:
    """Whether NumPy arrays of the same step differ by more than rounding."""
    share = np.sqrt(np.finfo(expected.dtype).eps) if expected.dtype.kind == "f" else 0.0
    with np.errstate(all="ignore"):
        close = np.abs(found - expected) <= share * np.max(np.abs(expected), initial=0)
        same = close | (found == expected) | (np.isnan(found) & np.isnan(expected))
    return not np.all(same)


def strays(found: Array, expected: Array, before: Array) -> bool:
    """Whether NumPy arrays are apart by more than a twentieth of the way that a step took.

    Lengths are compared, not elements: an optimizer like Adam makes a whole step of a gradient
    that is nothing but rounding, and two algorithms for a product may round it to either side.
    """
    if expected.dtype.kind != "f":
        return not np.array_equal(found, expected)
    finite = np.isfinite(expected)
    if not np.array_equal(finite, np.isfinite(found)):
        return True
    found, expected, before = (x[finite].astype(np.float64) for x in (found, expected, before))
    way = np.linalg.norm(np.where(np.isfinite(before), expected - before, expected))
    rounding = 8 * np.finfo(np.float32).eps * np.linalg.norm(expected)
    return bool(np.linalg.norm(found - expected) > 0.05 * way + rounding)


# Errors


def one_line(error: BaseException) -> str:
    """Return an error's type and the first line of its message that says something."""
    lines = (line.strip() for line in str(error).splitlines())
    return ": ".join([type(error).__name__, *[s for s in lines if s.strip("=-")][:1]])


def require(module: str, backend: str, install: str) -> Any:
    """Import a backend's library, or raise with the exact install command."""
    try:
        return import_module(module)
    except ImportError as error:
        raise BackendError(
            f"backend {backend!r}: {module} cannot be imported ({error}). "
            f"Install it with: {install}"
        ) from error
