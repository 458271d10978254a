"""A model's forward pass, compiled once for all batches and calls."""

from xpmlp.arrays.rows import Rows
from xpmlp.model import members, rounds
from xpmlp.model.base import Model
from xpmlp.model.memory import rows_within_chunk
from xpmlp.nn.contract import Array
from xpmlp.nn.layers import Pass
from xpmlp.nn.ops import scaled

ROWS = 4096
"""Rows of a batch: enough for full speed, and few enough that the activations fit."""


class Compiled:
    """A model's forward pass, compiled for its backend, task and scaling, for any weights."""

    def __init__(self, model: Model, x: Rows, each: bool) -> None:
        self.how = _how(model, each)
        self.rows = rows_within_chunk(model, ROWS)
        self.backend, self.scaling, self.task = model.backend, model.scaling, model.known_task
        self.scaled, self.settings = x.scaled, model.custom_settings()
        network, layer, ops = model.network, model.full_network(), model.backend.ops
        xp, shift_scale = ops.xp, model.scaling.arrays(x, model.dtype)
        count = self.how[1]
        averaged = rounds.averaging(model, count) if count else None

        def forward(flat: Array, statistics: Array, X: Array) -> Array:
            params = network.layout.views(xp, flat)
            run = Pass(statistics=network.statistics.views(xp, statistics))

            def outputs(x: Array) -> Array:
                z = layer.forward(ops, params, scaled(xp, x, *shift_scale, flat.dtype), run)[0]
                return z if network.members is None else members.outputs(model, z, each)

            return outputs(X) if averaged is None else averaged(outputs, X)

        self.run = model.backend.compile_forward(forward)

    @staticmethod
    def of(model: Model, x: Rows, each: bool) -> "Compiled":
        """Return the model's; make it again if anything that it depends on has changed."""
        home = getattr(model, "home", model)
        made: Compiled | None = home.forward_pass
        if (
            made is None
            or made.how != _how(model, each)
            or made.backend is not model.backend
            or made.scaling is not model.scaling
            or made.task is not model.known_task
            or made.scaled != x.scaled
            or made.settings != model.custom_settings()
        ):
            made = home.forward_pass = Compiled(model, x, each)
        return made


def _how(model: Model, each: bool) -> tuple[bool, int, int | None]:
    """Return whether each network predicts; by how many variants, and by which seed."""
    count = getattr(model, "rounds", 0)  # only a view has it: ``rounds.varied``
    return each, count, model.seed if count else None
