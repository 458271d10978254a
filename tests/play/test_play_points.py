"""The data of the page: shapes as they are said to be, drawn by the seed; tables as read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import assert_close
from page import begun

from xpmlp.errors import DataError, InvalidValueError
from xpmlp.play.network import problem_of
from xpmlp.play.points import SHAPES, digits, make_points, table_points
from xpmlp.play.settings import Settings

PENGUINS = Path(__file__).resolve().parents[2] / "docs" / "data" / "penguins.csv"


def radius(X: Any) -> Any:
    return np.hypot(X[:, 0], X[:, 1])


IS_ONE = {
    "xor": lambda X: (X[:, 0] > 0) != (X[:, 1] > 0),
    "circles": lambda X: radius(X) < 1,
    "spirals": lambda X: np.abs(along_second_arm(X)) < 1e-6,
    "moons": lambda X: np.abs(np.hypot(X[:, 0] - 0.5, X[:, 1] - 0.25) - 1) < 1e-9,
}
"""What the class means, said in another way than by the formula that draws it."""


def along_second_arm(X: Any) -> Any:
    """How far a point is, in angle, from the arm that begins on the left."""
    angle = np.arctan2(X[:, 1], X[:, 0]) - (3.5 * np.pi * radius(X) / 1.9 + np.pi)
    return (angle + np.pi) % (2 * np.pi) - np.pi


@pytest.mark.parametrize("name", IS_ONE)
def test_classes_mean_what_they_say(name: str) -> None:
    data = make_points(name, n=400)
    X, y = data.rows
    assert data.classes == ("0", "1")
    expected = IS_ONE[name](X)
    if name == "moons":  # the other moon's points may lie on this one's circle, too
        expected = expected & ~(np.abs(np.hypot(X[:, 0] + 0.5, X[:, 1] + 0.25) - 1) < 1e-9)
        assert (y[expected] == 0).all() or (y[expected] == 1).all()
        return
    assert (expected == (y == 1)).all()
    assert 0.3 < y.mean() < 0.7


def test_values_are_those_of_the_formulas() -> None:
    (X, y), (Z, z) = make_points("line", n=50).rows, make_points("waves", n=50).rows
    assert_close(y, 0.4 * X[:, 0] + 0.6 * X[:, 1], atol=1e-12)
    assert_close(z, np.sin(2 * Z[:, 0]) * np.cos(1.5 * Z[:, 1]), atol=1e-12)


@pytest.mark.parametrize("name", SHAPES)
def test_the_seed_draws_the_points_and_noise_moves_them(name: str) -> None:
    given = {"n": 60, "test_share": 0.25}
    first, again = (make_points(name, **given, noise=0.1).rows for _ in range(2))
    other, plain = make_points(name, **given, seed=1).rows, make_points(name, **given).rows
    for a, b in zip(first, again, strict=True):
        assert (a == b).all()
    assert (other[0] != plain[0]).any()
    real = name in ("line", "waves")
    moved = first[real] - plain[real]
    assert 0.05 < moved.std() < 0.2
    assert (first[not real] == plain[not real]).all()


def test_parts_have_the_rows_they_should() -> None:
    data = make_points("moons", n=50, test_share=0.3)
    assert (len(data.y), len(data.y_test)) == (35, 15)
    assert make_points("moons", n=50, test_share=0.0).held_out is None
    with pytest.raises(InvalidValueError, match="Did you mean 'moons'"):
        make_points("moon")


def test_the_grid_goes_row_by_row_from_the_top() -> None:
    plane = make_points("xor").plane
    assert plane is not None
    grid = plane.grid(3).reshape(3, 3, 2)
    edge = plane.x[1]
    assert_close(grid[0, :, 0], np.array([-edge, 0, edge]))
    assert_close(grid[:, 0, 1], np.array([edge, 0, -edge]))


def test_digits_are_pixels() -> None:
    data = digits()
    assert (data.X.dtype, data.X.shape[1], data.plane) == (np.uint8, 64, None)
    assert data.classes == tuple("0123456789")


def test_a_table_has_the_axes_that_were_chosen() -> None:
    data = table_points(PENGUINS, label="species", columns=["sex", "body_mass_g", "year"])
    assert data.classes == ("Adelie", "Chinstrap", "Gentoo")
    assert data.plane is not None
    names = [data.inputs[k] for k in data.plane.columns]
    assert names == ["body_mass_g", "year"]
    low, high = data.plane.x
    assert low < 2700 < 6300 < high  # grams, as in the file
    assert data.plane.y[0] < 2007 < 2009 < data.plane.y[1]
    assert len(data.plane.shown) == len(data.rows[1]) == 344


def test_the_plane_of_a_table_meets_its_rows() -> None:
    """A place on the plane becomes the inputs of a row there."""
    data = table_points(PENGUINS, label="species", columns=["bill_length_mm", "bill_depth_mm"])
    plane, (X, _) = data.plane, data.rows
    assert plane is not None
    assert_close(plane.inputs(plane.shown)[:, plane.columns], X[:, plane.columns], atol=1e-6)


def test_a_table_has_two_columns_unless_others_are_asked_for() -> None:
    data = table_points(PENGUINS, label="species")
    assert {name.removesuffix(" is missing") for name in data.inputs} == {
        "bill_length_mm",
        "bill_depth_mm",
    }
    assert table_points(PENGUINS, label="species", columns=["sex"]).plane is None


def test_values_and_missing_cells_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["a,b,y", *(f"{k},{k % 7},{k / 3:.3f}" for k in range(60)), ",1,3"]))
    data = table_points(path)
    assert data.classes is None
    assert data.plane is not None
    assert np.isfinite(data.plane.shown).all()
    assert data.plane.inputs(data.plane.shown[:3]).shape == (3, len(data.inputs))


def test_large_tables_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["a,b,y", *(f"{k},{k % 13},{k % 2}" for k in range(5000))]))
    data = table_points(path)
    assert (len(data.y), len(data.y_test)) == (1500, 500)


@pytest.mark.parametrize(
    ("text", "given", "what"),
    [
        ("a,b\n1,2\n3,4\n", {"columns": ("c",)}, "unknown column 'c'"),
        ("a,y\n1,0\n1,1\n1,0\n", {}, "no column to learn from"),
        ("a,y\n1,0\n2,0\n3,0\n", {}, "every label is"),
        ("a,y\n" + "".join(f"{k},name{k % 30}\n" for k in range(300)), {}, "30 classes"),
        ("\0\0\0", {}, "NUL"),
        ("", {}, "t.csv"),
    ],
)
def test_tables_that_cannot_work(tmp_path: Path, text: str, given: Any, what: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises((DataError, InvalidValueError), match=what):
        problem_of(Settings(data="table", label="y" if "y" in text else None, **given), path)


def test_tables_with_too_many_inputs(tmp_path: Path) -> None:
    path, names = tmp_path / "t.csv", [f"c{k}" for k in range(120)]
    rows = [",".join([*names, "y"])]
    rows += [",".join(f"{(k * j) % 17}.5" for j in range(1, 122)) for k in range(40)]
    path.write_text("\n".join(rows))
    some = Settings(data="table", label="y", columns=tuple(names[:5]))
    assert len(problem_of(some, path).inputs) == 5
    with pytest.raises(DataError, match="at most 100"):
        problem_of(Settings(data="table", label="y", columns=tuple(names)), path)


def test_a_table_has_to_be_sent_first() -> None:
    with pytest.raises(InvalidValueError, match="open a file first"), begun({"data": "table"}):
        pass
