"""Compare a derivative with the finite difference of its function.

f'(x) ≈ (f(x + h) − f(x − h))/2h, whose error is of order h² plus rounding/h; with h = 1e-5 in
float64 that is about 1e-10 for smooth functions of moderate size. Near a kink the difference
mixes both sides and is useless, so points where two step widths disagree are left out.

Everything here runs on the host, with NumPy's ``ops``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from xpmlp.errors import GradientError
from xpmlp.nn.activations import ACTIVATIONS, Activation
from xpmlp.nn.functions import Array
from xpmlp.nn.losses import DISTRIBUTIONS, LOSSES, Loss
from xpmlp.nn.random import Purpose, generator
from xpmlp.nn.returned import expect_array, expect_pair

STEP = 1e-5
"""h: errors of order h² and of rounding/h are about equal there."""

TOLERANCE = 1e-6
"""Largest error allowed, relative to the largest finite difference or to 1."""

FAR_TOLERANCE = 1e-2
"""The same far from usual numbers, where formulas like ln(p + 1e-12) are only nearly right."""

FAR = (1.0, 10.0, 100.0, 1000.0)
"""Sizes of outputs, and distances from targets, at which a custom loss is tried as well."""

STEEP = (10.0, 100.0)
"""Sizes of inputs at which a custom activation is tried as well."""

ELEMENTS = 12
"""Derivatives that are compared at each of them."""


@dataclass(frozen=True)
class GradientCheck:
    """The outcome of ``check_gradient``.

    Attributes
    ----------
    error : float
        Largest distance of derivative and finite difference, divided by the largest finite
        difference, or by 1 if that is less.
    points : int
        Number of derivatives compared.
    kinks : int
        Number of points left out because the function has a kink there.

    Examples
    --------
    >>> check = xpmlp.check_gradient("relu", X=[[-1.0, 1.0, 2.0]])
    >>> check.points, check.kinks, check.error < 1e-6
    (3, 0, True)
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
    place: Callable[[int], str] = "element {}".format,
    noise: Array = 0.0,
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
    place : callable (index) -> str
        What to call an element in messages.
    noise : ndarray of the same shape, or float
        What rounding may change in each difference, apart from the tolerance.

    Raises
    ------
    GradientError
        If the error exceeds the tolerance.
    """
    flat = xp.reshape(analytic, (-1,))
    wide = xp.asarray(differences(f, flat.size, h), dtype=xp.float64)
    narrow = xp.asarray(differences(f, flat.size, h / 2), dtype=xp.float64)
    known = xp.where(xp.isfinite(wide), xp.abs(wide), 0.0)
    scale = max(1.0, float(xp.max(known, initial=0.0)))
    smooth = xp.abs(wide - narrow) <= 0.1 * tolerance * scale + noise
    # Far out a function may be cut off, to keep its numbers small, where its derivative is not.
    cut = (tolerance >= FAR_TOLERANCE) & (wide == 0)
    error = xp.where(smooth & ~cut, xp.abs(flat - wide), 0.0)
    broken = ~xp.isfinite(flat)
    wrong = broken | (error > tolerance * scale + noise)
    if xp.any(wrong):
        i = int(xp.argmax(xp.where(broken, xp.inf, xp.where(wrong, error, -1.0))))
        raise GradientError(
            f"{name}: the derivative at {xp.reshape(x, (-1,))[i]:.6g} ({place(i)}) is "
            f"{flat[i]:.8g}, the finite difference {wide[i]:.8g}; expected them within "
            f"{tolerance:g}. Check the formula of the derivative"
        )
    worst = float(xp.max(error, initial=0.0)) / scale
    return GradientCheck(worst, int(xp.sum(smooth)), int(xp.sum(~smooth)))


def check_activation_at(ops: Any, act: Activation, dtype: Any) -> None:
    """Check an activation's derivative around 0 and far from it, and its results in a dtype.

    Raises
    ------
    GradientError
        As ``check_activation``.
    """
    z = 2.0 * _uneven(ops.xp, (4, 5))
    activation_results(ops, act, ops.xp.astype(z, dtype), ops.xp.astype(z, dtype))
    check_activation(ops, act)
    for size in STEEP:
        if ops.xp.all(ops.xp.isfinite(act.function(ops, size * z))):  # it does not overflow there
            check_activation(ops, act, size * z, tolerance=FAR_TOLERANCE)


def activation_results(ops: Any, act: Activation, z: Array, weight: Array) -> tuple[Array, Array]:
    """Return an activation at z, and the gradient dz of Σ weight · activation.

    Raises
    ------
    GradientError
        If a result has another shape or dtype than z, or there is no derivative.
    """
    name = f"activation {act.name!r}"
    value = act.function(ops, z)
    expect_array(f"{name}, function", value, z.shape, z.dtype)
    if act.vjp is None and act.derivative is None:
        raise GradientError(f"{name}: found neither a derivative nor a vjp; expected one of them")
    if act.vjp is None and act.derivative is not None:
        slope = act.derivative(ops, z, value)
        expect_array(f"{name}, derivative", slope, z.shape, z.dtype)
    analytic = act.backward(ops, z, value, weight)
    expect_array(f"{name}, vjp", analytic, z.shape, z.dtype)
    return value, analytic


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
    value, analytic = activation_results(ops, act, z, weight)

    def shifted(i: int, by: float) -> float:
        return float(xp.sum(weight * (act.function(ops, _shifted(z, i, by)) - value)))

    return compare(xp, f"activation {act.name!r}", analytic, shifted, z, h, tolerance)


def loss_results(ops: Any, loss: Loss, z: Array, y: Array) -> tuple[Array, Array]:
    """Return each row's loss and the gradient.

    Raises
    ------
    GradientError
        If they are not a pair of arrays of the right shapes, in z's dtype.
    """
    name = _name(loss)
    expected = f"a pair: each row's loss, shape ({len(z)},), and its gradient, shape {z.shape}"
    rows, dz = expect_pair(name, loss(ops, z, y), expected)
    expect_array(f"{name}, first result (each row's loss)", rows, (len(z),), z.dtype)
    expect_array(f"{name}, second result (the gradient)", dz, z.shape, z.dtype)
    return rows, dz


def check_loss(
    ops: Any,
    loss: Loss,
    z: Array = None,
    y: Array = None,
    h: float = STEP,
    tolerance: float = TOLERANCE,
) -> GradientCheck:
    """Check a loss's gradient at outputs z, shape (n, outputs), or at 8 around 0.

    Raises
    ------
    GradientError
        If it is wrong, or a result has another shape or dtype than expected, or is NaN.
    """
    xp = ops.xp
    if z is None:
        outputs = 3 * loss.outputs_per_target
        z = xp.reshape(xp.linspace(-2.03, 3.01, 8 * outputs), (8, outputs))
    if y is None:
        y = _targets(xp, loss.targets, len(z), z.shape[1] // loss.outputs_per_target)
    if is_custom(loss):  # in float32 as well, the default dtype of models
        narrow = [xp.astype(a, xp.float32) if a.dtype == xp.float64 else a for a in (z, y)]
        loss_results(ops, loss, *narrow)
    _refuse_nan(ops, loss, z, y)
    return _check_elements(ops, loss, z, y, list(range(z.size)), h, tolerance)


def check_loss_at(ops: Any, loss: Loss, z: Array, y: Array, far: bool = True) -> None:
    """Check a loss's gradient at a network's outputs and targets, and far from them.

    Parameters
    ----------
    far : bool
        Whether the outputs can be any numbers.

    Raises
    ------
    GradientError
        As ``check_loss``.
    """
    n, outputs = z.shape
    _refuse_nan(ops, loss, z, y)
    spaced = ops.xp.linspace(0, z.size - 1, ELEMENTS)
    chosen = {i * outputs + i % outputs for i in range(n)} | {int(i) for i in spaced}
    # Not at round numbers, nor where an output is its target: losses have their kinks there.
    z = z + 1e-3 * generator(0, Purpose.POINTS).standard_normal(z.shape)
    _check_elements(ops, loss, z, y, sorted(chosen))
    for some in _far(ops.xp, z, y) if far else ():
        _check_elements(ops, loss, some, y, sorted(chosen), tolerance=FAR_TOLERANCE)


def _far(xp: Any, z: Array, y: Array) -> Iterator[Array]:
    """Return outputs far from 0 and from the targets: all of a row, and one of each row."""
    n, outputs = z.shape
    row, column = xp.arange(n)[:, None], xp.arange(outputs)[None, :]
    near = xp.zeros_like(z)
    if y.ndim == 2:
        near[:, : y.shape[1]] = y
    uneven = _uneven(xp, z.shape)
    for size in FAR:
        yield size * uneven
        yield near + size * uneven
        for by in (-size, size):
            yield xp.where(column == row % outputs, near + by * xp.abs(uneven), z)


def _uneven(xp: Any, shape: tuple[int, ...]) -> Array:
    """Return numbers around 1 and −1 in turn."""
    row, column = xp.arange(shape[0])[:, None], xp.arange(shape[1])[None, :]
    rng = generator(0, Purpose.POINTS, 1)
    return (1.0 - 2.0 * ((row + column) % 2)) * rng.uniform(0.9, 1.1, shape)


def _refuse_nan(ops: Any, loss: Loss, z: Array, y: Array) -> None:
    wrong = ops.xp.isnan(loss_results(ops, loss, z, y)[0])
    if ops.xp.any(wrong):
        i = int(ops.xp.argmax(wrong))
        raise GradientError(
            f"{_name(loss)}: row {i} of the losses is NaN, for outputs {z[i]} and target {y[i]}; "
            "expected a number"
        )


def _check_elements(
    ops: Any,
    loss: Loss,
    z: Array,
    y: Array,
    chosen: list[int],
    h: float = STEP,
    tolerance: float = TOLERANCE,
) -> GradientCheck:
    """Check some elements of a loss's gradient, without the rows whose loss is not finite."""
    xp, outputs = ops.xp, z.shape[1]
    rows, analytic = loss_results(ops, loss, z, y)
    finite = xp.isfinite(rows)
    some = xp.asarray([i for i in chosen if finite[i // outputs]], dtype=xp.int64)

    def shifted(i: int, by: float) -> float:
        moved = loss(ops, _shifted(z, int(some[i]), by), y)[0]
        return float(xp.sum(xp.where(finite, moved - rows, 0.0)))  # 0 in the rows that stay

    def place(i: int) -> str:
        row, column = divmod(int(some[i]), outputs)
        return f"dz[{row}, {column}], for outputs {z[row]} and target {y[row]}"

    dz, at = xp.reshape(analytic, (-1,))[some], xp.reshape(z, (-1,))[some]
    size = xp.abs(rows)[some // outputs] + xp.abs(at) * (1.0 + xp.abs(dz))
    noise = xp.where(xp.isfinite(size), 64.0 * float(xp.finfo(z.dtype).eps) / h * size, 0.0)
    return compare(xp, _name(loss), dz, shifted, at, h, tolerance, place, noise)


def is_custom(function: Activation | Loss) -> bool:
    """Whether it is not one of those that a name can mean."""
    if isinstance(function, Activation):
        return ACTIVATIONS.get(function.name) is not function
    return type(function) not in (*LOSSES.values(), *DISTRIBUTIONS.values())


def _name(loss: Loss) -> str:
    return f"loss {getattr(getattr(loss, 'function', None), '__name__', loss.name)!r}"


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
