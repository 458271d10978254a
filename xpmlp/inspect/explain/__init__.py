"""One forward and backward step of a network, with every value.

>>> from xpmlp.inspect.explain import explain, worked_step
>>> mlp, X, y, optimizer = worked_step("numpy")
>>> explanation = explain(mlp, X, y, optimizer)
>>> explanation["h2"].values.round(8)
array([[0.37166596, 0.45414264]])
"""

from xpmlp.inspect.explain.contents import Quantity, Section
from xpmlp.inspect.explain.explanation import Explanation
from xpmlp.inspect.explain.step import explain
from xpmlp.inspect.explain.worked import explain_worked_step, worked_step

__all__ = ["Explanation", "Quantity", "Section", "explain", "explain_worked_step", "worked_step"]
