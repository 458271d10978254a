"""Compare a derivative with the finite difference of its function.

f'(x) ≈ (f(x + h) − f(x − h))/2h, whose error is of order h² plus rounding/h; with h = 1e-5 in
float64 that is about 1e-10 for smooth functions of moderate size. Near a kink the difference
mixes both sides and is useless, so points where two step widths disagree are left out.

Everything here runs on the host, with NumPy's ``ops``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xpmlp.errors import GradientError
from xpmlp.nn.activations import ACTIVATIONS, Activation
from xpmlp.nn.functions import Array
from xpmlp.nn.losses import LOSSES, Loss
from xpmlp.nn.random import Purpose, generator

STEP = 1e-5
"""h: errors of order h² and of rounding/h are about equal there."""

TOLERANCE = 1e-6
"""Largest error allowed, relative to the largest finite difference or to 1."""


@dataclass(frozen=True)
class GradientCheck:
    """The outcome of ``check_gradient``.

    Attributes
    ----------
    error : float
        Largest |derivative − finite difference|, divided by the largest finite difference,
        or by 1 if that is less.
    points : int
        Number of derivatives compared.
    kinks : int
        Number of points left out because the function has a kink there.
    """

    error: float
    points: int
    kinks: int


def differences(f: Callable[[int, float], float], n: int, h: float = STEP) -> list[float]:
    """Return (f(i, h) − f(i, −h))/2h for i below n; f(i, h) shifts element i by h."""
    return [(f(i, h) - f(i, -h)) / (2 * h) for i in range(n)]


def compare(
    xp: Any,
    name: str,
    analytic: Array,
    f: Callable[[int, float], float],
    x: Array,
    h: float = STEP,
    tolerance: float = TOLERANCE,
) -> GradientCheck:
    """Compare derivatives with the central differences of f.

    Parameters
    ----------
    xp : module
        NumPy's array API namespace.
    name : str
        What is checked, for messages.
    analytic, x : ndarray of the same shape
        The derivatives, and the points at which they were computed.
    f : callable (index, shift) -> float
        The function with element ``index`` of x shifted by ``shift``.

    Raises
    ------
    GradientError
        If the error exceeds the tolerance.
    """
    flat = xp.reshape(analytic, (-1,))
    wide = xp.asarray(differences(f, flat.size, h), dtype=xp.float64)
    narrow = xp.asarray(differences(f, flat.size, h / 2), dtype=xp.float64)
    scale = max(1.0, float(xp.max(xp.abs(wide), initial=0.0)))
    smooth = xp.abs(wide - narrow) <= 0.1 * tolerance * scale
    error = xp.where(smooth, xp.abs(flat - wide) / scale, 0.0)
    broken = ~xp.isfinite(flat)
    worst = float(xp.max(error, initial=0.0))
    if xp.any(broken) or worst > tolerance:
        i = int(xp.argmax(xp.where(broken, xp.inf, error)))
        raise GradientError(
            f"{name}: the derivative at {xp.reshape(x, (-1,))[i]:.6g} (element {i}) is "
            f"{flat[i]:.8g}, the finite difference {wide[i]:.8g}; expected them within "
            f"{tolerance:g}. Check the formula of the derivative"
        )
    return GradientCheck(worst, int(xp.sum(smooth)), int(xp.sum(~smooth)))


def check_activation(
    ops: Any, act: Activation, z: Array = None, h: float = STEP, tolerance: float = TOLERANCE
) -> GradientCheck:
    """Check an activation's derivative at z, shape (n, units), or at 60 points around 0.

    Raises
    ------
    GradientError
        If it is wrong, or has another shape than z.
    """
    xp = ops.xp
    if z is None:
        z = xp.reshape(xp.linspace(-4.03, 4.01, 60), (12, 5))
    # A different weight for each output, or rows that mix their inputs would pass unnoticed.
    weight = xp.reshape(xp.linspace(0.5, 1.5, z.size), z.shape)
    value = act.function(ops, z)
    _expect_shape(f"activation {act.name!r}", value, z.shape)
    if act.vjp is None and act.derivative is not None:
        slope = act.derivative(ops, z, value)
        _expect_shape(f"derivative of activation {act.name!r}", slope, z.shape)
    analytic = act.backward(ops, z, value, weight)
    _expect_shape(f"derivative of activation {act.name!r}", analytic, z.shape)

    def shifted(i: int, by: float) -> float:
        return float(xp.sum(weight * act.function(ops, _shifted(z, i, by))))

    return compare(xp, f"activation {act.name!r}", analytic, shifted, z, h, tolerance)


def check_loss(
    ops: Any,
    loss: Loss,
    z: Array = None,
    y: Array = None,
    h: float = STEP,
    tolerance: float = TOLERANCE,
) -> GradientCheck:
    """Check a loss's gradient at outputs z, shape (n, outputs), or at 24 points around 0.

    Raises
    ------
    GradientError
        If it is wrong, or a result has another shape than expected.
    """
    xp = ops.xp
    if z is None:
        z = xp.reshape(xp.linspace(-2.03, 3.01, 24), (8, 3))
    if y is None:
        y = _targets(xp, loss.targets, *z.shape)
    name = f"loss {getattr(getattr(loss, 'function', None), '__name__', loss.name)!r}"
    rows, analytic = loss(ops, z, y)
    _expect_shape(f"{name}, first result", rows, (len(z),))
    _expect_shape(f"{name}, second result (the gradient)", analytic, z.shape)

    def shifted(i: int, by: float) -> float:
        return float(xp.sum(loss(ops, _shifted(z, i, by), y)[0]))

    return compare(xp, name, analytic, shifted, z, h, tolerance)


def is_custom(function: Activation | Loss) -> bool:
    """Whether it is not one of those that a name can mean."""
    if isinstance(function, Activation):
        return ACTIVATIONS.get(function.name) is not function
    return type(function) not in LOSSES.values()


_checked: list[Any] = []


def check_custom(function: Activation | Loss, ops: Callable[[], Any]) -> None:
    """Check a custom function's derivative, the first time the function is seen.

    Parameters
    ----------
    function : Activation or Loss
        Built-in ones are not checked here: tests do that.
    ops : callable () -> Ops
        Returns NumPy's operations.

    Raises
    ------
    GradientError
        If its derivative is wrong.
    """
    if (
        not is_custom(function) or function in _checked
    ):  # "in" finds equal ones too: copies, unpickled ones
        return
    if isinstance(function, Activation):
        check_activation(ops(), function)
    else:
        check_loss(ops(), function)
    _checked.append(function)


def _targets(xp: Any, kind: str, n: int, outputs: int) -> Array:
    """Return targets of a kind for checking a loss."""
    rng = generator(0, Purpose.POINTS)
    if kind == "labels":
        return xp.arange(n) % outputs
    if kind == "distribution":
        return xp.eye(outputs)[xp.arange(n) % outputs]
    if kind == "values":
        return rng.standard_normal((n, outputs))
    uniform = rng.uniform(size=(n, outputs))
    return xp.round(uniform) if kind == "binary" else xp.floor(5 * uniform)


def _shifted(x: Array, i: int, by: float) -> Array:
    """Return a copy with one element, by its flat index, shifted."""
    shifted = x.copy()
    shifted.flat[i] += by
    return shifted


def _expect_shape(name: str, found: Any, shape: tuple[int, ...]) -> None:
    if getattr(found, "shape", None) != shape:
        raise GradientError(
            f"{name}: found {getattr(found, 'shape', type(found).__name__)}; expected shape {shape}"
        )
