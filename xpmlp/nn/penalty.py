"""The penalty on large weights: what it adds to the loss and to the gradient."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from xpmlp.nn.functions import Array


def counts(strength: Array | float | tuple[float, ...]) -> bool:
    """Whether λ is not 0. An array counts: a λ divided by weights, or one for each network."""
    if isinstance(strength, tuple):
        return any(strength)
    return not isinstance(strength, int | float) or strength != 0


@dataclass(frozen=True)
class Penalty:
    """A penalty on large weights, and a bound on their norm.

    λ₁ Σ|W| + ½ λ₂ ΣW² over all weight matrices, without biases (with both: the elastic net);
    its gradient is λ₁ sign(W) + λ₂ W. ``max_norm`` bounds the Euclidean norm of each unit's
    incoming weights, W's columns, after every update (Srebro and Shraibman 2005).

    The batch's loss is a mean, Σ wᵢ·rowsᵢ / Σ wᵢ. The penalty is added to that mean or, with
    ``penalty_on="sum"``, to the sum before the division: λ/Σ wᵢ instead of λ. Its influence then
    falls with the amount of data, as a prior's does (and scikit-learn's ``alpha``).

    Networks that share nothing may each have their λ: a tuple, which ``placed`` makes an array of.
    """

    l1: Any = 0.0
    l2: Any = 0.0
    max_norm: float | None = None
    penalty_on: str = "mean"

    is_zero: bool = field(init=False, compare=False)
    """Whether nothing is added to the loss."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_zero", not (counts(self.l1) or counts(self.l2)))

    @property
    def strongest(self) -> Any:
        """The largest λ, of all networks."""
        given = (self.l1, self.l2)
        return max(max(s) if isinstance(s, tuple) else s for s in given)

    def placed(self, asarray: Callable[[Any], Array]) -> "Penalty":
        """Return it with tuples as arrays of shape (k,)."""
        if not any(isinstance(strength, tuple) for strength in (self.l1, self.l2)):
            return self
        l1, l2 = (asarray(s) if isinstance(s, tuple) else s for s in (self.l1, self.l2))
        return replace(self, l1=l1, l2=l2)

    def of_batch(self, xp: Any, rows: float, weight: Array | None = None) -> "Penalty":
        """Return the penalty on a batch's mean loss, for its number of rows or their weights."""
        if self.penalty_on == "mean" or self.is_zero:
            return self
        share: Any = 1.0 / rows
        if weight is not None:
            total = xp.sum(weight, axis=-1)
            tiny = float(xp.finfo(weight.dtype).smallest_normal)
            # Rows of weight 0 count as left out: a batch without rows has no penalty either.
            share = xp.astype(total > 0, weight.dtype) / xp.maximum(total, tiny)
        l1, l2 = (s * share if counts(s) else 0.0 for s in (self.l1, self.l2))
        return replace(self, l1=l1, l2=l2)

    def value(self, xp: Any, weights: list[Array]) -> Array | float:
        """λ₁ Σ|W| + ½ λ₂ ΣW²."""
        total: Array | float = 0.0
        for W in weights:
            if counts(self.l1):
                total = total + self.l1 * xp.sum(xp.abs(W), axis=(-2, -1))
            if counts(self.l2):
                total = total + 0.5 * self.l2 * xp.sum(W * W, axis=(-2, -1))
        return total

    def add_gradient(self, xp: Any, W: Array, dW: Array) -> Array:
        """dW + λ₁ sign(W) + λ₂ W."""
        if counts(self.l1):
            dW = dW + _over_matrix(self.l1) * xp.sign(W)
        return dW + _over_matrix(self.l2) * W if counts(self.l2) else dW

    def bound(self, xp: Any, W: Array) -> Array:
        """Return W with columns longer than ``max_norm`` scaled down to it."""
        norm = xp.sqrt(xp.sum(W * W, axis=-2, keepdims=True))
        return W * (self.max_norm / xp.maximum(norm, self.max_norm))


def _over_matrix(strength: Any) -> Any:
    """Return λ; of k networks, shape (k,), in a form that broadcasts over their matrices."""
    return strength[:, None, None] if getattr(strength, "ndim", 0) else strength


def penalize(xp: Any, penalty: Penalty, W: Array, dW: Array) -> tuple[Array, Array]:
    """Return one weight matrix's part of the penalty, and dW plus that part's gradient.

    Parameters
    ----------
    penalty : Penalty
        Not zero; its strengths may be arrays of shape ().
    W, dW : Array, shape (fan_in, fan_out)
    """
    return penalty.value(xp, [W]), penalty.add_gradient(xp, W, dW)
