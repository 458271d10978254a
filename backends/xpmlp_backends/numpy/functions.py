"""How NumPy's functions are recorded. Importing this module fills ``record.HANDLERS``."""

from collections.abc import Callable
from typing import Any

import numpy as np

from xpmlp_backends.numpy.record import HANDLERS, Array, Recorded, launch, noted, tape_of


def _where(condition: Any, x: Any, y: Any) -> Any:
    tape = tape_of((condition, x, y))
    tried = np.where(*tape.values((condition, x, y)))
    made = tape.empty(tried.shape, tried.dtype)
    tape.call(np.copyto, made, y)
    tape.call(np.copyto, made, x, where=condition)
    return made


def _concatenate(arrays: Any, axis: int = 0, **kwargs: Any) -> Any:
    return noted(_join, tuple(arrays), None, {"axis": axis})


def _join(*arrays: Array, axis: int, out: Array | None = None) -> Array:
    return np.concatenate(arrays, axis=axis, out=out)


def _stack(arrays: Any, axis: int = 0, **kwargs: Any) -> Any:
    return _concatenate([np.expand_dims(a, axis) for a in arrays], axis)


def _reshape(x: Any, shape: Any, *args: Any, **kwargs: Any) -> Any:
    """Reshape; what cannot be a view, such as a transposed array, is copied by a noted call."""
    plain = x.view(np.ndarray)
    if not np.may_share_memory(plain, plain.reshape(shape)):
        made = tape_of((x,)).empty(x.shape, x.dtype)
        launch(np.copyto, made, x)
        x = made
    return x.reshape(shape)


def _broadcast_to(x: Any, shape: Any, **_: Any) -> Any:
    """Repeat by a view, which NumPy makes a plain array unless it is told not to."""
    return np.ndarray.__array_function__(
        x, np.broadcast_to, (Recorded,), (x, shape), {"subok": True}
    )


def _constant(fill: float) -> Callable[..., Array]:
    def like(a: Array, dtype: Any = None, **_: Any) -> Array:
        return np.full(a.shape, fill, dtype or a.dtype)

    return like


HANDLERS.update(
    {
        np.argmax: Recorded.argmax,
        np.argmin: Recorded.argmin,
        np.take: Recorded.take,
        np.where: _where,
        np.concatenate: _concatenate,
        np.stack: _stack,
        np.reshape: _reshape,
        np.broadcast_to: _broadcast_to,
        np.zeros_like: _constant(0),
        np.ones_like: _constant(1),
        np.copyto: (lambda dst, src, **kwargs: launch(np.copyto, dst, src, **kwargs)),
    }
)
HANDLERS.update(
    dict.fromkeys((
        np.sum, np.prod, np.mean, np.var, np.std, np.max, np.min, np.amax, np.amin, np.any, np.all,
        np.clip, np.astype,
        np.transpose, np.matrix_transpose, np.swapaxes, np.moveaxis, np.squeeze,
        np.expand_dims, np.shape, np.ndim, np.size,
    ))
)  # fmt: skip
