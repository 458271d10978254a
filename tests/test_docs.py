"""The guide's promises that a test can keep; that its code runs, the build of the site shows."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"

SHOWN = {"text", "console", "toml", "yaml", "json", "ini"}
"""Formats and drawings: what is no code."""

DIRECTIVES = {
    *("code-cell", "terminal", "not-run", "math", "toctree", "image", "figure", "list-table"),
    "screen",  # pictures of the page of xpmlp play: docs/_ext/screens.py
    *("admonition", "attention", "caution", "danger", "error", "hint", "important", "note"),
    *("seealso", "tip", "warning", "dropdown", "eval-rst", "contents", "glossary", "rubric"),
    *("currentmodule", "module", "py:module", "py:currentmodule", "autosummary", "automodule"),
    *("autoclass", "autofunction", "automethod", "autoattribute", "autodata", "autoexception"),
}

Pages = Mapping[str, str]
"""The text of each page, by its name without suffix: ``"howto/tables"``."""


class Block(NamedTuple):
    """A fenced block of a page: ``(```){kind} argument``, or ``(```)kind`` for a language."""

    line: int
    kind: str
    argument: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page, those within others too."""
    fence = re.compile(r"^ *(`{3,}|~{3,}|:{3,}) *(\{[^}\n]+\}|[^\s`]*) *([^`\n]*)$")
    lines = page.splitlines()
    open_from: list[tuple[int, str, Block]] = []
    for number, line in enumerate(lines, start=1):
        found = fence.match(line)
        if not found:
            continue
        mark, kind, argument = found.groups()
        closes = not kind and open_from and mark.startswith(open_from[-1][1])
        if closes and mark[0] == open_from[-1][1][0]:
            start, _, block = open_from.pop()
            yield block._replace(text="\n".join(lines[start : number - 1]))
        elif not open_from or "{" in open_from[-1][2].kind:
            open_from.append((number, mark, Block(number, kind, argument.strip(), "")))
    for _, _, block in open_from:
        yield block._replace(kind="not closed")


def prose(page: str) -> str:
    """Return a page without its blocks and without code within lines."""
    without = re.sub(r"^ *(```+|~~~+).*?^ *\1 *$", "", page, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(`+).*?\1", "", without)


def is_directive(kind: str) -> bool:
    """Whether it is a directive that shows no code, or runs it, or says why not."""
    return kind.startswith("{") and kind.strip("{}") in DIRECTIVES


def unshown_code(pages: Pages) -> list[str]:
    """Return the blocks that neither run, nor say why not, nor are no code."""
    return [
        f"{name}.md:{block.line}: {block.kind or 'no language'}"
        for name, page in pages.items()
        for block in blocks(page)
        if block.kind not in SHOWN and not is_directive(block.kind)
    ]


def without_reason(pages: Pages) -> list[str]:
    """Return the ``{not-run}`` blocks without a sentence that says why."""
    return [
        f"{name}.md:{block.line}"
        for name, page in pages.items()
        for block in blocks(page)
        if block.kind == "{not-run}" and not re.fullmatch(r"\w.*\s.*\.", block.argument)
    ]


def draws(code: str) -> bool:
    """Whether a cell draws a picture: it calls what draws, or asks for a figure."""
    return re.search(r"\bplt\.|\.plot\(|\.imshow\(|\bImage\(", code) is not None


def without_alt(pages: Pages) -> list[str]:
    """Return the cells and pictures that say nothing to those who do not see them."""
    missing = []
    for name, page in pages.items():
        for block in blocks(page):
            settings, code = "", block.text
            if code.startswith("---\n"):
                settings, _, code = code.removeprefix("---\n").partition("\n---\n")
            said = {
                "{code-cell}": re.search(r"\balt: *(>-\s+)?[\"'\w]", settings) or not draws(code),
                "{image}": re.search(r"^:alt: *\S", code, flags=re.MULTILINE),
                "{screen}": code.strip(),
                "{figure}": re.search(r"^:alt: *\S", code, flags=re.MULTILINE),
            }
            if not said.get(block.kind, True):
                missing.append(f"{name}.md:{block.line}")
        missing += [f"{name}.md: {found}" for found in re.findall(r"!\[\]\([^)]*\)", prose(page))]
    return missing


def listed(pages: Pages) -> Iterator[tuple[str, str]]:
    """Yield (page, entry) for each page of a toctree, as a name from the root."""
    for name, page in pages.items():
        for block in blocks(page):
            if block.kind != "{toctree}":
                continue
            for line in filter(None, map(str.strip, block.text.splitlines())):
                if line.startswith(":") or "://" in line:
                    continue
                titled = re.search(r"<(.*)>$", line)
                entry = (titled[1] if titled else line).removesuffix(".md")
                here = "" if entry.startswith("/") else f"{Path(name).parent.as_posix()}/"
                yield name, (here + entry.lstrip("/")).removeprefix("./")


def outside_toctrees(pages: Pages) -> list[str]:
    """Return the pages that no toctree names, and the entries that are no page."""
    named = {entry for _, entry in listed(pages)}
    lost = [f"{name}.md" for name in pages if name != "index" and name not in named]
    generated = ("reference/generated/",)  # by autosummary, as the site is built
    return lost + [f"no page {n}" for n in named if n not in pages and not n.startswith(generated)]


def broken_links(pages: Pages, root: Path) -> list[str]:
    """Return the links to files that do not exist."""
    return [
        f"{name}.md: {target}"
        for name, page in pages.items()
        for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)", prose(page))
        if not re.match(r"\w+:", target)
        and not (root / f"{name}.md").parent.joinpath(target).exists()
    ]


@pytest.fixture(scope="module", name="pages")
def fixture_pages() -> dict[str, str]:
    """The pages that are written by hand."""
    skipped = ("_build", "reference/generated")
    return {
        name: path.read_text(encoding="utf-8")
        for path in sorted(DOCS.rglob("*.md"))
        if not (name := path.relative_to(DOCS).with_suffix("").as_posix()).startswith(skipped)
    }


def test_code_runs_or_says_why_not(pages: Pages) -> None:
    assert len(pages) > 10
    assert unshown_code(pages) == []
    assert without_reason(pages) == []


def test_every_page_is_in_a_toctree(pages: Pages) -> None:
    assert outside_toctrees(pages) == []


def test_every_picture_says_what_is_seen(pages: Pages) -> None:
    assert without_alt(pages) == []


def test_links_lead_somewhere(pages: Pages) -> None:
    assert broken_links(pages, DOCS) == []


GOOD = """\
# A page

```{code-cell}
x = "a `fence` within"
```

```{not-run} It needs an NVIDIA GPU.
xpmlp train mnist --backend cupy
```

````{note}
```text
a drawing
```
````

:::{warning}
```{terminal} xpmlp info
:ellipsis: 2
```
:::

```{code-cell}
---
mystnb:
  image: {alt: "A curve"}
---
ax.plot([1, 2])
```

![A curve](curve.png) and [a page](good.md#a-page), `[no link](in/code.md)`
"""


def test_a_good_page_passes(tmp_path: Path) -> None:
    (tmp_path / "curve.png").touch()
    (tmp_path / "good.md").touch()
    pages = {"index": "```{toctree}\n:caption: Learn\nA page <good>\n```\n", "good": GOOD}
    assert [block.kind for block in blocks(GOOD)] == [
        *("{code-cell}", "{not-run}", "text", "{note}", "{terminal}", "{warning}", "{code-cell}"),
    ]
    assert unshown_code(pages) == without_reason(pages) == without_alt(pages) == []
    assert outside_toctrees(pages) == broken_links(pages, tmp_path) == []


@pytest.mark.parametrize(
    "page",
    [
        "```python\nx = 1\n```\n",
        "```sh\nxpmlp info\n```\n",
        "```\nxpmlp info\n```\n",
        "~~~python\nx = 1\n~~~\n",
        "  ```python\n  x = 1\n  ```\n",
        "````{note}\n```sh\nls\n```\n````\n",
        ":::{note}\n```sh\nls\n```\n:::\n",
        "```{code-block} python\nx = 1\n```\n",
        "```code-cell\nx = 1\n```\n",
        "```{code-cell}\nx = 1\n",
    ],
)
def test_code_that_does_not_run_is_found(page: str) -> None:
    assert len(unshown_code({"page": page})) == 1


@pytest.mark.parametrize("reason", ["", " ", " GPU", " GPU."])
def test_a_missing_reason_is_found(reason: str) -> None:
    assert without_reason({"page": f"```{{not-run}}{reason}\nxpmlp info\n```\n"}) == ["page.md:1"]


@pytest.mark.parametrize(
    "page",
    [
        "```{code-cell}\nplt.show()\n```\n",
        '```{code-cell}\n---\nmystnb:\n  image: {alt: }\n---\nax.plot("alt: text")\n```\n',
        "```{code-cell}\n---\ntags: [hide-input]\n---\nax.imshow(x)\n```\n",
        "```{image} curve.png\n```\n",
        "```{figure} curve.png\n:alt:\nA caption\n```\n",
        "![](curve.png)\n",
    ],
)
def test_a_picture_without_a_text_is_found(page: str) -> None:
    assert len(without_alt({"page": page})) == 1


def test_a_lost_page_and_a_lost_entry_are_found() -> None:
    pages = {
        "index": "```{toctree}\nlearn/one\nlearn/three\n```\n",
        "learn/one": "",
        "learn/two": "",
    }
    assert outside_toctrees(pages) == ["learn/two.md", "no page learn/three"]
    within = pages | {"learn/one": "```{toctree}\ntwo\n/learn/three\n```\n", "learn/three": ""}
    assert outside_toctrees(within) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = "[a](nowhere.md) ![b](nowhere.png) [c](https://example.com/nowhere.md) [d](#here)"
    assert broken_links({"page": page}, tmp_path) == [
        "page.md: nowhere.md",
        "page.md: nowhere.png",
    ]
