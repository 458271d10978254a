"""The networks of an ensemble: what each of them predicts, and one of them as a model alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xpmlp.errors import InvalidValueError
from xpmlp.model.base import Model
from xpmlp.nn.contract import Array
from xpmlp.nn.ensemble import Members, can_combine, combined, member_values


def members_of(model: Model, what: str) -> Members:
    """Return how many networks a model is; InvalidValueError for one without an axis in front."""
    members = model.network.members
    if members is None:
        raise InvalidValueError(
            f"{what}: this model is one network. MLP(..., ensemble=k) makes k of them"
        )
    return members


def refuse_ensemble(model: Model, what: str) -> None:
    """Refuse what shows or computes one network: InvalidValueError."""
    if (members := model.network.members) is not None:
        raise InvalidValueError(
            f"{what}: this model is an ensemble of {members.count} networks; pass one of them: "
            "mlp.member(0)"
        )


def outputs(model: Model, z: Array, each: bool) -> Array:
    """Return what a forward pass makes of the outputs of all networks, shape (k, n, outputs).

    Returns
    -------
    Array, shape (n, outputs) or (n, k, outputs)
        The outputs whose prediction is the mean of all; or, with ``each``, those of each network.
    """
    if each:
        return model.backend.xp.permute_dims(z, (1, 0, 2))
    loss = model.task.loss
    if not can_combine(loss):
        raise InvalidValueError(
            f"predict: the mean of predictions is not known for the loss {loss.name!r} with the "
            f"link {loss.link!r}; use each=True"
        )
    return combined(model.backend.ops, loss, z)


def networks_first(xp: Any, made: Array) -> Array:
    """Return predictions of shape (n, k, ...) as (k, n, ...)."""
    made = xp.permute_dims(made, (1, 0, *range(2, made.ndim)))
    return np.ascontiguousarray(made) if xp is np else made


def deviation(xp: Any, made: Array) -> Array:
    """Return the standard deviation of what the networks predict, of shape (n, k, ...)."""
    return xp.std(made, axis=1)


def member(model: Any, i: int) -> Any:
    """Return network i as a model alone; ``MLP.member`` documents it."""
    members = members_of(model, "member")
    count = members.count
    if not isinstance(i, int | np.integer) or isinstance(i, bool) or not -count <= i < count:
        raise InvalidValueError(f"member: found {i!r}; expected 0 to {count - 1}")
    at = int(i) % count
    seed = model.seeds[at] if members.independent else model.seed
    penalty = {
        name: strength[at] if isinstance(strength, list | tuple) else strength
        for name, strength in ((n, model.arguments[n]) for n in ("l1", "l2"))
    }
    cls: Any = type(model)
    made = cls.__new__(cls)  # a subclass may have other arguments
    changed = {"ensemble": None, "sharing": "none", "seed": seed, **penalty}
    Model.__init__(made, **(model.arguments | changed), backend=model.backend)
    made.scaling, made.table, made.metadata = model.scaling, model.table, dict(model.metadata)
    made.known_task, made.loss = model.known_task, model.loss
    made.seed_is_drawn, made.epochs_trained = model.seed_is_drawn, model.epochs_trained
    made.load_state_dict(member_values(members, at, model.state_dict()))
    return made


def subset(model: Any, indices: Sequence[int]) -> Any:
    """Return an ensemble of some of a model's networks, which share nothing.

    Each is as it was: with its weights, optimizer state, seed and penalty.
    """
    members, kept = members_of(model, "subset"), list(indices)
    assert members.independent

    def some(each: Any) -> Any:
        return [each[i] for i in kept] if isinstance(each, list | tuple) else each

    changed = {name: some(model.arguments[name]) for name in ("l1", "l2")}
    changed |= {"ensemble": len(kept), "seed": [model.seeds[i] for i in kept]}
    cls: Any = type(model)
    made = cls.__new__(cls)
    Model.__init__(made, **(model.arguments | changed), backend=model.backend)
    made.scaling, made.table, made.metadata = model.scaling, model.table, dict(model.metadata)
    made.known_task, made.loss = model.known_task, model.loss
    made.epochs_trained = model.epochs_trained
    made.load_state_dict({name: value[kept] for name, value in model.state_dict().items()})
    if model.progress is not None:
        made.progress = replace(
            model.progress,
            moments=tuple(_some_of(model, made, m, kept) for m in model.progress.moments),
        )
    return made


def _some_of(model: Model, made: Model, flat: Array, kept: list[int]) -> Array:
    """Return some networks' part of a flat buffer, laid out as ``made`` has it."""
    views = model.network.layout.views(np, model.backend.to_numpy(flat))
    host = made.network.layout.flatten({name: view[kept] for name, view in views.items()})
    return made.backend.asarray(host, made.dtype)
