"""Photograph the page of ``xpmlp play`` into a folder: ``photograph.py FOLDER [NAME ...]``."""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [
    str(ROOT / part) for part in ("", "backends", "tests")
]  # tests drive it the same way

from chromium import NARROW, WIDE, draw, in_page, launched, pause, serving, until


def first_visit(page: Any) -> None:
    """XOR, half learned."""
    until(lambda: in_page(page, "run.frame?.score.test > 0.85"), "XOR half learned")
    pause(page)


def spirals(page: Any) -> None:
    """Two spirals, told apart."""
    until(
        lambda: in_page(page, "run.frame?.score.test > 0.97 || run.frame?.status === 'done'"),
        "spirals learned",
    )
    pause(page)


def explosion(page: Any) -> None:
    """The story of the explosion, to its end."""
    until(lambda: in_page(page, "['done', 'failed'].includes(run.frame?.status)"), "the end")
    until(lambda: page.query_selector(".finding"), "a finding")
    page.evaluate("() => document.querySelector('.curves').scrollIntoView({ block: 'end' })")


def unit(page: Any) -> None:
    """One unit's numbers, after a step."""
    until(lambda: in_page(page, "run.frame?.epoch > 20"), "epochs")
    page.click("#unit-1-1")
    until(lambda: page.query_selector("#why table"), "numbers")
    page.click("#step")
    until(lambda: page.query_selector("#why .moved"), "what changed")
    page.locator("#why").scroll_into_view_if_needed()
    page.evaluate("() => document.querySelector('.why').scrollIntoView({ block: 'end' })")


def digit(page: Any) -> None:
    """A three, drawn and read."""
    page.click("#view-digit")
    until(lambda: "trained on" in page.text_content("#reader-said"), "a trained network")
    curve = [(0.32, 0.22), (0.5, 0.15), (0.65, 0.25), (0.62, 0.4), (0.48, 0.48)]
    draw(page, [*curve, (0.64, 0.56), (0.68, 0.72), (0.52, 0.85), (0.32, 0.78)])
    until(lambda: "with" in page.text_content("#read-said"), "an answer")


SCREENS = {
    "first-visit": ("", first_visit),
    "spirals": ("#data=spirals&hidden=8,8,8&points=500&learning_rate=0.01&pace=null", spirals),
    "explosion": ("#story=explosion", explosion),
    "unit": ("", unit),
    "digit": ("", digit),
}


def main(folder: Path, wanted: list[str]) -> None:
    """Take each picture, light and dark, wide and narrow."""
    with serving() as address, launched() as browser:
        for name in wanted or SCREENS:
            where, act = SCREENS[name]
            for scheme in ("light", "dark"):
                for viewport in (WIDE, NARROW):
                    context = browser.new_context(viewport=viewport, color_scheme=scheme)
                    page = context.new_page()
                    page.goto(address + where)
                    if where.startswith("#story="):
                        page.click(f"[data-story={where.removeprefix('#story=')}]")
                    act(page)
                    path = folder / f"{name}-{scheme}-{viewport['width']}.png"
                    page.screenshot(path=path)
                    context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
