"""A model of a mixed table, on every backend: what new tables may hold, and what they may not."""

import copy
import pickle
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import assert_close

import xpmlp
from xpmlp.errors import DataError, InvalidTypeError, InvalidValueError

N = 40
ROWS = range(N)
AGE = [20.0 + 3 * (k % 7) if k % 10 != 9 else None for k in ROWS]
COLOUR = [("red", "green", "blue", None)[k % 4] for k in ROWS]
TOWN = [("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k")[k % 11] for k in ROWS]
DAY = [datetime(2024, 1, 1, 6) + timedelta(days=k) for k in ROWS]
TRAIN: dict[str, Any] = {"Id": list(ROWS), "age": AGE, "colour": COLOUR, "town": TOWN, "day": DAY}
Y = [k % 4 % 2 for k in ROWS]

INPUTS = (
    *("age", "age is missing", "colour: blue", "colour: green", "colour: red", "colour is missing"),
    *(f"town: {town}" for town in "abcdefghi"),
    *("town: other", "day: month", "day: day of year", "day: weekday"),
)


def numbers(ages: Any, colours: Any, towns: Any, days: Any) -> Any:
    """The inputs, from their definition."""
    there = np.array([a for a in AGE if a is not None])
    filled = np.array([np.median(there) if a is None else a for a in ages], float)
    parts = [
        [np.array([part(d) for d in each]) for each in (days, DAY)]
        for part in (lambda d: d.month, lambda d: d.timetuple().tm_yday, lambda d: d.weekday())
    ]
    columns = [(filled - there.mean()) / there.std(), [a is None for a in ages]]
    columns += [[c == name for c in colours] for name in ("blue", "green", "red", None)]
    columns += [[t == name for t in towns] for name in "abcdefghi"]
    columns += [[t not in "abcdefghi" for t in towns]]
    columns += [(values - seen.mean()) / seen.std() for values, seen in parts]
    return np.column_stack([np.asarray(c, float) for c in columns])


NEW_AGE, NEW_COLOUR = [25.0, None, 90.5, 31.0], ["red", "violet", None, "blue"]
NEW_TOWN = ["a", "zz", "k", "i"]
NEW_DAY = [datetime(2024, 2, 3), datetime(2025, 12, 31, 23), datetime(1999, 1, 1), DAY[0]]
NEW: dict[str, Any] = {"age": NEW_AGE, "colour": NEW_COLOUR, "town": NEW_TOWN, "day": NEW_DAY}
EXPECTED = numbers(NEW_AGE, NEW_COLOUR, NEW_TOWN, NEW_DAY)


def made(backend: Any) -> xpmlp.MLP:
    table = xpmlp.Table().fit(TRAIN)
    mlp = xpmlp.MLP([table.width, 4, 2], backend=backend, seed=0, table=table)
    mlp.fit(TRAIN, Y, epochs=2, batch_size=8)
    return mlp


def as_csv(columns: Any, folder: Path) -> Any:
    path = folder / "new.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return xpmlp.data.tables.read_table(path)


FORMS: dict[str, Callable[..., Any]] = {
    "as it was": lambda new: new,
    "other order": lambda new: dict(reversed(new.items())),
    "further columns": lambda new: {"Id": ["x"] * 4, "new": [1] * 4} | new | {"kind": ["?"] * 4},
    "pandas": pd.DataFrame,
    "pandas, nullable": lambda new: pd.DataFrame(new).convert_dtypes(),
    "polars": pl.DataFrame,
    "Arrow": pa.table,
    "texts": lambda new: {
        name: ["" if v is None else str(v) for v in values] for name, values in new.items()
    },
}


def test_the_inputs_are_those_of_the_definition() -> None:
    table = xpmlp.Table().fit(TRAIN)
    assert table.inputs == INPUTS
    assert_close(table.transform(TRAIN), numbers(AGE, COLOUR, TOWN, DAY), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.sampled(3)
def test_a_new_table_in_any_form(backend: Any, form: str) -> None:
    mlp = made(backend)
    assert_close(mlp.predict_proba(FORMS[form](NEW)), mlp.predict_proba(EXPECTED), atol=1e-6)


def test_a_table_trains_like_its_inputs(backend: Any) -> None:
    mlp = made(backend)
    inputs = numbers(AGE, COLOUR, TOWN, DAY)
    same = xpmlp.MLP([len(INPUTS), 4, 2], backend=backend, seed=0, scaling=None)
    same.fit(inputs, Y, epochs=2, batch_size=8)
    assert_close(mlp.predict_proba(TRAIN), same.predict_proba(inputs), atol=1e-5)
    scores = mlp.evaluate(TRAIN, Y), same.evaluate(inputs, Y)
    assert scores[0]["loss"] == pytest.approx(scores[1]["loss"], rel=1e-4)


@pytest.mark.parametrize("way", ["save", "pickle", "copy", "deepcopy"])
@pytest.mark.sampled(2)
def test_a_model_that_was_kept_reads_tables(backend: Any, way: str, tmp_path: Path) -> None:
    mlp = made(backend)
    if way == "save":
        mlp.save(tmp_path / "m.xpmlp")
        again = xpmlp.load(tmp_path / "m.xpmlp", backend=backend)
    elif way == "pickle":
        try:
            again = pickle.loads(pickle.dumps(mlp))
        except (AttributeError, pickle.PicklingError, UserWarning) as error:
            pytest.skip(f"a backend that tests make, and that has no name of its own: {error}")
    else:
        again = getattr(copy, way)(mlp)
    assert again.table == mlp.table
    assert again.table.features == mlp.table.features
    assert_close(again.predict_proba(NEW), mlp.predict_proba(NEW), atol=1e-7)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"age": None}, "found no column 'age'; expected age, colour, town, day"),
        ({"age": None, "day": None}, "found no column 'age', 'day'; expected"),
        ({"age": [25, None, "oops", "ups"]}, r"row 2, column age: found 'oops' \(and 1 more"),
        ({"age": [25, np.inf, 1, 2]}, "row 1, column age: found 'inf', expected a number"),
        ({"day": ["2024-01-01", "soon", "2024-01-01", ""]}, "day: found .*, expected a date"),
        ({"day": [1, 2, 3, 4]}, "row 0, column day: found '1' .*expected a date"),
    ],
)  # fmt: skip
@pytest.mark.sampled(4)
def test_a_new_table_that_does_not_fit(backend: Any, columns: Any, message: str) -> None:
    mlp = made(backend)
    new = {name: v for name, v in (NEW | columns).items() if v is not None}
    with pytest.raises(DataError, match=message):
        mlp.predict(new)
    with pytest.raises(DataError, match=message):
        mlp.evaluate(new, [0, 1, 0, 1])


def test_a_file_is_read_like_a_frame(backend: Any, tmp_path: Path) -> None:
    mlp = made(backend)
    assert_close(mlp.predict_proba(as_csv(NEW, tmp_path)), mlp.predict_proba(EXPECTED), atol=1e-6)
    with pytest.raises(DataError, match=r"new.csv: line 3, column age: found 'oops'"):
        mlp.predict(as_csv(NEW | {"age": [25, "oops", "", 1]}, tmp_path))


def test_a_column_that_training_left_out_may_be_missing(backend: Any) -> None:
    assert "Id" not in NEW
    assert made(backend).predict(NEW).shape == (4,)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (xpmlp.Table().fit({"a": [1.0, 2.0, 5.0]}), InvalidValueError, "become 1 inputs; the netw"),
        ("something", InvalidTypeError, "table: found 'something'; expected 'auto' or an xpmlp.T"),
        (7, InvalidTypeError, "table: found 7"),
    ],
)
def test_a_table_that_cannot_be(backend: Any, table: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        xpmlp.MLP([3, 2], backend=backend, table=table)


def test_a_table_is_fitted_with_the_model(backend: Any) -> None:
    mlp = xpmlp.MLP([len(INPUTS), 2], backend=backend, seed=0, table="auto")
    with pytest.raises(InvalidTypeError, match="learns from a data frame"):
        mlp.fit(np.zeros((4, len(INPUTS))), [0, 1, 0, 1])
    mlp.fit(TRAIN, Y, epochs=1)
    assert mlp.table.inputs == INPUTS
    assert_close(mlp.predict_proba(NEW), mlp.predict_proba(EXPECTED), atol=1e-6)
    wrong = xpmlp.MLP([3, 2], backend=backend, table="auto")
    with pytest.raises(InvalidValueError, match=f"become {len(INPUTS)} inputs; the network has 3"):
        wrong.fit(TRAIN, Y)


def test_seconds_since_1970_keep_their_digits(backend: Any) -> None:
    """In float32 they would be rounded to 128 seconds before their mean is taken."""
    rng = np.random.default_rng(0)
    seconds = rng.integers(-20, 20, 200)
    near = {"time": seconds.astype(float), "b": rng.normal(size=200)}
    far = {"time": 1_700_000_000.0 + seconds, "b": near["b"]}
    tables = [xpmlp.Table().fit(frame) for frame in (near, far)]
    assert_close(tables[1].transform(far), tables[0].transform(near), atol=1e-6)
    found = []
    for frame, table in zip((near, far), tables, strict=True):
        mlp = xpmlp.MLP([2, 8, 1], backend=backend, seed=0, table=table)
        mlp.fit(frame, seconds / 10 + near["b"], epochs=2)
        found.append(mlp.predict(frame))
    assert_close(found[1], found[0], atol=1e-4)


def test_a_dict_is_split_by_its_rows() -> None:
    """Not by its columns, of which a dict has as many as its length."""
    rng = np.random.default_rng(0)
    columns = {"a": rng.normal(size=50), "b": rng.choice(["x", "y"], 50)}
    y = (columns["a"] > 0).astype(int)
    mlp = xpmlp.MLP([3, 2], table="auto", backend="numpy", seed=0)
    history = mlp.fit(columns, y, epochs=2, validation_split=0.2)
    assert history.examples == 40
    assert mlp.predict(columns).shape == (50,)
