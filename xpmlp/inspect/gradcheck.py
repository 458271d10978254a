"""``check_gradient``: check the derivative of a function, or of a whole network."""

from collections.abc import Callable
from typing import Any

import numpy as np
import xpmlp_backends

from xpmlp.errors import InvalidTypeError
from xpmlp.mlp import MLP
from xpmlp.model.base import Model
from xpmlp.model.examples import examples
from xpmlp.model.members import refuse_ensemble
from xpmlp.nn.activations import ACTIVATIONS, Activation, from_functions
from xpmlp.nn.gradcheck import (
    STEP,
    TOLERANCE,
    GradientCheck,
    activation_results,
    check_activation,
    check_loss,
    compare,
    is_custom,
)
from xpmlp.nn.layers import Pass
from xpmlp.nn.losses import CustomLoss, Loss
from xpmlp.nn.losses import loss as find_loss
from xpmlp.nn.ops import scaled
from xpmlp.nn.optimizers import Optimizer
from xpmlp.nn.parameters import Layout
from xpmlp.training.prepare import prepare, settle

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

    Runs on NumPy in float64, whatever the model's backend: the formulas are the same. Custom
    functions must also keep the dtype of their inputs: float32, or that of the MLP.

    Parameters
    ----------
    what : Activation, (f, derivative), Loss, callable, name of either, or MLP
    X : array-like, shape (n, inputs)
        For an MLP: the examples. Otherwise optional: inputs to try.
    y : array-like, shape (n,) or (n, outputs)
        For an MLP: the targets. For a loss with X: the targets it takes.
    h : float
        Step of the finite difference.
    tolerance : float
        Largest error allowed.
    points : int
        For an MLP: about how many parameters to try, drawn at random, some of each array.

    Returns
    -------
    GradientCheck

    Raises
    ------
    GradientError
        If the error exceeds the tolerance. It names the place, both numbers and what to check.
    InvalidTypeError
        If ``what`` is something else.

    Examples
    --------
    >>> points = xpmlp.data.make_xor(n=20)
    >>> mlp = xpmlp.MLP([2, 4, 2], "tanh", backend="numpy", seed=0)
    >>> xpmlp.check_gradient(mlp, points.X, points.y).error < 1e-6
    True

    A derivative with a mistake in it:

    >>> try:
    ...     xpmlp.check_gradient((lambda xp, z: z**3, lambda xp, z: 3 * z))
    ... except xpmlp.errors.GradientError as error:
    ...     print(str(error).split(" at ")[0])
    activation '<lambda>': the derivative
    """
    if isinstance(what, MLP):
        return _check_network(what, X, y, h, tolerance, points)
    if isinstance(what, str):
        what = ACTIVATIONS[what] if what in ACTIVATIONS else find_loss(what)
    if isinstance(what, tuple):
        what = from_functions(*what)
    ops = xpmlp_backends.backend("numpy").ops
    z = None if X is None else np.asarray(X, dtype=np.float64)
    if isinstance(what, Activation):
        z = None if z is None else np.atleast_2d(z)
        if is_custom(what):
            some = np.array([[-1.5, 0.5], [0.25, 2.0]], dtype=np.float32)
            activation_results(ops, what, some, some)
        return check_activation(ops, what, z, h, tolerance)
    if callable(what) and not isinstance(what, Loss):
        what = CustomLoss(what)
    if isinstance(what, Loss):
        y = None if y is None else np.asarray(y)
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
    refuse_ensemble(model, "check_gradient")
    clone = model.copy(backend="numpy", dtype="float64")
    if clone.known_task is None:
        settle(clone, X, y)
    rows, target = examples(clone, X, y)
    step, layout = clone.make_step(Optimizer()), clone.network.layout
    shift_scale = clone.scaling.arrays(rows, "float64")
    x = scaled(step.ops.xp, rows.part(0, rows.count), *shift_scale, np.float64)
    statistics = clone.state_dict()
    keys = clone.network.keys(clone.seed, clone.epochs_trained)[0]

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
    prepare(mlp, X, y)  # checks a custom loss in the model's dtype
    loss_and_gradient, layout = loss_at(mlp, X, y), mlp.network.layout
    flat = layout.flatten(mlp.state_dict())
    analytic = loss_and_gradient(flat)[1]
    chosen = _some_of_each(layout, points)
    loss = moved_loss(loss_and_gradient, flat, chosen)
    return compare(
        *(np, "network", analytic[chosen], loss, flat[chosen], h, tolerance),
        place=lambda i: _name_of(layout, int(chosen[i])),
    )


def _some_of_each(layout: Layout, points: int) -> np.ndarray:
    """Draw parameters to try: a large matrix must not leave none for a layer's few."""
    rng, each = np.random.default_rng(0), -(-points // len(layout.slots))
    drawn = [slot.start + rng.permutation(slot.stop - slot.start) for slot in layout.slots.values()]
    first = np.concatenate([indices[:each] for indices in drawn])
    rest = rng.permutation(np.concatenate([indices[each:] for indices in drawn]))
    return np.concatenate([first, rest[: max(points - len(first), 0)]])


def _name_of(layout: Layout, index: int) -> str:
    """Return the name of a parameter by its place in the flat buffer: ``"norm1.a[3]"``."""
    name = next(n for n, slot in layout.slots.items() if slot.start <= index < slot.stop)
    shape, start, _ = layout.slots[name]
    place = np.unravel_index(index - start, shape)
    return f"{name}[{', '.join(map(str, map(int, place)))}]"
