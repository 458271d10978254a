"""What a ``Table`` refuses, leaves out and keeps, without a file."""

import sys
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp.data.frame import Column, frame_of
from xpmlp.data.labels import encode_column, encode_labels, map_labels
from xpmlp.data.layout import reason
from xpmlp.data.table import Table
from xpmlp.data.values import dates, numbers
from xpmlp.errors import DataError, InvalidTypeError, InvalidValueError, MissingExtraError

ROWS = 20
NUMBER = np.arange(ROWS) * 1.5


def test_arguments_that_cannot_work() -> None:
    with pytest.raises(InvalidValueError, match="scaling"):
        Table(scaling="minmax")
    with pytest.raises(InvalidTypeError, match="drop: found 'a'; expected a list"):
        Table(drop="a")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="column to be dropped 'b'"):
        Table(drop=["b"]).fit({"a": NUMBER})
    with pytest.raises(InvalidValueError, match="'b' has no numbers"):
        Table(numeric=["b"]).fit({"a": NUMBER, "b": ["x", "y"] * 10})
    with pytest.raises(InvalidValueError, match="found no column to learn from: a: it has one"):
        Table().fit({"a": np.ones(ROWS)})
    with pytest.raises(InvalidTypeError, match="table: found 3"):
        xpmlp.MLP([2, 2], table=3)


def test_it_says_whether_it_knows_all_texts() -> None:
    few, many = ["x", "y", "z", "x"] * 10, ["x", "y", "z", "w"] * 9 + ["a", "b", "c", "d"]
    table = Table(one_hot=4).fit({"few": few, "many": many})
    lines = {line.split()[0]: line for line in table.summary().splitlines() if line.strip()}
    assert lines["few"].rstrip().endswith("3 values")
    assert "most frequent, and other" in lines["many"]


def test_its_words() -> None:
    table = Table()
    assert repr(table) == "Table(0 columns, not fitted)"
    assert repr(table.fit({"a": NUMBER})) == "Table(1 columns, 1 inputs)"
    assert table != 3


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (["same"] * ROWS, "it has one value"),
        ([f"one two three four five {k}" for k in range(ROWS)], "text of many words"),
        ([f"x{k}" for k in range(ROWS)], "it differs in every row"),
        (["2024-01-02"] * ROWS, "all dates are the same"),
        ([None] * ROWS, "it is empty"),
    ],
)
def test_what_is_left_out(cells: Any, why: str) -> None:
    table = Table().fit({"a": NUMBER, "b": cells})
    assert (table.features[1].kind, table.features[1].note) == ("left out", why)
    assert table.inputs == ("a",)


@pytest.mark.parametrize(("mean", "size"), [(0, 1e6), (1.7e9, 300.0), (-5.0, 1e-3)])
def test_standard_scaling_is_that_of_the_columns(mean: float, size: float, rng: Any) -> None:
    values = mean + size * rng.normal(size=200)
    made = Table().fit({"a": values}).transform({"a": values})
    expected = (values - values.mean()) / values.std()
    np.testing.assert_allclose(made[:, 0], expected, rtol=1e-6, atol=1e-6)


def test_robust_scaling_is_by_quartiles() -> None:
    values = np.array([*np.arange(101.0), 1e6])
    table = Table(scaling="robust").fit({"a": values})
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    expected = (values - middle) * 1.349 / (high - low)
    np.testing.assert_allclose(table.transform({"a": values})[:, 0], expected)
    plain = Table(scaling=None).fit({"a": values})
    np.testing.assert_array_equal(plain.transform({"a": values})[:, 0], values)


def test_numbers_can_be_categories() -> None:
    table = Table(categorical=["a"]).fit({"a": [3.0, 1.0, np.nan, 3.5] * 5})
    assert table.inputs == ("a: 1", "a: 3", "a: 3.5", "a is missing")
    assert table.transform({"a": [3.5, 7.0]}).tolist() == [[0, 0, 1, 0], [0, 0, 0, 0]]


def test_a_column_of_many_dates_and_a_mistake() -> None:
    days = [f"2024-{1 + k % 12:02}-01" for k in range(ROWS)]
    with pytest.raises(DataError, match="column day: found 'soon', expected a date"):
        Table().fit({"day": [*days, "soon"]})
    table = Table().fit({"day": days})
    assert table.problems({"day": ["2024-01-01", "soon"]})[0].endswith("expected a date")
    assert table.problems({"day": ["2024-01-01"]}) == []


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"kind": "else"}, ValueError),
        ({"form": "x"}, ValueError),
        ({"levels": [3]}, TypeError),
        ({"other": 1}, TypeError),
        ({"more": 1}, TypeError),
    ],
)
def test_a_file_is_checked(change: dict[str, Any], error: type[Exception]) -> None:
    config, arrays = Table().fit({"a": NUMBER}).to_config()
    assert Table.from_config(config, arrays).inputs == ("a",)
    with pytest.raises(ValueError, match=r"table\.fill"):
        Table.from_config(config, arrays | {"fill": np.ones(2)})
    config["features"][0] |= change
    with pytest.raises(error):
        Table.from_config(config, arrays)


def test_a_table_of_another_width_is_refused(tmp_path: Any) -> None:
    table = Table().fit({"a": NUMBER, "b": NUMBER**2})
    with pytest.raises(InvalidValueError, match="its 2 columns become 2 inputs; the network has 3"):
        xpmlp.MLP([3, 2], table=table)
    mlp = xpmlp.MLP([2, 2], table=table, backend="numpy", seed=0)
    mlp.table = Table().fit({"a": NUMBER})
    mlp.save(tmp_path / "m.xpmlp")
    with pytest.raises(xpmlp.XpmlpError, match="its table makes 1 inputs; the network has 2"):
        xpmlp.load(tmp_path / "m.xpmlp")


def test_arrays_teach_no_table() -> None:
    mlp = xpmlp.MLP([2, 2], table="auto", backend="numpy")
    with pytest.raises(InvalidTypeError, match="has not been fitted"):
        mlp.fit(np.ones((4, 2)), [0, 1, 0, 1])


def test_frames_need_narwhals(monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2]})
    monkeypatch.setitem(sys.modules, "narwhals", None)
    with pytest.raises(MissingExtraError, match=r"xpmlp\[cli\]"):
        frame_of(frame)
    assert len(frame_of({"a": [1, 2]})) == 2


def test_values_at_the_edge() -> None:
    assert np.isnan(numbers(["--5", "1,2,3"])).all()
    assert numbers(["+5", "-$5", "(5)"]).tolist() == [5.0, -5.0, -5.0]
    assert dates([]) is None
    assert dates(["2024-13-45"]) is None
    assert dates(["20240102"]) is None
    found = dates(["2024-01-02T03:04:05+00:00"])
    assert found is not None
    assert str(found[0][0]).startswith("2024-01-02T03:04:05")


def test_labels_at_the_edge() -> None:
    def where(row: int) -> str:
        return f"row {row}"

    column = Column.of_texts(["a", "b"] * 10)
    with pytest.raises(InvalidValueError, match="task"):
        encode_column(column, "ranking", where, "label")
    with pytest.raises(InvalidValueError, match="task"):
        encode_labels(np.array([1, 2]), "ranking", where)
    with pytest.raises(DataError, match="row 0: found the label 'a', expected a number"):
        encode_column(column, "regression", where, "label")
    with pytest.raises(DataError, match="row 1: found the label 'x', expected a number"):
        encode_labels(np.array(["1", "x", *"234567890"]), None, where)
    with pytest.raises(DataError, match="row 1: found the label 'x'"):
        map_labels(np.array(["1", "x", "2"]), None, where)
    with pytest.raises(DataError, match="row 0: found 2 columns of text, expected one label"):
        encode_labels(np.array([["a", "b"], ["c", "d"]]), None, where)


def test_dates_that_are_none_and_of_two_forms() -> None:
    days = [f"2024-{1 + k % 12:02}-01" for k in range(ROWS)]
    table = Table().fit({"day": days})
    with pytest.raises(DataError, match=r"column day: found '1' .*, expected a date;\ncorrect"):
        table.transform({"day": [1.0, 2.0]})
    mixed = ["2024-01-02", "03.04.2024", "2024-05-06", "07.08.2024"] * 5
    assert Table().fit({"a": NUMBER, "day": mixed}).features[1].kind == "category"


def test_a_constant_that_is_missing_at_times() -> None:
    table = Table().fit({"a": [5.0, np.nan, 5.0]})
    assert table.transform({"a": [5.0, np.nan, 7.0]}).tolist() == [[0, 0], [0, 1], [2, 0]]


def test_infinity_is_no_number() -> None:
    with pytest.raises(DataError, match="row 3, column a: found 'inf', expected a number"):
        Table().fit({"a": [*NUMBER[:3], np.inf, *NUMBER[3:]]})


def test_numbers_of_a_frame() -> None:
    assert frame_of({"a": [1, 2], "b": [3.5, 4]}).matrix().tolist() == [[1, 3.5], [2, 4]]  # type: ignore[union-attr]
    assert frame_of({"a": [1, None]}).matrix() is None
    assert frame_of({"a": [1, 2], "b": ["x", "y"]}).matrix() is None


def test_what_duckdb_says_is_put_in_our_words() -> None:
    assert reason("CSV Error on Line: 7\nMaximum line size of 5 bytes").startswith("line 7: found")
    assert "a quote that does not end" in reason("Value with unterminated quote found.")
    assert reason("Invalid Input Error: odd\nmore") == "cannot be read: odd"


# Quartiles, and codes for an embedding

TOWNS = ["Bonn", "Oslo", "Rome", "Nice", "Ulm"]


def mixed(n: int = 60, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    towns: list[Any] = [TOWNS[k] for k in rng.integers(0, 5, n)]
    towns[3] = None
    age = rng.normal(40, 9, n)
    age[5] = np.nan
    return {"town": towns, "age": age, "sex": [["f", "m"][k] for k in rng.integers(0, 2, n)]}


def test_codes_of_many_values_and_flags_of_few() -> None:
    data = mixed()
    table = Table(one_hot=3, codes=True, scaling=None).fit(data)
    assert table.inputs == ("town", "age", "age is missing", "sex: f", "sex: m")
    assert (table.numbers, table.categories) == ((1,), {0: 6})
    made = table.transform(data)
    codes = {town: k for k, town in enumerate(sorted(TOWNS), start=1)}
    assert made[:, 0].tolist() == [0 if t is None else codes[t] for t in data["town"]]
    new = table.transform({"town": ["Paris", "Ulm"], "age": [1.0, 2.0], "sex": ["f", "x"]})
    assert new[:, 0].tolist() == [0.0, 5.0]
    assert new[:, 3:].tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert "5 values, as codes" in table.summary()


def test_one_hot_says_how_many_values_have_an_input() -> None:
    data = {"town": ["Bonn"] * 9 + ["Oslo"] * 6 + ["Rome"] * 3 + ["Nice"] * 2, "age": NUMBER}
    assert Table(one_hot=2).fit(data).inputs[:3] == ("town: Bonn", "town: Oslo", "town: other")
    assert Table(one_hot=4).fit(data).inputs[3] == "town: Rome"
    assert Table(one_hot=2, codes=True).fit(data).categories == {0: 5}
    assert Table(one_hot=4, codes=True).fit(data).categories == {}
    with pytest.raises(InvalidValueError, match="one_hot: found 0"):
        Table(one_hot=0)
    with pytest.raises(InvalidTypeError, match="codes"):
        Table(codes=1)  # type: ignore[arg-type]


def test_quartiles_are_the_robust_scaling_of_all_inputs_but_codes() -> None:
    data = mixed()
    plain = Table(one_hot=3, codes=True, scaling=None).fit(data).transform(data)
    table = Table(one_hot=3, codes=True, scaling="quartiles").fit(data)
    found = table.transform(data)
    assert np.array_equal(found[:, 0], plain[:, 0])
    for j in range(1, plain.shape[1]):
        low, median, high = np.percentile(plain[:, j], (25, 50, 75))
        spread = high - low if high > low else np.ptp(plain[:, j]) / 2
        z = (plain[:, j] - median) / spread
        np.testing.assert_allclose(found[:, j], z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-12)
    other = mixed(seed=1)
    arrays = xpmlp.MLP([5, 2], scaling="robust", embedding=xpmlp.Embedding(None, categories={0: 6}))
    arrays.fit(plain, np.arange(60) % 2, epochs=1)
    rows = Table(one_hot=3, codes=True, scaling=None).fit(data).transform(other)
    from xpmlp.arrays.rows import HostRows

    same = arrays.scaling.applied(HostRows(arrays.backend, rows), "float64").array
    np.testing.assert_allclose(table.transform(other), same, rtol=1e-12)


@pytest.mark.parametrize("scaling", ["quartiles", "standard"])
def test_a_table_with_codes_is_kept(scaling: str, tmp_path: Any) -> None:
    data, y = mixed(), np.arange(60) % 2
    table = Table(one_hot=3, codes=True, scaling=scaling).fit(data)
    assert Table.from_config(*table.to_config()) == table
    embedding = xpmlp.Embedding(columns=table.numbers, categories=table.categories)
    mlp = xpmlp.MLP([table.width, 4, 2], embedding=embedding, table=table, backend="numpy")
    mlp.fit(data, y, epochs=2)
    mlp.save(tmp_path / "m.xpmlp")
    loaded = xpmlp.load(tmp_path / "m.xpmlp", backend="numpy")
    assert loaded.table == table
    other = mixed(seed=1)
    assert np.array_equal(loaded.predict_proba(other), mlp.predict_proba(other))


def test_a_table_without_codes_is_written_as_before() -> None:
    config, _ = Table().fit(mixed()).to_config()
    assert set(config) == {"settings", "scaling", "features"}
    assert all("codes" not in feature for feature in config["features"])
    config, arrays = Table(scaling="quartiles").fit(mixed()).to_config()
    with pytest.raises(ValueError, match=r"table\.shift: found float64 of shape \(1,\)"):
        Table.from_config(config, arrays | {"shift": np.zeros(1)})
    broken = [each | {"codes": 3} for each in config["features"]]
    with pytest.raises(TypeError, match="wrong type"):
        Table.from_config(config | {"features": broken}, arrays)
