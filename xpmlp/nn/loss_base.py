"""``Loss``: what every loss is, and what a network with it predicts."""

from dataclasses import dataclass
from typing import Any, ClassVar

from xpmlp.nn.functions import Array

Rows = tuple[Array, Array]


@dataclass(frozen=True)
class Loss:
    """Base class of the losses, which are called as ``rows, dz = loss(ops, z, y)``.

    Attributes
    ----------
    name : str
        Its name in ``MLP(loss=...)``.
    link : str
        The activation that turns the network's output z into a prediction.
    targets : str
        The kind of y: ``"labels"`` (class indices), ``"distribution"`` (rows that sum to 1),
        ``"binary"`` (values in [0, 1]), ``"counts"`` (values ≥ 0) or ``"values"``.
    predicts : str
        ``"points"``; ``"moments"``, with a method of that name that returns mean and variance; or
        ``"quantiles"``, with a method of that name that returns them.
    outputs_per_target : int
        How many outputs the network has for each column of y. The j-th outputs of all columns are
        next to each other: ``z[:, j * columns : (j + 1) * columns]``.

    Examples
    --------
    >>> xpmlp.losses.Poisson.link, xpmlp.losses.Poisson.targets
    ('exp', 'counts')
    >>> xpmlp.losses.Gaussian().predicts, xpmlp.losses.Gaussian().outputs_per_target
    ('moments', 2)
    """

    name: ClassVar[str]
    link: ClassVar[str] = "identity"
    targets: ClassVar[str] = "values"
    predicts: ClassVar[str] = "points"

    @property
    def outputs_per_target(self) -> int:
        """How many outputs the network has for each column of y."""
        return 1

    def __call__(self, ops: Any, z: Array, y: Array) -> Rows:
        """Return each row's loss, shape (n,), and its gradient in z, shape (n, outputs).

        Parameters
        ----------
        ops : Ops
            A backend's operations: ``xpmlp.backend("numpy").ops``.
        z : Array, shape (n, outputs)
            The outputs of the last dense layer, before the link; the results have their dtype.
        y : Array
            Of int32, shape (n,), for ``"labels"``; otherwise of z's dtype, shape (n, columns).
        """
        raise NotImplementedError

    def points(self, ops: Any, z: Array) -> Array:
        """Return one prediction for each target, before the link: shape (n, columns).

        Parameters
        ----------
        ops : Ops
        z : Array, shape (n, outputs)
        """
        return z
