"""The visitor's own table on the page."""

import numpy as np
import pytest
from chromium import error, in_page, network, settings, until

pytestmark = pytest.mark.browser


def test_ones_own_table(visit, tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        f"{a:.3f},{b:.3f},{c:.3f},{'ab'[int(a * b > 0)]}" for a, b, c in rng.normal(size=(80, 3))
    ]
    (tmp_path / "mine.csv").write_text("\n".join(["width,height,weight,kind", *rows]))
    page = visit()
    page.set_input_files("#table-file", tmp_path / "mine.csv")
    until(lambda: settings(page)["data"] == "table" and network(page), "the table")
    assert "80 rows" in page.text_content("#table-said")
    assert in_page(page, "run.state.classes") == ["a", "b"]
    assert in_page(page, "run.state.inputs").__len__() >= 2
    page.select_option("#table-y", "weight")
    until(lambda: settings(page)["columns"] == ["width", "weight"], "another column")
    page.check("#table-others")
    until(lambda: settings(page)["columns"] == ["width", "weight", "height"], "all columns")
    page.uncheck("#table-others")
    until(lambda: settings(page)["columns"] == ["width", "weight"], "two columns")
    page.reload()
    until(lambda: page.query_selector("#table-y"), "the columns again")
    assert page.input_value("#table-y") == "weight"
    page.select_option("#table-label", "height")
    until(lambda: in_page(page, "run.state.task") == "values", "values to predict")


def test_a_file_that_is_no_table_gets_one_line(visit, tmp_path):
    (tmp_path / "nothing.csv").write_bytes(b"\x00\xff" * 50)
    (tmp_path / "large.csv").write_bytes(b"a,b\n" * 1_400_000)
    page = visit()
    page.set_input_files("#table-file", tmp_path / "nothing.csv")
    until(lambda: error(page), "an error")
    page.set_input_files("#table-file", tmp_path / "large.csv")
    until(lambda: "5 MB" in error(page), "too large")
    assert settings(page)["data"] == "xor"
    visit.said[:] = [line for line in visit.said if "400" not in line]
