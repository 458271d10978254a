"""Targets that are doubtful or wrong: what is said, and that what it says to do works."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import xpmlp
from xpmlp.errors import InvalidTypeError, InvalidValueError

X = np.random.default_rng(0).standard_normal((12, 3))
LABELS = np.arange(12) % 3
BITS = np.arange(12) % 2


def fit(y: Any, outputs: int = 3, backend: Any = "numpy", **options: Any) -> xpmlp.MLP:
    mlp = xpmlp.MLP([3, 4, outputs], backend=backend, seed=0, **options)
    mlp.fit(X, y, epochs=1)
    return mlp


FLOATS = [BITS.astype(float), BITS.astype("float32")[:, None], pd.Series(BITS.astype(float))]


@pytest.mark.parametrize("y", FLOATS)
def test_floats_of_two_classes_are_warned_of_once(y: Any, backend: Any) -> None:
    with pytest.warns(UserWarning, match=r"only 0\.0 and 1\.0.*astype\(int\).*'values'") as said:
        assert fit(y, 1, backend).task.kind == "values"
    assert len(said) == 1
    assert said[0].filename == __file__


@pytest.mark.parametrize(
    ("y", "options", "kind"),
    [
        (BITS, {}, "binary"),
        (BITS.astype(float).astype(int), {}, "binary"),
        (BITS.astype(float), {"targets": "values"}, "values"),
        (BITS.astype(float), {"targets": "binary"}, "binary"),
        (BITS.astype(float), {"loss": "mse"}, "values"),
        (BITS.astype(float), {"loss": "binary_cross_entropy"}, "binary"),
        (BITS + 0.5, {}, "values"),
        (np.zeros(12), {}, "values"),
        (X[:, 0], {}, "values"),
    ],
)
def test_nothing_is_said_without_doubt(y: Any, options: Any, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit(y, 1, **options).task.kind == kind


@pytest.mark.parametrize(
    ("y", "said", "fixed"),
    [
        (LABELS[:, None], r"labels as a column are np\.ravel\(y\)", np.ravel),
        (pd.DataFrame({"y": LABELS}), r"labels as a column are np\.ravel\(y\)", np.ravel),
        (LABELS + 1, "count from 1: pass y - 1", lambda y: y - 1),
        (LABELS * 10, r"np\.unique\(y, return_inverse", lambda y: np.unique(y, False, True)[1]),
        (LABELS - 1, r"np\.unique\(y, return_inverse", lambda y: np.unique(y, False, True)[1]),
        (LABELS * 1.0, r"\(y.astype\(int\)\)", lambda y: y.astype(int)),
    ],
)
def test_labels_of_another_form(y: Any, said: str, fixed: Any) -> None:
    with pytest.raises(InvalidValueError, match=said):
        fit(y)
    assert fit(fixed(y)).task.kind == "labels"


def test_more_labels_than_outputs() -> None:
    y = np.arange(12) % 5
    with pytest.raises(InvalidValueError, match=r"found 3 at y\[3\].*needs 5 outputs"):
        fit(y)
    fit(y, 5)


def test_a_missing_label() -> None:
    y = pd.Series(LABELS, dtype="Int64")
    y[4] = pd.NA
    with pytest.raises(InvalidValueError, match=r"found nan at y\[4\]; expected a class label"):
        fit(y)


def test_half_labels_are_not_to_become_integers() -> None:
    with pytest.raises(InvalidValueError, match="real targets need shape") as raised:
        fit(LABELS + 0.5)
    assert "astype" not in str(raised.value)


@pytest.mark.parametrize(
    "y",
    [["a", "b", "c"] * 4, np.array(["a", "b", "c"] * 4, object), pd.Series(["a", "b", "c"] * 4)],
)
def test_names_of_classes(y: Any) -> None:
    said = r"'a' at y\[0\].*np\.unique\(y, return_inverse=True\).*xpmlp\.sklearn\.MLPClassifier"
    with pytest.raises(InvalidTypeError, match=said):
        fit(y)
    names, y = np.unique(y, return_inverse=True)
    assert set(names[fit(y).predict(X)]) <= {"a", "b", "c"}


@pytest.mark.parametrize(("y", "fixed"), [(BITS + 1, 2), (2 * BITS - 1, 1)])
def test_two_classes_of_other_numbers(y: Any, fixed: int) -> None:
    with pytest.raises(InvalidValueError, match=rf"Pass \(y == {fixed}\)\.astype\(int\) for two"):
        fit(y, 1)
    assert fit((y == fixed).astype(int), 1).task.kind == "binary"


def test_whole_numbers_that_are_values() -> None:
    with pytest.raises(InvalidValueError, match=r"targets='values' to MLP, or floats as y, for r"):
        fit(LABELS * 7, 1)
    assert fit(LABELS * 7, 1, targets="values").task.kind == "values"


def test_of_several_outputs_no_two_classes_are_suggested() -> None:
    with pytest.raises(InvalidValueError) as raised:
        fit(np.append(LABELS[:-1], 7), 3)
    assert "targets='values'" not in str(raised.value)
