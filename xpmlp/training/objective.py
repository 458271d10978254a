"""The loss of all data as a function of the parameters, for optimizers of other libraries.

It is a training step without an update: the same formulas, compiled the same way. Losses and
gradients are summed over blocks of rows, so that memory never holds the activations of all rows.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpmlp.errors import InvalidValueError
from xpmlp.model.backends import on_device
from xpmlp.model.base import Model
from xpmlp.model.forward import ROWS
from xpmlp.model.members import refuse_ensemble
from xpmlp.model.memory import rows_within_chunk
from xpmlp.model.predict import thin
from xpmlp.nn.contract import Array, Plan
from xpmlp.nn.optimizers import Optimizer
from xpmlp.nn.penalty import Penalty
from xpmlp.nn.step import TrainingStep, first_state
from xpmlp.nn.updates import Updated
from xpmlp.training.batches import EpochPlan, batch_source
from xpmlp.training.prepare import prepare


@dataclass(frozen=True)
class _NoUpdate(Optimizer):
    """No update, so that a step computes only the loss and its gradient."""

    name = "none"

    def update(self, ops: Any, p: Array, g: Array, moments: tuple[Array, ...], c: Array) -> Updated:
        """Return the parameters as they are."""
        return p, ()


class Objective:
    """The loss with its penalty, and its gradient, as a function of the flat parameters.

    Parameters
    ----------
    mlp : MLP
        Without dropout and batch normalization, whose losses differ from call to call. Its task
        and scaling are set by the data, as in ``fit``.
    X, y, sample_weight
        As for ``MLP.fit``.

    Attributes
    ----------
    rows : int
        Rows of X.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        As ``MLP.fit``; and for a network whose loss depends on more than its parameters.

    Examples
    --------
    >>> import scipy.optimize
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0])
    >>> mlp = xpmlp.MLP([1, 1], dtype="float64", backend="numpy", seed=0)
    >>> objective = xpmlp.Objective(mlp, X, y)
    >>> found = scipy.optimize.minimize(objective, objective.start(), jac=True, method="L-BFGS-B")
    >>> objective.adopt(found.x)
    >>> mlp.predict([[10.0]]).round(3)
    array([21.])
    """

    def __init__(self, mlp: Model, X: Any, y: Any, sample_weight: Any = None) -> None:
        refuse_ensemble(mlp, "Objective")
        if mlp.network.dropouts or mlp.network.looks_at_batches:
            raise InvalidValueError(
                "found dropout or batch normalization in a network whose loss has to be the same "
                "at each call; leave them out, or train with sgd or adam"
            )
        if mlp.penalty.max_norm is not None:
            raise InvalidValueError(
                f"found max_norm={mlp.penalty.max_norm:g}, a bound after each step that is no part "
                "of the loss; leave it out, or train with sgd or adam"
            )
        self._mlp, self.backend, self._layout = mlp, mlp.backend, mlp.network.layout
        self._prepare(X, y, sample_weight)

    @on_device
    def _prepare(self, X: Any, y: Any, sample_weight: Any) -> None:
        mlp = self._mlp
        given = prepare(mlp, X, y, sample_weight).placed(mlp.backend, "auto")
        given.settle_inputs(mlp)
        given = replace(given, x=thin(mlp, given.x))
        mlp.set_task(given.task)
        self.rows = given.x.count
        block = min(rows_within_chunk(mlp, ROWS), self.rows)
        data = given.for_steps(mlp.backend, mlp.dtype)
        self._source = batch_source(mlp.backend, data, given.x.on_host, block)
        # The penalty is added once, not to each block.
        step = TrainingStep(
            *(
                mlp.backend.ops,
                mlp.network,
                mlp.full_network(),
                mlp.task.loss,
                None,
                Penalty(),
                mlp.grouped(_NoUpdate()),
            )
        )
        self._run = mlp.backend.compile(step)
        self._plans = self._planned(block)
        self._shares, total = self._weights(block, given.weight)
        self._penalty = mlp.penalty.of_batch(np, total)

    @on_device
    def __call__(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss and its gradient.

        Parameters
        ----------
        flat : ndarray of float64, shape (layout.size,)

        Returns
        -------
        loss : float
        gradient : ndarray of float64, shape (layout.size,)
            Zeros where the buffer is padding between two parameters.

        Examples
        --------
        >>> mlp = xpmlp.MLP([1, 1], initializer="zeros", dtype="float64", backend="numpy")
        >>> loss, gradient = xpmlp.Objective(mlp, [[1.0]], [2.0])(np.zeros(mlp.network.layout.size))
        >>> loss, sorted(set(gradient.tolist()))  # ½ (0 − 2)², and 0 − 2 for weight and bias
        (2.0, [-2.0, 0.0])
        """
        backend, loss, gradient = self._mlp.backend, 0.0, 0.0
        params = backend.asarray(flat, self._mlp.dtype)
        state = first_state(backend.ops, params, self._mlp.weights.statistics, 0)
        shares = iter(self._shares)
        for data, plan, start, stop in self._source.chunks(self._plans):
            for k in range(start, stop):
                state = self._run(state, data, plan, k, k + 1)
                if len(self._shares) == 1:
                    loss, gradient = state.loss, state.grad
                else:
                    share = next(shares)
                    loss, gradient = loss + share * state.loss, gradient + share * state.grad
        found = backend.to_numpy(gradient).astype(np.float64, copy=False)
        return self._penalized(flat, float(backend.to_numpy(loss)), found)

    def start(self) -> np.ndarray:
        """Return the model's parameters: float64, shape (layout.size,).

        Examples
        --------
        >>> mlp = xpmlp.MLP([1, 1], initializer="zeros", backend="numpy")
        >>> start = xpmlp.Objective(mlp, [[1.0]], [2.0]).start()
        >>> start.dtype, bool(start.any())
        (dtype('float64'), False)
        """
        return self._mlp.backend.to_numpy(self._mlp.weights.flat).astype(np.float64)

    def adopt(self, flat: np.ndarray) -> None:
        """Set the model's parameters.

        Parameters
        ----------
        flat : ndarray of float64, shape (layout.size,)

        Examples
        --------
        >>> mlp = xpmlp.MLP([1, 1], initializer="zeros", backend="numpy")
        >>> objective = xpmlp.Objective(mlp, [[1.0]], [2.0])
        >>> loss, gradient = objective(objective.start())
        >>> objective.adopt(objective.start() - 0.5 * gradient)  # a step of gradient descent
        >>> mlp.predict([[1.0]])
        array([2.], dtype=float32)
        """
        self._mlp.weights.flat = self._mlp.backend.asarray(np.array(flat), self._mlp.dtype)
        self._mlp.calibration = None

    def _penalized(
        self, flat: np.ndarray, loss: float, gradient: np.ndarray
    ) -> tuple[float, np.ndarray]:
        penalty = self._penalty
        params, grads = self._layout.views(np, flat), self._layout.views(np, gradient)
        names = self._mlp.network.weights
        for name in names:
            grads[name][...] = penalty.add_gradient(np, params[name], grads[name])
        return loss + float(penalty.value(np, [params[name] for name in names])), gradient

    def _planned(self, block: int) -> list[EpochPlan]:
        """Return plans for all blocks, in the order of the rows."""
        asarray, rows = self._mlp.backend.asarray, np.arange(self.rows, dtype=np.int32)

        def planned(part: np.ndarray) -> EpochPlan:
            steps = len(part)
            rates = np.zeros((steps, 1), dtype=self._mlp.dtype)
            keys = np.zeros((steps, 0, 2), dtype=np.int32)
            indices = self._source.indices(part)
            return EpochPlan(part, Plan(asarray(indices), asarray(rates), asarray(keys)))

        full = self.rows // block * block
        parts = [rows[:full].reshape(-1, block), rows[full:].reshape(1, -1)]
        return [planned(part) for part in parts if part.size]

    def _weights(self, block: int, weight: np.ndarray | None) -> tuple[list[float], Any]:
        """Return each block's share of all sample weights, and their sum."""
        w = np.ones(self.rows) if weight is None else weight.astype(np.float64)
        blocks = np.add.reduceat(w, np.arange(0, self.rows, block))
        total = float(w.sum())
        return [float(s) for s in blocks / total], total
