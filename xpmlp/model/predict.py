"""Forward passes over data of any length, in batches, without gradients."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import numpy as np

from xpmlp.arrays.dlpack import give_back
from xpmlp.arrays.rows import HostRows, Rows, SparseRows, ThinRows, rows
from xpmlp.errors import InvalidValueError, flag
from xpmlp.model import keywords, members, pickling, tables
from xpmlp.model.base import Model
from xpmlp.model.memory import advice_on_use, release, rows_within_chunk, within_memory
from xpmlp.model.task import total_sum_of_squares
from xpmlp.nn.contract import Array, Forward
from xpmlp.nn.layers import Pass
from xpmlp.nn.ops import scaled

Batches = list[tuple[int, int]]

logger = logging.getLogger("xpmlp")

ROWS = 4096
"""Rows of a batch: enough for full speed, and few enough that the activations fit."""


def inputs(model: Model, X: Any, name: str = "X", table: Any = None) -> Rows:
    """Check examples for a model; ``Scaling.applied`` then brings them to its scale.

    ``table`` turns data frames into inputs; by default it is the model's.
    """
    if (table := table or model.table) is not None:
        X = tables.transformed(table, X, model.dtype)
    wide = model.scaling.mode == "standard"
    return rows(model.backend, X, model.sizes[0], model.dtype, name, wide)


def thin(model: Model, x: Rows) -> Rows:
    """Return sparse examples for products as they are, if that is possible and faster."""
    if (
        isinstance(x, SparseRows)
        and "sparse" in model.backend.capabilities
        and x.array.is_thin
        and model.network.members is None
        and model.network.layers[0].name == "dense1"  # neither dropout nor a residual connection
        and not any(a is not None for a in model.scaling.arrays(x, model.dtype))
    ):
        return ThinRows(x.backend, x.array, x.scaled)
    return x


def forward_batches(
    model: Model, x: Rows, finish: Callable[[Model, Array], Array], each: bool = False
) -> Array:
    """Return ``finish(model, outputs)`` for all rows, with the outputs before the loss's link.

    Rows on the host are copied to the device batch by batch, and the results back. Of an ensemble
    the outputs are those of the networks together or, with ``each``, of shape (n, k, outputs).
    """
    backend, weights, x = model.backend, model.weights, thin(model, x)
    there = backend.owns(x.array)

    def some_rows(run: Forward, start: int, stop: int) -> Array:
        part = x.part(start, stop, backend.padded(stop - start))
        made = finish(model, run(weights.flat, weights.statistics, part))
        made = made if there else backend.to_numpy(made)
        return of_targets(made if part.shape[0] == stop - start else made[: stop - start, ...])

    def of_targets(made: Array) -> Array:
        scaled = model.scaling.scales_targets(model.task)
        return model.scaling.to_targets(backend, made) if scaled else made

    def all_rows(run: Forward, batches: Batches) -> Array:
        parts = [some_rows(run, *ends) for ends in batches]
        if len(parts) == 1:
            return parts[0]
        return backend.xp.concat(parts) if there else np.concatenate(parts)

    return _in_batches(model, x, all_rows, each)


def decisions(model: Model, out: Array) -> Array:
    """Return what ``MLP.predict`` makes of the network's outputs."""
    backend, xp, kind = model.backend, model.backend.xp, model.task.kind
    if kind in ("labels", "one_hot"):
        return xp.argmax(out, axis=-1)
    out = model.task.link.function(backend.ops, out)
    if kind in ("binary", "multilabel"):
        out = xp.astype(out > 0.5, xp.int32)
    return out[..., 0] if out.shape[-1] == 1 else out


def probabilities(model: Model, out: Array) -> Array:
    """Return what ``MLP.predict_proba`` makes of the network's outputs."""
    p = model.task.link.function(model.backend.ops, out)
    return model.backend.xp.concat([1.0 - p, p], axis=-1) if model.task.kind == "binary" else p


def evaluate_batches(model: Model, x: Rows, target: np.ndarray) -> dict[str, float]:
    """Return loss and metric over all rows, summed in float64 on the host.

    A loss that overflows is infinite, without a warning. Those of an ensemble are of its
    predictions, which are the means of its networks'.
    """
    return {name: values[0] for name, values in _evaluate(model, x, target).items()}


def evaluate_each(model: Model, x: Rows, target: np.ndarray) -> dict[str, list[float]]:
    """Return the same for each network of an ensemble."""
    return _evaluate(model, x, target, each=True)


def _evaluate(
    model: Model, x: Rows, target: np.ndarray, each: bool = False
) -> dict[str, list[float]]:
    backend, xp, task, x = model.backend, model.backend.xp, model.task, thin(model, x)
    metric = task.metric
    flat, statistics = model.weights.flat, model.weights.statistics
    y = HostRows(backend, target)
    y = y if x.on_host else y.to_device()

    def batch(run: Forward, start: int, stop: int) -> Array:
        n = stop - start
        size = backend.padded(n)
        z, part = run(flat, statistics, x.part(start, stop, size)), y.part(start, stop, size)
        parts = [z[:, i, :] for i in range(z.shape[1])] if each else [z]
        found = xp.stack([xp.stack(of_rows(one, part)) for one in parts])
        if size > n:
            found = xp.where(backend.asarray(np.arange(size) < n), found, xp.zeros_like(found))
        return xp.sum(found, axis=-1)

    def of_rows(z: Array, part: Array) -> list[Array]:
        rows, _ = task.loss(backend.ops, z, part)
        return [rows, xp.zeros_like(rows) if metric is None else metric.rows(backend.ops, z, part)]

    def totals(run: Forward, batches: Batches) -> np.ndarray:
        return np.asarray(backend.to_numpy(xp.stack([batch(run, *ends) for ends in batches])))

    with np.errstate(all="ignore"):
        sums = _in_batches(model, x, totals, each).astype(np.float64).sum(axis=0)
        penalty = _penalty(model, x.count, each)
    around_mean = total_sum_of_squares(target) if task.kind == "values" else 0.0
    losses, scores = sums[:, 0] / x.count + penalty, sums[:, 1]
    values = {"loss": [float(loss) for loss in losses]}
    if metric is not None:
        values[metric.name] = [float(metric.finish(s, x.count, around_mean)) for s in scores]
    return values


def _penalty(model: Model, rows: int, each: bool) -> np.ndarray | float:
    """Return the penalty on the loss of so many rows: of each network, or the mean of them."""
    xp, penalty = model.backend.xp, model.penalty_on_device().of_batch(model.backend.xp, rows)
    params = model.network.layout.views(xp, model.weights.flat)
    value = penalty.value(xp, [params[name] for name in model.network.weights])
    if isinstance(value, float):
        return value
    found = np.asarray(model.backend.to_numpy(value), dtype=np.float64)
    return found if each else float(found.mean())


def _in_batches(
    model: Model, x: Rows, f: Callable[[Forward, Batches], Array], each: bool = False
) -> Array:
    """Compute over all rows in batches; halve the batch while the device's memory is too small."""
    forward, n = _Forward.of(model, x, each), x.count
    while True:
        rows = min(forward.rows, n)
        try:
            return f(forward.run, _batches(n, rows))
        except Exception as error:
            if rows == 1 or not model.backend.ran_out(error):
                raise
            release(error)
        forward.rows = rows // 2
        logger.warning("%d rows at a time are too many for the device's memory", rows)


def _batches(n: int, rows: int) -> Batches:
    if n == rows:
        return [(0, n)]
    return [(start, min(start + rows, n)) for start in range(0, n, rows)]


class _Forward:
    """A model's forward pass, compiled for its backend, task and scaling, for any weights."""

    def __init__(self, model: Model, x: Rows, each: bool) -> None:
        self.each = each
        self.rows = rows_within_chunk(model, ROWS)
        self.backend, self.scaling, self.task = model.backend, model.scaling, model.known_task
        self.scaled, self.settings = x.scaled, model.custom_settings()
        network, layer, ops = model.network, model.full_network(), model.backend.ops
        xp, shift_scale = ops.xp, model.scaling.arrays(x, model.dtype)

        def forward(flat: Array, statistics: Array, X: Array) -> Array:
            params = network.layout.views(xp, flat)
            run = Pass(statistics=network.statistics.views(xp, statistics))
            z = layer.forward(ops, params, scaled(xp, X, *shift_scale, flat.dtype), run)[0]
            return z if network.members is None else members.outputs(model, z, each)

        self.run = model.backend.compile_forward(forward)

    @staticmethod
    def of(model: Model, x: Rows, each: bool) -> "_Forward":
        """Return the model's; make it again if anything that it depends on has changed."""
        made: _Forward | None = model.forward_pass
        if (
            made is None
            or made.each is not each
            or made.backend is not model.backend
            or made.scaling is not model.scaling
            or made.task is not model.known_task
            or made.scaled != x.scaled
            or made.settings != model.custom_settings()
        ):
            made = model.forward_pass = _Forward(model, x, each)
        return made


class Predictor(Model):
    """A model with the verbs that use it: predict, predict_proba and member."""

    @keywords.known("predict")
    def predict(self, X: Any, *, each: bool = False, return_std: bool = False) -> Any:
        """Return class indices, 0/1 labels, or values; shape (n,), or (n, outputs) for several.

        The result is in the library of X and on its device; NumPy for lists and sparse matrices.
        Data on the host are copied to the device batch by batch. Values of a model with
        ``scaling="standard"`` are float64, in which they are brought to the targets' units, where
        the device has it.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, sizes[0])
        each : bool
            Of an ensemble, return what each network predicts: shape (k, n) or (k, n, outputs).
            Otherwise values are the mean of its networks' predictions, and classes follow from
            the mean of their probabilities.
        return_std : bool
            Of an ensemble that predicts values, return a pair: the mean of its networks'
            predictions, and their standard deviation, of the same shape.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For input that cannot work, as in ``fit``; or if the model has not been trained.
        DeviceMemoryError
            If the device's memory is too small for a single row, or for the results.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 2], targets="labels", backend="numpy")
        >>> mlp.load_state_dict({"dense1.W": np.eye(2), "dense1.b": np.zeros(2)})
        >>> mlp.predict([[5.0, 1.0], [0.0, 3.0]])
        array([0, 1])
        """
        if flag("return_std", return_std):
            members.members_of(self, "return_std")
            return self._forward(X, decisions, "predict", members.mean_and_deviation)
        return self._forward(X, decisions, "predict", self._of_each("predict", each))

    @keywords.known("predict_proba")
    def predict_proba(self, X: Any, *, each: bool = False) -> Array:
        """Return class probabilities, shape (n, C); for one output those of 0 and 1, (n, 2).

        The result is in the model's dtype, in the library of X and on its device. For
        several labels it is the probability of each, shape (n, outputs). Of an ensemble it is the
        mean of its networks' probabilities or, with ``each``, those of each: (k, n, C).

        Raises
        ------
        InvalidValueError
            If the model predicts values, not classes; and as ``predict``.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 4], targets="labels", initializer="zeros", backend="numpy")
        >>> mlp.predict_proba([[5.0, 1.0]])
        array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
        """
        if self.task.kind == "values":
            raise InvalidValueError("predict_proba: this model predicts values; use predict")
        return self._forward(X, probabilities, "predict_proba", self._of_each("each", each))

    def member(self, i: int) -> Self:
        """Return network i of an ensemble as a model of its own, with copies of its weights.

        Its predictions are ``predict(X, each=True)[i]``, up to rounding. It has the scaling, the
        table and the task of the ensemble, and of networks that share nothing its own seed; where
        the last training run ended, which ``fit(continued=True)`` needs, it does not know.

        Raises
        ------
        InvalidValueError
            If there is no such network, or the model is a single one.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 8, 1], ensemble=3, seed=5, backend="numpy")
        >>> mlp.member(1).seed, mlp.member(1).parameters["dense1.W"].shape
        (6, (2, 8))
        """
        made: Self = members.member(self, i)
        return made

    def __getstate__(self) -> dict[str, Any]:
        return pickling.state(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        pickling.restore(self, state)

    def _of_each(self, what: str, each: bool) -> Callable[[Model, Array], Any] | None:
        """Return what is to be done with the predictions of each network, if they are asked for."""
        if not flag("each", each):
            return None
        members.members_of(self, what)
        return members.networks_first

    def _forward(
        self,
        X: Any,
        finish: Callable[[Model, Array], Array],
        call: str,
        of_each: Callable[[Model, Array], Any] | None = None,
    ) -> Any:
        """Return what is made of the outputs; ``of_each`` gets those of each network."""

        def computed(model: Model) -> Any:
            x = model.scaling.applied(inputs(model, X), model.dtype)
            if of_each is None:
                return give_back(model.backend, X, forward_batches(model, x, finish))
            made = of_each(model, forward_batches(model, x, finish, each=True))
            if isinstance(made, tuple):
                return tuple(give_back(model.backend, X, one) for one in made)
            return give_back(model.backend, X, made)

        return within_memory(self, partial(advice_on_use, self, call), computed)
