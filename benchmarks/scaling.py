"""What an epoch costs as the network grows wider and the data longer, beside its arithmetic."""

from typing import Any

import numpy as np

import xpmlp
from benchmarks.problems import Problem, flops
from benchmarks.report import say, table
from benchmarks.settings import Settings

WIDTHS = (64, 128, 256, 512, 1024, 2048)
ROWS = (6_000, 20_000, 60_000, 200_000, 600_000)
BATCH = 256


def run(settings: Settings) -> dict[str, Any]:
    """Time epochs of 784-w-w-10 over 6,144 rows, and of 784-128-10 over ever more rows."""
    widths = (16, 32) if settings.quick else WIDTHS
    rows = (1_000, 2_000) if settings.quick else ROWS
    problem = Problem.make((784, 10), BATCH, max(ROWS[0], 2_000) // BATCH + 1)
    results = {
        "width": [_epoch((784, w, w, 10), problem, len(problem.X)) | {"at": w} for w in widths],
        "rows": [_epoch((784, 128, 10), problem, n) | {"at": n} for n in rows],
    }
    say(lines(results))
    return results


def _epoch(sizes: tuple[int, ...], problem: Problem, rows: int) -> dict[str, Any]:
    """Return the seconds of an epoch over so many rows, the problem's repeated, and its FLOPs.

    The best of several epochs counts: whatever else runs on the machine only adds to it.
    """
    copies = -(-rows // len(problem.X))
    X, y = np.tile(problem.X, (copies, 1))[:rows], np.tile(problem.y, copies)[:rows]
    mlp = xpmlp.MLP(sizes, backend="numpy", seed=0)
    mlp.fit(X[:BATCH], y[:BATCH], epochs=1, batch_size=BATCH)  # compiles, if something does
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 0.3 and len(times) < 15):
        times += mlp.fit(X, y, epochs=1, batch_size=BATCH)["seconds"]
    work = flops(sizes, rows)
    seconds = min(times)
    return {"seconds": seconds, "flops": work, "gflops_per_second": work / seconds / 1e9}


def lines(results: dict[str, Any]) -> list[str]:
    """Return a table by width and one by rows."""
    titles = {
        "width": f"Scaling with the width w: an epoch of 784-w-w-10, batch {BATCH}",
        "rows": f"Scaling with the rows: an epoch of 784-128-10, batch {BATCH}",
    }
    made = []
    for key, title in titles.items():
        rows = [
            (
                f"{row['at']:,}",
                row["seconds"] * 1e3,
                row["flops"] / 1e9,
                row["seconds"] / row["flops"] * 1e12,
                row["gflops_per_second"],
            )
            for row in results[key]
        ]
        head = (key, "ms per epoch", "GFLOP", "ps per FLOP", "GFLOP/s")
        made += ["", title, *table(head, rows)]
    return made[1:]
