"""One step of training, as a pure function of device arrays.

It reads nothing back to the host, has no Python branch on an array's value, and fixed shapes. So
the same code runs in a plain loop on NumPy, inside ``jit`` on JAX, and captured in a CUDA graph.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from xpmlp.nn import ensemble
from xpmlp.nn.augmented import Augment
from xpmlp.nn.contract import Array, Data, Plan, State
from xpmlp.nn.groups import Grouped
from xpmlp.nn.layers import Layer, Pass
from xpmlp.nn.losses import Loss
from xpmlp.nn.metrics import Metric
from xpmlp.nn.network import Network
from xpmlp.nn.ops import Ops, scaled
from xpmlp.nn.penalty import Penalty
from xpmlp.nn.updates import Updated


@dataclass(frozen=True)
class TrainingStep:
    """A callable ``step(state, data, plan, k) -> state`` for one network, loss and optimizer.

    It may overwrite the state it is given, if the backend's operations do.

    Attributes
    ----------
    ops : Ops
    network : Network
    model : Layer
        The network's body, with an output activation if the loss has no link.
    loss : Loss
    metric : Metric or None
    penalty : Penalty
    optimizer : Grouped
    owners : Array of int32, shape (layout.size,), optional
        Which network has each parameter, where each has its learning rate.
    augment : Augment or None
        What is done to the pictures of a batch; its key comes after those of dropout.
    """

    ops: Ops
    network: Network
    model: Layer
    loss: Loss
    metric: Metric | None
    penalty: Penalty
    optimizer: Grouped
    owners: Array = None
    augment: Augment | None = None

    def __call__(self, state: State, data: Data, plan: Plan, k: Any) -> State:
        """Take step ``k`` of the plan."""
        ops, xp, layout = self.ops, self.ops.xp, self.network.layout
        rows = plan.rows[k, ...]
        x, y, weight = self.batch(data, rows, state.params.dtype, plan.keys[k, ...])
        params = ops.unpack(layout, state.params)
        run = Pass(
            training=True,
            keys=plan.keys[k, ...] if self.network.dropouts else None,
            statistics=self.network.statistics.views(xp, state.statistics),
            grad=layout.views(xp, state.grad),
        )
        value, grads, score = self.gradient(params, x, y, weight, run)
        sums = ops.accumulate(state.totals, state.carry, state.finite, value, rows.shape[-1], score)
        grad = ops.pack(layout, grads, state.grad, run.grad)
        new, moments = self.update(state, grad, plan.coefficients[k, ...])
        statistics = self.statistics(state.statistics, run)
        return State(new, moments, grad, statistics, value, *sums)

    def batch(
        self, data: Data, rows: Array, dtype: Any, keys: Array
    ) -> tuple[Array, Array, Array | None]:
        """Return the inputs, targets and weights of some rows, as the network takes them."""
        if self.augment is None:
            return self._gathered(data, rows, dtype)
        x, y, weight = self._gathered(data._replace(shift=None, scale=None), rows, dtype)
        x = self.augment(self.ops, x, keys[..., self.network.dropouts, :])
        return scaled(self.ops.xp, x, data.shift, data.scale, dtype), y, weight

    def _gathered(self, data: Data, rows: Array, dtype: Any) -> tuple[Array, Array, Array | None]:
        if self.network.members is None:
            given = (data.X, data.y, data.weight, rows, data.shift, data.scale, dtype)
            return self.ops.gather_batch(*given)
        return ensemble.gather_batch(self.ops, self.network.members, data, rows, dtype)

    def statistics(self, before: Array, run: Pass) -> Array:
        """Return the running statistics after a pass, flat."""
        if not run.new_statistics:
            return before
        old = self.network.statistics.views(self.ops.xp, before)
        return self.ops.pack(self.network.statistics, old | run.new_statistics, before, old)

    def gradient(
        self, params: Mapping[str, Array], x: Array, y: Array, weight: Array | None, run: Pass
    ) -> tuple[Array, dict[str, Array], Array | None]:
        """Return the batch's loss, its gradient by parameter, and the metric by rows.

        The loss is the weighted mean over the rows plus the penalty; of k networks, each one's.
        """
        value, grads, score = self.loss_gradient(params, x, y, weight, run)
        if weight is not None and weight.ndim > 1 and self.network.seeded is None:
            weight = weight[0, :]  # of shared matrices there is one penalty
        return *self.penalized(params, value, grads, x.shape[-2], weight), score

    def loss_gradient(
        self,
        params: Mapping[str, Array],
        x: Array,
        y: Array,
        weight: Array | None,
        run: Pass,
        times: Array | float | None = None,
    ) -> tuple[Array, dict[str, Array], Array | None]:
        """Return the same without the penalty; loss and gradient multiplied by ``times``."""
        z, backward = self.model.forward(self.ops, params, x, run)
        value, dz, score = self._assess(z, y, weight)
        if times is not None:
            value, dz = value * times, dz * times
        _, grads = backward(dz, False)
        return value, grads, score

    def penalized(
        self,
        params: Mapping[str, Array],
        value: Array,
        grads: dict[str, Array],
        rows: int,
        weight: Array | None,
    ) -> tuple[Array, dict[str, Array]]:
        """Add the penalty to a batch's mean loss, and to its gradient."""
        if not self.penalty.is_zero:
            penalty = self.penalty.of_batch(self.ops.xp, rows, weight)
            for name in self.network.weights:
                part, grads[name] = self.ops.penalize(penalty, params[name], grads[name])
                value = value + part
        return value, grads

    def update(self, state: State, grad: Array, c: Array) -> Updated:
        """Return the new parameters and moments, the last of which is the average if there is one.

        a ← a − w (a − θ) is a step of gradient descent from a towards θ at the rate w, so the
        backends' fused update computes it.
        """
        ops, optimizer, moments = self.ops, self.optimizer, state.moments
        last = c.shape[0] - 1
        averages = moments[optimizer.slots :]
        c, w = (c[:last, ...], c[last, ...]) if averages else (c, None)
        if w is not None and w.ndim:
            w = w[0]  # the same for each network
        state_of = moments[: optimizer.slots]
        grad = optimizer.clip(ops, grad, self.network.seeded)
        new, moments = optimizer.update(ops, state.params, grad, state_of, c, self.owners)
        if self.penalty.max_norm is not None:
            new = self._bounded(new)
        return new, (*moments, *(ops.sgd(a, a - new, w) for a in averages))

    def _assess(self, z: Array, y: Array, weight: Array | None) -> tuple[Array, Array, Any]:
        members = self.network.members
        if members is None:
            return self.ops.assess(self.ops, self.loss, self.metric, z, y, weight)
        return ensemble.assess(self.ops, members, self.loss, self.metric, z, y, weight)

    def _bounded(self, flat: Array) -> Array:
        views = self.network.layout.views(self.ops.xp, flat)
        bounds = set(self.network.weights) - self.optimizer.frozen
        bounded = {
            name: self.penalty.bound(self.ops.xp, view) if name in bounds else view
            for name, view in views.items()
        }
        return self.ops.pack(self.network.layout, bounded, flat, views)


COUNTED = 4096
"""Float32 holds both parts of a count of steps, divided by this, exactly."""


def summary(xp: Any, state: State) -> Array:
    """Return all that is read at an epoch's end, in one array: one wait for the device.

    Returns
    -------
    Array, shape (5,)
        The sums of loss and metric; the count of steps that left the first finite, divided by
        ``COUNTED`` and the remainder; and 1 if parameters and running statistics are finite. Of
        k networks, shape (4 k + 1,): each but the last for each.
    """
    dtype, steps = state.totals.dtype, xp.reshape(state.finite[:1, ...], (-1,))
    good = xp.all(xp.isfinite(state.params)) & xp.all(xp.isfinite(state.statistics))
    counts = (steps // COUNTED, steps % COUNTED, xp.reshape(good, (1,)))
    totals = xp.reshape(state.totals, (-1,))
    return xp.concat([totals, *(xp.astype(count, dtype) for count in counts)])


class Seen(NamedTuple):
    """A ``summary`` on the host: sums, finite steps, and whether the weights are finite.

    Sums of k networks are their means, with each one's in ``each``; the steps are the fewest.
    """

    loss: float
    score: float
    steps: int
    finite: bool
    each: tuple[tuple[float, ...], tuple[float, ...]]

    @classmethod
    def of(cls, summary: Any) -> "Seen":
        """Read the array."""
        *values, finite = map(float, summary)
        k = len(values) // 4
        losses, scores, many, few = (tuple(values[i * k : (i + 1) * k]) for i in range(4))
        steps = min(int(m) * COUNTED + int(f) for m, f in zip(many, few, strict=True))
        return cls(sum(losses) / k, sum(scores) / k, steps, bool(finite), (losses, scores))


def first_state(
    ops: Ops,
    params: Array,
    statistics: Array,
    moments: int | tuple[Array, ...],
    networks: tuple[int, ...] = (),
) -> State:
    """Return a state with copies of these parameters: a run may write to the state it is given.

    Parameters
    ----------
    ops : Ops
    params, statistics : Array
        Flat, as in ``State``.
    moments : int or tuple of Array
        The optimizer state, or its number of arrays, which are then 0.
    networks : tuple of int
        (k,) of k networks, each of which has its loss and its sums.
    """
    xp = ops.xp
    if isinstance(moments, int):
        moments = (xp.zeros_like(params),) * moments
    pair = xp.zeros((2, *networks), dtype=params.dtype, device=ops.device)
    return State(
        params=xp.asarray(params, copy=True),
        moments=tuple(xp.asarray(m, copy=True) for m in moments),
        grad=xp.zeros_like(params),
        statistics=xp.asarray(statistics, copy=True),
        loss=xp.sum(pair, axis=0),
        totals=pair,
        carry=xp.zeros_like(pair),
        finite=xp.zeros_like(pair, dtype=xp.int32),
    )
