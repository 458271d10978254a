"""What an explanation is made of, before it is printed or drawn."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from xpmlp.errors import unknown_name
from xpmlp.inspect.explain.notation import latex


@dataclass(frozen=True, eq=False)
class Quantity:
    """One array of a step, with its name and formula.

    Attributes
    ----------
    name : str
        ``"z1"``, ``"h1"``, ``"W1"``, ``"dLoss/dW1"``; ``"W1*"`` is ``W1`` after the update.
    formula : str
        How it follows from earlier quantities, as text; empty for what is given.
    values : ndarray
    note : str
        A remark for the reader.
    difference : ndarray, optional
        For a parameter's gradient: the central finite difference of the loss; NaN where it was
        not computed, because the value is not shown.
    full : bool
        Whether all values are shown, however many.

    Examples
    --------
    >>> mlp = xpmlp.MLP([1, 1], targets="values", initializer="zeros", backend="numpy")
    >>> gradient = xpmlp.explain(mlp, [1.0], 3.0)["dLoss/dW1"]
    >>> gradient.text, gradient.shape, gradient.values.tolist()
    ('dLoss/dW1 = (dz1/dW1)ᵀ dLoss/dz1', (1, 1), [[-3.0]])
    >>> gradient.error < 1e-6
    True
    """

    name: str
    formula: str
    values: np.ndarray
    note: str = ""
    difference: np.ndarray | None = None
    full: bool = False

    @property
    def text(self) -> str:
        """The name and its formula: ``"z1 = X W1"``."""
        return f"{self.name} = {self.formula}" if self.formula else self.name

    @property
    def latex(self) -> str:
        """The same in LaTeX, without dollar signs."""
        return latex(self.text)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values."""
        return self.values.shape

    @property
    def error(self) -> float | None:
        """Largest distance of gradient and finite difference; None without the latter."""
        if self.difference is None:
            return None
        return float(np.nanmax(np.abs(self.values.astype(np.float64) - self.difference)))


@dataclass(frozen=True)
class Section:
    """A part of an explanation; ``chain`` is its chain rule, one formula for each parameter.

    Examples
    --------
    >>> mlp = xpmlp.MLP([1, 1], targets="values", backend="numpy")
    >>> update = xpmlp.explain(mlp, [1.0], 3.0).sections[-1]
    >>> update.title, [quantity.name for quantity in update.quantities]
    ('Update', ['W1*', 'b1*', 'Loss*'])
    """

    title: str
    quantities: tuple[Quantity, ...]
    chain: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column of units in the drawing: the names of its values, of their gradient, of units."""

    values: str
    gradient: str
    units: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contents:
    """The contents of an ``Explanation``, which adds the ways to show them."""

    title: str
    notes: tuple[str, ...]
    sections: tuple[Section, ...]
    columns: tuple[Column, ...]

    @cached_property
    def quantities(self) -> dict[str, Quantity]:
        """Every `Quantity` by name, in the order of computation: a dict.

        Examples
        --------
        >>> mlp = xpmlp.MLP([1, 1], targets="values", backend="numpy")
        >>> "dLoss/dW1" in xpmlp.explain(mlp, [1.0], 3.0).quantities
        True
        """
        return {q.name: q for section in self.sections for q in section.quantities}

    def __getitem__(self, name: str) -> Quantity:
        if name not in self.quantities:
            raise unknown_name("quantity", name, self.quantities)
        return self.quantities[name]
