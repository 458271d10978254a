"""``TabularClassifier`` and ``TabularRegressor``."""

from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets

from xpmlp.errors import InvalidValueError
from xpmlp.mlp import MLP
from xpmlp.model.class_weight import class_weights
from xpmlp.model.measures import OF_CLASSES, OF_VALUES, Measure
from xpmlp.sklearn._arrays import names_of
from xpmlp.sklearn._docs import documented
from xpmlp.sklearn._tabular import BaseTabular


@documented
class TabularClassifier(ClassifierMixin, BaseTabular):
    """The best a multilayer perceptron does on a table without tuning: classes.

    It takes mixed data frames as they are. Nothing has to be scaled, encoded or filled in.

    Parameters
    ----------
    %(tabular)s
    class_weight : dict, "balanced" or None
        A weight for each class, by which the weights of its rows are multiplied.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    %(fitted)s

    Examples
    --------
    >>> from xpmlp.sklearn import TabularClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = {"size": rng.normal(size=200), "kind": rng.choice(["a", "b", "c"], 200)}
    >>> y = np.where((X["size"] > 0) ^ (X["kind"] == "b"), "yes", "no")
    >>> model = TabularClassifier("fast", hidden=(64, 64), epochs=32, random_state=0).fit(X, y)
    >>> model.classes_, model.score(X, y) > 0.9
    (array(['no', 'yes'], dtype='<U3'), True)
    """

    _metrics: ClassVar[dict[str, Measure]] = OF_CLASSES
    _classes_wanted = True
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseTabular._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        recipe: str = "best",
        *,
        ensemble: int | None = None,
        n_cv: int = 1,
        validation_fraction: float = 0.2,
        metric: str | None = None,
        patience: int | None = None,
        class_weight: Any = None,
        hidden: Any = None,
        epochs: int | None = None,
        learning_rate: float | None = None,
        table: Any = None,
        dtype: str = "float32",
        backend: Any = None,
        device: str | None = None,
        random_state: Any = None,
        verbose: Any = False,
    ) -> None:
        self._store(locals())

    def predict(self, X: Any) -> np.ndarray:
        """Return each row's class."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the classes' probabilities, in the order of ``classes_``: the members' mean."""
        p = self._mean(X)
        p = p[:, : len(self.classes_)]  # a single class has two outputs
        return p / p.sum(axis=1, keepdims=True)  # float32 sums to 1 in 7 digits

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of the probabilities."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    @property
    def _classes(self) -> int:
        return len(self.classes_)

    def _learn_targets(self, y: np.ndarray) -> np.ndarray:
        check_classification_targets(y)
        if y.ndim != 1:
            raise InvalidValueError(
                f"y: found shape {y.shape}; expected one class for each row. For several labels "
                "use xpmlp.sklearn.MLPClassifier(table='auto'), or one estimator for each"
            )
        self.classes_, target = np.unique(y, return_inverse=True)
        return target.astype(np.int32)

    def _metadata(self) -> dict[str, Any]:
        return names_of(self.classes_)

    def _row_weights(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray | None:
        if self.class_weight is None:
            return weight
        of_class = class_weights(self.class_weight, y)
        return of_class if weight is None else weight * of_class

    def _predicted(self, mlp: MLP, X: Any) -> np.ndarray:
        return np.asarray(mlp.predict_proba(X))


@documented
class TabularRegressor(RegressorMixin, BaseTabular):
    """The best a multilayer perceptron does on a table without tuning: values.

    It takes mixed data frames as they are. Nothing has to be scaled, encoded or filled in.

    Parameters
    ----------
    %(tabular)s

    Attributes
    ----------
    %(fitted)s

    Examples
    --------
    >>> from xpmlp.sklearn import TabularRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = {"size": rng.normal(size=200), "kind": rng.choice(["a", "b", "c"], 200)}
    >>> y = 100.0 * np.abs(X["size"]) + 50.0 * (X["kind"] == "b")
    >>> model = TabularRegressor("fast", hidden=(32,), epochs=64, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    """

    _metrics: ClassVar[dict[str, Measure]] = OF_VALUES
    _classes_wanted = False

    def __init__(
        self,
        recipe: str = "best",
        *,
        ensemble: int | None = None,
        n_cv: int = 1,
        validation_fraction: float = 0.2,
        metric: str | None = None,
        patience: int | None = None,
        hidden: Any = None,
        epochs: int | None = None,
        learning_rate: float | None = None,
        table: Any = None,
        dtype: str = "float32",
        backend: Any = None,
        device: str | None = None,
        random_state: Any = None,
        verbose: Any = False,
    ) -> None:
        self._store(locals())

    def predict(self, X: Any) -> np.ndarray:
        """Return the predicted values, shape (n,), or (n, outputs): the members' mean."""
        return self._mean(X)

    def _learn_targets(self, y: np.ndarray) -> np.ndarray:
        return y.astype(np.float64)

    def _predicted(self, mlp: MLP, X: Any) -> np.ndarray:
        return np.asarray(mlp.predict(X))
