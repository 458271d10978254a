"""What the adapters share: the plain loop over steps, and the refusal of a missing library."""

import importlib
from collections.abc import Iterable, Iterator
from typing import Any, Self

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
    """A backend that runs a step by calling it. Subclasses say where arrays live.

    Parameters
    ----------
    name : str
    xp : module
        Array API namespace.
    device : object
        Passed to the namespace's creation functions.
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
        """Return the backend itself: copies of what holds it compute where it does."""
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as name, place and precision; where it is loaded, it may be unable to work."""
        return _again, (self.name, self.place, self.precision)

    def with_precision(self, precision: str) -> Self:
        """Return the backend itself: it has nothing but float32, which is only more exact."""
        return self

    def asarray(self, host: Any, dtype: str | None = None) -> Array:
        """Copy a NumPy array to the device, in ``dtype`` (a name) or as it is."""
        return self.xp.asarray(
            host, dtype=dtype and getattr(self.xp, dtype), device=self.device, copy=True
        )

    def from_dlpack(self, x: Any) -> Array:
        """Take over an array of another library on this device."""
        return self.xp.from_dlpack(x)

    def uploader(self, arrays: tuple[Any, ...], rows: int) -> Uploader:
        """Return a function that gathers and copies with ``asarray``."""

        def upload(pieces: Iterable[Any]) -> Iterator[tuple[Array | None, ...]]:
            for piece in pieces:
                yield tuple(None if x is None else self.asarray(x[piece]) for x in arrays)

        return upload

    def synchronize(self) -> None:
        """Wait until the device has finished; a CPU always has."""

    def device_name(self) -> str:
        """Return what the library calls the device."""
        return str(self.device)

    def memory(self) -> Memory | None:
        """None: arrays lie in the host's memory."""
        return None

    def ran_out(self, error: BaseException) -> bool:
        """Whether it is a MemoryError."""
        return isinstance(error, MemoryError)

    def compile(self, step: Step) -> Run:
        """Return a plain loop."""
        return Loop(step)

    def compile_forward(self, forward: Forward) -> Forward:
        """Return the function itself."""
        return forward


def _again(name: str, place: str | None, precision: str) -> Backend:
    return find_backend(name, place).with_precision(precision)


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


class Loop:
    """``run(state, data, plan, start, stop)``: calls the step again and again."""

    def __init__(self, step: Step, notes: tuple[str, ...] = ()) -> None:
        self._step = step
        self.execution = Execution("call by call", notes)

    def __call__(self, state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
        """Apply the step for ``k`` in ``range(start, stop)``."""
        for k in range(start, stop):
            state = self._step(state, data, plan, k)
        return state


def one_line(error: BaseException) -> str:
    """Return an error's type and the first line of its message that says something."""
    lines = (line.strip() for line in str(error).splitlines())
    return ": ".join([type(error).__name__, *[s for s in lines if s.strip("=-")][:1]])


def require(module: str, backend: str, install: str) -> Any:
    """Import a backend's library, or raise with the exact install command."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BackendError(
            f"backend {backend!r}: {module} cannot be imported ({error}). "
            f"Install it with: {install}"
        ) from error


def only_cpu(backend: str, device: str | None) -> None:
    """Refuse a device that this library does not have."""
    if device not in (None, "cpu"):
        raise BackendError(f"backend {backend!r}: found device {device!r}; it has only 'cpu'")
