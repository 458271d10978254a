"""The pad for a digit, and what reads it."""

import pytest
from chromium import download, draw, error, status, until

pytestmark = pytest.mark.browser


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
    _, content = download(page, "#take-model")
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
