"""What the pages need beside Sphinx's own: commands that are run, code that says why it is not.

``{terminal} xpmlp ...`` runs the command as the site is built and shows it with its output; a
command that fails, fails the build. ``{not-run} reason`` shows code that the build does not run,
with the reason. Formulas become MathML, which browsers draw and screen readers read.
"""

import os
import shutil
from pathlib import Path
from typing import Any, ClassVar

import latex2mathml.converter
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinxcontrib.programoutput import ProgramOutputDirective

HERE = Path(__file__).parent
WORK = "_build/work"
"""Has a folder for the commands and cells of each page, made anew, with ``docs/data`` in it."""


class Terminal(ProgramOutputDirective):
    """A command, run in the page's own folder, and what it printed."""

    def run(self) -> list[Any]:
        page = self.state.document.settings.env.docname
        self.options |= {"cwd": f"/{WORK}/{page}", "prompt": None, "language": "console"}
        return super().run()


class NotRun(SphinxDirective):
    """Code that the build does not run, and the reason, which the page shows."""

    has_content = True
    required_arguments = 1
    final_argument_whitespace = True
    option_spec: ClassVar = {"language": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.content)
        code = nodes.literal_block(text, text, language=self.options.get("language", "sh"))
        why = nodes.paragraph(classes=["not-run"])
        why += self.parse_inline(f"Not run when this site is built: {self.arguments[0]}")[0]
        return [code, why]


def _drawn(node: nodes.Node, **options: Any) -> str:
    text = node.astext().replace("{aligned}", "{split}")  # the name that the converter knows
    return str(latex2mathml.converter.convert(text, **options))


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(_drawn(node))
    raise nodes.SkipNode


def _display(writer: Any, node: nodes.math_block) -> None:
    drawn = _drawn(node, display="block")
    writer.body.append(f'<div class="formula" tabindex="0" role="group">{drawn}</div>')
    raise nodes.SkipNode


def prepare(app: Sphinx) -> None:
    """Begin a build: cells find our settings, commands a terminal of 80 columns."""
    settings = Path(app.srcdir) / "_build" / "ipython"
    shutil.rmtree(settings, ignore_errors=True)
    shutil.copytree(HERE / "ipython", settings)
    shutil.rmtree(Path(app.srcdir) / WORK, ignore_errors=True)
    os.environ |= {"IPYTHONDIR": str(settings), "COLUMNS": "80"}


def begin(app: Sphinx, page: str, source: list[str]) -> None:
    """Begin a page: its cells and commands run in a folder of its own."""
    folder = Path(app.srcdir) / WORK / page
    shutil.copytree(Path(app.srcdir) / "data", folder)
    os.environ["XPMLP_DOCS_WORK"] = str(folder)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx of the directives."""
    app.add_directive("terminal", Terminal)
    app.add_directive("not-run", NotRun)
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    app.connect("builder-inited", prepare)
    app.connect("source-read", begin)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
