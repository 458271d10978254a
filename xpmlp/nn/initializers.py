"""Initial weights, drawn on the host in float64 so that all backends start from the same numbers.

Each is ``f(rng, n_in, n_out) -> ndarray of shape (n_in, n_out)``. A forward pass keeps the
variance of its input when var(W) = 1/n_in; He doubles that because ReLU halves it; Glorot
averages the demands of the forward and the backward pass. Biases start at zero.
"""

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any

import numpy as np

from xpmlp.errors import InvalidTypeError, InvalidValueError, unknown_name

DATA = "data"
"""The initializer, of weights or biases, that waits for the first training data."""

Initializer = Callable[[np.random.Generator, int, int], Any]


def _normal(variance: Callable[[int, int], float]) -> Initializer:
    return lambda rng, n_in, n_out: rng.standard_normal((n_in, n_out)) * sqrt(variance(n_in, n_out))


def _uniform(variance: Callable[[int, int], float]) -> Initializer:
    """U(−a, a) has variance a²/3."""
    return lambda rng, n_in, n_out: (
        rng.uniform(-1.0, 1.0, (n_in, n_out)) * sqrt(3.0 * variance(n_in, n_out))
    )


def _he(n_in: int, n_out: int) -> float:
    return 2.0 / n_in


def _glorot(n_in: int, n_out: int) -> float:
    return 2.0 / (n_in + n_out)


def _lecun(n_in: int, n_out: int) -> float:
    return 1.0 / n_in


INITIALIZERS: dict[str, Initializer] = {
    "zeros": lambda rng, n_in, n_out: np.zeros((n_in, n_out)),
    "uniform": lambda rng, n_in, n_out: rng.uniform(-1.0, 1.0, (n_in, n_out)) / sqrt(n_in),
    "he": _normal(_he),  # He et al. 2015
    "he_uniform": _uniform(_he),
    "glorot": _uniform(_glorot),  # Glorot and Bengio 2010, in its uniform form
    "glorot_normal": _normal(_glorot),
    "lecun": _normal(_lecun),  # LeCun et al. 1998
    "lecun_uniform": _uniform(_lecun),
}
"""Every initializer that a name can mean."""

_HE_FAMILY = {"relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "swish", "mish", "softplus"}


def initializer(spec: object, activation: str) -> Initializer:
    """Return the initializer of a name, or a custom function as it is.

    ``"auto"`` is He for activations of the ReLU family, LeCun for SELU, which keeps the variance
    with it, and Glorot for the rest. ``"data"`` is LeCun until the first fit.
    """
    if spec == "auto":
        spec = "he" if activation in _HE_FAMILY else "lecun" if activation == "selu" else "glorot"
    if spec == DATA:
        spec = "lecun"  # until there are data
    if isinstance(spec, str):
        if spec not in INITIALIZERS:
            raise unknown_name("initializer", spec, [*INITIALIZERS, "auto", DATA])
        return INITIALIZERS[spec]
    if not callable(spec):
        raise InvalidTypeError(
            f"initializer: found {spec!r}; expected a name or a function (rng, n_in, n_out)"
        )
    return spec


def drawn(spec: object, activation: str, rng: Any, n_in: int, n_out: int) -> Any:
    """Return weights by an initializer, as a float64 host array of shape (n_in, n_out).

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For a custom initializer's result of another shape, or that is not of finite numbers.
    """
    made = initializer(spec, activation)(rng, n_in, n_out)
    return _checked(_named("initializer", spec), made, (n_in, n_out), "(n_in, n_out)")


BIASES: dict[str, Initializer] = {
    "zeros": lambda rng, n_in, n_out: np.zeros(n_out),
    "normal": lambda rng, n_in, n_out: rng.standard_normal(n_out),
    "uniform": lambda rng, n_in, n_out: rng.uniform(-1.0, 1.0, n_out) / sqrt(n_in),
    DATA: lambda rng, n_in, n_out: np.zeros(n_out),
}
"""Every initializer of biases that a name can mean; "uniform" is PyTorch's."""


def bias_initializer(spec: object) -> Initializer:
    """Return the initializer of biases of a name, or a custom function as it is."""
    if isinstance(spec, str):
        if spec not in BIASES:
            raise unknown_name("bias_initializer", spec, BIASES)
        return BIASES[spec]
    if not callable(spec):
        raise InvalidTypeError(
            f"bias_initializer: found {spec!r}; expected a name or a function (rng, n_in, n_out)"
        )
    return spec


def bias_drawn(spec: object, rng: Any, n_in: int, n_out: int) -> Any:
    """Return biases by an initializer, as a float64 host array of shape (n_out,).

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As ``drawn``.
    """
    made = bias_initializer(spec)(rng, n_in, n_out)
    return _checked(_named("bias_initializer", spec), made, (n_out,), "(n_out,)")


def _checked(name: str, made: Any, shape: tuple[int, ...], meaning: str) -> Any:
    """Return what an initializer made as float64, if it is finite numbers of this shape."""
    try:
        W = np.asarray(made)
    except ValueError as error:
        raise InvalidTypeError(f"{name} NumPy cannot make one array of it: {error}") from error
    if W.dtype.kind not in "buif":
        raise InvalidTypeError(f"{name} found dtype {W.dtype}; expected real numbers")
    if W.shape != shape:
        raise InvalidValueError(
            f"{name} found shape {W.shape}; expected {shape}, that is {meaning}"
        )
    if not np.isfinite(W).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(W))[0])
        raise InvalidValueError(f"{name} found {W[place]} at {place}; expected finite numbers")
    return W.astype(np.float64)


def _named(argument: str, spec: object) -> str:
    return f"{argument} {getattr(spec, '__name__', repr(spec))}:"


def stacked(each: Sequence[Any]) -> Any:
    """Return host arrays of one shape as one, with an axis in front."""
    return np.stack(each)


def signs(rng: Any, shape: tuple[int, ...]) -> Any:
    """Return factors of −1 and 1: a float64 host array."""
    return 2.0 * rng.integers(0, 2, size=shape) - 1.0


def filled(shape: tuple[int, ...], value: float) -> Any:
    """Return a float64 host array filled with one value."""
    return np.full(shape, value)
