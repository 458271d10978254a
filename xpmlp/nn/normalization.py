"""Layer and batch normalization: layers between a dense map and its activation."""

from collections.abc import Callable
from typing import Any

from xpmlp.nn.functions import Array, over_rows, summed_over_rows
from xpmlp.nn.layers import Backward, Grads, Layer, Params, Pass

EPSILON = 1e-5
"""Added to variances before the root, as in both papers and in PyTorch."""


def _normalized_gradient(xp: Any, x_hat: Array, dx_hat: Array, inv: Array, axis: int) -> Array:
    """Gradient through x̂ = (x − μ)/√(σ² + ε), with μ and σ² taken along ``axis``.

    ∂x̂ᵢ/∂xⱼ = (δᵢⱼ − 1/m − x̂ᵢ x̂ⱼ/m)/√(σ² + ε) over the m elements of one mean, so
    dx = (dx̂ − mean(dx̂) − x̂ · mean(dx̂ · x̂))/√(σ² + ε).
    """
    mean = xp.mean(dx_hat, axis=axis, keepdims=True)
    along = xp.mean(dx_hat * x_hat, axis=axis, keepdims=True)
    return (dx_hat - mean - x_hat * along) * inv


def _gradients(xp: Any, p: Params, gain: str, bias: str, dy: Array, x_hat: Array) -> Grads:
    """dg = Σᵢ dyᵢ x̂ᵢ and db = Σᵢ dyᵢ, over the rows of all networks that share them."""
    return {
        gain: summed_over_rows(xp, dy * x_hat, p[gain]),
        bias: summed_over_rows(xp, dy, p[bias]),
    }


def layer_norm(name: str, units: int) -> Layer:
    """y = g · (x − μ)/√(σ² + ε) + b with μ and σ² of each example (Ba et al. 2016).

    g and b have shape (units,). dg = Σᵢ dyᵢ x̂ᵢ, db = Σᵢ dyᵢ, dx̂ = dy · g.
    """
    gain, bias = f"{name}.g", f"{name}.b"

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        xp = ops.xp
        centred = x - xp.mean(x, axis=-1, keepdims=True)
        inv = 1.0 / xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + EPSILON)
        x_hat = centred * inv

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            grads = _gradients(xp, p, gain, bias, dy, x_hat)
            dx_hat = dy * over_rows(p[gain]) if need_dx else None
            return None if dx_hat is None else _normalized_gradient(
                xp, x_hat, dx_hat, inv, -1
            ), grads

        return x_hat * over_rows(p[gain]) + over_rows(p[bias]), backward

    return Layer(
        name,
        forward,
        {gain: (units,), bias: (units,)},
        {},
        "y = g (x − μ)/σ + b over the units",
        {gain: 1.0},
    )


def batch_norm(name: str, units: int, momentum: float = 0.1) -> Layer:
    """y = g · (x − μ)/√(σ² + ε) + b with μ and σ² over the batch (Ioffe and Szegedy 2015).

    In training the running values move by ``momentum`` towards the batch's mean and unbiased
    variance; outside training they replace the batch's. Gradients are those of ``layer_norm``, with
    means over the batch.
    """
    gain, bias = f"{name}.g", f"{name}.b"
    mean_name, var_name = f"{name}.mean", f"{name}.var"

    def forward(ops: Any, p: Params, x: Array, run: Pass) -> tuple[Array, Backward]:
        xp = ops.xp
        if run.training:
            n = x.shape[-2]
            mean = xp.mean(x, axis=-2)
            centred = x - over_rows(mean)
            var = xp.mean(centred * centred, axis=-2)
            old_mean, old_var = run.statistics[mean_name], run.statistics[var_name]
            unbiased = var * (n / max(n - 1, 1))
            if n > 1:  # a single row has no variance: it would pull the running one towards 0
                run.new_statistics[mean_name] = old_mean + momentum * (mean - old_mean)
                run.new_statistics[var_name] = old_var + momentum * (unbiased - old_var)
        else:
            mean, var = run.statistics[mean_name], run.statistics[var_name]
        inv = over_rows(1.0 / xp.sqrt(var + EPSILON))
        x_hat = (x - over_rows(mean)) * inv

        def backward(dy: Array, need_dx: bool = True) -> tuple[Array | None, Grads]:
            grads = _gradients(xp, p, gain, bias, dy, x_hat)
            if not need_dx:
                return None, grads
            dx_hat = dy * over_rows(p[gain])
            if not run.training:  # μ and σ² are constants then
                return dx_hat * inv, grads
            return _normalized_gradient(xp, x_hat, dx_hat, inv, -2), grads

        return x_hat * over_rows(p[gain]) + over_rows(p[bias]), backward

    return Layer(
        name,
        forward,
        {gain: (units,), bias: (units,)},
        {mean_name: (units,), var_name: (units,)},
        "y = g (x − μ)/σ + b over the batch",
        {gain: 1.0, var_name: 1.0},
    )


NORMALIZATIONS: dict[str, Callable[[str, int], Layer]] = {"layer": layer_norm, "batch": batch_norm}
"""Every normalization that a name can mean: functions ``(name, units) -> Layer``."""
