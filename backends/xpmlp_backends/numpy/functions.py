"""NumPy's functions as recorded arrays know them: how each writes its result to a place."""

from collections.abc import Callable
from typing import Any

import numpy as np

from xpmlp_backends.numpy.record import Array, Recorded, Unrecordable, launch, tape_of


def noted(f: Callable[..., Any], args: Any, out: Any, kwargs: dict[str, Any]) -> Recorded:
    """Call a function of NumPy that takes ``out``, with a place for its result."""
    target = out[0] if isinstance(out, tuple) else out
    if target is None:
        tape = tape_of((*args, *kwargs.values()))
        named = dict(zip(kwargs, tape.values(kwargs.values()), strict=True))
        tried = np.asarray(f(*tape.values(args), **named))
        target = tape.empty(tried.shape, tried.dtype)
    elif not isinstance(target, Recorded):
        raise Unrecordable("a result was written to an array from elsewhere")
    if isinstance(f, np.ufunc):
        args = _converted(f, args)
    tape_of((target,)).call(f, *args, out=target, **kwargs)
    return target


def _converted(ufunc: np.ufunc, args: Any) -> list[Any]:
    """Turn Python's numbers into arrays of the dtype that NumPy would convert them to each time."""
    kinds = [a.dtype if isinstance(a, np.ndarray | np.generic) else type(a) for a in args]
    dtypes = ufunc.resolve_dtypes((*kinds, None))
    return [
        np.array(a, dtype) if isinstance(a, int | float) else a
        for a, dtype in zip(args, dtypes, strict=False)
    ]


def _take(a: Any, indices: Any, axis: int | None = None, out: Any = None, mode: str = "") -> Any:
    # "clip" writes straight to its result; the indices are the plan's, which fit. The method
    # takes a third of the function's time.
    return noted(np.ndarray.take, (a, indices), out, {"axis": axis, "mode": "clip"})


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


def _constant(fill: float) -> Callable[..., Array]:
    def like(a: Array, dtype: Any = None, **_: Any) -> Array:
        return np.full(a.shape, fill, dtype or a.dtype)

    return like


HANDLERS: dict[Any, Callable[..., Any]] = {
    np.argmax: Recorded.argmax,
    np.argmin: Recorded.argmin,
    np.take: _take,
    np.where: _where,
    np.concatenate: _concatenate,
    np.stack: _stack,
    np.zeros_like: _constant(0),
    np.ones_like: _constant(1),
    np.copyto: (lambda dst, src, **kwargs: launch(np.copyto, dst, src, **kwargs)),
}
OF_UFUNCS = frozenset(
    {np.sum, np.prod, np.mean, np.var, np.std, np.max, np.min, np.amax, np.amin, np.any, np.all,
     np.clip, np.astype}
)  # fmt: skip
VIEWS = frozenset(
    {np.reshape, np.transpose, np.matrix_transpose, np.swapaxes, np.moveaxis, np.squeeze,
     np.expand_dims, np.broadcast_to, np.shape, np.ndim, np.size}
)  # fmt: skip
