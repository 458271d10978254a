"""Weights of classes, against scikit-learn's rule and against rows that come several times."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.model.class_weight import class_weights

Y = np.array([0, 1, 1, 2, 2, 2, 2, 0, 1, 2])
MANY = np.array([[0, 1], [1, 1], [1, 0], [0, 0], [1, 1]])


@pytest.mark.parametrize(
    ("rule", "y"),
    [
        ("balanced", Y),
        ("balanced", np.array(["b", "a", "b", "b"])),
        ({0: 2.0}, Y),
        ({0: 2.0, 1: 0.5, 2: 0.0, 3: 9.0}, Y),
        ({"a": 3.0}, np.array(["b", "a", "b"])),
        ("balanced", MANY),
        ([{0: 1.0, 1: 2.0}, {1: 3.0}], MANY),
    ],
)
def test_the_rule_is_scikit_learns(rule: Any, y: np.ndarray) -> None:
    utils = pytest.importorskip("sklearn.utils")
    assert_close(class_weights(rule, y), utils.compute_sample_weight(rule, y), rtol=1e-15)


@pytest.mark.parametrize(
    ("rule", "y", "message"),
    [
        ("even", Y, "found 'even'; expected 'balanced' or a dict"),
        (3.0, Y, "found 3.0; expected 'balanced' or a dict"),
        ([{0: 1.0}], Y, "expected a dict"),
        ({0: 1.0}, MANY, "expected a list of a dict for each label"),
        ([{0: 1.0}], MANY, "found 1 dicts for 2 labels"),
        ({5: 1.0}, Y, "found the class 5, which y does not have; its class 0 has no weight"),
        ({0: -1.0}, Y, "expected finite numbers, none negative"),
        ({0: float("nan")}, Y, "expected finite numbers"),
    ],
)
def test_what_is_no_rule(rule: Any, y: np.ndarray, message: str) -> None:
    with pytest.raises((InvalidValueError, InvalidTypeError), match=message):
        class_weights(rule, y)


def model(outputs: int, backend: Any = "numpy", **options: Any) -> xpmlp.MLP:
    return xpmlp.MLP([2, 4, outputs], "tanh", dtype="float64", seed=1, backend=backend, **options)


TARGETS: dict[str, tuple[int, np.ndarray, Any]] = {
    "labels": (3, Y, {0: 2.0, 2: 3.0}),
    "one_hot": (3, np.eye(3)[Y], {0: 2.0, 2: 3.0}),
    "binary": (1, Y % 2, {1: 3.0}),
    "multilabel": (2, np.concatenate([MANY, MANY]), [{0: 2.0}, {1: 3.0}]),
}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.sampled(2)
def test_a_class_of_weight_2_is_every_row_of_it_twice(backend: Any, kind: str) -> None:
    outputs, y, rule = TARGETS[kind]
    X = np.random.default_rng(0).standard_normal((len(y), 2))
    flat = y.argmax(axis=1) if kind == "one_hot" else y
    times = class_weights(rule, flat).astype(int)
    again = np.repeat(np.arange(len(y)), times)
    fit: dict[str, Any] = {"batch_size": None, "epochs": 2, "shuffle": False}
    weighted, repeated = (model(outputs, backend, targets=kind) for _ in range(2))
    ours = weighted.fit(X, y, class_weight=rule, **fit)
    theirs = repeated.fit(X[again], y[again], **fit)
    assert_close(ours["loss"], theirs["loss"], rtol=1e-12)
    for name, value in repeated.parameters.items():
        assert_close(weighted.parameters[name], value, atol=1e-12)


def test_balanced_counts_the_rows_that_are_trained_on() -> None:
    X = np.random.default_rng(0).standard_normal((40, 2))
    y = (np.arange(40) < 6).astype(int)
    split = model(2)
    split.fit(X, y, class_weight="balanced", validation_split=0.5, epochs=1, batch_size=None)
    from xpmlp.training.prepare import split as rows

    kept, _ = rows(1, 40, 0.5)
    alone = model(2)
    w = class_weights("balanced", y[kept])
    alone.fit(X[kept], y[kept], sample_weight=w, epochs=1, batch_size=None)
    assert_close(split.parameters["dense1.W"], alone.parameters["dense1.W"], atol=1e-14)
    both = model(2)
    half = np.full(40, 0.5)
    both.fit(X, y, sample_weight=half, class_weight={1: 2.0}, epochs=1, batch_size=None)
    once = model(2)
    once.fit(X, y, sample_weight=np.where(y == 1, 1.0, 0.5), epochs=1, batch_size=None)
    assert_close(both.parameters["dense1.W"], once.parameters["dense1.W"], atol=1e-14)


def test_targets_without_classes() -> None:
    X = np.ones((3, 2))
    with pytest.raises(InvalidValueError, match="predicts values; pass sample_weight"):
        model(1).fit(X, np.array([1.0, 2.0, 3.5]), class_weight="balanced")
    soft = np.array([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]])
    mlp = model(2, targets="one_hot")
    with pytest.raises(InvalidValueError, match="between 0 and 1, which are of no one class"):
        mlp.fit(X, soft, class_weight={0: 2.0})
    with pytest.raises(InvalidValueError, match="found only zeros; give some class a weight"):
        model(2).fit(X, np.array([0, 1, 1]), class_weight={0: 0.0, 1: 0.0})
