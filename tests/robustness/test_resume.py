"""What is resumed is the uninterrupted training, bit for bit, from any of its steps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import assert_close
from robustness.resuming import (
    BATCH,
    EPOCHS,
    OPTIMIZERS,
    ROWS,
    SCHEDULES,
    STEPS,
    Run,
    data,
    every_step,
)

import xpmlp
from xpmlp.nn.schedules import Cosine

OTHERS = [1, 10, 25, 49]
"""Steps at which libraries are stopped that compile for long."""


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.sampled(8)
def test_at_each_step(
    optimizer: str, schedule: str, tmp_path: Path, tried: Any, draws: Any
) -> None:
    run = Run(optimizer=OPTIMIZERS[optimizer](SCHEDULES[schedule]))
    whole = run.fit().facts()
    points = every_step(run, tmp_path / "all")
    assert run.facts() == whole  # saving changes nothing
    assert len(points) == whole["counts"][0] == STEPS
    # Others for each pair, of which five have all of them.
    every = draws(25, 5, 1)
    first = 7 * list(OPTIMIZERS).index(optimizer) + 3 * list(SCHEDULES).index(schedule)
    points = points[first % every :: every]
    for n, point in enumerate(points):
        assert run.fit(checkpoints=tmp_path / f"{n}", resume=point).facts() == whole, point.name
    tried(f"{optimizer}, {schedule}: stopped and resumed at {len(points)} steps, all bit for bit")


@pytest.mark.sampled(3)
def test_on_every_backend(backend: Any, tmp_path: Path, tried: Any) -> None:
    run = Run(backend, optimizer=xpmlp.Adam(Cosine(0.02)), dtype="float32")
    whole = run.fit().facts()
    points = every_step(run, tmp_path / "all")
    assert run.facts() == whole
    for n in OTHERS:
        found = run.fit(checkpoints=tmp_path / f"{n}", resume=points[n - 1]).facts()
        assert found == whole, points[n - 1].name
    tried(f"{backend.name}: stopped and resumed at {len(OTHERS)} steps, all bit for bit")


@pytest.mark.sampled(3)
def test_on_another_backend(backend: Any, tmp_path: Path) -> None:
    """What was interrupted on NumPy goes on anywhere, to what the backends agree on."""
    whole = Run(dtype="float64", normalization=None).fit()
    points = every_step(Run(dtype="float64", normalization=None), tmp_path / "all")
    there = Run(backend, dtype="float64", normalization=None)
    there.fit(checkpoints=tmp_path / "there", resume=points[16])
    assert there.history["learning_rate"] == whole.history["learning_rate"]
    for name, expected in whole.mlp.state_dict().items():
        assert_close(there.mlp.state_dict()[name], expected, of_max=1e-10)


def reversed_rows(epoch: int, n: int) -> np.ndarray:
    return np.roll(np.arange(n)[::-1], epoch)


CASES: dict[str, dict[str, Any]] = {
    "data on the host": {"data_on": "host"},
    "full batch": {"batch_size": None, "epochs": 12},
    "single rows": {"batch_size": 1, "epochs": 2, "normalization": None},
    "no shuffle": {"shuffle": False},
    "own order": {"shuffle": reversed_rows},
    "no metrics": {"metrics": False},
    "stops early": {"optimizer": xpmlp.SGD(1e-9), "epochs": 9},
    "float64": {"dtype": "float64"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.sampled(3)
def test_whatever_the_options(case: str, tmp_path: Path) -> None:
    run = Run(**CASES[case])
    whole = run.fit().facts()
    points = every_step(run, tmp_path / "all")
    for n in {0, 1, len(points) // 2, len(points) - 2, len(points) - 1}:
        found = run.fit(checkpoints=tmp_path / f"{n}", resume=points[n]).facts()
        assert found == whole, points[n].name


def test_a_continued_training(tmp_path: Path) -> None:
    """The second of two fits goes on in a program that has never seen the first."""
    X, y = data()
    whole, parts = (xpmlp.MLP([4, 8, 3], dropout=0.2, backend="numpy", seed=1) for _ in range(2))
    options: dict[str, Any] = {"epochs": 3, "batch_size": 7, "optimizer": xpmlp.Adam(Cosine(0.01))}
    for mlp in (whole, parts):
        mlp.fit(X, y, **options)
    expected = whole.fit(X, y, continued=True, **options)
    keep = xpmlp.Checkpoints(tmp_path / "all", every=1, keep=10**6, best=False)
    parts.fit(X, y, continued=True, checkpoints=keep, **options)
    points = sorted((tmp_path / "all").iterdir())
    for n in (0, 8, 13, len(points) - 1):
        again = xpmlp.MLP([4, 8, 3], dropout=0.2, backend="numpy", seed=1)
        history = again.fit(
            X, y, continued=True, checkpoints=tmp_path / f"{n}", resume=points[n], **options
        )
        assert history["loss"] == expected["loss"]
        assert again.epochs_trained == 6
        for name, value in whole.state_dict().items():
            assert np.array_equal(again.state_dict()[name], value)


def test_twice_interrupted(tmp_path: Path) -> None:
    """A resumed training writes checkpoints as good as those of the first."""
    run = Run()
    whole = run.fit().facts()
    first = every_step(run, tmp_path / "first")
    second = every_step(run, tmp_path / "second", resume=first[12])
    assert [p.name for p in second] == [p.name for p in first[13:]]
    assert run.fit(checkpoints=tmp_path / "third", resume=second[4]).facts() == whole


def test_a_checkpoint_is_a_model_as_of_its_step(tmp_path: Path) -> None:
    weights: list[dict[str, np.ndarray]] = []

    class Seen(xpmlp.Callback):
        every = 1

        def on_batch_end(self, training: Any) -> None:
            weights.append(training.mlp.weights.to_host(training.state.params))

    points = every_step(Run(), tmp_path / "all", callbacks=[Seen()])
    assert len(weights) == len(points)
    for point, expected in zip(points, weights, strict=True):
        mlp = xpmlp.load(point, backend="numpy")
        assert mlp.progress is None
        for name in mlp.parameters:
            assert np.array_equal(mlp.parameters[name], expected[name])
    assert len(points) == (ROWS + BATCH - 1) // BATCH * EPOCHS
