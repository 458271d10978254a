"""ONNX: arrays of ``ndonnx``, which record what is done to them, with ONNX's own operations.

This is no backend that computes: ``xpmlp.export.onnx`` calls a model's forward pass with it. The
table of operations has ONNX's operations in place of the plain formulas, so that files are small
and fast.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ndonnx as ndx
import numpy as np
import onnx as onnx_package
import spox.opset.ai.onnx.ml.v5 as ml
import spox.opset.ai.onnx.v21 as onnx

from xpmlp.nn.activations import LEAK, Activation
from xpmlp.nn.functions import Array, erf, over_rows
from xpmlp.nn.layers import Backward, Grads, Layer, Params, Pass
from xpmlp.nn.normalization import EPSILON
from xpmlp.nn.ops import Ops
from xpmlp_backends.base import StepNamespace

OPSET, ML_OPSET = 21, 5
"""Versions of ONNX's operators, and of those for classical machine learning."""

_EXACT: dict[str, Callable[[Any], Any]] = {
    "relu": onnx.relu,
    "sigmoid": onnx.sigmoid,
    "tanh": onnx.tanh,
    "exp": onnx.exp,
    "sign": onnx.sign,
    "softmax": lambda z: onnx.softmax(z, axis=-1),
}
"""Activations that ONNX has, and runtimes have in every dtype."""

_IN_FLOAT32 = _EXACT | {
    "softplus": onnx.softplus,
    "elu": onnx.elu,
    "leaky_relu": lambda z: onnx.leaky_relu(z, alpha=LEAK),
    "selu": onnx.selu,
    "gelu": lambda z: onnx.gelu(z, approximate="none"),
    "gelu_tanh": lambda z: onnx.gelu(z, approximate="tanh"),
    "swish": lambda z: onnx.mul(z, onnx.sigmoid(z)),
    "mish": onnx.mish,
}
"""With those whose constants are float32 in ONNX, or that runtimes have in float32 alone."""


def recorded(function: Callable[..., Any], *arrays: Array, **attributes: Any) -> Array:
    """Apply an operation of ONNX."""
    return ndx.asarray(function(*(a.unwrap_spox() for a in arrays), **attributes))


def argument(shape: tuple[str | int, ...], dtype: str) -> Array:
    """Return an input of the graph; ``dtype`` may be "utf8"."""
    return ndx.argument(shape=shape, dtype=getattr(ndx, dtype))


def constant(host: Any, dtype: str | None = None) -> Array:
    """Return a constant."""
    return ndx.asarray(np.asarray(host, dtype=dtype))


def _reduced(function: Callable[..., Any]) -> Callable[..., Array]:
    """Return a reduction of the array API by the operation of ONNX: ndonnx makes many of it."""

    def reduce(x: Array, /, *, axis: int, keepdims: bool = False) -> Array:
        axes = onnx.const(np.array([axis], np.int64))
        return ndx.asarray(function(x.unwrap_spox(), axes, keepdims=keepdims))

    return reduce


def _argmax(x: Array, /, *, axis: int, keepdims: bool = False) -> Array:
    return recorded(onnx.arg_max, x, axis=axis, keepdims=keepdims)


def _variance(x: Array, /, *, axis: int) -> Array:
    mean = _reduced(onnx.reduce_mean)
    apart = x - mean(x, axis=axis, keepdims=True)
    return mean(apart * apart, axis=axis)


def _reshape(x: Array, /, shape: tuple[int | None, ...]) -> Array:
    return ndx.reshape(x, tuple(-1 if n is None else n for n in shape))


def _broadcast_to(x: Array, /, shape: tuple[int | None, ...]) -> Array:
    shape_of = onnx.const(np.array([1 if n is None else n for n in shape], np.int64))
    return ndx.asarray(onnx.expand(x.unwrap_spox(), shape_of))


def _take(x: Array, places: Array, /, *, axis: int) -> Array:
    return ndx.take(x, ndx.astype(places, ndx.int64), axis=axis)


NAMESPACE: Any = StepNamespace(
    ndx,
    take=_take,
    reshape=_reshape,
    broadcast_to=_broadcast_to,
    sum=_reduced(onnx.reduce_sum),
    mean=_reduced(onnx.reduce_mean),
    max=_reduced(onnx.reduce_max),
    var=_variance,
    argmax=_argmax,
)
"""ndonnx, with reductions that are one node each. The number of rows is None in shapes."""


def _dense(x: Array, W: Array, b: Array | None) -> Array:
    if x.ndim == W.ndim == 2 and b is not None:
        return recorded(onnx.gemm, x, W, b)
    z = recorded(onnx.matmul, x, W)
    return z if b is None else z + over_rows(b)


def _activation(ops: Any, z: Array, f: Activation) -> Array:
    own = (_IN_FLOAT32 if z.dtype == ndx.float32 else _EXACT).get(f.name)
    return f.function(ops, z) if own is None else recorded(own, z)


def _erf(x: Array) -> Array:
    return recorded(onnx.erf, x) if x.dtype == ndx.float32 else erf(NAMESPACE, x)


def operations() -> Ops:
    """Return the table of operations."""
    return replace(
        Ops.reference(NAMESPACE),
        dense=_dense,
        activation=_activation,
        erf=_erf,
        batch_product=lambda a, b: recorded(onnx.matmul, a, b),
    )


def normalization(layer: Layer) -> Layer:
    """Return a layer normalization as one node; others as they are."""
    gain, bias = f"{layer.name}.g", f"{layer.name}.b"
    if layer.statistics or {*layer.shapes} != {gain, bias} or not layer.name.startswith("norm"):
        return layer

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        if x.ndim != 2:  # runtimes want a gain of the units' shape
            return layer.forward(ops, p, x, run)
        arrays = (a.unwrap_spox() for a in (x, p[gain], p[bias]))
        found, *_ = onnx.layer_normalization(*arrays, axis=-1, epsilon=EPSILON)
        return ndx.asarray(found), _none

    return layer._replace(forward=forward)


def _none(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
    raise NotImplementedError("a graph of ONNX has no backward pass here")


def codes(texts: Array, places: dict[str, int], other: int) -> Array:
    """Return the number of each text; ``other`` for those that have none."""
    return ndx.asarray(
        ml.label_encoder(
            texts.unwrap_spox(),
            keys_strings=list(places),
            values_int64s=list(places.values()),
            default_int64=other,
        )
    )


def named(names: list[str], places: Array) -> Array:
    """Return the names at some places."""
    return recorded(onnx.gather, constant(np.array(names)), places)


def build(inputs: dict[str, Array], outputs: dict[str, Array], notes: dict[str, str]) -> bytes:
    """Return the graph as a checked file of ONNX.

    Constants become initializers; nodes that only give something another name go. ``notes`` become
    the metadata.
    """
    made = ndx.build(inputs, outputs)
    graph = made.graph
    renamed = {n.input[0]: n.output[0] for n in graph.node if n.op_type == "Identity"}
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and _tensor(node) is not None:
            value = _tensor(node)
            value.name = renamed.get(node.output[0], node.output[0])
            graph.initializer.append(value)
        elif node.op_type != "Identity":
            kept.append(node)
    for node in kept:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
        if node.op_type == "LayerNormalization":  # without mean and deviation, which take time
            del node.output[1:]
    del graph.node[:], made.metadata_props[:]
    graph.node.extend(kept)
    graph.name, made.producer_name, made.producer_version = "xpmlp", "xpmlp", notes.pop("version")
    onnx_package.helper.set_model_props(made, notes)
    onnx_package.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString())


def _tensor(node: Any) -> Any:
    """Return the value of a constant; None if it is no tensor."""
    return next((a.t for a in node.attribute if a.name == "value"), None)
