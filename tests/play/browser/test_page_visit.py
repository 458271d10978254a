"""The first visit to the page, and coming back to it."""

import time

import pytest
from chromium import error, fact, in_page, network, pause, settings, status, until

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def at_rest(browser, address):
    """The page, where only its modules matter."""
    page = browser.new_page()
    page.goto(address)
    yield page
    page.close()


def test_a_first_visit_shows_a_network_that_learns(visit):
    page = visit()
    until(lambda: fact(page, "epoch") not in ("0", "–"), "epochs")
    assert in_page(page, "run.running")
    assert network(page) == [2, 4, 4, 1]
    assert "Watch" in page.text_content("#note")
    before = float(in_page(page, "run.history.train[0]"))
    until(lambda: in_page(page, "run.history.train.at(-1)") < before / 2, "a smaller loss")
    painted = page.evaluate(
        "() => { const c = document.querySelector('#plane-canvas');"
        " return new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height)"
        ".data.buffer)).size; }"
    )
    assert painted > 50


def test_a_reload_and_a_second_tab_find_the_run_again(visit):
    page = visit()
    until(lambda: int(fact(page, "epoch")) > 3, "epochs")
    run = in_page(page, "run.state.run")
    pause(page)
    epoch = in_page(page, "run.frame?.epoch")
    page.reload()
    until(lambda: network(page), "a network")
    assert in_page(page, "[run.state.run, run.frame?.epoch]") == [run, epoch]
    assert len(in_page(page, "run.history.train")) == epoch
    second = visit.tab(page.context)
    assert in_page(second, "[run.state.run, run.frame?.epoch]") == [run, epoch]
    second.click("[data-set=moons]")
    second.bring_to_front()
    until(lambda: settings(second)["data"] == "moons", "moons")
    page.bring_to_front()
    until(lambda: settings(page)["data"] == "moons", "moons in the first tab, too")
    assert page.get_attribute("[data-set=moons]", "aria-pressed") == "true"
    assert "moons" in page.url


def test_another_visitor_has_another_run(visit):
    one, other = visit(), visit()
    assert in_page(one, "run.state.run") != in_page(other, "run.state.run")
    other.click("[data-set=circles]")
    until(lambda: settings(other)["data"] == "circles", "circles")
    assert settings(one)["data"] == "xor"


def test_a_link_shows_the_same(visit):
    page = visit("#data=spirals&hidden=6,5,3&activation=relu&learning_rate=0.003&seed=4&epochs=3")
    status(page, "done")
    assert network(page) == [2, 6, 5, 3, 1]
    losses = in_page(page, "run.history.train")
    assert len(losses) == 3
    again = visit(page.url[page.url.index("#") :])
    status(again, "done")
    assert settings(again) == settings(page)
    assert in_page(again, "run.history.train") == losses


def test_a_link_that_asks_for_nonsense_gets_one_line_and_a_network(visit):
    page = visit("#activation=wild&hidden=4,4")
    assert "wild" in error(page)
    assert "\n" not in error(page).strip()
    assert settings(page)["activation"] == "tanh"
    visit.said[:] = [line for line in visit.said if "400" not in line]  # the answer, as expected


def test_a_closed_tab_pauses_its_run(visit, address):
    page = visit("#epochs=10000")
    run = in_page(page, "run.state.run")
    context = page.context
    page.close()
    # A question is a sign of life, so it is asked seldom: the server waits ten seconds for one.
    for _ in range(5):
        time.sleep(12)
        found = context.request.get(address + "api/state").json()
        if found["status"] == "paused":
            break
    assert (found["status"], found["run"]) == ("paused", run)


@pytest.mark.parametrize(
    "value",
    [
        *("plain", "a b&c=d#e", "1,2", "7", "null", "true", "[x", '"quoted"', "50 %", "héllo", ""),
        *(0.03, 1e-7, -2, True, False, None, [4, 4], [5], [], ["a,b", "c"], ["1", "2"], [None]),
    ],
)
def test_an_address_keeps_what_it_is_given(at_rest, value):
    found = at_rest.evaluate(
        "async (value) => { const { toHash, fromHash } = await import('/static/js/address.js');"
        " const hash = new URL('#' + toHash({ value, seed: 0 }, { seed: 0 }), location).hash;"
        " return fromHash(hash || '#value=null', { seed: 0 }); }",
        value,
    )
    assert found == {"seed": 0, "value": value}
