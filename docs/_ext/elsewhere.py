"""Names of other projects' documentation, for intersphinx.

Sphinx would fetch a list of thousands from each, and a build must not need a network. These are the
names that our docstrings use.
"""

import zlib
from pathlib import Path

from numpydoc.xref import DEFAULT_LINKS

DEFAULT_LINKS.clear()  # they lead to glossaries that are not in the lists below

PYTHON = ("TypeError", "ValueError", "OSError", "MemoryError", "ArithmeticError", "ImportError")
ELSEWHERE = {
    "python": (
        "https://docs.python.org/3/",
        dict.fromkeys(PYTHON, ("exception", "library/exceptions.html#$")),
    ),
    "numpy": (
        "https://numpy.org/doc/stable/",
        {
            "numpy.ndarray": ("class", "reference/generated/numpy.ndarray.html"),
            "numpy.random.Generator": ("class", "reference/random/generator.html#$"),
        },
    ),
    "sklearn": (
        "https://scikit-learn.org/stable/",
        {
            f"sklearn.neural_network.{name}": (
                "class",
                f"modules/generated/sklearn.neural_network.{name}.html",
            )
            for name in ("MLPClassifier", "MLPRegressor")
        },
    ),
    "pandas": (
        "https://pandas.pydata.org/docs/",
        {"pandas.DataFrame": ("class", "reference/api/pandas.DataFrame.html")},
    ),
}
ALIASES = {"ndarray": "numpy.ndarray", "DataFrame": "pandas.DataFrame"}
"""Names as our docstrings write them."""


def mapping(folder: Path) -> dict[str, tuple[str, str]]:
    """Write the lists as Sphinx reads them, and return where each project is."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for project, (address, names) in ELSEWHERE.items():
        lines = [f"{name} py:{kind} 1 {place} -\n" for name, (kind, place) in names.items()]
        head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
        head += "# The remainder of this file is compressed using zlib.\n"
        path = folder / f"{project}.inv"
        path.write_bytes(head.encode() + zlib.compress("".join(lines).encode()))
        made[project] = (address, str(path))
    return made
