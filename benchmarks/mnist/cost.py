"""What augmentation adds to a step: the same network with and without it, in turn."""

from typing import Any

import numpy as np

import xpmlp

SIZES, BATCH = [784, 512, 512, 10], 128
STEPS, ROUNDS = 40, 5
CASES: tuple[list[str], ...] = (
    ["shift"],
    ["elastic"],
    ["elastic", "rotate", "scale", "shear", "shift"],
    ["erase"],
    ["noise"],
)


def cost(backend: str, device: str | None, quick: bool = False) -> list[str]:
    """Return a table in Markdown: milliseconds of a step, and what each adds, as a share of it.

    Each round has an epoch of each case; the fastest of the rounds counts.
    """
    steps, rounds = (2, 2) if quick else (STEPS, ROUNDS)
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (steps * BATCH, SIZES[0])).astype(np.uint8)
    y = rng.integers(0, 10, len(X))
    cases: list[list[str] | None] = [None, *CASES]
    models = [
        xpmlp.MLP(SIZES, image_shape=(28, 28), backend=backend, device=device, seed=0)
        for _ in cases
    ]
    best = [float("inf")] * len(cases)
    for _ in range(rounds + 1):  # the first compiles, and is never the fastest
        for i, (mlp, augment) in enumerate(zip(models, cases, strict=True)):
            history = mlp.fit(X, y, epochs=1, batch_size=BATCH, augment=augment)
            best[i] = min(best[i], history["seconds"][0] / steps)
    rows: list[Any] = [("augment", "ms a step", "adds"), ("---", "---", "---")]
    for augment, seconds in zip(cases, best, strict=True):
        added = "" if augment is None else f"{seconds / best[0] - 1:.2f} ×"
        rows.append((", ".join(augment or ["none"]), f"{1e3 * seconds:.2f}", added))
    return [f"| {' | '.join(row)} |" for row in rows]
