"""One GPU: training steps of 784-512-512-10 through each backend, and the accuracy on MNIST.

Data lie on the device as uint8. Times are medians over interleaved rounds, the device
synchronised; PyTorch eager with autograd and fused Adam is the peer. Everyone computes strict
float32 (TF32 off). MNIST is trained where it is found.
"""

import argparse
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contestants import interleave, prepare, torch_epoch, xpmlp_epoch
from benchmarks.environment import describe
from xpmlp.errors import XpmlpError

SIZES = [784, 512, 512, 10]
ROWS = 65536


def measure(batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return the figures of each contestant at one batch size."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (ROWS, SIZES[0]), dtype=np.uint8)
    work = (SIZES, X, rng.integers(0, 10, ROWS), batch)
    epochs = prepare(
        {
            "xpmlp cupy": partial(xpmlp_epoch, "cupy", None, *work),
            "xpmlp torch": partial(xpmlp_epoch, "torch", "cuda", *work),
            "xpmlp jax": partial(xpmlp_epoch, "jax", "gpu", *work),
            "PyTorch eager": partial(torch_epoch, "cuda", *work),
        }
    )
    print(f"784-512-512-10, batch {batch}, {rounds} interleaved rounds", flush=True)
    return interleave(epochs, ROWS // batch, rounds)


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
