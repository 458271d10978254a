"""Fixtures of the tests in a browser: Chromium, a server, and visitors; see ``chromium.py``."""

from typing import Any

import pytest
from chromium import LIMIT, WIDE, fact, launched, network, serving, until


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
    """``visit("#data=moons")`` opens the page as a new visitor; errors of the console fail."""
    contexts, said = [], []

    def opened(where: str = "", viewport: Any = WIDE, **options: Any) -> Any:
        context = browser.new_context(viewport=viewport, accept_downloads=True, **options)
        contexts.append(context)
        return tab(context, where)

    def tab(context: Any, where: str = "") -> Any:
        page = context.new_page()
        page.set_default_timeout(1000 * LIMIT)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda line: line.type == "error" and said.append(line.text))
        page.goto(address + where)
        until(lambda: fact(page, "epoch") != "–" and network(page), "a network")
        return page

    opened.tab, opened.said = tab, said
    yield opened
    for context in contexts:
        context.close()
    assert said == []
