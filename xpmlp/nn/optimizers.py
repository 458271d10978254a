"""Optimizers: small frozen classes with the settings of an update in ``xpmlp.nn.updates``.

What changes from step to step (the learning rate, bias corrections) is computed on the host in
float64 before the epoch, by ``coefficients(t, rate)``; a step reads its row.

Symbols: θ parameters, g gradient, η learning rate, t step from 1, all element by element.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from xpmlp.errors import InvalidTypeError, flag, unknown_name
from xpmlp.nn.functions import Array
from xpmlp.nn.groups import Group, as_groups
from xpmlp.nn.limits import fraction, not_negative, positive
from xpmlp.nn.schedules import BEGIN, Schedule
from xpmlp.nn.updates import Updated

__all__ = [
    "OPTIMIZERS", "SGD", "AdaGrad", "Adam", "AdamW", "Group", "Momentum", "Nesterov",
    "Optimizer", "RMSProp", "optimizer",
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
    groups : mapping of str to Group or dict, optional
        What is different for some parameters, by patterns of their names in ``mlp.parameters``, as
        ``fnmatch`` takes them: ``{"dense1.*": {"rate": 0}, "*.b": {"weight_decay": 0}}``. The first
        pattern that matches a parameter decides. ``clip_norm`` is that of all groups together.
    average : float, optional
        Decay a of the weights' moving average, in [0, 1): 0.999, say. The model then has the mean
        of the weights after each step, those of n steps ago with the weight aⁿ: it is what is
        evaluated, saved and used for predictions, while training goes on with the last weights.
    slots : int
        Number of arrays of optimizer state, each the size of the parameters.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For a setting that is out of range; in ``fit``, if a pattern of ``groups`` decides nothing.

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
    groups: Any = field(default=None, kw_only=True)
    average: float | None = field(default=None, kw_only=True)
    name: ClassVar[str]
    slots: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if not isinstance(self.learning_rate, Schedule):
            positive(self, "learning_rate")
        for limit in ("clip_norm", "clip_value"):
            if getattr(self, limit) is not None:
                positive(self, limit)
        if self.average is not None:
            fraction(self, "average")
        object.__setattr__(self, "groups", as_groups(self, self.groups))

    @property
    def buffers(self) -> int:
        """Number of arrays that a run keeps: ``slots``, and one more for averaged weights.

        Examples
        --------
        >>> xpmlp.Adam().buffers, xpmlp.Adam(average=0.999).buffers
        (2, 3)
        """
        return self.slots + (self.average is not None)

    def rates(
        self, epoch: int, steps: int, total: float, history: Mapping[str, Sequence[float]]
    ) -> list[float]:
        """Return the learning rate of each step of an epoch, from 0; see ``Schedule.rates``."""
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
        fraction(self, "momentum", closed=True)
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
        positive(self, "epsilon")

    def update(self, ops: Any, p: Array, g: Array, moments: tuple[Array, ...], c: Array) -> Updated:
        return ops.adagrad(p, g, moments[0], c[0], self.epsilon)


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """AdaGrad with a running average of squares: s ← ρ s + (1 − ρ) g², θ ← θ − η g/(√s + ε).

    Tieleman and Hinton 2012; ``rho`` is ρ, in [0, 1), ``epsilon`` ε.

    Examples
    --------
    >>> ops, p, g = xpmlp.backend("numpy").ops, np.array([1.0]), np.array([5.0])
    >>> xpmlp.RMSProp(rho=0.75).update(ops, p, g, (np.zeros(1),), np.array([0.1]))[0].round(6)
    array([0.8])
    """

    name = "rmsprop"
    slots = 1
    rho: float = 0.99
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        fraction(self, "rho")
        positive(self, "epsilon")

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
        fraction(self, "beta1")
        fraction(self, "beta2")
        positive(self, "epsilon")
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

    First θ ← (1 − η λ) θ, then Adam's step (Loshchilov and Hutter 2019); ``weight_decay`` is λ, or
    a schedule of it.

    Examples
    --------
    >>> optimizer = xpmlp.AdamW(xpmlp.schedules.OneCycle(0.01), weight_decay=0.1)
    >>> without_biases = xpmlp.AdamW(weight_decay=0.1, groups={"*.b": {"weight_decay": 0}})
    >>> xpmlp.AdamW(weight_decay=0.1).coefficients(t=1, rate=0.5)[2]  # 1 − η λ
    0.95
    """

    name = "adamw"
    weight_decay: "float | Schedule" = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.weight_decay, Schedule):
            not_negative(self, "weight_decay")

    def coefficients(self, t: Any, rate: Any, decay: Any = None) -> tuple[Any, ...]:
        """Return Adam's, with 1 − η λ as the factor of decay.

        ``decay`` is λ: by default the optimizer's, which for a schedule is where it begins.
        """
        c0, c1, _ = super().coefficients(t, rate)
        if decay is None:
            own = self.weight_decay
            decay = own.rates(*BEGIN)[0] if isinstance(own, Schedule) else own
        return c0, c1, 1.0 - rate * decay


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
