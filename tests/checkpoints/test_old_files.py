"""Files of earlier versions: a model and a checkpoint of November 2026 load, and resume.

``tests/old_files/`` was written by ``make()`` below, run with the code of commit 12c1611, before
its modules were moved to folders:

    PYTHONPATH=OLD:OLD/backends:tests/checkpoints python -c "import test_old_files as t; t.make()"

That code called the mode in which steps are neither recorded nor compiled "call by call".
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpmlp

FOLDER = Path(__file__).resolve().parent.parent / "old_files"
MODEL, CHECKPOINT, NUMBERS = FOLDER / "model.xpmlp", FOLDER / "run", FOLDER / "numbers.npz"
ROWS, HELD, STEP = 30, 10, 13
"""Of 8 steps an epoch; the checkpoint is in the middle of the second."""


def data() -> dict[str, Any]:
    """Inputs, labels, and validation data, from closed forms."""
    i, j = np.arange(ROWS + HELD)[:, None], np.arange(3)
    X = np.sin(1.7 * i + 0.9 * j) + 0.1 * j
    y = (X[:, 0] > X[:, 1]).astype(int)
    return {"X": X[:ROWS], "y": y[:ROWS], "validation_data": (X[ROWS:], y[ROWS:])}


def model(backend: str = "strict") -> xpmlp.MLP:
    return xpmlp.MLP(
        [3, 4, 2],
        "tanh",
        dropout=0.2,
        normalization="batch",
        scaling="standard",
        dtype="float64",
        backend=backend,
        seed=7,
    )


def fit(mlp: xpmlp.MLP, *callbacks: xpmlp.Callback, **more: Any) -> xpmlp.History:
    rate = xpmlp.schedules.Cosine(0.05)
    stopping = xpmlp.EarlyStopping(patience=3)
    return mlp.fit(
        **data(),
        epochs=6,
        batch_size=4,
        # Adam would make steps of the rounding errors in biases before a normalization.
        optimizer=xpmlp.Nesterov(rate),
        callbacks=[stopping, *callbacks],
        **more,
    )


def make() -> None:
    """Write the files, with the code that is on the path."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    keep = xpmlp.Checkpoints(FOLDER / "all", every=STEP, keep=99, best=False)
    mlp = model()
    history = fit(mlp, checkpoints=keep)
    mlp.save(MODEL)
    CHECKPOINT.mkdir()
    (FOLDER / "all" / f"step-{STEP:09}.xpmlp").rename(CHECKPOINT / f"step-{STEP:09}.xpmlp")
    shutil.rmtree(FOLDER / "all")
    figures = {f"history.{name}": v for name, v in history.items() if name != "seconds"}
    probabilities = mlp.predict_proba(data()["X"])
    np.savez_compressed(NUMBERS, **mlp.state_dict(), **figures, probabilities=probabilities)


@pytest.fixture(scope="module")
def numbers() -> dict[str, np.ndarray]:
    with np.load(NUMBERS) as file:
        return dict(file)


def assert_same(mlp: xpmlp.MLP, history: xpmlp.History, expected: dict[str, Any]) -> None:
    """To 1e-9: another machine may round otherwise."""
    for name, values in mlp.state_dict().items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-9, atol=1e-12, err_msg=name)
    figures = {n.removeprefix("history.") for n in expected if n.startswith("history.")}
    assert figures == set(history) - {"seconds"}
    for name in figures:
        found = history[name]
        np.testing.assert_allclose(found, expected[f"history.{name}"], rtol=1e-9, err_msg=name)


def test_the_model_has_its_numbers(numbers: dict[str, np.ndarray]) -> None:
    mlp = xpmlp.load(MODEL, backend="numpy")
    assert mlp.sizes == (3, 4, 2)
    assert mlp.dtype == "float64"
    state = mlp.state_dict()
    assert len(state) > 4
    for name, values in state.items():
        np.testing.assert_array_equal(values, numbers[name], strict=True)
    found = mlp.predict_proba(data()["X"])
    np.testing.assert_allclose(found, numbers["probabilities"], rtol=1e-9)


@pytest.mark.parametrize("backend", ["strict", "numpy"])
def test_the_checkpoint_is_resumed(
    backend: str, numbers: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """With the same arguments, and ends like a run that nothing interrupted."""
    shutil.copytree(CHECKPOINT, tmp_path / "run")
    seen = []

    class Watch(xpmlp.Callback):
        def on_train_begin(self, training: Any) -> None:
            seen.append((training.total, training.history.execution.mode))

    resumed = model(backend)
    folder = xpmlp.Checkpoints(tmp_path / "run", every=1000)
    history = fit(resumed, Watch(), checkpoints=folder, resume=True)
    assert seen == [(STEP, "eager")]
    uninterrupted = model(backend)
    whole = fit(uninterrupted)
    expected = uninterrupted.state_dict() | {f"history.{n}": v for n, v in whole.items()}
    del expected["history.seconds"]
    assert_same(resumed, history, expected)
    assert_same(resumed, history, numbers)
