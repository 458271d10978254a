"""Averaged weights in a run: who has the average, and who the weights that are trained.

A step trains ``state.params``, and keeps their average as the last of ``state.moments``. A model, a
``Progress`` and a file have them the other way round: the average is what is evaluated and used.
"""

from typing import Any

from xpmlp.model.weights import Weights
from xpmlp.nn.contract import Array, State
from xpmlp.nn.optimizers import Optimizer

Moments = tuple[Array, ...]


def swapped(optimizer: Optimizer, params: Array, moments: Moments) -> tuple[Array, Moments]:
    """Exchange averaged and trained weights; without an average, return what is given."""
    if optimizer.average is None:
        return params, moments
    return moments[-1], (*moments[:-1], params)


def started(xp: Any, optimizer: Optimizer, params: Array, moments: Moments) -> Moments:
    """Return the moments of a model with these weights, as this optimizer needs them.

    The run before may not have averaged its weights: the average then starts at them. Or it has,
    and this one does not.
    """
    slots = optimizer.slots
    if optimizer.average is not None and len(moments) <= slots:
        moments = (*(moments or (xp.zeros_like(params),) * slots), params)
    return moments[: optimizer.buffers]


def with_weights(xp: Any, optimizer: Optimizer, state: State, weights: Weights) -> State:
    """Return a state with copies of a model's weights and running statistics.

    They are the average too: weights that are set count as if they had always been.
    """
    moments = state.moments[: optimizer.slots]
    averages = state.moments[optimizer.slots :]
    return state._replace(
        params=xp.asarray(weights.flat, copy=True),
        moments=(*moments, *(xp.asarray(weights.flat, copy=True) for _ in averages)),
        statistics=xp.asarray(weights.statistics, copy=True),
    )
