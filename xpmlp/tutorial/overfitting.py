"""An underfit, a good fit and an overfit: three networks fitted to one noisy parabola."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.mlp import MLP
from xpmlp.nn.optimizers import Adam
from xpmlp.nn.schedules import Cosine
from xpmlp.show.figures import BLUE, GREY, ORANGE, drawing

STAR = (5.0, 25.0)
"""A point of the same parabola that no network has seen."""

REPEATS = 50
"""How often an epoch repeats the points, because each epoch has a fixed cost."""


@dataclass(frozen=True)
class Fit:
    """A fitted network: its root mean square error on the points, and its error at the star."""

    name: str
    mlp: MLP
    error: float
    miss: float


def parabola(n: int = 14, seed: int = 1) -> tuple[Any, Any]:
    """Draw n points of y = x² with noise, x in [−4, 4]; shapes (n, 1)."""
    rng = np.random.RandomState(seed)
    x = np.sort(rng.uniform(-4, 4, n))
    return x.reshape(-1, 1), (x**2 + rng.normal(0, 2.5, n)).reshape(-1, 1)


def _wild(rng: Any, n_in: int, n_out: int) -> Any:
    """Draw large initial weights: the function starts with many bends, and keeps them."""
    return rng.standard_normal((n_in, n_out)) * 2.0 / np.sqrt(n_in)


def three_fits(*, seed: int = 0, backend: Any = None) -> list[Fit]:
    """Fit a line, a small network and a far too large one."""
    X, y = parabola()
    made: Sequence[tuple[str, list[int], str, Any, int, float]] = (
        ("A line: too simple", [1, 1], "identity", "auto", 800, 0.03),
        ("2 hidden neurons: a good fit", [1, 2, 1], "softplus", "auto", 1500, 0.05),
        ("2 × 100 hidden neurons: an overfit", [1, 100, 100, 1], "tanh", _wild, 2500, 0.005),
    )
    fits = []
    for name, sizes, activation, initializer, steps, rate in made:
        options: dict[str, Any] = {"initializer": initializer, "scaling": None, "seed": seed}
        mlp = MLP(sizes, activation, loss="mse", backend=backend, **options)
        mlp.fit(
            np.tile(X, (REPEATS, 1)),
            np.tile(y, (REPEATS, 1)),
            epochs=steps // REPEATS,
            batch_size=len(X),
            shuffle=False,
            optimizer=Adam(Cosine(rate)),
        )
        error = float(np.sqrt(np.mean((mlp.predict(X) - y.ravel()) ** 2)))
        fits.append(Fit(name, mlp, error, abs(answer(mlp) - STAR[1])))
    return fits


def answer(mlp: MLP) -> float:
    """Return the network's prediction at the star."""
    return float(mlp.predict(np.array([[STAR[0]]]))[0])


def picture(fits: Sequence[Fit], path: Path) -> None:
    """Draw the fits side by side, with the star and each network's prediction there."""
    X, y = parabola()
    x = np.linspace(-4.3, 5.2, 400)
    with drawing(path, 12, 4.4) as figure:
        for axes, fit in zip(figure.subplots(1, len(fits), sharey=True), fits, strict=True):
            said = answer(fit.mlp)
            axes.set_title(fit.name)
            axes.plot(x, fit.mlp.predict(x.reshape(-1, 1)), color=BLUE, linewidth=1.8)
            axes.scatter(X, y, s=26, color=GREY, label="points it has seen", zorder=3)
            axes.plot([STAR[0]] * 2, [STAR[1], said], ":", color=ORANGE, linewidth=1.5)
            axes.scatter(*STAR, s=150, marker="*", color="black", label="held out", zorder=4)
            label = "its prediction there"
            axes.scatter(STAR[0], said, s=60, color=ORANGE, label=label, zorder=4)
            axes.set_xlabel(f"error on the points {fit.error:.1f}, at the star {fit.miss:.0f}")
            axes.legend(loc="upper center")
