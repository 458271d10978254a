"""One GPU: training steps of 784-512-512-10 through each backend, and the accuracy on MNIST.

Data lie on the device as uint8. Times are medians over interleaved rounds, the device
synchronised; PyTorch eager with autograd and fused Adam is the peer. Everyone computes strict
float32 (TF32 off). MNIST is trained where it is found.
"""

import argparse
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.contestants import Contestant, Xpmlp, prepare
from benchmarks.environment import describe
from benchmarks.peers import Torch
from benchmarks.problems import Problem
from benchmarks.report import not_there, say, table
from benchmarks.rounds import interleave, ratio, spread
from xpmlp.errors import XpmlpError

SIZES = (784, 512, 512, 10)
ROWS = 65536
PEER = "PyTorch eager"


def measure(batch: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Return the figures of each contestant at one batch size."""
    problem = Problem.make(SIZES, batch, ROWS // batch)
    makers: dict[str, Callable[[], Contestant]] = {
        "xpmlp cupy": partial(Xpmlp, problem, "cupy"),
        "xpmlp torch": partial(Xpmlp, problem, "torch", "cuda"),
        "xpmlp jax": partial(Xpmlp, problem, "jax", "gpu"),
        PEER: partial(Torch, problem, "cuda"),
    }
    contestants, left_out = prepare(makers)
    for contestant in contestants.values():
        contestant.start()
        contestant.train(problem.steps)
    seconds = interleave(
        {name: partial(each.train, problem.steps) for name, each in contestants.items()}, rounds
    )
    times = {name: [s / problem.steps * 1e6 for s in values] for name, values in seconds.items()}
    found: dict[str, dict[str, Any]] = {
        name: spread(values) | {"times_faster_than_pytorch": ratio(times, PEER, name)}
        for name, values in times.items()
    }
    keys = ("median", "min", "max", "times_faster_than_pytorch")
    say(
        [
            f"{problem.name}, batch {batch}, {rounds} interleaved rounds",
            *table(
                ("µs per step", "median", "min", "max", "× PyTorch's speed"),
                [(name, *(row[key] for key in keys)) for name, row in found.items()],
            ),
            *not_there(left_out),
        ]
    )
    return found


def mnist() -> dict[str, float]:
    """Train 784-512-512-10 with dropout for 20 epochs through CuPy."""
    from benchmarks.accuracy import RUNS, train

    result = train(RUNS["MNIST 784-512-512-10"], "cupy", 0)
    print(f"MNIST 784-512-512-10 through CuPy, 20 epochs: {result}", flush=True)
    return result


def main(arguments: list[str]) -> None:
    """Measure, print a table, and write JSON if asked; exit with 1 if CuPy could not run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leave room for the others
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
    steps = {batch: measure(batch, options.rounds) for batch in (128, 1024, 8192)}
    results: dict[str, Any] = {"environment": describe(), "steps": steps}
    usable = "xpmlp cupy" in steps[128]
    if usable:
        try:
            results["mnist"] = mnist()
        except XpmlpError as error:
            print(f"MNIST not trained: {error}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    raise SystemExit(0 if usable else 1)
