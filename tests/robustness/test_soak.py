"""A long training with checkpoints: its memory does not grow. An hour with ``--full``."""

import os
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

import xpmlp

GROWTH = 4 * 2**20
"""Bytes: allocators wander by so much; a leak of one small checkpoint in ten passes it soon."""


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Meter(xpmlp.Callback):
    """Reads the memory after each epoch, and ends the training when the time is over."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.read: list[int] = []

    def on_train_begin(self, training: Any) -> None:
        self.begin = time.monotonic()

    def on_epoch_end(self, training: Any) -> None:
        self.read.append(resident())
        if time.monotonic() - self.begin > self.seconds:
            training.stop()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_stays_flat(tmp_path: Path, draws: Any, tried: Any) -> None:
    # Long epochs: a history of 40,000 short ones takes 8 MiB, as it must.
    rng, rows = np.random.default_rng(0), draws(20_000, 20_000, 200_000)
    seconds = draws(4, 9, 3600)
    X, y = rng.standard_normal((rows, 64), dtype=np.float32), rng.integers(0, 10, rows)
    mlp = xpmlp.MLP([64, 128, 10], dropout=0.2, normalization="batch", backend="numpy", seed=0)
    mlp.fit(X[:64], y[:64], epochs=1)  # what is compiled and loaded once
    meter, keep = Meter(seconds), xpmlp.Checkpoints(tmp_path, every=100)
    mlp.fit(
        *(X, y),
        epochs=10**6,
        batch_size=64,
        validation_data=(X[:60], y[:60]),  # so few that the pass is recorded, too
        callbacks=[xpmlp.EarlyStopping(10**6), meter],
        checkpoints=keep,
    )
    n = len(meter.read) // 10
    early, late = median(meter.read[n : 2 * n + 1]), median(meter.read[-n - 1 :])
    steps = mlp.epochs_trained * rows // 64
    tried(
        f"{seconds:,} seconds of training, {steps // 100:,} checkpoints in "
        f"{mlp.epochs_trained:,} epochs: resident {early / 2**20:.1f} MiB early, "
        f"{late / 2**20:.1f} MiB late"
    )
    assert late - early < GROWTH
    assert len(list(tmp_path.iterdir())) == 4
