"""How a run cuts its batches into shards, and what cannot be cut."""

from typing import Any

from xpmlp.errors import InvalidValueError
from xpmlp.model.base import Model
from xpmlp.model.members import refuse_ensemble
from xpmlp.nn.orders import Cut
from xpmlp.nn.shards import least_rows
from xpmlp.parallel.run import Sharded
from xpmlp.parallel.tree import owned


def cut_of(model: Model, form: Any) -> Cut:
    """Return how a run cuts its batches, if at all."""
    if not isinstance(form, Sharded):
        return Cut()
    own = owned(form.shards, form.together.rank, form.together.size)
    return Cut(form.shards, least_rows(model.network), *own)


def refuse_to_cut(model: Model, batch_size: int, form: Any, stream: object) -> None:
    """Refuse what cannot be cut into shards.

    Raises
    ------
    InvalidValueError
        For an ensemble; for ready batches; for batches too small for a shard to have a variance, if
        there is batch normalization.
    """
    refuse_ensemble(model, "fit(shards=...)")
    if stream is not None:
        raise InvalidValueError(
            "shards: found them together with batches, which nobody can compare between workers; "
            "pass X and y"
        )
    least = form.shards * least_rows(model.network)
    if form.shards < least and batch_size < least:
        raise InvalidValueError(
            f"batch_size: found {batch_size} rows for {form.shards} shards and batch "
            "normalization: of a shard's rows, and some would have one, which has no variance. "
            f"Expected {least} or more, or fewer shards, or normalization='layer'"
        )
