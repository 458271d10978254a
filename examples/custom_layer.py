"""A custom layer: a ReLU whose slope below zero is learned (PReLU, He et al. 2015)."""

from typing import Any

import xpmlp
from xpmlp.nn.layers import Backward, Layer, Params, Pass


def prelu(name: str, units: int) -> Layer:
    """y = max(x, 0) + a · min(x, 0), with a of shape (units,).

    dx = dy where x > 0, else a · dy; daⱼ = Σᵢ dyᵢⱼ min(xᵢⱼ, 0).
    """
    slope = f"{name}.a"

    def forward(ops: Any, p: Params, x: Any, run: Pass) -> tuple[Any, Backward]:
        xp = ops.xp
        below = xp.minimum(x, 0.0)

        def backward(dy: Any, need_dx: bool = True) -> tuple[Any, dict[str, Any]]:
            return xp.where(x > 0, dy, p[slope] * dy), {slope: xp.sum(dy * below, axis=0)}

        return xp.maximum(x, 0.0) + p[slope] * below, backward

    return Layer(name, forward, {slope: (units,)}, {}, "y = max(x, 0) + a min(x, 0)", {slope: 0.25})


data = xpmlp.data.load("xor")
mlp = xpmlp.MLP([2, 10, 2], activation="identity", normalization=prelu, seed=0)
mlp.fit(data.X, data.y, epochs=100, batch_size=32, optimizer=xpmlp.Adam(1e-2))
print(mlp.summary())
print("the gradient is correct:", xpmlp.check_gradient(mlp, data.X[:20], data.y[:20]))
print("slopes:", mlp.parameters["norm1.a"].round(2))
print("test:", mlp.evaluate(data.X_test, data.y_test))
