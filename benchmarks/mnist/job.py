"""One run in a fresh process: ``python -m benchmarks.mnist.job '{"recipe": "quick", ...}'``.

It prints its record as the last line. The clock of a cold run begins before the library is
imported.
"""

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

STARTED = perf_counter()

KEPT = 40
"""Most epochs whose weights are kept: those of longer runs are kept every second or third epoch."""

TARGETS = (98.0, 98.5, 99.0, 99.3)
"""Accuracies in per cent, the time to which is measured."""


def main(text: str) -> dict[str, Any]:
    """Run what the JSON says, and return its record."""
    job = json.loads(text)
    from xpmlp.training.digit_recipes import digit_recipe

    recipe = digit_recipe(job["recipe"])
    X, y, X_test, y_test = _data(job)
    epochs = 1 if job["quick"] else job["epochs"] or recipe.epochs
    if job["library"] == "pytorch":
        from benchmarks.mnist.pytorch import Torch as Trainer
    else:
        from benchmarks.mnist.ours import Ours as Trainer  # type: ignore[assignment]
    trainer: Any = Trainer(recipe, job, X, y, epochs)
    setup = perf_counter() - STARTED
    every = -(-epochs // KEPT)
    seconds, curve = trainer.train(every)
    found: list[tuple[int, float, float]] = []
    for epoch, at, weights in curve:  # the test pictures are read from here on
        found.append((epoch, at, trainer.accuracy(weights, X_test, y_test, 0)))
    accuracy = found[-1][2]
    rounds = recipe.rounds
    varied = trainer.accuracy(curve[-1][2], X_test, y_test, rounds) if rounds else accuracy
    return {
        **{name: job[name] for name in ("recipe", "seed", "library", "backend", "threads")},
        "device": trainer.device,
        "measured_on": "validation" if job["validation"] else "noise" if job["quick"] else "test",
        "epochs": epochs,
        "seconds": round(seconds, 2),
        "setup_seconds": round(setup, 2),
        "error": round(100 * (1 - varied), 4),
        "error_of_one_look": round(100 * (1 - accuracy), 4),
        "to": {f"{t:g}": _first(found, t / 100) for t in TARGETS},
        "curve": [[epoch, round(at, 2), round(100 * a, 4)] for epoch, at, a in found],
        "settings": _settings(recipe),
        "environment": _environment(),
    }


def _first(found: list[tuple[int, float, float]], target: float) -> float | None:
    """Return the training seconds after which an accuracy was reached first; None if never."""
    return next((round(at, 2) for _, at, accuracy in found if accuracy >= target), None)


def _settings(recipe: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(vars(recipe)))
    return made


def _environment() -> dict[str, Any]:
    from benchmarks.environment import describe

    return describe()


def _data(job: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    import numpy as np

    if job["quick"]:
        rng = np.random.default_rng(0)
        X, y = rng.integers(0, 256, (700, 784)).astype(np.uint8), rng.integers(0, 10, 700)
        return X[:500], y[:500], X[500:], y[500:]
    from xpmlp.data import load

    data = load("mnist")
    if job["validation"]:
        return data.X[:-10_000], data.y[:-10_000], data.X[-10_000:], data.y[-10_000:]
    return data.X, data.y, data.X_test, data.y_test


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    print(json.dumps(main(sys.argv[1])))
