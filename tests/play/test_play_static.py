"""The files of the page fit together; ``browser/`` sees them at work."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import xpmlp

STATIC = Path(xpmlp.__file__).parent / "play" / "static"
MODULES = sorted((STATIC / "js").glob("*.js"))
PAGE = (STATIC / "index.html").read_text(encoding="utf-8")


class Attributes(HTMLParser):
    """All tags of the page with their attributes, and the texts of scripts and styles."""

    def __init__(self):
        super().__init__()
        self.found, self.inline, self.inside = [], [], ""
        self.feed(PAGE)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside in ("script", "style") and data.strip():
            self.inline.append(data)


TAGS = Attributes()


def test_nothing_comes_from_elsewhere_and_nothing_is_inline():
    addresses = [a[n] for _, a in TAGS.found for n in ("src", "href") if n in a]
    assert len(addresses) > 4
    for address in addresses:
        if address != "#main":
            assert (STATIC / address.removeprefix("/static/")).is_file()
    names = {name for _, attributes in TAGS.found for name in attributes}
    assert not [name for name in names if name == "style" or name.startswith("on")]
    assert TAGS.inline == []
    texts = [path.read_text(encoding="utf-8") for path in (*MODULES, *STATIC.glob("*.css"))]
    assert not [text for text in texts if re.search(r"https?://|@import|url\(", text)]


def test_a_page_is_small():
    assert sum(path.stat().st_size for path in STATIC.rglob("*") if path.is_file()) < 300_000


IMPORT = re.compile(r'import (?:{([^}]*)}|\* as \w+) from "\./(\w+\.js)"')
IDS = {attributes["id"] for _, attributes in TAGS.found if "id" in attributes}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_modules_import_what_there_is_and_find_what_the_page_has(module):
    text = module.read_text(encoding="utf-8")
    for names, source in IMPORT.findall(text):
        offered = (STATIC / "js" / source).read_text(encoding="utf-8")
        for name in filter(None, (part.split(" as ")[0].strip() for part in names.split(","))):
            declared = rf"export (async )?(function|const|class|let) {re.escape(name)}(?!\w)"
            assert re.search(declared, offered), f"{source} has no {name}"
    made = set(re.findall(r'"?id"?: "([\w-]+)"', text))
    assert set(re.findall(r'\$\("([\w-]+)"\)', text)) <= IDS | made
