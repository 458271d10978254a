"""What the abstraction costs: a network so small that only the calls count.

2-16-2 at batch 32 with Adam in float32, on every CPU backend that is there, against PyTorch
eager with autograd and its fused Adam. The runs are interleaved; times are medians over the
rounds, ratios medians of the rounds' ratios. xpmlp's times are of whole calls of ``fit``, which
checks the input, draws and moves the order of the examples and sums loss and accuracy; PyTorch
only trains, which is in its favour.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.contestants import interleave, prepare, torch_epoch, xpmlp_epoch
from benchmarks.environment import describe

SIZES, STEPS, BATCH = [2, 16, 2], 500, 32


def main(arguments: list[str]) -> None:
    """Measure, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks small", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((STEPS * BATCH, 2)).astype(np.float32)
    y = ((X[:, 0] > 0) ^ (X[:, 1] > 0)).astype(np.int64)
    work = (SIZES, X, y, BATCH)
    epochs = prepare(
        {
            "xpmlp numpy": partial(xpmlp_epoch, "numpy", "cpu", *work),
            "xpmlp torch": partial(xpmlp_epoch, "torch", "cpu", *work),
            "xpmlp jax": partial(xpmlp_epoch, "jax", "cpu", *work),
            "PyTorch eager": partial(torch_epoch, "cpu", *work),
        }
    )
    print(f"2-16-2, batch {BATCH}, {options.rounds} interleaved rounds of {STEPS} steps")
    rows = interleave(epochs, STEPS, options.rounds)
    if options.json:
        options.json.write_text(json.dumps({"environment": describe(), "small": rows}, indent=1))
