"""Gradients of whole networks against PyTorch's autograd, and against finite differences.

``oracle.py`` writes each network once more with ``torch.nn.functional`` in float64 and lets
autograd differentiate it; no formula of xpmlp's is used there, only its weights and its
dropout masks.
"""

from dataclasses import replace
from itertools import cycle, islice, product
from math import log
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend
from oracle import (
    KEYS,
    ROWS,
    SIZES,
    TORCH_ACTIVATIONS,
    TORCH_LOSSES,
    needs_torch,
    network,
    oracle_output,
    targets,
    torch,
)

import xpmlp
from xpmlp.nn.activations import ACTIVATIONS
from xpmlp.nn.layers import Pass
from xpmlp.nn.losses import LOSSES, BinaryCrossEntropy, CategoricalCrossEntropy, Huber, Quantile
from xpmlp.nn.losses import SparseCategoricalCrossEntropy as Sparse
from xpmlp.nn.optimizers import Optimizer
from xpmlp.training.prepare import settle

BAR = {"float64": 1e-12, "float32": 1e-5}

STRUCTURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "no bias": {"bias": False},
    "layer norm": {"normalization": "layer"},
    "batch norm": {"normalization": "batch"},
    "residual": {"residual": True},
    "dropout": {"dropout": [0.3, 0.5], "input_dropout": 0.2},
    "residual, layer norm, dropout": {
        "residual": True,
        "normalization": "layer",
        "dropout": 0.25,
    },
    "residual, batch norm, no bias": {
        "residual": True,
        "normalization": "batch",
        "bias": False,
    },
}
REGULARISERS: dict[str, dict[str, float]] = {
    "none": {},
    "l1": {"l1": 0.01},
    "l2": {"l2": 0.1},
    "elastic": {"l1": 0.02, "l2": 0.05},
}


def test_the_oracle_knows_every_activation_and_loss() -> None:
    assert set(TORCH_ACTIVATIONS) == set(ACTIVATIONS)
    assert set(TORCH_LOSSES) == set(LOSSES)


def problem(loss: Any, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((ROWS, SIZES[0])).astype(dtype)
    y = targets(loss, rng)
    return X, y.astype(dtype) if y.dtype.kind == "f" else y


def found_gradient(
    mlp: xpmlp.MLP, X: Any, y: Any, weight: Any = None, training: bool = True
) -> tuple[float, dict[str, np.ndarray]]:
    """Loss and gradient as a training step computes them."""
    backend, layout = mlp.backend, mlp.network.layout
    x, target = settle(mlp, X, y)
    flat, statistics = mlp.weights.flat, mlp.weights.statistics
    run = Pass(
        training=training,
        keys=backend.asarray(KEYS),
        statistics=mlp.network.statistics.views(backend.xp, statistics),
        grad=layout.views(backend.xp, backend.asarray(np.zeros(layout.size), mlp.dtype)),
    )
    if backend.name.startswith("numpy") and type(backend).__name__ == "ReadonlyNumpy":
        run.grad = {}  # nothing may be written there
    value, grads, _ = mlp.make_step(Optimizer()).gradient(
        layout.views(backend.xp, flat),
        x,
        target,
        None if weight is None else backend.asarray(weight, mlp.dtype),
        run,
    )
    host = {name: backend.to_numpy(g).astype(np.float64) for name, g in grads.items()}
    return float(backend.to_numpy(value)), host


def expected_gradient(
    mlp: xpmlp.MLP, X: Any, y: Any, weight: Any = None, training: bool = True
) -> tuple[float, dict[str, np.ndarray]]:
    """Loss and gradient by autograd, in float64, at the same weights."""
    p = {
        name: torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for name, value in mlp.state_dict().items()
    }
    z = oracle_output(mlp, p, torch.tensor(X, dtype=torch.float64), training)
    loss = mlp.task.loss
    rows = TORCH_LOSSES[loss.name](loss, z, torch.tensor(y, dtype=torch.float64))
    w = torch.ones(len(X), dtype=torch.float64) if weight is None else torch.tensor(weight)
    value = (w * rows).sum() / w.sum()
    for name in mlp.network.weights:
        value = value + mlp.penalty.l1 * p[name].abs().sum()
        value = value + mlp.penalty.l2 * 0.5 * p[name].square().sum()
    if value.requires_grad:
        value.backward()
    grads = {
        name: np.zeros(p[name].shape) if p[name].grad is None else p[name].grad.numpy()
        for name in mlp.network.layout.slots
    }
    return float(value.detach()), grads


def relative_error(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """max|Δ| / max|g| over all parameters."""
    assert set(found) == set(expected)
    assert all(found[name].shape == expected[name].shape for name in expected)
    largest = max(np.max(np.abs(g)) for g in expected.values())
    assert largest > 0
    worst = [np.max(np.abs(found[name] - expected[name])) for name in expected]
    assert np.all(np.isfinite(worst))
    return float(max(worst) / largest)


def compare(mlp: xpmlp.MLP, weight: Any = None, training: bool = True) -> None:
    X, y = problem(mlp.loss, mlp.dtype)
    settle(mlp, X, y)  # the oracle asks for the task
    expected_value, expected = expected_gradient(mlp, X, y, weight, training)
    value, grads = found_gradient(mlp, X, y, weight, training)
    assert value == pytest.approx(expected_value, rel=BAR[mlp.dtype], abs=BAR[mlp.dtype])
    error = relative_error(grads, expected)
    what = f"{[a.name for a in mlp.network.architecture.activations]}, {mlp.loss}, {mlp.dtype}"
    assert error <= BAR[mlp.dtype], f"{what}: {error:.3g}"


SMOOTHED = [BinaryCrossEntropy(0.1), CategoricalCrossEntropy(0.2), Sparse(0.1)]
ALL_LOSSES = [cls() for cls in LOSSES.values()]


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_with_every_loss(backend: Any, activation: str, dtype: str) -> None:
    for loss in ALL_LOSSES:
        compare(network(backend, dtype, activation, loss))


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_every_structure_with_every_activation_loss_and_regularizer(
    backend: Any, structure: str, dtype: str
) -> None:
    """On every backend each structure meets each activation, loss and regularizer once."""
    losses, regularizers = cycle(ALL_LOSSES), cycle(REGULARISERS.values())
    offset = list(STRUCTURES).index(structure)  # other pairs for other structures
    for activation, loss, regularizer in zip(
        ACTIVATIONS, islice(losses, offset, None), islice(regularizers, offset, None), strict=False
    ):
        compare(
            network(backend, dtype, activation, loss, **STRUCTURES[structure], **regularizer),
        )


@pytest.mark.parametrize("regularizer", REGULARISERS)
@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.sampled(5)
def test_the_whole_product_on_numpy(structure: str, regularizer: str) -> None:
    backend = make_backend("numpy")
    for activation, loss in product(ACTIVATIONS, ALL_LOSSES):
        options = STRUCTURES[structure] | REGULARISERS[regularizer]
        compare(network(backend, "float64", activation, loss, **options))


@pytest.mark.parametrize("dtype", BAR)
def test_settings_of_losses_and_label_smoothing(backend: Any, dtype: str) -> None:
    for loss in [*SMOOTHED, Huber(0.3), Quantile(0.1), Quantile(0.8)]:
        compare(network(backend, dtype, "tanh", loss))


@pytest.mark.parametrize("dtype", BAR)
def test_sample_weights_in_every_loss(backend: Any, dtype: str) -> None:
    weight = np.array([0.5, 2.0, 0.0, 1.0, 3.0, 0.25, 1.0])
    for loss in [*ALL_LOSSES, *SMOOTHED]:
        compare(network(backend, dtype, "swish", loss, l2=0.1), weight)


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "quantile"])
def test_output_activations(backend: Any, loss: str, dtype: str) -> None:
    for output in ("sigmoid", "tanh", "softmax", "softplus"):
        compare(network(backend, dtype, "tanh", LOSSES[loss](), output=output))


@pytest.mark.parametrize("dtype", BAR)
def test_outside_training_the_running_statistics_are_constants(backend: Any, dtype: str) -> None:
    options = {"normalization": "batch", "dropout": 0.5}
    compare(network(backend, dtype, "gelu", LOSSES["mse"](), **options), training=False)


@pytest.mark.parametrize("activations", [["relu", "tanh"], ["softmax", "gelu"]])
def test_another_activation_in_each_layer(backend: Any, activations: list[str]) -> None:
    compare(network(backend, "float64", activations, Sparse()))


@pytest.mark.parametrize("dtype", BAR)
def test_custom_activation_and_custom_loss(backend: Any, dtype: str) -> None:
    def cube(xp: Any, z: Any) -> Any:
        return z * z * z

    def cube_derivative(xp: Any, z: Any) -> Any:
        return 3.0 * z * z

    def log_cosh(xp: Any, z: Any, y: Any) -> Any:
        e = xp.abs(z - y)
        return xp.sum(e + xp.log1p(xp.exp(-2.0 * e)) - log(2.0), axis=1), xp.tanh(z - y)

    mlp = network(backend, dtype, (cube, cube_derivative), log_cosh)
    X, y = problem(LOSSES["mse"](), dtype)
    value, grads = found_gradient(mlp, X, y)
    p = {name: torch.tensor(v, dtype=torch.float64) for name, v in mlp.state_dict().items()}
    for tensor in p.values():
        tensor.requires_grad_()
    h = torch.tensor(X, dtype=torch.float64)
    for i in (1, 2, 3):
        h = h @ p[f"dense{i}.W"] + p[f"dense{i}.b"]
        h = h**3 if i < 3 else h
    expected = torch.log(torch.cosh(h - torch.tensor(y))).sum(1).mean()
    expected.backward()
    assert value == pytest.approx(float(expected.detach()), rel=BAR[dtype])
    assert relative_error(grads, {k: v.grad.numpy() for k, v in p.items()}) <= BAR[dtype]


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("structure", STRUCTURES)
@needs_torch
def test_gradient_of_the_input(backend: Any, structure: str, dtype: str) -> None:
    """A network is a layer like any other: asked for dx, it gives dx."""
    mlp = network(backend, dtype, "tanh", LOSSES["mse"](), **STRUCTURES[structure])
    X, y = problem(mlp.loss, dtype)
    x, _ = settle(mlp, X, y)
    flat, statistics = mlp.weights.flat, mlp.weights.statistics
    run = Pass(
        training=True,
        keys=backend.asarray(KEYS),
        statistics=mlp.network.statistics.views(backend.xp, statistics),
    )
    parameters = mlp.network.layout.views(backend.xp, flat)
    z, backward = mlp.network.body.forward(backend.ops, parameters, x, run)
    dx, grads = backward(z, True)  # the gradient of ½ Σz²

    p = {
        name: torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for name, value in mlp.state_dict().items()
    }
    tensor = torch.tensor(X, dtype=torch.float64, requires_grad=True)
    oracle_output(mlp, p, tensor).square().sum().mul(0.5).backward()
    assert_close(backend.to_numpy(dx), tensor.grad, of_max=BAR[dtype])
    assert set(grads) == set(mlp.network.layout.slots)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.sampled(5)
def test_finite_differences_of_whole_networks(structure: str) -> None:
    losses = cycle([*ALL_LOSSES, *SMOOTHED])
    for activation, loss, regularizer in zip(
        ACTIVATIONS, losses, cycle(REGULARISERS.values()), strict=False
    ):
        options = STRUCTURES[structure] | regularizer
        mlp = network(make_backend("numpy"), "float64", activation, loss, **options)
        check = xpmlp.check_gradient(mlp, *problem(loss, "float64"), points=60)
        assert check.error <= 1e-6
        assert check.points >= 5 * check.kinks


@pytest.mark.parametrize(
    "options",
    [
        {"sizes": [5, 6, 4, 3]},
        {"sizes": [5, 6, 4, 3], "normalization": "batch", "dropout": 0.2, "input_dropout": 0.2},
        {"sizes": [5, 5, 4, 3], "residual": True, "normalization": "layer"},
        {"sizes": [5, 3]},
    ],
    ids=["plain", "norms and dropout", "residual first layer", "one layer"],
)
def test_the_first_layers_input_gradient_is_never_computed(
    backend: Any, options: dict[str, Any]
) -> None:
    calls = []
    plain, joined = backend.ops.dense_grad, backend.ops.dense_activation_grad

    def spy(x: Any, W: Any, dz: Any, need_dx: bool, *rest: Any) -> Any:
        dx, dW, db = plain(x, W, dz, need_dx, *rest)
        calls.append((tuple(W.shape), need_dx, dx is not None))
        return dx, dW, db

    def spy_joined(*given: Any) -> Any:
        before = len(calls)
        dx, dW, db = joined(*given)
        if len(calls) == before:  # not composed of the plain one
            calls.append((tuple(given[2].shape), given[7], dx is not None))
        return dx, dW, db

    backend.ops = replace(backend.ops, dense_grad=spy, dense_activation_grad=spy_joined)
    mlp = xpmlp.MLP(**options, backend=backend, dtype="float32", seed=0)
    X, y = problem(Sparse(), "float32")
    mlp.fit(X, y, epochs=1, batch_size=ROWS)
    shapes = list(zip(mlp.sizes[:-1], mlp.sizes[1:], strict=True))
    expected = [(shape, i > 0, i > 0) for i, shape in enumerate(shapes)][::-1]
    times = len(calls) // len(expected)  # a backend may look at a step more than once
    assert calls == expected * times
    assert times >= 1
