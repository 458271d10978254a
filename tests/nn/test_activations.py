"""Activations and their derivatives against PyTorch, at kinks, and where numbers end."""

from typing import Any
from unittest import mock

import numpy as np
import pytest
from conftest import assert_close, extremes, make_backend
from oracle import TORCH_ACTIVATIONS

import xpmlp
from xpmlp import activations
from xpmlp.errors import GradientError, InvalidTypeError, InvalidValueError
from xpmlp.model.custom import check_derivative, register_activation
from xpmlp.nn import gradcheck
from xpmlp.nn.activations import (
    ACTIVATIONS,
    LEAK,
    SELU_ALPHA,
    SELU_SCALE,
    Activation,
    activation,
)

torch = pytest.importorskip("torch")

BAR = {"float64": 2e-15, "float32": 1e-6}


def both(backend: Any, act: Activation, z: np.ndarray, dh: Any = None) -> tuple[Any, Any]:
    """Value and backward on a backend; the upstream gradient is 1 unless given."""
    dh = np.ones_like(z) if dh is None else dh
    z_device, dh_device = backend.asarray(z), backend.asarray(dh)
    h = act.function(backend.ops, z_device)
    dz = act.backward(backend.ops, z_device, h, dh_device)
    found = backend.to_numpy(h), backend.to_numpy(dz)
    assert all(a.dtype == z.dtype and a.shape == z.shape for a in found)
    return found


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_derivatives(backend: Any, name: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    z = np.concatenate([np.linspace(-15, 15, 901), rng.standard_normal(99)])
    z = z.reshape(200, 5).astype(dtype)
    dh = rng.standard_normal(z.shape).astype(dtype)
    h, dz = both(backend, ACTIVATIONS[name], z, dh)
    tensor = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    expected = TORCH_ACTIVATIONS[name](tensor)
    if expected.requires_grad:
        expected.backward(torch.tensor(dh, dtype=torch.float64))
    gradient = np.zeros(z.shape) if tensor.grad is None else tensor.grad.numpy()
    # A power's relative error grows with its exponent, hence 15.
    assert_close(h, expected.detach().numpy(), rtol=15 * BAR[dtype], atol=8 * BAR[dtype])
    smooth = np.abs(z) > 1e-6  # conventions at kinks are below
    assert_close(dz * smooth, gradient * smooth, rtol=15 * BAR[dtype], atol=40 * BAR[dtype])


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "exp"])
def test_extreme_inputs_give_finite_results(backend: Any, name: str, dtype: str) -> None:
    z = extremes(dtype).reshape(-1, 1) * np.array([1, 0, -1], dtype=dtype)
    grows = np.dtype(dtype).type(1.06 if name == "selu" else 1.0)
    h, dz = both(backend, ACTIVATIONS[name], z / grows)
    assert np.all(np.isfinite(h))
    assert np.all(np.isfinite(dz))
    assert np.all(np.abs(h) <= np.abs(z) + 2.0)


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize(
    "name", ["relu", "leaky_relu", "elu", "gelu", "gelu_tanh", "softplus", "swish", "mish"]
)
def test_the_relu_family_far_out(backend: Any, name: str, dtype: str) -> None:
    """Far to the right h is z with slope 1, far to the left flat (leaky: its slope)."""
    z = np.array([[745.0, 1e4, float(np.finfo(dtype).max)]], dtype=dtype)
    h, dz = both(backend, ACTIVATIONS[name], z)
    assert_close(h, z, rtol=BAR[dtype])
    assert_close(dz, np.ones_like(z), rtol=BAR[dtype])
    h, dz = both(backend, ACTIVATIONS[name], -z)
    slope = LEAK if name == "leaky_relu" else 0.0
    floor = -1.0 if name == "elu" else 0.0
    tiny = float(np.finfo(dtype).tiny)
    assert_close(h, floor - slope * z, rtol=BAR[dtype], atol=tiny)
    assert_close(dz, slope + np.zeros_like(z), rtol=BAR[dtype], atol=tiny)


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize(
    ("name", "value", "slope"),
    [
        ("relu", 0.0, 0.0),
        ("leaky_relu", 0.0, LEAK),
        ("elu", 0.0, 1.0),
        ("selu", 0.0, SELU_SCALE * SELU_ALPHA),
        ("sign", 0.0, 0.0),
        ("binary_step", 0.0, 0.0),
        ("identity", 0.0, 1.0),
        ("sigmoid", 0.5, 0.25),
        ("tanh", 0.0, 1.0),
        ("gelu", 0.0, 0.5),
        ("gelu_tanh", 0.0, 0.5),
        ("softplus", np.log(2.0), 0.5),
        ("swish", 0.0, 0.5),
        ("mish", 0.0, np.tanh(np.log(2.0))),
        ("exp", 1.0, 1.0),
    ],
)
def test_at_zero(backend: Any, name: str, value: float, slope: float, zero: float) -> None:
    h, dz = both(backend, ACTIVATIONS[name], np.array([[zero]]))
    assert_close(h, [[value]], rtol=1e-15)
    assert_close(dz, [[slope]], rtol=2e-15)


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "binary_step"])
def test_nan_goes_through(backend: Any, name: str) -> None:
    """Or divergence would go unseen."""
    h, _ = both(backend, ACTIVATIONS[name], np.array([[np.nan, 1.0]]))
    assert np.isnan(h[0, 0])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_finite_differences(name: str) -> None:
    check = xpmlp.check_gradient(name)
    assert check.error <= 1e-6
    assert check.points >= 50


def test_softmax_rows_sum_to_one_and_its_gradient_to_zero(backend: Any) -> None:
    rng = np.random.default_rng(1)
    h, dz = both(
        backend, ACTIVATIONS["softmax"], rng.standard_normal((6, 4)), rng.standard_normal((6, 4))
    )
    assert_close(h.sum(axis=1), np.ones(6), atol=1e-15)
    assert_close(dz.sum(axis=1), np.zeros(6), atol=1e-15)


# A user's own


def squared(xp: Any, z: Any) -> Any:
    return z * z


def twice(xp: Any, z: Any) -> Any:
    return 2.0 * z


def test_an_own_pair_trains(backend: Any) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    y = (X[:, 0] ** 2 > X[:, 1] ** 2).astype(int)
    mlp = xpmlp.MLP([3, 8, 2], (squared, twice), backend=backend, dtype="float64", seed=0)
    history = mlp.fit(X, y, epochs=30, batch_size=20, optimizer=xpmlp.Adam(0.05))
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert mlp.network.architecture.activations[0].name == "squared"
    assert "squared(z)" in mlp.summary()


def test_a_wrong_derivative_is_found_at_once() -> None:
    def thrice(xp: Any, z: Any) -> Any:
        return 3.0 * z

    for spec in ((squared, thrice), [(squared, thrice), "relu"]):
        with pytest.raises(GradientError, match=r"'squared'.*derivative.*finite difference"):
            xpmlp.MLP([2, 3, 3, 1], spec, backend="numpy")
    with pytest.raises(ArithmeticError):
        xpmlp.MLP([2, 3, 1], output=activations.from_functions(squared, thrice), backend="numpy")


@pytest.mark.parametrize(
    ("f", "derivative"),
    [
        (squared, lambda xp, z: z[0, 0]),  # not element by element
        (squared, lambda xp, z: None),
        (squared, lambda xp, z: z * np.nan),
        (lambda xp, z: xp.sum(z * z), twice),
    ],
    ids=["scalar derivative", "no derivative", "NaN", "scalar function"],
)
def test_other_wrong_pairs_are_gradient_errors(f: Any, derivative: Any) -> None:
    with pytest.raises(GradientError):
        check_derivative(activation((f, derivative)))


def test_a_wrong_vector_jacobian_product_is_found() -> None:
    rows = ACTIVATIONS["softmax"]
    elementwise = Activation("mine", rows.function, derivative=lambda ops, z, h: h * (1.0 - h))
    with pytest.raises(GradientError, match="'mine'"):
        check_derivative(elementwise)
    right = Activation("mine", rows.function, vjp=rows.vjp)
    check_derivative(right)
    assert activation(right) is right


def test_a_pair_is_checked_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = gradcheck.check_activation_at

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return original(*arguments, **options)

    monkeypatch.setattr(gradcheck, "check_activation_at", counted)

    def quartic(xp: Any, z: Any) -> Any:
        return z**4 / 100.0

    def derivative(xp: Any, z: Any) -> Any:
        return z**3 / 25.0

    for _ in range(3):
        xpmlp.MLP([2, 3, 3, 1], (quartic, derivative), backend="numpy")
    assert len(calls) == 1


@mock.patch.dict(ACTIVATIONS)
def test_registered_activations_have_a_name() -> None:
    mine = Activation(
        "soft_square", lambda ops, z: z * z / 2.0, derivative=lambda ops, z, h: z * 1.0
    )
    assert register_activation(mine) is mine
    assert activation("soft_square") is mine
    register_activation(mine)  # again does no harm
    with pytest.raises(InvalidValueError, match=r"'soft_square' is taken"):
        register_activation(
            Activation("soft_square", lambda ops, z: z, lambda ops, z, h: z * 0 + 1)
        )
    with pytest.raises(InvalidValueError, match=r"'relu' is taken"):
        register_activation(Activation("relu", lambda ops, z: z, lambda ops, z, h: z * 0 + 1))
    with pytest.raises(GradientError):
        register_activation(Activation("wrong", lambda ops, z: z, lambda ops, z, h: z))
    assert "wrong" not in ACTIVATIONS


@pytest.mark.parametrize(
    ("found", "nearest"),
    [
        ("rellu", "relu"),
        ("ReLU", "relu"),
        ("sigmod", "sigmoid"),
        ("GELU", "gelu"),
        ("than", "tanh"),
    ],
)
def test_unknown_names_suggest_the_nearest(found: str, nearest: str) -> None:
    with pytest.raises(InvalidValueError, match=rf"'{found}'.*Did you mean '{nearest}'"):
        activation(found)


@pytest.mark.parametrize("wrong", [None, 3, squared, (squared,), (squared, 1), ["relu"]])
def test_other_things_are_refused(wrong: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"expected a name"):
        activation(wrong)


def test_a_list_has_one_for_each_hidden_layer() -> None:
    mlp = xpmlp.MLP([2, 3, 4, 1], ["tanh", (squared, twice)], backend=make_backend("numpy"))
    assert [a.name for a in mlp.network.architecture.activations] == ["tanh", "squared"]
    for wrong in (["tanh"], ["tanh", "relu", "relu"], []):
        with pytest.raises(InvalidValueError, match="2 hidden layers"):
            xpmlp.MLP([2, 3, 4, 1], wrong, backend="numpy")


@pytest.mark.parametrize("dtype", BAR)
def test_mish_makes_no_subnormal_numbers(dtype: str) -> None:
    """Products of which take ten times as long; a network with large values has many."""
    pytest.importorskip("numba", reason="numba is not installed: pip install 'xpmlp[fast]'")
    far = 200.0 if dtype == "float32" else 1000.0
    z = np.linspace(-far, far, 40_001, dtype=dtype)[:, None]
    ops, mish = make_backend("numpy").ops, ACTIVATIONS["mish"]
    h = ops.activation(ops, z, mish)
    dz = ops.activation_grad(ops, z, h, np.ones_like(z), mish)
    for found in (h, dz):
        assert not np.any((found != 0) & (np.abs(found) < np.finfo(dtype).tiny))
    x = np.clip(z.astype(np.float64), -700, 700)
    t = np.tanh(np.log1p(np.exp(x)))
    bar = 8 * float(np.finfo(dtype).eps)
    assert_close(h, np.where(z > 700, z, x * t), rtol=bar, atol=bar)
    assert_close(dz, t + x / (1 + np.exp(-x)) * (1 - t * t), rtol=bar, atol=bar)
