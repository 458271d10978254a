"""The perceptron (Rosenblatt 1958): one neuron, the sign function, and a rule for its mistakes.

A mistake at a point x of class t = ±1 changes the weights by η t x, a correct answer by nothing.
That is the gradient of max(0, −t z), so the library's own step is the perceptron rule.
"""

from typing import Any

import numpy as np

import xpmlp


def mistakes(xp: Any, z: Any, t: Any) -> tuple[Any, Any]:
    """max(0, −t z) of each row, and its gradient: −t where the sign is wrong, else 0."""
    wrong = xp.astype(t * z < 0, z.dtype)
    return xp.sum(-t * z * wrong, axis=1), -t * wrong


rng = np.random.default_rng(0)
X = rng.standard_normal((200, 2))
t = np.where(X[:, 0] + 2 * X[:, 1] > 0.3, 1.0, -1.0)  # a straight line separates the two

# At z = 0 the rule would never move, so the weights start at random.
perceptron = xpmlp.MLP([2, 1], loss=mistakes, scaling=None, seed=0)

for epoch in range(1, 31):
    # Per-example updates: batch size 1.
    perceptron.fit(X, t.reshape(-1, 1), epochs=1, batch_size=1, optimizer=xpmlp.SGD(1.0))
    answers = np.sign(perceptron.predict(X))
    wrong = int(np.sum(answers != t))
    if epoch in (1, 2, 3) or epoch % 10 == 0 or wrong == 0:
        print(f"epoch {epoch:>2}: {wrong} of {len(X)} wrong")
    if wrong == 0:
        break

w, b = perceptron.parameters["dense1.W"].ravel(), perceptron.parameters["dense1.b"]
print(f"its line: {w[0]:.2f} x1 + {w[1]:.2f} x2 + {b[0]:.2f} = 0")
