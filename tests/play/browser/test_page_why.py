"""The numbers of a unit, a weight and a point on the page."""

import numpy as np
import pytest
from chromium import error, explained, in_page, numbers, pause, status, until

pytestmark = pytest.mark.browser


def test_a_unit_a_weight_and_a_point_show_their_numbers(visit):
    page = visit("#epochs=10000")
    until(lambda: in_page(page, "run.frame?.epoch") > 2, "epochs")
    page.click("#unit-1-2")  # pauses the run, too
    until(lambda: page.query_selector("#why table"), "the numbers of a unit")
    status(page, "paused")
    assert "Unit 3 of hidden layer 1" in page.text_content("#why")
    rows = numbers(page)
    unit = explained(page)["layers"][0]["units"][2]
    for row, x, w, g in zip(rows, unit["inputs"], unit["weights"], unit["gradients"], strict=False):
        np.testing.assert_allclose(row[1:], [x, w, w * x, g], rtol=2e-3, atol=1e-9)
    # The sum that is shown is that of the table, and the weights are those of the frame.
    np.testing.assert_allclose(
        unit["z"], np.dot(unit["inputs"], unit["weights"]) + unit["bias"], rtol=1e-4
    )
    drawn = in_page(page, "Array.from(run.frame?.arrays['weights:0'].data)")
    np.testing.assert_allclose(np.reshape(drawn, (2, 4))[:, 2], unit["weights"], rtol=1e-5)
    page.click("#weight-1-1-2")
    until(lambda: "Weight from x2" in page.text_content("#why"), "a weight")
    assert "dLoss/dw = δ · x2" in page.text_content("#why")
    page.click("#plane-canvas", position={"x": 200, "y": 60})
    until(lambda: "for point" in page.text_content("#why"), "another point")
    page.fill("#why-row", "7")
    page.press("#why-row", "Enter")
    until(lambda: page.input_value("#why-row") == "7", "point 7")
    page.click("#unit-0-0")
    until(lambda: "Where x1 goes" in page.text_content("#why"), "an input")
    page.click("#unit-3-0")
    until(lambda: "Output" in page.text_content("#why"), "the output")
    assert error(page) == ""


def test_a_line_of_the_drawing_can_be_clicked(visit):
    page = visit()
    pause(page)
    place = in_page(
        page,
        "(() => { const [a, b] = ['unit-1-0', 'unit-2-0'].map((id) => document.getElementById(id)"
        ".getBoundingClientRect()); return [(a.right + b.left) / 2, (a.top + a.bottom) / 2]; })()",
    )
    page.mouse.click(*place)
    until(lambda: "Weight from unit 1 of hidden layer 1" in page.text_content("#why"), "a weight")


def test_one_step_shows_what_changed(visit):
    page = visit()
    pause(page)
    page.click("#unit-1-0")
    until(lambda: page.query_selector("#why table"), "numbers")
    was = explained(page)["layers"][0]["units"][0]["weights"]
    assert page.query_selector("#why .moved") is None
    page.click("#step")
    until(lambda: page.query_selector("#why table .moved"), "what changed")
    now = explained(page)["layers"][0]["units"][0]["weights"]
    assert now != was
    assert len(page.query_selector_all("#why table .was")) >= 2
    for _ in range(2):
        shown = page.text_content("#why .lead")
        page.click("#epoch")
        until(lambda: page.text_content("#why .lead") != shown, "other numbers")  # noqa: B023
