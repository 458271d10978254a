"""First weights and bins that depend on the first training data."""

from typing import Any

import numpy as np

from xpmlp.arrays.rows import Rows
from xpmlp.model.base import Model
from xpmlp.model.inputs import first_bins
from xpmlp.model.members import member
from xpmlp.nn.initializers import DATA
from xpmlp.nn.layers import Layer, Params, Pass, map_layers
from xpmlp.nn.network import Network
from xpmlp.nn.ops import Ops
from xpmlp.nn.random import Purpose, generator

ROWS = 4096
"""Most rows that first weights are measured on, evenly spaced."""

MIXED = 5
"""Rows whose mean, by random weights, is where a unit's kink lies."""


def first_values(model: Model, x: Rows, scaling: Any) -> dict[str, np.ndarray]:
    """Return what the model learns from data before its first step: arrays by name.

    Parameters
    ----------
    x : Rows
        Training inputs, as steps take them.
    scaling : Scaling
        The scaling that steps apply.
    """
    if model.network.seeded is not None:  # each network learns what it would learn alone
        each = [first_values(member(model, i), x, scaling) for i in range(model.network.seeded)]
        names = [name for name in each[0] if all(name in one for one in each)]
        return {name: np.stack([one[name] for one in each]) for name in names}
    architecture, found = model.network.architecture, first_bins(model, x, scaling) or {}
    if DATA not in (architecture.initializer, architecture.bias_initializer):
        return found
    now, drawn = model.state_dict(), model.network.initial_values(model.seed)
    if any((now[n] != drawn[n].astype(model.dtype)).any() for n in model.network.layout.slots):
        return found  # trained before, or loaded
    rows = np.linspace(0, x.count - 1, min(x.count, ROWS)).astype(np.int64)
    inputs = x.take(rows).columns(range(model.sizes[0])).astype(np.float64)
    if not x.scaled:
        inputs = inputs - (0.0 if scaling.shift is None else scaling.shift)
        inputs = inputs * (1.0 if scaling.scale is None else scaling.scale)
    with np.errstate(all="ignore"):
        return found | measured(model.network, drawn | found, inputs, model.seed)


def measured(
    network: Network, values: dict[str, np.ndarray], x: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Return the weights and biases of dense layers that depend on data, one layer after another.

    With ``initializer="data"`` each unit's weights are divided by the standard deviation of x W, so
    that it is 1 (Mishkin and Matas 2016); over all networks that share the weights. With
    ``bias_initializer="data"`` each unit's bias is −z at a random mean of five rows: its kink lies
    among the data (Steinwart 2019).

    Parameters
    ----------
    values : dict of str to ndarray of float64
        All first parameters and statistics, as they were drawn.
    x : ndarray of float64, shape (n, inputs)
    """
    a, new = network.architecture, dict(values)

    def leaf(layer: Layer) -> Layer:
        matrices = [name for name in layer.shapes if name in network.weights]
        biases = [name for name in layer.shapes if name in network.biases]
        if not matrices and not biases:
            return layer

        def forward(ops: Any, p: Params, x: Any, run: Pass) -> Any:
            for b in biases:
                new[b] = np.zeros_like(new[b])
            for W in matrices if a.initializer == DATA else ():
                z = layer.forward(ops, new, x, run)[0]
                spread = z.reshape(-1, z.shape[-1]).std(axis=0)
                good = np.isfinite(spread) & (spread > np.finfo(np.float32).tiny)
                new[W] = new[W] / np.where(good, spread, 1.0)
            for b in biases:
                if a.bias_initializer == DATA:
                    z = layer.forward(ops, new, x, run)[0]
                    rng = generator(seed, Purpose.BIASES, network.biases.index(b))
                    of_each = z if new[b].ndim > 1 else z.reshape(1, -1, z.shape[-1])
                    made = np.stack([_inside(one, rng) for one in of_each])
                    new[b] = made.reshape(new[b].shape)
                else:
                    new[b] = values[b]
            return layer.forward(ops, new, x, run)

        return layer._replace(forward=forward)

    map_layers(network.body, leaf).forward(Ops.reference(np), new, x, Pass(statistics=values))
    return {name: new[name] for name in (*network.weights, *network.biases) if name in new}


def _inside(z: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return −z at a random mean of rows for each column; 0 where that is not finite."""
    rows = rng.integers(0, len(z), (z.shape[1], MIXED))
    share = rng.exponential(size=rows.shape)
    share /= share.sum(axis=1, keepdims=True)
    mean: np.ndarray = np.sum(z[rows, np.arange(z.shape[1])[:, None]] * share, axis=1)
    return np.where(np.isfinite(mean), -mean, 0.0)
