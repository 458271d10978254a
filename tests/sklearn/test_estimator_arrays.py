"""Arrays of every library: X stays where it lies, and what is fitted and predicted is there too."""

import pickle
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend
from xpmlp_backends import backend_of

pytest.importorskip("sklearn")
from sklearn.datasets import load_diabetes, load_digits

from xpmlp.sklearn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_digits(return_X_y=True)
X, Y = X[:120] / 16.0, Y[:120]
PATIENTS, PROGRESSION = (a[:120] for a in load_diabetes(return_X_y=True))
FAST: dict[str, Any] = {
    "hidden_layer_sizes": (8,),
    "max_iter": 6,
    "random_state": 0,
    "learning_rate_init": 0.02,
}
WEIGHTS = np.random.default_rng(0).uniform(0.5, 2.0, 120)

SETTINGS: list[dict[str, Any]] = [
    {},
    {"solver": "lbfgs"},
    {"early_stopping": True, "validation_fraction": 0.2},
    {"solver": "sgd", "learning_rate": "invscaling"},
]


def owns(backend: Any, x: Any) -> bool:
    """Whether x is on the backend; the imitated GPU's arrays are NumPy's to scikit-learn."""
    return backend.owns(x) or isinstance(backend.asarray(X), np.ndarray)


def close(backend: Any, found: Any, expected: Any, tolerance: float = 1e-8) -> None:
    """Compare an array on the backend, where it must be, with NumPy's."""
    assert owns(backend, found), f"found a {type(found)}"
    assert_close(backend.to_numpy(found), np.asarray(expected), of_max=tolerance)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.sampled(3)
def test_a_classifier_stays_where_its_data_are(backend: Any, settings: dict[str, Any]) -> None:
    there = backend.asarray(X)
    found = MLPClassifier(**FAST | settings, backend=backend)
    found.fit(there, backend.asarray(Y), backend.asarray(WEIGHTS))
    expected = MLPClassifier(**FAST | settings, backend="numpy").fit(X, Y, WEIGHTS)
    close(backend, found.predict_proba(there), expected.predict_proba(X))
    close(backend, found.predict_log_proba(there), expected.predict_log_proba(X))
    assert (backend.to_numpy(found.predict(there)) == expected.predict(X)).all()
    assert owns(backend, found.predict(there))
    score = found.score(there, backend.asarray(Y))
    assert score == expected.score(X, Y)
    assert type(score) is float
    assert isinstance(found.classes_, np.ndarray)


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_regressor_stays_where_its_data_are(backend: Any, outputs: int) -> None:
    y = PROGRESSION / 100 if outputs == 1 else np.stack([PROGRESSION / 100, PROGRESSION], axis=1)
    there = backend.asarray(PATIENTS)
    found = MLPRegressor(**FAST, backend=backend).fit(there, backend.asarray(y))
    expected = MLPRegressor(**FAST, backend="numpy").fit(PATIENTS, y)
    close(backend, found.predict(there), expected.predict(PATIENTS))
    score = found.score(there, backend.asarray(y))
    assert abs(score - expected.score(PATIENTS, y)) < 1e-8
    assert type(score) is float


@pytest.mark.parametrize("name", ["torch", "jax", "dpnp", "strict"])
def test_nobody_has_to_name_the_backend(name: str) -> None:
    backend = make_backend(name)
    found = MLPClassifier(**FAST).fit(backend.asarray(X), Y)
    assert found.mlp_.backend.name == name
    expected = MLPClassifier(**FAST).fit(X, Y)
    assert expected.mlp_.backend.name == "numpy"
    for array, value in zip(found.coefs_, expected.coefs_, strict=True):
        close(backend, array, value)
    for array, value in zip(found.intercepts_, expected.intercepts_, strict=True):
        close(backend, array, value)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_targets_and_weights_of_another_library(name: str) -> None:
    backend, strict = make_backend(name), make_backend("strict")
    found = MLPClassifier(**FAST).fit(
        backend.asarray(X), strict.asarray(Y), sample_weight=strict.asarray(WEIGHTS)
    )
    expected = MLPClassifier(**FAST).fit(X, Y, WEIGHTS)
    close(backend, found.predict_proba(backend.asarray(X)), expected.predict_proba(X))


@pytest.mark.parametrize("multilabel", [False, True])
def test_text_and_many_labels(backend: Any, multilabel: bool) -> None:
    names = np.array(["few", "some", "many"])[Y % 3]
    y = np.stack([Y % 2, Y > 4], axis=1).astype(int) if multilabel else names
    there = backend.asarray(X)
    given = backend.asarray(y) if multilabel else y
    found = MLPClassifier(**FAST, backend=backend).fit(there, given)
    expected = MLPClassifier(**FAST, backend="numpy").fit(X, y).predict(X)
    predicted = found.predict(there)
    if multilabel:
        close(backend, predicted, expected)
    else:
        assert isinstance(predicted, np.ndarray)  # no other library has text
        assert (predicted == expected).all()


def test_results_follow_the_input(backend: Any) -> None:
    """Without scikit-learn's dispatch, which refuses another library than that of the training."""
    found = MLPClassifier(**FAST, backend=backend).fit(X, Y)
    assert isinstance(found.coefs_[0], np.ndarray)
    assert isinstance(found.predict_proba(X), np.ndarray)
    there = backend.asarray(X)
    assert owns(backend, found.predict_proba(there))
    assert (backend.to_numpy(found.predict(there)) == found.predict(X)).all()


def test_fit_there_and_predict_here(backend: Any) -> None:
    there = backend.asarray(X)
    found = MLPClassifier(**FAST, backend=backend, warm_start=True).fit(there, backend.asarray(Y))
    expected = backend.to_numpy(found.predict_proba(there))
    assert found.to("numpy") is found
    assert isinstance(found.coefs_[0], np.ndarray)
    assert_close(found.predict_proba(X), expected, of_max=1e-10)
    found.fit(X, Y)
    found.partial_fit(X, Y)


def test_partial_fit_with_validation_data(backend: Any) -> None:
    found = MLPClassifier(**FAST, backend=backend, early_stopping=True)
    held = {"X_val": backend.asarray(X[80:]), "y_val": backend.asarray(Y[80:])}
    for _ in range(3):
        found.partial_fit(
            backend.asarray(X[:80]), backend.asarray(Y[:80]), classes=np.arange(10), **held
        )
    assert len(found.validation_scores_) == 3
    assert len(found.history_["val_loss"]) == 3


def test_float32_and_pixels(backend: Any) -> None:
    for dtype in ("float32", "uint8"):
        there = backend.asarray((X * 16).astype(dtype))
        found = MLPClassifier(**FAST, backend=backend).fit(there, Y)
        assert str(found.predict_proba(there).dtype).endswith("float32")
        assert found.mlp_.dtype == "float32"


def test_another_number_of_features() -> None:
    strict = make_backend("strict")
    with pytest.raises(ValueError, match="expecting 64 features"):
        MLPClassifier(**FAST).fit(strict.asarray(X), Y).predict(strict.asarray(X[:, :5]))


def test_bad_arrays_are_refused_where_they_lie(backend: Any) -> None:
    bad = X.copy()
    bad[2, 3] = np.nan
    with pytest.raises(ValueError, match=r"X\[2, 3\]|contains NaN"):
        MLPClassifier(**FAST, backend=backend).fit(backend.asarray(bad), Y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        MLPClassifier(**FAST, backend=backend).fit(backend.asarray(X), Y[:-1])


def test_the_backend_of_an_array(backend: Any) -> None:
    if backend.name == "cupy" and isinstance(backend.asarray(X), np.ndarray):
        pytest.skip("the imitated GPU's arrays are NumPy's")
    found = backend_of(backend.asarray(X))
    assert found is not None
    assert found.owns(backend.asarray(X))
    assert found.name == backend.name


@pytest.mark.parametrize("x", [[1.0, 2.0], 3.0, "text", None, range(3)])
def test_what_is_no_array_has_no_backend(x: Any) -> None:
    assert backend_of(x) is None


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda X: X[0], r"Expected 2D array, got 1D array instead.* \(64,\)"),
        (lambda X: X[:, :0], r"Found array with 0 feature\(s\)"),
        (lambda X: X.to_sparse(), r"layout torch.sparse_coo; expected a dense one"),
    ],
)
def test_tensors_that_are_no_matrices(change: Any, found: str) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises((ValueError, TypeError), match=found):
        MLPClassifier(**FAST).fit(change(torch.tensor(X)), Y)


def test_targets_are_needed_and_may_be_of_sixteen_bits() -> None:
    torch = pytest.importorskip("torch")
    for data in (X, torch.tensor(X)):
        with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
            MLPClassifier(**FAST).fit(data, None)
    y = torch.tensor(PROGRESSION / 100).to(torch.bfloat16)
    found = MLPRegressor(**FAST).fit(torch.tensor(PATIENTS), y)
    expected = MLPRegressor(**FAST).fit(PATIENTS, y.float().numpy())
    predicted = found.predict(torch.tensor(PATIENTS)).numpy()
    assert_close(predicted, expected.predict(PATIENTS), of_max=1e-10)


def test_classes_that_a_library_does_not_have() -> None:
    """JAX without its 64-bit mode, say; PyTorch cannot take from uint16."""
    torch = pytest.importorskip("torch")
    found = MLPClassifier(**FAST).fit(torch.tensor(X), Y.astype(np.uint16) + 60_000)
    predicted = found.predict(torch.tensor(X))
    assert isinstance(predicted, np.ndarray)
    assert (predicted == MLPClassifier(**FAST).fit(X, Y).predict(X) + 60_000).all()


def test_weights_are_where_they_were_after_a_pickle() -> None:
    torch = pytest.importorskip("torch")
    found = MLPClassifier(**FAST).fit(torch.tensor(X), Y)
    again = pickle.loads(pickle.dumps(found))
    assert isinstance(again.coefs_[0], torch.Tensor)
    assert (again.coefs_[0] == found.coefs_[0]).all()
