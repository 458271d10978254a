"""Under-fit, good fit, over-fit: the more a network can do, the more noise it can learn."""

from typing import Any

import numpy as np

import xpmlp

rng = np.random.RandomState(1)
x = np.sort(rng.uniform(-4, 4, 14))
X, y = x.reshape(-1, 1), (x**2 + rng.normal(0, 2.5, 14)).reshape(-1, 1)
STAR, TRUE = np.array([[5.0]]), 25.0  # held out


def bendy(rng: Any, n_in: int, n_out: int) -> Any:
    """First weights so large that the function begins with many bends."""
    return rng.standard_normal((n_in, n_out)) * 2.0 / np.sqrt(n_in)


networks: dict[str, tuple[list[int], str, Any, float]] = {
    "a line": ([1, 1], "identity", "auto", 0.03),
    "2 hidden neurons": ([1, 2, 1], "softplus", "auto", 0.05),
    "2 x 100 hidden neurons": ([1, 100, 100, 1], "tanh", bendy, 0.005),
}
for name, (sizes, activation, initializer, rate) in networks.items():
    mlp = xpmlp.MLP(sizes, activation, initializer=initializer, loss="mse", seed=0)
    mlp.fit(X, y, epochs=2000, batch_size=None, optimizer=xpmlp.Adam(rate))
    seen = np.sqrt(np.mean((mlp.predict(X) - y.ravel()) ** 2))
    star = mlp.predict(STAR)[0]
    print(f"{name}: off by {seen:.2f} on the points it has seen, at the star {star - TRUE:+.1f}")
