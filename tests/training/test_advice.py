"""``fit`` warns of inputs far from scaled and of a loss that runs away, and of nothing healthy."""

import warnings
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp.arrays import rows
from xpmlp.errors import DivergenceError
from xpmlp.training.advice import warn_of_inputs
from xpmlp.training.prepare import prepare

sklearn_data = pytest.importorskip("sklearn.datasets", reason="its iris and digits are the data")
X, Y = sklearn_data.load_iris(return_X_y=True)
DIGITS = sklearn_data.load_digits(return_X_y=True)
UNSCALED = r"X: found inputs far from scaled: column 0, the largest, has mean .*scaling='standard'"
RNG = np.random.default_rng(0)


def network(n_in: int = 4, n_out: int = 3, backend: Any = "numpy", **options: Any) -> xpmlp.MLP:
    return xpmlp.MLP([n_in, 8, n_out], backend=backend, **{"seed": 0} | options)


@pytest.mark.parametrize("factor", [10000, 100, 1e-3])
def test_inputs_far_from_scaled_are_warned_of_once(factor: float, backend: Any) -> None:
    mlp = network(backend=backend)
    with pytest.warns(UserWarning, match=UNSCALED) as said:
        mlp.fit(X * factor, Y, epochs=2, validation_split=0.2)
    mlp.fit(X * factor, Y, epochs=1, continued=True)  # a second warning would be an error
    assert len(said) == 1
    assert said[0].filename == __file__


def test_the_evidence_is_of_the_column() -> None:
    x = RNG.standard_normal((500, 4))
    x[:, 2] = 2000 + 10 * x[:, 2]
    with pytest.warns(UserWarning, match=r"column 2, .* mean 2e\+03 and standard deviation (9|1)"):
        network().fit(x, np.arange(500) % 3, epochs=1)


def test_numbers_whose_squares_overflow() -> None:
    with pytest.warns(UserWarning, match=UNSCALED), suppress(DivergenceError):
        network(dtype="float64").fit(X * 1e200, Y, epochs=1)


def test_a_filter_silences_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="X: found inputs far from scaled")
        network().fit(X * 1e4, Y, epochs=1)


def test_estimators_warn_once_too() -> None:
    estimator = pytest.importorskip("xpmlp.sklearn").MLPClassifier((5,), random_state=0)
    with pytest.warns(UserWarning, match="StandardScaler") as said:
        estimator.partial_fit(X * 1e4, Y, classes=[0, 1, 2])
    estimator.partial_fit(X * 1e4, Y)
    assert [w.filename for w in said] == [__file__]


def sparse(x: np.ndarray) -> Any:
    return pytest.importorskip("scipy.sparse").csr_array(x)


HEALTHY = {
    "iris": (X, Y),
    "standardized": ((X - X.mean(0)) / X.std(0), Y),
    "scaled by the model": (X * 1e4 + 1e6, Y, {"scaling": "standard"}),
    "digits": DIGITS,
    "digits as bytes": ((DIGITS[0] * 15).astype(np.uint8), DIGITS[1]),
    "digits in the unit interval": (DIGITS[0] / 16, DIGITS[1]),
    "a column for each of 300 words": (np.eye(300), np.arange(300) % 3),
    "counts": (RNG.poisson(np.geomspace(1e-2, 30, 50), (200, 50)), np.arange(200) % 3),
    "sparse counts": (sparse(RNG.poisson(0.01, (200, 900)).astype(float)), np.arange(200) % 3),
    "small but not tiny": sklearn_data.load_diabetes(return_X_y=True),
    "zeros": (np.zeros((9, 4)), np.arange(9) % 3),
    "large for batch normalization": (X * 1e4, Y, {"normalization": "batch"}),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_healthy_is_warned_of(name: str, backend: Any) -> None:
    x, y, *options = HEALTHY[name]
    outputs = 1 if y.dtype.kind == "f" else int(y.max()) + 1
    network(x.shape[1], outputs, backend, **(options[0] if options else {})).fit(x, y, epochs=2)


@pytest.mark.parametrize("factor", [1e4, 1e-3])
def test_sparse_inputs_are_looked_at_as_they_are(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many columns, none becomes dense."""
    monkeypatch.setattr(rows.SparseRows, "part", None)
    x = sparse(np.pad(X * factor, [(0, 0), (0, 9996)]))
    mlp = network(10000)
    with pytest.warns(UserWarning, match=UNSCALED):
        assert warn_of_inputs(mlp, prepare(mlp, x, Y))


class Rising(xpmlp.Callback):
    """Makes the weights worse, as a learning rate that is too large does."""

    def on_epoch_end(self, training: Any) -> None:
        state = training.mlp.state_dict()
        training.mlp.load_state_dict({name: 8 * value for name, value in state.items()})


@pytest.mark.parametrize("continued", [False, True])
def test_a_loss_that_runs_away(continued: bool, backend: Any) -> None:
    mlp = network(backend=backend)
    mlp.fit(X, Y, epochs=2)
    with pytest.warns(UserWarning, match=r"loss ran away.*epoch 1 of .*guess has 1\.1.*by 10") as s:
        mlp.fit(X, Y, epochs=4, callbacks=[Rising()], optimizer="adam", continued=continued)
    assert [w.filename for w in s] == [__file__]


def test_early_stopping_has_seen_it_already() -> None:
    mlp = network()
    history = mlp.fit(X, Y, epochs=20, callbacks=[xpmlp.EarlyStopping(patience=2), Rising()])
    assert history["loss"][-1] > 100 * mlp.evaluate(X, Y)["loss"]


@pytest.mark.parametrize(
    ("x", "y", "optimizer"),
    [
        (X, (Y > 1).astype(int), xpmlp.Adam(10.0)),
        (X, Y, xpmlp.SGD(10.0)),
        (DIGITS[0], DIGITS[1], xpmlp.Momentum(10.0)),
        (X[:, :3], X[:, 3], xpmlp.Adam(10.0)),
    ],
)
def test_a_rate_far_too_large(x: Any, y: Any, optimizer: Any) -> None:
    """Most are huge in the first epoch, and then settle above what a constant guess has."""
    outputs = 1 if optimizer.name == "adam" else int(y.max()) + 1
    mlp = network(x.shape[1], outputs, seed=1)
    with pytest.warns(UserWarning, match="ran away") as said:
        mlp.fit(x, y, epochs=5, batch_size=32, optimizer=optimizer)
    assert len(said) == 1


def test_a_strong_penalty_is_no_runaway() -> None:
    """It is most of the loss at first, and falls."""
    history = network(64, 10, l2=10.0).fit(DIGITS[0] / 16, DIGITS[1], epochs=5)
    assert min(history["loss"][0] / 10, history["loss"][-1]) > np.log(10)


def test_real_targets_far_from_zero_are_no_runaway() -> None:
    history = network(3, 1).fit(X[:, :3] / 8, X[:, 3] + 1000, epochs=3)
    assert history["loss"][0] > history["loss"][-1] > 1e5


def test_a_loss_that_only_wavers_is_healthy() -> None:
    """After a fit that went well, a loss of twice as much is nothing."""
    mlp = network(64, 10)
    for optimizer in (xpmlp.Adam(0.01), xpmlp.Adam(0.02)):
        history = mlp.fit(*DIGITS, epochs=30, optimizer=optimizer)
    assert history["loss"][-1] < 0.5


@pytest.mark.parametrize("y", [np.zeros(30, dtype=int), np.full(30, 0.1)])
def test_targets_that_do_not_vary_are_no_runaway(y: np.ndarray) -> None:
    """A constant guess has no loss then, and every other loss is many times as large."""
    X = np.random.default_rng(3).normal(size=(30, 3))
    outputs = 2 if y.dtype == int else 1
    xpmlp.MLP([3, 4, outputs], seed=1).fit(X, y, epochs=5, optimizer=xpmlp.Adam(0.1))
