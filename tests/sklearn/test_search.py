"""Many settings trained as one network, and the best of them."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.sklearn import MLPClassifier, MLPRegressor, search
from xpmlp.sklearn._search import _Race, _rungs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def points() -> Any:
    """Two classes with text as names."""
    data = xpmlp.data.make_xor(n=160, seed=0)
    return data.X, np.array(["no", "yes"])[data.y]


def test_the_best_setting_wins(points: Any) -> None:
    """Too small, right, too large and absurd rates."""
    model = MLPClassifier((16,), random_state=0, max_iter=60)
    rates = [1e-5, 3e-2, 1e30]
    found = search(model, {"learning_rate_init": rates, "alpha": [0.0, 1e-4]}, *points, epochs=27)
    assert found.best["learning_rate_init"] == 3e-2
    assert found.best_score == found.table[0]["score"] > 0.85
    assert found.table[0]["epochs"] == 27
    assert [row["epochs"] for row in found.table] == sorted(
        (row["epochs"] for row in found.table), reverse=True
    )
    assert found.estimator.learning_rate_init == 3e-2
    assert found.estimator.score(*points) > 0.85
    assert model.learning_rate_init == 1e-3
    assert not hasattr(model, "mlp_")


def test_each_setting_trains_as_it_would_alone() -> None:
    """Also after others have gone: weights, rates, penalties and rows are those of a single one."""
    X = np.random.default_rng(0).normal(size=(100, 3))
    y = X[:, 0] ** 2 + X[:, 1]
    settings = [
        {"learning_rate_init": 0.01, "alpha": 0.1, "random_state": 1},
        {"learning_rate_init": 0.03, "alpha": 0.0, "random_state": 2},
        {"learning_rate_init": 0.001, "alpha": 1.0, "random_state": 3},
    ]
    model = MLPRegressor(hidden_layer_sizes=(8,), solver="adam", batch_size=20, dtype="float64")

    def run(some: list[dict[str, Any]], halving: bool) -> Any:
        options = {"epochs": 9, "refit": False, "halving": halving}
        return search(model, some, X, y, **options)

    together = run(settings, True)
    assert [row["epochs"] for row in together.table] == [9, 3, 3]
    best = {name: together.table[0][name] for name in settings[0]}
    alone = run([best], False)
    for measure in ("score", "loss"):
        assert_close(together.table[0][measure], alone.table[0][measure], atol=1e-10)
    assert isinstance(together.estimator, MLPRegressor)
    assert not hasattr(together.estimator, "mlp_")


def test_networks_that_diverge_leave_the_others_as_they_are() -> None:
    X = np.random.default_rng(0).normal(size=(80, 2))
    y = X[:, 0]
    model = MLPRegressor(hidden_layer_sizes=(4,), random_state=0, solver="sgd", dtype="float64")
    good = {"learning_rate_init": 0.01, "random_state": 1}
    bad = {"learning_rate_init": 1e300, "random_state": 1}
    options = {"epochs": 4, "halving": False, "refit": False}
    both = search(model, [bad, good], X, y, **options)
    one = search(model, [good], X, y, **options)
    assert [row["diverged"] for row in both.table] == [False, True]
    assert_close(both.table[0]["loss"], one.table[0]["loss"], atol=1e-12)
    with pytest.raises(InvalidValueError, match="all settings diverged"):
        search(model, [bad, bad], X, y, **options)


def test_the_first_weights_are_those_of_the_estimator(points: Any) -> None:
    model = MLPClassifier((5,), max_iter=1, dtype="float64")
    seeds = [{"random_state": 3}, {"random_state": 4}]
    race = _Race(model, seeds, *points, None, 0.2, np.random.RandomState(0))
    for i, seed in enumerate((3, 4)):
        alone = MLPClassifier(
            (5,), max_iter=1, dtype="float64", random_state=seed, learning_rate_init=1e-300
        ).fit(*points)
        assert_close(race.mlp.member(i).parameters["dense1.W"], alone.coefs_[0], atol=1e-12)


def test_how_many_are_compared_when() -> None:
    assert _rungs(27, 81, 3) == [(3, 27), (9, 9), (27, 3), (81, 1)]
    assert _rungs(32, 81, 3) == [(3, 32), (9, 11), (27, 4), (81, 2)]
    assert _rungs(1, 10, 2) == [(10, 1)]
    assert _rungs(100, 1, 3) == [(1, 100)]
    assert _rungs(4, 8, 2) == [(2, 4), (4, 2), (8, 1)]


@pytest.mark.parametrize("kind", ["three classes", "several labels", "weights", "unshuffled"])
def test_kinds_of_data(kind: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y: Any = (X[:, 0] > 0).astype(int) + (X[:, 1] > 1)
    if kind == "several labels":
        y = np.stack([X[:, 0] > 0, X[:, 1] > 0], axis=1).astype(int)
    model = MLPClassifier((8,), random_state=0, max_iter=5, shuffle=kind != "unshuffled")
    weight = rng.random(60) if kind == "weights" else None
    rates = {"learning_rate_init": [1e-2, 1e-3]}
    found = search(model, rates, X, y, epochs=6, sample_weight=weight)
    assert len(found.table) == 2
    assert found.estimator.predict(X).shape == y.shape


def test_a_schedule_gets_each_rate() -> None:
    X = np.linspace(-1, 1, 40)[:, None]
    cosine = xpmlp.schedules.Cosine(1.0)
    model = MLPRegressor(hidden_layer_sizes=4, learning_rate=cosine, random_state=0)
    rates = {"learning_rate_init": [0.05, 1e-5]}
    found = search(model, rates, X, X[:, 0], epochs=10, halving=False, refit=False)
    assert found.best == {"learning_rate_init": 0.05}


def test_arrays_of_other_libraries(points: Any, torch_backend: Any) -> None:
    import torch

    X = torch.tensor(points[0], dtype=torch.float32)
    rates = {"learning_rate_init": [1e-2, 1e-3]}
    found = search(MLPClassifier((8,), random_state=0, max_iter=3), rates, X, points[1], epochs=3)
    assert isinstance(found.estimator.predict_proba(X), torch.Tensor)


def test_it_shows_its_table(points: Any) -> None:
    model = MLPClassifier((4,), random_state=0)
    rates = {"learning_rate_init": [1e-2, 1e-3]}
    found = search(model, rates, *points, epochs=2, refit=False)
    assert "Search over 2 settings" in repr(found)
    assert "learning_rate_init" in repr(found)
    assert "<table>" in found._repr_html_()
    assert next(iter(found.to_frame().columns)) == "learning_rate_init"


@pytest.mark.parametrize(
    ("settings", "options", "error", "says"),
    [
        ({"activation": ["relu"]}, {}, InvalidValueError, "parameter to search in one network"),
        ([{"alpha": 1.0}, {"l1": 1.0}], {}, InvalidValueError, "the same parameters in each"),
        ({}, {}, InvalidValueError, "found none"),
        ([], {}, InvalidValueError, "found none"),
        ("alpha", {}, InvalidTypeError, "expected a dict of lists"),
        ({"alpha": [1.0]}, {"eta": 1}, InvalidValueError, "eta: found 1"),
        ({"alpha": [1.0]}, {"epochs": 0}, InvalidValueError, "epochs: found 0"),
        ({"alpha": [-1.0]}, {}, ValueError, "alpha"),
    ],
)
def test_what_is_refused(settings: Any, options: Any, error: Any, says: str, points: Any) -> None:
    with pytest.raises(error, match=says):
        search(MLPClassifier((4,)), settings, *points, **options)


def test_a_solver_without_batches_is_refused(points: Any) -> None:
    with pytest.raises(InvalidValueError, match="solver='lbfgs'"):
        search(MLPClassifier((4,), solver="lbfgs"), {"alpha": [1.0]}, *points)


def test_a_rare_class_does_not_stop_it(points: Any) -> None:
    X, y = points
    y = np.concatenate([y[:-1], ["once"]])
    found = search(MLPClassifier((4,)), {"alpha": [1.0]}, X, y, epochs=1, refit=False)
    assert len(found.table) == 1
