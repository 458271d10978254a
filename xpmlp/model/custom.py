"""Custom functions: checked on NumPy before they are used, the first time they are seen.

A function counts as seen by what it depends on, so copies of it are not checked again, and one with
another setting is.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import xpmlp_backends

from xpmlp.errors import InvalidValueError
from xpmlp.model.settings import settings_of
from xpmlp.nn import gradcheck, returned
from xpmlp.nn.activations import ACTIVATIONS, Activation
from xpmlp.nn.gradcheck import is_custom
from xpmlp.nn.losses import Loss
from xpmlp.nn.network import Network
from xpmlp.nn.optimizers import OPTIMIZERS, Optimizer
from xpmlp.nn.random import dropout_keys

_checked: set[Any] = set()


def _once(check: Callable[[Any], None], *what: Any) -> None:
    """Call ``check(ops)`` with NumPy's operations, unless it has passed for the same before."""
    key = settings_of(what)
    if key not in _checked:
        try:
            with np.errstate(all="ignore"):  # it is tried where it may overflow
                check(xpmlp_backends.backend("numpy").ops)
        except Exception as error:
            error.add_note("Custom functions are checked on NumPy before they are used.")
            raise
        _checked.add(key)


def check_derivative(function: Activation, dtype: str = "float32") -> None:
    """Check a custom activation in a model's dtype, and its derivative by finite differences.

    Raises
    ------
    GradientError
        If the derivative is wrong, or a result has another shape or dtype than expected.
    """
    if is_custom(function):
        _once(
            lambda ops: gradcheck.check_activation_at(ops, function, np.dtype(dtype)),
            *(function, dtype),
        )


def check_loss(loss: Loss, z: np.ndarray, y: np.ndarray, far: bool) -> None:
    """Check a custom loss at a network's outputs and targets, both in the model's dtype.

    ``far`` says whether the outputs can be any numbers.

    Raises
    ------
    GradientError
        If the gradient is wrong, or a result has another shape or dtype than expected.
    """

    def check(ops: Any) -> None:
        gradcheck.loss_results(ops, loss, z, y)
        exact = y if y.dtype.kind != "f" else y.astype(np.float64)
        gradcheck.check_loss_at(ops, loss, z.astype(np.float64), exact, far)

    if is_custom(loss):
        _once(check, loss, str(z.dtype), z.shape[1], y.shape[1:], far)


def check_layers(network: Network, values: Mapping[str, np.ndarray], dtype: str) -> None:
    """Check what a network's custom layers return.

    Parameters
    ----------
    values : mapping of str to ndarray
        Parameters and running statistics.

    Raises
    ------
    GradientError
        If a result is missing, or has another shape or dtype than expected.
    """
    make, sizes = network.architecture.normalization, network.architecture.sizes
    keys = dropout_keys(0, 0, 1, network.dropouts)[0]
    for i, units in enumerate(sizes[1:-1] if callable(make) else (), start=1):
        layer = returned.made_layer(make, f"norm{i}", units)
        own = {name: values[name] for name in (*layer.shapes, *layer.statistics)}
        check = partial(
            returned.check_layer,
            layer=layer,
            units=units,
            values=own,
            keys=keys,
            dtype=np.dtype(dtype),
        )
        _once(check, make, units, dtype)


def check_optimizer(optimizer: Optimizer, size: int, dtype: str) -> None:
    """Check what a custom optimizer's step returns, for parameters of this size.

    Raises
    ------
    InvalidValueError
        If it is not what the optimizer's class says.
    """
    if type(optimizer) not in OPTIMIZERS.values():
        _once(
            lambda ops: returned.check_optimizer(ops, optimizer, size, np.dtype(dtype)),
            *(optimizer, size, dtype),
        )


def register_activation(spec: Activation) -> Activation:
    """Register a custom activation by its name, so that model files that use it can be loaded.

    ``xpmlp.load`` then needs no ``custom``, in each process that has registered it.

    Returns
    -------
    Activation
        The one given.

    Raises
    ------
    InvalidValueError
        If another activation has the name.
    GradientError
        If the derivative is wrong.

    Examples
    --------
    >>> cube = xpmlp.activations.from_functions(lambda xp, z: z**3, lambda xp, z: 3 * z**2, "cube")
    >>> cube = xpmlp.register_activation(cube)
    >>> xpmlp.MLP([2, 4, 1], "cube", backend="numpy").save("cube.xpmlp")
    >>> xpmlp.load("cube.xpmlp", backend="numpy").sizes
    (2, 4, 1)
    """
    known = ACTIVATIONS.get(spec.name)
    if known is not None and known is not spec:
        raise InvalidValueError(
            f"activation name {spec.name!r} is taken; give yours another: "
            "xpmlp.Activation(name=...)"
        )
    check_derivative(spec)
    ACTIVATIONS[spec.name] = spec
    return spec
