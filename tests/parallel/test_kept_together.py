"""Checkpoints of several workers, in threads: the first writes, all go on from there."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parallel.together import Thread, together

import xpmlp

X = np.random.default_rng(0).standard_normal((64, 3))
Y = (X[:, 0] > 0).astype(int)


class Stop(xpmlp.Callback):
    """Ends the training as Ctrl-C does."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, training: Any) -> None:
        if training.finished == self.epoch:
            raise KeyboardInterrupt


def fitted(worker: Thread, folder: Path | None, stop: int = 0) -> np.ndarray:
    mlp = xpmlp.MLP([3, 8, 2], dropout=0.2, backend="numpy", seed=1)
    callbacks = [xpmlp.SaveModel(folder.parent / "best.xpmlp")] if folder else []
    mlp.fit(
        *(X, Y),
        epochs=4,
        batch_size=16,
        workers=worker,
        callbacks=[*callbacks, *([Stop(stop)] if stop else [])],
        **({} if folder is None else {"checkpoints": folder, "resume": True}),
    )
    return mlp.backend.to_numpy(mlp.weights.flat)


def test_stopped_on_two_and_resumed_on_three(tmp_path: Path) -> None:
    expected = together(2, lambda worker: fitted(worker, None))[0]
    folder = tmp_path / "run"
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        together(2, lambda worker: fitted(worker, folder, stop=2))
    assert list(folder.glob("*.checkpoint")) or any(folder.iterdir())
    for found in together(3, lambda worker: fitted(worker, folder)):
        np.testing.assert_array_equal(found, expected)
    assert xpmlp.load(tmp_path / "best.xpmlp", backend="numpy").epochs_trained > 0
