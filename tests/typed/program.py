"""A user's program that uses the public pieces; mypy checks it in its strict mode."""

from collections.abc import Iterator
from typing import Any

import numpy as np

import xpmlp

Array = np.ndarray[Any, np.dtype[Any]]

rng = np.random.default_rng(0)
X: Array = rng.standard_normal((60, 3))
y: Array = rng.integers(0, 2, 60)


def bump(xp: Any, z: Array) -> Array:
    """exp(−z²)."""
    made: Array = xp.exp(-z * z)
    return made


def bump_derivative(xp: Any, z: Array) -> Array:
    """−2 z exp(−z²)."""
    made: Array = -2.0 * z * xp.exp(-z * z)
    return made


def cost(y_true: Array, y_pred: Array, sample_weight: Array | None = None) -> float:
    """The share of misses."""
    return float(np.average(y_true > y_pred, weights=sample_weight))


def make_batches() -> Iterator[tuple[Array, Array]]:
    """Three batches."""
    for start in range(0, 60, 20):
        yield X[start : start + 20], y[start : start + 20]


def sampled(epoch: int, n: int) -> Array:
    """Half of the rows."""
    return np.random.default_rng(epoch).choice(n, n // 2)


mlp = xpmlp.MLP(
    [3, 8, 2],
    [(bump, bump_derivative)],
    dropout=[xpmlp.schedules.FlatCos(0.1)],
    initializer="he",
    targets="labels",
    backend="numpy",
    seed=0,
)
history: xpmlp.History = mlp.fit(
    X[:40],
    y[:40],
    epochs=2,
    optimizer=xpmlp.Adam(xpmlp.schedules.Cosine(1e-2)),
    class_weight={1: 2.0},
    validation_data=(X[40:], y[40:], np.ones(20)),
    metrics=["log_loss", cost],
    shuffle=sampled,
    callbacks=[xpmlp.EarlyStopping(monitor="val_cost", patience=2)],
)
losses: list[float] = history["val_log_loss"]

plain = xpmlp.MLP([3, 8, 2], targets="labels", backend="numpy", seed=0)
plain.fit(batches=make_batches, epochs=2)
found: dict[str, float] = plain.evaluate(X, y, sample_weight=np.ones(60), metrics="log_loss")
loss, gradient = plain.gradient(X, y)
step: dict[str, Array] = {name: plain.parameters[name] - loss * g for name, g in gradient.items()}
plain.load_state_dict(step)
shapes: list[tuple[int, ...]] = [values.shape for values in plain.activations(X).values()]
fooled: Array = X + 0.1 * np.sign(plain.input_gradient(X, y)) + plain.input_gradient(X, output=1)
z: Array = plain.logits(fooled)

loop = xpmlp.Loop(plain, X, y, epochs=2, batch_size=20, optimizer="adam")
for _ in range(2):
    for batch in loop.batches(rng.permutation(60)):
        value, flat = 0.0, 0.0
        for part in batch.split(2):
            part_loss, part_gradient = loop.gradient(part)
            value, flat = value + part.share * part_loss, flat + part.share * part_gradient
        loop.update(batch, value, loop.flat(loop.by_name(flat)))
last: float = loop.history["loss"][-1]

mean: Array = xpmlp.MLP([3, 1], targets="values", backend="numpy").predict(X)
networks: dict[str, list[float]] = xpmlp.MLP(
    [3, 2], ensemble=2, targets="labels", backend="numpy"
).evaluate(X, y, each=True)
print(last, found["loss"], z.shape, mean.shape, len(networks["loss"]), losses, shapes)
