"""Sparse matrices of few stored numbers: on NumPy the first layer multiplies them as they are."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend

import xpmlp
from xpmlp.arrays.rows import ThinRows
from xpmlp.errors import DivergenceError
from xpmlp.model.predict import inputs, thin

sparse = pytest.importorskip("scipy.sparse")

S = sparse.random(90, 400, 0.02, format="csr", random_state=1)
X = S.toarray()
Y = np.random.default_rng(2).integers(0, 3, 90)


def model(backend: Any, **options: Any) -> xpmlp.MLP:
    options = {"dtype": "float64", "scaling": None, "seed": 3, "l2": 1e-3} | options
    return xpmlp.MLP([400, 12, 12, 3], backend=backend, **options)


def stay_sparse(mlp: xpmlp.MLP, x: Any = S) -> bool:
    return isinstance(thin(mlp, inputs(mlp, x)), ThinRows)


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "float32": {"dtype": "float32"},
    "tanh": {"activation": "tanh"},
    "normalization": {"normalization": "batch"},
    "dropout": {"dropout": 0.2},
    "residual": {"residual": True},
    "no bias, max_norm": {"bias": False, "max_norm": 0.5},
    "input dropout": {"input_dropout": 0.1},
    "standardized": {"scaling": "standard"},
}


@pytest.mark.parametrize("name", ["numpy", "numpy-plain", "numpy-readonly", "strict"])
@pytest.mark.parametrize("case", CASES)
def test_training_and_predictions_are_those_of_dense_rows(name: str, case: str) -> None:
    backend = make_backend(name)
    sparsely, densely = (model(backend, **CASES[case]) for _ in range(2))
    fit: dict[str, Any] = {"epochs": 3, "batch_size": 20, "sample_weight": np.linspace(0, 1, 90)}
    histories = [m.fit(x, Y, **fit) for m, x in ((sparsely, S), (densely, X))]
    numpy = "sparse" in backend.capabilities
    assert stay_sparse(sparsely) == (numpy and case not in ("input dropout", "standardized"))
    tolerance = 1e-3 if case == "float32" else 1e-9
    assert_close(histories[0]["loss"], histories[1]["loss"], rtol=tolerance)
    for key, value in densely.state_dict().items():
        assert_close(sparsely.state_dict()[key], value, of_max=tolerance, atol=tolerance)
    for rows in (slice(0, 3), slice(0, 90)):
        found, expected = sparsely.predict_proba(S[rows]), densely.predict_proba(X[rows])
        assert_close(found, expected, atol=tolerance)
    assert_close(
        list(sparsely.evaluate(S, Y).values()), list(densely.evaluate(X, Y).values()), rtol=1e-3
    )


@pytest.mark.parametrize("name", ["numpy", "numpy-plain"])
def test_data_that_are_kept_on_the_host_give_the_bits_of_dense_rows(name: str) -> None:
    made = [model(make_backend(name)) for _ in range(2)]
    for m, x in zip(made, (S, X), strict=True):
        m.fit(x, Y, epochs=2, batch_size=20, data_on="host")
    for key, value in made[1].state_dict().items():
        np.testing.assert_array_equal(made[0].state_dict()[key], value)


def test_fuller_matrices_become_dense() -> None:
    mlp = model(make_backend("numpy"))
    assert stay_sparse(mlp)
    assert not stay_sparse(mlp, sparse.random(90, 400, 0.1, format="csr"))


def test_the_matrix_is_only_read_and_may_have_any_format_and_dtype() -> None:
    mlp, before = model(make_backend("numpy")), S.copy()
    mlp.fit(S, Y, epochs=1)
    expected = mlp.predict_proba(S)
    for x in (S.tocsc(), S.tocoo(), sparse.csr_array(S)):
        np.testing.assert_allclose(mlp.predict_proba(x), expected, rtol=1e-12)
    small = (S * 100).astype(np.int8)
    assert_close(mlp.predict_proba(small), mlp.predict_proba(small.toarray()), rtol=1e-9)
    assert (before != S).nnz == 0


def test_an_objective_of_sparse_rows() -> None:
    values = []
    for x in (S, X):
        objective = xpmlp.Objective(model(make_backend("numpy")), x, Y)
        values.append(objective(objective.start()))
    assert_close(values[0][0], values[1][0], rtol=1e-12)
    assert_close(values[0][1], values[1][1], of_max=1e-12)


@pytest.mark.filterwarnings("ignore:X. found inputs far from scaled:UserWarning")
def test_a_divergence_is_located() -> None:
    mlp = model(make_backend("numpy"), activation="identity")
    with pytest.raises(DivergenceError, match=r"epoch \d+ of 50"):
        mlp.fit(S * 1e150, Y, epochs=50, optimizer=xpmlp.SGD(1e10))
