"""Predictions as means over variants of each picture."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend

import xpmlp
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.model.rounds import EPOCH
from xpmlp.nn.random import augment_keys

SHAPE = (6, 5)
rng = np.random.default_rng(0)
X = rng.integers(0, 256, (23, 30)).astype(np.uint8)
LABELS, VALUES = rng.integers(0, 3, 23), rng.standard_normal((23, 2))


def trained(backend: Any, y: Any = LABELS, **more: Any) -> xpmlp.MLP:
    outputs = 3 if y is LABELS else 2
    mlp = xpmlp.MLP([30, 12, outputs], image_shape=SHAPE, backend=backend, seed=3, **more)
    mlp.fit(X, y, epochs=1, augment=["elastic:6", "rotate", "noise:5"])
    return mlp


def by_hand(mlp: Any, predict: Any, rounds: int) -> Any:
    """The mean over variants that are made one by one, and predicted as pictures."""
    keys = augment_keys(mlp.seed, EPOCH, rounds)[:, 0]
    plain = mlp.copy(scaling=None)
    x = X.astype(np.float32)
    ops = make_backend("numpy").ops
    pictures = [x, *(mlp.augment(ops, x, key, alike=True) for key in keys)]
    return np.mean([predict(plain, p / np.float32(255)) for p in pictures], axis=0)


@pytest.mark.parametrize("ensemble", [None, 2])
def test_probabilities_are_means(backend: Any, ensemble: int | None) -> None:
    mlp = trained("numpy", ensemble=ensemble).copy(backend=backend)
    found = mlp.predict_proba(X, augment_rounds=3)
    assert_close(found, by_hand(mlp, lambda m, x: m.predict_proba(x), 3), atol=2e-5)
    assert np.abs(found - mlp.predict_proba(X)).max() > 1e-3
    np.testing.assert_array_equal(mlp.predict(X, augment_rounds=3), found.argmax(axis=1))
    accuracy = np.mean(found.argmax(axis=1) == LABELS)
    values = mlp.evaluate(X, LABELS, augment_rounds=3, metrics=["log_loss"])
    assert_close(values["accuracy"], accuracy, rtol=1e-6)
    loss = -np.log(found[np.arange(23), LABELS]).mean()
    assert_close(values["loss"], loss, rtol=1e-4)
    assert_close(values["log_loss"], loss, rtol=1e-4)


def test_values_are_means(torch_backend: Any) -> None:
    backend = torch_backend
    mlp = trained(backend, VALUES)
    found = mlp.predict(X, augment_rounds=2)
    assert_close(found, by_hand(mlp, lambda m, x: m.predict(x), 2), atol=2e-5)


def test_a_prediction_does_not_depend_on_other_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mlp = trained("numpy")
    whole = mlp.predict_proba(X, augment_rounds=3)
    assert_close(mlp.predict_proba(X[5:7], augment_rounds=3), whole[5:7], atol=1e-6)
    assert_close(mlp.predict_proba(X, augment_rounds=3), whole)
    monkeypatch.setattr("xpmlp.model.forward.ROWS", 4)
    assert_close(mlp.copy().predict_proba(X, augment_rounds=3), whole, atol=1e-6)


def test_predictions_without_rounds_stay_as_they_are() -> None:
    mlp = trained("numpy")
    before = mlp.predict_proba(X)
    mlp.predict_proba(X, augment_rounds=2)
    np.testing.assert_array_equal(mlp.predict_proba(X), before)
    mlp.fit(X, LABELS, epochs=1, augment="shift")
    other = mlp.predict_proba(X, augment_rounds=2)
    assert_close(other, by_hand(mlp, lambda m, x: m.predict_proba(x), 2), atol=2e-5)


def test_rounds_that_cannot_be() -> None:
    mlp = trained("numpy")
    with pytest.raises(InvalidValueError, match="augment_rounds: found -1"):
        mlp.predict(X, augment_rounds=-1)
    with pytest.raises((InvalidTypeError, InvalidValueError), match=r"augment_rounds: found 1\.5"):
        mlp.predict_proba(X, augment_rounds=1.5)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="found it with each=True"):
        trained("numpy", ensemble=2).evaluate(X, LABELS, each=True, augment_rounds=1)
    mlp.fit(X, LABELS, epochs=1)
    with pytest.raises(InvalidValueError, match="last trained without augmentation"):
        mlp.predict(X, augment_rounds=1)

    class Odd(xpmlp.losses.MSE):
        link = "sigmoid_of_something"

    own = trained("numpy", VALUES, loss=Odd())
    with pytest.raises(InvalidValueError, match="the mean of predictions is not known"):
        own.predict(X, augment_rounds=1)
