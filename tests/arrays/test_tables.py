"""Data frames: columns of numbers become one array, others are named with their first bad value."""

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import xpmlp
from xpmlp.arrays.rows import rows
from xpmlp.errors import InvalidTypeError, InvalidValueError

NUMBERS = {"a": [1, 0, 3, 1], "b": [0.5, -1.0, 2.0, 0.25], "c": [True, False, True, True]}
EXPECTED = np.array([[1, 0.5, 1], [0, -1, 0], [3, 2, 1], [1, 0.25, 1]])
LABELS = [0, 1, 1, 0]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(NUMBERS),
        pd.DataFrame(NUMBERS).convert_dtypes(),
        pd.DataFrame(NUMBERS).astype({"a": "Int64", "b": "Float32", "c": "category"}),
        pd.DataFrame(NUMBERS).astype({"a": "UInt8"}).set_axis(["a", "a", "a"], axis=1),
        pl.DataFrame(NUMBERS),
        pl.DataFrame(NUMBERS).cast({"a": pl.UInt8, "b": pl.Float32}),
    ],
)
def test_columns_of_different_numbers(frame: Any, backend: Any) -> None:
    made = rows(backend, frame, 3, "float32")
    assert np.array_equal(made.array, EXPECTED)
    mlp = xpmlp.MLP([3, 4, 2], backend=backend, seed=0)
    mlp.fit(frame, LABELS, epochs=1)
    assert np.array_equal(mlp.predict(frame), mlp.predict(EXPECTED))


def frame(**columns: list[Any]) -> dict[str, list[Any]]:
    return NUMBERS | columns


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (frame(b=["1.5", "red", "2", "blue"]), r"'b', 'red' at X\[1, 1\].*get_dummies"),
        (frame(c=["1.5", "2", "2", "-1e3"]), r"'c' of numbers only.*np\.asarray\(X, float\)"),
    ],
)
def test_the_column_and_its_first_bad_value(library: Any, columns: Any, found: str) -> None:
    table = library(columns)
    with pytest.raises(InvalidTypeError, match=rf"X: found dtype .+ in column {found}"):
        xpmlp.MLP([3, 2], backend="numpy").fit(table, LABELS)


def test_dates_are_no_numbers() -> None:
    table = pd.DataFrame(frame(a=[datetime(2020, 1, 1)] * 4))
    with pytest.raises(
        InvalidTypeError, match=r"column 'a', datetime.* at X\[0, 0\]; expected num"
    ):
        xpmlp.MLP([3, 2], backend="numpy").fit(table, LABELS)


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_a_missing_value_is_named(library: Any) -> None:
    table = library(frame(a=[1, 0, None, 1]))
    for each in (table, table.convert_dtypes() if library is pd.DataFrame else table):
        with pytest.raises(InvalidValueError, match=r"found nan at X\[2, 0\].*Remove or fill"):
            xpmlp.MLP([3, 2], backend="numpy").fit(each, LABELS)


@pytest.mark.parametrize("missing", [None, pd.NA])
def test_a_missing_value_among_objects_is_named(missing: Any) -> None:
    X = np.array([[1, 2.5, True], [1, missing, False]], dtype=object)
    with pytest.raises(InvalidTypeError, match=r"object, (None|<NA>) at X\[1, 1\].*Fill missing"):
        xpmlp.MLP([3, 2], backend="numpy").fit(X, [0, 1])


def test_objects_that_are_numbers_say_how_to_convert_them() -> None:
    X = EXPECTED.astype(object)
    with pytest.raises(InvalidTypeError, match=r"X: found dtype object of numbers only.*np\.asa"):
        xpmlp.MLP([3, 2], backend="numpy").fit(X, LABELS)
    xpmlp.MLP([3, 2], backend="numpy").fit(np.asarray(X, float), LABELS)
