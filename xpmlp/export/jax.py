"""``MLP.to_jax``: the forward pass as a pure function of parameters and inputs."""

from collections.abc import Callable, Mapping

from xpmlp.export import forward
from xpmlp.model.backends import backend_for
from xpmlp.model.base import Model
from xpmlp.nn.functions import Array


def convert(
    model: Model, outputs: str
) -> tuple[Callable[[Mapping[str, Array], Array], Array], dict[str, Array]]:
    """Return a function and its parameters; ``MLP.to_jax`` documents it."""
    reading = forward.reading_of(model, outputs)
    backend = backend_for("jax", None, model.dtype, "float32")
    exact = "float64" if "float64" in backend.capabilities else model.dtype
    host = forward.Host(backend.xp, backend.ops, backend.asarray, exact=exact)
    values = {n: backend.asarray(a, model.dtype) for n, a in model.state_dict().items()}
    parameters = {name: values[name] for name in model.network.layout.slots}
    statistics = {name: values[name] for name in model.network.statistics.slots}
    layer, fixed = model.full_network(), forward.Fixed.of(model)

    def function(parameters: Mapping[str, Array], X: Array) -> Array:
        """Return the outputs of rows, shape (n, outputs); of one row, shape (outputs,)."""
        x = host.xp.asarray(X)
        rows = x[None, :] if x.ndim == 1 else x
        out = forward.logits(fixed, host, layer, {**statistics, **parameters}, rows)
        made = forward.read(fixed, host, out, reading)
        return made[0, :] if x.ndim == 1 else made

    return function, parameters
