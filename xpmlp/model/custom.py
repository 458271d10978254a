"""Custom activations and losses: checked before they are used, registered by name."""

import xpmlp_backends

from xpmlp.errors import InvalidValueError
from xpmlp.nn.activations import ACTIVATIONS, Activation
from xpmlp.nn.gradcheck import check_custom
from xpmlp.nn.losses import Loss


def check_derivative(function: Activation | Loss) -> None:
    """Compare a custom function's derivative with finite differences, the first time it is seen.

    Raises
    ------
    GradientError
        If the derivative is wrong.
    """
    check_custom(function, lambda: xpmlp_backends.backend("numpy").ops)


def register_activation(spec: Activation) -> Activation:
    """Register a custom activation by its name, so that model files that use it can be loaded.

    Raises
    ------
    InvalidValueError
        If another activation has the name.
    GradientError
        If the derivative is wrong.
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
