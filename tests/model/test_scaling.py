"""Standardization keeps the digits of inputs and targets that float32 would round away."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import assert_close
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler

import xpmlp
from xpmlp.arrays.moments import BLOCK_ROWS
from xpmlp.arrays.rows import HostRows, rows

scipy_sparse = pytest.importorskip("scipy.sparse")

Z = np.random.default_rng(5).normal(size=(160, 2))
Y = np.sin(Z[:, 0]) + 0.5 * Z[:, 1]

TABLES: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "seconds since 1970": (Z * 10 + 1.7e9, Y),
    "whole seconds": ((Z * 1e3 + 1.7e9).astype(np.int64), Y),
    "whole seconds in 32 bits": ((Z * 1e3 + 1.7e9).astype(np.int32), Y),
    "a large mean": (Z * 0.5 + 5e6, Y),
    "beyond float32": (Z * 1e39, Y),
    "beyond its squares": (Z * 1e200, Y),
    "a small deviation": (Z * 1e-40, Y),
    "a small deviation in float32": ((Z * 1e-38).astype(np.float32), Y),
    "targets with a large mean": (Z, Y * 10 + 1.7e9),
    "targets beyond float32": (Z, Y * 1e39),
    "small targets": (Z, Y * 1e-40),
}


def model(backend: Any, dtype: str = "float32") -> xpmlp.MLP:
    return xpmlp.MLP([2, 16, 1], "tanh", scaling="standard", dtype=dtype, backend=backend, seed=1)


def fitted(backend: Any, X: Any, y: np.ndarray, dtype: str = "float32") -> tuple[Any, Any]:
    mlp = model(backend, dtype)
    history = mlp.fit(X, y, epochs=25, batch_size=16, optimizer=xpmlp.Adam(1e-2))
    return mlp, history


@pytest.fixture(scope="module")
def plain() -> float:
    """R² of the same table without the offset, in float64."""
    return float(fitted("numpy", Z, Y, "float64")[1]["r2"][-1])


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.sampled(3)
def test_no_digit_is_lost_before_the_mean_is_subtracted(
    backend: Any, name: str, plain: float
) -> None:
    X, y = TABLES[name]
    mlp, history = fitted(backend, X, y)
    assert plain > 0.95
    assert history["r2"][-1] == pytest.approx(plain, abs=0.005)
    evaluated = mlp.evaluate(X, y)["r2"]
    predicted = np.asarray(mlp.predict(X))
    assert predicted.dtype == np.float64
    unit = np.abs(y).max()  # squares of 1e39 are no trouble, those of 1e200 are
    assert r2_score(y / unit, predicted / unit) == pytest.approx(evaluated, abs=1e-4)
    assert evaluated == pytest.approx(plain, abs=0.02)


@pytest.mark.parametrize("of", [scipy_sparse.csr_array, scipy_sparse.csc_matrix])
@pytest.mark.parametrize("name", ["seconds since 1970", "beyond float32"])
@pytest.mark.sampled(2)
def test_sparse_tables_lose_none_either(backend: Any, name: str, of: Callable[..., Any]) -> None:
    X, y = TABLES[name]
    dense, sparse = fitted(backend, X, y)[0], fitted(backend, of(X), y)[0]
    assert_close(sparse.predict(of(X)), dense.predict(X), rtol=1e-4, atol=1e-4)


def test_arrays_of_the_backend_lose_none_either(backend: Any) -> None:
    if "float64" not in backend.capabilities:
        pytest.skip("it has no float64 arrays to begin with")
    X, y = TABLES["seconds since 1970"]
    on_host, on_device = model(backend), model(backend)
    for mlp, x in ((on_host, X), (on_device, backend.asarray(X))):
        mlp.fit(x, y, epochs=2, batch_size=16)
    predicted = on_device.predict(backend.asarray(X))
    assert backend.owns(predicted)
    assert_close(backend.to_numpy(predicted), on_host.predict(X), rtol=1e-6)


def test_jax_without_64_bits_loses_none(draws: Any) -> None:
    """Its arrays have 32 bits, so it is done on the host."""
    jax = pytest.importorskip("jax")
    with jax.enable_x64(False) if hasattr(jax, "enable_x64") else jax.experimental.disable_x64():
        backend = xpmlp.backend("jax", "cpu")
        plain = fitted("numpy", Z, Y)[1]["r2"][-1]
        X, y = TABLES["whole seconds in 32 bits"]
        assert fitted(backend, backend.asarray(X), y)[1]["r2"][-1] == pytest.approx(plain, abs=5e-3)


def test_validation_data_and_later_fits_keep_the_scale_of_the_first(backend: Any) -> None:
    X, y = TABLES["seconds since 1970"]
    mlp = model(backend)
    mlp.fit(X[:120], y[:120], epochs=1, batch_size=40, validation_data=(X[120:], y[120:]))
    shift = mlp.scaling.shift.copy()
    again = mlp.fit(X[:40], y[:40], epochs=1, continued=True)
    assert_close(mlp.scaling.shift, shift)
    assert_close(shift, X[:120].mean(axis=0), rtol=1e-15)
    assert again["val_loss"][0] < 5


def test_a_file_has_every_digit_of_the_scale(tmp_path: Any) -> None:
    X, y = TABLES["seconds since 1970"]
    mlp, _ = fitted("numpy", X, y)
    mlp.save(tmp_path / "m.xpmlp")
    assert_close(xpmlp.load(tmp_path / "m.xpmlp").predict(X), mlp.predict(X))


def test_what_is_out_of_range_once_standardized_is_refused(backend: Any) -> None:
    mlp, _ = fitted(backend, Z, Y)
    with pytest.raises(xpmlp.errors.InvalidValueError, match=r"X, standardized.*\[1, 0\]"):
        mlp.predict(np.array([[0.0, 0.0], [1e300, 0.0]]))
    with pytest.raises(xpmlp.errors.InvalidValueError, match=r"y: found 1e\+300 at y\[1, 0\]"):
        mlp.evaluate(Z[:2], np.array([0.0, 1e300]))


def test_the_gradient_check_and_explain_see_the_same_inputs() -> None:
    X, y = TABLES["seconds since 1970"]
    mlp, _ = fitted("numpy", X, y)
    assert xpmlp.check_gradient(mlp, X, y).error < 1e-6
    given = xpmlp.explain(mlp, X[:2], y[:2]).sections[0]
    assert_close(given.quantities[0].values, (X[:2] - X.mean(0)) / X.std(0), rtol=1e-4, atol=1e-4)


# Mean and deviation


@pytest.mark.parametrize("dtype", ["float64", "float32", "int32", "uint8", "bool"])
def test_mean_and_deviation_are_those_of_scikit_learn(dtype: str, backend: Any) -> None:
    X = (100 * np.random.default_rng(3).random((2 * BLOCK_ROWS + 7, 3))).astype(dtype)
    if dtype == "float64" and "float64" not in backend.capabilities:
        pytest.skip("it has no float64 arrays to begin with")
    expected = StandardScaler().fit(X.astype(np.float64))
    for x in (X, backend.asarray(X)):
        mean, deviation = rows(backend, x, 3, "float32", wide=True).moments()
        assert_close(mean, expected.mean_, rtol=1e-14)
        assert_close(deviation, np.sqrt(expected.var_), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_column_is_constant(dtype: str, backend: Any, draws: Any) -> None:
    if dtype not in ("float32", *backend.capabilities):
        pytest.skip("it has no float64")
    rng = np.random.default_rng(9)
    for _ in range(draws(5, 10, 200)):
        value = float(10.0 ** rng.uniform(-20, 20))
        X = np.c_[rng.normal(size=(70, 1)), np.full(70, value)]
        mlp = xpmlp.MLP([2, 3, 1], scaling="standard", dtype=dtype, backend=backend, seed=1)
        mlp.fit(X, np.full(70, value), epochs=1)
        assert mlp.scaling.scale[1] == 1.0
        assert (mlp.scaling.shift[1], mlp.scaling.target_shift) == (value, value)
        assert mlp.scaling.target_scale == 1.0
        assert np.isfinite(mlp.predict(X)).all()


def test_a_column_that_is_constant_but_for_rounding_is_constant() -> None:
    column = np.array([0.1 + 0.2, 0.3] * 20)
    assert xpmlp.model.scaling.standard(HostRows(xpmlp.backend("numpy"), column[:, None]))[1] == 1.0


def test_a_column_with_a_small_share_of_its_mean_is_not_constant() -> None:
    """A million seconds in a year: a tolerance that grew with the rows would take them for one."""
    x = 1.7e9 + np.linspace(0, 0.5, 100_000)[:, None]
    assert xpmlp.model.scaling.standard(HostRows(xpmlp.backend("numpy"), x))[1] < 0.2


def test_r2_of_targets_that_do_not_vary_is_that_of_scikit_learn(backend: Any) -> None:
    X, constant = Z.astype(np.float32), np.full(len(Z), 0.1, dtype=np.float32)
    mlp = xpmlp.MLP([2, 1], initializer="zeros", backend=backend, seed=1)
    history = mlp.fit(X, constant, epochs=1, optimizer=xpmlp.SGD(1e-30))
    assert history["r2"] == [r2_score(constant, np.zeros(len(Z)))] == [0.0]
    assert mlp.evaluate(X, constant)["r2"] == 0.0
    zeros = np.zeros_like(constant)
    mlp = xpmlp.MLP([2, 1], initializer="zeros", backend=backend, seed=1)
    assert mlp.fit(X, zeros, epochs=1)["r2"] == [r2_score(zeros, zeros)] == [1.0]


def test_targets_are_not_scaled_where_the_task_is_another(backend: Any) -> None:
    """A model that learned values before may learn classes later: they stay 0 and 1."""
    mlp = model(backend)
    mlp.fit(Z, Y * 50 + 1000, epochs=1)
    mlp.fit(Z, (Y > 0).astype(int), epochs=1)
    assert set(np.unique(mlp.predict(Z))) <= {0, 1}
    assert 0 <= mlp.evaluate(Z, (Y > 0).astype(int))["accuracy"] <= 1
