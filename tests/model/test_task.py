"""Targets whose kind is told with ``MLP(targets=...)``, where a guess would be another."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import assert_close
from oracle import TORCH_LOSSES, torch

import xpmlp
from xpmlp.errors import InvalidValueError, XpmlpError
from xpmlp.model.task import KINDS, kind_of
from xpmlp.nn.losses import LOSSES

N, INPUTS = 8, 3
X = np.random.default_rng(6).standard_normal((N, INPUTS))
LABELS = np.array([2, 0, 1, 1, 0, 2, 2, 0])
ROWS = np.eye(3, dtype=int)[LABELS]
COUNTS = np.array([3, 0, 1, 4, 1, 5, 2, 6])
BITS = np.array([1, 0, 0, 1, 1, 0, 1, 0])


def model(backend: Any = "numpy", outputs: int = 3, **options: Any) -> xpmlp.MLP:
    options = {"dtype": "float64", "seed": 2} | options
    mlp = xpmlp.MLP([INPUTS, 4, outputs], "tanh", backend=backend, **options)
    rng = np.random.default_rng(1)
    mlp.load_state_dict({n: rng.standard_normal(v.shape) for n, v in mlp.state_dict().items()})
    return mlp


def outputs_of(mlp: xpmlp.MLP) -> np.ndarray:
    """What comes out of the last layer, by NumPy."""
    p = mlp.state_dict()
    z: np.ndarray = np.tanh(X @ p["dense1.W"] + p["dense1.b"]) @ p["dense2.W"] + p["dense2.b"]
    return z


def sigmoid(z: np.ndarray) -> np.ndarray:
    p: np.ndarray = 1 / (1 + np.exp(-z))
    return p


def softmax(z: np.ndarray) -> np.ndarray:
    p: np.ndarray = torch.softmax(torch.tensor(z), dim=1).numpy()
    return p


def r2(z: np.ndarray, y: np.ndarray) -> float:
    y = y.reshape(z.shape)
    return float(1 - np.sum((y - z) ** 2) / np.sum((y - y.mean(axis=0)) ** 2))


def all_sides(z: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean(np.all((z > 0) == (y.reshape(z.shape) == 1), axis=1)))


def largest(z: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean(z.argmax(axis=1) == (y if y.ndim == 1 else y.argmax(axis=1))))


Case = tuple[np.ndarray, int, str, str, str, Callable[..., float], Any, Any]

# Targets, outputs, what they are told to be; loss, metric, predictions and probabilities.
TOLD: dict[str, Case] = {
    "whole numbers are values": (
        *(COUNTS, 1, "values", "mse", "r2", r2),
        *(lambda z: z[:, 0], None),
    ),
    "0 and 1 are values": (*(BITS, 1, "values", "mse", "r2", r2), *(lambda z: z[:, 0], None)),
    "rows with one 1 are values": (*(ROWS, 3, "values", "mse", "r2", r2), *(lambda z: z, None)),
    "rows with one 1 are several labels": (
        *(ROWS, 3, "multilabel", "binary_cross_entropy", "accuracy", all_sides),
        *(lambda z: (z > 0).astype(int), sigmoid),
    ),
    "rows with one 1 are classes": (
        *(ROWS, 3, "labels", "sparse_categorical_cross_entropy", "accuracy", largest),
        *(lambda z: z.argmax(axis=1), softmax),
    ),
    "class indices are distributions": (
        *(LABELS, 3, "one_hot", "categorical_cross_entropy", "accuracy", largest),
        *(lambda z: z.argmax(axis=1), softmax),
    ),
    "floats are yes or no": (
        *(BITS.astype(float), 1, "binary", "binary_cross_entropy", "accuracy", all_sides),
        *(lambda z: (z[:, 0] > 0).astype(int), lambda z: np.hstack([1 - sigmoid(z), sigmoid(z)])),
    ),
}


def assert_predicts(mlp: xpmlp.MLP, case: Case) -> None:
    """By NumPy, from the weights of now."""
    _, _, _, _, _, _, decided, likely = case
    z = outputs_of(mlp)
    found, expected = mlp.predict(X), decided(z)
    assert found.dtype.kind == expected.dtype.kind
    assert_close(found, expected, of_max=1e-12)
    if likely is None:
        with pytest.raises(InvalidValueError, match="predicts values"):
            mlp.predict_proba(X)
    else:
        assert_close(mlp.predict_proba(X), likely(z), atol=1e-12)


@pytest.mark.filterwarnings("ignore:y. found only 0.0 and 1.0")
@pytest.mark.parametrize("name", TOLD)
def test_loss_metric_and_predictions_follow(backend: Any, name: str) -> None:
    """A step of gradient descent by autograd: nothing of it is what a guess would lead to."""
    y, outputs, kind, loss, metric, score, *_ = TOLD[name]
    assert kind_of(y, outputs, None) != kind
    mlp = model(backend, outputs, targets=kind)
    assert mlp.task.kind == mlp.targets == kind
    assert_predicts(mlp, TOLD[name])  # before there is any training

    p = {n: torch.tensor(v, requires_grad=True) for n, v in mlp.state_dict().items()}
    z = torch.tanh(torch.tensor(X) @ p["dense1.W"] + p["dense1.b"]) @ p["dense2.W"] + p["dense2.b"]
    by_class = loss == "categorical_cross_entropy" and y.ndim == 1
    wanted = y.argmax(axis=1) if loss.startswith("sparse") else np.eye(3)[y] if by_class else y
    wanted = wanted if loss.startswith("sparse") else wanted.reshape(tuple(z.shape))
    value = TORCH_LOSSES[loss](LOSSES[loss](), z, torch.tensor(wanted, dtype=torch.float64)).mean()
    value.backward()
    expected = {"loss": value.item(), metric: score(z.detach().numpy(), y)}
    assert mlp.evaluate(X, y) == pytest.approx(expected, rel=1e-12)
    history = mlp.fit(X, y, epochs=1, batch_size=None, optimizer=xpmlp.SGD(0.1))
    for key, right in expected.items():
        assert history[key] == pytest.approx([right], rel=1e-12)
    for n, v in mlp.state_dict().items():
        assert_close(v, p[n].detach().numpy() - 0.1 * p[n].grad.numpy(), of_max=1e-12)
    assert_predicts(mlp, TOLD[name])
    assert mlp.task.kind == kind


def test_a_told_loss_goes_with_told_targets(backend: Any) -> None:
    mlp = model(backend, 1, targets="values", loss="poisson_deviance")
    z = outputs_of(mlp)[:, 0]
    assert_close(mlp.predict(X), np.exp(z), rtol=1e-12)
    y = torch.tensor(COUNTS, dtype=torch.float64)
    deviance = torch.xlogy(y, y) - y * torch.tensor(z) - y + torch.tensor(np.exp(z))
    assert mlp.evaluate(X, COUNTS)["loss"] == pytest.approx(deviance.mean().item(), rel=1e-12)


# Refused

USABLE: dict[str, set[str]] = {
    "mse": set(KINDS),
    "mae": set(KINDS),
    "huber": set(KINDS),
    "quantile": set(KINDS),
    "poisson": {"values"},
    "poisson_deviance": {"values"},
    "binary_cross_entropy": {"labels", "one_hot", "binary", "multilabel"},
    "categorical_cross_entropy": {"labels", "one_hot"},
    "sparse_categorical_cross_entropy": {"labels"},
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_takes_only_its_kinds(kind: str, loss: str) -> None:
    outputs = 1 if kind == "binary" else 3
    if kind in USABLE[loss]:
        assert model(outputs=outputs, targets=kind, loss=loss).task.loss == LOSSES[loss]()
        return
    with pytest.raises(InvalidValueError, match=rf"loss '{loss}' takes .* targets; found {kind}\."):
        model(outputs=outputs, targets=kind, loss=loss)


@pytest.mark.parametrize(
    ("targets", "y", "match"),
    [
        ("labels", np.where(LABELS == 2, 3, LABELS), r"y: found 3 at y\[0\]"),
        ("labels", LABELS.astype(float), r"y: found float64 labels.*astype\(int\)"),
        ("labels", np.tri(3, dtype=int)[LABELS], "expected class indices, or rows with one 1"),
        ("one_hot", ROWS * 0.5, "row 0 sums to 0.5"),
        ("multilabel", ROWS * 2, r"y: found 2 at y\[0, 2\]"),
        ("multilabel", LABELS, r"y: found shape \(8,\)"),
        ("values", LABELS, r"y: found shape \(8,\)"),
        ("values", np.where(ROWS == 1, np.nan, 0.0), r"y: found nan at y\[0, 2\]"),
    ],
)
def test_targets_that_are_not_what_was_told(targets: str, y: Any, match: str) -> None:
    mlp = model(targets=targets)
    before, task = mlp.state_dict(), mlp.task
    for call in (lambda: mlp.fit(X, y, epochs=1), lambda: mlp.evaluate(X, y)):
        with pytest.raises(XpmlpError, match=match):
            call()
    assert mlp.task is task
    assert mlp.epochs_trained == 0
    for name, value in mlp.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_yes_or_no_of_several_outputs() -> None:
    """Probabilities have a column for each output, or there is no such network."""
    try:
        mlp = model(outputs=3, targets="binary")
    except InvalidValueError:
        return
    assert mlp.predict_proba(X).shape == (N, 3)


# Kept


def through_a_file(mlp: xpmlp.MLP, folder: Path) -> xpmlp.MLP:
    mlp.save(folder / "m.xpmlp")
    return xpmlp.load(folder / "m.xpmlp", backend=mlp.backend)


WAYS: dict[str, Callable[[xpmlp.MLP, Path], xpmlp.MLP]] = {
    "file": through_a_file,
    "pickle": lambda mlp, _: pickle.loads(pickle.dumps(mlp)),
    "deepcopy": lambda mlp, _: copy.deepcopy(mlp),
    "copy": lambda mlp, _: mlp.copy(),
    "copy to NumPy": lambda mlp, _: mlp.copy("numpy"),
    "move": lambda mlp, _: mlp.to("numpy"),
}


@pytest.mark.parametrize("trained", [False, True], ids=["untrained", "trained"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["whole numbers are values", "rows with one 1 are several labels"])
def test_what_was_told_is_kept(name: str, way: str, trained: bool, tmp_path: Path) -> None:
    y, outputs, kind, loss, *_ = TOLD[name]
    mlp = model(outputs=outputs, targets=kind)
    if trained:
        mlp.fit(X, y, epochs=1)
    made = WAYS[way](mlp, tmp_path)
    assert made.targets == made.task.kind == kind
    assert made.task.loss == LOSSES[loss]()
    assert_predicts(made, TOLD[name])
    made.fit(X, y, epochs=1)  # where it would be guessed anew
    assert made.task.kind == kind
    assert_predicts(made, TOLD[name])


@pytest.mark.filterwarnings("ignore:this model was pickled on the backend 'cupy'")  # imitated
@pytest.mark.parametrize("way", ["file", "pickle", "copy"])
def test_on_every_backend(backend: Any, way: str, tmp_path: Path) -> None:
    name = "rows with one 1 are several labels"
    made = WAYS[way](model(backend, targets="multilabel"), tmp_path)
    assert made.targets == made.task.kind == "multilabel"
    assert_predicts(made, TOLD[name])
