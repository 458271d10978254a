"""The page with the keyboard alone, on a phone, in the dark, and for screen readers."""

import pytest
from chromium import (
    NARROW,
    WIDE,
    blameless,
    draw,
    error,
    in_page,
    network,
    pause,
    serving,
    start,
    status,
    until,
)

pytestmark = pytest.mark.browser


def test_the_keyboard_alone_is_enough(visit):
    page = visit("#epochs=10000")  # more than fit into the time that the test takes
    seen = []
    for _ in range(150):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("() => document.activeElement.id || document.activeElement.className")
        )
        if seen[-1] in seen[:-1] and seen[-1] == "skip":
            break
    ids = page.evaluate(
        "() => [...document.querySelectorAll('#learn button, #learn select, #learn input')]"
        ".filter((e) => e.id && !e.disabled && e.tabIndex >= 0 && e.getClientRects().length)"
        ".map((e) => e.id)"
    )
    assert set(ids) <= set(seen)
    page.focus("#run")
    page.keyboard.press("Enter")
    status(page, "paused")
    page.focus("#unit-1-0")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("() => document.activeElement.id") == "unit-2-1"
    page.keyboard.press("Enter")
    until(lambda: "Unit 2 of hidden layer 2" in page.text_content("#why"), "a unit")
    page.focus("#weight-2-1-1")
    page.keyboard.press("Space")
    until(lambda: "Weight from unit 2" in page.text_content("#why"), "a weight")
    assert page.evaluate("() => document.activeElement.id") == "weight-2-1-1"
    page.focus("#plane-canvas")
    page.keyboard.press("ArrowRight")
    until(lambda: page.input_value("#why-row") == "2", "the next point")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_is_wider_than_the_screen_and_axe_finds_nothing(visit, viewport, scheme):
    page = visit("#hidden=8,8,8", viewport, color_scheme=scheme)
    page.click("#unit-2-1")
    until(lambda: page.query_selector("#why table"), "numbers")
    blameless(page)
    start(page, hidden="50,50", learning_rate="0.5", optimizer="sgd")
    blameless(page)
    page.click("#take-code")
    until(lambda: page.is_visible("#code"), "the script")
    blameless(page)
    page.click("#code-close")
    page.click("#view-digit")
    until(lambda: "trained on" in page.text_content("#reader-said"), "a trained network")
    draw(page, [(0.3, 0.3), (0.7, 0.3), (0.4, 0.8)])
    until(lambda: "with" in page.text_content("#read-said"), "an answer")
    blameless(page)


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_those_who_want_less_motion_get_two_frames_a_second(visit, motion):
    page = visit("#epochs=10000", reduced_motion=motion)
    pauses = in_page(
        page,
        "await new Promise((done) => {"
        " const own = window.setTimeout; let [frames, pauses] = [0, 0];"
        " window.setTimeout = (work, ms) => { pauses += ms === 500; return own(work, ms); };"
        " run.on('frame', () => { frames += 1; if (frames === 5) done(pauses); }); })",
    )
    assert (pauses >= 3) == (motion == "reduce")  # of half a second, between frames


def test_the_status_is_said_to_screen_readers(visit):
    page = visit()
    pause(page)
    until(lambda: "Paused at epoch" in page.text_content("#status"), "a sentence")
    assert "accuracy" in page.text_content("#status").lower()


def test_a_server_that_is_gone_is_said_and_found_again(browser):
    with serving() as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(address)
        until(lambda: network(page), "a network")
    until(lambda: "xpmlp play" in error(page), "what is wrong, and what to do")
    context.close()
