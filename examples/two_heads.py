"""One network with two heads: the class of a point, and its distance from the centre.

A custom loss takes the outputs apart: the first three are logits, the last is a value. Run it on
another backend with XPMLP_BACKEND=torch.
"""

import os
from typing import Any

import numpy as np

import xpmlp

CLASSES = 3


def two_heads(xp: Any, z: Any, y: Any) -> tuple[Any, Any]:
    """Cross-entropy of the class in y's first column, plus half the squared error of its second.

    d/dz of −ln softmax(z)ₖ is softmax(z) − e_k, that of ½ (v − y)² is v − y.
    """
    logits, value = z[:, :CLASSES], z[:, CLASSES:]
    of_class = xp.astype(y[:, :1] == xp.arange(CLASSES, dtype=y.dtype, device=y.device), z.dtype)
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    log_p = shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
    error = value - y[:, 1:]
    rows = 0.5 * error[:, 0] ** 2 - xp.sum(of_class * log_p, axis=1)
    return rows, xp.concat([xp.exp(log_p) - of_class, error], axis=1)


rng = np.random.default_rng(0)
X = rng.uniform(-2, 2, (900, 2))
angle = np.arctan2(X[:, 1], X[:, 0])
label = np.digitize(angle, [-1.0, 1.0])
distance = np.hypot(X[:, 0], X[:, 1])
y = np.column_stack([label, distance]).astype(np.float32)  # floats: fewer columns than outputs

backend = os.environ.get("XPMLP_BACKEND", "numpy")
mlp = xpmlp.MLP([2, 32, CLASSES + 1], "tanh", loss=two_heads, backend=backend, seed=0)
mlp.fit(X[:600], y[:600], epochs=60, batch_size=32, optimizer=xpmlp.Adam(1e-2))
print("the gradient is correct:", xpmlp.check_gradient(mlp, X[:20], y[:20]))

outputs = mlp.predict(X[600:])  # all outputs, since only the loss knows which is which
found, value = outputs[:, :CLASSES].argmax(axis=1), outputs[:, CLASSES]
print(f"accuracy of the class: {np.mean(found == label[600:]):.3f}")
print(f"mean error of the distance: {np.abs(value - distance[600:]).mean():.3f}")
