"""Predictions as means over variants of each picture: ``predict(X, augment_rounds=8)``.

A round changes all pictures alike, by a key that follows from the seed. So what is predicted for a
row depends neither on the other rows nor on how many are computed at a time, and it is the same
each time.
"""

from collections.abc import Callable
from typing import TypeVar

from xpmlp.arrays.checks import whole
from xpmlp.errors import InvalidValueError
from xpmlp.model.base import Model
from xpmlp.nn.contract import Array
from xpmlp.nn.ensemble import can_combine, combined
from xpmlp.nn.random import augment_keys

EPOCH = 2**63
"""The epoch of the keys, which no training reaches."""

Given = TypeVar("Given", bound=Model)


def varied(model: Given, rounds: int, each: bool = False) -> Given:
    """Return a view of a model that predicts by so many variants, and the picture itself.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If the last fit had no augmentation, or means of predictions are not known.
    """
    rounds = whole("augment_rounds", rounds)
    if model.augment is None:
        raise InvalidValueError(
            "augment_rounds: this model was last trained without augmentation, or with a custom "
            "function that its file does not have; fit it with augment=..., or load it with "
            "custom={name: function}"
        )
    if each:
        raise InvalidValueError(
            "augment_rounds: found it with each=True; rounds are of the networks together, so "
            "leave one of them out, or use mlp.member(i)"
        )
    if not can_combine(model.task.loss):
        raise InvalidValueError(
            f"augment_rounds: the mean of predictions is not known for the loss "
            f"{model.task.loss.name!r}; average predict of xpmlp.augment variants yourself"
        )
    view = object.__new__(type(model))
    vars(view).update(vars(model), rounds=rounds, home=model)  # which keeps what is compiled
    return view


def averaging(model: Model, rounds: int) -> Callable[[Callable[[Array], Array], Array], Array]:
    """Return ``f(outputs, x)``: outputs whose prediction is the mean over variants of pictures."""
    ops, augment, task = model.backend.ops, model.augment, model.task
    drawn = augment_keys(model.seed, EPOCH, rounds)[:, 0, :]
    keys = [model.backend.asarray(key) for key in drawn]
    dtype = model.weights.flat.dtype

    def averaged(outputs: Callable[[Array], Array], x: Array) -> Array:
        assert augment is not None
        x = ops.xp.astype(x, dtype, copy=False)
        variants = [x, *(augment(ops, x, key, alike=True) for key in keys)]
        return combined(ops, task.loss, ops.xp.stack([outputs(v) for v in variants]))

    return averaged
