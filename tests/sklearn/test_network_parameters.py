"""``scaling``, ``bias`` and ``initializer`` of the drop-in estimators."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close

pytest.importorskip("sklearn")

from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xpmlp
from xpmlp.errors import InvalidValueError
from xpmlp.sklearn import MLPClassifier, MLPRegressor, search

RNG = np.random.default_rng(1)
X = RNG.standard_normal((80, 3)) * [1.0, 20.0, 0.1] + [0.0, 50.0, 2.0]
VALUES = X @ [1.0, 0.1, 5.0] + 100.0
CLASSES = np.array(["a", "b", "c"])[np.digitize(X[:, 0] + X[:, 1] / 20, [2.0, 3.0])]
SMALL: dict[str, Any] = {"hidden_layer_sizes": (6,), "max_iter": 20, "random_state": 0}

pytestmark = pytest.mark.filterwarnings("ignore:.*(hasn't converged|failed to converge)")


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_scaling_is_a_scaler_in_front(solver: str) -> None:
    ours = MLPClassifier(**SMALL, solver=solver, scaling="standard").fit(X, CLASSES)
    theirs = make_pipeline(StandardScaler(), MLPClassifier(**SMALL, solver=solver)).fit(X, CLASSES)
    assert_close(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    values = MLPRegressor(**SMALL, solver=solver, scaling="standard").fit(X, VALUES)
    pipe = make_pipeline(StandardScaler(), MLPRegressor(**SMALL, solver=solver))
    around = TransformedTargetRegressor(pipe, transformer=StandardScaler()).fit(X, VALUES)
    assert_close(values.predict(X), around.predict(X), rtol=1e-6)


def test_weights_for_scikit_learn_take_and_give_plain_units() -> None:
    for made, y in ((MLPClassifier, CLASSES), (MLPRegressor, VALUES)):
        ours = made(**SMALL, scaling="standard", dtype="float64").fit(X, y)
        theirs = ours.to_sklearn()
        assert (ours.predict(X) == theirs.predict(X)).all() or np.allclose(
            ours.predict(X), theirs.predict(X), rtol=1e-10
        )
    robust = MLPRegressor(**SMALL, scaling="robust").fit(X, VALUES)
    assert robust.score(X, VALUES) > -1
    with pytest.raises(InvalidValueError, match="scaling='robust'"):
        robust.to_sklearn()
    pixels = (RNG.integers(0, 256, (80, 3))).astype(np.uint8)
    divided = MLPClassifier(**SMALL, scaling="auto", dtype="float64").fit(pixels, CLASSES)
    same = divided.to_sklearn().predict_proba(pixels)
    assert_close(divided.predict_proba(pixels), same, atol=1e-10)


def test_without_biases(backend: Any) -> None:
    ours = MLPRegressor(**SMALL, bias=False, backend=backend, dtype="float64").fit(X, VALUES)
    assert_close(ours.predict(np.zeros((1, 3))), [0.0], atol=0)
    assert "dense1.b" not in ours.mlp_.parameters
    assert [b.tolist() for b in ours.intercepts_] == [[0.0] * 6, [0.0]]
    with pytest.raises(InvalidValueError, match="a network with bias=False"):
        ours.intercepts_ = [np.ones(6), np.ones(1)]
    assert_close(ours.to_sklearn().predict(X), ours.predict(X), rtol=1e-10)


def test_first_weights() -> None:
    one = {**SMALL, "max_iter": 1, "learning_rate_init": 1e-12, "dtype": "float64"}
    ours = MLPClassifier(**one, initializer="he").fit(X, CLASSES)
    seed = int(np.random.RandomState(0).randint(2**31 - 1))
    plain = xpmlp.MLP([3, 6, 3], initializer="he", dtype="float64", backend="numpy", seed=seed)
    assert_close(ours.coefs_[0], plain.parameters["dense1.W"], atol=1e-9)

    def ones(rng: Any, n_in: int, n_out: int) -> np.ndarray:
        return np.ones((n_in, n_out))

    assert_close(
        MLPClassifier(**one, initializer=ones).fit(X, CLASSES).coefs_[1], np.ones((6, 3)), atol=1e-9
    )
    with pytest.raises(ValueError, match="initializer"):
        MLPClassifier(**one, initializer="hee").fit(X, CLASSES)


def test_defaults_are_scikit_learns() -> None:
    made = MLPClassifier()
    assert (made.scaling, made.bias, made.initializer) == (None, True, None)


def test_a_network_to_continue_keeps_them() -> None:
    ours = MLPRegressor(**SMALL, warm_start=True, scaling="standard").fit(X, VALUES)
    before = ours.mlp_.scaling
    ours.set_params(alpha=0.1).fit(X, VALUES)
    assert ours.mlp_.scaling is before
    for changed in ({"scaling": "standard"}, {"bias": False}):
        again = MLPRegressor(**SMALL, warm_start=True).fit(X, VALUES).set_params(**changed)
        with pytest.raises(InvalidValueError, match=next(iter(changed))):
            again.fit(X, VALUES)


def test_search_makes_the_same_networks() -> None:
    for more in ({"scaling": "standard", "bias": False}, {"initializer": "he"}):
        model = MLPRegressor(**SMALL, **more)
        found = search(model, {"learning_rate_init": [1e-3, 1e-1]}, X, VALUES, epochs=9)
        assert len(found.table) == 2
        assert np.isfinite(found.best_score)
