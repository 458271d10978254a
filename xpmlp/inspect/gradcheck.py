"""Compare a derivative with the finite difference of its function.

f'(x) ≈ (f(x + h) − f(x − h))/2h, whose error is of order h² plus rounding/h; with h = 1e-5 in
float64 that is about 1e-10 for smooth functions of moderate size. Near a kink the difference
mixes both sides and says nothing, so points where two step widths disagree are left out.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xpmlp.errors import GradientError, InvalidTypeError
from xpmlp.nn.optimizers import Optimizer

if TYPE_CHECKING:
    from xpmlp.mlp import MLP
    from xpmlp.nn.activations import Activation
    from xpmlp.nn.losses import Loss


@dataclass(frozen=True)
class GradientCheck:
    """The outcome of ``check_gradient``.

    Attributes
    ----------
    error : float
        Largest |derivative − finite difference|, divided by the largest finite difference
        or 1, whichever is more.
    points : int
        Derivatives compared.
    kinks : int
        Points left out because the function has a kink there.
    """

    error: float
    points: int
    kinks: int


def check_gradient(
    what: Any,
    X: Any = None,
    y: Any = None,
    *,
    h: float = 1e-5,
    tolerance: float = 1e-6,
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
        Step of the difference.
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
    from xpmlp.mlp import MLP
    from xpmlp.nn.activations import ACTIVATIONS, Activation, from_functions
    from xpmlp.nn.losses import LOSSES, CustomLoss, Loss

    if isinstance(what, MLP):
        return _check_network(what, X, y, h, tolerance, points)
    if isinstance(what, str):
        what = ACTIVATIONS[what] if what in ACTIVATIONS else LOSSES[what]()
    if isinstance(what, tuple):
        what = from_functions(*what)
    if isinstance(what, Activation):
        return _check_activation(what, X, h, tolerance)
    if callable(what) and not isinstance(what, Loss):
        what = CustomLoss(what)
    if isinstance(what, Loss):
        return _check_loss(what, X, y, h, tolerance)
    raise InvalidTypeError(
        f"check_gradient: found {what!r}; expected an activation, a loss, or an MLP"
    )


def _reference_ops() -> Any:
    from xpmlp_backends import backend

    return backend("numpy").ops


def _compare(
    name: str, analytic: np.ndarray, f: Any, x: np.ndarray, h: float, tolerance: float
) -> GradientCheck:
    """Compare with central differences of f, a scalar function of one element's shift.

    ``f(index, shift)`` evaluates with element ``index`` of x moved by ``shift``.
    """
    flat = analytic.reshape(-1)
    wide, narrow = np.empty_like(flat), np.empty_like(flat)
    for i in range(flat.size):
        wide[i] = (f(i, h) - f(i, -h)) / (2 * h)
        narrow[i] = (f(i, h / 2) - f(i, -h / 2)) / h
    scale = max(1.0, float(np.max(np.abs(wide), initial=0.0)))
    smooth = np.abs(wide - narrow) <= 0.1 * tolerance * scale
    error = np.where(smooth, np.abs(flat - wide) / scale, 0.0)
    broken = ~np.isfinite(flat)
    if broken.any() or error.max(initial=0.0) > tolerance:
        i = int(np.argmax(np.where(broken, np.inf, error)))
        raise GradientError(
            f"{name}: the derivative at {x.reshape(-1)[i]:.6g} (element {i}) is {flat[i]:.8g}, "
            f"the finite difference {wide[i]:.8g}; expected them within {tolerance:g}. Check the "
            "formula of the derivative"
        )
    return GradientCheck(float(error.max(initial=0.0)), int(smooth.sum()), int((~smooth).sum()))


def _check_activation(act: "Activation", X: Any, h: float, tolerance: float) -> GradientCheck:
    ops = _reference_ops()
    default = np.linspace(-4.03, 4.01, 60).reshape(12, 5)
    z = default if X is None else np.atleast_2d(np.asarray(X, dtype=np.float64))
    # A different weight for each output tells rows that mix their inputs apart.
    weight = np.linspace(0.5, 1.5, z.size).reshape(z.shape)
    value = act.function(ops, z)
    _expect_shape(f"activation {act.name!r}", value, z.shape)
    if act.vjp is None and act.derivative is not None:
        slope = act.derivative(ops, z, value)
        _expect_shape(f"derivative of activation {act.name!r}", slope, z.shape)
    analytic = act.backward(ops, z, value, weight)
    _expect_shape(f"derivative of activation {act.name!r}", analytic, z.shape)

    def shifted(i: int, by: float) -> float:
        moved = z.copy()
        moved.flat[i] += by
        return float(np.sum(weight * act.function(ops, moved)))

    return _compare(f"activation {act.name!r}", analytic, shifted, z, h, tolerance)


def _check_loss(loss: "Loss", X: Any, y: Any, h: float, tolerance: float) -> GradientCheck:
    ops = _reference_ops()
    z = np.linspace(-2.03, 3.01, 24).reshape(8, 3) if X is None else np.asarray(X, dtype=float)
    if y is None:
        rng = np.random.default_rng(0)
        y = {
            "labels": np.arange(len(z)) % z.shape[1],
            "distribution": np.eye(z.shape[1])[np.arange(len(z)) % z.shape[1]],
            "binary": np.round(rng.uniform(size=z.shape)),
            "counts": np.floor(rng.uniform(0, 5, size=z.shape)),
            "values": rng.standard_normal(z.shape),
        }[loss.targets]
    name = f"loss {getattr(getattr(loss, 'function', None), '__name__', loss.name)!r}"
    rows, analytic = loss(ops, z, y)
    _expect_shape(f"{name}, first result", rows, (len(z),))
    _expect_shape(f"{name}, second result (the gradient)", analytic, z.shape)

    def shifted(i: int, by: float) -> float:
        moved = z.copy()
        moved.flat[i] += by
        return float(np.sum(loss(ops, moved, y)[0]))

    return _compare(name, analytic, shifted, z, h, tolerance)


def _check_network(
    mlp: "MLP", X: Any, y: Any, h: float, tolerance: float, points: int
) -> GradientCheck:
    from xpmlp.nn.layers import Pass
    from xpmlp.nn.ops import scaled

    clone = mlp.copy(backend="numpy", dtype="float64")
    x, target = clone._prepare(X, y)
    step, layout = clone._step(Optimizer()), clone.network.layout
    x = scaled(step.ops.xp, x, *clone.scaling.arrays(clone.backend, "float64"), np.float64)
    values = clone.state_dict()
    flat = layout.flatten(values)
    keys = np.arange(2 * max(clone.network.dropouts, 1), dtype=np.int32).reshape(-1, 2)

    def loss_and_gradient(at: np.ndarray) -> tuple[float, dict[str, Any]]:
        run = Pass(training=True, keys=keys, statistics=values)
        value, grads, _ = step.gradient(layout.views(np, at), x, target, None, run)
        return float(value), grads

    analytic = layout.flatten(loss_and_gradient(flat)[1])
    used = np.concatenate([np.arange(s.start, s.stop) for s in layout.slots.values()])
    chosen = np.random.default_rng(0).permutation(used)[:points]

    def shifted(i: int, by: float) -> float:
        moved = flat.copy()
        moved[chosen[i]] += by
        return loss_and_gradient(moved)[0]

    return _compare("network", analytic[chosen], shifted, flat[chosen], h, tolerance)


def _expect_shape(name: str, found: Any, shape: tuple[int, ...]) -> None:
    if getattr(found, "shape", None) != shape:
        raise GradientError(
            f"{name}: found {getattr(found, 'shape', type(found).__name__)}; expected shape {shape}"
        )
