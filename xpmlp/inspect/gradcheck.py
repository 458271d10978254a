"""``check_gradient``: check the derivative of a function, or of a whole network."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xpmlp_backends

from xpmlp.errors import InvalidTypeError
from xpmlp.mlp import MLP
from xpmlp.model.base import Model
from xpmlp.nn.activations import ACTIVATIONS, Activation, from_functions
from xpmlp.nn.gradcheck import STEP, TOLERANCE, GradientCheck, check_activation, check_loss, compare
from xpmlp.nn.layers import Pass
from xpmlp.nn.losses import LOSSES, CustomLoss, Loss
from xpmlp.nn.ops import scaled
from xpmlp.nn.optimizers import Optimizer
from xpmlp.nn.parameters import Layout
from xpmlp.nn.random import dropout_keys
from xpmlp.training.prepare import examples, settle

LossAndGradient = Callable[[np.ndarray], tuple[float, np.ndarray]]


def check_gradient(
    what: Any,
    X: Any = None,
    y: Any = None,
    *,
    h: float = STEP,
    tolerance: float = TOLERANCE,
    points: int = 200,
) -> GradientCheck:
    """Check the derivative of an activation, a loss, or a whole network.

    Runs on NumPy in float64, whatever the model's backend: the formulas are the same.

    Parameters
    ----------
    what : Activation, (f, derivative), Loss, callable, name of either, or MLP
    X : array-like, shape (n, inputs)
        For an MLP: the examples. Otherwise optional: inputs to try.
    y : array-like
        For an MLP: the targets.
    h : float
        Step of the finite difference.
    tolerance : float
        Largest error allowed.
    points : int
        For an MLP: how many parameters to try, drawn at random.

    Returns
    -------
    GradientCheck

    Raises
    ------
    GradientError
        If the error exceeds the tolerance. It names the place, both numbers and what to check.
    """
    if isinstance(what, MLP):
        return _check_network(what, X, y, h, tolerance, points)
    if isinstance(what, str):
        what = ACTIVATIONS[what] if what in ACTIVATIONS else LOSSES[what]()
    if isinstance(what, tuple):
        what = from_functions(*what)
    ops = xpmlp_backends.backend("numpy").ops
    z = None if X is None else np.asarray(X, dtype=np.float64)
    if isinstance(what, Activation):
        z = None if z is None else np.atleast_2d(z)
        return check_activation(ops, what, z, h, tolerance)
    if callable(what) and not isinstance(what, Loss):
        what = CustomLoss(what)
    if isinstance(what, Loss):
        return check_loss(ops, what, z, y, h, tolerance)
    raise InvalidTypeError(
        f"check_gradient: found {what!r}; expected an activation, a loss, or an MLP"
    )


def loss_at(model: Model, X: Any, y: Any, training: bool = True) -> LossAndGradient:
    """Return the loss and its gradient as a function of flat parameters, on NumPy in float64.

    Parameters
    ----------
    model : Model
        Not changed; its parameters are not used.
    X, y : array-like
        As for ``MLP.fit``.
    training : bool
        Whether dropout drops units, the same ones each time, and batch normalization uses the
        batch.

    Returns
    -------
    callable (ndarray of float64, shape (layout.size,)) -> (float, ndarray of the same shape)
    """
    clone = model.copy(backend="numpy", dtype="float64")
    if clone.known_task is None:
        settle(clone, X, y)
    rows, target = examples(clone, X, y)
    step, layout = clone.make_step(Optimizer()), clone.network.layout
    shift_scale = clone.scaling.arrays(rows, "float64")
    x = scaled(step.ops.xp, rows.part(0, rows.count), *shift_scale, np.float64)
    statistics = clone.state_dict()
    keys = dropout_keys(clone.seed, clone.epochs_trained, 1, clone.network.dropouts)[0]

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        run = Pass(training=training, keys=keys, statistics=statistics)
        value, grads, _ = step.gradient(layout.views(np, flat), x, target, None, run)
        return float(value), layout.flatten(grads)

    return loss_and_gradient


def places(layout: Layout) -> np.ndarray:
    """Return the indices of the parameters in a flat buffer, without its padding."""
    return np.concatenate([np.arange(slot.start, slot.stop) for slot in layout.slots.values()])


def moved_loss(
    loss_and_gradient: LossAndGradient, flat: np.ndarray, places: np.ndarray
) -> Callable[[int, float], float]:
    """Return the loss as a function (i, by) that moves the parameter at ``places[i]``."""

    def loss(i: int, by: float) -> float:
        moved = flat.copy()
        moved[places[i]] += by
        return loss_and_gradient(moved)[0]

    return loss


def _check_network(
    mlp: MLP, X: Any, y: Any, h: float, tolerance: float, points: int
) -> GradientCheck:
    loss_and_gradient, layout = loss_at(mlp, X, y), mlp.network.layout
    flat = layout.flatten(mlp.state_dict())
    analytic = loss_and_gradient(flat)[1]
    chosen = np.random.default_rng(0).permutation(places(layout))[:points]
    loss = moved_loss(loss_and_gradient, flat, chosen)
    return compare(np, "network", analytic[chosen], loss, flat[chosen], h, tolerance)
