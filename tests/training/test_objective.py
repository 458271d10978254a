"""The loss of all the data as a function of the flat parameters, for optimizers of others.

Compared with PyTorch's autograd, which knows nothing of blocks, shares or the flat layout.
"""

from types import MethodType
from typing import Any

import numpy as np
import pytest
from conftest import assert_close
from oracle import ROWS as N
from oracle import SIZES, TORCH_LOSSES, needs_torch, network, oracle_output, torch
from xpmlp_backends.base import EagerBackend

import xpmlp
from xpmlp.errors import InvalidValueError, XpmlpError
from xpmlp.model.scaling import Scaling
from xpmlp.training import batches, objective
from xpmlp.training.objective import Objective

RNG = np.random.default_rng(12)
X = RNG.standard_normal((N, SIZES[0]))
WEIGHTS = np.array([0.5, 2.0, 0.0, 1.25, 3.0, 0.75, 0.0])
LABELS = np.array([0, 2, 1, 1, 0, 2, 2])
VALUES = RNG.standard_normal((N, SIZES[-1]))
BITS = np.array([[0, 1, 1], [1, 1, 1], [0, 0, 0], [1, 0, 1], [1, 1, 0], [0, 1, 0], [1, 0, 0]])

KINDS = {
    "classes": (LABELS, "sparse_categorical_cross_entropy"),
    "values": (VALUES, "mse"),
    "multilabel": (BITS, "binary_cross_entropy"),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "layer norm": {"normalization": "layer", "residual": True},
    "l1 on the mean": {"l1": 0.3},
    "l2 on the mean": {"l2": 0.7},
    "l1 on the sum": {"l1": 0.3, "penalty_on": "sum"},
    "l2 on the sum": {"l2": 0.7, "penalty_on": "sum"},
    "all on the mean": {"l1": 0.02, "l2": 0.05, "normalization": "layer"},
    "all on the sum": {"l1": 0.2, "l2": 0.5, "penalty_on": "sum", "normalization": "layer"},
}
BAR = 1e-12


@pytest.fixture
def uncompiled(backend: Any) -> None:
    """Let JAX run each step as it comes, where a test has many networks: compiling is slow."""
    if backend.name == "jax":
        backend.compile = MethodType(EagerBackend.compile, backend)


def model(backend: Any = "numpy", dtype: str = "float64", **options: Any) -> xpmlp.MLP:
    """One in which every parameter is a random number."""
    return network(backend, dtype, "tanh", None, **options)


def elsewhere(mlp: xpmlp.MLP) -> np.ndarray:
    """Flat parameters that are not the model's, with gaps of 0 as the layout has them."""
    rng = np.random.default_rng(9)
    return mlp.network.layout.flatten(
        {name: v + 0.3 * rng.standard_normal(v.shape) for name, v in mlp.parameters.items()}
    )


def by_autograd(
    mlp: xpmlp.MLP,
    flat: np.ndarray,
    y: np.ndarray,
    loss: str,
    w: Any = None,
    x: np.ndarray = X,
    *,
    l1: float = 0.0,
    l2: float = 0.0,
    penalty_on: str = "mean",
    **_: Any,
) -> tuple[float, np.ndarray]:
    """(Σ wᵢ rowsᵢ + c (λ₁ Σ|W| + ½ λ₂ ΣW²))/Σ wᵢ with c = Σ wᵢ on the mean, 1 on the sum."""
    at = torch.tensor(flat, dtype=torch.float64, requires_grad=True)
    p = {n: at[s.start : s.stop].reshape(s.shape) for n, s in mlp.network.layout.slots.items()}
    z = oracle_output(mlp, p, torch.tensor(x, dtype=torch.float64))
    rows = TORCH_LOSSES[loss](mlp.task.loss, z, torch.tensor(y, dtype=torch.float64))
    weight = torch.tensor(np.ones(len(x)) if w is None else w, dtype=torch.float64)
    total, times = (weight * rows).sum(), weight.sum() if penalty_on == "mean" else 1.0
    for W in (p[f"dense{i}.W"] for i in range(1, len(SIZES))):
        total = total + times * (l1 * W.abs().sum() + 0.5 * l2 * W.square().sum())
    value = total / weight.sum()
    value.backward()
    return value.item(), at.grad.numpy()


def assert_equal(found: Any, expected: Any, bar: float = BAR) -> None:
    """Both the loss, and the gradient in shares of its largest number."""
    (loss, gradient), (right, slope) = found, expected
    assert type(loss) is float
    assert gradient.dtype == np.float64
    assert np.abs(slope).max() > 1e-3
    assert_close(np.array(loss), np.array(right), rtol=bar)
    assert_close(gradient, slope, of_max=bar)


def rows_of_calls(backend: Any) -> list[int]:
    """How many rows each call of a compiled step takes, from now on."""
    seen: list[int] = []
    compile_step = backend.compile

    def watched(step: Any) -> Any:
        run = compile_step(step)

        def watching(state: Any, data: Any, plan: Any, start: int, stop: int) -> Any:
            seen.extend([plan.rows.shape[1]] * (stop - start))
            return run(state, data, plan, start, stop)

        return watching

    backend.compile = watched
    return seen


# What it returns


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weights"])
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
@needs_torch
def test_loss_and_gradient_are_those_of_autograd(
    backend: Any, kind: str, setting: str, weighted: bool
) -> None:
    (y, loss), options = KINDS[kind], SETTINGS[setting]
    mlp, w = model(backend, **options), WEIGHTS if weighted else None
    found = Objective(mlp, X, y, w)
    assert found.rows == N
    for flat in (found.start(), elsewhere(mlp)):
        assert_equal(found(flat), by_autograd(mlp, flat, y, loss, w, **options))


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_as_a_training_is(backend: Any, kind: str) -> None:
    y, loss = KINDS[kind]
    mlp = model(backend, l2=0.1)
    found = Objective(mlp, backend.asarray(X), backend.asarray(y), backend.asarray(WEIGHTS))
    for flat in (elsewhere(mlp), found.start()):
        assert_equal(found(flat), by_autograd(mlp, flat, y, loss, WEIGHTS, l2=0.1))


def test_finite_differences(backend: Any) -> None:
    options = {"l1": 0.02, "l2": 0.3, "penalty_on": "sum", "normalization": "layer"}
    mlp = model(backend, **options)
    found, flat, h = Objective(mlp, X, LABELS, WEIGHTS), elsewhere(mlp), 1e-5
    _, gradient = found(flat)
    for name, slot in mlp.network.layout.slots.items():
        i = slot.start + (slot.stop - slot.start) // 2
        step = h * (np.arange(flat.size) == i)
        difference = (found(flat + step)[0] - found(flat - step)[0]) / (2 * h)
        assert gradient[i] == pytest.approx(difference, rel=1e-6, abs=1e-9), name


def test_the_gaps_of_the_layout_have_no_gradient(backend: Any) -> None:
    mlp = model(backend, l1=0.1, l2=0.3, normalization="layer")
    gap = np.ones(mlp.network.layout.size, bool)
    for _, start, stop in mlp.network.layout.slots.values():
        gap[start:stop] = False
    assert 0 < gap.sum() < gap.size
    found = Objective(mlp, X, LABELS)
    assert (found.start()[gap] == 0).all()
    for _ in range(2):
        _, gradient = found(elsewhere(mlp))
        assert gradient.shape == gap.shape
        assert (gradient[gap] == 0).all()
        assert (gradient[~gap] != 0).mean() > 0.9


def test_a_function_of_its_argument_alone(backend: Any) -> None:
    """Whatever was asked before; and what it has returned is the caller's."""
    mlp = model(backend, l2=0.3)
    found, flat = Objective(mlp, X, LABELS, WEIGHTS), elsewhere(mlp)
    given = flat.copy()
    loss, gradient = found(flat)
    kept = gradient.copy()
    assert found(2 * flat)[0] != loss
    again = found(flat)
    assert again[0] == loss
    np.testing.assert_array_equal(again[1], kept)
    np.testing.assert_array_equal(gradient, kept)
    np.testing.assert_array_equal(flat, given)


def test_float32(backend: Any) -> None:
    """Computed in float32, returned in float64."""
    mlp = model(backend, "float32", l2=0.3)
    found = Objective(mlp, X, LABELS, WEIGHTS)
    flat = found.start()
    assert flat.dtype == np.float64
    assert_equal(found(flat), by_autograd(mlp, flat, LABELS, KINDS["classes"][1], WEIGHTS, l2=0.3),
                 bar=1e-5)  # fmt: skip


@pytest.mark.usefixtures("uncompiled")
def test_inputs_and_targets_are_scaled_as_in_fit(backend: Any) -> None:
    far, many = 100 + 7 * X, 5 * VALUES - 3
    mlp = model(backend, scaling="standard")
    found = Objective(mlp, far, many)
    x, y = ((a - a.mean(axis=0)) / a.std(axis=0) for a in (far, many))
    assert_equal(
        found(found.start()), by_autograd(mlp, found.start(), y, "mse", x=x), bar=100 * BAR
    )
    pixels = np.random.default_rng(4).integers(0, 256, X.shape).astype(np.uint8)
    mlp = model(backend)
    found = Objective(mlp, pixels, LABELS)
    expected = by_autograd(mlp, found.start(), LABELS, KINDS["classes"][1], x=pixels / 255)
    assert_equal(found(found.start()), expected)


# Rows by rows


@pytest.mark.parametrize("penalty_on", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weights"])
def test_several_blocks_are_as_one(
    backend: Any, monkeypatch: pytest.MonkeyPatch, weighted: bool, penalty_on: str
) -> None:
    """With weights, those of the last block are all 0."""
    options = {"l1": 0.1, "l2": 0.3, "penalty_on": penalty_on}
    mlp, w = model(backend, **options), WEIGHTS if weighted else None
    flat, calls = elsewhere(mlp), rows_of_calls(backend)
    whole = Objective(mlp, X, LABELS, w)(flat)
    assert calls == [N]
    monkeypatch.setattr(objective, "ROWS", 3)
    calls.clear()
    parts = Objective(mlp, X, LABELS, w)
    for _ in range(2):
        assert_equal(parts(flat), whole)
    assert calls == [3, 3, 1] * 2
    assert_equal(whole, by_autograd(mlp, flat, LABELS, KINDS["classes"][1], w, **options))


def test_blocks_without_a_remainder(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objective, "ROWS", 3)
    mlp, calls = model(backend), rows_of_calls(backend)
    flat = elsewhere(mlp)
    found = Objective(mlp, X[:6], VALUES[:6])(flat)
    assert calls == [3, 3]
    assert_equal(found, by_autograd(mlp, flat, VALUES[:6], "mse", x=X[:6]))


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("block", [2, 3, 100])
def test_sparse_inputs_are_as_dense_ones(
    backend: Any, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """In blocks, of which two at most are copied at once."""
    sparse = pytest.importorskip("scipy.sparse")
    monkeypatch.setattr(objective, "ROWS", block)
    monkeypatch.setattr(batches, "CHUNK_STEPS", 2)
    thin = np.where(X > 0.3, X, 0.0)
    thin[4] = 0.0
    mlp = model(backend, l2=0.3)
    found, flat = Objective(mlp, sparse.csr_array(thin), LABELS, WEIGHTS), elsewhere(mlp)
    expected = by_autograd(mlp, flat, LABELS, KINDS["classes"][1], WEIGHTS, thin, l2=0.3)
    for _ in range(2):
        assert_equal(found(flat), expected)
    assert_equal(Objective(mlp, thin, LABELS, WEIGHTS)(flat), expected)


# The model


def test_there_and_back(backend: Any) -> None:
    mlp = model(backend, normalization="layer")
    before, layout = mlp.state_dict(), mlp.network.layout
    found = Objective(mlp, X, LABELS)
    start = found.start()
    assert start.dtype == np.float64
    assert start.shape == (layout.size,)
    for name, value in layout.views(np, start).items():
        np.testing.assert_array_equal(value, before[name])
    there = elsewhere(mlp)
    found(there)
    np.testing.assert_array_equal(found.start(), start)  # a call is no step
    found.adopt(there)
    np.testing.assert_array_equal(found.start(), there)
    for name, value in mlp.state_dict().items():
        np.testing.assert_array_equal(value, layout.views(np, there)[name])
    p = {name: torch.tensor(v) for name, v in layout.views(np, there).items()}
    z = oracle_output(mlp, p, torch.tensor(X)).numpy()
    np.testing.assert_array_equal(mlp.predict(X), z.argmax(axis=1))
    found.adopt(start)
    for name, value in mlp.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert mlp.epochs_trained == 0


def test_what_comes_out_and_goes_in_is_copied(backend: Any) -> None:
    """An optimizer may go on writing to its arrays."""
    mlp = model(backend)
    before, found = mlp.state_dict(), Objective(mlp, X, LABELS)
    found.start()[...] = 7.0
    for name, value in mlp.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    there = elsewhere(mlp)
    kept = there.copy()
    found.adopt(there)
    there[...] = 7.0
    np.testing.assert_array_equal(found.start(), kept)


# Refused


@pytest.mark.parametrize(
    "options",
    [{"dropout": 0.5}, {"dropout": [0.0, 0.1]}, {"input_dropout": 0.2}, {"normalization": "batch"}],
    ids=str,
)
def test_a_loss_that_is_another_at_each_call(options: dict[str, Any]) -> None:
    mlp = model(**options)
    before = mlp.state_dict()
    with pytest.raises(InvalidValueError, match=r"dropout or batch norm.*sgd or adam"):
        Objective(mlp, X, LABELS)
    assert mlp.known_task is None
    for name, value in mlp.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_bound_on_the_weights_is_no_part_of_the_loss() -> None:
    mlp = model(max_norm=1.5)
    with pytest.raises(InvalidValueError, match=r"found max_norm=1\.5.*sgd or adam"):
        Objective(mlp, X, LABELS)
    assert mlp.known_task is None


def with_value(x: np.ndarray, value: float) -> np.ndarray:
    x = x.copy()
    x[2, 1] = value
    return x


@pytest.mark.parametrize(
    ("x", "y", "w", "match"),
    [
        (X[:, :2], LABELS, None, r"X: found shape \(7, 2\)"),
        (with_value(X, np.nan), LABELS, None, r"X: found nan at X\[2, 1\]"),
        (X.astype(str), LABELS, None, "X: found dtype"),
        (X[:0], LABELS[:0], None, "X: found no rows"),
        (X, LABELS[:-1], None, r"y: found shape \(6,\)"),
        (X, LABELS + 1, None, r"y: found 3 at y\[1\]"),
        (X, LABELS + 0.5, None, "y: found float64"),
        (X, with_value(VALUES, np.inf), None, r"y: found inf at y\[2, 1\]"),
        (X, LABELS, WEIGHTS[:-1], r"sample_weight: found shape \(6,\)"),
        (X, LABELS, -WEIGHTS, "sample_weight: .* none negative"),
    ],
    ids=["columns", "NaN", "text", "none", "length", "label", "floats", "value", "w", "negative"],
)
def test_bad_data_are_refused_as_in_fit(backend: Any, x: Any, y: Any, w: Any, match: str) -> None:
    mlp = model(backend, scaling="standard")
    before = mlp.state_dict()
    with pytest.raises(XpmlpError, match=match) as in_fit:
        mlp.fit(x, y, sample_weight=w, epochs=1)
    with pytest.raises(XpmlpError, match=match) as found:
        Objective(mlp, x, y, w)
    assert type(found.value) is type(in_fit.value)
    assert str(found.value) == str(in_fit.value)
    assert mlp.known_task is None
    assert mlp.scaling == Scaling.make("standard")
    for name, value in mlp.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    if x.dtype.kind == "f":
        with pytest.raises(type(in_fit.value), match=match):
            Objective(mlp, backend.asarray(x), y, w)


def test_scipy_minimizes_it_by_its_public_name() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    mlp = model(l2=0.1)
    found = xpmlp.Objective(mlp, X, LABELS)
    start = found.start()
    end = optimize.minimize(found, start, jac=True, method="L-BFGS-B")
    found.adopt(end.x)
    assert end.fun < found(start)[0]
    assert np.abs(found(end.x)[1]).max() < 1e-3
    assert np.array_equal(mlp.weights.flat, end.x)
