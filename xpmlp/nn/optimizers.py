"""Optimizers: small frozen classes with the settings of an update in ``xpmlp.nn.updates``.

What changes from step to step (the learning rate, bias corrections) is computed on the host in
float64 before the epoch, by ``coefficients(t, rate)``; a step reads its row.

Symbols: θ parameters, g gradient, η learning rate, t step from 1, all element by element.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from numbers import Real
from typing import Any, ClassVar

from xpmlp.errors import InvalidTypeError, InvalidValueError, flag, unknown_name
from xpmlp.nn.functions import Array
from xpmlp.nn.schedules import Schedule
from xpmlp.nn.updates import Updated

__all__ = [
    "OPTIMIZERS", "SGD", "AdaGrad", "Adam", "AdamW", "Momentum", "Nesterov", "Optimizer",
    "RMSProp", "optimizer",
]  # fmt: skip


@dataclass(frozen=True)
class Optimizer:
    """Base class of the optimizers: a subclass has ``name``, ``slots`` and ``update``.

    Attributes
    ----------
    learning_rate : float or Schedule
        η, above 0.
    clip_norm : float, optional
        Largest Euclidean norm of the whole gradient.
    clip_value : float, optional
        Largest absolute value of each element; applied before ``clip_norm``.
    slots : int
        Number of arrays of optimizer state, each the size of the parameters.

    Raises
    ------
    InvalidValueError
        When an optimizer is made with a setting that is out of range.

    Examples
    --------
    >>> class SignDescent(xpmlp.optimizers.Optimizer):
    ...     name = "sign_descent"
    ...     def update(self, ops, p, g, moments, c):
    ...         return p - c[0] * ops.xp.sign(g), ()
    >>> mlp = xpmlp.MLP([1, 1], backend="numpy", seed=0)
    >>> history = mlp.fit([[1.0], [2.0]], [2.5, 4.5], optimizer=SignDescent(0.01), epochs=5)
    >>> len(history["loss"])
    5
    """

    learning_rate: "float | Schedule" = 1e-3
    clip_norm: float | None = None
    clip_value: float | None = None
    name: ClassVar[str]
    slots: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if not isinstance(self.learning_rate, Schedule):
            _positive(self, "learning_rate")
        for limit in ("clip_norm", "clip_value"):
            if getattr(self, limit) is not None:
                _positive(self, limit)

    def rates(
        self, epoch: int, steps: int, total: float, history: Mapping[str, Sequence[float]]
    ) -> list[float]:
        """Return the learning rate of each step of an epoch, from 0; see ``Schedule.rates``.

        Examples
        --------
        >>> xpmlp.SGD(0.1).rates(epoch=0, steps=3, total=10, history={})
        [0.1, 0.1, 0.1]
        """
        if isinstance(self.learning_rate, Schedule):
            return self.learning_rate.rates(epoch, steps, total, history)
        return [float(self.learning_rate)] * steps

    def coefficients(self, t: Any, rate: Any) -> tuple[Any, ...]:
        """Compute the scalars of a step on the host, or of many steps from arrays.

        Parameters
        ----------
        t : int, or ndarray of float64, shape (steps,)
            Number of the step, from 1.
        rate : float, or ndarray of float64, shape (steps,)

        Returns
        -------
        tuple of float, or of what broadcasts to shape (steps,)

        Examples
        --------
        >>> xpmlp.SGD(0.1).coefficients(t=1, rate=0.1)
        (0.1,)
        """
        return (rate,)

    def update(self, ops: Any, p: Array, g: Array, moments: tuple[Array, ...], c: Array) -> Updated:
        """Return the new parameters and optimizer state.

        Parameters
        ----------
        ops : Ops
        p, g : Array, shape (size,)
            Parameters and gradient, flat.
        moments : tuple of Array
            The optimizer state: ``slots`` arrays, zeros at first.
        c : Array, shape (len(coefficients),)
            This step's coefficients.

        Returns
        -------
        p : Array, shape (size,)
        moments : tuple of Array

        Examples
        --------
        >>> ops, p, g = xpmlp.backend("numpy").ops, np.array([1.0]), np.array([2.0])
        >>> xpmlp.Momentum(0.1).update(ops, p, g, (np.zeros(1),), np.array([0.1]))
        (array([0.8]), (array([2.]),))
        """
        raise NotImplementedError

    def clip(self, ops: Any, g: Array) -> Array:
        """Apply ``clip_value`` and ``clip_norm``.

        Examples
        --------
        >>> xpmlp.SGD(clip_value=1.0).clip(xpmlp.backend("numpy").ops, np.array([-3.0, 0.5]))
        array([-1. ,  0.5])
        """
        if self.clip_value is not None:
            g = ops.xp.minimum(ops.xp.maximum(g, -self.clip_value), self.clip_value)
        return g if self.clip_norm is None else ops.clip_by_norm(g, self.clip_norm)


@dataclass(frozen=True)
class SGD(Optimizer):
    """Plain gradient descent: θ ← θ − η g.

    Examples
    --------
    >>> mlp = xpmlp.MLP([1, 1], initializer="zeros", backend="numpy")
    >>> history = mlp.fit([[1.0]], [1.0], epochs=1, optimizer=xpmlp.SGD(0.1))
    >>> mlp.parameters["dense1.b"].round(3)  # 0 − 0.1 · (0 − 1)
    array([0.1], dtype=float32)
    """

    name = "sgd"
    learning_rate: "float | Schedule" = 1e-2

    def update(self, ops: Any, p: Array, g: Array, moments: tuple[Array, ...], c: Array) -> Updated:
        return ops.sgd(p, g, c[0]), ()


@dataclass(frozen=True)
class Momentum(Optimizer):
    """Gradient descent with momentum: v ← μ v + g, θ ← θ − η v (Polyak 1964).

    Attributes
    ----------
    momentum : float
        μ, in [0, 1].
    rate_inside : bool
        v ← μ v + η g, θ ← θ − v instead (Sutskever et al. 2013, equation 1; scikit-learn). It is
        the same at a constant rate; if the rate falls, older gradients keep the rate of their step.

    Examples
    --------
    >>> optimizer = xpmlp.Momentum(0.1, momentum=0.9, clip_norm=1.0)
    >>> optimizer = xpmlp.Momentum(xpmlp.schedules.Cosine(0.1))  # a rate that falls
    """

    name = "momentum"
    slots = 1
    learning_rate: "float | Schedule" = 1e-2
    momentum: float = 0.9
    rate_inside: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _fraction(self, "momentum", closed=True)
        flag("rate_inside", self.rate_inside)

    def coefficients(self, t: Any, rate: Any) -> tuple[Any, ...]:
        """Return the factor of v, η or 1, and that of g."""
        return (1.0, rate) if self.rate_inside else (rate,)

    def update(self, ops: Any, p: Array, g: Array, moments: tuple[Array, ...], c: Array) -> Updated:
        step = getattr(ops, self.name)
        g = c[1] * g if self.rate_inside else g
        return step(p, g, moments[0], c[0], self.momentum)


@dataclass(frozen=True)
class Nesterov(Momentum):
    """Momentum that looks ahead: v ← μ v + g, θ ← θ − η (g + μ v) (Sutskever et al. 2013).

    Examples
    --------
    >>> optimizer = xpmlp.Nesterov(0.1, momentum=0.9)
    >>> ops, p, g = xpmlp.backend("numpy").ops, np.array([1.0]), np.array([1.0])
    >>> optimizer.update(ops, p, g, (np.zeros(1),), np.array([0.1]))[0]  # 1 − 0.1 · (1 + 0.9)
    array([0.81])
    """

    name = "nesterov"


@dataclass(frozen=True)
class AdaGrad(Optimizer):
    """A rate per parameter that falls with its gradients: s ← s + g², θ ← θ − η g/(√s + ε).

    Duchi et al. 2011; ``epsilon`` is ε.

    Examples
    --------
    >>> ops, p, g = xpmlp.backend("numpy").ops, np.array([1.0, 1.0]), np.array([5.0, 0.5])
    >>> p, moments = xpmlp.AdaGrad(0.1).update(ops, p, g, (np.zeros(2),), np.array([0.1]))
    >>> p.round(6)  # both parameters take the same first step
    array([0.9, 0.9])
    """

    name = "adagrad"
    slots = 1
    learning_rate: "float | Schedule" = 1e-2
    epsilon: float = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive(self, "epsilon")

    def update(self, ops: Any, p: Array, g: Array, moments: tuple[Array, ...], c: Array) -> Updated:
        return ops.adagrad(p, g, moments[0], c[0], self.epsilon)


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """AdaGrad with a running average of squares: s ← ρ s + (1 − ρ) g², θ ← θ − η g/(√s + ε).

    Tieleman and Hinton 2012; ``rho`` is ρ, in [0, 1), ``epsilon`` ε.

    Examples
    --------
    >>> mlp = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0)
    >>> points = xpmlp.data.make_xor(n=50)
    >>> history = mlp.fit(points.X, points.y, epochs=20, optimizer=xpmlp.RMSProp(0.01, rho=0.9))
    >>> history["loss"][-1] < history["loss"][0]
    True
    """

    name = "rmsprop"
    slots = 1
    rho: float = 0.99
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        _fraction(self, "rho")
        _positive(self, "epsilon")

    def update(self, ops: Any, p: Array, g: Array, moments: tuple[Array, ...], c: Array) -> Updated:
        return ops.rmsprop(p, g, moments[0], c[0], self.rho, self.epsilon)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adaptive moments (Kingma and Ba 2015).

    m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g²,
    θ ← θ − η/(1 − β₁ᵗ) · m/(√v/√(1 − β₂ᵗ) + ε).

    Attributes
    ----------
    beta1, beta2 : float
        Decay rates of the running averages, in [0, 1).
    epsilon : float
    epsilon_hat : bool
        Add ε to √v before the bias correction, not after it:
        η √(1 − β₂ᵗ)/(1 − β₁ᵗ) m/(√v + ε). The article has both, at the end of its section 2;
        scikit-learn uses this one.

    Examples
    --------
    >>> mlp = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0)
    >>> points = xpmlp.data.make_xor(n=50)
    >>> history = mlp.fit(points.X, points.y, epochs=20, optimizer=xpmlp.Adam(0.02, clip_norm=1.0))
    >>> history["loss"][-1] < history["loss"][0]
    True
    """

    name = "adam"
    slots = 2
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    epsilon_hat: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _fraction(self, "beta1")
        _fraction(self, "beta2")
        _positive(self, "epsilon")
        flag("epsilon_hat", self.epsilon_hat)

    def coefficients(self, t: Any, rate: Any) -> tuple[Any, ...]:
        """Return η/(1 − β₁ᵗ), 1/√(1 − β₂ᵗ) and the factor of decay, 1 here."""
        step, root = rate / (1.0 - self.beta1**t), (1.0 - self.beta2**t) ** -0.5
        return (step / root, 1.0, 1.0) if self.epsilon_hat else (step, root, 1.0)

    def update(self, ops: Any, p: Array, g: Array, moments: tuple[Array, ...], c: Array) -> Updated:
        return ops.adam(p, g, *moments, c, self.beta1, self.beta2, self.epsilon)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay of all parameters, biases included, as in PyTorch.

    First θ ← (1 − η λ) θ, then Adam's step (Loshchilov and Hutter 2019); ``weight_decay`` is λ.

    Examples
    --------
    >>> optimizer = xpmlp.AdamW(xpmlp.schedules.OneCycle(0.01), weight_decay=0.1)
    >>> xpmlp.AdamW(weight_decay=0.1).coefficients(t=1, rate=0.5)[2]  # 1 − η λ
    0.95
    """

    name = "adamw"
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weight_decay != 0:
            _positive(self, "weight_decay")

    def coefficients(self, t: Any, rate: Any) -> tuple[Any, ...]:
        """Return Adam's, with 1 − η λ as the factor of decay."""
        c0, c1, _ = super().coefficients(t, rate)
        return c0, c1, 1.0 - rate * self.weight_decay


OPTIMIZERS: dict[str, type[Optimizer]] = {
    cls.name: cls for cls in (SGD, Momentum, Nesterov, AdaGrad, RMSProp, Adam, AdamW)
}
"""Every optimizer that a name can mean."""


def optimizer(spec: object) -> Optimizer:
    """Return the optimizer of a name, with its default settings, or the one given.

    Raises
    ------
    InvalidValueError
        For an unknown name; the nearest known one is suggested.
    InvalidTypeError
        For anything else.

    Examples
    --------
    >>> xpmlp.optimizers.optimizer("momentum").momentum
    0.9
    """
    if isinstance(spec, str):
        if spec not in OPTIMIZERS:
            raise unknown_name("optimizer", spec, OPTIMIZERS)
        return OPTIMIZERS[spec]()
    if not isinstance(spec, Optimizer):
        raise InvalidTypeError(
            f"optimizer: found {spec!r}; expected a name or an optimizer such as xpmlp.Adam(1e-3)"
        )
    return spec


def _positive(owner: Any, name: str) -> None:
    value = getattr(owner, name)
    if not isinstance(value, Real) or not 0 < float(value) < inf:
        raise InvalidValueError(
            f"{type(owner).__name__}: {name} is {value!r}; expected a positive number"
        )


def _fraction(owner: Any, name: str, closed: bool = False) -> None:
    value = getattr(owner, name)
    inside = isinstance(value, Real) and 0 <= float(value) < 1
    if not inside and not (closed and value == 1):
        raise InvalidValueError(
            f"{type(owner).__name__}: {name} is {value!r}; expected a number in "
            f"[0, 1{']' if closed else ')'}"
        )
