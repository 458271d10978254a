"""``Explanation``: one forward and backward step, and the ways to show it."""

from xpmlp.inspect.explain.contents import Contents
from xpmlp.inspect.explain.html import page
from xpmlp.inspect.explain.markdown import document
from xpmlp.inspect.explain.text import WIDTH, plain


class Explanation(Contents):
    """One forward and backward step; ``print`` it, or write ``.markdown()`` or ``.html()``.

    Attributes
    ----------
    title : str
    notes : tuple of str
        What is explained, and under which conditions.
    sections : tuple of Section
    columns : tuple of Column
        The layers of the drawing, inputs first.
    """

    def __str__(self) -> str:
        return self.text()

    def text(self, width: int = WIDTH) -> str:
        """Return plain text in lines of at most ``width`` columns, where that fits."""
        return plain(self, width)

    def markdown(self) -> str:
        """Return Markdown with formulas in LaTeX."""
        return document(self)

    def html(self) -> str:
        """Return one page that loads nothing, with the network drawn."""
        return page(self)

    def _repr_markdown_(self) -> str:
        return self.markdown()
