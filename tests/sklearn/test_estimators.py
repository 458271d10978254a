"""What the estimators have beside scikit-learn's: each does what its name says."""

import copy
import gc
import pickle
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning

import xpmlp
from xpmlp.errors import GradientError, InvalidTypeError, InvalidValueError
from xpmlp.sklearn import MLPClassifier, MLPRegressor
from xpmlp.sklearn._arrays import to_host

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_digits(return_X_y=True)
X, Y = X[:400] / 16.0, Y[:400]
PATIENTS, PROGRESSION = load_diabetes(return_X_y=True)
PROGRESSION = PROGRESSION / 100.0
FAST: dict[str, Any] = {"hidden_layer_sizes": (12,), "max_iter": 15, "random_state": 0}


def classifier(**settings: Any) -> MLPClassifier:
    return MLPClassifier(**FAST | settings)


def regressor(**settings: Any) -> MLPRegressor:
    return MLPRegressor(**FAST | settings)


def distance(a: Any, b: Any) -> float:
    """How far the weights of two estimators are apart."""
    pairs = zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True)
    return max(float(np.abs(to_host(u) - to_host(v)).max()) for u, v in pairs)


# Weights


FULL_BATCH = {"batch_size": 400, "learning_rate_init": 0.01, "alpha": 0.3, "shuffle": False}


@pytest.mark.parametrize("settings", [FULL_BATCH, {"solver": "lbfgs", "alpha": 0.3, "tol": 1e-10}])
@pytest.mark.filterwarnings("ignore:Got `batch_size`:UserWarning")
def test_class_weight_two_is_every_row_of_the_class_twice(settings: dict[str, Any]) -> None:
    more = settings | ({"max_iter": 8} if "solver" in settings else {})
    twice = np.concatenate([np.arange(400), np.flatnonzero(Y == 3)])
    weighted = classifier(class_weight={3: 2.0}, **more).fit(X, Y)
    repeated = classifier(**more | {"batch_size": 10**6}).fit(X[twice], Y[twice])
    assert distance(weighted, repeated) < 1e-7
    assert distance(weighted, classifier(**more).fit(X, Y)) > 1e-3


@pytest.mark.parametrize("settings", [{}, FULL_BATCH, {"solver": "lbfgs", "max_iter": 8}])
def test_weights_of_one_are_none(settings: dict[str, Any]) -> None:
    plain = classifier(**settings).fit(X, Y)
    assert distance(plain, classifier(**settings).fit(X, Y, np.ones(400))) < 1e-7
    ones = dict.fromkeys(range(10), 1.0)
    assert distance(plain, classifier(class_weight=ones, **settings).fit(X, Y)) < 1e-7


def test_balanced_classes_count_alike() -> None:
    y = np.where(Y == 3, "rare", "common")
    counts = {"rare": (y == "rare").sum(), "common": (y == "common").sum()}
    by_name = classifier(class_weight={c: 400 / 2 / n for c, n in counts.items()}).fit(X, y)
    balanced = classifier(class_weight="balanced").fit(X, y)
    assert distance(by_name, balanced) < 1e-12
    few = classifier(max_iter=3).fit(X, y)
    many = classifier(max_iter=3, class_weight="balanced").fit(X, y)
    assert (many.predict(X) == "rare").sum() > (few.predict(X) == "rare").sum()


def test_class_weights_and_sample_weights_multiply() -> None:
    w = np.random.default_rng(0).uniform(0.5, 2.0, 400)
    both = classifier(class_weight={1: 3.0}).fit(X, Y, w)
    assert distance(both, classifier().fit(X, Y, w * np.where(Y == 1, 3.0, 1.0))) < 1e-12


def test_partial_fit_with_class_weights() -> None:
    a = classifier(class_weight={1: 3.0}).partial_fit(X, Y, classes=np.arange(10))
    b = classifier().partial_fit(X, Y, np.where(Y == 1, 3.0, 1.0), np.arange(10))
    assert distance(a, b) < 1e-12
    with pytest.raises(InvalidValueError, match=r"'balanced' in partial_fit.*pass a dict"):
        classifier(class_weight="balanced").partial_fit(X, Y, classes=np.arange(10))


# The network


def test_layers_of_all_kinds() -> None:
    made = classifier(
        hidden_layer_sizes=(16, 16),
        activation=["gelu", "leaky_relu"],
        dropout=[0.1, 0.2],
        input_dropout=0.05,
        normalization="batch",
        residual=True,
        max_norm=2.0,
        l1=1e-3,
        max_iter=30,
        learning_rate_init=0.01,
    ).fit(X, Y)
    assert made.score(X, Y) > 0.95
    summary = made.mlp_.summary()
    assert all(word in summary for word in ("gelu", "leaky_relu", "0.2 dropped", "batch"))
    assert max(np.linalg.norm(W, axis=0).max() for W in made.coefs_) <= 2.0 + 1e-12


@pytest.mark.parametrize("setting", [{"dropout": 0.3}, {"normalization": "layer"}, {"l1": 0.5}])
def test_each_of_them_matters(setting: dict[str, Any]) -> None:
    assert distance(classifier(**setting).fit(X, Y), classifier().fit(X, Y)) > 1e-3
    assert distance(classifier(**setting).fit(X, Y), classifier(**setting).fit(X, Y)) == 0


def test_l1_makes_weights_small() -> None:
    plain, sparse = regressor().fit(PATIENTS, PROGRESSION), regressor(l1=20.0, max_iter=200)
    sparse.fit(PATIENTS, PROGRESSION)
    assert np.abs(sparse.coefs_[0]).mean() < 0.2 * np.abs(plain.coefs_[0]).mean()


def test_an_activation_of_ones_own() -> None:
    def cube_root(xp: Any, z: Any) -> Any:
        return xp.tanh(z) + 0.1 * z

    def slope(xp: Any, z: Any) -> Any:
        return 1.0 - xp.tanh(z) ** 2 + 0.1

    def wrong(xp: Any, z: Any) -> Any:
        return 1.0 - xp.tanh(z)

    made = classifier(activation=(cube_root, slope), learning_rate_init=0.02).fit(X, Y)
    assert made.score(X, Y) > 0.8
    with pytest.raises(GradientError):
        classifier(activation=(cube_root, wrong)).fit(X, Y)


def squared(xp: Any, z: Any, y: Any) -> Any:
    return 0.5 * xp.sum((z - y) ** 2, axis=1), z - y


@pytest.mark.parametrize("loss", ["mae", "huber", "mse", xpmlp.losses.Quantile(0.9), squared])
def test_losses_of_values(loss: Any) -> None:
    made = regressor(loss=loss, max_iter=60, learning_rate_init=0.01).fit(PATIENTS, PROGRESSION)
    below = (made.predict(PATIENTS) > PROGRESSION).mean()
    if isinstance(loss, xpmlp.losses.Quantile):
        assert 0.8 < below < 0.97
    else:
        assert made.score(PATIENTS, PROGRESSION) > 0.3
    assert made.out_activation_ == "identity"


def test_a_loss_of_ones_own_is_the_one_it_equals() -> None:
    own = regressor(loss=squared).fit(PATIENTS, PROGRESSION)
    assert distance(own, regressor().fit(PATIENTS, PROGRESSION)) < 1e-12


SMOOTHED = {
    False: xpmlp.losses.SparseCategoricalCrossEntropy(label_smoothing=0.2),
    True: xpmlp.losses.BinaryCrossEntropy(label_smoothing=0.2),
}


@pytest.mark.parametrize("loss", ["mse", squared, SMOOTHED], ids=["mse", "own", "smoothed"])
@pytest.mark.parametrize("binary", [False, True])
def test_losses_of_classes(loss: Any, binary: bool) -> None:
    y = Y > 4 if binary else Y
    chosen = loss[binary] if loss is SMOOTHED else loss
    made = classifier(loss=chosen, max_iter=60, learning_rate_init=0.02).fit(X, y)
    assert made.score(X, y) > 0.9
    p = made.predict_proba(X)
    assert p.min() >= 0
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert (made.classes_[p.argmax(axis=1)] == made.predict(X)).all()
    if loss is SMOOTHED:
        sharp = classifier(max_iter=60, learning_rate_init=0.02).fit(X, y)
        assert p.max(axis=1).mean() < sharp.predict_proba(X).max(axis=1).mean() - 0.05


# Solvers and rates


@pytest.mark.parametrize("solver", ["adamw", "rmsprop", "adagrad", "nesterov", "momentum"])
def test_other_solvers_are_xpmlps_own(solver: str) -> None:
    found = classifier(solver=solver, learning_rate_init=0.01).fit(X, Y)
    optimizer = xpmlp.optimizers.OPTIMIZERS[solver](0.01)
    assert distance(found, classifier(solver=optimizer).fit(X, Y)) == 0
    assert type(found.mlp_.progress.optimizer) is type(optimizer)
    assert found.loss_curve_[-1] < found.loss_curve_[0]


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw"])
def test_schedules_of_every_solver(solver: str) -> None:
    schedule = xpmlp.schedules.Cosine(0.05)
    found = classifier(solver=solver, learning_rate=schedule).fit(X, Y)
    assert found.history_["learning_rate"][0] > 10 * found.history_["learning_rate"][-1]


def test_the_names_of_rates_are_for_sgd_alone() -> None:
    """As in scikit-learn."""
    a, b = (classifier(learning_rate=r).fit(X, Y) for r in ("constant", "invscaling"))
    assert distance(a, b) == 0


# Measuring


def test_history() -> None:
    found = classifier(early_stopping=True).fit(X, Y)
    names = {"loss", "learning_rate", "seconds", "val_loss", "val_accuracy", "val_score"}
    assert set(found.history_) == names
    assert {len(values) for values in found.history_.values()} == {found.n_iter_}
    assert found.history_["loss"] == found.loss_curve_
    assert found.history_["val_score"] == found.validation_scores_
    np.testing.assert_allclose(found.history_["val_accuracy"], found.validation_scores_)


def test_validation_data_of_ones_own() -> None:
    train, held = slice(0, 300), slice(300, 400)
    found = classifier().fit(X[train], Y[train], X_val=X[held], y_val=Y[held])
    assert len(found.history_["val_loss"]) == found.n_iter_
    np.testing.assert_allclose(found.history_["val_score"][-1], found.score(X[held], Y[held]))
    assert found.validation_scores_ is None
    assert distance(found, classifier().fit(X[train], Y[train])) == 0
    stopped = classifier(
        early_stopping=True, n_iter_no_change=2, max_iter=200, learning_rate_init=0.05
    ).fit(X[train], Y[train], X_val=X[held], y_val=Y[held])
    assert stopped.n_iter_ < 200
    assert stopped.converged_
    assert stopped.score(X[held], Y[held]) == stopped.best_validation_score_
    weights = np.linspace(0, 1, 100)
    weighted = classifier().fit(
        X[train], Y[train], X_val=X[held], y_val=Y[held], sample_weight_val=weights
    )
    expected = weighted.score(X[held], Y[held], weights)
    np.testing.assert_allclose(weighted.history_["val_score"][-1], expected)


def test_validation_data_need_not_have_all_classes() -> None:
    few = Y[:50] < 5
    held = {"X_val": X[:50][few], "y_val": Y[:50][few]}
    for settings in (
        {"learning_rate_init": 0.02},
        {"warm_start": True, "learning_rate_init": 0.02},
    ):
        found = classifier(**settings).fit(X, Y, **held).fit(X, Y, **held)
        assert found.history_["val_score"][-1] > 0.5
    with pytest.raises(ValueError, match="classes not in"):
        classifier().fit(X, Y, X_val=X[:50], y_val=Y[:50] + 5)


def test_what_was_not_measured_is_not_in_the_history() -> None:
    made = classifier()
    made.partial_fit(X, Y, classes=np.arange(10), X_val=X[:50], y_val=Y[:50])
    made.partial_fit(X, Y)
    assert [len(made.history_[name]) for name in ("loss", "val_loss", "val_score")] == [2, 1, 1]


def test_half_of_validation_data() -> None:
    with pytest.raises(InvalidValueError, match="one without the other"):
        classifier().fit(X, Y, X_val=X)


@pytest.mark.parametrize("multilabel", [False, True])
def test_partial_fit_with_early_stopping(multilabel: bool) -> None:
    data, y = X, Y
    if multilabel:
        data, y = make_multilabel_classification(400, 8, n_classes=3, random_state=2)
    made = classifier(early_stopping=True, n_iter_no_change=3, learning_rate_init=0.05)
    classes = None if multilabel else np.arange(10)
    if multilabel:
        classes = [0, 1, 2]
    calls = 0
    while calls < 300:
        made.partial_fit(data[:300], y[:300], classes=classes, X_val=data[300:], y_val=y[300:])
        calls += 1
        if made.converged_:
            break
    assert 3 < calls < 300
    assert len(made.validation_scores_) == calls
    assert made.score(data[300:], y[300:]) == made.best_validation_score_
    assert made.best_validation_score_ == max(made.validation_scores_)
    made.partial_fit(data[:300], y[:300], X_val=data[300:], y_val=y[300:])
    assert not made.converged_  # it counts anew


def test_callbacks() -> None:
    seen: list[float] = []

    class Watch(xpmlp.Callback):
        def on_epoch_end(self, training: Any) -> None:
            seen.append(training.history["loss"][-1])
            if len(seen) == 4:
                training.stop()

    found = classifier(callbacks=[Watch()]).fit(X, Y)
    assert seen == found.loss_curve_
    assert found.n_iter_ == 4
    with pytest.raises(
        InvalidValueError, match="found callbacks with solver='lbfgs', which has neither"
    ):
        classifier(callbacks=[Watch()], solver="lbfgs").fit(X, Y)


def test_checkpoints(tmp_path: Path) -> None:
    class Keep(xpmlp.Callback):
        def on_epoch_end(self, training: Any) -> None:
            kept.append(training.mlp.state_dict())

    kept: list[dict[str, np.ndarray]] = []
    saving = xpmlp.SaveModel(tmp_path / "best.xpmlp", best_only=True)
    made = classifier(callbacks=[saving, Keep()], learning_rate_init=0.3, max_iter=60)
    made.fit(X[:300], Y[:300], X_val=X[300:], y_val=Y[300:])
    best = int(np.argmin(made.history_["val_loss"]))
    assert best + 1 < made.n_iter_
    saved = xpmlp.load(tmp_path / "best.xpmlp")
    for name, value in saved.state_dict().items():
        np.testing.assert_array_equal(value, kept[best][name])


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    classifier(max_iter=3, callbacks=[xpmlp.ShowProgress()]).fit(X, Y, X_val=X, y_val=Y)
    lines = capsys.readouterr().out.splitlines()
    assert "val. loss" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["1/3", "2/3", "3/3"]
    assert max(map(len, lines)) <= 80


def test_dropout_with_lbfgs() -> None:
    with pytest.raises(InvalidValueError, match="dropout or batch normalization"):
        classifier(dropout=0.1, solver="lbfgs").fit(X, Y)
    assert classifier(normalization="layer", solver="lbfgs").fit(X, Y).score(X, Y) > 0.9


def test_layers_of_another_size_cannot_go_on() -> None:
    made = classifier(warm_start=True).fit(X, Y)
    with pytest.raises(InvalidValueError, match=r"\[64, 5, 10\].*\[64, 12, 10\]"):
        made.set_params(hidden_layer_sizes=(5,)).fit(X, Y)


# The fitted weights


def test_weights_can_be_set_and_edited() -> None:
    a, b = classifier().fit(X, Y), classifier(random_state=1).fit(X, Y)
    b.coefs_, b.intercepts_ = a.coefs_, a.intercepts_
    np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))
    assert (b.predict_proba(X[:1]) == b.predict_proba(X[:1])).all()
    for W in b.coefs_:
        W[...] = 0.0  # in place
    assert np.ptp(b.predict_proba(X), axis=0).max() == 0
    assert np.ptp(b.predict_proba(X[:3]), axis=0).max() == 0
    with pytest.raises(InvalidValueError, match=r"dense1\.W: found shape"):
        b.coefs_ = [W.T for W in a.coefs_]


def test_the_network_itself_is_there() -> None:
    found = classifier(max_iter=3).fit(X, Y)
    np.testing.assert_array_equal(found.mlp_.predict_proba(X), found.predict_proba(X))
    small = regressor(hidden_layer_sizes=(3,)).fit(PATIENTS[:, :2], PROGRESSION)
    assert "dLoss" in str(xpmlp.explain(small.mlp_, PATIENTS[:2, :2], PROGRESSION[:2]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_can_be_chosen(dtype: str) -> None:
    found = classifier(dtype=dtype).fit(X, Y)
    assert found.coefs_[0].dtype == found.predict_proba(X).dtype == dtype


@pytest.mark.parametrize("cls", [MLPClassifier, MLPRegressor])
def test_every_parameter_is_documented_and_cloned(cls: Any) -> None:
    made = cls(backend=xpmlp.backend("numpy"), solver=xpmlp.AdamW(0.1), dropout=[0.1])
    assert clone(made).get_params()["solver"] == xpmlp.AdamW(0.1)
    text = cls.__doc__
    parameters = text[text.index("Parameters") : text.index("Attributes")]
    documented = {
        name.strip()
        for line in parameters.splitlines()
        if line and not line.startswith(" ")
        for name in line.split(":")[0].split(",")
    }
    assert set(made.get_params()) <= documented


def test_scikit_learns_parameters_come_first_and_have_its_defaults() -> None:
    from inspect import signature

    from sklearn import neural_network as scikit

    for cls in (MLPClassifier, MLPRegressor):
        theirs = signature(getattr(scikit, cls.__name__)).parameters
        ours = signature(cls).parameters
        if "loss" not in theirs and cls is MLPRegressor:
            continue  # scikit-learn 1.7 put it first
        assert list(ours)[: len(theirs)] == list(theirs)
        for name, parameter in theirs.items():
            assert ours[name].default == parameter.default, name
            assert ours[name].kind == parameter.kind, name


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    for name in [n for n in sys.modules if n.split(".")[0] == "sklearn" or "xpmlp.sklearn" in n]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(xpmlp.errors.MissingExtraError, match=r"xpmlp\[sklearn\]"):
        importlib.import_module("xpmlp.sklearn")


# What goes wrong leaves things as they were


def test_a_batch_that_weighs_nothing_is_left_out(backend: Any) -> None:
    w = np.ones(400)
    w[:200] = 0.0
    plain: dict[str, Any] = {"solver": "sgd", "momentum": 0.0, "shuffle": False, "alpha": 0.5}
    found = classifier(**plain, backend=backend, max_iter=5).fit(X, Y, w)
    expected = classifier(**plain, max_iter=5)
    expected.partial_fit(X[200:], Y[200:], classes=np.arange(10))
    for _ in range(4):
        expected.partial_fit(X[200:], Y[200:])
    assert distance(found, expected) < 1e-10
    for solver in ("adam", "rmsprop"):
        done = classifier(solver=solver, backend=backend, learning_rate_init=0.02).fit(X, Y, w)
        assert done.score(X[200:], Y[200:]) > 0.7


def state(estimator: Any) -> dict[str, Any]:
    """What an estimator says of itself."""
    names = ("classes_", "n_outputs_", "n_iter_", "loss_curve_", "n_features_in_", "history_")
    return {n: copy.deepcopy(getattr(estimator, n)) for n in names if hasattr(estimator, n)}


FAILING: dict[str, tuple[dict[str, Any], Any]] = {
    "backend": ({"backend": "cupy-that-is-not-there"}, np.array(list("abcde") * 80)),
    "split": ({"early_stopping": True, "validation_fraction": 0.001}, Y % 2),
    "callback": ({"callbacks": [3]}, Y),
    "validation": ({}, None),
    "solver": ({"solver": "lbfgs", "dropout": 0.5}, Y),
    "rate": ({"solver": "sgd", "activation": "identity", "learning_rate_init": 1e200}, Y),
}


@pytest.mark.parametrize("case", FAILING)
@pytest.mark.parametrize("warm", [False, True])
def test_a_fit_that_fails_changes_nothing(case: str, warm: bool) -> None:
    settings, y = FAILING[case]
    made = classifier(warm_start=warm).fit(X, Y % 3)
    before, p = state(made), made.predict_proba(X)
    more = {"X_val": X[:, :3], "y_val": Y} if y is None else {}
    with pytest.raises((ValueError, TypeError)):
        made.set_params(**settings).fit(X, Y % 3 if warm or y is None else y, **more)
    np.testing.assert_equal(state(made), before)
    np.testing.assert_array_equal(made.predict_proba(X), p)
    new = classifier(**settings)
    with pytest.raises((ValueError, TypeError)):
        new.fit(X, Y if y is None else y, **more)
    assert not hasattr(new, "classes_")


def test_a_callback_that_fails_later_leaves_the_best_weights() -> None:
    class Fail(xpmlp.Callback):
        def on_epoch_end(self, training: Any) -> None:
            if training.epoch == 5:
                raise RuntimeError("no more")

    made = classifier(callbacks=[Fail()], early_stopping=True, learning_rate_init=0.3)
    with pytest.raises(RuntimeError, match="no more"):
        made.fit(X[:300], Y[:300], X_val=X[300:], y_val=Y[300:])
    assert made.n_iter_ == len(made.loss_curve_) == 6
    assert made.score(X[300:], Y[300:]) == made.best_validation_score_


@pytest.mark.parametrize("how", ["pickle", "copy", "move"])
def test_the_best_weights_travel(how: str) -> None:
    made = classifier(early_stopping=True, n_iter_no_change=3, learning_rate_init=0.3)
    for _ in range(200):
        made.partial_fit(X[:300], Y[:300], classes=np.arange(10), X_val=X[300:], y_val=Y[300:])
        if made.converged_:
            break
        if how == "move":
            made.to("numpy")
        made = {
            "pickle": lambda m: pickle.loads(pickle.dumps(m)),
            "copy": copy.deepcopy,
            "move": lambda m: m,
        }[how](made)
    assert made.converged_
    assert made.score(X[300:], Y[300:]) == made.best_validation_score_


CHANGES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"solver": "lbfgs"}, {"solver": "adam"}, "fit"),
    ({"solver": "lbfgs"}, {"solver": "adam"}, "partial_fit"),
    ({}, {"early_stopping": True}, "fit"),
    ({"early_stopping": True}, {"early_stopping": False}, "fit"),
    ({}, {"early_stopping": True}, "partial_fit"),
    ({}, {"solver": "sgd"}, "partial_fit"),
    ({"solver": "sgd"}, {"solver": "sgd", "nesterovs_momentum": False}, "partial_fit"),
    ({}, {"dtype": "float32"}, "fit"),
    ({}, {"backend": "strict"}, "partial_fit"),
]


@pytest.mark.parametrize(("first", "then", "how"), CHANGES, ids=str)
def test_the_kind_of_training_may_change(
    first: dict[str, Any], then: dict[str, Any], how: str
) -> None:
    made = classifier(warm_start=True, **first).fit(X, Y)
    start = made.mlp_.evaluate(X, Y)["loss"]
    held = {"X_val": X[:50], "y_val": Y[:50]} if then.get("early_stopping") else {}
    getattr(made.set_params(max_iter=3, **then), how)(X, Y, **held)
    assert made.mlp_.evaluate(X, Y)["loss"] < 1.1 * start
    assert len(made.loss_curve_) >= made.n_iter_ >= 1
    assert (made.best_loss_ is None) == made.early_stopping
    if "dtype" in then:
        assert made.coefs_[0].dtype == "float32"
    if "backend" in then:
        assert made.mlp_.backend.name == "strict"


def test_what_cannot_change_is_said() -> None:
    made = classifier(warm_start=True).fit(X, Y).set_params(normalization="layer")
    with pytest.raises(InvalidValueError, match=r"normalization: found 'layer'.* has None"):
        made.fit(X, Y)


COSINE = xpmlp.schedules.Cosine(0.05)
COMBINATIONS: list[tuple[dict[str, Any], str]] = [
    ({"solver": "lbfgs", "max_norm": 0.1}, "found max_norm=0.1"),
    ({"solver": "lbfgs", "learning_rate": COSINE}, r"Cosine.*'lbfgs', which has neither"),
    ({"solver": xpmlp.AdamW(0.1), "learning_rate": COSINE}, "a solver that has a rate"),
    ({"callbacks": [3]}, "callbacks: found 3"),
    ({"callbacks": [xpmlp.EarlyStopping]}, r"callbacks: found <class .*expected objects"),
    ({"device": "cuda:0"}, r"device: found 'cuda:0' without a backend"),
    ({"hidden_layer_sizes": ("a",)}, r"hidden_layer_sizes: found \('a',\)"),
    ({"loss": "binary_cross_entropy"}, r"found 'binary_cross_entropy'.*10 outputs.*'log_loss'"),
    ({"loss": "poisson"}, "found 'poisson_deviance'"),
]


@pytest.mark.parametrize(("settings", "found"), COMBINATIONS)
def test_parameters_that_do_not_fit_together(settings: dict[str, Any], found: str) -> None:
    with pytest.raises((InvalidValueError, InvalidTypeError), match=found):
        classifier(**settings).fit(X, Y)


def test_smoothed_labels_of_two_classes_are_pointed_to_their_loss() -> None:
    smoothed = xpmlp.losses.SparseCategoricalCrossEntropy(label_smoothing=0.1)
    with pytest.raises(InvalidValueError, match=r"softmax after 1 outputs.*binary_cross_entropy"):
        classifier(loss=smoothed).fit(X, Y > 4)


def test_weights_of_validation_data_need_the_data() -> None:
    with pytest.raises(InvalidValueError, match="sample_weight_val"):
        classifier().fit(X, Y, sample_weight_val=np.ones(3))


def test_lbfgs_measures_validation_data() -> None:
    made = classifier(solver="lbfgs", max_iter=5).fit(X, Y, X_val=X[:50], y_val=Y[:50])
    assert len(made.history_["val_loss"]) == len(made.history_["val_score"]) == 5
    assert made.history_["val_score"][-1] == made.score(X[:50], Y[:50])
    assert made.converged_ is False


def test_a_schedule_in_partial_fit_is_over_max_iter_calls() -> None:
    parts, whole = (classifier(max_iter=6, learning_rate=COSINE) for _ in range(2))
    for _ in range(6):
        parts.partial_fit(X, Y, classes=np.arange(10))
    whole.fit(X, Y)
    rates = whole.history_["learning_rate"]
    np.testing.assert_allclose(parts.history_["learning_rate"], rates)


def test_numpys_numbers_are_numbers() -> None:
    half = np.float32(0.5)
    classifier(dropout=half, input_dropout=half, beta_1=half, beta_2=half).fit(X, Y)
    assert classifier(activation=("relu",)).fit(X, Y).score(X, Y) > 0.1


def test_huge_inputs_predict_without_a_warning() -> None:
    made = regressor(activation="tanh").fit(PATIENTS, PROGRESSION)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(made.predict(PATIENTS * 1e200)).all()


def test_a_fitted_estimator_is_free_when_it_is_dropped() -> None:
    """Without the garbage collector: a GPU's memory would wait for it."""
    made = classifier(solver="sgd", learning_rate="invscaling").fit(X, Y)
    mlp = weakref.ref(made.mlp_)
    gc.disable()
    try:
        del made
        assert mlp() is None
    finally:
        gc.enable()


def test_a_divergence_under_early_stopping_gives_the_best_weights_back() -> None:
    made = regressor(
        activation="identity", solver="sgd", learning_rate_init=1.0, early_stopping=True
    )
    with pytest.warns(ConvergenceWarning, match=r"diverged in epoch .*[Tt]he learning rate"):
        made.fit(PATIENTS * 100, PROGRESSION)
    assert np.isnan(made.validation_scores_[-1])
    assert type(made.validation_scores_[-1]) is float
    assert len(made.loss_curve_) == len(made.history_["loss"]) == made.n_iter_
    assert made.converged_
    assert np.isfinite(made.predict(PATIENTS)).all()


def test_lbfgs_that_leaves_the_finite_numbers() -> None:
    with pytest.raises(InvalidValueError, match=r"non-finite.*the loss is (nan|inf)"):
        regressor(solver="lbfgs").fit(PATIENTS * 1e300, PROGRESSION)
