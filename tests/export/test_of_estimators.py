"""Networks of estimators, exported: the classes have their names."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import people, strangers

from xpmlp.sklearn import MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor

CLASSES = ([7, 3], ["many", "few"], [0, 1])


def answers(mlp: Any, folder: Path, X: Any) -> list[Any]:
    """What a file of Python answers."""
    mlp.to_python(folder / "model.py")
    return list(runpy.run_path(str(folder / "model.py"))["predict"](X))


def with_texts(X: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The table, with the numbers of zones as texts."""
    return X | {"zone": [f"zone {number}" for number in X["zone"]]}


def onnx_answers(mlp: Any, folder: Path, X: dict[str, list[Any]]) -> dict[str, Any]:
    for module in ("onnx", "ndonnx", "onnxruntime"):
        pytest.importorskip(module, reason=f"{module} is not installed: pip install 'xpmlp[onnx]'")
    from test_onnx import columns, run

    return run(mlp, folder, columns(X))


@pytest.mark.parametrize("classes", CLASSES)
def test_a_classifier_names_its_classes(classes: list[Any], tmp_path: Path) -> None:
    X = np.random.default_rng(0).standard_normal((30, 3))
    y = np.array(classes)[(X[:, 0] > 0).astype(int)]
    estimator = MLPClassifier((4,), max_iter=9, tol=10.0, n_iter_no_change=1).fit(X, y)
    found = answers(estimator.mlp_, tmp_path, X.tolist())
    assert list(map(str, found)) == list(map(str, estimator.predict(X)))
    assert isinstance(found[0], int) == (classes == [0, 1])


def test_names_survive_the_way_to_scikit_learn_and_back(tmp_path: Path) -> None:
    X = np.random.default_rng(0).standard_normal((30, 3))
    y = np.where(X[:, 0] > 0, "many", "few")
    estimator = MLPClassifier((4,), max_iter=9, tol=10.0, n_iter_no_change=1).fit(X, y)
    again = MLPClassifier.from_sklearn(estimator.to_sklearn())
    assert answers(again.mlp_, tmp_path, X.tolist()) == estimator.predict(X).tolist()


def test_regressors_and_several_labels_have_no_names() -> None:
    X = np.random.default_rng(0).standard_normal((30, 3))
    options: dict[str, Any] = {"max_iter": 9, "tol": 10.0, "n_iter_no_change": 1}
    several = MLPClassifier((4,), **options).fit(X, (X[:, :2] > 0).astype(int))
    regressor = MLPRegressor(hidden_layer_sizes=(4,), **options).fit(X, X[:, 0])
    assert several.mlp_.metadata == regressor.mlp_.metadata == {}


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("recipe", ["fast", "best"])
def test_a_classifier_of_tables(recipe: str, classes: list[Any], tmp_path: Path) -> None:
    X, other = with_texts(people()), with_texts(strangers())
    y = np.array(classes)[(np.array(X["rooms"]) > 4).astype(int)]
    model = TabularClassifier(recipe, hidden=(8,), epochs=4, random_state=0).fit(X, y)
    made = onnx_answers(model.members_[0], tmp_path, other)
    assert np.abs(made["probabilities"] - model.predict_proba(other)).max() <= 1e-6
    assert list(map(str, made["label"])) == list(map(str, model.predict(other)))


def test_a_regressor_of_tables(tmp_path: Path) -> None:
    X, other = with_texts(people()), with_texts(strangers())
    y = 3.0 * np.array(X["rooms"]) + 5.0
    model = TabularRegressor("best", hidden=(8,), epochs=4, ensemble=2, random_state=0).fit(X, y)
    made = onnx_answers(model.members_[0], tmp_path, other)
    expected = model.predict(other)
    assert np.abs(made["values"].reshape(-1) - expected).max() <= 1e-6 * np.abs(expected).max()
