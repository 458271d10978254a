"""Losses of distributions: values and gradients against PyTorch, and what they predict."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close, extremes, make_backend
from oracle import F, torch

import xpmlp
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.losses import DISTRIBUTIONS, Gaussian, Quantiles, loss

pytestmark = pytest.mark.sampled(2)
BAR = {"float64": 1e-14, "float32": 3e-6}
SEVERAL = [Gaussian(), Quantiles(), Quantiles([0.3]), Quantiles([0.01, 0.1, 0.5, 0.6, 0.99])]
NAMES = [repr(of) for of in SEVERAL]


def by_torch(of: Any, z: Any, y: Any) -> Any:
    """Each row's loss, written with PyTorch's own losses and sums."""
    d = y.shape[1]
    if isinstance(of, Gaussian):
        nll = F.gaussian_nll_loss(
            z[:, :d], y, torch.exp(z[:, d:]), full=True, eps=1e-30, reduction="none"
        )
        return nll.sum(1)
    parts = z.reshape(len(z), len(of.q), d)
    steps = torch.cat([parts[:, :1], F.softplus(parts[:, 1:])], dim=1)
    e = y[:, None, :] - torch.cumsum(steps, dim=1)
    q = torch.tensor(of.q, dtype=torch.float64)[None, :, None]
    return torch.maximum(q * e, (q - 1) * e).mean(1).sum(1)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("of", SEVERAL, ids=NAMES)
def test_rows_and_gradients(backend: Any, of: Any, dtype: str, columns: int) -> None:
    rng = np.random.default_rng(1)
    z = rng.standard_normal((30, columns * of.outputs_per_target)).astype(dtype)
    y = (2 * rng.standard_normal((30, columns))).astype(dtype)
    rows, dz = of(backend.ops, backend.asarray(z), backend.asarray(y))
    rows, dz = backend.to_numpy(rows), backend.to_numpy(dz)
    assert rows.shape == (30,)
    assert dz.shape == z.shape
    assert rows.dtype == dz.dtype == dtype
    tensor = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    expected = by_torch(of, tensor, torch.tensor(y, dtype=torch.float64))
    expected.sum().backward()
    assert_close(rows, expected.detach(), of_max=BAR[dtype])
    assert_close(dz, tensor.grad, of_max=BAR[dtype])


@pytest.mark.parametrize("of", SEVERAL, ids=NAMES)
def test_finite_differences(of: Any) -> None:
    check = xpmlp.check_gradient(of)
    assert check.error <= 1e-6
    assert check.points >= 20


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("of", SEVERAL, ids=NAMES)
def test_the_gradient_of_a_whole_network(of: Any, columns: int) -> None:
    rng = np.random.default_rng(2)
    X, y = rng.standard_normal((20, 3)), 50 + 7 * rng.standard_normal((20, columns))
    sizes = [3, 6, columns * of.outputs_per_target]
    mlp = xpmlp.MLP(sizes, "tanh", loss=of, scaling="standard", l2=0.1, backend="numpy", seed=0)
    assert xpmlp.check_gradient(mlp, X, y).error <= 1e-6


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("of", SEVERAL, ids=NAMES)
def test_outputs_of_any_size(backend: Any, of: Any, dtype: str) -> None:
    """Finite as long as squares are: below the root of the largest number, and its deviation."""
    reach = float(np.finfo(dtype).max) ** 0.5 / 1e10
    some = np.array([v for v in extremes(dtype) if abs(v) < reach], dtype)
    z = np.stack([np.resize(np.roll(some, k), 40) for k in range(of.outputs_per_target)], axis=1)
    z = np.ascontiguousarray(z)
    given = backend.asarray(z)
    rows, dz = of(backend.ops, given, backend.asarray(np.zeros((40, 1), dtype)))
    assert np.isfinite(backend.to_numpy(rows)).all()
    assert np.isfinite(backend.to_numpy(dz)).all()
    if isinstance(of, Quantiles):
        found = backend.to_numpy(of.quantiles(backend.ops, given))
        assert (np.diff(found, axis=1) >= 0).all()


def test_a_variance_that_is_much_too_small_grows(backend: Any) -> None:
    """Beyond the limit of the exponentials, the gradient still leads back."""
    z = backend.asarray(np.array([[0.0, -200.0], [0.0, 200.0]]))
    _, dz = Gaussian()(backend.ops, z, backend.asarray(np.array([[1.0], [1.0]])))
    down, up = backend.to_numpy(dz)[:, 1]
    assert down < 0 < up


def test_gaussian_by_hand(backend: Any) -> None:
    """μ = 2, σ² = 4, y = 5: ½ (ln 4 + 9/4 + ln 2π), its slopes −3/4 and ½ (1 − 9/4)."""
    z, y = np.array([[2.0, np.log(4.0)]]), np.array([[5.0]])
    rows, dz = Gaussian()(backend.ops, backend.asarray(z), backend.asarray(y))
    expected = 0.5 * (np.log(4) + 2.25 + np.log(2 * np.pi))
    assert_close(backend.to_numpy(rows), [expected], rtol=1e-14)
    assert_close(backend.to_numpy(dz), [[-0.75, -0.625]], rtol=1e-14)
    mean, variance = Gaussian().moments(backend.ops, backend.asarray(z))
    assert_close(backend.to_numpy(mean), [[2.0]])
    assert_close(backend.to_numpy(variance), [[4.0]], rtol=1e-14)


def test_quantiles_ascend_and_the_middle_one_is_the_point(backend: Any) -> None:
    rng = np.random.default_rng(3)
    z = 3 * rng.standard_normal((50, 8))
    of = Quantiles([0.1, 0.4, 0.7, 0.9])
    found = backend.to_numpy(of.quantiles(backend.ops, backend.asarray(z)))
    assert found.shape == (50, 4, 2)
    assert (np.diff(found, axis=1) > 0).all()
    assert_close(found[:, 0, :], z[:, :2])
    assert_close(found[:, 1, :], z[:, :2] + np.logaddexp(0, z[:, 2:4]), rtol=1e-13)
    assert_close(backend.to_numpy(of.points(backend.ops, backend.asarray(z))), found[:, 1, :])


def test_the_lower_one_of_two_equally_near_the_median() -> None:
    ops, z = xpmlp.backend("numpy").ops, np.zeros((1, 2))
    assert Quantiles([0.25, 0.75]).points(ops, z) == 0


@pytest.mark.parametrize("of", SEVERAL, ids=NAMES)
def test_the_same_training_on_every_backend(backend: Any, of: Any) -> None:
    rng = np.random.default_rng(4)
    X, y = rng.standard_normal((50, 3)), rng.standard_normal((50, 2))
    weight = rng.uniform(0.5, 2.0, 50)

    def trained(backend: Any) -> tuple[Any, Any]:
        sizes = [3, 8, 2 * of.outputs_per_target]
        mlp = xpmlp.MLP(sizes, loss=of, backend=backend, dtype="float64", seed=0)
        return mlp, mlp.fit(X, y, epochs=3, batch_size=16, sample_weight=weight)

    (mlp, history), (right, expected) = trained(backend), trained(make_backend("numpy-plain"))
    for name, value in right.state_dict().items():
        assert_close(mlp.state_dict()[name], value, of_max=1e-10)
    assert_close(history["loss"], expected["loss"], rtol=1e-10)
    assert_close(history["r2"], expected["r2"], atol=1e-10)
    assert_close(mlp.evaluate(X, y)["r2"], right.evaluate(X, y)["r2"], atol=1e-10)


def test_r2_is_that_of_the_points() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((60, 2)), rng.standard_normal(60)
    for of in SEVERAL:
        sizes = [2, 4, of.outputs_per_target]
        mlp = xpmlp.MLP(sizes, loss=of, scaling="standard", backend="numpy", dtype="float64")
        mlp.fit(X, y, epochs=2)
        expected = metrics.r2_score(y, mlp.predict(X))
        assert mlp.evaluate(X, y)["r2"] == pytest.approx(expected, rel=1e-12)


def test_names() -> None:
    assert {name: loss(name) for name in DISTRIBUTIONS} == {
        "gaussian": Gaussian(),
        "quantiles": Quantiles((0.05, 0.5, 0.95)),
    }
    with pytest.raises(InvalidValueError, match="Did you mean 'gaussian'"):
        loss("gaussian_nll")


@pytest.mark.parametrize("q", [[], [0.0, 0.5], [0.5, 1.0], [0.5, 0.5], [0.9, 0.1], [float("nan")]])
def test_quantiles_that_are_none(q: Any) -> None:
    with pytest.raises(InvalidValueError, match="between 0 and 1, ascending"):
        Quantiles(q)


@pytest.mark.parametrize("q", [0.5, "median", [None]])
def test_quantiles_that_are_no_numbers(q: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"expected numbers such as \[0.05"):
        Quantiles(q)


@pytest.mark.parametrize("of", SEVERAL, ids=NAMES)
def test_a_step_is_explained_and_a_training_diagnosed(of: Any) -> None:
    rng = np.random.default_rng(7)
    X, y = rng.standard_normal((40, 2)), rng.standard_normal(40)
    mlp = xpmlp.MLP([2, 3, of.outputs_per_target], "tanh", loss=of, backend="numpy", seed=0)
    diagnosis = xpmlp.Diagnosis()
    mlp.fit(X, y, epochs=3, callbacks=[diagnosis])
    assert diagnosis.report()
    text = str(xpmlp.explain(mlp, X[:1], y[:1]))
    sign = {"gaussian": "exp(−s)", "quantiles": "softplus("}[of.name]
    assert sign in text
    assert f"loss: {of.name}" in mlp.summary()


# Sizes and targets


@pytest.mark.parametrize(("of", "each"), [("gaussian", 2), ("quantiles", 3)])
def test_outputs_that_are_no_multiple(of: str, each: int) -> None:
    match = rf"sizes: found 1 output for the loss '{of}', which has {each} for each target"
    with pytest.raises(InvalidValueError, match=match):
        xpmlp.MLP([3, 8, 1], loss=of)


@pytest.mark.parametrize("kind", ["labels", "one_hot", "multilabel"])
def test_distributions_of_values_alone(kind: str) -> None:
    with pytest.raises(InvalidValueError, match=f"takes values targets; found {kind}"):
        xpmlp.MLP([3, 8, 4], loss="gaussian", targets=kind)


def test_an_output_activation_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="takes the outputs as they are"):
        xpmlp.MLP([3, 8, 4], loss="gaussian", output="exp", targets="values")


@pytest.mark.parametrize("told", [None, "values"])
def test_whole_numbers_are_values(told: Any) -> None:
    """Ages or counts are no classes where a distribution of values is learned."""
    X, y = np.eye(4), np.array([0, 1, 1, 0])
    mlp = xpmlp.MLP([4, 2], loss="gaussian", targets=told, backend="numpy", seed=0)
    mlp.fit(X, y, epochs=1)
    assert mlp.task.kind == "values"
    assert mlp.task.columns == 1
    assert mlp.predict(X).shape == (4,)


@pytest.mark.parametrize("y", [np.zeros((4, 2)), np.zeros((4, 4)), np.zeros((4, 1, 1))])
def test_targets_of_another_width(y: Any) -> None:
    mlp = xpmlp.MLP([4, 2], loss="gaussian", backend="numpy")
    with pytest.raises(InvalidValueError, match="targets of 1 column"):
        mlp.fit(np.eye(4), y)


def test_a_custom_loss_of_a_distribution() -> None:
    """Another shape of the noise: Laplace's, as a subclass, checked as all custom losses are."""

    class Laplace(xpmlp.losses.Loss):
        name = "laplace"
        outputs_per_target = 2

        def __call__(self, ops: Any, z: Any, y: Any) -> Any:
            xp, d = ops.xp, y.shape[1]
            e, s = z[:, :d] - y, z[:, d:]
            size = xp.abs(e) * xp.exp(-s)
            dz = xp.concat((xp.sign(e) * xp.exp(-s), 1.0 - size), axis=1)
            return xp.sum(s + size, axis=1), dz

        def points(self, ops: Any, z: Any) -> Any:
            return z[:, : z.shape[1] // 2]

    rng = np.random.default_rng(6)
    X = rng.standard_normal((80, 2))
    y = 30 + 5 * X[:, 0] + rng.laplace(size=80)
    mlp = xpmlp.MLP([2, 2], loss=Laplace(), scaling="standard", backend="numpy", seed=0)
    mlp.fit(X, y, epochs=200, batch_size=20, optimizer=xpmlp.Adam(0.02))
    assert mlp.evaluate(X, y)["r2"] > 0.9
    assert abs(mlp.predict(X) - y).mean() < 2
