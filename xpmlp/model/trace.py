"""One forward and backward pass with every layer watched, to explain or diagnose a network."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xpmlp.model.backends import on_device
from xpmlp.model.base import Model
from xpmlp.model.examples import examples, pair
from xpmlp.nn.contract import Array
from xpmlp.nn.layers import Grads, Layer, Pass, map_layers, watch
from xpmlp.nn.ops import scaled
from xpmlp.nn.optimizers import Optimizer


@dataclass
class Record:
    """What one layer saw, on the host.

    Attributes
    ----------
    layer : Layer
    x, y : ndarray
        Its input and output, shapes (n, in) and (n, out).
    dy, dx : ndarray or None
        Gradients of the loss with respect to both; None before the backward pass, and where it
        did not need dx.
    grads : dict of str to ndarray
        Gradients of its parameters, without penalties.
    """

    layer: Layer
    x: np.ndarray
    y: np.ndarray
    dy: np.ndarray | None = None
    dx: np.ndarray | None = None
    grads: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Trace:
    """A recorded pass.

    Attributes
    ----------
    records : list of Record
        In the order of the forward pass, one for each leaf of a composition.
    x : ndarray, shape (n, inputs)
        The inputs after scaling.
    target : ndarray
        The targets in the form the loss takes.
    loss : float
        The batch's loss with the penalty.
    gradient : dict of str to ndarray
        Of every parameter, with penalties.
    """

    records: list[Record]
    x: np.ndarray
    target: np.ndarray
    loss: float
    gradient: dict[str, np.ndarray]


@on_device
def trace(
    mlp: Model,
    X: Any,
    y: Any,
    *,
    encoded: bool = False,
    training: bool = False,
    params: Array | None = None,
) -> Trace:
    """Run one forward and backward pass over all of X on the model's backend, and record it.

    Parameters
    ----------
    mlp : MLP
        With a task: trained, or set by ``xpmlp.training.prepare.settle``.
    X, y : array-like
        As for ``MLP.evaluate``.
    encoded : bool
        Whether X is as the first layer takes it, and y as the loss does.
    training : bool
        Whether dropout and batch normalization behave as in training.
    params : Array, shape (mlp.network.layout.size,), optional
        Parameters on the device to use instead of the model's.
    """
    backend, network = mlp.backend, mlp.network
    records: list[Record] = []
    step = mlp.make_step(Optimizer())
    watched = map_layers(step.model, lambda layer: _recorded(layer, records, backend.to_numpy))
    x, target = pair(mlp, X, y) if encoded else examples(mlp, X, y)
    flat = mlp.weights.flat if params is None else params
    shift_scale = (None, None) if encoded else mlp.scaling.arrays(x, mlp.dtype)
    inputs = scaled(backend.xp, x.part(0, x.count), *shift_scale, flat.dtype)
    keys = network.keys(mlp.seed, mlp.epochs_trained)[0]
    run = Pass(
        training=training,
        keys=backend.asarray(keys),
        statistics=network.statistics.views(backend.xp, mlp.weights.statistics),
    )
    views = network.layout.views(backend.xp, flat)
    watching = replace(step, model=watched)
    value, grads, _ = watching.gradient(views, inputs, backend.asarray(target), None, run)
    return Trace(
        records,
        backend.to_numpy(inputs),
        target,
        float(backend.to_numpy(value)),
        {name: backend.to_numpy(g) for name, g in grads.items()},
    )


def _recorded(layer: Layer, records: list[Record], to_numpy: Callable[[Array], Any]) -> Layer:
    """Return the layer with its passes recorded; a forward pass appends to ``records``."""

    def seen(x: Array, y: Array) -> Callable[..., None]:
        record = Record(layer, to_numpy(x), to_numpy(y))
        records.append(record)

        def seen_back(dy: Array, dx: Array | None, grads: Grads) -> None:
            record.dy = to_numpy(dy)
            record.dx = None if dx is None else to_numpy(dx)
            record.grads = {name: to_numpy(g) for name, g in grads.items()}

        return seen_back

    return watch(layer, seen)
