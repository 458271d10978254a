"""Every control of the page reaches the run."""

import json

import pytest
from chromium import error, fact, in_page, network, pause, settings, status, until

pytestmark = pytest.mark.browser


def test_run_pause_step_epoch_and_start_over(visit):
    page = visit("#epochs=10000")
    pause(page)
    page.click("#reset")
    until(lambda: in_page(page, "run.frame?.epoch === 0 && run.status") == "paused", "the start")
    page.click("#step")
    until(lambda: in_page(page, "run.frame?.step") == 1, "a step")
    until(lambda: "step 1" in fact(page, "epoch"), "its number")  # drawn with the next picture
    page.click("#epoch")
    until(lambda: in_page(page, "[run.frame?.epoch, run.frame?.step].join()") == "1,0", "an epoch")
    page.click("#run")
    until(lambda: in_page(page, "run.frame?.epoch") > 3, "more epochs")
    until(lambda: page.text_content("#run") == "Pause", "the button to pause")
    pause(page)
    until(lambda: page.text_content("#run") == "Run", "the button to run")


def test_every_setting_reaches_the_run(visit):
    page = visit()
    pause(page)
    tried = 0
    for field in page.query_selector_all("#settings [data-setting]"):
        name = field.get_attribute("data-setting")
        before = settings(page)[name]
        kind = field.get_attribute("type")
        if kind == "checkbox":
            field.click()
        elif field.evaluate("f => f.tagName") == "SELECT":
            values = field.evaluate("f => [...f.options].map(o => o.value)")
            field.select_option(next(v for v in values if json.loads(v) not in (before, "auto")))
        else:
            low = float(field.get_attribute("min"))
            field.evaluate(
                "(f, v) => { f.value = v; f.dispatchEvent(new Event('input'));"
                " f.dispatchEvent(new Event('change')); }",
                str(low + 3 if kind == "number" else 0.4 if low == 0 else 100),
            )
        until(lambda: settings(page)[name] != before or error(page), f"another {name}")  # noqa: B023
        if error(page):  # a loss that does not suit the data, say: the run stays as it was
            assert settings(page)[name] == before
        until(lambda: network(page), "a network")
        tried += settings(page)[name] != before
        page.evaluate("() => { location.hash = 'seed=1'; }")  # back to the defaults
        until(lambda: settings(page)["seed"] == 1, "defaults")
    assert tried >= 15
    visit.said[:] = [line for line in visit.said if "400" not in line]


@pytest.mark.parametrize("data", ["xor", "circles", "spirals", "moons", "line", "waves", "digits"])
def test_every_data_set_learns(visit, data):
    page = visit("#seed=2")
    page.click(f"[data-set={data}]")
    until(lambda: settings(page)["data"] == data and in_page(page, "run.frame?.epoch > 1"), data)
    assert error(page) == ""
    task = in_page(page, "run.state.task")
    assert task == ("values" if data in ("line", "waves") else "classes")
    until(lambda: fact(page, "score") != "–", "a score")
    assert page.is_visible("#plane-canvas") == (data != "digits")


def test_layers_and_units_by_clicking(visit):
    page = visit()
    page.click("#units-1-more")
    until(lambda: network(page) == [2, 5, 4, 1], "a unit more")
    page.click("#units-2-fewer")
    until(lambda: network(page) == [2, 5, 3, 1], "a unit fewer")
    page.click("#layers-more")
    until(lambda: network(page) == [2, 5, 3, 3, 1], "a layer more")
    for count in (2, 1, 0):
        page.click("#layers-fewer")
        until(lambda: len(network(page) or ()) == count + 2, f"{count} layers")  # noqa: B023
    assert page.is_disabled("#layers-fewer")
    assert settings(page)["hidden"] == []


def test_a_run_that_is_over_starts_again(visit):
    page = visit("#epochs=2")
    status(page, "done")
    run, losses = in_page(page, "[run.state.run, run.history.train]")
    until(lambda: page.is_disabled("#step"), "no more steps")
    until(lambda: page.text_content("#run") == "Run again", "the button to run again")
    page.click("#run")
    until(lambda: in_page(page, "run.state.run") != run, "another run")
    status(page, "done")
    assert in_page(page, "run.history.train") == losses
