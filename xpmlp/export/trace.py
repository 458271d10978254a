"""Arrays that record what is done to them, for one row: what ``to_c`` and ``to_python`` write down.

The model's own forward pass is called with them. What depends on constants alone is computed at
once, with NumPy. Shapes are known, so slices, transposes and joined arrays are only places in
memory: one operation, ``gather``, moves numbers.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import erf
from typing import Any

import numpy as np

from xpmlp.errors import InvalidValueError
from xpmlp.nn.activations import _BUILTIN, Activation
from xpmlp.nn.functions import over_rows
from xpmlp.nn.ops import Ops

Shape = tuple[int, ...]

ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide,
    "negative": np.negative, "abs": np.abs, "sign": np.sign, "exp": np.exp, "log": np.log,
    "log1p": np.log1p, "expm1": np.expm1, "sqrt": np.sqrt, "tanh": np.tanh, "sin": np.sin,
    "cos": np.cos, "tan": np.tan, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh,
    "floor": np.floor, "pow": np.power, "maximum": np.maximum, "minimum": np.minimum,
    "where": np.where, "less": np.less, "less_equal": np.less_equal, "greater": np.greater,
    "greater_equal": np.greater_equal, "equal": np.equal, "not_equal": np.not_equal,
    "logical_and": np.logical_and, "logical_or": np.logical_or, "erf": np.vectorize(erf),
}  # fmt: skip
"""Operations on elements, by their names in the array API; and the error function."""

_CONDITIONS = ("less", "equal", "greater", "not", "logical")


def _operator(op: str, swapped: bool = False) -> Callable[[Any, Any], "Recorded"]:
    def apply(a: Any, b: Any) -> "Recorded":
        return elementwise(op, b, a) if swapped else elementwise(op, a, b)

    return apply


class Recorded:
    """An array of one row.

    Attributes
    ----------
    op : str
        One of ``ELEMENTWISE``; "call" of a function of one number; "dense", "sum", "max", "min",
        "gather", "take", "astype"; "input", "constant".
    args : tuple of Recorded
    shape : tuple of int
    dtype : str
    value : ndarray or None
        Of a constant.
    name : str
        What a constant is called.
    more : object
        Of "call" the function; of reductions the axis; of "gather" the places in the memory of all
        arguments, one after another.
    """

    __array_ufunc__ = None

    def __init__(
        self,
        op: str,
        args: Sequence["Recorded"] = (),
        shape: Shape = (),
        dtype: str = "float32",
        value: Any = None,
        name: str = "",
        more: Any = None,
    ) -> None:
        self.op, self.args, self.shape, self.dtype = op, tuple(args), tuple(shape), dtype
        self.value, self.name, self.more = value, name, more

    @property
    def ndim(self) -> int:
        """Axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Elements."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def T(self) -> "Recorded":  # noqa: N802
        """The transpose."""
        return moved([self], lambda places: places.T)

    def __getitem__(self, key: Any) -> "Recorded":
        return moved([self], lambda places: places[key])

    def __matmul__(self, other: "Recorded") -> "Recorded":
        return dense(self, other, None)

    def __neg__(self) -> "Recorded":
        return elementwise("negative", self)

    def __hash__(self) -> int:
        return id(self)

    __add__, __radd__ = _operator("add"), _operator("add", swapped=True)
    __sub__, __rsub__ = _operator("subtract"), _operator("subtract", swapped=True)
    __mul__, __rmul__ = _operator("multiply"), _operator("multiply", swapped=True)
    __truediv__, __rtruediv__ = _operator("divide"), _operator("divide", swapped=True)
    __pow__, __rpow__ = _operator("pow"), _operator("pow", swapped=True)
    __and__, __or__ = _operator("logical_and"), _operator("logical_or")
    __lt__, __le__ = _operator("less"), _operator("less_equal")
    __gt__, __ge__ = _operator("greater"), _operator("greater_equal")
    __eq__: Any = _operator("equal")
    __ne__: Any = _operator("not_equal")


def constant(host: Any, dtype: str | None = None, name: str = "") -> Recorded:
    """Return a constant."""
    value = np.asarray(host, dtype=dtype)
    return Recorded("constant", (), value.shape, value.dtype.name, value, name)


def elementwise(op: str, *given: Any) -> Recorded:
    """Apply an operation to elements; numbers take the dtype of the arrays."""
    dtype = next(a.dtype for a in given[::-1] if isinstance(a, Recorded))
    args = [a if isinstance(a, Recorded) else constant(a, dtype) for a in given]
    shape = np.broadcast_shapes(*(a.shape for a in args))
    if op.startswith(_CONDITIONS):
        dtype = "bool"
    if all(a.value is not None for a in args):
        with np.errstate(all="ignore"):
            return constant(ELEMENTWISE[op](*(a.value for a in args)), dtype)
    return Recorded(op, args, shape, dtype)


def moved(args: Sequence[Recorded], how: Callable[..., np.ndarray]) -> Recorded:
    """Return some elements of arrays, in an order that ``how`` shows on arrays of their places."""
    start, places = 0, list[np.ndarray]()
    for a in args:
        places.append(np.arange(start, start + a.size).reshape(a.shape))
        start += a.size
    found = how(*places)
    if all(a.value is not None for a in args):
        flat = np.concatenate([np.ravel(a.value) for a in args])
        return constant(flat[found], name=args[0].name if len(args) == 1 else "")
    return Recorded("gather", args, found.shape, args[0].dtype, more=found.ravel())


def dense(x: Recorded, W: Recorded, b: Recorded | None) -> Recorded:
    """x W + b of one row; or of several rows that each have a W."""
    if W.value is None or x.shape[-2] != 1:
        raise InvalidValueError(
            "export: found a product of two arrays that both depend on the inputs, in a custom "
            "layer; expected products with weights"
        )
    shape = (*np.broadcast_shapes(x.shape[:-2], W.shape[:-2]), 1, W.shape[-1])
    if x.value is not None:
        return constant(x.value @ W.value + (0 if b is None else over_rows(b).value))
    return Recorded("dense", (x, W) if b is None else (x, W, b), shape, x.dtype)


def _reduced(op: str) -> Callable[..., Recorded]:
    def reduce(x: Recorded, /, *, axis: int, keepdims: bool = False) -> Recorded:
        axis = axis % x.ndim
        if x.value is not None:
            return constant(getattr(np, op)(x.value, axis=axis, keepdims=keepdims))
        shape = tuple(1 if i == axis else n for i, n in enumerate(x.shape))
        made = Recorded(op, (x,), shape, x.dtype, more=axis)
        return made if keepdims else moved([made], lambda places: places.squeeze(axis))

    return reduce


def _mean(x: Recorded, /, *, axis: int, keepdims: bool = False) -> Recorded:
    return _reduced("sum")(x, axis=axis, keepdims=keepdims) * (1.0 / x.shape[axis])


def _var(x: Recorded, /, *, axis: int) -> Recorded:
    apart = x - _mean(x, axis=axis, keepdims=True)
    return _mean(apart * apart, axis=axis)


def _astype(x: Recorded, dtype: str, *, copy: bool = True) -> Recorded:
    if x.value is not None:
        return constant(x.value, dtype, x.name)
    return x if x.dtype == dtype else Recorded("astype", (x,), x.shape, dtype)


def _take(x: Recorded, places: Recorded, /, *, axis: int) -> Recorded:
    if x.value is None or axis != 0:
        raise InvalidValueError("export: found take(x, ...) in a custom layer, which has no export")
    if places.value is not None:
        return constant(x.value[places.value])
    return Recorded("take", (x, places), (*places.shape, *x.shape[1:]), x.dtype)


class _Namespace:
    """As much of the array API as forward passes use."""

    float32, float64, int32, int64, uint8, bool = (
        "float32", "float64", "int32", "int64", "uint8", "bool",
    )  # fmt: skip
    sum, max, min = (staticmethod(_reduced(op)) for op in ("sum", "max", "min"))
    mean, var = staticmethod(_mean), staticmethod(_var)
    astype, take = staticmethod(_astype), staticmethod(_take)

    @staticmethod
    def finfo(dtype: str) -> Any:
        return np.finfo(dtype)

    @staticmethod
    def concat(arrays: Sequence[Recorded], /, *, axis: int = 0) -> Recorded:
        return moved(arrays, lambda *places: np.concatenate(places, axis))

    @staticmethod
    def stack(arrays: Sequence[Recorded], /, *, axis: int = 0) -> Recorded:
        return moved(arrays, lambda *places: np.stack(places, axis))

    @staticmethod
    def reshape(x: Recorded, /, shape: Shape) -> Recorded:
        return moved([x], lambda places: places.reshape(shape))

    @staticmethod
    def permute_dims(x: Recorded, /, axes: Shape) -> Recorded:
        return moved([x], lambda places: places.transpose(axes))

    @staticmethod
    def matrix_transpose(x: Recorded, /) -> Recorded:
        return moved([x], lambda places: places.mT)

    @staticmethod
    def broadcast_to(x: Recorded, /, shape: Shape) -> Recorded:
        return moved([x], lambda places: np.broadcast_to(places, shape))

    @staticmethod
    def square(x: Recorded, /) -> Recorded:
        return x * x

    @staticmethod
    def zeros_like(x: Recorded, /) -> Recorded:
        return constant(np.zeros(x.shape, x.dtype))

    @staticmethod
    def ones_like(x: Recorded, /) -> Recorded:
        return constant(np.ones(x.shape, x.dtype))

    @staticmethod
    def zeros(shape: Shape, *, dtype: str, device: Any = None) -> Recorded:
        return constant(np.zeros(shape, dtype))

    @staticmethod
    def arange(count: int, *, dtype: str, device: Any = None) -> Recorded:
        return constant(np.arange(count, dtype=dtype))

    def __getattr__(self, name: str) -> Any:
        if name in ELEMENTWISE:
            return lambda *args: elementwise(name, *args)
        raise InvalidValueError(
            f"export: a custom function uses xp.{name}, which this export does not know; expected "
            f"one of {', '.join(ELEMENTWISE)}. mlp.to_onnx and mlp.to_jax know more"
        )


NAMESPACE: Any = _Namespace()


@dataclass(frozen=True)
class Function:
    """A function of one number, as an activation's formula makes it.

    Attributes
    ----------
    name : str
    z, result : Recorded
    """

    name: str
    z: Recorded
    result: Recorded


@dataclass
class Functions:
    """The functions that a network calls: its activations, in a dtype."""

    found: dict[tuple[Activation, str], Function] = field(default_factory=dict)

    def activation(self, ops: Any, z: Recorded, f: Activation) -> Recorded:
        """Apply an activation: as a call, if each number has its own result."""
        if f.vjp is not None:
            return f.function(ops, z)
        if (f, z.dtype) not in self.found:
            one = Recorded("input", (), (), z.dtype, name="z")
            function = Function(self._name(f), one, f.function(ops, one))
            self.found[f, z.dtype] = function
        function = self.found[f, z.dtype]
        if function.result is function.z:
            return z
        return Recorded("call", (z,), z.shape, z.dtype, more=function)

    def _name(self, f: Activation) -> str:
        """Return a name that no language reserves, and that no other function has."""
        if f in _BUILTIN:
            return f.name
        spelled = re.sub(r"\W+", "_", f.name, flags=re.ASCII).strip("_").lower()
        return f"custom{len(self.found) + 1}_{spelled}"


def operations(functions: Functions) -> Ops:
    """Return a table of operations that records."""
    return replace(
        Ops.reference(NAMESPACE),
        dense=dense,
        activation=functions.activation,
        erf=lambda x: elementwise("erf", x),
    )
