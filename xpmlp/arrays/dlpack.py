"""Arrays of other libraries, in and out by DLPack, on the memory in which they lie.

A host boundary: it tells the host's arrays from others. An array of another library is taken over
where its memory is the one in which the model computes, and the result goes back to that library.
"""

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj, to_device
from xpmlp_backends.base import one_line

from xpmlp.errors import InvalidTypeError
from xpmlp.nn.contract import Backend

Array = Any

_HOST = (1, 3, 11)
"""DLPack's types of the host's memory: the CPU's own, and pinned for CUDA and for ROCm."""

_CUDA, _MANAGED = 2, 13


_NUMPY = (np.ndarray, np.generic)


def is_numpy_array(x: object) -> bool:
    """Whether x is an array on the host."""
    return isinstance(x, _NUMPY)


def is_sparse(x: object) -> bool:
    """Whether x is a sparse matrix or array as SciPy has them, of any format."""
    return hasattr(x, "tocsr")


def is_other_library(backend: Backend, x: object) -> bool:
    """Whether x is an array of a library or device that is neither the host's nor the backend's."""
    if is_numpy_array(x) or is_sparse(x):
        return False
    return not backend.owns(x) and is_array_api_obj(x)


def refusal(backend: Backend, x: Any, name: str) -> InvalidTypeError:
    """Build the error for an array that lies elsewhere, or is of a library without DLPack."""
    return InvalidTypeError(
        f"{name}: found a {_kind(x)} on {getattr(x, 'device', 'an unknown device')}; this model "
        f"computes with {backend.name} on {backend.device}. Pass a NumPy array or one on that "
        f"device, or move the model with mlp.to({_library(x)!r})"
    )


def shares_memory(backend: Backend, x: Array) -> bool:
    """Whether an array of another library lies in the memory in which the backend computes.

    Between arrays of its own library a backend tells the devices apart better than DLPack does.
    """
    if array_namespace(x) is backend.xp:
        return False
    here = _place(backend.asarray(np.zeros(1, dtype=np.float32)))
    return here is not None and _place(x) == here


def import_array(backend: Backend, x: Array, name: str, dtype: str | None = None) -> Array:
    """Return an array of another library in the same memory as the backend's own.

    Without a copy where both libraries can. Nothing writes to it. What x's library still computes
    is waited for: the one that takes over names its stream to the one that gives
    (``__dlpack__(stream=...)``). Gradients are not followed: what requires one is detached.
    What should get another ``dtype`` gets it from its own library: the other may not know the old.

    Raises
    ------
    InvalidTypeError
        If one of the libraries cannot, with its reason.
    """
    try:
        x = _plain(x, dtype)
        try:
            return backend.from_dlpack(x)
        except Exception:  # strides, read-only memory: what each can take over is its own
            return backend.from_dlpack(array_namespace(x).asarray(x, copy=True))
    except Exception as error:
        if backend.ran_out(error):
            raise
        raise InvalidTypeError(
            f"{name}: {backend.name} cannot take over a {_kind(x)} of {getattr(x, 'dtype', '?')} "
            f"({one_line(error)}). Pass a NumPy array"
        ) from error


def detached(x: Array) -> Array:
    """Return PyTorch's tensors without their gradient's history; others have none."""
    return x.detach() if getattr(x, "requires_grad", False) else x


def give_back(backend: Backend, X: Any, result: Array) -> Array:
    """Return a result as an array of X's library on X's device: NumPy for lists, too."""
    if backend.owns(X):
        return result
    if not is_other_library(backend, X):
        return result if is_numpy_array(result) else backend.to_numpy(result)
    if is_numpy_array(result):  # not every library has NumPy's strides, PyTorch least of all
        result = np.ascontiguousarray(result)
    # As on the way in, it is the libraries that wait for each other's streams.
    made = array_namespace(X).from_dlpack(result)
    return made if device(made) == device(X) else to_device(made, device(X))


def _plain(x: Array, dtype: str | None) -> Array:
    """The same numbers in a form that DLPack can say and every library read."""
    x = detached(x)
    if hasattr(x, "resolve_neg"):  # PyTorch exports a negated view without the sign
        x = x.resolve_neg()
    found = str(x.dtype).rsplit(".", 1)[-1]
    if "float" in found and found not in ("float32", "float64"):  # of 16 bits and fewer
        dtype = dtype or "float32"
    if dtype is None:
        return x
    xp = array_namespace(x)
    return xp.astype(x, getattr(xp, dtype))


def _place(x: Array) -> tuple[int, int] | None:
    """Where DLPack says that an array's memory is; None where it cannot say."""
    try:
        kind, number = map(int, x.__dlpack_device__())
    except Exception:  # arrays without memory, on several devices, or that are being traced
        return None
    return (1, 0) if kind in _HOST else (_CUDA if kind == _MANAGED else kind, number)


def _kind(x: Any) -> str:
    return f"{type(x).__module__.split('.')[0]}.{type(x).__name__}"


def _library(x: Any) -> str:
    top = type(x).__module__.split(".")[0]
    return {"jaxlib": "jax"}.get(top, top)
