"""What custom functions return: shapes, dtypes and names, checked before anything is trained.

Everything here runs on the host with NumPy's ``ops``, whatever the model's backend. So a function
that returns float64 in a float32 model is refused everywhere, not only where a library minds.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from xpmlp.errors import GradientError, InvalidTypeError, InvalidValueError, short
from xpmlp.nn.functions import Array
from xpmlp.nn.layers import Layer, Pass
from xpmlp.nn.optimizers import Optimizer

_CONSTANTS = (
    "A NumPy number or array in a formula is float64: write float(np.sqrt(2.0)) instead of "
    "np.sqrt(2.0), and xp.asarray(a, dtype=z.dtype) for an array a"
)
_CASTS = "A formula should keep the dtype of its inputs, z.dtype, and not name one"


def expect_array(
    name: str,
    found: Any,
    shape: tuple[int, ...],
    dtype: Any,
    error: type[Exception] = GradientError,
) -> None:
    """Refuse a result that is not an array of this shape and dtype.

    Parameters
    ----------
    name : str
        What it is, for the message.
    dtype : dtype
        That of the inputs.

    Raises
    ------
    GradientError
        Or another ``error``.
    """
    if getattr(found, "shape", None) != shape:
        what = f"shape {found.shape}" if hasattr(found, "shape") else f"a {type(found).__name__}"
        raise error(f"{name}: found {what}; expected an array of shape {shape}")
    if found.dtype != dtype:
        remedy = _CONSTANTS if str(found.dtype) == "float64" else _CASTS
        raise error(f"{name}: found {found.dtype}; the inputs are {dtype}. {remedy}")


def expect_pair(
    name: str, found: Any, expected: str, error: type[Exception] = GradientError
) -> tuple[Any, Any]:
    """Return a pair, or refuse what is not one; ``expected`` describes it."""
    if not isinstance(found, tuple | list) or len(found) != 2:
        some = f" of {len(found)}" if isinstance(found, tuple | list) else ""
        raise error(f"{name}: returned a {type(found).__name__}{some}; expected {expected}")
    return found[0], found[1]


def _expect_names(name: str, what: str, found: Any, expected: Iterable[str]) -> None:
    expected = tuple(expected)
    if not isinstance(found, Mapping):
        raise GradientError(f"{name}: found a {type(found).__name__}; expected a dict of {what}s")
    for missing in expected:
        if missing not in found:
            raise GradientError(
                f"{name}: there is no {what} of {missing}, only of "
                f"{', '.join(map(str, found)) or 'nothing'}; expected {', '.join(expected)}"
            )
    if unknown := [n for n in found if n not in expected]:
        raise GradientError(
            f"{name}: found a {what} of {unknown[0]}, which the layer's shapes do not have; "
            f"expected {', '.join(expected) or 'none'}"
        )


def made_layer(make: Callable[[str, int], Any], name: str, units: int) -> Layer:
    """Return ``make(name, units)``, if it is a layer whose arrays can be told from other layers'.

    Raises
    ------
    InvalidTypeError, InvalidValueError
        If it is not.
    """
    layer = make(name, units)
    called = f"normalization: {getattr(make, '__name__', make)}({name!r}, {units})"
    if not isinstance(layer, Layer):
        raise InvalidTypeError(
            f"{called} returned {short(repr(layer))}; expected a xpmlp.nn.layers.Layer"
        )
    for own in (*layer.shapes, *layer.statistics):
        if not own.startswith(f"{name}.") or own.endswith(".W"):
            raise InvalidValueError(
                f"{called} has an array named {own!r}; expected {name + '.gain'!r}, say: the "
                "layer's name comes first, or two layers would share it, and the names in .W are "
                "those of dense layers"
            )
    return layer


def check_layer(
    ops: Any, layer: Layer, units: int, values: Mapping[str, Array], keys: Array, dtype: Any
) -> None:
    """Run a custom layer once, in and outside training, and check all that it returns.

    Parameters
    ----------
    ops : Ops
        NumPy's.
    units : int
        Columns of its inputs and outputs.
    values : mapping of str to ndarray
        Its parameters and running statistics.
    keys : Array
        As in ``Pass``.

    Raises
    ------
    GradientError
        Names the layer, what was found and what was expected.
    """
    xp = ops.xp
    n = 6 if units == 5 else 5  # or a shape (units,) could not be told from (n,)
    x = xp.astype(xp.reshape(xp.linspace(-2.0, 2.5, n * units), (n, units)), dtype)
    values = {name: xp.astype(value, dtype) for name, value in values.items()}
    for training in (True, False):
        name = f"layer {layer.name!r}"
        run = Pass(training=training, keys=keys, statistics=values)
        expected = "a pair (y, backward)"
        y, backward = expect_pair(f"{name}, forward", layer.forward(ops, values, x, run), expected)
        expect_array(f"{name}, output", y, x.shape, dtype)
        if not callable(backward):
            raise GradientError(
                f"{name}, forward: the second result is a {type(backward).__name__}; expected "
                "a function backward(dy, need_dx=True) -> (dx, grads)"
            )
        for need_dx in (True, False):
            _check_backward(f"{name}, backward", backward(y, need_dx), layer, x, need_dx)
        if run.new_statistics:
            what = f"{name}, run.new_statistics"
            _expect_names(what, "statistic", run.new_statistics, layer.statistics)
            for own, shape in layer.statistics.items():
                expect_array(f"{what}[{own!r}]", run.new_statistics[own], shape, dtype)


def _check_backward(name: str, found: Any, layer: Layer, x: Array, need_dx: bool) -> None:
    expected = "a pair (dx, grads), grads a dict of the parameters' gradients by name"
    dx, grads = expect_pair(name, found, expected)
    if need_dx or dx is not None:
        expect_array(f"{name}, dx", dx, x.shape, x.dtype)
    _expect_names(f"{name}, grads", "gradient", grads, layer.shapes)
    for own, shape in layer.shapes.items():
        expect_array(f"{name}, gradient of {own}", grads[own], shape, x.dtype)


def check_optimizer(ops: Any, optimizer: Optimizer, size: int, dtype: Any) -> None:
    """Take one step of a custom optimizer, and check what it returns.

    Parameters
    ----------
    ops : Ops
        NumPy's.
    size : int
        Of the model's flat parameters.

    Raises
    ------
    InvalidValueError
        Names the method, what was found and what was expected.
    """
    xp, name = ops.xp, type(optimizer).__name__
    p, slots = xp.ones(size, dtype=dtype), optimizer.slots
    scalars = optimizer.coefficients(1, 1e-3)
    if not isinstance(scalars, tuple | list):
        raise InvalidValueError(
            f"{name}.coefficients: returned a {type(scalars).__name__}; expected a tuple of numbers"
        )
    g = optimizer.clip(ops, xp.ones(size, dtype=dtype))
    expect_array(f"{name}.clip", g, (size,), dtype, InvalidValueError)
    moments = tuple(xp.zeros(size, dtype=dtype) for _ in range(slots))
    c = xp.asarray(scalars, dtype=dtype)
    expected = "a pair: the new parameters, and a tuple of the optimizer state's arrays"
    found = optimizer.update(ops, p, g, moments, c)
    new, state = expect_pair(f"{name}.update", found, expected, InvalidValueError)
    expect_array(f"{name}.update, parameters", new, (size,), dtype, InvalidValueError)
    if not isinstance(state, tuple) or len(state) != slots:
        some = f"{len(state)} arrays" if isinstance(state, tuple) else f"a {type(state).__name__}"
        raise InvalidValueError(
            f"{name}.update: found {some} of optimizer state; expected a tuple of {slots}, as the "
            f"class says: slots = {slots}"
        )
    for i, array in enumerate(state):
        what = f"{name}.update, array {i} of the optimizer state"
        expect_array(what, array, (size,), dtype, InvalidValueError)
