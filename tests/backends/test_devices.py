"""Several GPUs: each model computes where it is, and the user's current device stays."""

import threading
from typing import Any

import numpy as np
import pytest
from conftest import assert_close
from emulation import device as imitated
from emulation import emulated

import xpmlp
from xpmlp.inspect.explain import explain

pytestmark = pytest.mark.slow

rng = np.random.default_rng(0)
X, Y = rng.random((70, 5)).astype(np.float32), rng.integers(0, 3, 70)


@pytest.fixture(autouse=True)
def _as_before() -> Any:
    """Every test ends on the device on which it began."""
    assert imitated.here.device == 0
    yield
    assert imitated.here.device == 0
    assert imitated.current_stream().ptr == 0


def model(number: int, **options: Any) -> xpmlp.MLP:
    backend = emulated.backend(number=number)
    return xpmlp.MLP([5, 8, 3], backend=backend, seed=1, **options)


def used(mlp: xpmlp.MLP) -> dict[str, np.ndarray]:
    """Train and predict; return all that the model then says."""
    history = mlp.fit(X, Y, epochs=3, batch_size=16, validation_split=0.2)
    assert history.execution.mode == "captured in CUDA graphs"
    for array in (mlp.weights.flat, mlp.progress.moments[0]):
        assert array.device == mlp.backend.device
    values = mlp.evaluate(X, Y) | mlp.state_dict() | {"val_loss": history["val_loss"]}
    return {name: np.asarray(value) for name, value in values.items()} | {
        "proba": mlp.predict_proba(X),
        "classes": mlp.predict(X),
    }


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(found[name], value, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    mlp = xpmlp.MLP([5, 8, 3], backend="numpy", seed=1)
    history = mlp.fit(X, Y, epochs=3, batch_size=16, validation_split=0.2)
    values = mlp.evaluate(X, Y) | mlp.state_dict() | {"val_loss": history["val_loss"]}
    return {name: np.asarray(value) for name, value in values.items()} | {
        "proba": mlp.predict_proba(X),
        "classes": mlp.predict(X),
    }


def test_two_models_in_turn(expected: Any) -> None:
    first, second = model(0), model(1)
    for mlp in (first, second):
        same(used(mlp), expected)
    for mlp in (second, first):
        mlp.fit(X, Y, epochs=1, batch_size=16, continued=True)
        assert mlp.weights.flat.device == mlp.backend.device


def test_two_models_in_two_threads(expected: Any) -> None:
    found: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda k=k: found.update({k: used(model(k % 2))})) for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for values in found.values():
        same(values, expected)


def test_the_device_that_the_user_has_chosen_stays(expected: Any) -> None:
    with imitated.Device(1):
        same(used(model(0)), expected)
        assert imitated.here.device == 1
        mlp = model(1)
        with pytest.raises(xpmlp.errors.InvalidValueError):
            mlp.fit(X, Y[:3])
        assert imitated.here.device == 1


def test_data_of_the_device_come_back_there() -> None:
    mlp = model(1, targets="labels")
    there = mlp.predict(mlp.backend.asarray(X))
    assert there.device == mlp.backend.device
    assert not mlp.backend.owns(model(0).backend.asarray(X))


def test_everything_else_on_the_second_device() -> None:
    mlp = model(1)
    mlp.fit(X, Y, epochs=1, data_on="host", batch_size=16)
    assert "dense1" in str(explain(mlp, X[:3], Y[:3]))
    mlp.load_state_dict(mlp.state_dict())
    objective = xpmlp.Objective(mlp, X, Y)
    value, gradient = objective(objective.start())
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    objective.adopt(objective.start())
    other = mlp.copy(backend=emulated.backend(number=0))
    assert_close(other.predict_proba(X), mlp.predict_proba(X), rtol=1e-6)
    assert mlp.to(emulated.backend(number=0)).weights.flat.device.id == 0
    diagnosis = xpmlp.Diagnosis()
    model(1, scaling="standard").fit(X, Y, epochs=2, callbacks=[diagnosis], shuffle=True)
    assert diagnosis.course is not None
    assert len(diagnosis.course.measurements) == 3
    assert xpmlp.verify(
        xpmlp.MLP([5, 8, 3], seed=1), X, Y, backends=("numpy", emulated.backend(number=1))
    ).agrees
