"""What is inside a model: logits, activations, and gradients by parameters and by inputs."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from xpmlp.arrays.checks import weights as checked_weights
from xpmlp.arrays.dlpack import give_back
from xpmlp.arrays.rows import HostRows, Rows
from xpmlp.errors import InvalidValueError
from xpmlp.model import keywords
from xpmlp.model.base import Model
from xpmlp.model.evaluate import Evaluated
from xpmlp.model.examples import examples
from xpmlp.model.forward import ROWS
from xpmlp.model.members import refuse_ensemble
from xpmlp.model.memory import advice_on_use, rows_within_chunk, within_memory
from xpmlp.model.outputs import LOGITS, probable
from xpmlp.model.predict import inputs
from xpmlp.nn.contract import Array
from xpmlp.nn.layers import Backward, Layer, Pass, map_layers, watch
from xpmlp.nn.ops import scaled
from xpmlp.nn.optimizers import Optimizer
from xpmlp.nn.penalty import Penalty

Slope = Callable[[Array, slice], Array]
"""``slope(z, rows)``: the gradient of what is asked for by the outputs z of some rows."""


class Differentiable(Evaluated):
    """A model that can be looked into, one value or derivative at a time."""

    @keywords.known("logits")
    def logits(self, X: Any, *, each: bool = False) -> Array:
        """Return the logits, shape (n, outputs): softmax or sigmoid makes probabilities of them.

        The result is in the library of X and on its device, as that of ``predict_proba``, but not
        calibrated. Of an ensemble they are logits of the mean probabilities; with ``each`` those of
        each network, shape (k, n, outputs).

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, sizes[0])
        each : bool

        Raises
        ------
        InvalidValueError
            If the model predicts values, or ends in an activation that makes no probabilities; and
            as ``predict``.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 2], targets="labels", backend="numpy")
        >>> mlp.load_state_dict({"dense1.W": np.eye(2), "dense1.b": np.zeros(2)})
        >>> mlp.logits([[5.0, 1.0]])
        array([[5., 1.]], dtype=float32)
        """
        task = self.task
        if task.kind == "values":
            raise InvalidValueError("logits: this model predicts values; use predict")
        if task.output is not None and probable(task) is None:
            raise InvalidValueError(
                f"logits: the output activation {task.output.name!r} makes no probabilities; "
                "activations(X) has what every layer computes"
            )
        return self._forward(X, LOGITS, "logits", each=self._each("logits", each))

    @keywords.known("activations")
    def activations(self, X: Any) -> dict[str, Array]:
        """Return what each layer computes, by its name in ``summary()``, in the order of the pass.

        Without layers of dropout, which do nothing outside training. Of a block with a residual
        connection the dict has the layers within, and ``"residual1"`` with the input added.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, sizes[0])

        Returns
        -------
        dict of str to Array, each shape (n, units)
            In the library of X and on its device.

        Raises
        ------
        InvalidValueError
            For an ensemble: ``mlp.member(0).activations(X)``; and as ``predict``.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 2, 1], backend="numpy", initializer="zeros")
        >>> list(mlp.activations([[1.0, 2.0]]))
        ['dense1', 'activation1', 'dense2']
        """
        refuse_ensemble(self, "activations")

        def computed(model: Model) -> dict[str, Array]:
            x = model.scaling.applied(inputs(model, X), model.dtype)
            there, parts = model.backend.owns(X), list[dict[str, Array]]()
            layer = model.network.body if model.known_task is None else model.full_network()
            for rows in _blocks(model, x.count):
                seen: dict[str, Array] = {}
                _forward(model, _observed(model.backend.xp, layer, seen), x, rows)
                to_host = model.backend.to_numpy
                parts.append(seen if there else {n: to_host(y) for n, y in seen.items()})
            return {name: _joined(model, X, [part[name] for part in parts]) for name in parts[0]}

        return within_memory(self, partial(advice_on_use, self, "activations"), computed)

    @keywords.known("gradient")
    def gradient(
        self, X: Any, y: Any, *, sample_weight: Any = None
    ) -> tuple[float, dict[str, np.ndarray]]:
        """Return the loss of these rows, and its gradient by each parameter.

        The loss is that of ``evaluate``: the mean over the rows with the penalty, without dropout.
        Rows pass through the network in blocks.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, sizes[0])
        y : array-like, shape (n,) or (n, sizes[-1])
        sample_weight : array-like, shape (n,), optional

        Returns
        -------
        loss : float
        gradient : dict of str to ndarray
            With the names and shapes of ``parameters``, on the host in the model's dtype.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            For an ensemble: ``mlp.member(0).gradient(X, y)``; and as ``evaluate``.

        Examples
        --------
        >>> mlp = xpmlp.MLP([1, 1], initializer="zeros", targets="values", backend="numpy")
        >>> loss, gradient = mlp.gradient([[1.0], [3.0]], [2.0, 2.0])  # ½ (w x + b − y)²
        >>> loss, gradient["dense1.W"], gradient["dense1.b"]
        (2.0, array([[-4.]], dtype=float32), array([-2.], dtype=float32))
        """
        refuse_ensemble(self, "gradient")

        def computed(model: Model) -> tuple[float, dict[str, np.ndarray]]:
            x, target = examples(model, X, y)
            weight = checked_weights(model.backend, sample_weight, x.count, model.dtype)
            return loss_and_gradient(model, x, target, weight)

        return within_memory(self, partial(advice_on_use, self, "gradient"), computed)

    @keywords.known("input_gradient")
    def input_gradient(self, X: Any, y: Any = None, *, output: int | None = None) -> Array:
        """Return the gradient of each row's loss, or of one output, by the row's inputs.

        It is in the units of X, whatever the scaling. Codes of categories have the gradient 0.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame, shape (n, sizes[0])
        y : array-like, shape (n,) or (n, sizes[-1]), optional
            For the gradient of each row's own loss: that of the mean loss, times n.
        output : int, optional
            For the gradient of an output: of classes that class's logit (or what an output
            activation makes of it); of values the prediction before the loss's link, in the
            targets' units.

        Returns
        -------
        Array, shape (n, sizes[0])
            In the library of X and on its device. With a ``table``, by the inputs that it makes:
            ``mlp.table.inputs``.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            Without y and output, or with both; for an output that the network does not have, or
            whose units only the loss knows; for an ensemble; and as ``evaluate``.

        Examples
        --------
        >>> mlp = xpmlp.MLP([2, 1], targets="values", backend="numpy")
        >>> mlp.load_state_dict({"dense1.W": np.array([[2.0], [5.0]]), "dense1.b": np.zeros(1)})
        >>> mlp.input_gradient([[1.0, 1.0]], output=0)
        array([[2., 5.]], dtype=float32)
        >>> mlp.input_gradient([[1.0, 1.0]], [6.0])  # (7 − 6) · w
        array([[2., 5.]], dtype=float32)
        """
        refuse_ensemble(self, "input_gradient")
        if (y is None) == (output is None):
            found = "neither" if y is None else "both"
            raise InvalidValueError(
                f"input_gradient: found {found} of y and output; pass y for the gradient of the "
                "loss, or output=0 for that of an output"
            )

        def computed(model: Model) -> Array:
            if output is None:
                x, target = examples(model, X, y)
                slope = _of_loss(model, target)
            else:
                x = model.scaling.applied(inputs(model, X), model.dtype)
                slope = _of_output(model, output)
            return _joined(model, X, list(_by_inputs(model, x, slope, model.backend.owns(X))))

        return within_memory(self, partial(advice_on_use, self, "input_gradient"), computed)


def loss_and_gradient(
    model: Model, x: Rows, target: np.ndarray, weight: np.ndarray | None
) -> tuple[float, dict[str, np.ndarray]]:
    """Return the loss of checked examples with the penalty, and its gradient by name.

    Blocks of rows are summed in float64 on the host, each with its share of the weights; the
    penalty is added once.
    """
    backend, xp = model.backend, model.backend.xp
    step = replace(model.make_step(Optimizer(), metrics=False), penalty=Penalty())
    params = model.network.layout.views(xp, model.weights.flat)
    w = np.ones(x.count) if weight is None else weight.astype(np.float64)
    loss, total = 0.0, float(w.sum())
    gradient = {name: np.zeros(slot.shape) for name, slot in model.network.layout.slots.items()}
    with np.errstate(all="ignore"):
        for rows in _blocks(model, x.count):
            share = float(w[rows].sum()) / total
            if not share:
                continue  # a mean over no weights is not a number
            some = None if weight is None else backend.asarray(weight[rows])
            y = backend.asarray(target[rows])
            value, grads, _ = step.gradient(params, _scaled(model, x, rows), y, some, _run(model))
            loss += share * float(backend.to_numpy(value))
            for name, g in grads.items():
                gradient[name] += share * np.asarray(backend.to_numpy(g), np.float64)
        penalty, values = model.penalty, model.parameters
        if not penalty.is_zero:
            penalty = penalty.of_batch(np, 1, np.array([total]))
            named = {n: values[n].astype(np.float64) for n in model.network.weights}
            loss += float(penalty.value(np, list(named.values())))
            for name, W in named.items():
                gradient[name] = penalty.add_gradient(np, W, gradient[name])
        return loss, {name: g.astype(model.dtype) for name, g in gradient.items()}


def _blocks(model: Model, n: int) -> Iterator[slice]:
    """Yield rows that may pass through the network at once."""
    size = rows_within_chunk(model, ROWS)
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _run(model: Model) -> Pass:
    """Return what a pass outside training uses."""
    statistics = model.network.statistics.views(model.backend.xp, model.weights.statistics)
    return Pass(statistics=statistics)


def _scaled(model: Model, x: Rows, rows: slice) -> Array:
    """Return some rows as the first layer takes them."""
    shift_scale = model.scaling.arrays(x, model.dtype)
    part = x.part(rows.start, rows.stop)
    return scaled(model.backend.xp, part, *shift_scale, model.weights.flat.dtype)


def _forward(model: Model, layer: Layer, x: Rows, rows: slice) -> tuple[Array, Array, Backward]:
    """Pass some rows through a layer; return what it takes and makes, and the way back."""
    params = model.network.layout.views(model.backend.xp, model.weights.flat)
    taken = _scaled(model, x, rows)
    with np.errstate(all="ignore"):
        z, backward = layer.forward(model.backend.ops, params, taken, _run(model))
    return taken, z, backward


def _observed(xp: Any, layer: Layer, seen: dict[str, Array]) -> Layer:
    """Return a layer whose pass puts what each layer within computes into ``seen``."""

    def watched(one: Layer) -> Layer:
        def note(x: Array, y: Array) -> Callable[..., None]:
            if one.drops is None:
                seen[one.name] = xp.asarray(y, copy=True)
            return lambda dy, dx, grads: None

        return watch(one, note)

    def mapped(one: Layer) -> Layer:
        if one.compose is None:
            return map_layers(one, watched)
        made = one.compose([mapped(part) for part in one.parts])
        return watched(made) if one.name.startswith("residual") else made

    return mapped(layer)


def _of_loss(model: Model, target: np.ndarray) -> Slope:
    """Return the gradient of each row's loss by the outputs."""
    backend, loss, y = model.backend, model.task.loss, HostRows(model.backend, target)
    return lambda z, rows: loss(backend.ops, z, y.part(rows.start, rows.stop))[1]


def _of_output(model: Model, output: int) -> Slope:
    """Return the gradient of one output by all: 1 in its column, in the targets' units."""
    task, outputs, backend = model.task, model.sizes[-1], model.backend
    number = isinstance(output, int | np.integer) and not isinstance(output, bool)
    if not number or not 0 <= output < outputs:
        raise InvalidValueError(
            f"output: found {output!r}; expected a whole number from 0 to {outputs - 1}"
        )
    unit = np.zeros((1, outputs), model.dtype)
    unit[0, output] = 1.0
    scale = model.scaling.target_scale if model.scaling.scales_targets(task) else None
    if scale is not None and task.columns is not None:
        raise InvalidValueError(
            f"output: only the loss {task.loss.name!r} knows the units of its outputs, which "
            f"scaling={model.scaling.mode!r} changes; pass y, for the gradient of the loss"
        )
    row = backend.asarray(unit if scale is None else (unit * scale).astype(model.dtype))
    return lambda z, rows: backend.xp.zeros_like(z) + row


def _by_inputs(model: Model, x: Rows, slope: Slope, there: bool) -> Iterator[Array]:
    """Yield the gradient by the inputs in the units of X, block by block."""
    layer = model.full_network()
    for rows in _blocks(model, x.count):
        taken, z, backward = _forward(model, layer, x, rows)
        with np.errstate(all="ignore"):
            dx, _ = backward(slope(z, rows), True)
            dx = model.scaling.gradient(model.backend, taken, dx)
        yield dx if there else model.backend.to_numpy(dx)


def _joined(model: Model, X: Any, parts: list[Array]) -> Array:
    """Return blocks of rows as one array, in the library of X."""
    xp = model.backend.xp if model.backend.owns(X) else np
    return give_back(model.backend, X, parts[0] if len(parts) == 1 else xp.concat(parts))
