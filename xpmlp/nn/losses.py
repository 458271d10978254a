"""Losses: each example's value and its derivative together, because they share the work.

A loss is called as ``rows, dz = loss(ops, z, y)``: ``rows[i]`` is example i's loss, summed over
the outputs, and ``dz[i]`` its gradient with respect to ``z[i]``. The batch's loss is the
weighted mean Σ wᵢ·rowsᵢ / Σ wᵢ, so a weight of 2 is the same as the row twice.

Cross-entropies and Poisson take logits: the *link* (softmax, sigmoid, exp) is part of the loss,
where the gradient simplifies to ``prediction − target`` and nothing overflows. The network then
ends in its last dense layer, and ``predict_proba`` applies the link.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xpmlp.errors import InvalidTypeError, flag, require_between, unknown_name
from xpmlp.nn.distributions import Gaussian, Quantiles
from xpmlp.nn.functions import Array, clamp, log_softmax, one_hot, sigmoid, softplus
from xpmlp.nn.loss_base import Loss, Rows

__all__ = [
    "DISTRIBUTIONS", "LOSSES", "MAE", "MSE", "BinaryCrossEntropy", "CategoricalCrossEntropy",
    "CustomLoss", "Gaussian", "Huber", "Loss", "Poisson", "PoissonDeviance", "Quantile",
    "Quantiles", "SparseCategoricalCrossEntropy", "loss",
]  # fmt: skip


def softmax_cross_entropy(xp: Any, z: Array, target: Array) -> Rows:
    """−Σⱼ tⱼ ln softmax(z)ⱼ for rows of targets that sum to 1; its gradient is softmax(z) − t.

    Parameters
    ----------
    z, target : Array, shape (n, C)
        Logits, and the target distribution.

    Returns
    -------
    rows : Array, shape (n,)
    dz : Array, shape (n, C)
    """
    log_p = log_softmax(xp, z)
    return -xp.sum(target * log_p, axis=1), xp.exp(log_p) - target


def label_cross_entropy(
    xp: Any, device: Any, z: Array, labels: Array, smoothing: float = 0.0
) -> Rows:
    """−ln softmax(z)_y for class indices y, shape (n,): the same with one-hot rows as targets.

    ``smoothing`` spreads that share of each target evenly over all classes.
    """
    target = one_hot(xp, device, labels, z.shape[1], z.dtype)
    return softmax_cross_entropy(xp, z, _smooth(target, smoothing, z.shape[1]))


def sigmoid_cross_entropy(xp: Any, z: Array, target: Array) -> Rows:
    """−Σⱼ tⱼ ln σ(zⱼ) + (1 − tⱼ) ln(1 − σ(zⱼ)); its gradient is σ(z) − t.

    In the form max(z, 0) − z t + ln(1 + exp(−|z|)), which cannot overflow. Shapes as above.
    """
    return xp.sum(softplus(xp, z) - z * target, axis=1), sigmoid(xp, z) - target


@dataclass(frozen=True)
class MSE(Loss):
    """Squared error, ½ Σⱼ (zⱼ − yⱼ)²; the ½ cancels in the gradient z − y.

    Attributes
    ----------
    average : bool
        Report the mean over the outputs instead of the sum, as scikit-learn's estimator does. The
        gradient remains that of the sum, as it does there, so learning rates mean the same.

    Examples
    --------
    >>> xpmlp.losses.MSE()(xpmlp.backend("numpy").ops, np.array([[3.0]]), np.array([[1.0]]))
    (array([2.]), array([[2.]]))
    """

    average: bool = False
    name = "mse"

    def __post_init__(self) -> None:
        flag("MSE: average", self.average)

    def __call__(self, ops: Any, z: Array, y: Array) -> Rows:
        e = z - y
        return 0.5 / (z.shape[1] if self.average else 1) * ops.xp.sum(e * e, axis=1), e


@dataclass(frozen=True)
class MAE(Loss):
    """Absolute error, ``Σⱼ |zⱼ − yⱼ|``; gradient sign(z − y), 0 where they are equal.

    Examples
    --------
    >>> xpmlp.losses.MAE()(xpmlp.backend("numpy").ops, np.array([[3.0]]), np.array([[1.0]]))
    (array([2.]), array([[1.]]))
    """

    name = "mae"

    def __call__(self, ops: Any, z: Array, y: Array) -> Rows:
        e = z - y
        return ops.xp.sum(ops.xp.abs(e), axis=1), ops.xp.sign(e)


@dataclass(frozen=True)
class Huber(Loss):
    """``½ e² if |e| ≤ δ, else δ(|e| − ½ δ)``, e = z − y (Huber 1964); gradient e clamped to ±δ.

    δ is ``delta``, above 0, in the targets' units.

    Examples
    --------
    >>> mlp = xpmlp.MLP([4, 16, 1], loss=xpmlp.losses.Huber(delta=2.0))
    >>> xpmlp.losses.Huber()(xpmlp.backend("numpy").ops, np.array([[5.0]]), np.array([[1.0]]))
    (array([3.5]), array([[1.]]))
    """

    delta: float = 1.0
    name = "huber"

    def __post_init__(self) -> None:
        require_between("Huber", "delta", self.delta, low=0.0, open_low=True)

    def __call__(self, ops: Any, z: Array, y: Array) -> Rows:
        xp, e = ops.xp, z - y
        g = clamp(xp, e, self.delta)
        return xp.sum(g * (e - 0.5 * g), axis=1), g  # equals both branches


@dataclass(frozen=True)
class Quantile(Loss):
    """max(q e, (q − 1) e), e = y − z (Koenker and Bassett 1978); least at y's q-quantile.

    ``q`` is in (0, 1): 0.5 is the median.

    Examples
    --------
    >>> mlp = xpmlp.MLP([4, 16, 1], loss=xpmlp.losses.Quantile(0.9))
    >>> xpmlp.losses.Quantile(0.5)(xpmlp.backend("numpy").ops, np.array([[0.0]]), np.array([[2.0]]))
    (array([1.]), array([[-0.5]]))
    """

    q: float = 0.5
    name = "quantile"

    def __post_init__(self) -> None:
        require_between("Quantile", "q", self.q, low=0.0, high=1.0, open_low=True, open_high=True)

    def __call__(self, ops: Any, z: Array, y: Array) -> Rows:
        xp, e = ops.xp, y - z
        below = xp.astype(e < 0, e.dtype)
        rows = xp.sum(e * (self.q - below), axis=1)
        return rows, (below - self.q) * xp.abs(xp.sign(e))


@dataclass(frozen=True)
class Poisson(Loss):
    """exp(z) − y z, the negative log-likelihood of counts y at rate exp(z), without ln y!.

    Examples
    --------
    >>> mlp = xpmlp.MLP([4, 16, 1], loss="poisson")  # predict returns rates, exp(z)
    >>> xpmlp.losses.Poisson()(xpmlp.backend("numpy").ops, np.array([[0.0]]), np.array([[2.0]]))
    (array([1.]), array([[-1.]]))
    """

    name = "poisson"
    link = "exp"
    targets = "counts"

    def __call__(self, ops: Any, z: Array, y: Array) -> Rows:
        bound = 700.0 if z.dtype == ops.xp.float64 else 80.0  # exp stays finite, and its sum
        rate = ops.xp.exp(ops.xp.minimum(z, bound))
        return ops.xp.sum(rate - y * z, axis=1), rate - y


@dataclass(frozen=True)
class PoissonDeviance(Poisson):
    """y ln(y/μ) − y + μ with the rate μ = exp(z): half the Poisson deviance.

    It is 0 where the rate equals the count. It differs from `Poisson` by terms in y alone, so the
    gradient is the same.

    Examples
    --------
    >>> rate, y = np.array([[1.0]]), np.array([[1.0]])
    >>> xpmlp.losses.PoissonDeviance()(xpmlp.backend("numpy").ops, np.log(rate), y)
    (array([0.]), array([[0.]]))
    """

    name = "poisson_deviance"

    def __call__(self, ops: Any, z: Array, y: Array) -> Rows:
        xp = ops.xp
        rows, dz = super().__call__(ops, z, y)
        logs = xp.log(xp.maximum(y, float(xp.finfo(y.dtype).smallest_normal)))  # 0 ln 0 is 0
        return rows + xp.sum(y * logs - y, axis=1), dz


@dataclass(frozen=True)
class _CrossEntropy(Loss):
    """Base class of the cross-entropies, with label smoothing (Szegedy et al. 2016)."""

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        amount = self.label_smoothing
        require_between(type(self).__name__, "label_smoothing", amount, 0.0, 1.0, open_high=True)


@dataclass(frozen=True)
class BinaryCrossEntropy(_CrossEntropy):
    """Cross-entropy of independent yes-or-no outputs, on logits: the link is the sigmoid.

    Examples
    --------
    >>> ops = xpmlp.backend("numpy").ops
    >>> rows, dz = xpmlp.losses.BinaryCrossEntropy()(ops, np.array([[0.0]]), np.array([[1.0]]))
    >>> rows.round(3), dz  # ln 2, and σ(0) − 1
    (array([0.693]), array([[-0.5]]))
    """

    name = "binary_cross_entropy"
    link = "sigmoid"
    targets = "binary"

    def __call__(self, ops: Any, z: Array, y: Array) -> Rows:
        return ops.sigmoid_cross_entropy(z, _smooth(y, self.label_smoothing, 2))


@dataclass(frozen=True)
class CategoricalCrossEntropy(_CrossEntropy):
    """Cross-entropy against one-hot rows or distributions, on logits: the link is softmax.

    Examples
    --------
    >>> ops = xpmlp.backend("numpy").ops
    >>> z, y = np.zeros((1, 2)), np.array([[1.0, 0.0]])
    >>> rows, dz = xpmlp.losses.CategoricalCrossEntropy()(ops, z, y)
    >>> rows.round(3), dz  # ln 2, and softmax(z) − y
    (array([0.693]), array([[-0.5,  0.5]]))
    """

    name = "categorical_cross_entropy"
    link = "softmax"
    targets = "distribution"

    def __call__(self, ops: Any, z: Array, y: Array) -> Rows:
        return ops.softmax_cross_entropy(z, _smooth(y, self.label_smoothing, z.shape[1]))


@dataclass(frozen=True)
class SparseCategoricalCrossEntropy(_CrossEntropy):
    """Cross-entropy against class indices, on logits: ln Σ exp(z) − z_y.

    Examples
    --------
    >>> loss = xpmlp.losses.SparseCategoricalCrossEntropy(label_smoothing=0.1)
    >>> mlp = xpmlp.MLP([64, 32, 10], loss=loss)
    >>> loss(xpmlp.backend("numpy").ops, np.zeros((1, 2)), np.array([0]))[1].round(2)
    array([[-0.45,  0.45]])
    """

    name = "sparse_categorical_cross_entropy"
    link = "softmax"
    targets = "labels"

    def __call__(self, ops: Any, z: Array, y: Array) -> Rows:
        return ops.label_cross_entropy(z, y, self.label_smoothing)


@dataclass(frozen=True)
class CustomLoss(Loss):
    """A loss from a custom function.

    Attributes
    ----------
    function : callable (xp, z, y) -> (rows, dz)
        With z and y of shape (n, outputs): each row's loss, shape (n,), and its gradient with
        respect to z, shape (n, outputs), both in z's dtype. Real targets y may have fewer columns.
        Compared with finite differences on the first data it is trained on.

    Examples
    --------
    >>> def fourth_power(xp, z, y):
    ...     e = z - y
    ...     return xp.sum(e**4, axis=1), 4 * e**3
    >>> mlp = xpmlp.MLP([4, 16, 1], loss=xpmlp.losses.CustomLoss(fourth_power))
    >>> xpmlp.check_gradient(fourth_power).error < 1e-5
    True
    """

    function: Callable[[Any, Array, Array], Rows]
    name = "custom"

    def __call__(self, ops: Any, z: Array, y: Array) -> Rows:
        return self.function(ops.xp, z, y)


LOSSES: dict[str, type[Loss]] = {
    cls.name: cls for cls in (
        MSE, MAE, Huber, Quantile, Poisson, PoissonDeviance, BinaryCrossEntropy,
        CategoricalCrossEntropy, SparseCategoricalCrossEntropy,
    )
}  # fmt: skip
"""Losses of as many outputs as targets, by name."""

DISTRIBUTIONS: dict[str, type[Loss]] = {cls.name: cls for cls in (Gaussian, Quantiles)}
"""Losses of several outputs for each target, by name."""


_OF_CLASSES = ("sparse_categorical_cross_entropy", "binary_cross_entropy")

_ELSEWHERE: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ce", "nll", "nll_loss", "log_loss", "logloss", "softmax"), _OF_CLASSES),
    **dict.fromkeys(("bce", "logistic", "sigmoid"), ("binary_cross_entropy",)),
    **dict.fromkeys(("l2", "squared_error", "mean_squared_error", "rmse"), ("mse",)),
    **dict.fromkeys(("gaussian_nll", "gaussiannll", "normal"), ("gaussian",)),
    **dict.fromkeys(("pinball", "multi_quantile"), ("quantiles", "quantile")),
    **dict.fromkeys(("l1", "absolute_error", "mean_absolute_error"), ("mae",)),
}
"""What other libraries call these losses."""


def loss(spec: object) -> Loss:
    """Return the loss of a name, or make one from a custom function.

    Parameters
    ----------
    spec : str, Loss, or callable (xp, z, y) -> (rows, dz)
        A model compares a function's gradient with finite differences before it trains.

    Raises
    ------
    InvalidValueError
        For an unknown name; the nearest known one is suggested.
    InvalidTypeError
        For anything else.

    Examples
    --------
    >>> xpmlp.losses.loss("huber")
    Huber(delta=1.0)
    """
    if isinstance(spec, str):
        known = LOSSES | DISTRIBUTIONS
        if spec not in known:
            raise unknown_name("loss", spec, known, _ELSEWHERE)
        return known[spec]()
    if not isinstance(spec, Loss) and callable(spec) and not isinstance(spec, type):
        spec = CustomLoss(spec)
    if not isinstance(spec, Loss):
        raise InvalidTypeError(
            f"loss: found {spec!r}; expected a name, a loss such as xpmlp.losses.Huber(2.0), "
            "or a function (xp, z, y) -> (rows, dz)"
        )
    return spec


def _smooth(target: Array, amount: float, classes: int) -> Array:
    """Spread a share of each target evenly over all classes (Szegedy et al. 2016, section 7)."""
    return target if amount == 0 else target * (1.0 - amount) + amount / classes
