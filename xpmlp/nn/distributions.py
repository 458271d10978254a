"""Losses of which a network learns a distribution of y: a mean and a variance, or quantiles.

The network has several outputs for each target. With d targets, ``z[:, j * d : (j + 1) * d]`` are
the j-th outputs of all of them, so that a part is a slice of the columns.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import log, pi
from typing import Any

from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.nn.functions import Array, clamp, sigmoid, softplus
from xpmlp.nn.loss_base import Loss, Rows

LOG_VARIANCES = 40.0
"""Largest |ln σ²|: both exponentials are then finite in float32, and so are moderate products."""


@dataclass(frozen=True)
class Gaussian(Loss):
    """−ln p(y) for y ~ N(μ, σ²), whose mean and variance are outputs (Nix and Weigend 1994).

    The network has 2 outputs for each target: the means of all targets, then all s = ln σ². So
    σ² = exp(s) is positive whatever the network says. With e = μ − y a target costs::

        L = ½ (s + e² exp(−s) + ln 2π)
        ∂L/∂μ = e exp(−s)
        ∂L/∂s = ½ (1 − e² exp(−s))

    which is least in s where σ² is the mean of e². s is limited to ±40 where its exponential is
    taken; the gradient is not, so it leads back. Use it with ``scaling="standard"`` or with targets
    of about that size: the first predictions have σ near 1.

    Examples
    --------
    >>> mlp = xpmlp.MLP([4, 16, 2], loss="gaussian", scaling="standard")  # one target
    >>> rows, dz = xpmlp.losses.Gaussian()(
    ...     xpmlp.backend("numpy").ops, np.array([[3.0, 0.0]]), np.array([[1.0]])
    ... )
    >>> rows.round(3), dz
    (array([2.919]), array([[ 2. , -1.5]]))
    """

    name = "gaussian"
    predicts = "moments"

    @property
    def outputs_per_target(self) -> int:
        """2: the mean, and the logarithm of the variance."""
        return 2

    def __call__(self, ops: Any, z: Array, y: Array) -> Rows:
        xp, d = ops.xp, y.shape[1]
        e, s = z[:, :d] - y, clamp(xp, z[:, d:], LOG_VARIANCES)
        pull = e * xp.exp(-s)
        square = e * pull
        rows = 0.5 * xp.sum(s + square + log(2 * pi), axis=1)
        return rows, xp.concat((pull, 0.5 - 0.5 * square), axis=1)

    def points(self, ops: Any, z: Array) -> Array:
        """Return the means, shape (n, columns)."""
        return z[..., : z.shape[-1] // 2]

    def moments(self, ops: Any, z: Array) -> tuple[Array, Array]:
        """Return means and variances, shape (n, columns) each."""
        d = z.shape[-1] // 2
        return z[..., :d], ops.xp.exp(clamp(ops.xp, z[..., d:], LOG_VARIANCES))

    def joined(self, ops: Any, z: Array) -> Array:
        """Return outputs with the moments of k networks' mixture: (k, n, outputs) to (n, outputs).

        It is not normal, but that is the normal distribution nearest to it.
        """
        mean, variance = mixture(ops.xp, *self.moments(ops, z))
        return ops.xp.concat((mean, ops.xp.log(variance)), axis=-1)


@dataclass(frozen=True)
class Quantiles(Loss):
    """The mean of several quantile losses, of quantiles that do not cross.

    The network has an output for each quantile and target: z₀, z₁, … of the same target become::

        Q₀ = z₀,    Qⱼ = Qⱼ₋₁ + softplus(zⱼ)

    so Q₀ ≤ Q₁ ≤ … for any z. A target costs the mean of ρⱼ = max(qⱼ e, (qⱼ − 1) e), e = y − Qⱼ
    (Koenker and Bassett 1978), whose slope gⱼ = ∂ρⱼ/∂Qⱼ is −qⱼ if y is above Qⱼ, 1 − qⱼ if it is
    below. As z₀ is part of every Q, and zⱼ of those from j on::

        m ∂L/∂z₀ = Σᵢ gᵢ,    m ∂L/∂zⱼ = σ(zⱼ) Σ_{i ≥ j} gᵢ

    Attributes
    ----------
    q : sequence of float
        The m quantiles, in (0, 1) and ascending. ``predict`` returns the one nearest to 0.5,
        ``predict_quantiles`` all.

    Examples
    --------
    >>> loss = xpmlp.losses.Quantiles([0.05, 0.5, 0.95])
    >>> mlp = xpmlp.MLP([4, 16, 3], loss=loss, scaling="standard")  # one target
    >>> rows, dz = loss(xpmlp.backend("numpy").ops, np.array([[0.0, 0.0, 0.0]]), np.array([[2.0]]))
    >>> rows.round(3), dz.round(3)
    (array([0.445]), array([[-0.5  , -0.242, -0.158]]))
    """

    q: Any = (0.05, 0.5, 0.95)
    name = "quantiles"
    predicts = "quantiles"

    def __post_init__(self) -> None:
        try:
            q = tuple(float(one) for one in self.q)
        except (TypeError, ValueError) as error:
            raise InvalidTypeError(
                f"Quantiles: found {self.q!r}; expected numbers such as [0.05, 0.5, 0.95]"
            ) from error
        rising = all(a < b for a, b in zip((0.0, *q), (*q, 1.0), strict=True))
        if not q or not rising:
            raise InvalidValueError(
                f"Quantiles: found {list(q)}; expected numbers between 0 and 1, ascending, such as "
                "[0.05, 0.5, 0.95]"
            )
        object.__setattr__(self, "q", q)  # from a file it comes as a list

    @property
    def outputs_per_target(self) -> int:
        """As many as there are quantiles."""
        return len(self.q)

    def __call__(self, ops: Any, z: Array, y: Array) -> Rows:
        xp, share = ops.xp, 1.0 / len(self.q)
        parts = self._parts(z)
        rows: Any = 0.0
        slopes = []
        for q, at in zip(self.q, self._cumulative(xp, parts), strict=True):
            e = y - at
            below = xp.astype(e < 0, e.dtype)
            rows = rows + xp.sum(e * (q - below), axis=1)
            slopes.append((below - q) * xp.abs(xp.sign(e)))
        dz: list[Array] = []
        total: Any = 0.0
        for part, slope in zip(parts[:0:-1], slopes[:0:-1], strict=True):
            total = total + slope
            dz.append(total * sigmoid(xp, part) * share)
        dz.append((total + slopes[0]) * share)
        return rows * share, xp.concat(dz[::-1], axis=1)

    def points(self, ops: Any, z: Array) -> Array:
        """Return the quantiles nearest to the median, shape (n, columns)."""
        nearest = min(range(len(self.q)), key=lambda j: (abs(self.q[j] - 0.5), j))
        return self._cumulative(ops.xp, self._parts(z)[: nearest + 1])[-1]

    def quantiles(self, ops: Any, z: Array) -> Array:
        """Return all quantiles, shape (n, quantiles, columns), ascending along the second axis."""
        return ops.xp.stack(self._cumulative(ops.xp, self._parts(z)), axis=-2)

    def joined(self, ops: Any, z: Array) -> Array:
        """Return outputs with the mean quantiles of k networks: (k, n, outputs) to (n, outputs).

        softplus(z) = d has the inverse z = d + ln(1 − exp(−d)).
        """
        xp = ops.xp
        each = [xp.mean(q, axis=0) for q in self._cumulative(xp, self._parts(z))]
        steps = [b - a for a, b in pairwise(each)]
        least = float(xp.finfo(z.dtype).smallest_normal)
        steps = [xp.maximum(d, least) for d in steps]
        return xp.concat([each[0], *(d + xp.log(-xp.expm1(-d)) for d in steps)], axis=-1)

    def _parts(self, z: Array) -> list[Array]:
        """Return the outputs of each quantile, shape (n, columns) each."""
        d = z.shape[-1] // len(self.q)
        return [z[..., j * d : (j + 1) * d] for j in range(len(self.q))]

    @staticmethod
    def _cumulative(xp: Any, parts: list[Array]) -> list[Array]:
        found = [parts[0]]
        for part in parts[1:]:
            found.append(found[-1] + softplus(xp, part))
        return found


def mixture(xp: Any, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Return mean and variance of a mixture of equal parts, along the first axis.

    Var y = mean of the variances + variance of the means: the law of total variance. For networks
    that predict no variances of their own, pass zeros.

    Parameters
    ----------
    mean, variance : Array, shape (members, ...)

    Returns
    -------
    mean, variance : Array, shape (...)
    """
    return xp.mean(mean, axis=0), xp.mean(variance, axis=0) + xp.var(mean, axis=0)
