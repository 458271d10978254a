"""Data that stay on the host: the same training as with data on the device, chunk by chunk."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend

import xpmlp
from xpmlp.arrays import host, rows
from xpmlp.errors import DivergenceError, InvalidValueError
from xpmlp.model import forward
from xpmlp.nn.contract import Memory
from xpmlp.training import batches

N, INPUTS, CLASSES = 50, 6, 3


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some chunks in an epoch of a few steps."""
    monkeypatch.setattr(batches, "CHUNK_STEPS", 3)


def example(dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    X = rng.standard_normal((N, INPUTS))
    y = np.argmax(X[:, :CLASSES] + 0.3 * X[:, CLASSES:], axis=1)
    return (X * 50 + 120).clip(0, 255).astype(dtype) if dtype == "uint8" else X.astype(dtype), y


def model(backend: Any, **options: Any) -> xpmlp.MLP:
    made = {"backend": backend, "dtype": "float64", "seed": 3} | options
    return xpmlp.MLP([INPUTS, 8, CLASSES], **made)


def assert_same(a: xpmlp.MLP, b: xpmlp.MLP) -> None:
    """Bit for bit."""
    ours, theirs = a.state_dict(), b.state_dict()
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], strict=True)


class Seen(xpmlp.Callback):
    """Losses within an epoch."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.values: list[tuple[int, float]] = []

    def on_batch_end(self, training: Any) -> None:
        self.values.append((training.step, training.batch_loss))


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "last batch smaller": ({}, {"batch_size": 6}, "float64"),
    "without it": ({}, {"batch_size": 6, "shuffle": "full"}, "float64"),
    "one chunk": ({}, {"batch_size": 32}, "float64"),
    "full batch": ({}, {"batch_size": None}, "float64"),
    "in order": ({}, {"batch_size": 7, "shuffle": False}, "float64"),
    "pixels": ({"dtype": "float32"}, {"batch_size": 6}, "uint8"),
    "weights": ({}, {"batch_size": 6, "sample_weight": np.arange(1.0, N + 1)}, "float32"),
    "dropout": ({"dropout": 0.3, "input_dropout": 0.1}, {"batch_size": 5}, "float64"),
    "statistics": ({"normalization": "batch"}, {"batch_size": 6}, "float64"),
    "standard": ({"scaling": "standard"}, {"batch_size": 6, "validation_split": 0.2}, "float32"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.sampled(5)
def test_the_same_bits_as_with_data_on_the_device(backend: Any, case: str) -> None:
    options, fit, dtype = CASES[case]
    X, y = example(dtype)
    trained, histories = [], []
    for data_on in ("device", "host"):
        mlp = model(backend, **options)
        histories.append(mlp.fit(X, y, epochs=2, **fit, data_on=data_on))
        trained.append(mlp)
    assert_same(*trained)
    for name in set(histories[0]) - {"seconds"}:
        assert histories[0][name] == histories[1][name], name


@pytest.mark.usefixtures("uncompiled")
def test_callbacks_see_the_same_steps(backend: Any) -> None:
    X, y = example()
    seen = {}
    for data_on in ("device", "host"):
        watchers = [Seen(2), Seen(5)]
        model(backend).fit(X, y, epochs=2, batch_size=6, callbacks=watchers, data_on=data_on)
        seen[data_on] = [watcher.values for watcher in watchers]
    assert seen["device"] == seen["host"]
    assert [step for step, _ in seen["host"][0]] == [2, 4, 6, 8, 1, 3, 5, 7, 9]


@pytest.mark.usefixtures("uncompiled")
def test_early_stopping_and_diagnosis_see_the_same(backend: Any) -> None:
    X, y = example()
    reports, epochs, trained = [], [], []
    for data_on in ("device", "host"):
        stopping, diagnosis = xpmlp.EarlyStopping(2), xpmlp.Diagnosis()
        mlp = model(backend)
        mlp.fit(
            X,
            y,
            epochs=40,
            batch_size=6,
            optimizer=xpmlp.Adam(0.3),
            validation_split=0.3,
            callbacks=[stopping, diagnosis],
            data_on=data_on,
        )
        reports.append(diagnosis.report())
        epochs.append((stopping.best_epoch, mlp.epochs_trained))
        trained.append(mlp)
    assert epochs[0] == epochs[1]
    assert epochs[0][1] < 40
    assert reports[0] == reports[1]
    assert_same(*trained)


@pytest.mark.usefixtures("uncompiled")
def test_a_divergence_is_found_in_the_same_place(backend: Any) -> None:
    """In a chunk that is not the first, of an epoch that is not the first."""
    X, y = example()
    messages, trained = [], []

    def share(time: float, total: float) -> float:
        return 1e300 if time >= 1.4 else 1.0

    for data_on in ("device", "host"):
        mlp = model(backend)
        with pytest.raises(DivergenceError) as raised, np.errstate(all="ignore"):
            mlp.fit(
                X,
                y,
                epochs=3,
                batch_size=6,
                optimizer=xpmlp.SGD(xpmlp.schedules.Custom(0.1, share)),
                data_on=data_on,
            )
        messages.append(str(raised.value))
        trained.append(mlp)
    assert messages[0] == messages[1]
    assert "epoch 2 of 3, step 6 of 9" in messages[0]
    assert trained[0].epochs_trained == trained[1].epochs_trained == 1
    assert_same(*trained)


@pytest.mark.usefixtures("uncompiled")
def test_two_fits_go_on_as_one_model(backend: Any) -> None:
    """From the host, then from the device, and the other way round."""
    X, y = example()
    trained = []
    for order in (("host", "device"), ("device", "host")):
        mlp = model(backend)
        for data_on in order:
            mlp.fit(X, y, epochs=1, batch_size=6, data_on=data_on)
        trained.append(mlp)
    assert_same(*trained)


# Who decides


def limited(free: int) -> Any:
    """The strict backend, whose device says how much memory is free, and counts what it gets."""
    made = make_backend("strict")
    made.memory = lambda: Memory(2**20, free, 2**30)
    made.largest, copy = 0, made.asarray

    def asarray(host: Any, dtype: str | None = None) -> Any:
        made.largest = max(made.largest, np.asarray(host).nbytes)
        return copy(host, dtype)

    made.asarray = asarray
    return made


def test_auto_takes_the_host_where_memory_is_short() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20_000, INPUTS)), np.arange(20_000) % CLASSES
    size = X.nbytes + y.astype(np.int32).nbytes
    notes, largest = [], []
    for free in (size * 2, size):
        backend = limited(free)
        mlp = model(backend)
        history = mlp.fit(X, y, epochs=1, batch_size=500, validation_data=(X, y))
        assert history["val_loss"][-1] == mlp.evaluate(X, y)["loss"]
        assert mlp.predict(X).shape == (20_000,)
        notes.append(history.execution.notes)
        largest.append(backend.largest)
    assert notes[0] == ()
    assert largest[0] == X.nbytes
    assert "the data stay on the host: they take 1016 KiB, and 1016 KiB of" in notes[1][0]
    assert "the validation data stay on the host: they take 938 KiB" in notes[1][0]
    assert largest[1] < X.nbytes / 4  # nothing of the data was ever there at once


def test_the_device_is_not_asked_for_memory_that_it_does_not_have(backend: Any) -> None:
    """The devices here are the host's CPU."""
    X, y = example()
    if "gpu" not in backend.capabilities:
        assert backend.memory() is None
        history = model(backend).fit(X, y, epochs=1)
        assert history.execution.notes == ()
        assert history.memory is None


def test_a_wrong_choice_is_refused_before_any_compute(backend: Any) -> None:
    X, y = example()
    with pytest.raises(InvalidValueError, match=r"unknown data_on 'hots'\. Did you mean 'host'"):
        model(backend).fit(X, y, data_on="hots")
    if not isinstance(backend.asarray(X), np.ndarray):  # as those that stand in for CuPy's are
        mlp = model(backend)
        with pytest.raises(InvalidValueError, match=r"data_on: found 'host' for data on .* NumPy"):
            mlp.fit(backend.asarray(X), y, data_on="host")
        with pytest.raises(InvalidValueError, match="has not been trained"):
            _ = mlp.task


def test_standard_scaling_of_host_data_does_not_need_the_device() -> None:
    backend = make_backend("strict")
    X, y = example()
    mlp = model(backend, scaling="standard")
    backend.to_numpy = None  # nothing comes back from there
    from xpmlp.training.prepare import prepare

    scaling = prepare(mlp, X, y).scaling
    assert_close(scaling.shift, X.mean(axis=0), rtol=1e-12)
    assert_close(scaling.scale, 1 / X.std(axis=0), rtol=1e-12)


def test_moments_of_more_rows_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "BLOCK_ROWS", 7)
    X, _ = example("uint8")
    mean, std = rows.HostRows(make_backend("numpy"), X).moments()
    assert_close(mean, X.mean(axis=0), rtol=1e-12)
    assert_close(std, X.std(axis=0), rtol=1e-12)


@pytest.mark.usefixtures("uncompiled")
def test_results_of_host_data_come_batch_by_batch(
    backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = example()
    mlp = model(backend)
    mlp.fit(X, y, epochs=1)
    whole = mlp.predict_proba(X), mlp.predict(X), mlp.evaluate(X, y)
    monkeypatch.setattr(forward, "ROWS", 16)
    mlp.forget_compiled()
    parts = mlp.predict_proba(X), mlp.predict(X), mlp.evaluate(X, y)
    assert isinstance(parts[0], np.ndarray)
    assert_close(parts[0], whole[0], rtol=1e-12)
    np.testing.assert_array_equal(parts[1], whole[1])
    assert_close(list(parts[2].values()), list(whole[2].values()), rtol=1e-12)
