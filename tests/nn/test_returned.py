"""What custom activations, layers and optimizers return is checked before anything is trained."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp.errors import GradientError, InvalidTypeError, InvalidValueError
from xpmlp.model.custom import register_activation
from xpmlp.nn.activations import ACTIVATIONS, Activation
from xpmlp.nn.layers import Layer
from xpmlp.nn.normalization import batch_norm
from xpmlp.optimizers import SGD, Momentum

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3))
Y = X @ np.array([1.0, -2.0, 0.5])
ROOT = np.sqrt(2.0 / np.pi)
FIX = r"float64; the inputs are float32.*float\(np\.sqrt"


def model(backend: Any = "numpy", activation: Any = "tanh", **options: Any) -> xpmlp.MLP:
    return xpmlp.MLP([3, 5, 4, 1], activation, backend=backend, seed=0, **options)


# Activations


@pytest.mark.parametrize(
    ("f", "derivative", "what"),
    [
        (lambda xp, z: ROOT * z, lambda xp, z: float(ROOT) * xp.ones_like(z), "function"),
        (lambda xp, z: float(ROOT) * z, lambda xp, z: ROOT * xp.ones_like(z), "derivative"),
    ],
)
def test_float64_of_an_activation_is_named(
    backend: Any, f: Any, derivative: Any, what: str
) -> None:
    with pytest.raises(GradientError, match=f"'<lambda>', {what}: found {FIX}"):
        model(backend, (f, derivative))
    with pytest.raises(GradientError, match=f"{what}: found {FIX}"):
        model(backend, output=xpmlp.activations.from_functions(f, derivative), loss="mse")
    with pytest.raises(GradientError, match=f"{what}: found {FIX}"):
        xpmlp.check_gradient((f, derivative))
    model(activation=(f, derivative), dtype="float64").fit(X, Y, epochs=1)


def test_the_fix_in_the_message_helps(backend: Any) -> None:
    root = float(ROOT)
    mlp = model(backend, (lambda xp, z: root * z, lambda xp, z: root * xp.ones_like(z)))
    assert np.isfinite(mlp.fit(X, Y, epochs=2)["loss"]).all()


@mock.patch.dict(ACTIVATIONS)
def test_a_registered_activation_keeps_the_dtype_too() -> None:
    with pytest.raises(GradientError, match=FIX):
        register_activation(
            Activation("r", lambda ops, z: ROOT * z, lambda ops, z, h: ROOT * ops.xp.ones_like(z))
        )
    with pytest.raises(GradientError, match="'s', vjp: found " + FIX):
        register_activation(
            Activation("s", lambda ops, z: z, vjp=lambda ops, z, h, dh: np.float64(1.0) * dh)
        )
    with pytest.raises(GradientError, match="neither a derivative nor a vjp"):
        register_activation(Activation("t", lambda ops, z: z))


def test_float32_in_a_float64_model_is_named() -> None:
    def narrow(xp: Any, z: Any) -> Any:
        return xp.astype(z, xp.float32)

    pair = (narrow, lambda xp, z: xp.ones_like(z))
    with pytest.raises(GradientError, match=r"found float32; the inputs are float64.*z\.dtype"):
        model(activation=pair, dtype="float64")


@pytest.mark.parametrize("beyond", [8.0, 50.0])
def test_a_wrong_derivative_far_away_is_found(beyond: float) -> None:
    def turned(xp: Any, z: Any) -> Any:
        return xp.where(xp.abs(z) > beyond, -2.0 * z, 2.0 * z)

    with pytest.raises(GradientError, match="derivative"):
        model(activation=(lambda xp, z: z * z, turned))


def test_an_activation_that_overflows_far_away_is_accepted() -> None:
    def exponential(xp: Any, z: Any) -> Any:
        return xp.exp(z * z)

    model(activation=(exponential, lambda xp, z: 2.0 * z * xp.exp(z * z)))


# Layers


def scale(change: Callable[..., Any] | None = None, part: str = "") -> Any:
    """``make(name, units)`` of y = a x, where ``change`` replaces one thing that it returns."""

    def result(found: str, value: Any) -> Any:
        return change(value) if change is not None and found == part else value

    def make(name: str, units: int) -> Layer:
        a, mean = f"{name}.a", f"{name}.mean"

        def forward(ops: Any, p: Any, x: Any, run: Any) -> Any:
            def backward(dy: Any, need_dx: bool = True) -> Any:
                grads = {a: result("gradient", ops.xp.sum(dy * x, axis=0))}
                dx = result("dx", dy * p[a]) if need_dx else None
                return result("backward", (dx, result("grads", grads)))

            if run.training:
                new = 0.9 * run.statistics[mean] + 0.1 * ops.xp.mean(x, axis=0)
                run.new_statistics.update(result("statistics", {mean: result("statistic", new)}))
            return result("forward", (result("y", x * p[a]), backward))

        return Layer(name, forward, {a: (units,)}, {mean: (units,)}, "y = a x", {a: 1.0})

    return make


def test_a_layer_that_returns_what_it_must_trains(backend: Any) -> None:
    mlp = model(backend, normalization=scale())
    assert np.isfinite(mlp.fit(X, Y, epochs=2)["loss"]).all()
    assert_close(mlp.state_dict()["norm1.mean"].shape, (5,))
    model(backend, normalization=lambda name, units: batch_norm(name, units, 0.2), dropout=0.1)


WRONG_LAYERS: list[tuple[str, Callable[..., Any], str]] = [
    ("y", lambda y: np.float64(1.0) * y, "output: found " + FIX),
    ("dx", lambda dx: np.float64(1.0) * dx, "backward, dx: found " + FIX),
    ("gradient", lambda g: np.float64(1.0) * g, r"gradient of norm1\.a: found " + FIX),
    ("statistic", lambda s: np.float64(1.0) * s, r"new_statistics\['norm1\.mean'\]: .*" + FIX),
    ("y", lambda y: y[:, :2], r"output: found shape \(6, 2\); expected .*\(6, 5\)"),
    ("dx", lambda dx: dx[0], r"backward, dx: found shape \(5,\); expected .*\(6, 5\)"),
    ("dx", lambda dx: None, r"backward, dx: found a NoneType; expected .*\(6, 5\)"),
    ("gradient", lambda g: g[:1], r"gradient of norm1\.a: found shape \(1,\); expected .*\(5,\)"),
    ("statistic", lambda s: s[None, :], r"norm1\.mean.*found shape \(1, 5\); expected .*\(5,\)"),
    (
        "grads",
        lambda g: {},
        r"there is no gradient of norm1\.a, only of nothing; expected norm1\.a",
    ),
    ("grads", lambda g: {"a": g["norm1.a"]}, r"no gradient of norm1\.a, only of a; expected"),
    ("grads", lambda g: g | {"norm1.b": g["norm1.a"]}, r"gradient of norm1\.b, which the layer's"),
    ("grads", lambda g: list(g.values()), "grads: found a list; expected a dict"),
    (
        "statistics",
        lambda s: {"mean": s["norm1.mean"]},
        r"no statistic of norm1\.mean, only of mean",
    ),
    ("backward", lambda pair: pair[1], r"backward: returned a dict; expected a pair \(dx, grads\)"),
    (
        "backward",
        lambda pair: None,
        r"backward: returned a NoneType; expected a pair \(dx, grads\)",
    ),
    (
        "forward",
        lambda pair: pair[0],
        r"forward: returned a ndarray; expected a pair \(y, backward\)",
    ),
    ("forward", lambda pair: (pair[0], None), r"the second result is a NoneType; .*backward\(dy"),
]


@pytest.mark.parametrize(("part", "change", "match"), WRONG_LAYERS)
def test_what_a_layer_must_return(backend: Any, part: str, change: Any, match: str) -> None:
    with pytest.raises(GradientError, match=f"layer 'norm1'.*{match}"):
        model(backend, normalization=scale(change, part))


@pytest.mark.parametrize("name", ["gain", "norm1gain", "norm1.W", "norm2.gain"])
def test_names_that_two_layers_would_share_are_refused(name: str) -> None:
    def make(of: str, units: int) -> Layer:
        return Layer(of, lambda *given: None, {name: (units,)}, {}, "")  # type: ignore[arg-type]

    with pytest.raises(InvalidValueError, match=f"named '{name}'; expected 'norm1.gain'"):
        model(normalization=make)


def test_a_function_that_makes_no_layer_is_refused() -> None:
    with pytest.raises(InvalidTypeError, match=r"'norm1', 5\) returned None; expected a .*Layer"):
        model(normalization=lambda name, units: None)


@pytest.mark.parametrize("sizes", [[3, 5, 4, 1], [60, 200, 4, 1]])
def test_a_wrong_derivative_of_a_layer_is_named_by_its_place(sizes: list[int]) -> None:
    """Also where nearly all parameters are those of a large matrix."""

    def half_wrong(gradient: Any) -> Any:
        gradient = gradient.copy()
        gradient[3] *= 2.0
        return gradient

    mlp = xpmlp.MLP(sizes, "tanh", normalization=scale(half_wrong, "gradient"), seed=0)
    given = RNG.standard_normal((9, sizes[0])), RNG.standard_normal((9, 1))
    with pytest.raises(GradientError, match=r"derivative at 1 \(norm[12]\.a\[3\]\) is"):
        xpmlp.check_gradient(mlp, *given)


def test_a_place_in_a_matrix_has_its_row_and_column() -> None:
    mlp = model(normalization=scale(lambda dx: 2.0 * dx, "dx"))
    with pytest.raises(GradientError, match=r"\(dense\d\.(W\[\d, \d\]|b\[\d\])\)"):
        xpmlp.check_gradient(mlp, X, Y)


# Optimizers


def optimizer(update: Any, slots: int = 0, base: type = SGD, **methods: Any) -> Any:
    return type("Mine", (base,), {"update": update, "slots": slots, **methods})(0.01)


WRONG_UPDATES: list[tuple[Any, int, str]] = [
    (lambda s, ops, p, g, m, c: p - c[0] * g, 0, r"update: returned a ndarray; expected a pair"),
    (lambda s, ops, p, g, m, c: (p - c[0] * g, ()), 1, "found 0 arrays .* tuple of 1.* slots = 1"),
    (lambda s, ops, p, g, m, c: (p - c[0] * g, (g, g)), 1, "found 2 arrays .* tuple of 1"),
    (lambda s, ops, p, g, m, c: (p - c[0] * g, g), 1, "found a ndarray of optimizer state"),
    (lambda s, ops, p, g, m, c: (p[:3], ()), 0, r"parameters: found shape \(3,\); expected"),
    (lambda s, ops, p, g, m, c: (p, (g[:3],)), 1, r"array 0 .*shape \(3,\); expected"),
    (lambda s, ops, p, g, m, c: (p - ROOT * g, ()), 0, "parameters: found " + FIX),
    (lambda s, ops, p, g, m, c: (p, (ROOT * g,)), 1, "array 0 of the optimizer state: .*" + FIX),
]


@pytest.mark.parametrize(("update", "slots", "match"), WRONG_UPDATES)
def test_what_an_optimizer_must_return(backend: Any, update: Any, slots: int, match: str) -> None:
    mlp = model(backend)
    before = mlp.state_dict()
    with pytest.raises(InvalidValueError, match=f"Mine.*{match}"):
        mlp.fit(X, Y, epochs=1, optimizer=optimizer(update, slots))
    assert all(np.array_equal(value, before[name]) for name, value in mlp.state_dict().items())
    assert mlp.epochs_trained == 0


@pytest.mark.parametrize(
    ("methods", "match"),
    [
        ({"clip": lambda self, ops, g: ROOT * g}, "clip: found " + FIX),
        ({"coefficients": lambda self, t, rate: rate}, "coefficients: returned a float; .*tuple"),
    ],
)
def test_the_other_methods_of_an_optimizer(methods: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidValueError, match=f"Mine.{match}"):
        model().fit(X, Y, epochs=1, optimizer=optimizer(SGD.update, **methods))


@dataclass(frozen=True)
class Scaled(Momentum):
    """Momentum with a factor of its own for each parameter."""

    factors: Any = None

    def update(self, ops: Any, p: Any, g: Any, moments: Any, c: Any) -> Any:
        factors = ops.xp.asarray(self.factors, dtype=p.dtype, device=ops.device)
        return super().update(ops, p, factors * g, moments, c)


def test_an_optimizer_with_an_array_trains_and_travels(backend: Any, tmp_path: Path) -> None:
    mlp = model(backend)
    factors = np.linspace(0.5, 2.0, mlp.network.layout.size)
    fit: dict[str, Any] = {"batch_size": 20, "optimizer": Scaled(0.01, factors=factors)}
    mlp.fit(X, Y, epochs=2, **fit, checkpoints=tmp_path)
    mlp.fit(X, Y, epochs=1, **fit, continued=True)
    assert mlp.copy().epochs_trained == 3
    copies = [copy.deepcopy(mlp)]
    if backend.name != "cupy":  # an emulated one is not found again
        copies.append(pickle.loads(pickle.dumps(mlp)))
    for same in copies:
        same.fit(X, Y, epochs=1, **fit, continued=True)


def test_another_array_is_another_optimizer(tmp_path: Path) -> None:
    factors = np.ones(model().network.layout.size)
    fit: dict[str, Any] = {"epochs": 2, "checkpoints": tmp_path}
    model().fit(X, Y, **fit, optimizer=Scaled(0.01, factors=factors))
    model().fit(X, Y, **fit, optimizer=Scaled(0.01, factors=factors.copy()), resume=True)
    with pytest.raises(InvalidValueError, match="optimizer: factors"):
        model().fit(X, Y, **fit, optimizer=Scaled(0.01, factors=2.0 * factors), resume=True)
