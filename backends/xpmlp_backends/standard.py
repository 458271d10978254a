"""Any library that follows the array API standard, through one adapter and a plain loop.

It uses what the standard promises and nothing else, so it suits each library that has no adapter:
dask.array, array-api-strict, or one that is not written yet.
"""

import re
import warnings
from importlib import import_module
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from xpmlp.errors import BackendError
from xpmlp.nn.contract import Array, Data, Plan, Run, State, Step
from xpmlp_backends.base import EagerBackend, Loop, map_state, one_line, state_arrays

NEEDED = (
    *("abs", "all", "arange", "argmax", "asarray", "astype", "broadcast_to", "concat", "cos"),
    *("exp", "expm1", "finfo", "float32", "int32", "isfinite", "log", "log1p", "matrix_transpose"),
    *("max", "maximum", "mean", "min", "minimum", "ones_like", "permute_dims", "reshape", "sign"),
    *("sin", "sqrt", "stack", "std", "sum", "take", "tanh", "var", "where", "zeros", "zeros_like"),
)
"""What a namespace must have: the names of the standard that steps and predictions use."""

_HOST, _GPU = (1, 3, 11), (2, 8, 10, 13)
"""DLPack's types of memory that the host reads, and of a GPU's: CUDA's, Metal's, ROCm's."""


class StandardBackend(EagerBackend):
    """The reference operations, on one device of any array API namespace.

    The namespace is the library's own, or the one that ``array_api_compat`` has for it. Where
    arrays are lazy, as dask's are, each step is computed before the next begins, so that no graph
    grows from step to step.

    Parameters
    ----------
    name : str
        The name by which ``xpmlp.backend`` finds it: the module's.
    xp : module
        The library: an array API namespace.
    device : str or object, optional
        A device of the library, or its name; by default the library's default device.

    Raises
    ------
    BackendError
        If the namespace lacks something that is needed, with its name; or has no such device.

    Examples
    --------
    >>> from xpmlp_backends.standard import StandardBackend
    >>> mlp = xpmlp.MLP([2, 8, 2], backend=StandardBackend("plain", np), seed=0)
    >>> points = xpmlp.data.make_xor(n=50)
    >>> mlp.fit(points.X, points.y, epochs=1).execution.mode
    'eager'
    """

    def __init__(self, name: str, xp: Any, device: Any = None) -> None:
        namespace = _complete(name, xp)
        first = _on_device(name, namespace, device)
        super().__init__(name, namespace, _device_of(first))
        self._kind, self._is_lazy = type(first), hasattr(first, "persist")
        on_gpu = hasattr(first, "__dlpack_device__") and first.__dlpack_device__()[0] in _GPU
        has = {"gpu": on_gpu, "float64": self._has_float64()}
        self.capabilities = frozenset(name for name, there in has.items() if there)

    @property
    def place(self) -> str:
        """The device's name: ``"cpu"``."""
        return name_of(self.device)

    def owns(self, x: object) -> bool:
        """Whether x is an array of this library on this device."""
        return isinstance(x, self._kind) and _device_of(x) == self.device

    def asarray(self, host: Any, dtype: str | None = None) -> Array:
        """Copy a NumPy array to the device, in ``dtype`` (a name) or as it is."""
        (made,) = self._computed(super().asarray(host, dtype))
        return made

    def from_dlpack(self, x: Any) -> Array:
        """Import an array on this device."""
        return self.xp.from_dlpack(x, device=self.device)

    def to_numpy(self, x: Array) -> Any:
        """Return a copy, by DLPack where the library has it, else as NumPy converts arrays."""
        if not hasattr(x, "__dlpack__"):
            return np.array(np.asarray(x))
        if x.__dlpack_device__()[0] in _HOST:
            return np.array(np.from_dlpack(x))
        return np.array(np.from_dlpack(x, device="cpu", copy=True))

    def synchronize(self) -> None:
        """Wait for the device by reading a number: its queue works in order."""
        self.to_numpy(self.xp.zeros(1, dtype=self.xp.float32, device=self.device))

    def compile(self, step: Step) -> Run:
        """Return a plain loop; each step of a lazy library is computed before the next."""
        if not self._is_lazy:
            return Loop(step)

        def computed(state: State, data: Data, plan: Plan, k: Any) -> State:
            new = step(state, data, plan, k)
            arrays = iter(self._computed(*state_arrays(new)))
            return map_state(lambda _: next(arrays), new)

        return Loop(computed)

    def _computed(self, *arrays: Array) -> tuple[Array, ...]:
        """Return arrays, those of a lazy library computed, all in one go."""
        return import_module("dask").persist(*arrays) if self._is_lazy else arrays

    def _has_float64(self) -> bool:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # JAX warns, and makes float32
                made = self.xp.zeros(1, dtype=self.xp.float64, device=self.device)
        except Exception:  # other libraries without it raise errors of many types
            return False
        return bool(made.dtype == self.xp.float64)


def create(module: Any, device: str | None = None) -> StandardBackend:
    """Return the backend of a library, which has the module's name."""
    name = getattr(module, "__name__", type(module).__name__)
    return StandardBackend(name.removeprefix("array_api_compat."), module, device)


def _complete(name: str, xp: Any) -> Any:
    """Return the namespace of a module: its own, or that of ``array_api_compat``.

    Raises
    ------
    BackendError
        If something that is needed is missing.
    """
    try:
        namespace = array_namespace(xp.asarray([0.0]))
    except Exception:  # no library of arrays, or one that does not say what follows the standard
        namespace = xp
    missing = [each for each in NEEDED if not hasattr(namespace, each)]
    if missing:
        more = f" and {len(missing) - 8} more" if len(missing) > 9 else ""
        raise BackendError(
            f"backend {name!r}: found no {', '.join(missing[: 8 if more else 9])}{more} in it; "
            "expected a module that follows the array API standard. A newer version may have "
            "them, or write a backend for the library: subclass xpmlp_backends.EagerBackend"
        )
    return namespace


def _on_device(name: str, xp: Any, device: Any) -> Array:
    """Return a number on a device, which is one of the library's or what its name says."""
    try:
        return xp.zeros(1, dtype=xp.float32, device=device)
    except Exception as error:  # libraries refuse a device with errors of many types
        known = _devices(xp)
        if isinstance(device, str) and device in known:
            return xp.zeros(1, dtype=xp.float32, device=known[device])
        expected = f"; expected one of {', '.join(known)}" if known else ""
        raise BackendError(
            f"backend {name!r}: found device {device!r}{expected} ({one_line(error)})"
        ) from error


def _devices(xp: Any) -> dict[str, Any]:
    """Return the devices that a namespace lists, by name."""
    try:
        found = xp.__array_namespace_info__().devices()
    except Exception:  # versions of the standard before 2023.12 list none
        return {}
    return {name_of(each): each for each in found if not str(each).startswith("<")}


def _device_of(x: Array) -> Any:
    """Return an array's device; None where the library has none."""
    try:
        return device(x)
    except AttributeError:
        return None


def name_of(device: Any) -> str:
    """Name a device: what is within brackets and quotes, or all of ``str(device)``."""
    text = str(device)
    found = re.fullmatch(r"[\w.]*\(['\"]?(.*?)['\"]?\)", text)
    return found[1] if found else text
