"""An autoencoder whose decoder is the transposed encoder: dense2.W is always dense1.W transposed.

The gradient of a weight that stands in two places is the sum of both places' gradients. Both get
the sum, so that equal weights stay equal, whatever the optimizer.
"""

import os

import numpy as np

import xpmlp

data = xpmlp.data.load("digits")
X, X_test = data.X / 255.0, data.X_test / 255.0

backend = os.environ.get("XPMLP_BACKEND", "numpy")
mlp = xpmlp.MLP([64, 16, 64], "tanh", targets="values", backend=backend, seed=0)
values = mlp.state_dict()
mlp.load_state_dict(values | {"dense2.W": values["dense1.W"].T})

loop = xpmlp.Loop(mlp, X, X, epochs=20, batch_size=64, optimizer=xpmlp.Adam(3e-3))
xp = loop.backend.xp
for _ in range(20):
    for batch in loop.batches():
        loss, gradient = loop.gradient(batch)
        parts = loop.by_name(gradient)
        W = parts["dense1.W"] + xp.matrix_transpose(parts["dense2.W"])
        tied = {"dense1.W": W, "dense2.W": xp.matrix_transpose(W)}
        loop.update(batch, loss, loop.flat(parts | tied))

W = mlp.parameters
print("still tied:", np.array_equal(W["dense1.W"], W["dense2.W"].T))
print(f"loss {loop.history['loss'][0]:.3f} to {loop.history['loss'][-1]:.3f}")
print("test:", mlp.evaluate(X_test, X_test))
