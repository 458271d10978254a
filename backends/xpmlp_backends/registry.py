"""Finds a backend by name, or by an array. Adapters are imported only when they are asked for.

Names are looked up in ``TABLE`` first. Third parties register a factory under the entry-point
group ``xpmlp.backends``, which is scanned only for names that the table does not have: a broken
plugin never breaks another backend. Any other name is that of a module that follows the array API
standard, which ``xpmlp_backends.standard`` adapts.
"""

import logging
import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from xpmlp.errors import BackendError, InvalidTypeError, InvalidValueError, unknown_name
from xpmlp.nn.contract import Backend

logger = logging.getLogger("xpmlp")

TABLE = {
    "numpy": "xpmlp_backends.numpy.backend",
    "cupy": "xpmlp_backends.cupy.backend",
    "torch": "xpmlp_backends.torch.backend",
    "jax": "xpmlp_backends.jax",
    "dpnp": "xpmlp_backends.dpnp",
    "strict": "xpmlp_backends.strict",
}
"""Module of each built-in backend; each has ``create(device) -> Backend``."""

PUBLIC = ("numpy", "cupy", "torch", "jax", "dpnp")
"""The built-in backends for users; ``strict`` is for tests."""


STANDARD = "xpmlp_backends.standard"
"""The adapter of every library that follows the array API standard and has none of its own."""


def backend(spec: str | Backend | ModuleType | None = "auto", device: str | None = None) -> Backend:
    """Return the backend of a name, or of an array library.

    Parameters
    ----------
    spec : str, Backend, module or None
        ``"numpy"``, ``"cupy"``, ``"torch"``, ``"jax"``, ``"dpnp"``, a third party's name, or
        ``"auto"``: CuPy if an NVIDIA GPU works, else dpnp if its GPU works, else NumPy. Also any
        module that follows the array API standard, or its name: ``dask.array``. A backend object is
        returned as it is. None means the environment variable ``XPMLP_BACKEND``, or else
        ``"auto"``.
    device : str, optional
        In the library's own terms: ``"cuda:1"`` for torch, ``"1"`` for CuPy, ``"gpu:1"`` for dpnp.
        Of a module that the standard describes, one of the devices that its namespace lists.
        With ``"auto"`` it selects the GPU, and is ignored where none works.

    Returns
    -------
    Backend

    Raises
    ------
    InvalidValueError
        For an unknown name; the nearest known one is suggested.
    BackendError
        If a backend asked for by name does not work, with the reason and the install command; or if
        a module lacks a function that is needed, with its name.
    InvalidTypeError
        For anything else.

    Examples
    --------
    >>> numpy = xpmlp.backend("numpy")
    >>> numpy.name, sorted(numpy.capabilities)
    ('numpy', ['float64', 'mutable', 'sparse'])
    >>> mlp = xpmlp.MLP([2, 8, 1], backend=numpy)
    """
    if isinstance(spec, ModuleType):
        return _of_module(spec, spec.__name__, device)
    if not isinstance(spec, str) and spec is not None:
        if not isinstance(spec, Backend):
            raise InvalidTypeError(
                f"backend: found {spec!r}; expected a name or a backend object, or a module"
            )
        if device is not None and device != str(spec.device):
            raise InvalidValueError(
                f"device: found {device!r} beside a backend object on {spec.device}; give the "
                "backend's name instead"
            )
        return spec
    name = spec or os.environ.get("XPMLP_BACKEND") or "auto"
    if name == "auto":
        return _auto(device)
    if name in TABLE:
        return _create(name, device)
    for point in _plugins():
        if point.name == name:
            return _load_plugin(point, device)
    return _of_module(_module(name), name, device)


def is_registered(name: str) -> bool:
    """Whether a name is known without importing a module of that name: ours, or a plugin's."""
    return name in ("auto", *TABLE) or name in [point.name for point in _plugins()]


def backend_of(x: Any) -> Backend | None:
    """Return the backend of an array's library and device; None if no backend has such arrays.

    Raises
    ------
    BackendError
        If the array's library is there, but its backend does not work.

    Examples
    --------
    >>> import xpmlp_backends
    >>> xpmlp_backends.backend_of(np.zeros(3)).name
    'numpy'
    >>> xpmlp_backends.backend_of([0.0]) is None
    True
    """
    from array_api_compat import is_array_api_obj  # slow to import, and needed only here

    library = type(x).__module__.split(".")[0]
    name = {"jaxlib": "jax", "array_api_strict": "strict"}.get(library, library)
    if name not in TABLE or not is_array_api_obj(x):
        return None
    found = backend(name, import_module(TABLE[name]).device_of(x))
    return found if found.owns(x) else None  # NumPy's scalars are not arrays


def why_not(name: str) -> str | None:
    """Return None if a built-in backend works here, else the reason in one line.

    Examples
    --------
    >>> import xpmlp_backends
    >>> [name for name in xpmlp_backends.PUBLIC if xpmlp_backends.why_not(name) is None][0]
    'numpy'
    """
    try:
        module: Any = import_module(TABLE[name])
        if hasattr(module, "why_not"):
            return module.why_not()
        module.create(None)
    except (BackendError, ImportError) as error:
        return str(error)
    return None


def auto() -> tuple[str, str]:
    """Return the name of the backend that ``"auto"`` stands for here, and why.

    Examples
    --------
    >>> import xpmlp_backends
    >>> name, because = xpmlp_backends.auto()
    >>> name in ("cupy", "dpnp", "numpy")
    True
    """
    no_nvidia = why_not("cupy")
    if no_nvidia is None:
        return "cupy", "CuPy finds a GPU that works"
    no_gpu = import_module(TABLE["dpnp"]).no_gpu()
    if no_gpu is None:
        return "dpnp", "dpnp finds a GPU that works"
    return "numpy", f"{no_nvidia}, and {no_gpu}"


def _create(name: str, device: str | None) -> Backend:
    return import_module(TABLE[name]).create(device)


def _auto(device: str | None) -> Backend:
    name, because = auto()
    if name == "numpy":
        logger.info("backend auto: numpy, because %s", because)
        return _create(name, None)
    made = _create(name, device or ("gpu" if name == "dpnp" else None))
    logger.info("backend auto: %s on %s", name, made.device)
    return made


def _of_module(module: ModuleType, name: str, device: str | None) -> Backend:
    """Return the backend of an array library: its own adapter if there is one."""
    known = name.removeprefix("array_api_compat.").removesuffix(".numpy")
    if known in PUBLIC:
        return _create(known, device)
    made: Backend = import_module(STANDARD).create(module, device)
    return made


def _module(name: str) -> ModuleType:
    """Import a module by name.

    Raises
    ------
    InvalidValueError
        If the name is neither a backend's nor that of a package.
    BackendError
        If the module cannot be imported.
    """
    package = name.split(".")[0]
    if not all(map(str.isidentifier, name.split("."))) or (name == package and not _is_there(name)):
        error = unknown_name("backend", name, ["auto", *PUBLIC, *(p.name for p in _plugins())])
        raise InvalidValueError(
            f"{error} Or the name of an installed module that follows the array API standard, "
            "such as dask.array"
        )
    try:
        return import_module(name)
    except Exception as error:  # a broken installation may raise anything
        remedy = "" if _is_there(package) else f". Install it with: pip install {package}"
        raise BackendError(
            f"backend {name!r}: {name} cannot be imported ({error}){remedy}"
        ) from error


def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # a module that was made, not found
        return True


def _plugins() -> list[Any]:
    """Return the entry points of third parties."""
    from importlib.metadata import entry_points  # takes 13 ms

    return list(entry_points(group="xpmlp.backends"))


def _load_plugin(point: Any, device: str | None) -> Backend:
    try:
        made = point.load()(device)
    except Exception as error:
        raise BackendError(f"backend {point.name!r} ({point.value}) failed: {error}") from error
    if not isinstance(made, Backend):
        raise BackendError(
            f"backend {point.name!r} ({point.value}) returned {made!r}, which lacks members of "
            "xpmlp.nn.contract.Backend"
        )
    return made
