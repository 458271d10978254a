"""The estimators for tables: scikit-learn's checks, mixed frames, and the epoch that is kept."""

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn import metrics
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import xpmlp
from xpmlp.errors import InvalidValueError
from xpmlp.sklearn import TabularClassifier, TabularRegressor

SMALL: dict[str, Any] = {"hidden": (16,), "epochs": 12, "random_state": 0}
# Float64: the checks compare predictions of other numbers of rows to 1e-7.
CHECKED: dict[str, Any] = {"hidden": (32,), "epochs": 60, "dtype": "float64"}
WEIGHTS = {
    "check_sample_weight_equivalence_on_dense_data": "a row that comes twice may be on both sides "
    "of the validation split, and in different batches"
}


CHECKS = parametrize_with_checks(
    [
        cls(recipe, **CHECKED)
        for cls in (TabularClassifier, TabularRegressor)
        for recipe in ("fast", "best")
    ],
    expected_failed_checks=lambda estimator: WEIGHTS,
)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:X. found inputs far from scaled:UserWarning")
@pytest.mark.filterwarnings("ignore:the training loss ran away:UserWarning")
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
@pytest.mark.sampled(11)
def test_check(estimator: Any, check: Any) -> None:
    check(estimator)


def frame(n: int = 120, seed: int = 0) -> dict[str, Any]:
    """Numbers, texts, booleans, and cells that are missing."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=n)
    size[::9] = np.nan
    kind = [None if k % 11 == 5 else "abc"[k * 7 % 3] for k in range(n)]
    town = [f"town {k * 5 % 13}" for k in range(n)]
    return {"size": size, "kind": kind, "town": town, "paid": [k % 3 == 0 for k in range(n)]}


def goal(X: dict[str, Any]) -> np.ndarray:
    of_kind = {"a": 2.0, "b": -1.0, "c": 0.0, None: 0.5}
    return np.nan_to_num(X["size"]) * 3 + np.array([of_kind[k] for k in X["kind"]])


def labels(X: dict[str, Any]) -> np.ndarray:
    return np.where(goal(X) > 0, "yes", "no")


@pytest.mark.parametrize("recipe", ["fast", "best"])
def test_mixed_frames_are_learned_as_they_are(recipe: str) -> None:
    X = frame(400)
    options = SMALL | {"hidden": (64,), "epochs": 64}
    assert TabularClassifier(recipe, **options).fit(X, labels(X)).score(X, labels(X)) > 0.95
    assert TabularRegressor(recipe, **options).fit(X, goal(X)).score(X, goal(X)) > 0.9
    assert TabularRegressor(recipe, **options).fit(X, goal(X)).n_features_in_ == 4


@pytest.mark.parametrize("recipe", ["fast", "best"])
def test_an_ensemble_is_many_networks_whose_predictions_are_averaged(recipe: str) -> None:
    X, options = frame(), SMALL | {"ensemble": 3}
    model = TabularClassifier(recipe, **options).fit(X, labels(X))
    (mlp,) = model.members_
    assert (mlp.network.members.count, mlp.network.members.sharing) == (3, "mini")
    each = mlp.predict_proba(X, each=True)
    assert each.shape == (3, 120, 2)
    assert np.ptp(each, axis=0).max() > 1e-3
    np.testing.assert_allclose(model.predict_proba(X), each.mean(axis=0), rtol=1e-5)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    y = goal(X)
    values = TabularRegressor(recipe, **options | {"n_cv": 2}).fit(X, y)
    assert len(values.members_) == 2
    for mlp in values.members_:
        mlp.scaling = replace(mlp.scaling, target_low=None, target_high=None)
    expected = np.mean([m.predict(X, each=True).mean(axis=0) for m in values.members_], axis=0)
    np.testing.assert_allclose(values.predict(X), expected, rtol=1e-4, atol=1e-4)


def test_frames_of_other_libraries_are_the_same() -> None:
    X = frame()
    expected = TabularClassifier(**SMALL).fit(X, labels(X)).predict_proba(X)
    for library in ("pandas", "polars"):
        there = pytest.importorskip(library).DataFrame(X)
        model = TabularClassifier(**SMALL).fit(there, labels(X))
        np.testing.assert_array_equal(model.predict_proba(there), expected)
        if not hasattr(model, "feature_names_in_"):  # scikit-learn 1.6 does not see those of polars
            continue
        assert list(model.feature_names_in_) == list(X)
        with pytest.raises(ValueError, match="feature names"):
            model.predict(there.rename({"size": "length"}) if library == "polars"
                          else there.rename(columns={"size": "length"}))  # fmt: skip


def test_matrices_of_objects_and_of_numbers() -> None:
    X = frame()
    rows = np.array([X[name] for name in ("size", "kind")], object).T
    model = TabularClassifier(**SMALL).fit(rows, labels(X))
    assert model.members_[0].table.names == ("x0", "x1")
    assert model.members_[0].table.features[1].kind == "category"
    numbers = np.c_[X["size"], np.arange(120)]
    named = {"x0": numbers[:, 0], "x1": numbers[:, 1]}
    a, b = (TabularRegressor(**SMALL).fit(one, goal(X)).predict(one) for one in (numbers, named))
    np.testing.assert_array_equal(a, b)


def held_out(n: int, share: float = 0.2) -> Any:
    """The rows that the first numbers of ``random_state=0`` put aside."""
    return np.sort(np.random.RandomState(0).permutation(n)[: round(n * share)])


SCORES = {
    "accuracy": lambda y, p, w: metrics.accuracy_score(y, p.argmax(axis=1), sample_weight=w),
    "log_loss": lambda y, p, w: metrics.log_loss(y, p, sample_weight=w, labels=[0, 1, 2]),
    "auc": lambda y, p, w: np.mean(
        [metrics.roc_auc_score(y == k, p[:, k], sample_weight=w) for k in range(3)]
    ),
    "rmse": lambda y, p, w: metrics.root_mean_squared_error(y, p, sample_weight=w),
    "mae": lambda y, p, w: metrics.mean_absolute_error(y, p, sample_weight=w),
    "r2": lambda y, p, w: metrics.r2_score(y, p, sample_weight=w),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("metric", SCORES)
def test_the_best_epoch_by_the_metric_is_kept(metric: str, weighted: bool) -> None:
    X = frame()
    classes = metric in ("accuracy", "log_loss", "auc")
    cls: Any = TabularClassifier if classes else TabularRegressor
    y = np.digitize(goal(X), [-1, 1]) if classes else goal(X)
    weight = np.linspace(0.5, 2.0, 120) if weighted else None
    model = cls(metric=metric, **SMALL).fit(X, y, weight)
    values = model.history_[0][f"val_{metric}"]
    best = (min if metric in ("log_loss", "rmse", "mae") else max)(values)
    rows = held_out(120)
    some = {name: np.asarray(cells, object)[rows] for name, cells in X.items()}
    found = model.predict_proba(some) if classes else model.predict(some)
    expected = SCORES[metric](y[rows], found, None if weight is None else weight[rows])
    assert best == pytest.approx(expected, rel=1e-5)
    assert len(values) == SMALL["epochs"]


def test_the_auc_of_two_classes_is_that_of_the_second() -> None:
    X, y = frame(), labels(frame())
    model = TabularClassifier(metric="auc", **SMALL).fit(X, y)
    rows = held_out(120)
    some = {name: np.asarray(cells, object)[rows] for name, cells in X.items()}
    expected = metrics.roc_auc_score(y[rows] == "yes", model.predict_proba(some)[:, 1])
    assert max(model.history_[0]["val_auc"]) == pytest.approx(expected)


def test_without_validation_rows_the_last_epoch_stays() -> None:
    X = frame()
    model = TabularRegressor(validation_fraction=0.0, **SMALL).fit(X, goal(X))
    assert set(model.history_[0]) == {"loss", "learning_rate", "seconds"}


def test_patience_ends_training() -> None:
    X = frame()
    model = TabularRegressor(patience=1, **SMALL | {"epochs": 200}).fit(X, goal(X))
    assert len(model.history_[0]["loss"]) < 200


@pytest.mark.parametrize("classes", [True, False])
def test_folds_are_members_whose_predictions_are_averaged(classes: bool) -> None:
    X = frame()
    cls: Any = TabularClassifier if classes else TabularRegressor
    model = cls(n_cv=3, **SMALL).fit(X, labels(X) if classes else goal(X))
    assert len(model.members_) == len(model.history_) == 3
    name = "predict_proba" if classes else "predict"
    each = [getattr(member, name)(X) for member in model.members_]
    np.testing.assert_allclose(getattr(model, name)(X), np.mean(each, axis=0), rtol=1e-6)
    assert not np.allclose(each[0], each[1])


def test_a_rare_class_does_not_hinder_folds() -> None:
    X = frame(12)
    assert len(TabularClassifier(n_cv=5, **SMALL).fit(X, ["a", "b", "c"] * 4).members_) == 5


def test_weights_of_classes_and_of_rows() -> None:
    X, y = frame(), labels(frame())
    balanced = TabularClassifier(class_weight="balanced", **SMALL).fit(X, y)
    share = np.array([np.mean(y == label) for label in y])
    by_row = TabularClassifier(**SMALL).fit(X, y, 0.5 / share)
    np.testing.assert_allclose(balanced.predict_proba(X), by_row.predict_proba(X), rtol=1e-5)
    twice = TabularClassifier(class_weight={"yes": 2.0}, **SMALL).fit(X, y, np.full(120, 3.0))
    rows = TabularClassifier(**SMALL).fit(X, y, np.where(y == "yes", 6.0, 3.0))
    np.testing.assert_allclose(twice.predict_proba(X), rows.predict_proba(X), rtol=1e-5)


def test_rows_of_weight_0_are_left_out() -> None:
    X, y = frame(), goal(frame())
    weight = np.ones(120)
    weight[::4] = 0
    some = {name: np.asarray(c, object)[weight > 0] for name, c in X.items()}
    expected = TabularRegressor(**SMALL).fit(some, y[weight > 0], np.ones(90)).predict(X)
    found = TabularRegressor(**SMALL).fit(X, y, weight).predict(X)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match="zero"):
        TabularRegressor(**SMALL).fit(X, y, np.zeros(120))
    with pytest.raises(InvalidValueError, match="only zeros"):
        TabularClassifier(class_weight={"yes": 0, "no": 0}, **SMALL).fit(X, labels(X))


def test_predicted_values_stay_in_the_range_of_the_targets() -> None:
    X, y = frame(), goal(frame())
    model = TabularRegressor(**SMALL | {"epochs": 30}).fit(X, y)
    far = X | {"size": np.full(120, 1e6)}
    rest = np.delete(y, held_out(120))
    assert rest.min() <= model.predict(far).min() <= model.predict(far).max() <= rest.max()


def test_several_values_at_once() -> None:
    X, y = frame(), goal(frame())
    both = np.c_[y, -2 * y]
    found = TabularRegressor(**SMALL | {"epochs": 40, "hidden": (32,)}).fit(X, both).predict(X)
    assert found.shape == (120, 2)
    assert metrics.r2_score(both, found) > 0.5


def test_one_class_is_always_predicted() -> None:
    X = frame()
    assert set(TabularClassifier(**SMALL).fit(X, ["only"] * 120).predict(X)) == {"only"}


def test_the_parameters_change_the_recipe_and_the_lists_of_a_table_count() -> None:
    X = frame()
    model = TabularRegressor(
        "fast", hidden=[5, 4], epochs=3, learning_rate=0.01, table=xpmlp.Table(drop=["town"])
    ).fit(X, goal(X))
    mlp = model.members_[0]
    assert mlp.sizes[1:] == (5, 4, 1)
    assert len(model.history_[0]["loss"]) == 3
    assert max(model.history_[0]["learning_rate"]) <= 0.01
    assert (mlp.table.settings["drop"], mlp.table.scaling) == (["town"], "quartiles")


def test_it_is_cloned_pickled_saved_and_searched(tmp_path: Any) -> None:
    X, y = frame(), labels(frame())
    model = clone(TabularClassifier(n_cv=2, **SMALL)).fit(X, y)
    expected = model.predict_proba(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), expected)
    weights = sum(value.nbytes for value in model.members_[0].state_dict().values())
    assert len(pickle.dumps(model.members_[0])) < 2 * weights + 20_000
    model.members_[0].save(tmp_path / "member.xpmlp")
    kept = xpmlp.load(tmp_path / "member.xpmlp", backend="numpy")
    np.testing.assert_array_equal(kept.predict_proba(X), model.members_[0].predict_proba(X))
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), expected, rtol=1e-6)
    pandas = pytest.importorskip("pandas")
    scores = cross_val_score(TabularClassifier(**SMALL), pandas.DataFrame(X), y, cv=2)
    assert len(scores) == 2


@pytest.mark.parametrize("recipe", ["fast", "best"])
@pytest.mark.sampled(2)
def test_the_same_seed_gives_the_same_model_on_every_backend(recipe: str, backend: Any) -> None:
    X, y = frame(), goal(frame())
    options = SMALL | {"recipe": recipe, "dtype": "float64"}
    expected = TabularRegressor(**options, backend="numpy").fit(X, y).predict(X)
    found = TabularRegressor(**options, backend=backend).fit(X, y).predict(X)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    assert not np.allclose(
        TabularRegressor(**options | {"random_state": 1}).fit(X, y).predict(X), expected
    )


def test_verbose_prints_some_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    X = frame()
    options = SMALL | {"epochs": 40}
    TabularRegressor(verbose=True, **options).fit(X, goal(X))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 16
    assert lines[-1].startswith("epoch 40/40: loss ")
    assert "validation rmse" in lines[0]
    TabularRegressor(verbose=2, validation_fraction=0.0, **options).fit(X, goal(X))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["epoch 20/40", "epoch 40/40"]
    TabularRegressor(**options).fit(X, goal(X))
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "y", "said"),
    [
        ({"metric": "rmse"}, "labels", "expected one of accuracy, balanced_accuracy, f1"),
        ({"device": "cuda:1"}, "labels", "without a backend"),
        ({"n_cv": 500}, "labels", "500 folds of 120 rows"),
        ({"metric": "auc"}, "rare", "one class"),
        ({}, "two columns", "expected one class for each row"),
        ({}, "none", "requires y to be passed"),
        ({}, "short", "inconsistent numbers"),
        ({"recipe": "slow"}, "labels", "recipe"),
        ({"ensemble": 0}, "labels", "ensemble"),
    ],
)
def test_what_cannot_work_is_refused(
    options: dict[str, Any], y: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XPMLP_BACKEND", raising=False)
    X = frame()
    targets = {
        "labels": labels(X),
        "rare": ["a"] * 120,
        "two columns": np.array([["a", "b"]] * 120),
        "none": None,
        "short": labels(X)[:50],
    }
    with pytest.raises(ValueError, match=said):
        TabularClassifier(**SMALL | options).fit(X, targets[y])


def test_it_must_be_fitted_first() -> None:
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        TabularClassifier().predict(frame())
