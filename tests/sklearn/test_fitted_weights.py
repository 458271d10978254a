"""``coefs_`` and ``intercepts_``: what is written to them is computed with, or refused."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import make_backend

pytest.importorskip("sklearn")
from sklearn.datasets import load_digits

from xpmlp.errors import XpmlpError
from xpmlp.sklearn import MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_digits(return_X_y=True)
X, Y = X[:120] / 16.0, Y[:120]


def fitted(backend: Any, there: bool, **settings: Any) -> tuple[MLPClassifier, Any]:
    """An estimator that computes on a backend, and X on the backend or on the host."""
    x = backend.asarray(X) if there else X
    settings = {"hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0} | settings
    return MLPClassifier(**settings, backend=backend).fit(x, Y), x


def expected(made: MLPClassifier, coefs: Any, intercepts: Any) -> np.ndarray:
    """scikit-learn's probabilities with these weights."""
    theirs = made.to_sklearn()
    theirs.coefs_, theirs.intercepts_ = coefs, intercepts
    return theirs.predict_proba(X)


def host(made: MLPClassifier) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Copies of the weights."""
    theirs = made.to_sklearn()
    return theirs.coefs_, theirs.intercepts_


@pytest.mark.parametrize("there", [True, False], ids=["X there", "X on the host"])
def test_a_layer_can_be_assigned(backend: Any, there: bool) -> None:
    made, x = fitted(backend, there)
    made.predict_proba(x[:3, :])  # what is kept of this pass has the old weights
    coefs, intercepts = host(made)
    coefs[0], coefs[-1], intercepts[1] = coefs[0] * 0.5, -coefs[-1], intercepts[1] + 1.0
    asarray = backend.asarray if there else np.asarray
    made.coefs_[0] = asarray(coefs[0])
    made.coefs_[-1] = coefs[-1].tolist()
    made.intercepts_[1:] = [asarray(intercepts[1])]
    after = expected(made, coefs, intercepts)
    for rows in (3, 120):
        found = made.predict_proba(x[:rows, :])
        found = backend.to_numpy(found) if there else found
        np.testing.assert_allclose(found, after[:rows], atol=1e-12)


@pytest.mark.parametrize("there", [True, False], ids=["X there", "X on the host"])
def test_what_is_written_to_an_array_counts_or_raises(backend: Any, there: bool) -> None:
    made, x = fitted(backend, there)
    coefs, intercepts = host(made)
    before = expected(made, coefs, intercepts)
    coefs[0][...] = 0.0
    try:
        made.coefs_[0][...] = 0.0
    except (ValueError, TypeError):  # read-only, or a library whose arrays never change
        after = before
    else:
        after = expected(made, coefs, intercepts)
    found = made.predict_proba(x)
    np.testing.assert_allclose(backend.to_numpy(found) if there else found, after, atol=1e-12)


def test_a_layer_can_be_scaled_in_place(backend: Any) -> None:
    made, x = fitted(backend, True)
    if not getattr(getattr(made.coefs_[0], "flags", None), "writeable", True):
        pytest.skip("its arrays are read-only")
    coefs, intercepts = host(made)
    made.coefs_[0] *= 2.0
    coefs[0] *= 2.0
    found = backend.to_numpy(made.predict_proba(x))
    np.testing.assert_allclose(found, expected(made, coefs, intercepts), atol=1e-12)


def test_arrays_of_another_library_share_the_memory_of_a_numpy_model() -> None:
    torch = make_backend("torch")
    x = torch.asarray(X)
    made = MLPClassifier((8,), max_iter=2, backend="numpy").fit(x, Y)
    assert torch.owns(made.coefs_[0])
    coefs, intercepts = host(made)
    made.coefs_[0][...] = 0.0
    coefs[0][...] = 0.0
    found = torch.to_numpy(made.predict_proba(x))
    np.testing.assert_allclose(found, expected(made, coefs, intercepts), atol=1e-12)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_arrays_of_a_library_that_cannot_refuse_are_never_copies(name: str) -> None:
    """What a NumPy model gives to another library is shared, or of a library without writes."""
    other = make_backend(name)
    made = MLPClassifier((8,), max_iter=2, backend="numpy").fit(other.asarray(X), Y)
    before = made.mlp_.state_dict()["dense1.W"]
    given = made.coefs_[0]
    with pytest.raises(TypeError) if name == "jax" else np.errstate():
        given[:] = 0.0
    made.mlp_.weights.flat[...] = 1.0  # memory that JAX shared would change here
    if name == "jax":
        np.testing.assert_array_equal(other.to_numpy(given), before)


def test_training_goes_on_from_assigned_weights(backend: Any) -> None:
    starts = []
    for how in ("item", "whole"):
        made, x = fitted(backend, True, warm_start=True, max_iter=1)
        start = [np.full_like(W, 0.01) for W in host(made)[0]]
        if how == "item":
            for i, W in enumerate(start):
                made.coefs_[i] = backend.asarray(W)
        else:
            made.coefs_ = start
        made.fit(x, Y)
        made.partial_fit(x, Y)
        starts.append(host(made))
    for found, right in zip(*(a + b for a, b in starts), strict=True):
        np.testing.assert_array_equal(found, right)


def test_what_was_read_before_an_assignment_stays_as_it_was(backend: Any) -> None:
    made, x = fitted(backend, True)
    before = backend.to_numpy(made.predict_proba(x))
    coefs, W = made.coefs_, made.coefs_[0]
    coefs[0] = np.zeros((64, 8))
    assert float(backend.xp.max(backend.xp.abs(coefs[0]))) == 0.0
    made.coefs_[0] = W
    np.testing.assert_array_equal(backend.to_numpy(made.predict_proba(x)), before)


BAD: list[tuple[Any, str]] = [
    (np.zeros((8, 64)), r"found shape \(8, 64\); expected \(64, 8\)"),
    (np.full((64, 8), np.nan), "finite"),
    (0.0, r"found shape \(\)"),
    ("W", "W"),
]


@pytest.mark.parametrize(("value", "message"), BAD, ids=["shape", "nan", "number", "text"])
def test_what_does_not_fit_is_refused(value: Any, message: str) -> None:
    made, x = fitted(make_backend("numpy"), True)
    before = made.predict_proba(x)
    with pytest.raises(XpmlpError, match=message):
        made.coefs_[0] = value
    with pytest.raises(XpmlpError, match=r"expected 2 arrays"):
        made.coefs_ = made.coefs_[:1]
    with pytest.raises(XpmlpError, match=r"expected 2 arrays"):
        made.coefs_[:] = made.coefs_[:1]
    with pytest.raises(IndexError):
        made.coefs_[2] = made.coefs_[0]
    np.testing.assert_array_equal(made.predict_proba(x), before)


MUTATIONS: dict[str, Callable[[Any], object]] = {
    "append": lambda a: a.append(a[0]),
    "extend": lambda a: a.extend(a),
    "insert": lambda a: a.insert(0, a[0]),
    "pop": lambda a: a.pop(),
    "remove": lambda a: a.remove(a[0]),
    "clear": lambda a: a.clear(),
    "sort": lambda a: a.sort(key=len),
    "reverse": lambda a: a.reverse(),
    "+=": lambda a: a.__iadd__(a),
    "*=": lambda a: a.__imul__(2),
    "del": lambda a: a.__delitem__(0),
}


@pytest.mark.parametrize("how", MUTATIONS)
def test_layers_are_neither_added_nor_removed(how: str) -> None:
    made, _ = fitted(make_backend("numpy"), True)
    with pytest.raises(TypeError, match="one array for each layer"):
        MUTATIONS[how](made.intercepts_)
    assert len(made.intercepts_) == 2


@pytest.mark.parametrize(
    "how", [copy.copy, copy.deepcopy, list.copy, lambda a: pickle.loads(pickle.dumps(a))]
)
def test_copies_are_lists(how: Any) -> None:
    made, x = fitted(make_backend("numpy"), True)
    before = made.predict_proba(x)
    made_of = how(made.coefs_)
    assert type(made_of) is list
    made_of[0] = np.zeros((64, 8))
    made_of.append(1)
    np.testing.assert_array_equal(made.predict_proba(x), before)


def test_the_list_of_an_earlier_network_is_refused() -> None:
    made, x = fitted(make_backend("numpy"), True)
    coefs = made.coefs_
    made.fit(x, Y)
    with pytest.raises(XpmlpError, match="of a network that has been replaced"):
        coefs[0] = coefs[0] * 2


@pytest.mark.parametrize("name", ["jax", "strict"])
def test_no_writable_copy_is_handed_out_for_tensors(name: str) -> None:
    """PyTorch has no read-only tensors: the arrays are the network's own then."""
    torch = pytest.importorskip("torch")
    make_backend("torch")
    backend = make_backend(name)
    X = torch.linspace(-1.0, 1.0, 60).reshape(20, 3)
    made = MLPClassifier((4,), max_iter=2, backend=backend).fit(X, np.arange(20) % 2)
    assert backend.owns(made.coefs_[0])
    before = np.asarray(made.predict_proba(X))
    if name == "jax":
        with pytest.raises(TypeError):
            made.coefs_[0][:] = 0.0
    else:
        made.coefs_[0][...] = 0.0
        assert np.abs(np.asarray(made.predict_proba(X)) - before).max() > 1e-6
    assert isinstance(made.predict(X), torch.Tensor)
