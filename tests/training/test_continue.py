"""Training that goes on where another ended, and orders of the rows that are a user's own."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp.errors import InvalidValueError
from xpmlp.nn.schedules import Cosine, InverseTime, ReduceOnPlateau

OPTIMIZERS = [
    xpmlp.Adam(0.02),
    xpmlp.AdamW(InverseTime(0.02, decay=0.3)),
    xpmlp.Nesterov(ReduceOnPlateau(0.05, monitor="loss", patience=1, min_delta=0.5)),
    xpmlp.AdaGrad(0.05),
]


def data(rows: int = 50) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((rows, 4))
    return X, (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 1)


def network(backend: Any, **options: Any) -> xpmlp.MLP:
    given = {"dropout": 0.2, "normalization": "batch"} | options
    return xpmlp.MLP([4, 8, 3], "tanh", backend=backend, dtype="float64", seed=5, **given)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.name)
@pytest.mark.sampled(3)
def test_two_trainings_are_one(backend: Any, optimizer: Any) -> None:
    X, y = data()
    whole, parts = network(backend), network(backend)
    expected = whole.fit(X, y, epochs=6, batch_size=16, optimizer=optimizer)
    first = parts.fit(X, y, epochs=2, batch_size=16, optimizer=optimizer)
    assert len(first["loss"]) == 2
    parts.fit(X, y, epochs=1, batch_size=16, optimizer=optimizer, continued=True)
    history = parts.fit(X, y, epochs=3, batch_size=16, optimizer=optimizer, continued=True)
    assert history["learning_rate"] == expected["learning_rate"]
    for name in ("loss", "accuracy"):
        assert_close(np.array(history[name]), np.array(expected[name]), rtol=1e-12)
    for name, value in whole.state_dict().items():
        assert_close(parts.state_dict()[name], value, of_max=1e-12)
    assert parts.epochs_trained == 6


def test_without_it_the_running_averages_start_anew(backend: Any) -> None:
    X, y = data()
    whole, parts = network(backend), network(backend)
    whole.fit(X, y, epochs=2, optimizer="adam", batch_size=16)
    for _ in range(2):
        parts.fit(X, y, epochs=1, optimizer="adam", batch_size=16)
    assert np.abs(whole.state_dict()["dense1.W"] - parts.state_dict()["dense1.W"]).max() > 1e-4


def test_other_data_of_another_length(backend: Any) -> None:
    """Steps count on: the sixth step is Adam's sixth, whatever the lengths of the epochs."""
    X, y = data()
    rows = np.arange(20)
    mlp, expected = (network(backend, dropout=0.0, normalization=None) for _ in range(2))
    mlp.fit(X, y, epochs=1, batch_size=10, shuffle=False)
    mlp.fit(X[:20], y[:20], epochs=1, batch_size=10, shuffle=False, continued=True)
    order = np.concatenate([np.arange(50), rows])
    expected.fit(X[order], y[order], epochs=1, batch_size=10, shuffle=False)
    for name, value in expected.state_dict().items():
        assert_close(mlp.state_dict()[name], value, of_max=1e-12)


def test_callbacks_see_the_epochs_of_both(backend: Any) -> None:
    X, y = data()
    seen: list[tuple[int, int, int]] = []

    class Watch(xpmlp.Callback):
        def on_epoch_end(self, training: Any) -> None:
            seen.append((training.epoch, training.epochs, len(training.history["loss"])))

    mlp = network(backend)
    mlp.fit(X, y, epochs=2, callbacks=[Watch()])
    mlp.fit(X, y, epochs=1, callbacks=[Watch()], continued=True)
    assert seen == [(0, 2, 1), (1, 2, 2), (2, 3, 3)]


def test_a_model_that_has_moved_goes_on(backend: Any) -> None:
    X, y = data()
    here, there = (network("numpy", normalization=None) for _ in range(2))
    here.fit(X, y, epochs=2, batch_size=16)
    here.fit(X, y, epochs=1, batch_size=16, continued=True)
    there.fit(X, y, epochs=2, batch_size=16)
    there.to(backend).fit(X, y, epochs=1, batch_size=16, continued=True)
    for name, value in here.state_dict().items():
        assert_close(there.state_dict()[name], value, of_max=1e-10)


def test_nothing_to_go_on_from() -> None:
    X, y = data()
    mlp = network("numpy")
    with pytest.raises(InvalidValueError, match="no training to continue"):
        mlp.fit(X, y, continued=True)
    mlp.fit(X, y, epochs=1, optimizer="sgd")
    with pytest.raises(InvalidValueError, match=r"found the optimizer 'adam'.* 'sgd'"):
        mlp.fit(X, y, optimizer="adam", continued=True)
    before = mlp.state_dict()
    with pytest.raises(InvalidValueError, match="X: found shape"):
        mlp.fit(X[:, :2], y, optimizer="sgd", continued=True)
    assert all((before[name] == value).all() for name, value in mlp.state_dict().items())
    mlp.fit(X, y, epochs=1, optimizer="sgd", continued=True)  # what failed has changed nothing


def test_one_step_is_compiled_for_all_rates() -> None:
    X, y = data()
    mlp = network("numpy")
    for rate in (0.1, 0.2, Cosine(0.3)):
        mlp.fit(X, y, epochs=1, optimizer=xpmlp.SGD(rate))
    assert len(mlp.compiled) == 1


def test_an_order_of_ones_own(backend: Any) -> None:
    X, y = data()
    asked: list[tuple[int, int]] = []

    def backwards(epoch: int, n: int) -> np.ndarray:
        asked.append((epoch, n))
        return np.arange(n)[::-1]

    ours, expected = network(backend), network(backend)
    ours.fit(X, y, epochs=2, batch_size=16, shuffle=backwards)
    ours.fit(X, y, epochs=1, batch_size=16, shuffle=backwards)
    assert asked == [(0, 50), (1, 50), (2, 50)]
    expected.fit(X[::-1], y[::-1], epochs=2, batch_size=16, shuffle=False)
    expected.fit(X[::-1], y[::-1], epochs=1, batch_size=16, shuffle=False)
    for name, value in expected.state_dict().items():
        assert_close(ours.state_dict()[name], value, of_max=1e-12)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (np.arange(0), r"int64 of shape \(0,\)"),
        (np.arange(1, 51), r"int64 of shape \(50,\), 1 to 50"),
        (np.arange(-1, 49), r"int64 of shape \(50,\), -1 to 48"),
        (np.linspace(0, 1, 50), r"float64 of shape \(50,\), 0.0 to 1.0"),
        (None, r"object of shape \(\)"),
    ],
)
def test_an_order_that_is_none(rows: Any, found: str) -> None:
    X, y = data()
    with pytest.raises(
        InvalidValueError, match=f"shuffle: .* {found}; expected one integer or more"
    ):
        network("numpy").fit(X, y, shuffle=lambda epoch, n: rows)
