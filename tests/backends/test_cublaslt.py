"""Products by cuBLASLt: layouts, epilogues, precision, and the choice of algorithms."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend
from emulation import emulated
from emulation.cublaslt import CublasLt
from xpmlp_backends.cupy.cublaslt import COMPUTE_32F, COMPUTE_32F_FAST_TF32, COMPUTE_64F, Side
from xpmlp_backends.cupy.tuning import Tuning

SHAPES = [(1, 1, 1), (1, 5, 3), (4, 1, 2), (7, 3, 1), (65, 33, 10), (128, 64, 130)]


@pytest.fixture(params=["cupy-emulated", pytest.param("cupy", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Any:
    return make_backend(request.param)


def factors(shape: tuple[int, int, int], dtype: str) -> tuple[np.ndarray, np.ndarray]:
    n, k, m = shape
    rng = np.random.default_rng(n + k + m)
    a, b = rng.standard_normal((n, k)), rng.standard_normal((k, m))
    return a.astype(dtype), b.astype(dtype)


def skip_what_is_missing(device: Any) -> None:
    """A real cuBLASLt may lack an epilogue; the imitation has all, so None would be a fault."""
    assert not isinstance(device.xp, emulated.Namespace)
    pytest.skip(f"cuBLASLt does not do this here: {device.products.missing[-1]}")


BAR = {"float32": 1e-6, "float64": 1e-14}


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", ["ab", "aᵀb", "abᵀ", "aᵀbᵀ", "slices"])
def test_products_of_every_order(device: Any, shape: Any, dtype: str, order: str) -> None:
    a, b = factors(shape, dtype)
    expected = a.astype(float) @ b.astype(float)
    first, second = device.asarray(a), device.asarray(b)
    if "aᵀ" in order:
        first = device.asarray(np.ascontiguousarray(a.T)).T
    if "bᵀ" in order:
        second = device.asarray(np.ascontiguousarray(b.T)).T
    if order == "slices":
        first = device.asarray(np.hstack([a, a]))[:, : a.shape[1]]
        second = device.asarray(np.vstack([b, b]))[b.shape[0] :]
    found = device.to_numpy(device.products(first, second))
    assert found.dtype == dtype
    assert_close(found, expected, of_max=4 * BAR[dtype])


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("relu", [False, True])
def test_a_bias_and_relu_along_the_way(device: Any, shape: Any, dtype: str, relu: bool) -> None:
    a, b = factors(shape, dtype)
    bias = np.linspace(-1, 1, shape[2]).astype(dtype)
    expected = a.astype(float) @ b.astype(float) + bias
    expected = np.maximum(expected, 0) if relu else expected
    found = device.products(*map(device.asarray, (a, b)), bias=device.asarray(bias), relu=relu)
    if found is None:
        skip_what_is_missing(device)
    assert_close(device.to_numpy(found), expected, of_max=4 * BAR[dtype])


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("shape", SHAPES)
def test_sums_of_columns_along_the_way(device: Any, shape: Any, dtype: str) -> None:
    """As in dW = xᵀ dz, with db."""
    a, b = factors(shape, dtype)
    x = device.asarray(np.ascontiguousarray(a.T))
    sums = device.asarray(np.full(shape[2], np.nan, dtype))
    out = device.asarray(np.full((shape[0], shape[2]), np.nan, dtype))
    found = device.products(x.T, device.asarray(b), out, sums=sums)
    if found is None:
        skip_what_is_missing(device)
    assert found is out
    assert_close(device.to_numpy(out), a.astype(float) @ b.astype(float), of_max=4 * BAR[dtype])
    assert_close(device.to_numpy(sums), b.sum(axis=0, dtype=float), of_max=4 * BAR[dtype])


def mantissa(x: np.ndarray, bits: int) -> np.ndarray:
    """Float32 rounded to so many bits after the first."""
    scale = 2.0 ** (bits + 1)
    m, e = np.frexp(x.astype(float))
    return np.ldexp(np.round(m * scale) / scale, e)


@pytest.mark.parametrize(("precision", "bits"), [("float32", 23), ("tf32", 10), ("bf16", 7)])
def test_precision_rounds_factors_and_nothing_else(device: Any, precision: str, bits: int) -> None:
    device = device.with_precision(precision)
    assert device.precision == precision
    a, b = factors((64, 48, 40), "float32")
    rounded = mantissa(a, bits) @ mantissa(b, bits)
    for first, second in (
        (device.asarray(a), device.asarray(b)),
        (device.asarray(np.ascontiguousarray(a.T)).T, device.asarray(np.ascontiguousarray(b.T)).T),
    ):
        found = device.to_numpy(device.ops.dense(first, second, None))
        # The hardware may cut where this rounds: then it is off by a factor's last bit.
        assert_close(found, rounded, of_max=max(2.0**-bits, 1e-6))
        assert found.dtype == np.float32
    if precision == "bf16":
        assert_close(found, rounded, of_max=2e-6)
    double = device.ops.dense(*(device.asarray(x.astype(float)) for x in (a, b)), None)
    assert_close(device.to_numpy(double), a.astype(float) @ b.astype(float), of_max=1e-13)


def test_a_bias_gradient_is_a_sum_of_numbers_that_are_not_rounded(device: Any) -> None:
    device = device.with_precision("bf16")
    x, dz = factors((64, 48, 40), "float32")[0], factors((64, 64, 40), "float32")[1]
    W = device.asarray(np.ones((48, 40), np.float32))
    _, _, db = device.ops.dense_grad(device.asarray(x), W, device.asarray(dz), False)
    assert_close(device.to_numpy(db), dz.sum(axis=0, dtype=float), of_max=2e-6)


def test_bfloat16_is_rounded_to_the_nearest_and_to_even(device: Any) -> None:
    from xpmlp_backends.cupy.halves import to_bfloat16

    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 4096, dtype=np.uint32)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, 1e-45, 1.00390625, 1.01171875]
    x = np.concatenate([bits.view(np.float32), np.array(special, np.float32)])
    with np.errstate(all="ignore"):
        expected = x.astype(ml_dtypes.bfloat16).astype(np.float32)
    made = device.to_numpy(to_bfloat16(device.cupy, device.kernels, device.asarray(x)))
    found = (made.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(found, expected)


# The description that cuBLASLt gets


def test_a_matrix_is_described_as_it_lies() -> None:
    x = emulated.cupy_module().empty((6, 4), dtype=np.float32)
    side = Side.of(x)
    assert (side.rows, side.columns, side.transposed) == (4, 6, False)
    assert Side.of(x.T) == side._replace(transposed=True)
    assert Side.of(x[1:]).alignment < 256  # sixteen bytes further


def test_the_numbers_are_nvidias() -> None:
    lt = pytest.importorskip("nvmath.bindings.cublasLt")
    imitated = CublasLt
    for name in ("MatmulDescAttribute", "Epilogue", "MatmulPreferenceAttribute"):
        for key, value in vars(getattr(imitated, name)).items():
            assert getattr(lt, name)[key] == value, key
    assert np.dtype(lt.matmul_heuristic_result_dtype) == imitated.matmul_heuristic_result_dtype
    assert issubclass(lt.cuBLASLtError, Exception)
    for name in dir(imitated):
        assert name.startswith("_") or hasattr(lt, name), name
    cublas = pytest.importorskip("nvmath.bindings.cublas")
    kinds = cublas.ComputeType
    assert (kinds.COMPUTE_32F, kinds.COMPUTE_32F_FAST_TF32) == (COMPUTE_32F, COMPUTE_32F_FAST_TF32)
    assert kinds.COMPUTE_64F == COMPUTE_64F


# The choice of algorithms


def tuned(costs: list[float], folder: Path | None = None) -> CublasLt:
    """Train a little on an imitated device whose algorithms cost so much."""
    import xpmlp

    lt = CublasLt(costs=costs)
    backend = emulated.backend(lt)
    backend.products.tuning = Tuning(backend.cupy, "cuBLASLt 130000", folder)
    rng = np.random.default_rng(0)
    mlp = xpmlp.MLP([5, 4, 3], backend=backend, seed=0)
    lt.calls.clear()
    mlp.fit(rng.random((40, 5)), rng.integers(0, 3, 40), epochs=3, batch_size=8)
    assert mlp.backend.products.table()[0][0] == "product"
    return lt


def test_the_fastest_algorithm_is_chosen_and_remembered(tmp_path: Path) -> None:
    lt = tuned([3e-6, 5e-6, 1e-6, 2e-6], tmp_path)
    assert set(lt.calls) == {0, 1, 2, 3}  # each was timed
    assert set(lt.calls[-40:]) == {2}
    kept = json.loads((tmp_path / "products.json").read_text())
    assert list(kept) == ["emulated, 90, cuBLASLt 130000"]
    again = tuned([3e-6, 5e-6, 1e-6, 2e-6], tmp_path)
    assert set(again.calls) == {2} | {0} & set(again.calls)
    assert 1 not in again.calls  # nothing was timed
    slower = tuned([1e-6, 5e-6, 9e-6, 2e-6], tmp_path)
    assert slower.calls[-1] == 2  # the same bits as before count more than the time


def test_an_algorithm_that_fails_is_left_out(tmp_path: Path) -> None:
    assert set(tuned([3e-6, float("inf"), 2e-6, 9e-6], tmp_path).calls[-20:]) == {2}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"emulated, 90, cuBLASLt 130000": 3}', "null"])
def test_a_broken_file_of_choices_is_no_loss(tmp_path: Path, content: str) -> None:
    (tmp_path / "products.json").write_text(content)
    assert set(tuned([3e-6, 1e-6, 9e-6], tmp_path).calls[-20:]) == {1}
    assert "emulated, 90, cuBLASLt 130000" in json.loads((tmp_path / "products.json").read_text())


def test_a_folder_that_cannot_be_written_is_no_loss(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert set(tuned([3e-6, 1e-6, 9e-6], tmp_path / "file").calls[-20:]) == {1}


def test_tuning_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XPMLP_AUTOTUNE", "0")
    assert set(tuned([3e-6, 1e-6, 9e-6], tmp_path).calls) == {0}
    assert not (tmp_path / "products.json").exists()


def test_choices_are_kept_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XPMLP_CACHE_DIR", str(tmp_path / "chosen"))
    tuned([3e-6, 1e-6, 9e-6])
    assert (tmp_path / "chosen/products.json").exists()


def test_without_a_cache_folder_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XPMLP_CACHE_DIR")
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert set(tuned([3e-6, 1e-6, 9e-6]).calls[-20:]) == {1}


def test_a_prediction_does_not_wait_for_timings() -> None:
    import xpmlp

    lt = CublasLt(costs=[3e-6, 1e-6, 9e-6])
    mlp = xpmlp.MLP([5, 4, 3], backend=emulated.backend(lt), seed=0, loss="mse")
    mlp.fit(np.ones((8, 5)), np.ones((8, 3)), epochs=1, batch_size=8)
    lt.calls.clear()
    mlp.predict(np.ones((3, 5)))
    assert set(lt.calls) == {0}
