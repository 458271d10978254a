"""Activation functions, each next to its derivative.

``function(ops, z)`` gives h; ``derivative(ops, z, h)`` gives dh/dz element by element, from
whichever of z and h makes it cheap. At a kink the derivative is the left one: 0 for ReLU at
0. Softmax mixes a whole row, so it has a vector-Jacobian product instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import pi, sqrt
from typing import Any, SupportsIndex

from xpmlp.errors import InvalidTypeError, unknown_name
from xpmlp.nn.functions import (
    Array,
    clamp,
    normal_cdf,
    normal_pdf,
    relu,
    sigmoid,
    softmax,
    softplus,
)

__all__ = ["ACTIVATIONS", "Activation", "activation", "from_functions"]


@dataclass(frozen=True)
class Activation:
    """A function and its derivative.

    Attributes
    ----------
    name : str
        Its name in ``MLP(activation=...)``, in summaries and in model files.
    function : callable (ops, z) -> h
    derivative : callable (ops, z, h) -> dh/dz
        Element by element, same shape as z.
    vjp : callable (ops, z, h, dh) -> dz, optional
        Instead of ``derivative``, for a function whose outputs depend on several inputs.

    Examples
    --------
    >>> ops, z = xpmlp.backend("numpy").ops, np.array([[-1.0, 0.0, 2.0]])
    >>> relu = xpmlp.activations.ACTIVATIONS["relu"]
    >>> relu.function(ops, z)
    array([[0., 0., 2.]])
    >>> relu.derivative(ops, z, relu.function(ops, z))
    array([[0., 0., 1.]])
    """

    name: str
    function: Callable[[Any, Array], Array]
    derivative: Callable[[Any, Array, Array], Array] | None = None
    vjp: Callable[[Any, Array, Array, Array], Array] | None = None

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        """Pickle built-in ones by name: many are lambdas, and they are compared by identity."""
        if ACTIVATIONS.get(self.name) is self:
            return activation, (self.name,)
        return super().__reduce_ex__(protocol)

    def backward(self, ops: Any, z: Array, h: Array, dh: Array) -> Array:
        """Map the gradient of the output to the gradient of the input: dz = dh · dh/dz.

        Parameters
        ----------
        ops : Ops
            A backend's operations: ``xpmlp.backend("numpy").ops``.
        z, h, dh : Array, shape (n, units)
            Input, output, and the loss's gradient in the output.

        Returns
        -------
        dz : Array, shape (n, units)

        Examples
        --------
        >>> ops, z = xpmlp.backend("numpy").ops, np.array([[-1.0, 2.0]])
        >>> relu = xpmlp.activations.ACTIVATIONS["relu"]
        >>> relu.backward(ops, z, relu.function(ops, z), np.array([[5.0, 5.0]]))
        array([[0., 5.]])
        """
        if self.vjp is not None:
            return self.vjp(ops, z, h, dh)
        assert self.derivative is not None
        return dh * self.derivative(ops, z, h)


def _like(ops: Any, condition: Array, z: Array) -> Array:
    return ops.xp.astype(condition, z.dtype)


def _elu(ops: Any, z: Array) -> Array:
    # expm1 sees only the negative part: where() evaluates both branches.
    return ops.xp.where(z > 0, z, ops.xp.expm1(-relu(ops.xp, -z)))


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
"""With them h has mean 0 and variance 1 if z is standard normal (Klambauer et al. 2017)."""


def _selu_derivative(ops: Any, z: Array, h: Array) -> Array:
    bound = SELU_SCALE * SELU_ALPHA
    return ops.xp.minimum(h, 0.0) + bound + (SELU_SCALE - bound) * _like(ops, z > 0, z)


def _selu(ops: Any, z: Array) -> Array:
    xp = ops.xp
    return SELU_SCALE * (relu(xp, z) + SELU_ALPHA * xp.expm1(-relu(xp, -z)))


def _gelu_tanh_inner(z: Array) -> Array:
    """√(2/π)(z + 0.044715 z³), Hendrycks and Gimpel 2016."""
    return sqrt(2.0 / pi) * (z + 0.044715 * z * z * z)


FLAT = 20.0
"""Beyond this the tanh form of GELU is 0 or z; clamping z there keeps z³ from overflowing."""


def _gelu_tanh(ops: Any, z: Array) -> Array:
    return 0.5 * z * (1.0 + ops.xp.tanh(_gelu_tanh_inner(clamp(ops.xp, z, FLAT))))


def _gelu_tanh_derivative(ops: Any, z: Array, h: Array) -> Array:
    z = clamp(ops.xp, z, FLAT)
    t = ops.xp.tanh(_gelu_tanh_inner(z))
    inner = sqrt(2.0 / pi) * (1.0 + 3.0 * 0.044715 * z * z)
    return 0.5 * (1.0 + t) + 0.5 * z * (1.0 - t * t) * inner


def _gelu_derivative(ops: Any, z: Array, h: Array) -> Array:
    return normal_cdf(ops, z) + clamp(ops.xp, z, 40.0) * normal_pdf(ops.xp, z)  # φ(40) is 0


def _swish_derivative(ops: Any, z: Array, h: Array) -> Array:
    s = sigmoid(ops.xp, z)
    return s + h * (1.0 - s)


def _mish_derivative(ops: Any, z: Array, h: Array) -> Array:
    t = ops.xp.tanh(softplus(ops.xp, z))
    s = sigmoid(ops.xp, z)
    return t + z * s * (1.0 - t * t)


def _softmax_vjp(ops: Any, z: Array, h: Array, dh: Array) -> Array:
    """∂hᵢ/∂zⱼ = hᵢ(δᵢⱼ − hⱼ), so dz = h ⊙ (dh − Σⱼ hⱼ dhⱼ)."""
    return h * (dh - ops.xp.sum(h * dh, axis=-1, keepdims=True))


LEAK = 0.01
"""Slope of the leaky ReLU below zero (Maas et al. 2013)."""

_BUILTIN = [
    Activation("identity", lambda ops, z: z, lambda ops, z, h: ops.xp.ones_like(z)),
    Activation("sign", lambda ops, z: ops.xp.sign(z), lambda ops, z, h: ops.xp.zeros_like(z)),
    Activation(
        "binary_step", lambda ops, z: _like(ops, z > 0, z), lambda ops, z, h: ops.xp.zeros_like(z)
    ),
    Activation("sigmoid", lambda ops, z: sigmoid(ops.xp, z), lambda ops, z, h: h * (1.0 - h)),
    Activation("tanh", lambda ops, z: ops.xp.tanh(z), lambda ops, z, h: 1.0 - h * h),
    Activation("relu", lambda ops, z: relu(ops.xp, z), lambda ops, z, h: _like(ops, z > 0, z)),
    Activation(
        "leaky_relu",
        lambda ops, z: ops.xp.where(z > 0, z, LEAK * z),
        lambda ops, z, h: LEAK + (1.0 - LEAK) * _like(ops, z > 0, z),
    ),
    Activation("elu", _elu, lambda ops, z, h: ops.xp.where(z > 0, 1.0, h + 1.0)),
    Activation("selu", _selu, _selu_derivative),
    Activation("gelu", lambda ops, z: z * normal_cdf(ops, z), _gelu_derivative),
    Activation("gelu_tanh", _gelu_tanh, _gelu_tanh_derivative),
    Activation(
        "softplus", lambda ops, z: softplus(ops.xp, z), lambda ops, z, h: sigmoid(ops.xp, z)
    ),
    Activation("swish", lambda ops, z: z * sigmoid(ops.xp, z), _swish_derivative),
    Activation("mish", lambda ops, z: z * ops.xp.tanh(softplus(ops.xp, z)), _mish_derivative),
    Activation("softmax", lambda ops, z: softmax(ops.xp, z), vjp=_softmax_vjp),
    Activation("exp", lambda ops, z: ops.xp.exp(z), lambda ops, z, h: h),
]
ACTIVATIONS: dict[str, Activation] = {a.name: a for a in _BUILTIN}
"""Every activation that a name can mean, in the order of the documentation."""


def activation(spec: object) -> Activation:
    """Return the activation of a name, or make one from a function and its derivative.

    Parameters
    ----------
    spec : str, Activation, or (callable, callable)
        A pair is ``(f, derivative)``, each called as ``f(xp, z)`` with the array namespace and
        an array of shape (n, units), returning the same shape. A model compares the derivative
        with finite differences when it is made.

    Raises
    ------
    InvalidValueError
        For an unknown name; the nearest known one is suggested.
    InvalidTypeError
        For anything else.

    Examples
    --------
    >>> square = xpmlp.activations.activation((lambda xp, z: z * z, lambda xp, z: 2 * z))
    >>> square.function(xpmlp.backend("numpy").ops, np.array([[3.0]]))
    array([[9.]])
    >>> mlp = xpmlp.MLP([4, 8, 1], activation=["tanh", square][:1])
    """
    if isinstance(spec, str):
        if spec not in ACTIVATIONS:
            raise unknown_name("activation", spec, ACTIVATIONS)
        return ACTIVATIONS[spec]
    if isinstance(spec, tuple) and len(spec) == 2 and all(callable(f) for f in spec):
        spec = from_functions(*spec)
    if not isinstance(spec, Activation):
        raise InvalidTypeError(
            f"activation: found {spec!r}; expected a name, an xpmlp.Activation, or a pair of "
            "functions (f, derivative), each taking (xp, z)"
        )
    return spec


@cache
def from_functions(
    f: Callable[[Any, Array], Array],
    derivative: Callable[[Any, Array], Array],
    name: str | None = None,
) -> Activation:
    """Make an activation from two functions ``f(xp, z)`` and ``derivative(xp, z)``.

    Parameters
    ----------
    f, derivative : callable (xp, z) -> Array
        Element by element; ``xp`` is the array namespace, z and the result have the same shape.
    name : str, optional
        The name in summaries and files; by default the function's.

    Returns
    -------
    Activation

    Examples
    --------
    >>> make = xpmlp.activations.from_functions
    >>> square = make(lambda xp, z: z * z, lambda xp, z: 2 * z, "square")
    >>> xpmlp.check_gradient(square).error < 1e-6
    True
    >>> mlp = xpmlp.MLP([4, 8, 1], activation=square)
    """
    name = name or str(getattr(f, "__name__", "custom"))
    return Activation(name, _OfNamespace(f), _OfNamespace(derivative))


@dataclass(frozen=True)
class _OfNamespace:
    """A user's function of the namespace, called with ``ops``; unlike a closure, it pickles."""

    function: Callable[[Any, Array], Array]

    def __call__(self, ops: Any, z: Array, h: Array = None) -> Array:
        return self.function(ops.xp, z)
