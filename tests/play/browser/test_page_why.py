"""The numbers of a unit, a weight and a point on the page."""

import re

import numpy as np
import pytest
from chromium import error, explained, in_page, numbers, pause, settings, status, until

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
    page.fill("#why-row", "7")
    page.press("#why-row", "Enter")
    shown = in_page(page, "run.state.points.x[6]")
    until(lambda: places(page) == pytest.approx(shown, rel=0.01, abs=0.01), "point 7")
    assert page.input_value("#why-row") == "7"
    page.click("#unit-0-0")
    until(lambda: "Where x1 goes" in page.text_content("#why"), "an input")
    page.click("#unit-3-0")
    until(lambda: "Output" in page.text_content("#why"), "the output")
    assert error(page) == ""


def places(page):
    """The point whose numbers are shown."""
    return [
        float(found.replace("−", "-"))
        for found in re.findall(r"x\d = ([\d.−-]+)", page.text_content("#why .lead"))
    ]


def test_an_answer_that_comes_while_a_number_is_typed_does_not_take_it_away(visit):
    page = visit()
    pause(page)
    page.click("#unit-1-0")
    until(lambda: page.query_selector("#why table"), "numbers")
    held = []
    page.route("**/api/explain", lambda route: held.append(route))
    page.click("#unit-1-1")
    until(lambda: page.title() and held, "a question")
    page.focus("#why-row")
    page.keyboard.press("Control+A")
    page.keyboard.type("2")
    held[0].continue_()
    until(lambda: "Unit 2 of" in page.text_content("#why"), "the late answer")
    page.unroute("**/api/explain")
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    shown = in_page(page, "run.state.points.x[26]")
    until(lambda: places(page) == pytest.approx(shown, rel=0.01, abs=0.01), "point 27")
    assert page.input_value("#why-row") == "27"
    assert page.evaluate("() => document.activeElement.id") == "why-row"


def test_a_run_that_starts_while_a_number_is_typed_does_not_take_it_away(visit):
    page = visit()
    pause(page)
    page.focus("#set-seed")
    page.keyboard.press("Control+A")
    page.keyboard.type("1")
    in_page(page, "await run.change({ noise: 0.2 })")  # as from another tab
    assert settings(page)["noise"] == 0.2
    page.keyboard.type("2")
    page.keyboard.press("Enter")
    until(lambda: settings(page)["seed"] == 12, "the seed")


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
