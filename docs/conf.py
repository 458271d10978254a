"""The site: Sphinx with MyST's Markdown. MyST-NB runs each page's code as the site is built."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from elsewhere import ALIASES, mapping

import xpmlp

project = "xpmlp"
author = "The xpmlp developers"
copyright = author  # noqa: A001  (Sphinx calls it so)
release = version = xpmlp.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "sphinx_copybutton",
    "sphinxcontrib.programoutput",
    "pages",
    "screens",
]
exclude_patterns = ["_build", "_ext", "data"]
suppress_warnings = ["myst-nb.mime_priority"]

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
nb_execution_mode = "force"  # a cache would not see that the library changed
nb_execution_raise_on_error = True
nb_execution_timeout = 120  # seconds
nb_merge_streams = True
copybutton_exclude = ".linenos, .gp, .go"  # of a terminal the command alone

smartquotes = False  # types in docstrings have straight quotes
default_role = "py:obj"  # a name in single backticks leads to its page
autodoc_typehints = "none"  # the docstrings have the types, in words
autosummary_generate = True
intersphinx_mapping = mapping(Path(__file__).parent / "_build" / "elsewhere")
numpydoc_xref_param_type = True  # types in docstrings lead to their pages
numpydoc_xref_aliases = ALIASES
numpydoc_xref_ignore = {"shape", "optional", "of", "or", "in", "default", "callable", "array-like"}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "xpmlp"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_sphinx = False
