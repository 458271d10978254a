"""The page of ``xpmlp play`` in a real browser: every control, story and export."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import LIMIT, launched, serving, until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        os.environ.get("XPMLP_BROWSER") != "1",
        reason="the page in a browser: XPMLP_BROWSER=1 runs it, with playwright and Chromium",
    ),
]

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def address():
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    with launched() as found:
        yield found


@pytest.fixture
def visit(browser, address):
    """``visit("#data=moons")`` opens the page as a new visitor; what the console says is an error."""
    contexts, said = [], []

    def opened(hash: str = "", viewport: Any = WIDE, **options: Any) -> Any:
        context = browser.new_context(viewport=viewport, accept_downloads=True, **options)
        contexts.append(context)
        return tab(context, hash)

    def tab(context: Any, hash: str = "") -> Any:
        page = context.new_page()
        page.set_default_timeout(1000 * LIMIT)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda line: line.type == "error" and said.append(line.text))
        page.goto(address + hash)
        until(lambda: fact(page, "epoch") != "–" and network(page), "a network")
        return page

    opened.tab, opened.said = tab, said
    yield opened
    for context in contexts:
        context.close()
    assert said == []


def in_page(page, what):
    """The value of an expression in which ``run`` is the page's run."""
    # The content security policy forbids to make code of texts, but not to import the page's own.
    return page.evaluate(
        f"async () => {{ const {{ run }} = await import('/static/js/run.js'); return {what}; }}"
    )


def fact(page, name):
    return page.text_content(f"#fact-{name}")


def network(page):
    return in_page(page, "run.frame && run.state.sizes")


def settings(page):
    return in_page(page, "run.settings")


def status(page, wanted):
    until(lambda: in_page(page, "run.frame?.status") == wanted, f"status {wanted}")


def error(page):
    return page.text_content("#error") if page.is_visible("#error") else ""


def pause(page):
    if page.text_content("#run") == "Pause":
        page.click("#run")
    until(lambda: in_page(page, "run.frame?.status") in ("paused", "done", "failed"), "a pause")


def start(page, **wanted):
    """Start with settings as a link has them, and stand still."""
    page.evaluate(
        "hash => { location.hash = hash; }", "&".join(f"{k}={v}" for k, v in wanted.items())
    )
    until(lambda: all(shown(settings(page)[k]) == v for k, v in wanted.items()), f"{wanted}")
    pause(page)


def shown(value):
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def download(page, button):
    with page.expect_download() as found:
        page.click(button)
    return found.value, Path(found.value.path()).read_bytes()


# The first visit, and coming back


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
    epoch = in_page(page, "run.frame.epoch")
    page.reload()
    until(lambda: network(page), "a network")
    assert in_page(page, "[run.state.run, run.frame.epoch]") == [run, epoch]
    assert len(in_page(page, "run.history.train")) == epoch
    second = visit.tab(page.context)
    assert in_page(second, "[run.state.run, run.frame.epoch]") == [run, epoch]
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


# Every control


def test_run_pause_step_epoch_and_start_over(visit):
    page = visit()
    pause(page)
    page.click("#reset")
    until(lambda: in_page(page, "run.frame?.epoch === 0 && run.status") == "paused", "the start")
    page.click("#step")
    until(lambda: in_page(page, "run.frame.step") == 1, "a step")
    assert "step 1" in fact(page, "epoch")
    page.click("#epoch")
    until(lambda: in_page(page, "[run.frame.epoch, run.frame.step].join()") == "1,0", "an epoch")
    page.click("#run")
    until(lambda: in_page(page, "run.frame.epoch") > 3, "more epochs")
    assert page.text_content("#run") == "Pause"
    pause(page)
    assert page.text_content("#run") == "Run"


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
                str(low + 1 if kind == "number" else 0.3 if low == 0 else 100),
            )
        until(lambda: settings(page)[name] != before or error(page), f"another {name}")  # noqa: B023
        if error(page):  # a loss that does not suit the data, say: the run stays as it was
            assert settings(page)[name] == before
        until(lambda: network(page), "a network")
        tried += settings(page)[name] != before
        page.evaluate("() => { location.hash = 'seed=1'; }")  # back to the defaults
        until(lambda: settings(page)["seed"] == 1 and settings(page)[name] != "", "defaults")
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
    assert fact(page, "score") != "–"
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


# See why


def test_a_unit_a_weight_and_a_point_show_their_numbers(visit):
    page = visit()
    until(lambda: in_page(page, "run.frame.epoch") > 2, "epochs")
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
    drawn = in_page(page, "Array.from(run.frame.arrays['weights:0'].data)")
    np.testing.assert_allclose(np.reshape(drawn, (2, 4))[:, 2], unit["weights"], rtol=1e-5)
    page.click("#weight-1-1-2")
    until(lambda: "Weight from x2" in page.text_content("#why"), "a weight")
    assert "∂loss/∂w = δ · x2" in page.text_content("#why")
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


def explained(page):
    return in_page(
        page,
        "(await (await fetch('/api/explain', {method: 'POST', body: '{\"row\": 0}',"
        " headers: {'Content-Type': 'application/json'}})).json())",
    )


def numbers(page):
    """The rows of the table, as numbers."""
    rows = page.evaluate(
        "() => [...document.querySelectorAll('#why tbody tr')].map((tr) =>"
        " [...tr.children].map((td) => td.textContent))"
    )
    return [
        [row[0], *(float(c.replace("−", "-").replace(",", "")) for c in row[1:])] for row in rows
    ]


# The diagnosis and the stories


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
        until(lambda: in_page(page, "run.frame?.epoch > 1 || run.frame?.status === 'failed'"), name)
        title = page.text_content(f"[data-story={name}]")
        assert title in page.text_content("#note")
        assert "Look at" in page.text_content("#note")
        assert page.get_attribute(f"[data-story={name}]", "aria-pressed") == "true"
    page.select_option("#set-activation", '"relu"')  # one's own change ends the story
    until(lambda: settings(page)["story"] is None, "no story")


# Take it along


def test_show_as_python_makes_the_same_losses(visit, tmp_path):
    page = visit("#data=moons&noise=0.1&hidden=5,3&epochs=4&seed=3")
    status(page, "done")
    page.click("#take-code")
    until(lambda: page.is_visible("#code"), "the script")
    script = page.text_content("#code-text")
    with page.expect_download() as found:
        page.click("#code-save")
    assert Path(found.value.path()).read_text(encoding="utf-8") == script
    page.click("#code-close")
    assert not page.is_visible("#code")
    (tmp_path / "network.py").write_text(
        script + "\nimport json, sys\nprint(json.dumps(list(history['loss'])), file=sys.stderr)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run(
        [sys.executable, "network.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    losses = json.loads(ran.stderr.strip().splitlines()[-1])
    assert losses == in_page(page, "run.history.train")


def test_the_picture_the_film_the_model_and_the_link(visit, tmp_path):
    from PIL import Image

    import xpmlp

    page = visit("#hidden=5,3&epochs=30")
    status(page, "done")
    found, content = download(page, "#take-png")
    assert found.suggested_filename.endswith(".png")
    picture = Image.open(io.BytesIO(content))
    assert picture.size[0] > 1000
    assert len(picture.convert("RGB").getcolors(10**7)) > 500
    found, content = download(page, "#take-gif")
    film = Image.open(io.BytesIO(content))
    assert (found.suggested_filename[-4:], film.format) == (".gif", "GIF")
    assert film.n_frames > 5
    found, content = download(page, "#take-model")
    (tmp_path / found.suggested_filename).write_bytes(content)
    mlp = xpmlp.load(tmp_path / found.suggested_filename)
    assert mlp.sizes == (2, 5, 3, 1)
    drawn = in_page(page, "Array.from(run.frame.arrays['weights:0'].data)")
    np.testing.assert_array_equal(np.ravel(mlp.parameters["dense1.W"]), np.float32(drawn))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#take-link")
    until(lambda: "Copied" in page.text_content("#take-said"), "the link is copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == page.url


# A table


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


# Draw a digit


def draw(page, *lines):
    """Draw lines on the pad, in parts of its width."""
    box = page.locator("#pad").bounding_box()
    for (x, y), *more in lines:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        page.mouse.down()
        for x, y in more:
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=6)
        page.mouse.up()


def test_a_drawn_digit_is_read(visit):
    page = visit()
    page.click("#view-digit")
    until(lambda: "trained on" in page.text_content("#reader-said"), "a trained network")
    draw(page, [(0.5, 0.15), (0.5, 0.85)])
    until(lambda: page.text_content("#read-said").startswith("1"), "a one")
    chances = page.evaluate(
        "() => [...document.querySelectorAll('#read-bars div')].map((d) => d.lastChild.textContent)"
    )
    assert abs(sum(float(c.removesuffix(" %")) for c in chances) - 100) < 2
    assert len(page.query_selector_all("#read-hidden i")) > 10
    page.click("#pad-clear")
    until(lambda: page.text_content("#read-said") == "Draw something.", "a clear pad")
    page.focus("#pad")  # a one with the keyboard
    page.keyboard.press("Space")
    for _ in range(14):
        page.keyboard.press("ArrowDown")
    until(lambda: page.text_content("#read-said").startswith("1"), "a one, with the keyboard")
    page.click("#view-learn")
    assert page.is_visible("#network")


def test_a_model_file_reads_the_digit(visit, tmp_path):
    import xpmlp

    page = visit("#data=digits&hidden=16&epochs=2&pace=null")
    status(page, "done")
    found, content = download(page, "#take-model")
    (tmp_path / "mine.xpmlp").write_bytes(content)
    assert xpmlp.load(tmp_path / "mine.xpmlp").sizes == (64, 16, 10)
    page.click("#view-digit")
    page.set_input_files("#reader-file", tmp_path / "mine.xpmlp")
    until(lambda: "mine.xpmlp" in page.text_content("#reader-said"), "the file's network")
    assert "64-16-10" in page.text_content("#reader-said")
    (tmp_path / "bad.xpmlp").write_bytes(b"no model")
    page.set_input_files("#reader-file", tmp_path / "bad.xpmlp")
    until(lambda: error(page), "an error")
    visit.said[:] = [line for line in visit.said if "400" not in line]


# For everybody


def test_the_keyboard_alone_is_enough(visit):
    page = visit()
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
        ".filter((e) => e.id && !e.disabled && e.tabIndex >= 0 && e.getClientRects().length).map((e) => e.id)"
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


def blameless(page):
    assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
    if axe := os.environ.get("XPMLP_AXE"):
        page.evaluate(Path(axe).read_text(encoding="utf-8"))
        found = page.evaluate("async () => (await axe.run()).violations")
        assert [(v["help"], v["nodes"][0]["html"][:200]) for v in found] == []


def test_those_who_want_less_motion_get_two_frames_a_second(visit):
    page = visit(reduced_motion="reduce")
    until(lambda: in_page(page, "run.drawn") > 2, "frames")
    count = in_page(
        page,
        "await new Promise((done) => { let n = 0; const began = performance.now();"
        " run.on('frame', () => { n += 1; if (n === 4) done(performance.now() - began); }); })",
    )
    assert count > 1400  # no fewer than 500 ms from one to the next


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
