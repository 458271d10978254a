"""What is measured: some rows of the training data, passed through the network every epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import Any

import numpy as np

from xpmlp.inspect.diagnose.facts import Columns, Facts, labels
from xpmlp.model.members import refuse_ensemble
from xpmlp.model.memory import rows_within_chunk
from xpmlp.model.task import total_sum_of_squares
from xpmlp.model.trace import Record, Trace, trace
from xpmlp.nn.activations import Activation
from xpmlp.nn.ops import Ops, scaled
from xpmlp.nn.schedules import Time
from xpmlp.training.advice import spaced
from xpmlp.training.loop import Training
from xpmlp.training.rates import coefficients

ROWS = 256
"""Rows of the probe: with ten classes about 25 of each, so that one row is 4 % of its class."""
INPUT_ROWS = 4096
"""Rows whose inputs are examined once: enough to see a pixel lit that is ever lit."""
STEEPEST = {"sigmoid": 0.25, "tanh": 1.0}
"""Largest slope of the activations that saturate on both sides."""
FLAT = 0.05
"""Share of the largest slope below which a unit is saturated on a row: |z| > 4.4 for sigmoid and
2.2 for tanh, where h is within 1.3 % of an end of its range."""


@dataclass(frozen=True)
class LayerState:
    """A dense layer and its activation, on the probe.

    Attributes
    ----------
    name : str
        ``"dense1"``.
    activation : str or None
        None for the last layer.
    dead : float
        Share of units whose derivative is 0 on every row.
    saturated : float
        Share of saturated (row, unit) pairs; 0 for activations that cannot saturate.
    alike : bool
        Whether all units have the same incoming weights, and there are several.
    delta : float
        Euclidean norm of dLoss/dz.
    update : float
        ‖ΔW‖/‖W‖ of the step that training would take on the probe; NaN if W is 0.
    """

    name: str
    activation: str | None
    dead: float
    saturated: float
    alike: bool
    delta: float
    update: float


@dataclass(frozen=True)
class Measurement:
    """The network on the probe, after an epoch.

    Attributes
    ----------
    epoch : int
        Finished epochs of this fit.
    loss : float
        Without penalties and dropout.
    score : float
        The training metric, accuracy or R²; NaN if there is none.
    layers : tuple of LayerState
    spread : float
        Largest standard deviation of an output over the rows.
    predicted : tuple of int
        Rows predicted as each class; empty if the targets are not classes.
    """

    epoch: int
    loss: float
    score: float
    layers: tuple[LayerState, ...]
    spread: float
    predicted: tuple[int, ...]

    @property
    def update(self) -> float:
        """The largest update-to-weight ratio of a layer; NaN if all weights are 0."""
        return max((x.update for x in self.layers if not isnan(x.update)), default=nan)

    @property
    def backward(self) -> float:
        """‖dLoss/dz‖ of the first layer divided by that of the last: what backward leaves."""
        last = self.layers[-1].delta
        return self.layers[0].delta / last if last > 0 else nan


OF_NETWORK = ("epoch", "loss", "score", "spread", "predicted")
OF_LAYER = ("dead", "saturated", "alike", "delta", "update")
"""What was measured, without the names of layers."""


def as_columns(measurements: Sequence[Measurement]) -> dict[str, np.ndarray]:
    """Return measurements as arrays with one row for each, as checkpoints store them."""
    of_layers = {
        name: np.array([[getattr(layer, name) for layer in m.layers] for m in measurements])
        for name in OF_LAYER
    }
    return {name: np.array([getattr(m, name) for m in measurements]) for name in OF_NETWORK} | {
        f"layers.{name}": values for name, values in of_layers.items()
    }


def from_columns(
    columns: Mapping[str, np.ndarray], layers: Sequence[LayerState]
) -> list[Measurement]:
    """Return measurements from their arrays, with names from ``layers``."""

    def layer(of: LayerState, i: int, j: int) -> LayerState:
        return replace(of, **{name: columns[f"layers.{name}"][i, j].item() for name in OF_LAYER})

    def network(i: int) -> dict[str, Any]:
        values = {name: columns[name][i].tolist() for name in OF_NETWORK}
        return values | {"predicted": tuple(values["predicted"])}

    return [
        Measurement(**network(i), layers=tuple(layer(of, i, j) for j, of in enumerate(layers)))
        for i in range(len(columns["epoch"]))
    ]


class Probe:
    """Rows of the training data, with the ``Facts`` of all of it as ``facts``."""

    def __init__(self, training: Training) -> None:
        mlp, data = training.mlp, training.data
        refuse_ensemble(mlp, "diagnose")
        y = training.given.target
        classes = labels(mlp.task, y)
        rows = spaced(len(y), ROWS) if classes is None else _of_each_class(classes)
        asarray, to_numpy = mlp.backend.asarray, mlp.backend.to_numpy
        self._labels = None if classes is None else classes[rows]
        most = rows_within_chunk(mlp, INPUT_ROWS)
        by = data.shift, data.scale, mlp.weights.flat.dtype
        seen, inputs = (
            to_numpy(scaled(mlp.backend.xp, asarray(_take(training, some)), *by))
            for some in (rows, spaced(len(y), most))
        )
        self._X, self._y = seen, y[rows]
        self.facts = Facts.of(mlp.task, Columns.of(inputs), y, seen, self._y, mlp.sizes[-1])

    def measure(self, training: Training, epoch: int, time: Time, step: int) -> Measurement:
        """Pass the probe forward and backward through the network as it is.

        Dropout is off, as it says nothing about a unit. Batch normalization uses the probe's own
        statistics, as a step does: running statistics lag behind in the first epochs. The rates are
        those of this step of the epoch at ``time``.
        """
        mlp, ops = training.mlp, Ops.reference(np)
        architecture = mlp.network.architecture
        with np.errstate(all="ignore"):  # a network that overflows is a finding, not a warning
            batch = architecture.normalization == "batch"
            seen = trace(mlp, self._X, self._y, encoded=True, training=batch)
            weights, updates = _step(training, seen, epoch, time, step)
            records = {record.layer.name: record for record in seen.records}
            layers = tuple(
                _layer(records, name.removesuffix(".W"), weights[name], updates[name], activation)
                for name, activation in zip(
                    mlp.network.weights, (*architecture.activations, None), strict=True
                )
            )
            z, metric = seen.records[-1].y, mlp.task.metric
            right = np.full(len(z), nan) if metric is None else metric.rows(ops, z, seen.target)
            around_mean = total_sum_of_squares(seen.target)
            rows, _ = mlp.task.loss(ops, z, seen.target)
            return Measurement(
                epoch,
                float(np.mean(rows)),
                nan if metric is None else metric.finish(float(right.sum()), len(z), around_mean),
                layers,
                float(z.std(axis=0).max()),
                self._predicted(z, right),
            )

    def _predicted(self, z: np.ndarray, right: np.ndarray) -> tuple[int, ...]:
        if self._labels is None:
            return ()
        one = z.shape[1] == 1
        found = np.where(right > 0.5, self._labels, 1 - self._labels) if one else z.argmax(axis=1)
        return tuple(int(n) for n in np.bincount(found, minlength=max(z.shape[1], 2)))


def _take(training: Training, rows: np.ndarray) -> np.ndarray:
    """Return rows of the inputs, on the host."""
    taken = training.given.x.take(rows)
    return np.asarray(training.mlp.backend.to_numpy(taken.part(0, len(rows))))


def _of_each_class(classes: np.ndarray) -> np.ndarray:
    """Return rows with equally many of each class, as far as there are enough."""
    present = np.unique(classes)
    share = max(ROWS // len(present), 1)
    each = [np.flatnonzero(classes == c) for c in present]
    return np.concatenate([rows[spaced(len(rows), share)] for rows in each])[:ROWS]


def _step(
    training: Training, seen: Trace, epoch: int, time: Time, step: int
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return the weights, and ‖ΔW‖/‖W‖ of each matrix if the probe were the next batch.

    The optimizer's formula is computed on the host, with its current state.
    """
    network, to_numpy = training.mlp.network, training.mlp.backend.to_numpy
    optimizer, ops = training.mlp.grouped(training.optimizer), Ops.reference(np)
    old = to_numpy(training.mlp.weights.flat).astype(np.float64)
    kept = training.state.moments[: optimizer.slots]
    moments = tuple(to_numpy(moment).astype(np.float64) for moment in kept)
    gradient = optimizer.clip(ops, network.layout.flatten(seen.gradient))
    c, _ = coefficients(optimizer, epoch * training.steps - step, time)
    new, _ = optimizer.update(ops, old, gradient, moments, c[step])
    before, change = network.layout.views(np, old), network.layout.views(np, new - old)
    norm = np.linalg.norm
    ratios = {
        name: float(norm(change[name]) / norm(before[name])) if before[name].any() else nan
        for name in network.weights
    }
    return before, ratios


def _slope(records: dict[str, Record], number: str, f: Activation) -> np.ndarray:
    """Return the derivative of a hidden layer's activation at what the probe gives it."""
    assert f.derivative is not None
    ops, mixes = Ops.reference(np), f"mix{number}" in records
    z = records[f"mix{number}" if mixes else f"activation{number}"].x
    slope: np.ndarray = f.derivative(ops, z, f.function(ops, z))
    return slope


def _layer(
    records: dict[str, Record],
    name: str,
    W: np.ndarray,
    update: float,
    activation: Activation | None,
) -> LayerState:
    record = records[name]
    dead = saturated = 0.0
    if activation is not None and activation.derivative is not None:
        slope = np.abs(_slope(records, name.removeprefix("dense"), activation))
        dead = float(np.mean(slope.max(axis=0) == 0))
        saturated = float(np.mean(slope < FLAT * STEEPEST.get(activation.name, 0.0)))
    assert record.dy is not None
    return LayerState(
        name,
        None if activation is None else activation.name,
        dead,
        saturated,
        bool(W.shape[1] > 1 and (W[:, :1] == W).all()),
        float(np.linalg.norm(record.dy.astype(np.float64))),
        update,
    )
