"""The numbers of an epoch that follow a schedule, computed on the host before it begins."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from xpmlp.errors import InvalidValueError
from xpmlp.nn.groups import Grouped
from xpmlp.nn.schedules import Time


def coefficients(optimizer: Grouped, taken: int, time: Time) -> tuple[np.ndarray, list[Any]]:
    """Return the scalars that an epoch's steps read, and the learning rate of each step.

    Parameters
    ----------
    optimizer : Grouped
    taken : int
        Steps before it.
    time : Time

    Returns
    -------
    values : ndarray of float64, shape (steps, scalars), or (steps, scalars, k)
        Those of each group; if one differs between k networks, all of them for each network. With
        averaged weights, the last says how far the average moves.
    rates : list of float, or of tuple of float

    Raises
    ------
    InvalidValueError
        If a schedule has a value below 0, or none that is finite.
    """
    t, chosen = np.arange(1.0, time.steps + 1.0) + taken, optimizer.optimizer
    groups = optimizer.values(*time)
    each = any(isinstance(v[0], tuple) for values in groups for v in values if v is not None)

    def over_networks(values: Any) -> np.ndarray:
        array = np.asarray(values, dtype=np.float64)
        return array[:, None] if each and array.ndim == 1 else array

    t = over_networks(t)
    found = [t]
    for rates, decays in groups:
        _check("learning_rate", rates, chosen.learning_rate, time.steps)
        if decays is not None:
            _check("weight_decay", decays, getattr(chosen, "weight_decay", None), time.steps)
        more = () if decays is None else (over_networks(decays),)
        with np.errstate(over="ignore"):
            found += chosen.coefficients(t, over_networks(rates), *more)
    if chosen.average is not None:
        found.append(averaging(chosen.average, t))
    return np.stack(np.broadcast_arrays(*found)[1:], axis=1), groups[0][0]


def averaging(decay: float, t: np.ndarray) -> np.ndarray:
    """Return how far the average of the weights moves towards them in each step t, from 1.

    The mean of θ₁ to θₜ with the weights aᵗ⁻ⁱ, whose sum is (1 − aᵗ)/(1 − a), moves by the share
    (1 − a)/(1 − aᵗ): in the first step all the way, so that no trace of the initial weights is
    left.
    """
    share: np.ndarray = (1.0 - decay) / (1.0 - decay**t)
    return share


def _check(name: str, values: Sequence[Any], by: Any, steps: int) -> None:
    if len(values) != steps:
        raise InvalidValueError(
            f"{name}: found {len(values)} by {by!r}; expected one for each of {steps} steps"
        )
    for k, value in enumerate(values):
        for one in value if isinstance(value, tuple) else (value,):
            if not 0 <= one < math.inf:
                raise InvalidValueError(
                    f"{name}: found {one:g} for step {k + 1} of an epoch, by {by!r}; expected a "
                    "finite number, 0 or more"
                )
