"""Text files: separators, headers, labels, and errors that name the line and the column."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpmlp.data import Dataset, Known, load, load_evaluation
from xpmlp.data.table import Table
from xpmlp.errors import DataError, InvalidValueError, MissingExtraError

BASIC = "a,b,label\n1,2,x\n3,4.5,y\n-5e-1,6,x\n"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str | bytes, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def inputs(X: Any) -> Any:
    """A table of numbers as they stand."""
    return np.column_stack([X.column(name).values for name in X.names])


def rows(data: Dataset) -> dict[Any, Any]:
    """{inputs: label} of a data set that was not split."""
    label: Any = (lambda y: data.classes[y]) if data.classes else float  # type: ignore[index]
    return {tuple(x): label(y) for x, y in zip(inputs(data.X).tolist(), data.y, strict=True)}


EXPECTED = {(1.0, 2.0): "x", (3.0, 4.5): "y", (-0.5, 6.0): "x"}


@pytest.mark.parametrize(
    "text",
    [
        BASIC,
        BASIC.replace(",", ";"),
        BASIC.replace(",", "\t"),
        BASIC.replace("\n", "\r\n"),
        BASIC.replace("\n", "\r"),
        BASIC.rstrip("\n"),
        "\ufeff" + BASIC,
        "\n" + BASIC.replace("\n", "\n\n\n"),
        BASIC.replace(",", " , "),
        BASIC.replace("x", '"x"').replace("\n1,", '\n"1",'),
        'label,"b",a\nx,2,1\ny,4.5,3\nx,6,-.5\n',
        BASIC[len("a,b,label\n") :],
    ],
)
def test_ways_to_write_the_same(write: Write, text: str) -> None:
    data = load(write(text), test_fraction=0)
    expected = EXPECTED
    if text.startswith("label"):
        expected = {key[::-1]: value for key, value in EXPECTED.items()}
    assert rows(data) == expected
    assert (data.y.dtype, data.scaling, data.notes) == (np.int64, "standard", ())
    assert data.X_test.shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("a,b,c\n1,2,3\n4,5,6\n", ("a", "b")),
        ("1,2,3\n4,5,6\n", None),
        ("5.1,3.5,setosa\n4.9,3.0,virginica\n6.0,3.1,setosa\n", None),
        ("0,1,label\n4.9,3.0,b\n4.9,2.0,a\n4.8,2.0,a\n", ("0", "1")),
        ("0,1,kind\n4.9,3.0,1\n4.9,2.0,0\n", ("0", "1")),
        ("1,2,y\n3,4,n\n1,5,y\n", None),  # "y" is a class here
        ("1,1,kind\n3,4,n\n1,5,n\n1,5,x\n", None),  # names differ
        ("0.5,1,kind\n3,4,n\n1,5,n\n1,5,x\n", None),  # and are whole
        ("2019,NA,kind\n3,4,n\n1,5,n\n1,5,x\n", ("2019", "NA")),
        ("NA,2,x\n3,4,y\n1,5,x\n", None),
    ],
)
def test_header_detection(write: Write, text: str, features: Any) -> None:
    data = load(write(text), test_fraction=0)
    assert data.X.names == (features or ("column 1", "column 2"))
    assert len(data.X) == text.count("\n") - (features is not None)
    for header in (True, False) if text.count("\n") > 2 else ():  # what is said, holds
        said = load(write(text), test_fraction=0, header=header, task="classification")
        assert len(said.X) == text.count("\n") - header


@pytest.mark.parametrize(
    ("header", "label", "column"),
    [
        ("a,b,c", None, 2),
        ("Target,b,c", None, 0),
        ("y,class,c", None, 1),  # class before y
        ("a,b,c", "b", 1),
        ("a,b,c", 0, 0),
        ("a,b,c", "-2", 1),
        ("a,2,c", "2", 1),  # a name comes before a number
    ],
)
def test_label_column(write: Write, header: str, label: Any, column: int) -> None:
    data = load(write(f"{header}\n1,10,100\n2,20,200\n"), label=label, test_fraction=0)
    names = header.split(",")
    assert data.X.names == tuple(n for i, n in enumerate(names) if i != column)
    assert data.classes == tuple(str(v * 10**column) for v in (1, 2))
    assert data.label == (names[column],)


@pytest.mark.parametrize("label", ["nope", "3", 3, -4, "1.0", ["a", "nope"]])
def test_unknown_label_column(write: Write, label: Any) -> None:
    with pytest.raises(
        DataError, match=r"no label column .* 0 to 2 or one of the names a, b, label"
    ):
        load(write(BASIC), label=label)
    with pytest.raises(DataError, match="one of the names column 1, column 2, column 3"):
        load(write("1,2,3\n4,5,6\n"), label=label)


def test_all_columns_cannot_be_labels(write: Write) -> None:
    with pytest.raises(DataError, match="found 3 label columns of 3"):
        load(write(BASIC), label=["a", "b", "label"])


def test_several_labels_are_of_one_kind(write: Write) -> None:
    text = "a,b,c\n" + "1,no,0.5\n2,yes,1.5\n" * 9
    with pytest.raises(DataError, match=r"b \(2 classes\), c \(numbers\); expected 0 and 1, or"):
        load(write(text), label=["b", "c"])
    both = load(write(text.replace("0.5", "true").replace("1.5", "false")), label=["b", "c"])
    assert (both.classes, both.targets, both.y.shape[1]) == (("b", "c"), "multilabel", 2)


def column(values: Any) -> str:
    return "x,label\n" + "".join(f"{i},{v}\n" for i, v in enumerate(values))


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["10", "9", "9.0"], None, ("9", "10")),
        (["0.5", "1"], None, None),
        (["0.5", "1"], "classification", ("0.5", "1")),
        (["0", "1"], "regression", None),
        (["no", "yes"], None, ("no", "yes")),
        (["True", "False"], None, ("False", "True")),
        (["1", "2", "other"], "classification", ("1", "2", "other")),
        (range(20), None, tuple(map(str, range(20)))),
        (range(21), None, None),
        ([i % 30 for i in range(900)], None, tuple(map(str, range(30)))),
        ([i % 31 for i in range(900)], None, None),
        (["1 000", "2 500"] * 3, None, None),  # amounts are no classes
        (["1_1", "11", "1_1"], None, ("11", "1_1")),  # Python would read both as 11
    ],
)
def test_task_inference(write: Write, values: Any, task: Any, classes: Any) -> None:
    data = load(write(column(values)), task=task, test_fraction=0)
    assert data.classes == classes
    if classes is None:
        assert data.y.dtype == np.float64
        found = data.y[np.argsort(inputs(data.X)[:, 0])]
        expected = [float(str(v).replace(" ", "")) for v in values]
        np.testing.assert_array_equal(found, expected)


GOOD = "a,b,label\n" + "1,2,x\n3,4,y\n" * 20
"""Lines 1 to 41."""

NUMBERS = GOOD.replace("x", "1").replace("y", "2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "found no rows"),
        ("\n \n", "found no rows"),
        ("a,b,c\n", "found no rows after the header"),
        ("a\n1\n2\n", "found one column"),
        ("a,b,c\n1,2,3\n1,2\n", "line 3: found 2 columns, expected 3"),
        (GOOD + "1\n1,2,x\n", "line 42: found 1 column, expected 3"),
        (GOOD + "1,2\n1,2,x\n", "line 42: found 2 columns, expected 3"),
        (GOOD + "1,2,x,4\n5,6,y\n", "line 42: found 4 columns, expected 3"),
        ("a,b,label\n1,2,x\n3,4,y\n1,2,x\n1,2,x,4\n", "line 5: found 4 columns, expected 3"),
        ("a,b,c\n1,2,3\n1,2,3\n", "line 2: every label is '3', expected at least two"),
        ("a,b,label\n1,2,NA\n1,2,\n", "found no label in column label"),
        (GOOD.replace("x", '"x"') + '1,2,"x\n5,6,y\n', "line 42: found a quote that does not end"),
        (GOOD.replace("y", '"y"') + '1,"2"3,x\n5,6,y\n', "line 42: .*quote"),
        pytest.param(
            *("a,b,c\n1," + "2" * 2**22 + ",3\n", "found more than 4,194,304 bytes"),
            marks=pytest.mark.slow,
        ),
        ("2" * 2**22 + "2,3", "line 1: found more than 4,194,304 bytes"),
        (",".join(["1"] * 20_001) + "\n", "found 20,001 columns, expected at most 20,000"),
        (GOOD + "1,2\0,x\n", "line 42: found a NUL"),
        (bytes(range(256)) * 9, "line 1: found a NUL"),
        (NUMBERS + "1,2,4O\n", "line 42: found the label '4O', expected a number"),
        (NUMBERS + "1,2,inf\n", "line 42: found the label 'inf'"),
        (column([f"t{i}" for i in range(30)]), "'label' has 30 different values in 30 rows"),
    ],
)  # fmt: skip
def test_errors_name_the_line(write: Write, text: Any, message: str) -> None:
    path = write(text)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500


def bad_cell(text: str) -> str:
    """A number of the last rows is none."""
    before, last = text[: len(text) * 4 // 5], text[len(text) * 4 // 5 :]
    return before + re.sub(r"\b3\b", "oops", last, count=1)


SHAPES: dict[str, Callable[[str], str]] = {
    "plain": lambda t: t,
    "CRLF": lambda t: t.replace("\n", "\r\n"),
    "CR": lambda t: t.replace("\n", "\r"),
    "blank lines": lambda t: t.replace("x\n", "x\n\n"),
    "no header": lambda t: t.split("\n", 1)[1],
    "comments above": lambda t: "# one\n# two\n" + t,
    "comments between": lambda t: "# one\n" + t.replace("x\n", "x\n# more\n"),
    "a title above": lambda t: "A title\n\n" + t,
    "sep=": lambda t: "sep=;\n" + t.replace(",", ";"),
    "line breaks in cells": lambda t: t.replace("x\n", '"two\nlines"\n'),
    "line breaks in cells, and CRLF": lambda t: (
        t.replace("x\n", '"two\nlines"\n').replace("\n", "\r\n")
    ),
    "line breaks before": lambda t: re.sub("(?m)^1,", '"\n1",', t),
    "spaces": lambda t: t.replace(",", "   "),
    "a byte order mark": lambda t: "\ufeff" + t,
    "tabs": lambda t: t.replace(",", "\t"),
    "spaces around": lambda t: t.replace(",", " , "),
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.sampled(4)
def test_the_line_of_a_bad_cell_is_that_of_an_editor(
    write: Write, shape: str, encoding: str
) -> None:
    text = bad_cell(SHAPES[shape](GOOD.replace("y\n", "é\n")))
    if encoding == "cp1252" and "\ufeff" in text:
        pytest.skip("Windows-1252 has no byte order mark")
    line = len(text[: text.index("oops")].splitlines()) + (text[text.index("oops") - 1] in "\r\n")
    data = load(write(text.encode(encoding)), test_fraction=0)
    name = "column 1" if shape == "no header" else "a"
    with pytest.raises(DataError, match=rf"line {line}, column {name}: found 'oops', expected a n"):
        Table().fit(data.X)


RAGGED = set(SHAPES) - {"spaces", "line breaks before"}


@pytest.mark.parametrize("shape", sorted(RAGGED))
@pytest.mark.sampled(2)
def test_the_line_of_a_ragged_row_is_that_of_an_editor(write: Write, shape: str) -> None:
    text = SHAPES[shape](GOOD)
    ends = re.search("[;,\t]+", text[20:])
    assert ends
    separator = ends[0]
    rows = text[: len(text) * 4 // 5].rindex(f"3{' ' * (' ,' in text)}{separator}")
    line = len(text[:rows].splitlines()) + 1
    ragged = text[:rows] + f"3{separator}" + text[rows:]
    with pytest.raises(DataError, match=rf"line {line}: found 4 columns, expected 3"):
        load(write(ragged))


def test_all_columns_with_bad_cells_are_named_at_once(write: Write) -> None:
    text = "a,day,c,label\n" + "".join(f"{d},2024-01-{d:02},3,{d % 2}\n" for d in range(1, 32))
    text += "".join(f"{d},2024-03-{d:02},3,{d % 2}\n" for d in range(1, 11))
    text += "one,2024-05-05,3,1\n2,2024-05-05,1O,1\n2,someday,1l,0\n"
    data = load(write(text), test_fraction=0)
    with pytest.raises(DataError) as caught:
        Table().fit(data.X)
    *lines, advice = str(caught.value).splitlines()
    assert [re.sub(".*: line", "line", each).rstrip(";") for each in lines] == [
        "line 43, column a: found 'one', expected a number",
        "line 45, column day: found 'someday', expected a date",
        "line 44, column c: found '1O' (and 1 more such cells), expected a number",
    ]
    assert all(f"--{option}" in advice for option in ("numeric", "categorical", "drop"))

    table = Table(numeric=["a"], categorical=["c"], drop=["day"]).fit(data.X)
    assert [f.kind for f in table.features] == ["number", "left out", "category"]
    assert table.features[0].missing == 1


def test_messages_stay_short_with_many_columns(write: Write) -> None:
    names = [f"column{i}" for i in range(500)]
    path = write("\n".join([",".join(names), *[",".join(["1"] * 500)] * 2]))
    with pytest.raises(DataError) as caught:
        load(path, label="nope")
    assert len(str(caught.value)) < 800
    for known in (Table.of_numbers([*names[:-1], "more"]), Table.of_numbers(["x", "y"])):
        with pytest.raises(DataError) as caught:
            load_evaluation(path, classes=None, n_features=500, known=Known(known))
        assert len(str(caught.value)) < 800


def test_text_for_regression(write: Write) -> None:
    with pytest.raises(DataError, match="line 2: found the label 'x', expected a number"):
        load(write(BASIC), task="regression")
    with pytest.raises(InvalidValueError, match="Did you mean 'regression'"):
        load(write(BASIC), task="regresion")


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        (["5 %", "7 %"], "per cent"),
        (["$5", "$7"], "an amount of money"),
        (["5 €", "7 €"], "an amount of money"),
        (["1 234.5", "2'345"], "in groups of thousands"),
        (["1.234,50 €", "5,25 €"], "an amount of money with decimal commas"),
        (["5,25", "7,5"], "with decimal commas"),
        (["5.25", "7.5"], ""),
        (["24.12.2023", "25.12.2024"], "day.month.year"),
        (["12/24/2023", "12/25/2024"], "month/day/year"),
        (["01/02/2023", "02/01/2024"], "month/day/year"),  # either way: said
        (["24/12/2023", "25/12/2024"], "day/month/year"),
        (["2023-12-24", "2024-12-25"], "year-month-day"),
    ],
)
def test_how_a_column_was_read_is_said(write: Write, cells: list[str], note: str) -> None:
    rows = "".join(f"{k};{cells[k % 2]};{'xy'[k % 3 % 2]}\n" for k in range(20))
    data = load(write("a;b;label\n" + rows), test_fraction=0)
    table = Table().fit(data.X)
    assert table.features[1].note == note
    assert note in table.summary()


@pytest.mark.parametrize("option", [{"decimal": "."}, {"decimal": ","}, {"decimal": None}])
def test_a_number_like_1_234_is_read_as_the_marks_say(write: Write, option: Any) -> None:
    """1,234 alone may be either; where the file's other numbers do not tell, points are marks."""
    table = load(write("a;label\n1,234;x\n5,678;y\n9,012;x\n"), test_fraction=0, **option)
    found = Table(scaling=None).fit(table.X).transform(table.X)
    times = 1.0 if option["decimal"] == "," else 1000.0
    np.testing.assert_allclose(np.sort(found[:, 0]), np.array([1.234, 5.678, 9.012]) * times)


def test_numbers_of_other_scripts_are_numbers(write: Write) -> None:
    data = load(write("١٢٣,\u00a01.5,x\n４,5,y\n٥,6,x\n"), test_fraction=0)
    found = Table(scaling=None).fit(data.X).transform(data.X)
    assert sorted(found.tolist()) == [[4, 5], [5, 6], [123, 1.5]]


def evaluate(path: Path, **options: Any) -> Any:
    """What a model of the columns a and b makes of a file."""
    table = Table.of_numbers(options.pop("features", ("a", "b")))
    columns, label = options.pop("columns", ()), options.pop("labels", ())
    options = {"classes": ("x", "y"), "n_features": 2, **options}
    found = load_evaluation(path, known=Known(table, columns, label), **options)
    X = found.X if isinstance(found.X, np.ndarray) else table.transform(found.X)
    return X.tolist(), None if found.y is None else found.y.tolist()


INPUTS = [[1.0, 2.0], [3.0, 4.5], [-0.5, 6.0]]


@pytest.mark.parametrize("classes", [("x", "y"), None])
@pytest.mark.parametrize(("cells", "some"), [(("", ""), False), (("NA", ""), False), (None, True)])
def test_a_column_of_labels_that_is_empty_is_no_label(
    write: Write, classes: Any, cells: Any, some: bool
) -> None:
    first, second = cells or ("", "x" if classes else "1")
    found = evaluate(write(f"a,b,label\n1,2,{first}\n3,4,{second}\n"), classes=classes)
    assert (found[1] is not None) is some


FIRST: dict[str, Any] = {"columns": ("label", "a", "b"), "labels": ("label",)}


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (BASIC, {}),
        ("b,label,a\n2,x,1\n4.5,y,3\n6,x,-.5\n", {}),
        ("b,species,a\n2,x,1\n4.5,y,3\n6,x,-.5\n", {}),
        ("id,b,label,a\n7,2,x,1\n8,4.5,y,3\n9,6,x,-.5\n", {}),
        ("id,b,kind,a\n7,2,x,1\n8,4.5,y,3\n9,6,x,-.5\n", {"label": "kind"}),
        ("1,2,x\n3,4.5,y\n-.5,6,x\n", {}),
        ("x,1,2\ny,3,4.5\nx,-.5,6\n", FIRST),  # as it was in training
        (BASIC, {"features": ("column 1", "column 2")}),
    ],
)
def test_evaluation_finds_the_columns(write: Write, text: str, options: Any) -> None:
    assert evaluate(write(text), **options) == (INPUTS, [0, 1, 0])


@pytest.mark.parametrize("text", ["b,a\n2,1\n4.5,3\n6,-.5\n", "1,2\n3,4.5\n-.5,6\n"])
@pytest.mark.parametrize("options", [{}, FIRST])
def test_evaluation_without_labels(write: Write, text: str, options: Any) -> None:
    assert evaluate(write(text), **options) == (INPUTS, None)


def test_evaluation_maps_labels_by_name(write: Write) -> None:
    path = write("a,b,label\n1,2,2.0\n3,4,1\n")
    assert evaluate(path, classes=("0", "1", "2"))[1] == [2, 1]
    assert evaluate(path, classes=None)[1] == [2.0, 1.0]
    with pytest.raises(DataError, match=r"line 2: found the label '2.0', expected .* 0, 1$"):
        evaluate(path, classes=("0", "1"))
    with pytest.raises(DataError, match="line 3: found the label 'y'"):
        evaluate(write(BASIC), classes=("x", "z"))
    with pytest.raises(DataError, match="line 2: found the label 'x', expected a number"):
        evaluate(write(BASIC), classes=None)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,c,label\n1,2,x\n", {}, "found no column 'b'; expected a, b"),
        ("1,2,3,x\n5,6,7,y\n", {}, "found 4 columns without names, expected 3 .*or 2 without"),
        (BASIC, {"label": "kind"}, "found no label column 'kind'"),
        ("a,b,label\n", {}, "found no rows after the header"),
    ],
)
def test_evaluation_errors(write: Write, text: str, options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(write(text), **options)


def test_without_duckdb_the_error_names_the_extra(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    with pytest.raises(MissingExtraError, match=r"data.csv needs duckdb.*xpmlp\[cli\]"):
        load(write(BASIC))


@pytest.mark.parametrize("late", ["", "NA", "oops", "7.25"])
def test_what_comes_late_is_read_like_what_comes_first(
    write: Write, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    """The kind of a column is seen from its first rows: from 20 here, of 41."""
    monkeypatch.setattr("xpmlp.data.tables.LOOKED_AT", 20)
    expected = load(write(GOOD), test_fraction=0)
    text = "".join(line.replace(",4,", f',"{late}",') for line in GOOD.splitlines(True)[-1:])
    data = load(write(GOOD + text), test_fraction=0)
    assert (len(expected.X), len(data.X)) == (40, 41)
    table = Table(numeric=["b"], scaling=None).fit(data.X)
    values = table.transform(data.X)[:, table.inputs.index("b")]
    assert sorted(values) == sorted([2.0] * 20 + [4.0] * 20 + [7.25 if late == "7.25" else 3.0])


@pytest.mark.slow
def test_ten_thousand_rows_take_about_a_second(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(10_000, 50))
    path = tmp_path / "large.csv"
    np.savetxt(path, np.c_[values, np.arange(10_000) % 3], delimiter=",")
    start = time.perf_counter()
    data = load(path, test_fraction=0)
    assert time.perf_counter() - start < 5  # measured: 0.2 s
    np.testing.assert_allclose(np.sort(inputs(data.X), 0), np.sort(values, axis=0), rtol=1e-15)


def test_a_file_is_copied_where_links_are_not_allowed(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, target: Path) -> None:
        raise OSError("a privilege is not held")

    monkeypatch.setattr(Path, "symlink_to", refused)
    assert len(load(write(GOOD), test_fraction=0).X) == 40
