"""``check_gradient``: compare the derivative of a function, or of a whole network."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xpmlp_backends

from xpmlp.errors import InvalidTypeError
from xpmlp.mlp import MLP
from xpmlp.model.base import Model
from xpmlp.nn.activations import ACTIVATIONS, Activation, from_functions
from xpmlp.nn.gradcheck import (
    STEP,
    TOLERANCE,
    GradientCheck,
    check_activation,
    check_loss,
    compare,
)
from xpmlp.nn.layers import Pass
from xpmlp.nn.losses import LOSSES, CustomLoss, Loss
from xpmlp.nn.ops import scaled
from xpmlp.nn.optimizers import Optimizer
from xpmlp.nn.random import dropout_keys
from xpmlp.training.prepare import encode, pair, settle


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

    Runs on NumPy in float64, whatever backend the model is on: the formulas are the same.

    Parameters
    ----------
    what : Activation, (f, derivative), Loss, callable, name of either, or MLP
    X : array-like, shape (n, inputs)
        For an MLP: the examples. Optional otherwise: inputs to try.
    y : array-like
        For an MLP: the targets.
    h : float
        Step of the finite difference.
    tolerance : float
        Largest error allowed.
    points : int
        For an MLP: how many parameters to try, drawn at random; all if it has no more.

    Returns
    -------
    GradientCheck

    Raises
    ------
    GradientError
        If the error exceeds the tolerance; it names the place, both numbers, and what to look at.
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


def loss_at(
    model: Model, X: Any, y: Any, training: bool = True
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Return the loss and its gradient as a function of flat parameters, on NumPy in float64.

    Parameters
    ----------
    model : Model
        Stays as it is; its own parameters are not used.
    X, y : array-like
        As for ``MLP.fit``.
    training : bool
        Whether dropout drops, the same units each time, and batch normalization uses the batch.

    Returns
    -------
    callable (ndarray of float64, shape (layout.size,)) -> (float, ndarray of the same shape)
    """
    clone = model.copy(backend="numpy", dtype="float64")
    if clone.known_task is None:
        settle(clone, X, y)
    examples, host_y = pair(clone, X, y)
    target = encode(clone, host_y)
    step, layout = clone.make_step(Optimizer()), clone.network.layout
    shift_scale = clone.scaling.arrays(clone.backend, "float64")
    x = scaled(step.ops.xp, examples.part(0, examples.count), *shift_scale, np.float64)
    statistics = clone.state_dict()
    keys = dropout_keys(clone.seed, clone.epochs_trained, 1, clone.network.dropouts)[0]

    def loss_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        run = Pass(training=training, keys=keys, statistics=statistics)
        value, grads, _ = step.gradient(layout.views(np, flat), x, target, None, run)
        return float(value), layout.flatten(grads)

    return loss_and_gradient


def _check_network(
    mlp: MLP, X: Any, y: Any, h: float, tolerance: float, points: int
) -> GradientCheck:
    loss_and_gradient, layout = loss_at(mlp, X, y), mlp.network.layout
    flat = layout.flatten(mlp.state_dict())
    analytic = loss_and_gradient(flat)[1]
    used = np.concatenate([np.arange(s.start, s.stop) for s in layout.slots.values()])
    chosen = np.random.default_rng(0).permutation(used)[:points]

    def shifted(i: int, by: float) -> float:
        moved = flat.copy()
        moved[chosen[i]] += by
        return loss_and_gradient(moved)[0]

    return compare(np, "network", analytic[chosen], shifted, flat[chosen], h, tolerance)
