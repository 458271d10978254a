"""Ink is found in uneven light, on a sheet on a table and light on dark, as on an even page."""

from pathlib import Path
from typing import Any

import numpy as np
import photos
import pytest

import xpmlp
from xpmlp.data.images import Picture, read_image
from xpmlp.data.ink import AT_BORDER, SEVERAL, find_ink
from xpmlp.data.picture_folder import FORM

pytest.importorskip("PIL.Image")
pytest.importorskip("scipy.ndimage")


@pytest.fixture(scope="module")
def rows() -> Any:
    return xpmlp.data.load("digits").X_test[:10]


def read(page: Any, tmp_path: Path) -> Picture:
    return read_image(Path(photos.save(page, tmp_path / "digit.png")), FORM, "uint8")


def alike(one: Picture, other: Picture) -> float:
    a, b = one.row.astype(float).ravel(), other.row.astype(float).ravel()
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


FORMS = {
    "uneven light": photos.unevenly_lit,
    "a shadow": photos.in_shadow,
    "on a table": photos.on_table,
    "on a table in uneven light": lambda page: photos.unevenly_lit(photos.on_table(page)),
    "light on dark": lambda page: 1 - page,
    "a table beside it": lambda page: np.pad(page, ((0, 0), (30, 0)), constant_values=0.12),
    "faint ink in uneven light": lambda page: photos.unevenly_lit(0.6 + 0.4 * page),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.sampled(3)
def test_the_same_digit_is_seen(form: str, rows: Any, tmp_path: Path) -> None:
    seen = []
    for row in rows:
        page = photos.on_paper(row)
        picture = read(FORMS[form](page), tmp_path)
        assert picture.warnings == ()
        assert ("sheet" in picture.done) == form.startswith("on a table")
        assert ("inverted" in picture.done) == (form != "light on dark")
        seen.append(alike(picture, read(page, tmp_path)))
    assert min(seen) > 0.85
    assert np.median(seen) > 0.95


@pytest.mark.parametrize("table", [0.02, 0.2, 0.3, 0.4, 0.5, 0.7])
@pytest.mark.sampled(3)
def test_a_table_of_any_brightness(table: float, rows: Any, tmp_path: Path) -> None:
    for row in rows[:5]:
        page = photos.on_paper(row)
        around = np.pad(page, ((40, 90), (60, 30)), constant_values=table)
        assert alike(read(around, tmp_path), read(page, tmp_path)) > 0.9


def test_a_light_zero_is_no_sheet(rows: Any) -> None:
    down, across = np.indices((100, 100)) - 50
    ring = ((down / 40) ** 2 + (across / 30) ** 2 < 1) & ((down / 25) ** 2 + (across / 15) ** 2 > 1)
    found = find_ink(ring.astype(float))
    assert found is not None
    assert (found.light, found.sheet) == (False, False)
    np.testing.assert_array_equal(found.values > 0.5, ring)


def test_a_shadow_with_a_sharp_edge_is_no_ink() -> None:
    page = np.full((100, 100), 0.9)
    page[30:70, 45:52] = 0.1
    page[np.tril_indices(100)] *= 0.5
    found = find_ink(page)
    assert found is not None
    down, across = np.nonzero(found.values)
    assert (down.min(), down.max(), across.min(), across.max()) == (30, 69, 45, 51)


def test_ink_at_the_border_is_told(rows: Any, tmp_path: Path) -> None:
    for row in rows:
        page = photos.on_paper(row)
        assert read(page, tmp_path).warnings == ()
        assert AT_BORDER in read(photos.cut_off(page), tmp_path).warnings
        assert AT_BORDER in read(1 - photos.cut_off(page), tmp_path).warnings


def test_ink_at_the_border_of_a_sheet_is_told(rows: Any, tmp_path: Path) -> None:
    picture = read(photos.on_table(photos.cut_off(photos.on_paper(rows[0]))), tmp_path)
    assert "sheet" in picture.done
    assert AT_BORDER in picture.warnings


def test_two_digits_are_told(rows: Any, tmp_path: Path) -> None:
    for left, right in zip(rows[::2], rows[1::2], strict=True):
        assert SEVERAL in read(photos.on_paper(left, right), tmp_path).warnings
    stacked = np.vstack([photos.on_paper(rows[0]), photos.on_paper(rows[1])])
    assert SEVERAL in read(stacked, tmp_path).warnings


def test_dust_is_no_ink(rows: Any, tmp_path: Path) -> None:
    page = photos.on_paper(rows[0])
    clean = read(page, tmp_path)
    page[5:8, 5:8] = page[-9:-5, -9:-5] = 0.2
    dusty = read(page, tmp_path)
    assert dusty.warnings == ()
    assert alike(dusty, clean) > 0.99


@pytest.mark.parametrize(
    "page", [np.full((20, 30), 0.5), np.outer(np.linspace(0.4, 1, 50), np.ones(60))]
)
def test_paper_without_ink(page: Any) -> None:
    assert find_ink(page) is None


def test_a_strip_of_paper_without_an_inside() -> None:
    page = np.pad(np.ones((128, 3)), ((0, 0), (1, 1)))
    found = find_ink(page)
    assert found is not None
    assert not found.sheet


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (2, 2), (1, 500), (3, 3)])
def test_tiny_and_narrow_pictures(shape: tuple[int, int]) -> None:
    page = np.ones(shape)
    page[0, 0] = 0
    found = find_ink(page)
    assert found is None or found.values.shape == shape
