"""Losses: each row's value and gradient against PyTorch, and where numbers end."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, extremes
from oracle import TORCH_LOSSES, F, torch

import xpmlp
from xpmlp.errors import GradientError, InvalidTypeError, InvalidValueError
from xpmlp.nn import metrics
from xpmlp.nn.losses import (
    LOSSES,
    MSE,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Huber,
    Loss,
    Poisson,
    PoissonDeviance,
    Quantile,
    SparseCategoricalCrossEntropy,
    loss,
)

BAR = {"float64": 4e-15, "float32": 2e-6}
MANY: list[Loss] = [
    *(cls() for cls in LOSSES.values()),
    Huber(0.25),
    Quantile(0.05),
    Quantile(0.9),
    BinaryCrossEntropy(0.1),
    CategoricalCrossEntropy(0.3),
    SparseCategoricalCrossEntropy(0.3),
]


def both(backend: Any, of: Loss, z: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
    rows, dz = of(backend.ops, backend.asarray(z), backend.asarray(y))
    rows, dz = backend.to_numpy(rows), backend.to_numpy(dz)
    assert rows.shape == z.shape[:1]
    assert dz.shape == z.shape
    assert rows.dtype == dz.dtype == z.dtype
    return rows, dz


def targets(of: Loss, n: int, outputs: int, dtype: str) -> np.ndarray:
    rng = np.random.default_rng(2)
    if of.targets == "labels":
        return rng.integers(0, outputs, n).astype(np.int32)
    made = {
        "distribution": rng.dirichlet(np.ones(outputs), n),
        "binary": np.where(rng.uniform(size=(n, outputs)) < 0.2, 0.3, rng.integers(0, 2, (n, 1))),
        "counts": rng.poisson(2.0, (n, outputs)),
        "values": rng.standard_normal((n, outputs)),
    }[of.targets]
    return made.astype(dtype)


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("of", MANY, ids=repr)
def test_rows_and_gradients(backend: Any, of: Loss, dtype: str) -> None:
    z = (3 * np.random.default_rng(1).standard_normal((30, 4))).astype(dtype)
    y = targets(of, 30, 4, dtype)
    rows, dz = both(backend, of, z, y)
    tensor = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    expected = TORCH_LOSSES[of.name](of, tensor, torch.tensor(y, dtype=torch.float64))
    expected.sum().backward()
    assert_close(rows, expected.detach(), rtol=BAR[dtype], of_max=BAR[dtype] / 10)
    assert_close(dz, tensor.grad, of_max=BAR[dtype] / 2)


@pytest.mark.parametrize("of", MANY, ids=repr)
def test_finite_differences(of: Loss) -> None:
    check = xpmlp.check_gradient(of)
    assert check.error <= 1e-6
    assert check.points >= 15


# Where numbers end


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("target", [0.0, 0.3, 1.0])
def test_binary_cross_entropy_of_extreme_logits(
    backend: Any, target: float, smoothing: float, dtype: str
) -> None:
    z = extremes(dtype).reshape(-1, 1)
    y = np.full_like(z, target)
    rows, dz = both(backend, BinaryCrossEntropy(smoothing), z, y)
    t = target * (1 - smoothing) + smoothing / 2
    wide = z[:, 0].astype(np.float64)
    expected = t * np.logaddexp(0, -wide) + (1 - t) * np.logaddexp(0, wide)
    size = np.maximum(np.abs(wide), 1.0)
    assert np.all(np.isfinite(rows))
    assert np.all(np.abs(rows / size - expected / size) <= BAR[dtype])
    assert np.all(np.abs(dz) <= 1)
    assert_close(dz[:, 0], 1 / (1 + np.exp(-np.clip(wide, -700, 700))) - t, atol=BAR[dtype])


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_categorical_cross_entropy_of_extreme_logits(
    backend: Any, smoothing: float, dtype: str
) -> None:
    values = extremes(dtype)
    z = np.array([[a, b, c] for a in values for b in values[::2] for c in values[::3]], dtype)
    labels = (np.arange(len(z)) % 3).astype(np.int32)
    dense = both(backend, CategoricalCrossEntropy(smoothing), z, np.eye(3, dtype=dtype)[labels])
    sparse = both(backend, SparseCategoricalCrossEntropy(smoothing), z, labels)
    for found, again in zip(dense, sparse, strict=True):
        assert np.all(np.isfinite(found))
        assert_close(found, again, rtol=BAR[dtype], atol=BAR[dtype])
    rows, dz = dense
    assert np.all(rows >= -BAR[dtype])
    assert np.all(np.abs(dz) <= 1 + BAR[dtype])
    assert_close(dz.sum(axis=1), np.zeros(len(z)), atol=2 * BAR[dtype])
    moderate = np.max(np.abs(z), axis=1) <= 1e4
    assert moderate.sum() > 100
    target = np.eye(3)[labels[moderate]] * (1 - smoothing) + smoothing / 3
    log_p = torch.log_softmax(torch.tensor(z[moderate], dtype=torch.float64), dim=1).numpy()
    expected = -np.sum(target * log_p, axis=1)
    assert_close(rows[moderate], expected, rtol=BAR[dtype], atol=BAR[dtype])


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_poisson_of_extreme_logits(backend: Any, target: float, dtype: str) -> None:
    z = extremes(dtype).reshape(-1, 1)
    rows, dz = both(backend, Poisson(), z, np.full_like(z, target))
    assert np.all(np.isfinite(rows))
    assert np.all(np.isfinite(dz))
    assert np.all(dz[z > 1] > 0)


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("name", ["mae", "huber", "quantile", "mse"])
def test_losses_of_values_at_the_largest_numbers(backend: Any, name: str, dtype: str) -> None:
    z = extremes(dtype).reshape(-1, 1)
    if name == "mse":  # its square must exist
        z = z[np.abs(z[:, 0]) < float(np.finfo(dtype).max) ** 0.5]
    rows, dz = both(backend, LOSSES[name](), z, np.zeros_like(z))
    assert np.all(np.isfinite(rows))
    assert np.all(np.isfinite(dz))
    assert np.all(rows >= 0)


@pytest.mark.parametrize("name", ["mae", "quantile", "huber", "mse"])
def test_the_gradient_is_zero_where_the_value_is_right(backend: Any, name: str) -> None:
    z = np.array([[0.0, 1.5, -2.0]])
    rows, dz = both(backend, LOSSES[name](), z, z.copy())
    assert_close(rows, [0.0])
    assert_close(dz, np.zeros_like(z))


def test_mse_has_the_half(backend: Any) -> None:
    rows, dz = both(backend, LOSSES["mse"](), np.array([[3.0, 1.0]]), np.array([[1.0, 0.0]]))
    assert_close(rows, [2.5])
    assert_close(dz, [[2.0, 1.0]])


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_mse_averaged_over_the_outputs(backend: Any, outputs: int, dtype: str) -> None:
    """Its value is the mean's, its gradient that of the sum."""
    rng = np.random.default_rng(1)
    z, y = (rng.standard_normal((30, outputs)).astype(dtype) for _ in range(2))
    tensor = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    squares = F.mse_loss(tensor, torch.tensor(y, dtype=torch.float64), reduction="none")
    (0.5 * squares.sum()).backward()
    rows, dz = both(backend, MSE(average=True), z, y)
    assert_close(rows, 0.5 * squares.mean(1).detach(), rtol=BAR[dtype])
    assert_close(dz, tensor.grad, of_max=BAR[dtype])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("average", [False, True])
def test_batches_of_averaged_mse(backend: Any, average: bool, weighted: bool) -> None:
    """Fused kernels have no such loss: they would return the sum."""
    rng = np.random.default_rng(2)
    z, y, w = rng.standard_normal((9, 4)), rng.standard_normal((9, 4)), rng.uniform(0.5, 2.0, 9)
    given = [backend.asarray(z), backend.asarray(y), backend.asarray(w) if weighted else None]
    value, dz, score = backend.ops.assess(backend.ops, MSE(average), metrics.R2, *given)
    share = (w if weighted else np.ones(9)) / (w.sum() if weighted else 9)
    squares = (z - y) ** 2
    rows = 0.5 * (squares.mean(axis=1) if average else squares.sum(axis=1))
    assert_close(backend.to_numpy(value), np.sum(share * rows), rtol=1e-14)
    assert_close(backend.to_numpy(dz), share[:, None] * (z - y), of_max=1e-14)
    assert float(backend.to_numpy(score).sum()) == pytest.approx(squares.sum(), rel=1e-14)


def test_a_model_reports_averaged_mse_and_trains_by_the_sum(backend: Any) -> None:
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((8, 3)), rng.standard_normal((8, 4))
    mlp = xpmlp.MLP([3, 4], loss=MSE(average=True), backend=backend, dtype="float64", seed=0)
    before = mlp.state_dict()
    e = X @ before["dense1.W"] + before["dense1.b"] - y
    history = mlp.fit(X, y, epochs=1, batch_size=None, optimizer=xpmlp.SGD(0.1))
    assert history["loss"] == pytest.approx([0.5 * np.mean(e**2)], rel=1e-13)
    after = mlp.state_dict()
    assert_close(after["dense1.W"], before["dense1.W"] - 0.1 / 8 * X.T @ e, of_max=1e-14)
    e = X @ after["dense1.W"] + after["dense1.b"] - y
    assert mlp.evaluate(X, y)["loss"] == pytest.approx(0.5 * np.mean(e**2), rel=1e-13)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("trained", [False, True])
def test_averaging_is_saved(tmp_path: Path, trained: bool, average: bool) -> None:
    X, y = np.arange(6.0).reshape(3, 2), np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]])
    mlp = xpmlp.MLP([2, 2], loss=MSE(average), backend="numpy", dtype="float64", seed=0)
    if trained:
        mlp.fit(X, y, epochs=1)
    mlp.save(tmp_path / "m.xpmlp")
    loaded = xpmlp.load(tmp_path / "m.xpmlp", backend="numpy")
    assert loaded.loss == MSE(average)
    loaded.fit(X, y, epochs=1)
    p = loaded.parameters
    squares = (X @ p["dense1.W"] + p["dense1.b"] - y) ** 2
    expected = 0.5 * (squares.mean() if average else squares.sum(axis=1).mean())
    assert loaded.evaluate(X, y)["loss"] == pytest.approx(expected, rel=1e-13)


def test_huber_joins_its_branches(backend: Any) -> None:
    z = np.array([[0.5], [-0.5], [0.5 + 1e-12], [2.0], [-2.0]])
    rows, dz = both(backend, Huber(0.5), z, np.zeros_like(z))
    assert_close(rows, [0.125, 0.125, 0.125, 0.875, 0.875], atol=1e-12)
    assert_close(dz[:, 0], [0.5, -0.5, 0.5, 0.5, -0.5])


# The Poisson deviance


@pytest.mark.parametrize("dtype", BAR)
def test_no_deviance_where_the_rate_is_the_count(backend: Any, dtype: str) -> None:
    y = np.array([[0.0, 1.0, 2.0], [7.0, 0.5, 100.0], [1e-3, 0.0, 12.0]], dtype)
    with np.errstate(divide="ignore"):
        z = np.maximum(np.log(y), -1000.0).astype(dtype)  # exp(-1000) is 0
    rows, dz = both(backend, PoissonDeviance(), z, y)
    assert_close(rows, np.zeros(3), atol=100 * 8 * float(np.finfo(dtype).eps))
    assert_close(dz, np.zeros((3, 3)), atol=100 * 8 * float(np.finfo(dtype).eps))
    rows, _ = both(backend, PoissonDeviance(), (z + 0.25).astype(dtype), y)
    expected = np.sum(y.astype(float) * (np.exp(0.25) - 1 - 0.25), axis=1)
    assert_close(rows, expected, rtol=1e4 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", BAR)
def test_deviance_and_likelihood_differ_by_what_depends_on_the_counts(
    backend: Any, dtype: str
) -> None:
    """Σ (y ln y − y), where 0 ln 0 is 0; so the gradient is the same, bit by bit."""
    rng = np.random.default_rng(4)
    y = rng.poisson(1.5, (40, 3)).astype(dtype)
    assert 5 < (y == 0).sum() < 100
    z = (2 * rng.standard_normal(y.shape)).astype(dtype)
    deviance, dz = both(backend, PoissonDeviance(), z, y)
    likelihood, expected_dz = both(backend, Poisson(), z, y)
    t = torch.tensor(y, dtype=torch.float64)
    by_counts = (torch.xlogy(t, t) - t).sum(1).numpy()
    assert_close(
        deviance.astype(float) - likelihood, by_counts, atol=200 * float(np.finfo(dtype).eps)
    )
    np.testing.assert_array_equal(dz, expected_dz)
    assert_close(dz, np.exp(z.astype(float)) - y, of_max=BAR[dtype])
    assert (deviance >= -100 * np.finfo(dtype).eps).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_batches_of_the_deviance(backend: Any, weighted: bool) -> None:
    """Where kernels compute it, too; against SciPy."""
    special = pytest.importorskip("scipy.special")
    rng = np.random.default_rng(5)
    z, y, w = rng.standard_normal((9, 4)), rng.poisson(1.0, (9, 4)) * 1.0, rng.uniform(0.5, 2, 9)
    assert (y == 0).any()
    given = [backend.asarray(z), backend.asarray(y), backend.asarray(w) if weighted else None]
    value, dz, _ = backend.ops.assess(backend.ops, PoissonDeviance(), None, *given)
    share = (w if weighted else np.ones(9)) / (w.sum() if weighted else 9)
    rows = special.kl_div(y, np.exp(z)).sum(axis=1)  # y ln(y/μ) − y + μ
    assert_close(backend.to_numpy(value), np.sum(share * rows), rtol=1e-13)
    assert_close(backend.to_numpy(dz), share[:, None] * (np.exp(z) - y), of_max=1e-14)


def test_the_quantile_loss_finds_the_quantile() -> None:
    y = np.random.default_rng(0).exponential(size=(400, 1))
    mlp = xpmlp.MLP([1, 1], loss=Quantile(0.8), backend="numpy", dtype="float64", seed=0)
    optimizer = xpmlp.Adam(xpmlp.schedules.Exponential(0.05, factor=0.99))
    mlp.fit(np.zeros((400, 1)), y, epochs=600, batch_size=None, optimizer=optimizer)
    assert mlp.predict(np.zeros((1, 1)))[0] == pytest.approx(np.quantile(y, 0.8), rel=0.02)


# A user's own


def log_cosh(xp: Any, z: Any, y: Any) -> Any:
    e = xp.abs(z - y)
    return xp.sum(e + xp.log1p(xp.exp(-2.0 * e)), axis=1), xp.tanh(z - y)


def test_an_own_loss_trains(backend: Any) -> None:
    X = np.random.default_rng(0).standard_normal((40, 2))
    y = X @ np.array([1.0, -2.0])
    mlp = xpmlp.MLP([2, 1], loss=log_cosh, backend=backend, dtype="float64", seed=0)
    history = mlp.fit(X, y, epochs=60, batch_size=20, optimizer=xpmlp.Adam(0.1))
    assert history["r2"][-1] > 0.99
    assert mlp.evaluate(X, y)["loss"] == pytest.approx(np.log(2), abs=0.01)


def test_a_wrong_own_gradient_is_found_at_once() -> None:
    def wrong(xp: Any, z: Any, y: Any) -> Any:
        rows, dz = log_cosh(xp, z, y)
        return rows, 2.0 * dz

    mlp = xpmlp.MLP([2, 1], loss=wrong, backend="numpy")
    before = mlp.state_dict()
    with pytest.raises(GradientError, match=r"loss 'wrong'.*derivative.*finite difference"):
        mlp.fit(np.eye(2), np.ones(2))
    assert all(np.array_equal(value, before[name]) for name, value in mlp.state_dict().items())


@pytest.mark.parametrize(
    "function",
    [
        lambda xp, z, y: (xp.sum(z - y), z - y),  # one number, not one for each row
        lambda xp, z, y: (xp.sum(z - y, axis=1), xp.sum(z - y, axis=1)),
        lambda xp, z, y: (xp.sum((z - y) ** 2, axis=1) / 2, (z - y) * np.nan),
    ],
    ids=["loss of the batch", "gradient of the rows", "NaN"],
)
def test_results_of_a_wrong_shape_are_found(function: Any) -> None:
    with pytest.raises(GradientError):
        xpmlp.check_gradient(function)


def test_an_own_class_is_checked_too() -> None:
    class Broken(Loss):
        name = "broken"

        def __call__(self, ops: Any, z: Any, y: Any) -> Any:
            return ops.xp.sum(z * z, axis=1), z

    with pytest.raises(GradientError, match="broken"):
        xpmlp.check_gradient(Broken())


# Names and settings


@pytest.mark.parametrize("name", LOSSES)
def test_names(name: str) -> None:
    assert loss(name) == LOSSES[name]()
    assert loss(name).name == name


@pytest.mark.parametrize(
    ("found", "nearest"),
    [
        ("msee", "mse"),
        ("hubert", "huber"),
        ("crossentropy", "cross_entropy"),
        ("binary_crossentropy", "binary_cross_entropy"),
        ("sparse_categorical_crossentropy", "sparse_categorical_cross_entropy"),
    ],
)
def test_unknown_names_suggest_the_nearest(found: str, nearest: str) -> None:
    with pytest.raises(InvalidValueError, match=rf"'{found}'.*Did you mean '\w*{nearest}'"):
        loss(found)


@pytest.mark.parametrize("wrong", [3, Huber, ["mse"]])
def test_other_things_are_refused(wrong: Any) -> None:
    with pytest.raises(InvalidTypeError, match="expected a name"):
        loss(wrong)


@pytest.mark.parametrize(
    ("make", "value"),
    [
        *((Huber, v) for v in (0.0, -1.0, np.nan)),
        *((Quantile, v) for v in (0.0, 1.0, -0.5, 2.0, np.nan)),
        *((BinaryCrossEntropy, v) for v in (-0.1, 1.0, np.nan)),
        *((CategoricalCrossEntropy, v) for v in (-0.1, 1.0)),
        *((SparseCategoricalCrossEntropy, v) for v in (-0.1, 1.0)),
    ],
)
def test_bad_settings_are_refused(make: Any, value: float) -> None:
    with pytest.raises(InvalidValueError, match=make.__name__):
        make(value)
