"""Time to accuracy: seconds of training until MNIST's test images are read so well.

784-512-512-10 with dropout 0.2, batch 128, Adam whose rate falls from 1e-3 along a cosine. Each
training has a process of its own. "Warm" is the time of training alone; "cold" has in it what
comes before: Python's start, the imports, and a first step on a network that is thrown away, with
nothing cached. Reading the data and measuring the accuracy count for nobody.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, pairwise
from math import cos, pi
from statistics import mean
from time import perf_counter, time
from typing import Any

import xpmlp
from benchmarks.contestants import prepare
from benchmarks.report import not_there, say, table
from benchmarks.settings import Settings, caches, child_json
from xpmlp.data.mnist import FOLDER_VARIABLE
from xpmlp.errors import DataError, DownloadError

SIZES, DROPOUT, BATCH, RATE = (784, 512, 512, 10), 0.2, 128, 1e-3
TARGETS = (0.975, 0.98, 0.985, 0.99)

Epochs = list[tuple[float, float]]
"""Seconds of training, and test accuracy after it, for each epoch."""


def run(settings: Settings) -> dict[str, Any]:
    """Train with each seed, the contestants in turn, and print a table."""
    runs: dict[str, list[Any]] = {name: [] for name in TRAINERS}
    left_out: dict[str, str] = {}
    seeds, epochs = (1, 1) if settings.quick else (settings.seeds, settings.epochs)
    for seed in range(seeds):
        for name in TRAINERS:
            if name in left_out:
                continue
            made, missing = prepare({name: _run_of(name, seed, epochs, settings.quick)})
            left_out |= missing
            runs[name] += made.values()
    results = {
        "epochs": epochs,
        "seeds": seeds,
        "left_out": left_out,
        "contestants": {name: summary(each) for name, each in runs.items() if each},
    }
    say(lines(results))
    return results


def _run_of(name: str, seed: int, epochs: int, quick: bool) -> Callable[[], Any]:
    def one() -> Any:
        with tempfile.TemporaryDirectory() as cache:
            arguments = (name, str(seed), str(epochs), "2000" if quick else "60000", str(time()))
            return child_json("benchmarks.reaching", *arguments, extra=caches(cache))

    return one


def summary(runs: list[Any]) -> dict[str, Any]:
    """Return the means over seeds: seconds to each target, None where a seed did not reach it."""
    warm = {target: [reached(run["epochs"], target) for run in runs] for target in TARGETS}
    start = mean(run["start"] for run in runs)
    means = {
        str(target): None if None in each else mean(filter(None, each))
        for target, each in warm.items()
    }
    return {
        "start": start,
        "warm": means,
        "cold": {target: None if s is None else s + start for target, s in means.items()},
        "seconds_per_epoch": mean(s for run in runs for s, _ in run["epochs"]),
        "best_accuracy": mean(max(accuracy for _, accuracy in run["epochs"]) for run in runs),
        "runs": runs,
    }


def reached(epochs: Epochs, target: float) -> float | None:
    """Return the seconds of training until a test accuracy was first there."""
    spent = accumulate(seconds for seconds, _ in epochs)
    each = zip(spent, epochs, strict=True)
    return next((total for total, (_, accuracy) in each if accuracy >= target), None)


def lines(results: dict[str, Any]) -> list[str]:
    """Return the table."""
    percent = [f"{100 * target:.1f} %" for target in TARGETS]
    rows = []
    for name, row in results["contestants"].items():
        for kind in ("warm", "cold"):
            best = f"{100 * row['best_accuracy']:.2f} %"
            rows.append((f"{name}, {kind}", *row[kind].values(), row["seconds_per_epoch"], best))
    return [
        f"Seconds to a test accuracy: MNIST, {'-'.join(map(str, SIZES))}, dropout {DROPOUT},",
        f"{results['epochs']} epochs, mean of {results['seeds']} seeds",
        *(table(("", *percent, "per epoch", "best"), rows) if rows else ()),
        *not_there(results["left_out"]),
    ]


def train_xpmlp(data: Any, seed: int, epochs: int) -> Epochs:
    """Train through ``fit``, which measures the validation data apart from its seconds."""
    mlp = xpmlp.MLP(SIZES, dropout=DROPOUT, backend="numpy", seed=seed)
    history = mlp.fit(
        data.X,
        data.y,
        epochs=epochs,
        batch_size=BATCH,
        optimizer=xpmlp.Adam(xpmlp.schedules.Cosine(RATE)),
        validation_data=(data.X_test, data.y_test),
    )
    return list(zip(history["seconds"], history["val_accuracy"], strict=True))


def train_torch(data: Any, seed: int, epochs: int) -> Epochs:
    """Train the same in PyTorch, from weights drawn by the same rule."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    first, second, last = (nn.Linear(n, m) for n, m in pairwise(SIZES))
    drop = nn.Dropout(DROPOUT)
    model = nn.Sequential(first, nn.ReLU(), drop, second, nn.ReLU(), drop, last)
    for layer in (first, second, last):
        nn.init.zeros_(layer.bias)
    for layer in (first, second):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.xavier_uniform_(last.weight)
    adam = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    X, y, X_test, y_test = map(
        torch.from_numpy, (data.X, data.y.astype(int), data.X_test, data.y_test.astype(int))
    )
    found, steps = [], -(-len(X) // BATCH)
    for epoch in range(epochs):
        begin = perf_counter()
        model.train()
        for k, rows in enumerate(torch.randperm(len(X)).split(BATCH)):
            adam.param_groups[0]["lr"] = RATE * (1 + cos(pi * (epoch + k / steps) / epochs)) / 2
            adam.zero_grad()
            nn.functional.cross_entropy(model(X[rows].float() / 255), y[rows]).backward()
            adam.step()
        seconds = perf_counter() - begin
        with torch.inference_mode():
            model.eval()
            right = model(X_test.float() / 255).argmax(1) == y_test
        found.append((seconds, float(right.float().mean())))
    return found


TRAINERS: dict[str, Callable[[Any, int, int], Epochs]] = {
    "xpmlp numpy": train_xpmlp,
    "PyTorch eager": train_torch,
}


def main(name: str, *numbers: str) -> None:
    """Train in this process, by seed, epochs, rows and when it was begun; print JSON."""
    seed, epochs, rows = map(int, numbers[:3])
    begun, begin = float(numbers[3]), time()
    data = xpmlp.data.load_mnist(mirrors=())  # what is not there is not downloaded
    data = replace(data, X=data.X[:rows], y=data.y[:rows])
    some = slice(BATCH)
    few = replace(
        data, X=data.X[some], y=data.y[some], X_test=data.X_test[some], y_test=data.y_test[some]
    )
    reading = time() - begin
    TRAINERS[name](few, seed, 1)
    start = time() - begun - reading
    print(json.dumps({"start": start, "epochs": TRAINERS[name](data, seed, epochs)}))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (DataError, DownloadError):
        sys.exit(f"MNIST is not there; {FOLDER_VARIABLE} names its folder")
