"""A training step in two parts: the gradients of a batch's shards, and one update by their sum.

Between the two, ``xpmlp.parallel`` adds up the shards, each of which has left one flat array.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from xpmlp.nn.contract import Array, Data, Plan, State
from xpmlp.nn.layers import Pass
from xpmlp.nn.network import Network
from xpmlp.nn.numeric import BINS
from xpmlp.nn.parameters import Layout
from xpmlp.nn.step import TrainingStep

LOSS, SCORE, WEIGHT = "sum of losses", "sum of scores", "sum of weights"
STATISTICS = "statistics of "


def least_rows(network: Network) -> int:
    """Return how many rows a shard has at least: one has no variance."""
    return 2 if network.looks_at_batches else 1


def averaged(network: Network) -> dict[str, tuple[int, ...]]:
    """Return name and shape of the running statistics that training changes."""
    slots = network.statistics.slots
    return {name: slot.shape for name, slot in slots.items() if name not in BINS}


def sum_layout(network: Network) -> Layout:
    """Return the layout of a shard's sums; it begins with the gradient, as parameters lie."""
    shapes = {name: slot.shape for name, slot in network.layout.slots.items()}
    shapes |= {f"{STATISTICS}{name}": shape for name, shape in averaged(network).items()}
    return Layout(shapes | dict.fromkeys((LOSS, SCORE, WEIGHT), (1,)))


@dataclass(frozen=True)
class ShardGradient:
    """A step that only computes: the sums of a shard, in ``state.grad``.

    They are Σ wᵢ·∂lossᵢ/∂θ, rows · the new running statistics, Σ wᵢ·lossᵢ, the metric's sum over
    the rows, and Σ wᵢ, or the number of rows without weights. Batch normalization takes mean and
    variance of the shard's rows (Goyal et al. 2017). There is no penalty: it is the batch's.

    Attributes
    ----------
    step : TrainingStep
    layout : Layout
        By ``sum_layout``; ``state.grad`` has its size.
    """

    step: TrainingStep
    layout: Layout

    def __call__(self, state: State, data: Data, plan: Plan, k: Any) -> State:
        """Compute the sums for the rows of step ``k`` of the shard's plan."""
        step, ops, xp, network = self.step, self.step.ops, self.step.ops.xp, self.step.network
        rows = plan.rows[k, ...]
        keys = plan.keys[k, ...]
        x, y, weight = step.batch(data, rows, state.params.dtype, keys)
        old = network.statistics.views(xp, state.statistics)
        out = self.layout.views(xp, state.grad)
        run = Pass(
            training=True,
            keys=keys if network.dropouts else None,
            statistics=old,
            grad=out,
        )
        params, n = ops.unpack(network.layout, state.params), rows.shape[-1]
        total = float(n) if weight is None else xp.sum(weight)
        value, grads, score = step.loss_gradient(params, x, y, weight, run, total)
        new: Mapping[str, Array] = old | run.new_statistics
        zero = xp.zeros_like(value)
        sums = {
            LOSS: value,
            SCORE: zero if score is None else xp.sum(score),
            WEIGHT: zero + total,
        }
        sums = {name: xp.reshape(one, (1,)) for name, one in sums.items()}
        sums |= {f"{STATISTICS}{name}": new[name] * float(n) for name in averaged(network)}
        return state._replace(grad=ops.pack(self.layout, grads | sums, state.grad, out))


@dataclass(frozen=True)
class SummedUpdate:
    """A step that takes the sums over all shards, the last of ``state.moments``, and updates.

    Attributes
    ----------
    step : TrainingStep
    layout : Layout
        By ``sum_layout``.
    """

    step: TrainingStep
    layout: Layout

    def __call__(self, state: State, data: Data, plan: Plan, k: Any) -> State:
        """Take step ``k`` of the batch's plan; the data are not read."""
        step, ops, xp, network = self.step, self.step.ops, self.step.ops.xp, self.step.network
        *moments, flat = state.moments
        rows, sums = plan.rows.shape[-1], self.layout.views(xp, flat)
        tiny = float(xp.finfo(flat.dtype).smallest_normal)
        total = xp.maximum(sums[WEIGHT], tiny)
        value = xp.reshape(sums[LOSS] / total, ())
        grad = flat[: network.layout.size] / total
        views = network.layout.views(xp, grad)
        params = ops.unpack(network.layout, state.params)
        value, grads = step.penalized(params, value, dict(views), rows, sums[WEIGHT])
        grad = ops.pack(network.layout, grads, grad, views)
        totals = ops.accumulate(state.totals, state.carry, state.finite, value, rows, sums[SCORE])
        old = state._replace(moments=tuple(moments))
        new, updated = step.update(old, grad, plan.coefficients[k, ...])
        statistics = state.statistics
        means = {name: sums[f"{STATISTICS}{name}"] / rows for name in averaged(network)}
        if means:
            before = network.statistics.views(xp, statistics)
            statistics = ops.pack(network.statistics, before | means, statistics, before)
        return State(new, (*updated, flat), state.grad, statistics, value, *totals)


def parts(step: TrainingStep) -> tuple[ShardGradient, SummedUpdate]:
    """Return the two parts of a step."""
    layout = sum_layout(step.network)
    bare = replace(step, penalty=replace(step.penalty, l1=0.0, l2=0.0))
    return ShardGradient(bare, layout), SummedUpdate(step, layout)
