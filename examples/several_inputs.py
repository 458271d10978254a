"""Two inputs, each with a branch of its own, that meet in the second layer.

X has the columns of both next to each other. A first layer whose matrix is 0 outside two blocks is
two layers side by side. A mask on its gradient keeps it so.
"""

import os
from typing import Any

import numpy as np

import xpmlp

PICTURE, TABLE = 16, 3  # columns of the inputs
UNITS = (12, 4)  # units of their branches

mask = np.zeros((PICTURE + TABLE, sum(UNITS)))
mask[:PICTURE, : UNITS[0]] = 1
mask[PICTURE:, UNITS[0] :] = 1


def blocks(rng: np.random.Generator, n_in: int, n_out: int) -> Any:
    """Draw weights as He does, 0 outside the blocks of the first layer."""
    W = rng.standard_normal((n_in, n_out)) * np.sqrt(2.0 / n_in)
    return W * mask if W.shape == mask.shape else W


rng = np.random.default_rng(0)
pictures = rng.uniform(0, 1, (600, PICTURE))
table = rng.standard_normal((600, TABLE))
y = ((pictures.mean(axis=1) > 0.5) ^ (table[:, 0] > 0)).astype(int)
X = np.concatenate([pictures - 0.5, table], axis=1)

backend = os.environ.get("XPMLP_BACKEND", "numpy")
sizes = [PICTURE + TABLE, sum(UNITS), 16, 2]
mlp = xpmlp.MLP(sizes, "tanh", initializer=blocks, backend=backend, seed=0)
loop = xpmlp.Loop(mlp, X[:400], y[:400], epochs=150, optimizer=xpmlp.Adam(1e-2), batch_size=50)
kept = loop.backend.asarray(mask, mlp.dtype)
for _ in range(150):
    for batch in loop.batches():
        loss, gradient = loop.gradient(batch)
        parts = loop.by_name(gradient)
        loop.update(batch, loss, loop.flat(parts | {"dense1.W": parts["dense1.W"] * kept}))

outside = mlp.parameters["dense1.W"][mask == 0]
print(f"loss {loop.history['loss'][-1]:.3f}, weights outside the blocks: {np.abs(outside).max()}")
print("test:", mlp.evaluate(X[400:], y[400:]))
