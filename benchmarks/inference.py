"""Prediction: classes for one row, a batch, and a test set, beside the bare products."""

from dataclasses import replace
from operator import sub
from statistics import median
from typing import Any

import numpy as np

from benchmarks.contestants import prepare
from benchmarks.problems import Problem, expected_classes, flops
from benchmarks.report import not_there, say, table
from benchmarks.rounds import interleave, ratio, spread
from benchmarks.settings import Settings
from benchmarks.training import FLOOR, US, makers

NETWORKS = ((784, 128, 10), (784, 512, 512, 10))
ROWS = (1, 256, 10_000)
AGREE = 0.999
"""Share of the rows of which everyone must predict the class; rounding may part a few."""


def measure(sizes: tuple[int, ...], batches: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Time everyone on one network, trained for a step, at each number of rows."""
    problem = Problem.make(sizes, 128, -(-max(batches) // 128))
    inputs = problem.X.astype(np.float32) / np.float32(255)
    problem = replace(problem, X=inputs)
    contestants, left_out = prepare(makers(problem))
    for contestant in contestants.values():
        contestant.start()
        contestant.train(1)  # xpmlp has no task before it, and scikit-learn no weights
        contestant.start()
    made: dict[str, Any] = {"left_out": left_out, "rows": {}}
    for batch in batches:
        X = np.ascontiguousarray(inputs[:batch])
        calls = {name: contestant.predict(X) for name, contestant in contestants.items()}
        expected = expected_classes(problem, X)
        same = {
            name: float((_labels(call()) == expected).mean())
            for name, call in calls.items()
            if name != FLOOR
        }
        seconds = interleave(calls, rounds)
        times = {name: [s * 1e6 for s in values] for name, values in seconds.items()}
        made["rows"][batch] = {
            name: {
                "us_per_call": spread(values),
                "times_the_floor": ratio(times, name, FLOOR),
                "us_over_the_floor": median(map(sub, values, times[FLOOR])),
                "times_xpmlp_numpy": ratio(times, name, US),
                "same_classes": same.get(name),
            }
            for name, values in times.items()
        }
        made.setdefault("flops", {})[batch] = flops(sizes, batch, training=False)
    return made


def _labels(found: Any) -> np.ndarray:
    labels = np.asarray(found)
    return labels.argmax(axis=1) if labels.ndim == 2 else labels


def run(settings: Settings) -> dict[str, Any]:
    """Measure each network, and print its table."""
    results = {}
    for sizes in NETWORKS[:1] if settings.quick else NETWORKS:
        name = "-".join(map(str, sizes))
        results[name] = measure(sizes, ROWS[:1] if settings.quick else ROWS, settings.rounds)
        say(lines({name: results[name]}))
    return results


def disagreeing(results: dict[str, Any]) -> list[str]:
    """Return who predicted other classes than the weights do."""
    return [
        f"{name} of {network}"
        for network, found in results.items()
        for rows in found["rows"].values()
        for name, row in rows.items()
        if row["same_classes"] is not None and row["same_classes"] < AGREE
    ]


def lines(results: dict[str, Any]) -> list[str]:
    """Return a table for each network and number of rows."""
    head = ("µs per call", "median", "25 %", "75 %", "× floor", "over it", "× xpmlp")
    made = []
    for name, found in results.items():
        for batch, contestants in found["rows"].items():
            made += ["", f"Prediction by {name}, {batch:,} row{'s' * (batch > 1)}"]
            rows = [
                (
                    who,
                    *(row["us_per_call"][key] for key in ("median", "q1", "q3")),
                    row["times_the_floor"],
                    row["us_over_the_floor"],
                    row["times_xpmlp_numpy"],
                )
                for who, row in contestants.items()
            ]
            made += table(head, rows)
        made += not_there(found["left_out"])
    return made[1:]
