"""Arrays of other libraries, imported and exported by DLPack on the same memory.

An array of another library is imported if the model computes in the same memory, and results are
returned to that library.
"""

from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj, to_device
from xpmlp_backends.base import one_line

from xpmlp.errors import InvalidTypeError
from xpmlp.nn.contract import Array, Backend

_HOST = (1, 3, 11)
"""DLPack's types of host memory: the CPU's, and pinned memory for CUDA and for ROCm."""

_CUDA, _MANAGED = 2, 13


_NUMPY = (np.ndarray, np.generic)


def is_numpy_array(x: object) -> bool:
    """Whether x is an array on the host."""
    return isinstance(x, _NUMPY)


def is_sparse(x: object) -> bool:
    """Whether x is a sparse matrix or array of SciPy's, in any format."""
    return hasattr(x, "tocsr")


def is_other_library(backend: Backend, x: object) -> bool:
    """Whether x is an array of another library or device: neither NumPy's nor the backend's."""
    if is_numpy_array(x) or is_sparse(x):
        return False
    return not backend.owns(x) and is_array_api_obj(x)


def refusal(backend: Backend, x: Any, name: str) -> InvalidTypeError:
    """Return the error for an array in other memory, or of a library without DLPack."""
    return InvalidTypeError(
        f"{name}: found a {_kind(x)} on {getattr(x, 'device', 'an unknown device')}; this model "
        f"computes with {backend.name} on {backend.device}. Pass a NumPy array or one on that "
        f"device, or move the model with mlp.to({_library(x)!r})"
    )


def shares_memory(backend: Backend, x: Array) -> bool:
    """Whether an array of another library is in the memory in which the backend computes.

    Always False for another device of the backend's own library, which DLPack may not tell apart.
    An array on its device need not be its own: dpnp has several queues and two types of arrays.
    """
    if array_namespace(x) is backend.xp and str(device(x)) != str(backend.device):
        return False
    here = _place(backend.asarray(np.zeros(1, dtype=np.float32)))
    return here is not None and _place(x) == here


def import_array(backend: Backend, x: Array, name: str, dtype: str | None = None) -> Array:
    """Return an array of another library as one of the backend's, on the same memory.

    There is no copy if both libraries can do without, and nothing writes to it. DLPack waits for
    what x's library still computes: the importing library names its stream
    (``__dlpack__(stream=...)``). Tensors that require a gradient are detached. A conversion to
    another ``dtype`` is done by x's library, as the backend may not have the old one.

    Raises
    ------
    InvalidTypeError
        If one of the libraries cannot, with its reason.
    """
    try:
        x = _plain(x, dtype)
        try:
            return backend.from_dlpack(x)
        except Exception:  # strides, read-only memory: libraries differ in what they can import
            return backend.from_dlpack(array_namespace(x).asarray(x, copy=True))
    except Exception as error:
        if backend.ran_out(error):
            raise
        raise InvalidTypeError(
            f"{name}: {backend.name} cannot import a {_kind(x)} of {getattr(x, 'dtype', '?')} "
            f"({one_line(error)}). Pass a NumPy array"
        ) from error


def detached(x: Array) -> Array:
    """Return a PyTorch tensor without its gradient's history; other arrays as they are."""
    return x.detach() if getattr(x, "requires_grad", False) else x


def give_back(backend: Backend, X: Any, result: Array) -> Array:
    """Return a result as an array of X's library on X's device; as NumPy's if X is a list."""
    if backend.owns(X):
        return result
    if not is_other_library(backend, X):
        return result if is_numpy_array(result) else backend.to_numpy(result)
    if is_numpy_array(result):  # not every library has all of NumPy's strides
        result = np.ascontiguousarray(result)
    backend.synchronize()  # dpnp passes arrays on to another queue without waiting
    made = array_namespace(X).from_dlpack(result)
    return made if device(made) == device(X) else to_device(made, device(X))


def _plain(x: Array, dtype: str | None) -> Array:
    """Return the same numbers in a form that DLPack can express and every library can read."""
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
    """Return DLPack's kind and number of an array's device; None if it cannot say."""
    try:
        kind, number = map(int, x.__dlpack_device__())
    except Exception:  # arrays without memory, on several devices, or that are being traced
        return None
    return (1, 0) if kind in _HOST else (_CUDA if kind == _MANAGED else kind, number)


def _kind(x: Any) -> str:
    return f"{type(x).__module__.split('.')[0]}.{type(x).__name__}"


def _library(x: Any) -> str:
    top = type(x).__module__.split(".")[0]
    name = str(array_namespace(x).__name__).removeprefix("array_api_compat.")
    return {"jaxlib": "jax"}.get(top, name if name.startswith(f"{top}.") else top)
