"""Copies of a model with other arguments: the parameters stay, the change has its effect."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp import losses
from xpmlp.errors import InvalidValueError

torch = pytest.importorskip("torch")
F = torch.nn.functional

N, INPUTS, HIDDEN, CLASSES = 10, 3, 5, 3
RNG = np.random.default_rng(14)
X, LABELS = RNG.standard_normal((N, INPUTS)), RNG.integers(0, CLASSES, N)
VALUES, WEIGHTS = RNG.standard_normal((N, CLASSES)), RNG.uniform(0.5, 2.0, N)


def fitted(backend: Any = "numpy", y: np.ndarray = LABELS, **options: Any) -> xpmlp.MLP:
    given = {"dtype": "float64", "seed": 3} | options
    mlp = xpmlp.MLP([INPUTS, HIDDEN, CLASSES], "tanh", backend=backend, **given)
    mlp.metadata = {"classes": ["a", "b", "c"]}
    mlp.fit(X, y, epochs=1, batch_size=4)
    return mlp


def after_a_step(
    before: dict[str, np.ndarray], rows: Any, f: Any = torch.tanh, l2: float = 0.0
) -> dict[str, np.ndarray]:
    """The weighted mean of ``rows(z)`` plus ½ λ₂ ΣW², one step of 0.1 down by autograd."""
    p = {name: torch.tensor(value, requires_grad=True) for name, value in before.items()}
    z = f(torch.tensor(X) @ p["dense1.W"] + p["dense1.b"]) @ p["dense2.W"] + p["dense2.b"]
    w = torch.tensor(WEIGHTS)
    value = (w * rows(z)).sum() / w.sum()
    for name in ("dense1.W", "dense2.W"):
        value = value + 0.5 * l2 * p[name].square().sum()
    value.backward()
    return {name: p[name].detach().numpy() - 0.1 * p[name].grad.numpy() for name in before}


def of_classes(z: Any) -> Any:
    return F.cross_entropy(z, torch.tensor(LABELS), reduction="none")


def smoothed(z: Any) -> Any:
    return F.cross_entropy(z, torch.tensor(LABELS), reduction="none", label_smoothing=0.2)


def of_values(z: Any) -> Any:
    return F.huber_loss(z, torch.tensor(VALUES), reduction="none", delta=0.4).sum(1)


# What the model has, its targets, what is changed, and what is trained then.
CHANGES: dict[str, tuple[dict[str, Any], np.ndarray, dict[str, Any], dict[str, Any]]] = {
    "nothing": ({"l2": 0.3}, LABELS, {}, {"rows": of_classes, "l2": 0.3}),
    "dropout taken out": (
        *({"dropout": 0.5, "input_dropout": 0.3}, LABELS),
        *({"dropout": 0.0, "input_dropout": 0.0}, {"rows": of_classes}),
    ),
    "l2": ({"l2": 0.3}, LABELS, {"l2": 0.05}, {"rows": of_classes, "l2": 0.05}),
    "no l2": ({"l2": 0.3}, LABELS, {"l2": 0.0}, {"rows": of_classes}),
    "l2 on the sum": (
        *({"l2": 0.3}, LABELS, {"penalty_on": "sum"}),
        {"rows": of_classes, "l2": 0.3 / WEIGHTS.sum()},
    ),
    "loss": ({}, VALUES, {"loss": losses.Huber(0.4)}, {"rows": of_values}),
    "smoothing": (
        *({}, LABELS, {"loss": losses.SparseCategoricalCrossEntropy(0.2)}),
        {"rows": smoothed},
    ),
    "loss of told targets": (
        *({"targets": "values"}, VALUES, {"loss": losses.Huber(0.4)}),
        {"rows": of_values},
    ),
    "activation": ({}, LABELS, {"activation": "softplus"}, {"rows": of_classes, "f": F.softplus}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_parameters_stay_and_the_change_has_its_effect(backend: Any, change: str) -> None:
    options, y, changes, expected = CHANGES[change]
    original = fitted("numpy", y, **options)
    before, predicted = original.state_dict(), original.predict(X)
    made = original.copy(backend, **changes)
    assert made.backend is backend
    assert (made.seed, made.dtype, made.sizes) == (3, "float64", original.sizes)
    assert made.epochs_trained == original.epochs_trained == 1
    assert made.metadata == {"classes": ["a", "b", "c"]}
    for name, value in made.state_dict().items():
        np.testing.assert_array_equal(value, before[name])

    step = {"epochs": 1, "batch_size": None, "optimizer": xpmlp.SGD(0.1)}
    made.fit(X, y, sample_weight=WEIGHTS, **step)
    for name, value in after_a_step(before, **expected).items():
        assert_close(made.state_dict()[name], value, of_max=1e-12)

    for name, value in original.state_dict().items():  # which knows nothing of it
        np.testing.assert_array_equal(value, before[name])
    np.testing.assert_array_equal(original.predict(X), predicted)
    assert original.epochs_trained == 1


def test_dropout_taken_out_is_gone() -> None:
    original = fitted(dropout=0.5)
    made = original.copy(dropout=0.0)
    assert (original.network.dropouts, made.network.dropouts) == (1, 0)
    assert original.copy().network.dropouts == 1
    assert made.copy().network.dropouts == 0  # the change is the copy's own
    again = made.copy(dropout=0.5)
    for mlp in (original, again):
        mlp.fit(X, LABELS, epochs=1)
    for name, value in original.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], value)


def test_a_change_survives_a_file(tmp_path: Any) -> None:
    made = fitted(dropout=0.5).copy(dropout=0.0, l2=0.05)
    made.save(tmp_path / "m.xpmlp")
    before = made.state_dict()
    loaded = xpmlp.load(tmp_path / "m.xpmlp", backend="numpy")
    loaded.fit(X, LABELS, epochs=1, batch_size=None, optimizer=xpmlp.SGD(0.1),
               sample_weight=WEIGHTS)  # fmt: skip
    for name, value in after_a_step(before, of_classes, l2=0.05).items():
        assert_close(loaded.state_dict()[name], value, of_max=1e-12)


def test_another_loss_is_the_task_of_told_targets() -> None:
    mlp = fitted(y=VALUES, targets="values")
    made = mlp.copy(loss="mae")
    assert (made.task.kind, made.task.loss.name, mlp.task.loss.name) == ("values", "mae", "mse")
    z = np.tanh(X @ mlp.parameters["dense1.W"] + mlp.parameters["dense1.b"])
    z = z @ mlp.parameters["dense2.W"] + mlp.parameters["dense2.b"]
    expected = np.abs(z - VALUES).sum(axis=1).mean()
    assert made.evaluate(X, VALUES)["loss"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.filterwarnings("ignore:X. found inputs far from scaled")
@pytest.mark.parametrize("scaling", ["auto", "standard", None])
@pytest.mark.parametrize("before", ["auto", "standard", None])
def test_another_scaling_of_an_untrained_model(before: str | None, scaling: str | None) -> None:
    """Nothing has been learnt from data yet, so the copy can have any."""
    pixels = np.random.default_rng(0).integers(0, 256, (N, INPUTS)).astype(np.uint8)
    mlp = xpmlp.MLP([INPUTS, CLASSES], backend="numpy", dtype="float64", seed=0, scaling=before)
    x: np.ndarray = {
        "auto": pixels / 255,
        "standard": (pixels - pixels.mean(axis=0)) / pixels.std(axis=0),
        None: pixels * 1.0,
    }[scaling]
    p = {name: torch.tensor(v, requires_grad=True) for name, v in mlp.parameters.items()}
    z = torch.tensor(x) @ p["dense1.W"] + p["dense1.b"]
    F.cross_entropy(z, torch.tensor(LABELS)).backward()
    made = mlp.copy(scaling=scaling)
    made.fit(pixels, LABELS, epochs=1, batch_size=None, optimizer=xpmlp.SGD(0.1))
    for name, value in made.parameters.items():
        expected = p[name].detach().numpy() - 0.1 * p[name].grad.numpy()
        assert_close(value, expected, of_max=1e-12)


# Refused


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"dropuot": 0.0}, TypeError, "dropuot"),
        ({"epochs": 3}, TypeError, "epochs"),
        ({"sizes": [INPUTS, HIDDEN + 1, CLASSES]}, InvalidValueError, r"dense1\.W: found shape"),
        ({"sizes": [INPUTS, HIDDEN, 2]}, InvalidValueError, r"dense2\.W: found shape \(5, 3\)"),
        ({"sizes": [INPUTS, HIDDEN, HIDDEN, CLASSES]}, InvalidValueError, r"unknown: dense3\.W"),
        ({"bias": False}, InvalidValueError, r"missing or unknown: dense1\.b, dense2\.b"),
        ({"normalization": "layer"}, InvalidValueError, r"missing or unknown: norm1\.b"),
        ({"l2": -1.0}, InvalidValueError, "l2: found -1.0"),
        ({"loss": "msee"}, InvalidValueError, "Did you mean 'mse'"),
        ({"targets": "values"}, InvalidValueError, "takes labels targets; found values"),
        ({"dropout": 1.0}, InvalidValueError, "dropout: found 1.0"),
    ],
)
def test_a_change_that_cannot_be(changes: dict[str, Any], error: type, match: str) -> None:
    original = fitted(loss="sparse_categorical_cross_entropy")
    before, arguments, task = original.state_dict(), dict(original.arguments), original.task
    with pytest.raises(error, match=match):
        original.copy(**changes)
    for name, value in original.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert original.arguments == arguments
    assert original.task is task
    again = original.copy()
    for mlp in (original, again):
        mlp.fit(X, LABELS, epochs=1)
    for name, value in again.state_dict().items():
        np.testing.assert_array_equal(value, original.state_dict()[name])
