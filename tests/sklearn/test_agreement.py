"""The same ``random_state`` gives scikit-learn's own training: batches, rates, stops and scores."""

import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
import sklearn
from sklearn import neural_network as scikit
from sklearn.datasets import load_diabetes, load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning

from xpmlp import sklearn as ours

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*iprint.*:DeprecationWarning"),
]

VERSION = tuple(map(int, sklearn.__version__.split(".")[:2]))
DIGITS, DIGIT = load_digits(return_X_y=True)
DIGITS = DIGITS[:500] / 16.0
DIGIT = DIGIT[:500]
PATIENTS, PROGRESSION = load_diabetes(return_X_y=True)
PROGRESSION = PROGRESSION / 100.0
FILMS, GENRES = make_multilabel_classification(200, 6, n_classes=4, random_state=0)
FILMS = FILMS / 20.0  # scikit-learn's loss of classes is held at 36, where ours goes on

CLASSES = {
    "multiclass": (DIGITS, DIGIT),
    "binary": (DIGITS, DIGIT > 4),
    "text": (DIGITS, np.array(["zero", "one", "two", "many"])[np.minimum(DIGIT, 3)]),
    "multilabel": (FILMS, GENRES),
}
VALUES = {
    "one output": (PATIENTS, PROGRESSION),
    "two outputs": (PATIENTS, np.stack([PROGRESSION, -2.0 * PROGRESSION + 1.0], axis=1)),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.5},
    "no momentum": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.2},
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "learning_rate_init": 0.1,
        "tol": 0.05,
        "n_iter_no_change": 2,
    },
    "layers": {"hidden_layer_sizes": (20, 10), "activation": "tanh", "alpha": 0.1},
    "logistic": {"hidden_layer_sizes": 15, "activation": "logistic", "learning_rate_init": 0.01},
    "identity": {"activation": "identity", "hidden_layer_sizes": [7]},
    "in order": {"shuffle": False, "batch_size": 64},
    "full batch": {"batch_size": 10**6, "alpha": 1.0},
    "early stopping": {"early_stopping": True, "learning_rate_init": 0.02, "n_iter_no_change": 3},
    "stalls": {"tol": 0.1, "n_iter_no_change": 2, "learning_rate_init": 0.05},
    "betas": {"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-4},
}
FIGURES = ("loss_curve_", "validation_scores_", "best_loss_", "best_validation_score_", "loss_")


def pair(name: str, **settings: Any) -> tuple[Any, Any]:
    """scikit-learn's estimator and ours, with the same parameters."""
    given = {"random_state": 7, "max_iter": 25, "hidden_layer_sizes": (12,)} | settings
    return getattr(scikit, name)(**given), getattr(ours, name)(**given)


def assert_same(theirs: Any, found: Any, X: Any, rtol: float = 1e-8) -> None:
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(found, name) == getattr(theirs, name), name
    for name in FIGURES:
        if hasattr(theirs, name):
            expected, value = getattr(theirs, name), getattr(found, name)
            assert (value is None) == (expected is None), name
            if expected is not None:
                assert type(value) is type(expected) or isinstance(value, float)
                np.testing.assert_allclose(value, expected, rtol=rtol, err_msg=name)
    for name in ("coefs_", "intercepts_"):
        for value, expected in zip(getattr(found, name), getattr(theirs, name), strict=True):
            scale = max(1.0, float(np.abs(expected).max()))
            np.testing.assert_allclose(value, expected, rtol=0, atol=rtol * scale, err_msg=name)
    if hasattr(theirs, "classes_"):
        assert (found.classes_ == theirs.classes_).all()
        proba, expected = found.predict_proba(X), theirs.predict_proba(X)
        np.testing.assert_allclose(proba, expected, atol=rtol)
        assert (found.predict(X) == theirs.predict(X)).all()
        assert found.predict(X).dtype == theirs.predict(X).dtype
    else:
        np.testing.assert_allclose(found.predict(X), theirs.predict(X), rtol=rtol, atol=rtol)
        assert found.predict(X).shape == theirs.predict(X).shape


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("data", CLASSES)
@pytest.mark.filterwarnings("ignore:Got `batch_size`:UserWarning")
@pytest.mark.sampled(3)
def test_classifiers(data: str, settings: str) -> None:
    if (data, settings) == ("text", "early stopping") and VERSION < (1, 9):
        pytest.skip("scikit-learn before 1.9 fails with text and early stopping")
    X, y = CLASSES[data]
    theirs, found = pair("MLPClassifier", **SETTINGS[settings])
    assert_same(theirs.fit(X, y), found.fit(X, y), X)
    assert found.score(X, y) == theirs.score(X, y)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("data", VALUES)
@pytest.mark.filterwarnings("ignore:Got `batch_size`:UserWarning")
@pytest.mark.sampled(3)
def test_regressors(data: str, settings: str) -> None:
    X, y = VALUES[data]
    theirs, found = pair("MLPRegressor", **SETTINGS[settings])
    assert_same(theirs.fit(X, y), found.fit(X, y), X)
    np.testing.assert_allclose(found.score(X, y), theirs.score(X, y), rtol=1e-8)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_fifty_epochs_of_the_full_batch(solver: str) -> None:
    theirs, found = pair("MLPClassifier", solver=solver, batch_size=len(DIGITS), max_iter=50)
    assert_same(theirs.fit(DIGITS, DIGIT), found.fit(DIGITS, DIGIT), DIGITS)
    assert len(found.loss_curve_) == 50


def has_weights(name: str) -> bool:
    """Whether this scikit-learn's MLP takes sample weights, as 1.7's and later ones do."""
    from inspect import signature

    return "sample_weight" in signature(getattr(scikit, name).fit).parameters


@pytest.mark.skipif(not has_weights("MLPRegressor"), reason="scikit-learn 1.7 brought weights")
@pytest.mark.parametrize("settings", ["defaults", "sgd", "early stopping", "full batch"])
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.filterwarnings("ignore:Got `batch_size`:UserWarning")
def test_weights(name: str, settings: str) -> None:
    X, y = (DIGITS, DIGIT) if name == "MLPClassifier" else VALUES["two outputs"]
    w = np.random.default_rng(0).uniform(0.0, 2.0, len(X))
    theirs, found = pair(name, **SETTINGS[settings] | {"alpha": 0.5})
    theirs.fit(X, y, sample_weight=w)
    assert_same(theirs, found.fit(X, y, sample_weight=w), X)
    np.testing.assert_allclose(found.score(X, y, w), theirs.score(X, y, w), rtol=1e-8)


@pytest.mark.skipif(not has_weights("MLPRegressor"), reason="scikit-learn 1.7 brought this loss")
@pytest.mark.parametrize("settings", ["defaults", "sgd", "early stopping"])
def test_poisson(settings: str) -> None:
    y = np.random.default_rng(1).poisson(PROGRESSION)
    assert (y == 0).any()
    theirs, found = pair("MLPRegressor", loss="poisson", **SETTINGS[settings])
    assert_same(theirs.fit(PATIENTS, y), found.fit(PATIENTS, y), PATIENTS)


@pytest.mark.parametrize("data", [*CLASSES, "one output"])
@pytest.mark.sampled(3)
def test_lbfgs(data: str) -> None:
    """Iterations magnify rounding, so few of them; and to the end, the same loss."""
    X, y = (CLASSES | VALUES)[data]
    name = "MLPClassifier" if data in CLASSES else "MLPRegressor"
    for iterations, rtol in ((5, 1e-7), (200, 0.1)):
        theirs, found = pair(
            name, solver="lbfgs", max_iter=iterations, alpha=0.1, hidden_layer_sizes=(5,)
        )
        theirs.fit(X, y), found.fit(X, y)
        np.testing.assert_allclose(found.loss_, theirs.loss_, rtol=rtol)
    assert found.n_iter_ <= 200
    assert not hasattr(found, "loss_curve_")


@pytest.mark.parametrize("settings", ["defaults", "sgd", "invscaling", "adaptive", "stalls"])
def test_partial_fit(settings: str) -> None:
    theirs, found = pair("MLPClassifier", **SETTINGS[settings])
    for start in (0, 150, 200, 0):
        rows = slice(start, start + 150)
        for estimator in (theirs, found):
            estimator.partial_fit(DIGITS[rows], DIGIT[rows], classes=np.arange(10))
    assert_same(theirs, found, DIGITS)
    assert found._no_improvement_count == theirs._no_improvement_count


def test_partial_fit_goes_on_after_fit() -> None:
    theirs, found = pair("MLPRegressor", max_iter=5)
    for estimator in (theirs, found):
        estimator.fit(PATIENTS, PROGRESSION)
        estimator.partial_fit(PATIENTS[:100], PROGRESSION[:100])
    assert_same(theirs, found, PATIENTS)


@pytest.mark.parametrize("settings", ["defaults", "invscaling", "adaptive"])
def test_warm_start(settings: str) -> None:
    theirs, found = pair("MLPClassifier", warm_start=True, **SETTINGS[settings])
    for estimator in (theirs, found):
        estimator.fit(DIGITS, DIGIT).set_params(max_iter=4).fit(DIGITS, DIGIT)
    assert_same(theirs, found, DIGITS)


def test_parameters_of_the_network_may_change_between_fits() -> None:
    theirs, found = pair("MLPClassifier", warm_start=True, max_iter=5)
    for estimator in (theirs, found):
        estimator.fit(DIGITS, DIGIT).set_params(alpha=5.0).fit(DIGITS, DIGIT)
        estimator.set_params(activation="tanh").partial_fit(DIGITS, DIGIT)
    assert_same(theirs, found, DIGITS)


def test_a_warm_start_ends_with_the_best_weights_of_all() -> None:
    """The training is scikit-learn's, but there the later fit overwrites the best weights."""
    theirs, found = pair("MLPClassifier", warm_start=True, **SETTINGS["early stopping"])
    for estimator in (theirs, found):
        estimator.fit(DIGITS, DIGIT).set_params(learning_rate_init=0.5, max_iter=3)
    best = [W.copy() for W in found.coefs_]
    for estimator in (theirs, found):
        estimator.fit(DIGITS, DIGIT)
    np.testing.assert_allclose(found.validation_scores_, theirs.validation_scores_, rtol=1e-8)
    assert max(found.validation_scores_[-3:]) <= found.best_validation_score_
    for W, expected in zip(found.coefs_, best, strict=True):
        np.testing.assert_array_equal(W, expected)


@pytest.mark.parametrize("state", [3, "shared"])
def test_a_random_state_that_is_shared_ends_the_same(state: Any) -> None:
    made = [np.random.RandomState(5) if state == "shared" else state for _ in range(2)]
    theirs, found = pair("MLPClassifier", tol=0.1, n_iter_no_change=2, learning_rate_init=0.02)
    for estimator, own in zip((theirs, found), made, strict=True):
        estimator.set_params(random_state=own).fit(DIGITS, DIGIT)
    assert found.n_iter_ == theirs.n_iter_ < 25
    if state == "shared":
        assert made[0].randint(10**6) == made[1].randint(10**6)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64"])
def test_dtypes(dtype: str) -> None:
    """8 and 16 bits compute in float32, which holds them; scikit-learn converts them to float64."""
    X = (DIGITS > 0.5).astype(dtype)
    theirs, found = pair("MLPClassifier", max_iter=3)
    theirs.fit(X, DIGIT), found.fit(X, DIGIT)
    assert found.coefs_[0].dtype == ("float32" if dtype in ("float32", "uint8") else "float64")
    narrow = found.coefs_[0].dtype == "float32"
    assert_same(theirs, found, X, rtol=1e-3 if narrow else 1e-8)


@pytest.mark.parametrize("settings", ["defaults", "stalls", "adaptive", "early stopping"])
def test_verbose(settings: str, capsys: pytest.CaptureFixture[str]) -> None:
    theirs, found = pair("MLPClassifier", verbose=True, **SETTINGS[settings])
    theirs.fit(DIGITS, DIGIT)
    expected = capsys.readouterr().out
    found.fit(DIGITS, DIGIT)
    assert capsys.readouterr().out == expected
    assert "Iteration 1, loss = " in expected


def test_lbfgs_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    """SciPy 1.15 and later print nothing; ours are the lines of the other solvers."""
    found = ours.MLPClassifier(solver="lbfgs", max_iter=3, verbose=True, random_state=0)
    found.fit(DIGITS, DIGIT)
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub("[0-9.]+$", "", line) for line in lines] == [
        f"Iteration {i}, loss = " for i in (1, 2, 3)
    ]
    np.testing.assert_allclose(found.loss_, float(lines[-1].split()[-1]), atol=1e-7)


# Warnings and errors


WRONG: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "alpha": ({"alpha": -1.0}, DIGITS, DIGIT),
    "solver": ({"solver": "newton"}, DIGITS, DIGIT),
    "activation": ({"activation": "ghost"}, DIGITS, DIGIT),
    "batch size": ({"batch_size": 0}, DIGITS, DIGIT),
    "layers": ({"hidden_layer_sizes": (3, -1)}, DIGITS, DIGIT),
    "layer": ({"hidden_layer_sizes": -3}, DIGITS, DIGIT),
    "momentum": ({"momentum": 2.0}, DIGITS, DIGIT),
    "iterations": ({"max_iter": 0}, DIGITS, DIGIT),
    "shuffle": ({"shuffle": "yes"}, DIGITS, DIGIT),
    "NaN": ({}, np.where(DIGITS == 0, np.nan, DIGITS), DIGIT),
    "no rows": ({}, DIGITS[:0], DIGIT[:0]),
    "one dimension": ({}, DIGITS[0], DIGIT[:64]),
    "lengths": ({}, DIGITS, DIGIT[:-1]),
    "real classes": ({}, DIGITS, DIGIT + 0.5),
    "two columns of classes": ({}, DIGITS, np.stack([DIGIT, DIGIT], axis=1)),
    "too few of a class": ({"early_stopping": True}, DIGITS[:4], np.array([0, 0, 0, 1])),
    "too few to hold out": (
        {"early_stopping": True, "validation_fraction": 0.01},
        *(DIGITS[:50], DIGIT[:50]),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors(case: str) -> None:
    if case == "too few to hold out" and VERSION < (1, 7):
        pytest.skip("scikit-learn 1.7 brought this check")
    settings, X, y = WRONG[case]
    theirs, found = pair("MLPClassifier", **settings)
    with pytest.raises(ValueError) as expected:  # noqa: PT011
        theirs.fit(X, y)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        found.fit(X, y)
    words = str(expected.value).split("Got" if case in ("solver", "activation") else "\0")[-1]
    assert words in str(error.value)


def test_errors_of_partial_fit() -> None:
    theirs, found = pair("MLPClassifier")
    for estimator in (theirs, found):
        with pytest.raises(ValueError, match="classes must be passed on the first call"):
            estimator.partial_fit(DIGITS, DIGIT)
        estimator.partial_fit(DIGITS, DIGIT, classes=np.arange(10))
    cases = [
        ((DIGITS[:10], DIGIT[:10] + 20), {"classes": np.arange(10)}),
        ((DIGITS[:10], DIGIT[:10]), {"classes": np.arange(3)}),
        ((DIGITS[:, :5], DIGIT), {"classes": np.arange(10)}),
    ]
    for data, more in cases:
        with pytest.raises(ValueError) as expected:  # noqa: PT011
            theirs.partial_fit(*data, **more)
        with pytest.raises(ValueError, match=re.escape(str(expected.value))):
            found.partial_fit(*data, **more)
    for estimator in pair("MLPClassifier", solver="lbfgs"):
        assert not hasattr(estimator, "partial_fit")


@pytest.mark.parametrize(
    ("settings", "category"),
    [
        ({"max_iter": 2}, ConvergenceWarning),
        ({"batch_size": 10**6, "tol": 1e3, "n_iter_no_change": 1}, UserWarning),
        ({"solver": "lbfgs", "max_iter": 2}, ConvergenceWarning),
    ],
)
def test_warnings(settings: dict[str, Any], category: type[Warning]) -> None:
    theirs, found = pair("MLPClassifier", **settings)
    said = []
    for estimator in (theirs, found):
        with pytest.warns(category) as caught:
            estimator.fit(DIGITS, DIGIT)
        # An old scikit-learn gives a new SciPy an option that it no more wants.
        news = [w for w in caught if w.category is not DeprecationWarning]
        said.append([(w.category, str(w.message)) for w in news])
    assert said[0] == said[1]
    assert caught[0].filename == __file__ or settings.get("solver") == "lbfgs"


def test_a_training_that_leaves_the_finite_numbers() -> None:
    theirs, found = pair("MLPRegressor", solver="sgd", activation="identity")
    for estimator in (theirs, found):
        estimator.set_params(learning_rate_init=1e6)
    for estimator in (theirs, found):
        message = "Solver produced non-finite parameter weights"
        with pytest.raises(ValueError, match=message), np.errstate(all="ignore"):
            estimator.fit(PATIENTS, PROGRESSION)
    with pytest.raises(ValueError, match=r"diverged in epoch .* learning rate was 1e"):
        found.fit(PATIENTS, PROGRESSION)


def test_an_interrupted_training_is_kept() -> None:
    import xpmlp

    class Interrupt(xpmlp.Callback):
        every = 1

        def on_batch_end(self, training: Any) -> None:
            if training.epoch == 2:
                raise KeyboardInterrupt

    _, found = pair("MLPClassifier")
    found.set_params(callbacks=[Interrupt()])
    with pytest.warns(UserWarning, match=r"Training interrupted by user\."):
        found.fit(DIGITS, DIGIT)
    _, whole = pair("MLPClassifier", max_iter=2)
    whole.fit(DIGITS, DIGIT)
    assert found.n_iter_ == len(found.loss_curve_) == 2
    assert (found.coefs_[0] == whole.coefs_[0]).all()
