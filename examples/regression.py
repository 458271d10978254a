"""Regression: a curve with noise, and the median that outliers do not move."""

import numpy as np

import xpmlp

rng = np.random.default_rng(0)
X = rng.uniform(-3, 3, (600, 1))
truth = np.sin(2 * X) + 0.5 * X
y = truth + rng.normal(0, 0.1, X.shape)
y[::10] += 8.0  # one in ten is a gross error
train, test = slice(0, 400), slice(400, None)

for loss in ("mse", "mae", xpmlp.losses.Huber(0.3)):
    mlp = xpmlp.MLP([1, 32, 32, 1], activation="gelu", loss=loss, seed=0)
    mlp.fit(
        X[train],
        y[train],
        epochs=150,
        batch_size=50,
        optimizer=xpmlp.Adam(xpmlp.schedules.Cosine(1e-2)),
    )
    off = np.abs(mlp.predict(X[test]) - truth[test].ravel())
    name = loss if isinstance(loss, str) else loss.name
    print(f"{name:>6}: {off.mean():.3f} from the true curve, at most {off.max():.2f}")
