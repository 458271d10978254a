"""Estimators of mixed tables: ``table="auto"`` or a ``Table``."""

import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier as ScikitClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import xpmlp
from xpmlp.errors import DataError
from xpmlp.sklearn import MLPClassifier, MLPRegressor


def mixed(n: int = 120) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a table with gaps, whose label depends on a number and a category."""
    rng = np.random.default_rng(0)
    size, colour = rng.normal(10, 3, n), rng.choice(["red", "green", "blue"], n)
    y = np.where(size + 4 * (colour == "red") > 11, "large", "small")
    frame = pd.DataFrame({"size": size, "colour": colour, "id": np.arange(n)})
    frame.loc[5, "size"] = np.nan
    frame.loc[7, "colour"] = None
    return frame, y


SETTINGS: dict[str, Any] = {
    "hidden_layer_sizes": (16,), "max_iter": 100, "random_state": 0, "learning_rate_init": 0.01,
}  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_the_result_is_that_of_scikit_learns_pipeline() -> None:
    """With the same inputs in the same order: numbers, and then categories."""
    X, y = mixed()
    X = X.drop(columns="id").fillna({"colour": "none", "size": 10.0})
    steps = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["size"]),
        (OneHotEncoder(), ["colour"]),
    )
    theirs = make_pipeline(steps, ScikitClassifier(**SETTINGS, tol=0)).fit(X, y)
    table = xpmlp.Table(categorical=["colour"])
    ours = MLPClassifier(**SETTINGS, tol=0, table=table, dtype="float64").fit(
        X.replace({"colour": {"none": "nothing"}}), y
    )
    found = ours.predict_proba(X.replace({"colour": {"none": "nothing"}}))
    # The order of the categories differs, and with it the weights: results are alike, not equal.
    assert np.mean(np.abs(found - theirs.predict_proba(X))) < 0.05
    assert ours.score(X, y) > 0.95


def test_frames_of_each_library_give_the_same(backend: Any) -> None:
    X, y = mixed()
    made = MLPClassifier(**SETTINGS, table="auto", backend=backend).fit(X, y)
    expected = np.asarray(made.predict_proba(X))
    assert made.score(X, y) > 0.9
    assert [f.kind for f in made.table_.features] == ["number", "category", "left out"]
    for frame in (pl.from_pandas(X), pl.from_pandas(X).to_arrow(), X[["id", "colour", "size"]]):
        np.testing.assert_array_equal(np.asarray(made.predict_proba(frame)), expected)


def test_copies_and_files_have_the_table(tmp_path: Any) -> None:
    X, y = mixed()
    made = MLPClassifier(**SETTINGS, table="auto").fit(X, y)
    expected = made.predict_proba(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(made)).predict_proba(X), expected)
    again = clone(made)
    assert not hasattr(again, "table_")
    np.testing.assert_array_equal(again.fit(X, y).predict_proba(X), expected)
    made.mlp_.save(tmp_path / "model.xpmlp")
    loaded = xpmlp.load(tmp_path / "model.xpmlp")
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)


def test_to_sklearn_is_a_pipeline() -> None:
    X, y = mixed()
    made = MLPClassifier(**SETTINGS, table="auto").fit(X, y)
    pipeline = made.to_sklearn()
    assert isinstance(pipeline[-1], ScikitClassifier)
    np.testing.assert_allclose(pipeline.predict_proba(X), made.predict_proba(X), atol=1e-6)


def test_folds_and_new_rows() -> None:
    X, y = mixed()
    scores = cross_val_score(MLPClassifier(**SETTINGS, table="auto"), X, y, cv=3)
    assert scores.mean() > 0.85
    made = MLPClassifier(**SETTINGS, table="auto").fit(X, y)
    new = pd.DataFrame({"colour": ["violet", None], "size": [np.nan, 30.0], "more": [1, 2]})
    assert made.predict(new).tolist()[1] == "large"
    with pytest.raises(DataError, match="found no column 'size'"):
        made.predict(new[["colour"]])


def test_a_fitted_table_stays_as_it_is() -> None:
    X, y = mixed()
    table = xpmlp.Table(drop=["colour"]).fit(X)
    made = MLPClassifier(**SETTINGS, table=table).fit(X[:60], y[:60])
    assert made.table_ == table
    assert made.table_.inputs == ("size", "size is missing")


def test_an_unfitted_table_is_not_changed() -> None:
    X, y = mixed()
    table = xpmlp.Table()
    MLPClassifier(**SETTINGS, table=table).fit(X, y)
    assert table.features == ()


def test_arrays_of_objects_and_early_stopping() -> None:
    X, y = mixed()
    rows = X.to_numpy(object)
    stopping = {"early_stopping": True, "n_iter_no_change": 50}
    made = MLPClassifier(**SETTINGS, **stopping, table="auto").fit(rows, y)
    assert made.table_.names == ("x0", "x1", "x2")
    assert made.score(rows, y) > 0.7
    validation = {"X_val": rows[:40], "y_val": y[:40]}
    made.fit(rows, y, **validation)
    assert len(made.history_["val_score"]) == made.n_iter_


def test_regression() -> None:
    X, _ = mixed()
    y = X["size"].fillna(10).to_numpy() * 100 + 50 * (X["colour"] == "red")
    made = MLPRegressor(**SETTINGS, solver="lbfgs", table="auto").fit(X, y)
    assert made.score(X, y) > 0.95


@pytest.mark.parametrize("wrong", ["all", 3, True])
def test_what_is_no_table(wrong: Any) -> None:
    X, y = mixed()
    with pytest.raises(ValueError, match="table"):
        MLPClassifier(table=wrong).fit(X, y)
