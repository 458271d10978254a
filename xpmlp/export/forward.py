"""The way from inputs to predictions, for whatever array namespace writes or runs it.

An export is the model's own forward pass, called with arrays that record what is done to them: of
ONNX (``xpmlp_backends.onnx``), or of ``xpmlp.export.trace``. So no formula is written twice.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from xpmlp.arrays.robust import standardized
from xpmlp.errors import InvalidValueError, unknown_name
from xpmlp.model import members
from xpmlp.model.base import Model
from xpmlp.model.calibration import Calibration
from xpmlp.model.outputs import LOGITS, POINTS, PROBABILITIES, Reading, probable
from xpmlp.model.scaling import Scaling
from xpmlp.model.task import Task
from xpmlp.nn.activations import Activation
from xpmlp.nn.functions import Array, over_rows
from xpmlp.nn.layers import Backward, Grads, Layer, Params, Pass, map_layers
from xpmlp.nn.network import Network
from xpmlp.nn.normalization import EPSILON
from xpmlp.nn.ops import scaled
from xpmlp.nn.tabular import BOUND

OUTPUTS = ("predictions", "logits")
"""What an exported function can return."""


@dataclass(frozen=True)
class Host:
    """What readings and scalings need of a backend.

    Attributes
    ----------
    xp : module
        Array API namespace.
    ops : Ops
    asarray : callable (ndarray, dtype) -> Array
        Makes a constant.
    capabilities : frozenset of str
        Without "float64", in which predictions would be brought to the targets' units.
    exact : str
        The dtype in which a robust scaling is computed.
    """

    xp: Any
    ops: Any
    asarray: Callable[..., Array]
    capabilities: frozenset[str] = frozenset()
    exact: str = "float64"


class _Task(Task):
    """A task whose link is computed by the table of operations, like the layers' activations."""

    @property
    def link(self) -> Activation:
        return by_table(super().link)


def by_table(f: Activation) -> Activation:
    """Return an activation that is whatever the table of operations makes of it."""
    return Activation(f.name, lambda ops, z: ops.activation(ops, z, f))


@dataclass(frozen=True)
class Fixed:
    """What predictions depend on besides the weights, as it is now; for readings, on a backend."""

    dtype: str
    network: Network
    task: Task
    scaling: Scaling
    calibration: Calibration | None
    backend: Any = None

    @classmethod
    def of(cls, model: Model) -> "Fixed":
        """Return a model's; InvalidValueError if the model has not been trained."""
        task = model.task
        output = None if task.output is None else by_table(task.output)
        seen = _Task(task.kind, task.loss, output, task.columns)
        return cls(model.dtype, model.network, seen, model.scaling, model.calibration)


def network(
    model: Model, change: Callable[[Layer], Layer] | None = None
) -> tuple[Layer, dict[str, np.ndarray]]:
    """Return the network with its output activation, and its parameters and statistics.

    Batch normalization is part of the dense layer before it: outside training it only multiplies
    and adds. ``change`` may replace other leaves.
    """
    values = model.state_dict()
    folded = _folded(model, values)

    def changed(leaf: Layer) -> Layer:
        if leaf.name in folded:
            return leaf._replace(forward=partial(_rest, folded[leaf.name]))
        return leaf if change is None else change(leaf)

    return map_layers(model.full_network(), changed), values


def _folded(model: Model, values: dict[str, np.ndarray]) -> dict[str, str | None]:
    """Put batch normalizations into dense layers; return the name of what is left to add to each.

    (x W + b − μ) s + β with s = g/√(σ² + ε) is x (W s) + (b − μ) s + β. Networks that share weights
    do not share μ and σ: theirs stay as they are.
    """
    a = model.network.architecture
    if a.normalization != "batch" or not (a.members is None or a.members.independent):
        return {}
    left: dict[str, str | None] = {}
    for i in range(1, len(a.pairs)):
        W, b, beta = f"dense{i}.W", f"dense{i}.b", f"norm{i}.b"
        g, mean, var = (values[f"norm{i}.{n}"].astype(np.float64) for n in ("g", "mean", "var"))
        s = g / np.sqrt(var + EPSILON)
        shift = values[beta] + (values.get(b, 0.0) - mean) * s
        values[W] = (values[W] * s[..., None, :]).astype(model.dtype)
        values[b if a.bias else beta] = shift.astype(model.dtype)
        left[f"norm{i}"] = None if a.bias else beta
    return left


def _rest(name: str | None, ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
    return x if name is None else x + over_rows(p[name]), no_backward


def no_backward(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
    """Stand in for a backward pass, which exported networks do not have."""
    raise NotImplementedError("an exported network has no backward pass")


def logits(model: Fixed, host: Host, layer: Layer, values: Mapping[str, Array], x: Array) -> Array:
    """Return what the network makes of raw inputs: shape (n, outputs), as readings take it.

    Parameters
    ----------
    layer : Layer
        The model's network.
    values : mapping of str to Array
        Parameters and running statistics.
    x : Array, shape (n, inputs)
        In the model's dtype, or uint8 pixels.
    """
    x = _scaled(model, host, x)
    z = layer.forward(host.ops, values, x, Pass(statistics=values))[0]
    if model.network.members is None:
        return z
    seen: Any = replace(model, backend=host)
    return members.outputs(seen, z, each=False)


def _scaled(model: Fixed, host: Host, x: Array) -> Array:
    """Return the inputs of the first layer."""
    xp, scaling, dtype = host.xp, model.scaling, getattr(host.xp, model.dtype)
    if scaling.mode == "robust" and scaling.shift is not None:
        # In float64, as predict does: what is left of two large numbers keeps its digits.
        clip = np.where(np.isin(np.arange(len(scaling.shift)), scaling.codes), 0.0, 1 / BOUND**2)
        by = (host.asarray(a, host.exact) for a in (scaling.shift, scaling.scale, clip))
        return xp.astype(standardized(xp, xp.astype(x, getattr(xp, host.exact)), *by), dtype)
    shift, scale = (
        None if a is None else host.asarray(a, model.dtype) for a in (scaling.shift, scaling.scale)
    )
    return scaled(xp, x, shift, scale, dtype)


def read(model: Fixed, host: Host, out: Array, reading: Reading) -> Array:
    """Return what a reading makes of outputs, in the targets' units."""
    seen: Any = replace(model, backend=host)
    return reading.in_units(seen, reading.of(seen, out))


def reading_of(model: Model, outputs: str = "predictions") -> Reading:
    """Return the reading of an export: probabilities, or values of shape (n, columns); or logits.

    Raises
    ------
    InvalidValueError
        For other names, and for logits of a model whose outputs are no probabilities.
    """
    if outputs not in OUTPUTS:
        raise unknown_name("outputs", outputs, OUTPUTS)
    if outputs == "predictions":
        return POINTS if model.task.kind == "values" else PROBABILITIES
    if probable(model.task) is None:
        raise InvalidValueError(
            "outputs: found 'logits' for a model whose outputs are no probabilities; expected "
            "'predictions'"
        )
    return LOGITS


def class_names(model: Model) -> list[str] | None:
    """Return the names in ``metadata["classes"]``, if there is one for each class."""
    task, names = model.task, model.metadata.get("classes")
    count = max(2, model.sizes[-1])
    if task.kind in ("values", "multilabel") or not isinstance(names, list | tuple):
        return None
    good = len(names) == count and all(isinstance(name, str) for name in names)
    return list(names) if good else None


def version() -> str:
    """Return xpmlp's version, for what is written in files."""
    return str(getattr(sys.modules.get("xpmlp"), "__version__", ""))


def inputs_dtype(model: Model) -> str:
    """Return the dtype of an exported model's inputs: its own, or uint8 of pixels."""
    return "uint8" if model.scaling.pixels else model.dtype
