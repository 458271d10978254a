"""Start-up: fresh processes until a library is imported, or a first step has been trained."""

import tempfile
from typing import Any

from benchmarks.report import not_there, say, table
from benchmarks.rounds import spread
from benchmarks.settings import Settings, caches, child

XPMLP = """
import numpy as np, xpmlp
X, y = np.zeros((128, 784), np.uint8), np.arange(128) % 10
xpmlp.MLP([784, 128, 10], backend="numpy").fit(X, y, epochs=1, batch_size=128)
"""
TORCH = """
import torch
model = torch.nn.Sequential(torch.nn.Linear(784, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
adam = torch.optim.Adam(model.parameters(), fused=True)
x, y = torch.zeros(128, 784), torch.arange(128) % 10
torch.nn.functional.cross_entropy(model(x), y).backward()
adam.step()
"""
SKLEARN = """
import numpy as np
from sklearn.neural_network import MLPClassifier
X, y = np.zeros((128, 784), np.float32), np.arange(128) % 10
MLPClassifier((128,), batch_size=128).partial_fit(X, y, classes=range(10))
"""
PYTHON, COLD, WARM = "python alone", "xpmlp, first step, nothing cached", "xpmlp, first step"
PROGRAMS = {
    PYTHON: "pass",
    "import numpy": "import numpy",
    "import xpmlp": "import xpmlp",
    "import xpmlp; xpmlp.MLP": "import xpmlp; xpmlp.MLP",
    "import sklearn.neural_network": "import sklearn.neural_network",
    "import jax": "import jax",
    "import torch": "import torch",
    WARM: XPMLP,
    COLD: XPMLP,
    "scikit-learn, first step": SKLEARN,
    "PyTorch eager, first step": TORCH,
}

QUICK = (PYTHON, "import xpmlp", WARM)


def run(settings: Settings) -> dict[str, Any]:
    """Start each program in turn, round by round, and print a table of milliseconds.

    Round 0 fills the file cache, and Numba's for the programs that may find it filled.
    """
    programs = {name: PROGRAMS[name] for name in QUICK} if settings.quick else PROGRAMS
    times: dict[str, list[float]] = {name: [] for name in programs}
    left_out: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as kept:
        for number in range(2 if settings.quick else 5):
            for name, program in programs.items():
                if name in left_out:
                    continue
                with tempfile.TemporaryDirectory() as fresh:
                    cache = caches(fresh if name == COLD else kept)
                    try:
                        seconds, _ = child("-c", program, extra=cache)
                    except RuntimeError as error:
                        left_out[name] = str(error)
                        continue
                if number:
                    times[name].append(seconds * 1e3)
    base = spread(times[PYTHON])["median"]
    results = {
        "left_out": left_out,
        "milliseconds": {
            name: spread(values) | {"over_python": spread(values)["median"] - base}
            for name, values in times.items()
            if values
        },
    }
    say(lines(results))
    return results


def lines(results: dict[str, Any]) -> list[str]:
    """Return the table."""
    rows = [
        (name, *(row[key] for key in ("median", "min", "max", "over_python")))
        for name, row in results["milliseconds"].items()
    ]
    return [
        "Start-up: ms of a fresh process; the first step is one of 784-128-10, batch 128",
        *table(("ms", "median", "min", "max", "over Python"), rows),
        *not_there(results["left_out"]),
    ]
