"""Forward passes over data of any length, in batches, without gradients."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Self, overload

import numpy as np

from xpmlp.arrays.dlpack import give_back, is_numpy_array
from xpmlp.arrays.rows import HostRows, Rows, SparseRows, ThinRows, rows
from xpmlp.errors import InvalidValueError, flag
from xpmlp.model import keywords, members, pickling, rounds, tables
from xpmlp.model.base import Model
from xpmlp.model.forward import Compiled
from xpmlp.model.inputs import check_codes
from xpmlp.model.memory import advice_on_use, release, within_memory
from xpmlp.model.outputs import (
    DECISIONS,
    MOMENTS,
    OWN_PROBABILITIES,
    PROBABILITIES,
    Reading,
    mean_and_std,
)
from xpmlp.model.task import total_sum_of_squares
from xpmlp.nn.contract import Array, Forward

Batches = list[tuple[int, int]]

logger = logging.getLogger("xpmlp")


def inputs(model: Model, X: Any, name: str = "X", table: Any = None) -> Rows:
    """Check examples for a model; ``Scaling.applied`` then brings them to its scale.

    ``table`` turns data frames into inputs; by default it is the model's.
    """
    if (table := table or model.table) is not None:
        X = tables.transformed(table, X, model.dtype)
    x = rows(model.backend, X, model.sizes[0], model.dtype, name, model.scaling.measures)
    check_codes(model, x, name)
    return x


def thin(model: Model, x: Rows) -> Rows:
    """Return sparse examples for products as they are, if that is possible and faster."""
    if (
        isinstance(x, SparseRows)
        and "sparse" in model.backend.capabilities
        and x.array.is_thin
        and model.network.members is None
        and model.augment is None
        and model.network.layers[0].name == "dense1"  # neither dropout nor a residual connection
        and not any(a is not None for a in model.scaling.arrays(x, model.dtype))
    ):
        return ThinRows(x.backend, x.array, x.scaled)
    return x


def forward_batches(model: Model, x: Rows, reading: Reading, each: bool = False) -> Array:
    """Return what a reading makes of the network's outputs, for all rows.

    Rows on the host are copied to the device batch by batch, and the results back. Of an ensemble
    the outputs are those of the networks together; with ``each`` they are those of each network,
    and the result has one more axis: (n, k, ...).
    """
    backend, weights, x = model.backend, model.weights, thin(model, x)
    there = backend.owns(x.array)

    def some_rows(run: Forward, start: int, stop: int) -> Array:
        part = x.part(start, stop, backend.padded(stop - start))
        out, rows = run(weights.flat, weights.statistics, part), stop - start
        if each:  # a reading knows rows alone
            networks = out.shape[1]
            out, rows = backend.xp.reshape(out, (-1, out.shape[-1])), rows * networks
        made = reading.of(model, out)
        made = made if there else backend.to_numpy(made)
        made = made if made.shape[0] == rows else made[:rows, ...]
        made = reading.in_units(model, made)
        if each:
            xp = backend.xp if there else np
            made = xp.reshape(made, (stop - start, networks, *made.shape[1:]))
        return made

    def all_rows(run: Forward, batches: Batches) -> Array:
        parts = [some_rows(run, *ends) for ends in batches]
        if len(parts) == 1:
            return parts[0]
        return backend.xp.concat(parts) if there else np.concatenate(parts)

    return _in_batches(model, x, all_rows, each)


def evaluate_batches(
    model: Model, x: Rows, target: np.ndarray, weight: np.ndarray | None = None
) -> dict[str, float]:
    """Return loss and metric over all rows, summed in float64 on the host.

    A loss that overflows is infinite, without a warning. Those of an ensemble are of its
    predictions, which are the means of its networks'.
    """
    return {name: values[0] for name, values in _evaluate(model, x, target, weight).items()}


def evaluate_each(
    model: Model, x: Rows, target: np.ndarray, weight: np.ndarray | None = None
) -> dict[str, list[float]]:
    """Return the same for each network of an ensemble."""
    return _evaluate(model, x, target, weight, each=True)


def _evaluate(
    model: Model, x: Rows, target: np.ndarray, weight: np.ndarray | None, each: bool = False
) -> dict[str, list[float]]:
    backend, xp, task, x = model.backend, model.backend.xp, model.task, thin(model, x)
    metric = task.metric
    flat, statistics = model.weights.flat, model.weights.statistics
    y, w = (None if a is None else HostRows(backend, a) for a in (target, weight))
    y, w = (a if a is None or x.on_host else a.to_device() for a in (y, w))
    assert y is not None
    total = x.count if weight is None else float(weight.sum(dtype=np.float64))

    def batch(run: Forward, start: int, stop: int) -> Array:
        n = stop - start
        size = backend.padded(n)
        z, part = run(flat, statistics, x.part(start, stop, size)), y.part(start, stop, size)
        parts = [z[:, i, :] for i in range(z.shape[1])] if each else [z]
        found = xp.stack([xp.stack(of_rows(one, part)) for one in parts])
        if w is not None:
            found = found * w.part(start, stop, size)
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
        penalty = _penalty(model, total, each)
    around_mean = total_sum_of_squares(target, weight) if task.kind == "values" else 0.0
    losses, scores = sums[:, 0] / total + penalty, sums[:, 1]
    values = {"loss": [float(loss) for loss in losses]}
    if metric is not None:
        values[metric.name] = [float(metric.finish(s, total, around_mean)) for s in scores]
    return values


def _penalty(model: Model, rows: float, each: bool) -> np.ndarray | float:
    """Return the penalty on the loss of rows that count so many: each network's, or the mean."""
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
    forward, n = Compiled.of(model, x, each), x.count
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


class Predictor(Model):
    """A model with the verbs that use it: predict, predict_proba and member."""

    @overload
    def predict(
        self,
        X: Any,
        return_std: Literal[False] = False,
        *,
        each: bool = False,
        augment_rounds: int = 0,
    ) -> Array: ...

    @overload
    def predict(
        self, X: Any, return_std: bool, *, each: bool = False, augment_rounds: int = 0
    ) -> tuple[Array, Array]: ...

    @keywords.known("predict")
    def predict(
        self, X: Any, return_std: bool = False, *, each: bool = False, augment_rounds: int = 0
    ) -> Any:
        """Return class indices, 0/1 labels, or values; shape (n,), or (n, targets) for several.

        The result is in the library of X and on its device; NumPy for lists and sparse matrices.
        Data on the host are copied to the device batch by batch. Values of a model with
        ``scaling="standard"`` or ``"robust"`` are float64, in which they are brought to the
        targets' units, where the device has it. Of quantiles it is the one nearest to the median.

        Of an ensemble, values are the means of its networks' predictions, and classes follow from
        the means of their probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, sizes[0])
        return_std : bool
            Whether to return (values, standard deviations), both of that shape: for a network with
            ``loss="gaussian"``, or of the values that the networks of an ensemble predict.
        each : bool
            Of an ensemble, return what each network predicts: shape (k, n) or (k, n, targets).
        augment_rounds : int
            Mean over so many variants of each picture, by the augmentation of the last fit, and the
            picture itself; drawn by the seed, the same for all rows.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For input that cannot work, as in ``fit``; if the model has not been trained, or
            predicts no standard deviations.
        DeviceMemoryError
            If the device's memory is too small for a single row, or for the results.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 2], targets="labels", backend="numpy")
        >>> mlp.load_state_dict({"dense1.W": np.eye(2), "dense1.b": np.zeros(2)})
        >>> mlp.predict([[5.0, 1.0], [0.0, 3.0]])
        array([0, 1])
        """
        if augment_rounds:
            view = rounds.varied(self, augment_rounds, each)
            return view.predict(X, return_std)
        each, loss = self._each("predict", each), self.task.loss
        if not flag("return_std", return_std):
            return self._forward(X, DECISIONS, "predict", each=each)
        if self.task.kind != "values":
            raise InvalidValueError(
                "predict: found return_std=True for a model that predicts classes; predict_proba "
                "says how sure it is"
            )
        if loss.predicts == "moments":
            return self._forward(X, MOMENTS, "predict", mean_and_std, each)
        if self.network.members is None or each:
            raise InvalidValueError(
                f"predict: found return_std=True for the loss {loss.name!r}, with which a network "
                "predicts no standard deviations; make it with loss='gaussian' and two outputs for "
                "each target, or an ensemble of values"
            )
        mean = self._forward(X, DECISIONS, "predict")
        return mean, self._forward(X, DECISIONS, "predict", each=True, over=members.deviation)

    @keywords.known("predict_proba")
    def predict_proba(self, X: Any, *, each: bool = False, augment_rounds: int = 0) -> Array:
        """Return class probabilities, shape (n, C); for one output those of 0 and 1, (n, 2).

        The result is in the model's dtype, in the library of X and on its device. For
        several labels it is the probability of each, shape (n, outputs). After ``calibrate`` they
        are those at the temperature found. Of an ensemble it is the mean of its networks'
        probabilities or, with ``each``, those of each: (k, n, C), without the temperature.
        ``augment_rounds`` is as for ``predict``.

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
        if augment_rounds:
            return rounds.varied(self, augment_rounds, each).predict_proba(X)
        each = self._each("predict_proba", each)
        # The temperature is that of the mean.
        reading = OWN_PROBABILITIES if each else PROBABILITIES
        return self._forward(X, reading, "predict_proba", each=each)

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

    def _each(self, call: str, each: bool) -> bool:
        """Return whether the predictions of each network are asked for, which needs several."""
        if flag("each", each):
            members.members_of(self, f"{call}, each=True")
        return each

    def _forward(
        self,
        X: Any,
        reading: Reading,
        call: str,
        finish: Callable[[Any, Array], Array | tuple[Array, ...]] | None = None,
        each: bool = False,
        over: Callable[[Any, Array], Array] = members.networks_first,
    ) -> Any:
        """Return a reading of all rows in X's library; ``finish(xp, made)`` may take it apart.

        With ``each``, ``over(xp, part)`` is applied to what each network predicts, (n, k, ...).
        """

        def computed(model: Model) -> Any:
            x = model.scaling.applied(inputs(model, X), model.dtype)
            made: Any = forward_batches(model, x, reading, each)
            xp = np if is_numpy_array(made) else model.backend.xp
            if finish is not None:
                made = finish(xp, made)
            if each:
                made = (
                    tuple(over(xp, m) for m in made) if isinstance(made, tuple) else over(xp, made)
                )
            if isinstance(made, tuple):
                return tuple(give_back(model.backend, X, part) for part in made)
            return give_back(model.backend, X, made)

        return within_memory(self, partial(advice_on_use, self, call), computed)
