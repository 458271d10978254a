"""Test accuracy to expect: digits and MNIST, Adam with a rate that falls along a cosine.

MNIST comes from ``XPMLP_DATA_DIR`` or the cache, or is downloaded.
"""

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import xpmlp
from benchmarks.environment import describe


class Recipe(NamedTuple):
    """What to train, and how."""

    data: str
    hidden: list[int]
    dropout: float
    epochs: int
    rate: float


RUNS = {
    "digits 64-512-512-10": Recipe("digits", [512, 512], 0.2, 20, 1e-3),
    "MNIST 784-128-10": Recipe("mnist", [128], 0.0, 5, 4e-3),
    "MNIST 784-512-512-10": Recipe("mnist", [512, 512], 0.2, 20, 1e-3),
}


def train(run: Recipe, backend: str, seed: int) -> dict[str, float]:
    """Train once; return the test accuracy and the seconds of training."""
    data = xpmlp.data.load(run.data)
    sizes = [data.X.shape[1], *run.hidden, 10]
    mlp = xpmlp.MLP(sizes, dropout=run.dropout, backend=backend, seed=seed)
    optimizer = xpmlp.Adam(xpmlp.schedules.Cosine(run.rate))
    history = mlp.fit(data.X, data.y, epochs=run.epochs, batch_size=128, optimizer=optimizer)
    measured = mlp.evaluate(data.X_test, data.y_test)
    return {"test_accuracy": measured["accuracy"], "seconds": sum(history["seconds"])}


def main(arguments: list[str]) -> None:
    """Train with each seed, print as it goes, and write JSON if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy", description=__doc__)
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    results: dict[str, Any] = {}
    for name, run in RUNS.items():
        rows = []
        for seed in range(options.seeds):
            rows.append(train(run, options.backend, seed))
            print(
                f"{name}, seed {seed}: test accuracy {rows[-1]['test_accuracy']:.4f} after "
                f"{run.epochs} epochs in {rows[-1]['seconds']:.1f} s",
                flush=True,
            )
        results[name] = {"mean": mean(row["test_accuracy"] for row in rows), "runs": rows}
        print(f"{name}: mean {results[name]['mean']:.4f}", flush=True)
    if options.json:
        report = {"environment": describe(), "backend": options.backend, "accuracy": results}
        options.json.write_text(json.dumps(report, indent=1))
