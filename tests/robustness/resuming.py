"""A training that is interrupted and goes on, beside one that is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import xpmlp
from xpmlp import schedules

ROWS, BATCH, EPOCHS, STEPS = 46, 5, 5, 50
"""Ten steps an epoch, the last of which has one row."""

NETWORK = ("dtype", "dropout", "loss", "normalization")
"""Options of the network; all others but ``patience`` are those of ``fit``."""

OPTIMIZERS: dict[str, Callable[[Any], xpmlp.optimizers.Optimizer]] = {
    "sgd": lambda rate: xpmlp.SGD(rate, clip_norm=1.0),
    "momentum": xpmlp.Momentum,
    "nesterov": xpmlp.Nesterov,
    "adagrad": xpmlp.AdaGrad,
    "rmsprop": xpmlp.RMSProp,
    "adam": xpmlp.Adam,
    "adamw": xpmlp.AdamW,
}
SCHEDULES: dict[str, schedules.Schedule] = {
    "cosine": schedules.Cosine(0.02),
    "one cycle": schedules.OneCycle(0.05),
    "plateau": schedules.ReduceOnPlateau(0.02, factor=0.5, patience=1, min_delta=0.5),
}


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    X = rng.standard_normal((ROWS + 14, 4))
    return X, (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 1)


class Run:
    """A training with all that has to be as it was; ``fit`` makes everything anew, as a program
    does that is started again.
    """

    def __init__(self, backend: Any = "numpy", **options: Any) -> None:
        self.backend, self.options = backend, options

    def model(self) -> xpmlp.MLP:
        network = {"dropout": 0.2, "normalization": "batch", "seed": 5, "scaling": "standard"}
        network |= {name: value for name, value in self.options.items() if name in NETWORK}
        return xpmlp.MLP([4, 8, 3], "tanh", backend=self.backend, **network)

    def fit(self, **more: Any) -> "Run":
        given = {"optimizer": xpmlp.Adam(0.02), "batch_size": BATCH, "epochs": EPOCHS}
        given |= {"sample_weight": np.linspace(0.5, 1.5, ROWS + 14), "validation_split": 14 / 60}
        given |= {k: v for k, v in self.options.items() if k not in NETWORK} | more
        self.stopping, self.mlp = xpmlp.EarlyStopping(given.pop("patience", 3)), self.model()
        callbacks = [*given.pop("callbacks", ()), self.stopping]
        self.history = self.mlp.fit(*data(), callbacks=callbacks, **given)
        return self

    def facts(self) -> dict[str, Any]:
        """All that must be the same, bit for bit: everything but the time."""
        progress = self.mlp.progress
        assert progress is not None
        moments = [self.mlp.backend.to_numpy(m).tobytes() for m in progress.moments]
        figures = {name: values for name, values in self.history.items() if name != "seconds"}
        return {
            "weights": {name: w.tobytes() for name, w in self.mlp.state_dict().items()},
            "moments": moments,
            "counts": (progress.steps, progress.epochs, self.mlp.epochs_trained),
            "history": {name: np.array(values).tobytes() for name, values in figures.items()},
            "stopping": (self.stopping.best_epoch, self.stopping._best.value),
        }


def every_step(run: Run, folder: Path, **more: Any) -> list[Path]:
    """Train once, with a checkpoint after each step; the oldest first."""
    run.fit(checkpoints=xpmlp.Checkpoints(folder, every=1, keep=10**6, best=False), **more)
    return sorted(folder.iterdir())
