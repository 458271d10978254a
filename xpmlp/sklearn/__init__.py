"""Estimators for scikit-learn, on any array library and on a GPU.

>>> from xpmlp.sklearn import MLPClassifier
>>> MLPClassifier(hidden_layer_sizes=(100,), backend="cupy")  # doctest: +SKIP

`MLPClassifier` and `MLPRegressor` are drop-in replacements for those in ``sklearn.neural_network``:
the same parameters, defaults, fitted attributes, warnings and messages, and with the same
``random_state`` the same training, to rounding. Additional parameters are off by default.

`TabularClassifier` and `TabularRegressor` are for tables, with recipes that need no tuning.

The estimators are a thin layer over ``xpmlp.MLP``: no formula and no training loop is in here.
"""

from xpmlp.errors import require

require("sklearn", "sklearn", "xpmlp.sklearn")

from xpmlp.sklearn._search import Search, search  # noqa: E402
from xpmlp.sklearn.classifier import MLPClassifier  # noqa: E402
from xpmlp.sklearn.regressor import MLPRegressor  # noqa: E402
from xpmlp.sklearn.tabular import TabularClassifier, TabularRegressor  # noqa: E402

__all__ = [
    "MLPClassifier", "MLPRegressor", "Search", "TabularClassifier", "TabularRegressor", "search",
]  # fmt: skip
