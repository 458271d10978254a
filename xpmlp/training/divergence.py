"""Where a NaN comes from: the first number of a training step that is not finite."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpmlp.errors import DivergenceError
from xpmlp.model.base import Model
from xpmlp.model.trace import Trace, trace
from xpmlp.nn.contract import Array, Run, State
from xpmlp.nn.ops import Ops, scaled
from xpmlp.training.batches import BatchSource, EpochPlan

_CLIP = "a smaller learning rate, clip_norm=1.0 in the optimizer, or dtype='float64'"
_SMALL = (
    "a smaller learning rate, scaled inputs (scaling='standard'), smaller first weights "
    "(initializer='auto'), or normalization='layer'"
)


@dataclass(frozen=True)
class Divergence:
    """The first value of a step, in the order of computation, that is not finite.

    Attributes
    ----------
    place : str
        A layer, ``"loss"``, or a parameter: ``"activation2"``, ``"dense1.W"``.
    evidence : str
        What was found there, and how large its input was.
    change : str
        What to try.
    """

    place: str
    evidence: str
    change: str

    def __str__(self) -> str:
        return f"{self.evidence}. Try {self.change}"


@dataclass(frozen=True)
class EpochStart:
    """The start of an epoch: what running it again takes."""

    plans: list[EpochPlan]
    rates: list[float]  # the learning rate of each step
    first: int  # the first step; not 0 if the run resumed within the epoch
    moments: tuple[Array, ...] | None  # a copy of the optimizer state; None if it was 0
    state: State | None  # a copy of the whole state, if ``first`` is not 0

    def locate(
        self,
        model: Model,
        run: Run,
        source: BatchSource,
        begin: Callable[[], State],
        step: int | None,
    ) -> tuple[int, object]:
        """Run the epoch again, and find what diverged and in which step, counted from 0.

        ``begin()`` is the state with which the epoch began. ``step`` is the first whose loss was
        not finite; None if all were, and a weight is not.
        """
        found: Divergence | Diverged | None = None
        xp, exact = model.backend.xp, step is None
        if step is None:
            step = self._first_not_finite(xp, run, source, begin())
        state, ahead = begin(), step - self.first
        for data, plan, start, stop in source.chunks(self.plans, self.first):
            if ahead >= stop - start:
                state, ahead = run(state, data, plan, start, stop), ahead - (stop - start)
                continue
            k = start + ahead
            state = run(state, data, plan, start, k)
            if not exact and step > self.first and not _finite(xp, state):  # an earlier step did it
                return self.locate(model, run, source, begin, None)
            if model.network.members is not None:
                after = run(state, data, plan, k, k + 1)
                found = diverged(model, after)
                break
            before = xp.asarray(state.params, copy=True)
            rows = plan.rows[k, :]
            X = scaled(xp, xp.take(data.X, rows, axis=0), data.shift, data.scale, before.dtype)
            y = xp.take(data.y, rows, axis=0)
            after = run(state, data, plan, k, k + 1).params
            found = locate(model, X, y, before, after)
            break
        return step, found or (
            "the loss or a running statistic is not finite. Try a smaller learning rate, or "
            "clip_norm=1.0"
        )

    def _first_not_finite(self, xp: Any, run: Run, source: BatchSource, state: State) -> int:
        """Return the first step after which a weight or a running statistic is not finite."""
        step = self.first
        for data, plan, start, stop in source.chunks(self.plans, self.first):
            for k in range(start, stop):
                state = run(state, data, plan, k, k + 1)
                if not _finite(xp, state):
                    return step
                step += 1
        return step - 1


def unlocated(epoch: int, epochs: int) -> DivergenceError:
    """Return the error of an epoch whose steps cannot be taken again."""
    return DivergenceError(
        f"the training diverged in epoch {epoch + 1} of {epochs}: the loss or a weight is not "
        "finite. Try a smaller learning rate, or clip_norm=1.0"
    )


@dataclass(frozen=True)
class Diverged:
    """The networks of an ensemble whose loss, weights or statistics are not finite."""

    networks: tuple[int, ...]
    count: int

    def __str__(self) -> str:
        names = ", ".join(map(str, self.networks))
        return (
            f"of {self.count} networks {names or 'all that share a weight'} became NaN or "
            "infinite. Try smaller learning rates, or clip_norm=1.0"
        )


def diverged(model: Model, state: State) -> Diverged:
    """Find the networks of an ensemble that are not finite after a step."""
    count = model.network.members.count if model.network.members else 1
    bad = ~np.isfinite(model.backend.to_numpy(state.loss))
    for name, value in model.weights.to_host(state.params, state.statistics).items():
        if len(value) == count and model.network.is_of_each(name):
            bad |= ~np.isfinite(value).reshape(count, -1).all(axis=1)
    return Diverged(tuple(np.flatnonzero(bad).tolist()), count)


def _finite(xp: Any, state: State) -> bool:
    return all(bool(xp.all(xp.isfinite(x))) for x in (state.params, state.statistics))


def locate(
    mlp: Model, X: Any, y: Any, params: Array, updated: Array | None = None
) -> Divergence | None:
    """Find the first value of a step that is not finite.

    Parameters
    ----------
    mlp : MLP
        With a task. Its running statistics are used, its weights are not.
    X, y : Array
        The step's batch on the device: inputs as the first layer takes them, encoded targets.
    params : Array, shape (mlp.network.layout.size,)
        Parameters just before the step.
    updated : Array, optional
        Parameters just after the step: if everything else is finite, the update is the cause.

    Returns
    -------
    Divergence or None
        None if everything is finite. Sample weights are left out, and dropout drops other units
        than in the step, so a NaN that only they cause is not found.
    """
    with np.errstate(all="ignore"):  # overflow is what we look for
        before = _parameters(mlp, params, "already is {} before the step")
        if before is not None:
            return before
        seen = trace(mlp, X, y, encoded=True, training=True, params=params)
        for found in (*_forward(seen), *_loss(mlp, seen), *_backward(seen)):
            return found
        return None if updated is None else _parameters(mlp, updated, "becomes {} in the update")


def _parameters(mlp: Model, flat: Array, what: str) -> Divergence | None:
    host = np.asarray(mlp.backend.to_numpy(flat))
    for name, (_, start, stop) in mlp.network.layout.slots.items():
        if bad := _bad(host[start:stop]):
            return Divergence(name, f"{name} {what.format(bad)}", _CLIP)
    return None


def _forward(seen: Trace) -> Iterator[Divergence]:
    for record in seen.records:
        if bad := _bad(record.y):
            layer = record.layer
            yield Divergence(
                layer.name,
                f"forward: the output of {layer.name} ({layer.formula}) has {bad}; its input "
                f"reaches {_reach(record.x)}",
                _SMALL,
            )


def _loss(mlp: Model, seen: Trace) -> Iterator[Divergence]:
    z = seen.records[-1].y
    rows, _ = mlp.task.loss(Ops.reference(np), z, seen.target)
    if bad := _bad(rows):
        yield Divergence(
            "loss",
            f"the loss {mlp.task.loss.name} has {bad} for outputs that reach {_reach(z)}",
            "a smaller learning rate, smaller targets (scaling='standard'), or loss='huber'",
        )
    elif not np.isfinite(seen.loss):
        yield Divergence(
            "loss",
            f"the batch's loss is {seen.loss}: the penalty, or the sum of rows that reach "
            f"{_reach(rows)}",
            "a smaller learning rate, a smaller l1 or l2, or smaller targets",
        )


def _backward(seen: Trace) -> Iterator[Divergence]:
    for record in reversed(seen.records):
        layer = record.layer
        results = {"dLoss/d(its output)": record.dy, "dLoss/d(its input)": record.dx}
        for name, value in (results | record.grads).items():
            if value is not None and (bad := _bad(value)):
                yield Divergence(
                    layer.name if name.startswith("dLoss") else name,
                    f"backward: the gradient of {name} in {layer.name} has {bad}; what comes "
                    f"back to it reaches {_reach(record.dy)}",
                    _CLIP,
                )
    for name, value in seen.gradient.items():
        if bad := _bad(value):
            yield Divergence(
                name, f"backward: the gradient of {name} has {bad} with the penalty", _CLIP
            )


def _bad(x: np.ndarray) -> str:
    """Return what is not finite in x: ``"NaN"``, ``"infinity"``, or ``""``."""
    if np.isfinite(x).all():
        return ""
    return "NaN" if np.isnan(x).any() else "infinity"


def _reach(x: np.ndarray | None) -> str:
    finite = np.abs(x[np.isfinite(x)]) if x is not None else np.zeros(0)
    return f"{finite.max(initial=0.0):.3g}"
