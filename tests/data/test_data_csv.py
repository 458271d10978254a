"""CSV files: separators, headers, labels, and errors that name the row and the column."""

import csv
import io
import time

import numpy as np
import pytest

from xpmlp.data import load, load_evaluation
from xpmlp.data.csv_file import _undecodable
from xpmlp.errors import DataError, InvalidValueError

BASIC = "a,b,label\n1,2,x\n3,4.5,y\n-5e-1,6,x\n"


@pytest.fixture
def write(tmp_path):
    def write(text, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def rows(data):
    """Return {inputs: label} of a data set that was not split."""
    label = (lambda y: data.classes[y]) if data.classes else float
    return {tuple(x): label(y) for x, y in zip(data.X.tolist(), data.y, strict=True)}


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
        "\n" + BASIC.replace("\n", "\n\n  \n"),
        BASIC.replace(",", " , "),
        BASIC.replace("x", '"x"').replace("\n1,", '\n"1",'),
        'label,"b",a\nx,2,1\ny,4.5,3\nx,6,-.5\n',
        BASIC[len("a,b,label\n") :],
    ],
)
def test_ways_to_write_the_same(write, text):
    data = load(write(text), test_fraction=0)
    expected = EXPECTED
    if text.startswith("label"):
        expected = {key[::-1]: value for key, value in EXPECTED.items()}
    assert rows(data) == expected
    assert (data.X.dtype, data.y.dtype, data.scaling) == (np.float64, np.int64, "standard")
    assert data.X_test.shape == (0, 2)
    assert data.y_test.shape == (0,)


def test_against_the_csv_module(tmp_path):
    rng = np.random.default_rng(1)
    X, labels = rng.normal(size=(50, 3)), rng.choice(['"quoted"', "a,b", "ü\nz", "d;e"], 50)
    path = tmp_path / "out.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["f1", "f,2", "f3", "Class"])
        writer.writerows(
            [*map(repr, map(float, x)), label] for x, label in zip(X, labels, strict=True)
        )
    data = load(path, test_fraction=0)
    assert data.features == ("f1", "f,2", "f3")
    assert data.classes == tuple(sorted(set(labels.tolist())))
    assert rows(data) == {tuple(x): label for x, label in zip(X.tolist(), labels, strict=True)}


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("a,b,c\n1,2,3\n4,5,6\n", ("a", "b")),
        ("1,2,3\n4,5,6\n", None),
        ("5.1,3.5,setosa\n4.9,3.0,virginica\n", None),  # no header: nothing names a column
        ("0,1,label\n4.9,3.0,b\n4.9,2.0,a\n", ("0", "1")),
        ("0,1,kind\n4.9,3.0,1\n4.9,2.0,0\n", ("0", "1")),
        ("1,2,y\n3,4,n\n", None),  # "y" is a class here
    ],
)
def test_header_detection(write, text, features):
    data = load(write(text), test_fraction=0)
    assert data.features == features
    assert len(data.X) == text.count("\n") - (features is not None)


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
def test_label_column(write, header, label, column):
    data = load(write(f"{header}\n1,10,100\n2,20,200\n"), label=label, test_fraction=0)
    names = header.split(",")
    assert data.features == tuple(n for i, n in enumerate(names) if i != column)
    assert data.classes == tuple(str(v * 10**column) for v in (1, 2))


@pytest.mark.parametrize("label", ["nope", "3", 3, -4, "1.0"])
def test_unknown_label_column(write, label):
    with pytest.raises(
        DataError, match=r"no label column .* 0 to 2 or one of the names a, b, label"
    ):
        load(write(BASIC), label=label)
    with pytest.raises(DataError, match="no header"):
        load(write("1,2,3\n4,5,6\n"), label=label)


def column(values):
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
    ],
)
def test_task_inference(write, values, task, classes):
    data = load(write(column(values)), task=task, test_fraction=0)
    assert data.classes == classes
    if classes is None:
        assert data.y.dtype == np.float64
        np.testing.assert_array_equal(data.y[np.argsort(data.X[:, 0])], [float(v) for v in values])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "found no rows"),
        ("\n \n", "found no rows"),
        ("a,b,c\n", "a header and no rows after it"),
        ("a\n1\n2\n", "found one column"),
        ("a,b,c\n1,2,3\n1,2\n", "row 3: found 2 columns, expected 3"),
        ("a,b,c\n\n1,2,3\n1,2,3,4\n", "row 4: found 4 columns, expected 3"),
        ("a,b,c\n1,oops,3\n", r"row 2, column 2 \(b\): found 'oops', expected a number"),
        ("1,2,3\n1,1;5,3\n", "row 2, column 2: found '1;5', expected a number"),
        ("a,b,c\n1,,3\n", r"row 2, column 2 \(b\): found nothing"),
        ("a,b,c\n1,2,\n", r"row 2, column 3 \(c\): found nothing, expected a label"),
        ("a,b,c\n1,2,3\nnan,2,4\n", r"row 3, column 1 \(a\): found 'nan', expected a finite"),
        ("a,b,c\n1,2,3\n1,1e999,4\n", r"row 3, column 2 \(b\): found 'inf', expected a finite"),
        ("a,b,c\n1,2,3\n1,2,inf\n", "row 3: found inf, expected a finite number"),
        ("a,b,c\n1,2,3\n1,2,4O\n", "row 3: found the label '4O', expected a number"),
        ("a,b,c\n1,2,3\n1,2,3\n", "every label is '3', expected at least two"),
        (",a,label\n0,1,2\n", "row 1, column 1: found no name.*index=False"),
        ("a,a,label\n0,1,2\n", "row 1, column 2: found the name 'a' again"),
        ('a,b,c\n1,2,"3\n4,5,6\n', "row 2: unexpected end of data"),
        ('a,b,c\n1,"2"3,3\n', "row 2: ',' expected after '\"'"),
        ("a,b,c\n1," + "2" * 200_000 + ",3\n", "row 2: field larger than field limit"),
        ("a,b,c\n1,2," + "z" * 1000 + "\n", r"row 2, column 3 \(c\): found 'z+\.\.\.'"),
        ("a,b,c\n1,2\0,3\n", "row 2: found a NUL"),
        (b"a,b,c\n1,2,\xe9\n", "byte 10 is not UTF-8"),
        (b"\xef\xbb\xbfa,b,c\n1,2,\xe9\n", "byte 13 is not UTF-8"),
        (BASIC.encode("utf-16"), "byte 0 is not UTF-8"),
        (b"a,b\n" + b"1,2\n" * 100_000 + b"\xff", "byte 400004 is not UTF-8"),
        ('a,label\n1,"two\nlines"\n2,x\noops,y\n', "row 5, column 1"),
    ],
)
def test_errors_name_the_place(write, text, message):
    path = write(text)
    with pytest.raises(DataError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_bad_byte_that_is_gone_when_it_is_looked_for():
    """The file may be written anew in between; there is a number to tell all the same."""
    assert _undecodable(io.BytesIO(b"a,b\n\xff")) == 4
    assert _undecodable(io.BytesIO(b"a,b\n1")) == 0


def test_messages_stay_short_with_many_columns(write):
    names = [f"column{i}" for i in range(2000)]
    text = "\n".join([",".join(names), *[",".join(["1"] * 2000)] * 2])
    for options in ({"label": "nope"}, {"features": tuple(n.upper() for n in names)}):
        with pytest.raises(DataError) as caught:
            evaluate(write(text), **options)
        assert len(str(caught.value)) < 800


def test_text_for_regression(write):
    with pytest.raises(DataError, match="row 2: found the label 'x', expected a number"):
        load(write(BASIC), task="regression")
    with pytest.raises(InvalidValueError, match="Did you mean 'regression'"):
        load(write(BASIC), task="regresion")


def evaluate(path, **options):
    options = {"classes": ("x", "y"), "features": ("a", "b"), **options}
    X, y = load_evaluation(path, **options)
    return X.tolist(), None if y is None else y.tolist()


INPUTS = [[1.0, 2.0], [3.0, 4.5], [-0.5, 6.0]]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (BASIC, {}),
        ("b,label,a\n2,x,1\n4.5,y,3\n6,x,-.5\n", {}),
        ("b,species,a\n2,x,1\n4.5,y,3\n6,x,-.5\n", {}),
        ("id,b,label,a\n7,2,x,1\n8,4.5,y,3\n9,6,x,-.5\n", {}),
        ("id,b,kind,a\n7,2,x,1\n8,4.5,y,3\n9,6,x,-.5\n", {"label": "kind"}),
        ("1,2,x\n3,4.5,y\n-.5,6,x\n", {}),
        ("x,1,2\ny,3,4.5\nx,-.5,6\n", {"label": 0}),
        ("x,1,2\ny,3,4.5\nx,-.5,6\n", {"label": "0", "features": None, "n_features": 2}),
        (BASIC, {"features": None}),
    ],
)
def test_evaluation_finds_the_columns(write, text, options):
    assert evaluate(write(text), **options) == (INPUTS, [0, 1, 0])


@pytest.mark.parametrize("text", ["b,a\n2,1\n4.5,3\n6,-.5\n", "1,2\n3,4.5\n-.5,6\n"])
@pytest.mark.parametrize("label", [None, "species"])
def test_evaluation_without_labels(write, text, label):
    assert evaluate(write(text), label=label) == (INPUTS, None)


def test_evaluation_maps_labels_by_name(write):
    path = write("a,b,label\n1,2,2.0\n3,4,1\n")
    assert evaluate(path, classes=("0", "1", "2"))[1] == [2, 1]
    assert evaluate(path, classes=None)[1] == [2.0, 1.0]
    with pytest.raises(DataError, match=r"row 2: found the label '2.0', expected .* 0, 1$"):
        evaluate(path, classes=("0", "1"))
    with pytest.raises(DataError, match="row 3: found the label 'y'"):
        evaluate(write(BASIC), classes=("x", "z"))
    with pytest.raises(DataError, match="row 2: found the label 'x', expected a number"):
        evaluate(write(BASIC), classes=None)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,c,label\n1,2,x\n", {}, "found no column b, expected the model's features: a, b"),
        ("1,2,3,x\n", {}, "found 4 columns, expected the model's 2 features, or 3"),
        ("1\n", {"n_features": 3, "features": None}, "found one column"),
        ("a,b,id,kind\n1,2,3,x\n", {"label": "a"}, "found the feature a as label"),
        (BASIC, {"label": "kind"}, "found no label column 'kind'"),
    ],
)
def test_evaluation_errors(write, text, options, message):
    with pytest.raises(DataError, match=message):
        evaluate(write(text), **options)


@pytest.mark.slow
def test_ten_thousand_rows_take_about_a_second(tmp_path):
    values = np.random.default_rng(0).normal(size=(10_000, 50))
    path = tmp_path / "large.csv"
    np.savetxt(path, np.c_[values, np.arange(10_000) % 3], delimiter=",")
    start = time.perf_counter()
    data = load(path, test_fraction=0)
    assert time.perf_counter() - start < 5  # measured: 0.2 s
    np.testing.assert_allclose(np.sort(data.X, axis=0), np.sort(values, axis=0), rtol=1e-15)
