"""Tables in the forms that people post are read as what they say."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import assert_close
from forms import FILES, FRAMES, Form

from xpmlp.data import load
from xpmlp.data.dataset import split
from xpmlp.data.table import Table
from xpmlp.errors import InvalidTypeError


def check(form: Form, X: Any) -> None:
    """Each column is what it is said to be, and becomes the inputs that are said."""
    columns = [c for c in form.columns if c.kind != "label"]
    table = Table(scaling=None).fit(X)
    assert {f.name: f.kind for f in table.features} == {c.name: c.kind for c in columns}
    expected = {name: values for c in columns for name, values in c.inputs.items()}
    assert table.inputs == tuple(expected)
    assert_close(table.transform(X), np.column_stack(list(expected.values())), rtol=1e-12)


@pytest.mark.parametrize("form", FILES, ids=str)
@pytest.mark.sampled(4)
def test_a_file(form: Form, tmp_path: Path) -> None:
    data = load(form.write(tmp_path), test_fraction=0, **form.options)
    labels = [c for c in form.columns if c.kind == "label"]
    n = len(labels[0].values)
    assert data.X.shape == (n, len(form.columns) - len(labels))
    assert data.columns == tuple(c.name for c in form.columns)
    assert data.label == tuple(c.name for c in labels)
    if form.note:
        assert form.note in " ".join(data.notes)
    assert form.note or not data.notes

    rows = np.argsort(split(n, 0.0, 0)[0])  # back to the order of the file
    y, values = data.y[rows], np.array([c.values for c in labels]).T
    if isinstance(labels[0].values[0], str):
        assert set(data.classes or ()) == set(labels[0].values)
        assert [(data.classes or ())[k] for k in y] == labels[0].values
    else:
        assert data.classes is None
        assert_close(y, values[:, 0] if len(labels) == 1 else values)
    check(form, data.X[rows])


@pytest.mark.parametrize("form", FRAMES, ids=str)
def test_a_frame(form: Form) -> None:
    check(form, form.content)


def test_the_forms_differ() -> None:
    named = [form.what for form in (*FILES, *FRAMES)]
    assert len(set(named)) == len(named) >= 60


@pytest.mark.parametrize(
    "frame",
    [
        {"a": [[1, 2], [3]]},
        {"a": [np.zeros(2), np.ones(2)]},
        {"a": [{"b": 1}, {"b": 2}]},
        {"a": np.zeros((2, 2))},
        {"a": [1, 2], "b": [1]},
        {"a": [1 + 2j, 3]},
        {},
        pd.DataFrame({"a": [[1], [2]]}),
        pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]),
        pd.DataFrame({1: [1, 2], "1": [3, 4]}),
        pl.DataFrame({"a": [[1], [2]]}),
        pl.DataFrame({"a": [1]}).lazy(),
        pa.table({"a": [{"b": 1}, {"b": 2}]}),
        np.zeros((2, 2)),
        [[1, 2]],
        "a",
    ],
    ids=lambda frame: f"{type(frame).__module__} {frame!r}"[:40],
)
def test_what_is_no_frame(frame: Any) -> None:
    with pytest.raises(InvalidTypeError, match=r"X.*xpected"):
        Table().fit(frame)
