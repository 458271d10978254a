"""To scikit-learn and back: the same predictions, and what was fitted."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn import neural_network as scikit
from sklearn.datasets import load_diabetes, load_digits, make_multilabel_classification
from sklearn.exceptions import NotFittedError

import xpmlp
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.sklearn import MLPClassifier, MLPRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*iprint.*:DeprecationWarning"),
]

DIGITS, DIGIT = load_digits(return_X_y=True)
DIGITS, DIGIT = DIGITS[:300] / 16.0, DIGIT[:300]
PATIENTS, PROGRESSION = load_diabetes(return_X_y=True)
FILMS, GENRES = make_multilabel_classification(150, 6, n_classes=4, random_state=0)
FAST: dict[str, Any] = {"hidden_layer_sizes": (9, 7), "max_iter": 12, "random_state": 0}

CASES = {
    "classes": ("MLPClassifier", DIGITS, DIGIT, {}),
    "two classes": ("MLPClassifier", DIGITS, DIGIT > 4, {"activation": "logistic"}),
    "text": ("MLPClassifier", DIGITS, np.where(DIGIT > 4, "more", "less"), {"activation": "tanh"}),
    "labels": ("MLPClassifier", FILMS, GENRES, {"early_stopping": True}),
    "values": ("MLPRegressor", PATIENTS, PROGRESSION, {"activation": "identity"}),
    "several values": ("MLPRegressor", PATIENTS, np.stack([PROGRESSION] * 2, axis=1), {}),
    "lbfgs": ("MLPRegressor", PATIENTS, PROGRESSION, {"solver": "lbfgs"}),
}


def predictions(estimator: Any, X: Any) -> np.ndarray:
    classes = hasattr(estimator, "predict_proba")
    return estimator.predict_proba(X) if classes else estimator.predict(X)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_from_scikit_learn(case: str, dtype: str) -> None:
    name, X, y, settings = CASES[case]
    X = X.astype(dtype)
    theirs = getattr(scikit, name)(**FAST | settings).fit(X, y)
    ours = getattr(xpmlp.sklearn, name).from_sklearn(theirs)
    expected = predictions(theirs, X)
    scale = np.abs(expected).max()
    found = predictions(ours, X)
    assert np.abs(found - expected).max() <= (1e-14 if dtype == "float64" else 1e-5) * scale
    if name == "MLPClassifier":
        assert (ours.predict(X) == theirs.predict(X)).all()
    assert ours.coefs_[0].dtype == theirs.coefs_[0].dtype
    assert ours.n_iter_ == theirs.n_iter_
    for parameter, value in theirs.get_params().items():
        assert getattr(ours, parameter) == value
    assert getattr(ours, "loss_curve_", 0) == getattr(theirs, "loss_curve_", 0)


@pytest.mark.parametrize("case", CASES)
def test_to_scikit_learn(case: str) -> None:
    name, X, y, settings = CASES[case]
    ours = getattr(xpmlp.sklearn, name)(**FAST | settings).fit(X, y)
    theirs = ours.to_sklearn()
    assert type(theirs) is getattr(scikit, name)
    expected = predictions(ours, X)
    assert np.abs(predictions(theirs, X) - expected).max() <= 1e-14 * np.abs(expected).max()
    assert theirs.score(X, y) == pytest.approx(ours.score(X, y), rel=1e-12)
    for parameter, value in theirs.get_params().items():
        assert getattr(ours, parameter) == value
    if settings.get("solver") != "lbfgs" and not settings.get("early_stopping"):
        theirs.partial_fit(X, y)
        assert theirs.loss_curve_[:-1] == ours.loss_curve_
    again = type(ours).from_sklearn(theirs)
    assert again.get_params() == ours.get_params()


def test_what_came_from_there_goes_on() -> None:
    theirs = scikit.MLPClassifier(**FAST, warm_start=True, early_stopping=True).fit(DIGITS, DIGIT)
    ours = MLPClassifier.from_sklearn(theirs, learning_rate_init=0.01, max_iter=5)
    ours.fit(DIGITS, DIGIT)
    assert len(ours.loss_curve_) == theirs.n_iter_ + ours.n_iter_
    partial = MLPClassifier.from_sklearn(scikit.MLPClassifier(**FAST).fit(DIGITS, DIGIT))
    before = partial.score(DIGITS, DIGIT)
    for _ in range(30):
        partial.partial_fit(DIGITS, DIGIT)
    assert partial.score(DIGITS, DIGIT) > before


def test_parameters_beside_theirs(backend: Any) -> None:
    theirs = scikit.MLPClassifier(**FAST).fit(DIGITS, DIGIT)
    ours = MLPClassifier.from_sklearn(theirs, backend=backend, dropout=0.2)
    assert ours.mlp_.backend is backend
    assert ours.dropout == 0.2
    np.testing.assert_allclose(ours.predict_proba(DIGITS), theirs.predict_proba(DIGITS), atol=1e-12)


def test_an_estimator_that_is_not_fitted() -> None:
    ours = MLPRegressor.from_sklearn(scikit.MLPRegressor(alpha=0.5))
    assert ours.alpha == 0.5
    with pytest.raises(NotFittedError):
        ours.predict(PATIENTS)
    with pytest.raises(NotFittedError):
        ours.to_sklearn()


def test_another_kind_of_estimator() -> None:
    with pytest.raises(InvalidTypeError, match=r"found MLPRegressor; expected .*MLPClassifier"):
        MLPClassifier.from_sklearn(scikit.MLPRegressor())


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"normalization": "layer"}, "normalization='layer'"),
        ({"residual": True, "hidden_layer_sizes": (8, 8)}, "residual=True"),
        ({"activation": "gelu"}, r"activation=\['gelu'\]"),
        ({"activation": ["relu", "tanh"]}, r"activation=\['relu', 'tanh'\]"),
    ],
)
def test_a_network_that_scikit_learn_does_not_have(settings: dict[str, Any], found: str) -> None:
    ours = MLPClassifier(**FAST | settings).fit(DIGITS, DIGIT)
    with pytest.raises(InvalidValueError, match=found):
        ours.to_sklearn()


def test_what_matters_to_training_alone_is_left_out() -> None:
    ours = MLPClassifier(
        **FAST | {"hidden_layer_sizes": ()},
        solver=xpmlp.AdamW(xpmlp.schedules.Cosine(0.01)),
        dropout=[],
        l1=0.1,
        class_weight="balanced",
        loss=xpmlp.losses.SparseCategoricalCrossEntropy(label_smoothing=0.1),
    ).fit(DIGITS, DIGIT)
    theirs = ours.to_sklearn()
    np.testing.assert_allclose(theirs.predict_proba(DIGITS), ours.predict_proba(DIGITS), atol=1e-14)
    assert theirs.solver == "adam"
    scheduled = MLPClassifier(**FAST, learning_rate=xpmlp.schedules.Cosine(0.01))
    assert scheduled.fit(DIGITS, DIGIT).to_sklearn().learning_rate == "constant"


@pytest.mark.parametrize(
    ("setting", "value"),
    [("hidden_layer_sizes", (7,)), ("activation", "tanh"), ("normalization", "layer")],
)
def test_another_network_than_the_fitted_one(setting: str, value: Any) -> None:
    theirs = scikit.MLPClassifier(**FAST).fit(DIGITS, DIGIT)
    with pytest.raises(InvalidValueError, match=f"from_sklearn: found {setting} with a fitted"):
        MLPClassifier.from_sklearn(theirs, **{setting: value})
    MLPClassifier.from_sklearn(scikit.MLPClassifier(**FAST), **{setting: value})


def test_an_output_that_scikit_learn_does_not_have() -> None:
    ours = MLPRegressor(**FAST, loss="poisson").fit(DIGITS, DIGIT)
    if "loss" in scikit.MLPRegressor().get_params():
        np.testing.assert_allclose(ours.to_sklearn().predict(DIGITS), ours.predict(DIGITS))
    else:
        with pytest.raises(InvalidValueError, match=r"has it from 1\.7 on"):
            ours.to_sklearn()
