"""``Explanation``: one forward and backward step, and the ways to show it."""

from xpmlp.errors import short
from xpmlp.inspect.explain.contents import Contents
from xpmlp.inspect.explain.html import fragment, page
from xpmlp.inspect.explain.markdown import document
from xpmlp.inspect.explain.text import WIDTH, plain
from xpmlp.show.facts import as_text


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

    Examples
    --------
    >>> mlp = xpmlp.MLP([2, 2, 1], targets="values", backend="numpy", seed=0)
    >>> explanation = xpmlp.explain(mlp, [1.0, 2.0], 3.0)
    >>> [section.title for section in explanation.sections]
    ['Given', 'Forward', 'Backward: layer 2', 'Backward: layer 1', 'Update']
    >>> list(explanation.quantities)[:5]
    ['X', 'y', 'W1', 'b1', 'W2']
    >>> explanation["W1"].shape
    (2, 2)
    """

    def __str__(self) -> str:
        return self.text()

    def text(self, width: int = WIDTH) -> str:
        """Return plain text in lines of at most ``width`` columns, where that fits.

        Examples
        --------
        >>> mlp = xpmlp.MLP([1, 1], targets="values", initializer="zeros", backend="numpy")
        >>> print(xpmlp.explain(mlp, [1.0], 3.0).text(width=60).splitlines()[0])
        One training step of the network 1-1, with every number
        """
        return plain(self, width)

    def markdown(self) -> str:
        """Return Markdown with formulas in LaTeX.

        Examples
        --------
        >>> from pathlib import Path
        >>> mlp = xpmlp.MLP([1, 1], targets="values", backend="numpy")
        >>> size = Path("step.md").write_text(xpmlp.explain(mlp, [1.0], 3.0).markdown(), "utf-8")
        """
        return document(self)

    def html(self) -> str:
        """Return one page that loads nothing, with the network drawn.

        Examples
        --------
        >>> from pathlib import Path
        >>> mlp = xpmlp.MLP([1, 1], targets="values", backend="numpy")
        >>> size = Path("step.html").write_text(xpmlp.explain(mlp, [1.0], 3.0).html(), "utf-8")
        """
        return page(self)

    def __repr__(self) -> str:
        rows = [(s.title, ", ".join(q.name for q in s.quantities)) for s in self.sections]
        return as_text(f"Explanation: {self.title}", [(t, short(names, 60)) for t, names in rows])

    def _repr_html_(self) -> str:
        return fragment(self)
