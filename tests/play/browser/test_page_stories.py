"""The diagnosis and the stories of the page."""

import pytest
from chromium import in_page, settings, status, until

pytestmark = pytest.mark.browser


def test_the_diagnosis_speaks_and_its_button_makes_the_change(visit):
    page = visit("#optimizer=sgd&learning_rate=0.000001&epochs=40&pace=null")
    status(page, "done")
    until(lambda: page.query_selector(".finding button"), "a finding with a change")
    assert "too small" in page.text_content("#diagnosis")
    assert page.text_content("#diagnosis p") != ""
    page.click(".finding button")
    until(lambda: settings(page)["learning_rate"] > 1e-6, "a larger rate")
    assert in_page(page, "run.running || run.status === 'done'")


def test_every_story_runs(visit):
    page = visit()
    names = page.evaluate(
        "() => [...document.querySelectorAll('#stories button')].map((b) => b.dataset.story)"
    )
    assert len(names) >= 9
    for name in names:
        page.click(f"[data-story={name}]")
        until(lambda: settings(page)["story"] == name, name)  # noqa: B023
        until(
            lambda: in_page(
                page, "run.frame?.epoch + run.frame?.step > 1 || run.frame?.status === 'failed'"
            ),
            name,
        )
        title = page.text_content(f"[data-story={name}]")
        assert title in page.text_content("#note")
        assert page.text_content("#note em")
        assert page.get_attribute(f"[data-story={name}]", "aria-pressed") == "true"
    page.select_option("#set-activation", '"relu"')  # one's own change ends the story
    until(lambda: settings(page)["story"] is None, "no story")
