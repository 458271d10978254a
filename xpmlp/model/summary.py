"""A network as a table."""

from math import prod

from xpmlp.model.base import Model


def rounding(mlp: Model) -> str:
    """Describe what matrix products are rounded to; empty for float32."""
    asked, done = mlp.precision, mlp.backend.precision
    if asked == "float32":
        return ""
    instead = "" if done == asked else f" (in {done} on {mlp.backend.device})"
    return f", matrix products in {asked}{instead}"


def summary(mlp: Model) -> str:
    """Return a table of the layers, with output shapes, parameters, formulas and totals."""
    rows = [("layer", "output", "parameters", "computes")]
    width = mlp.sizes[0]
    for layer in mlp.network.layers:
        width = next((s[1] for name, s in layer.shapes.items() if name.endswith(".W")), width)
        count = sum(map(prod, layer.shapes.values()))
        rows.append((layer.name, f"(n, {width})", f"{count:,}" if count else "", layer.formula))
    a, b, c = (max(len(row[i]) for row in rows) for i in range(3))
    lines = [f"{w:<{a}}  {x:<{b}}  {y:>{c}}  {z}".rstrip() for w, x, y, z in rows]
    loss = mlp.known_task.loss.name if mlp.known_task else "inferred from the targets"
    return "\n".join(
        [
            *lines,
            f"{mlp.network.layout.count:,} parameters, {mlp.dtype}{rounding(mlp)}",
            f"loss: {loss}",
            *([] if mlp.table is None else ["", mlp.table.summary()]),
            f"backend: {mlp.backend.name} on {mlp.backend.device}",
        ]
    )
