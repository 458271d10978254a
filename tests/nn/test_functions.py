"""Elementary functions against SciPy, over the whole range of both dtypes."""

from math import erf
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, extremes

from xpmlp.nn import functions as special

scipy_special = pytest.importorskip("scipy.special")

DTYPES = ("float64", "float32")
# The array API's elementary functions may be wrong by a few units in the last place.
SLACK = {"float64": 4e-16 * 4, "float32": 2.4e-7 * 2}


def grid(dtype: str) -> np.ndarray:
    """From tiny to far beyond where anything happens, dense in the middle."""
    small = np.logspace(-300 if dtype == "float64" else -36, 0, 400)
    positive = np.concatenate([small, np.linspace(0, 8, 5001), np.linspace(8, 50, 400)])
    return np.concatenate([-positive[::-1], positive]).astype(dtype)


def apply(backend: Any, f: Any, x: np.ndarray, *rest: Any) -> np.ndarray:
    found = backend.to_numpy(f(backend.xp, backend.asarray(x), *rest))
    assert found.dtype == x.dtype
    return found


# erf


def erf_error(found: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """Largest error in units in the last place of the result, and as it is.

    The C library's erf is the judge: SciPy's own is up to 2 units off near 0.
    """
    expected = np.array([erf(value) for value in x.tolist()])
    error = np.abs(found.astype(np.float64) - expected)
    ulp = np.spacing(np.abs(expected).astype(x.dtype)).astype(np.float64)
    return float(np.max(error / ulp)), float(np.max(error))


@pytest.mark.parametrize("dtype", DTYPES)
def test_reference_erf(backend: Any, dtype: str) -> None:
    """The formula in the array API: 1 ulp in float64, 1.4e-7 in float32."""
    x = grid(dtype)
    ulps, error = erf_error(apply(backend, special.erf, x), x)
    assert error <= 1.4e-7
    if dtype == "float64":
        assert ulps <= 1.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_erf_of_the_backend(backend: Any, dtype: str) -> None:
    x = grid(dtype)
    found = backend.to_numpy(backend.ops.erf(backend.asarray(x)))
    assert found.dtype == x.dtype
    assert erf_error(found, x)[1] <= {"float64": 2.3e-16, "float32": 2.4e-7}[dtype]
    assert_close(found, scipy_special.erf(x.astype(np.float64)), atol=2.4e-7, rtol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_erf_is_odd_bounded_and_right_at_the_ends(backend: Any, dtype: str) -> None:
    x = np.concatenate([extremes(dtype), [np.inf, -np.inf]]).astype(dtype)
    found = apply(backend, special.erf, x)
    assert_close(found, -apply(backend, special.erf, -x))
    assert_close(found[np.abs(x) > 6], np.sign(x[np.abs(x) > 6]))
    assert np.all(np.abs(found) <= 1)
    assert np.isnan(apply(backend, special.erf, np.array([np.nan], dtype=dtype))).all()


# The others


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (special.sigmoid, scipy_special.expit),
        (special.softplus, lambda x: np.logaddexp(0.0, x)),
        (
            special.normal_pdf,
            lambda x: np.exp(-0.5 * np.minimum(np.abs(x), 40) ** 2) / np.sqrt(2 * np.pi),
        ),
        (special.relu, lambda x: np.maximum(x, 0)),
    ],
    ids=["sigmoid", "softplus", "normal_pdf", "relu"],
)
def test_values(backend: Any, f: Any, expected: Any, dtype: str) -> None:
    for x in (grid(dtype), extremes(dtype)):
        found = apply(backend, f, x)
        wide = expected(x.astype(np.float64))
        tiny = float(np.finfo(dtype).tiny)  # below it a library may give 0
        assert_close(found, wide, rtol=30 * SLACK[dtype], atol=tiny)


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_cdf(backend: Any, dtype: str) -> None:
    for x in (grid(dtype), extremes(dtype)):
        found = backend.to_numpy(special.normal_cdf(backend.ops, backend.asarray(x)))
        assert_close(found, scipy_special.ndtr(x.astype(np.float64)), atol=SLACK[dtype])


@pytest.mark.parametrize("f", [special.sigmoid, special.softplus, special.relu, special.normal_pdf])
def test_nan_stays_nan(backend: Any, f: Any) -> None:
    assert np.isnan(apply(backend, f, np.array([np.nan, np.nan]))).all()


def test_clamp(backend: Any) -> None:
    x = np.array([-np.inf, -3.0, -2.0, 0.5, 2.0, 7.0, np.inf])
    assert_close(apply(backend, special.clamp, x, 2.0), np.clip(x, -2, 2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_softmax_and_softmax(backend: Any, dtype: str) -> None:
    rng = np.random.default_rng(0)
    for scale in (1e-30, 1.0, 100.0, 1e4):
        z = (rng.standard_normal((9, 4)) * scale).astype(dtype)
        found = apply(backend, special.log_softmax, z)
        expected = scipy_special.log_softmax(z.astype(np.float64), axis=1)
        # Of the shifted logits, one rounding of a number as large as they are.
        assert_close(found, expected, rtol=4 * SLACK[dtype], atol=SLACK[dtype])
        p = apply(backend, special.softmax, z)
        assert_close(p, np.exp(expected), atol=4 * SLACK[dtype], rtol=4 * SLACK[dtype] * scale)
        assert_close(p.sum(axis=1), np.ones(9), atol=4 * SLACK[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_of_extreme_logits_is_a_distribution(backend: Any, dtype: str) -> None:
    values = extremes(dtype)
    z = np.array([[a, b, c] for a in values for b in values[::3] for c in values[::5]], dtype=dtype)
    p = apply(backend, special.softmax, z)
    assert np.all(np.isfinite(apply(backend, special.log_softmax, z)))
    assert np.all(p >= 0)
    assert_close(p.sum(axis=1), np.ones(len(z)), atol=4 * SLACK[dtype])
    certain = z == z.max(axis=1, keepdims=True)
    assert np.all(p[certain] >= 1 / 3 - SLACK[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_hot(backend: Any, dtype: str) -> None:
    labels = np.array([0, 3, 1, 3], dtype=np.int32)
    found = special.one_hot(
        backend.xp, backend.ops.device, backend.asarray(labels), 4, getattr(backend.xp, dtype)
    )
    assert backend.to_numpy(found).dtype == dtype
    np.testing.assert_array_equal(backend.to_numpy(found), np.eye(4)[labels])
