"""Estimators that say how sure they are: thin over the network's calibration."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from conftest import assert_close

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler

from xpmlp import metrics
from xpmlp.errors import InvalidValueError
from xpmlp.losses import Quantiles
from xpmlp.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_digits(return_X_y=True)
MIXED = np.random.default_rng(0).permutation(len(X))  # the file goes from writer to writer
X, Y = X[MIXED], Y[MIXED]
X, NAMES = X / 16.0, np.array([f"digit {k}" for k in range(10)])[Y]
PATIENTS, PROGRESSION = load_diabetes(return_X_y=True)
PATIENTS = StandardScaler().fit_transform(PATIENTS)
PROGRESSION = StandardScaler().fit_transform(PROGRESSION[:, None])[:, 0]
FAST: dict[str, Any] = {"hidden_layer_sizes": (16,), "max_iter": 12, "random_state": 0}


def classifier(**options: Any) -> MLPClassifier:
    return MLPClassifier(**FAST | {"learning_rate_init": 0.01} | options).fit(X[:900], NAMES[:900])


def regressor(**options: Any) -> MLPRegressor:
    model = MLPRegressor(**FAST | {"learning_rate_init": 0.01} | options)
    return model.fit(PATIENTS[:200], PROGRESSION[:200])


def test_probabilities_and_sets_of_named_classes() -> None:
    model = classifier()
    before, decided = model.predict_proba(X[1300:]), model.predict(X[1300:])
    assert model.calibrate(X[900:1300], NAMES[900:1300]) is model
    after = model.predict_proba(X[1300:])
    assert model.mlp_.calibration.rows == 400
    assert metrics.log_loss(Y[1300:], after) < metrics.log_loss(Y[1300:], before)
    assert (model.predict(X[1300:]) == decided).all()
    assert_close(model.predict_log_proba(X[1300:]), np.log(after), rtol=1e-6)
    sets = model.predict_set(X[1300:], coverage=0.95)
    assert sets.shape == (len(X) - 1300, 10)
    assert metrics.coverage(Y[1300:], sets) > 0.9
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_close(other.predict_proba(X[1300:]), after)
    assert not hasattr(clone(model), "mlp_")


def test_another_fit_ends_it() -> None:
    model = classifier(warm_start=True).calibrate(X[900:], NAMES[900:])
    model.partial_fit(X[:900], NAMES[:900])
    assert model.mlp_.calibration is None
    model.calibrate(X[900:], NAMES[900:]).fit(X[:900], NAMES[:900])
    assert model.mlp_.calibration is None


def test_lbfgs_ends_it_too() -> None:
    model = regressor(solver="lbfgs", warm_start=True, max_iter=3)
    model.calibrate(PATIENTS[200:], PROGRESSION[200:])
    model.fit(PATIENTS[:200], PROGRESSION[:200])
    assert model.mlp_.calibration is None


@pytest.mark.parametrize("loss", ["squared_error", "gaussian", Quantiles([0.1, 0.5, 0.9])])
@pytest.mark.parametrize("columns", [1, 2])
def test_intervals(loss: Any, columns: int) -> None:
    y = PROGRESSION if columns == 1 else np.stack([PROGRESSION, PATIENTS[:, 2]], axis=1)
    model = MLPRegressor(loss, **FAST | {"learning_rate_init": 0.01})
    model.fit(PATIENTS[:200], y[:200]).calibrate(PATIENTS[200:320], y[200:320])
    found = model.predict_interval(PATIENTS[320:], coverage=0.8)
    assert found.shape == (*y[320:].shape, 2)
    assert (np.abs(metrics.coverage(y[320:], found) - 0.8) < 0.15).all()
    assert model.predict(PATIENTS[320:]).shape == y[320:].shape
    assert model.n_outputs_ == columns


def test_standard_deviations_are_the_networks() -> None:
    model = regressor(loss="gaussian")
    mean, std = model.predict(PATIENTS, return_std=True)
    assert mean.shape == std.shape == (len(PATIENTS),)
    assert (std > 0).all()
    assert_close(mean, model.predict(PATIENTS))
    for found, right in zip((mean, std), model.mlp_.predict(PATIENTS, True), strict=True):
        assert_close(found, right)
    assert model.score(PATIENTS, PROGRESSION) == pytest.approx(r2_score(PROGRESSION, mean))
    with pytest.raises(InvalidValueError, match="predicts no standard deviations"):
        regressor().predict(PATIENTS, return_std=True)


def test_quantiles_are_the_networks() -> None:
    model = regressor(loss="quantiles")
    found = model.predict_quantiles(PATIENTS)
    assert found.shape == (len(PATIENTS), 3)
    assert (np.diff(found, axis=1) >= 0).all()
    assert_close(found[:, 1], model.predict(PATIENTS))


@pytest.mark.parametrize("loss", ["gaussian", "quantiles"])
def test_scikit_learns_tools_take_the_point(loss: str) -> None:
    scores = cross_val_score(MLPRegressor(loss, **FAST), PATIENTS, PROGRESSION, cv=3)
    assert scores.shape == (3,)
    early = MLPRegressor(loss, early_stopping=True, **FAST).fit(PATIENTS, PROGRESSION)
    assert np.isfinite(early.best_validation_score_)
    assert MLPRegressor(loss, solver="lbfgs", **FAST).fit(PATIENTS, PROGRESSION).score(
        PATIENTS, PROGRESSION
    ) > 0.3  # fmt: skip


def test_scikit_learn_has_no_such_network() -> None:
    with pytest.raises(InvalidValueError, match="to_sklearn: found the loss 'gaussian'"):
        regressor(loss="gaussian").to_sklearn()


def test_where_the_data_are(backend: Any) -> None:
    there = backend.asarray(PATIENTS)
    model = MLPRegressor("gaussian", **FAST, backend=backend).fit(there, PROGRESSION)
    expected = MLPRegressor("gaussian", **FAST).fit(PATIENTS, PROGRESSION)
    model.calibrate(there, backend.asarray(PROGRESSION))
    expected.calibrate(PATIENTS, PROGRESSION)
    found = backend.to_numpy(model.predict_interval(there))
    assert_close(found, expected.predict_interval(PATIENTS), of_max=1e-6)
    std = backend.to_numpy(model.predict(there, return_std=True)[1])
    assert_close(std, expected.predict(PATIENTS, return_std=True)[1], rtol=1e-6)


def test_a_data_frame() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": PATIENTS[:, 2], "b": np.where(PATIENTS[:, 1] > 0, "m", "f")})
    model = MLPRegressor(table="auto", **FAST).fit(frame[:200], PROGRESSION[:200])
    model.calibrate(frame[200:], PROGRESSION[200:])
    assert metrics.coverage(PROGRESSION, model.predict_interval(frame)) > 0.8


def test_two_classes_and_several_labels() -> None:
    """Of several labels there are no sets."""
    model = MLPClassifier(**FAST).fit(X[:400], Y[:400] > 4).calibrate(X[400:], Y[400:] > 4)
    assert model.predict_set(X[:5]).shape == (5, 2)
    labels = np.stack([Y > 4, Y % 2], axis=1).astype(int)
    model = MLPClassifier(**FAST).fit(X[:400], labels[:400]).calibrate(X[400:], labels[400:])
    assert model.predict_proba(X[:5]).shape == (5, 2)
    with pytest.raises(InvalidValueError, match="predicts several labels"):
        model.predict_set(X[:5])


def test_refused() -> None:
    with pytest.raises(NotFittedError):
        MLPClassifier().calibrate(X, NAMES)
    model = classifier()
    with pytest.raises(ValueError, match="classes not in"):
        model.calibrate(X[:30], np.full(30, "a letter"))
    with pytest.raises(ValueError, match="expected 20 or more"):
        model.calibrate(X[:3], NAMES[:3])
    with pytest.raises(ValueError, match="features"):
        model.calibrate(X[:30, :3], NAMES[:30])
    with pytest.raises(ValueError, match="no calibration"):
        model.predict_set(X)
