"""Peak memory of one epoch over data of MNIST's size, each contestant in a process of its own."""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contestants import prepare
from benchmarks.problems import Problem
from benchmarks.report import not_there, say, table
from benchmarks.settings import Settings, caches, child_json
from benchmarks.training import FLOOR, US, load, makers

SIZES, BATCH, ROWS = (784, 128, 10), 128, 60_000


def run(settings: Settings) -> dict[str, Any]:
    """Run each contestant in a process, and print a table."""
    steps = (2_000 if settings.quick else ROWS) // BATCH
    problem = Problem.make(SIZES, BATCH, steps)
    names = [name for name in makers(problem) if name != FLOOR]
    if settings.quick:
        names = [name for name in names if name in (US, "PyTorch eager")]
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "weights.npz", *(v for pair in problem.weights for v in pair))
        np.save(Path(folder) / "X.npy", problem.X)
        np.save(Path(folder) / "y.npy", problem.y)

        def of(name: str) -> Callable[[], Any]:
            return lambda: _twice(name, folder)

        found, left_out = prepare({name: of(name) for name in names})
    results = {"rows": steps * BATCH, "contestants": found, "left_out": left_out}
    say(lines(results))
    return results


def _twice(name: str, folder: str) -> dict[str, float]:
    """Run in two processes: in the first it may have to compile what the second finds."""
    with tempfile.TemporaryDirectory() as cache:
        first, then = (
            child_json("benchmarks.memory", name, folder, extra=caches(cache)) for _ in range(2)
        )
    return {"first_peak": first["peak"], **then}


def lines(results: dict[str, Any]) -> list[str]:
    """Return the table."""
    rows = [
        (name, *(row[key] for key in ("first_peak", "peak", "imported", "more")))
        for name, row in results["contestants"].items()
    ]
    return [
        f"Peak memory in MB (10⁶ bytes): one epoch of {'-'.join(map(str, SIZES))}, batch {BATCH},",
        f"over {results['rows']:,} rows of uint8, {results['rows'] * SIZES[0] / 1e6:.0f} MB",
        *table(("MB", "first run", "later", "after import", "more"), rows),
        *not_there(results["left_out"]),
    ]


def main(name: str, folder: Path) -> None:
    """Train one epoch in this process, and print the peak before and after as JSON."""
    load(name)
    imported = _peak()
    X, y = np.load(folder / "X.npy"), np.load(folder / "y.npy")
    with np.load(folder / "weights.npz") as stored:
        values = list(stored.values())
    weights = tuple(zip(values[::2], values[1::2], strict=True))
    problem = Problem(SIZES, BATCH, len(X) // BATCH, X, y, weights)
    contestant = makers(problem)[name]()
    contestant.start()
    contestant.train(problem.steps)
    peak = _peak()
    print(json.dumps({"peak": peak, "imported": imported, "more": peak - imported}))


def _peak() -> float:
    """Return the most memory this process has had, in MB (10⁶ bytes).

    Linux keeps two such marks, and the one that ``getrusage`` gives has the parent's in it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
