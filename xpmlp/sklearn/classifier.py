"""``MLPClassifier``."""

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.neural_network import MLPClassifier as ScikitClassifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from xpmlp.errors import InvalidValueError
from xpmlp.sklearn import _parameters
from xpmlp.sklearn._arrays import elsewhere, on_host
from xpmlp.sklearn._base import BaseMLP
from xpmlp.sklearn._hooks import with_callbacks
from xpmlp.sklearn._monitor import Held

Array = Any


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A multilayer perceptron that tells classes apart."""

    _numeric = False
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **ScikitClassifier._parameter_constraints,
        **_parameters.CONSTRAINTS,
        "loss": _parameters.LOSS,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: Any = "log_loss",
        class_weight: Any = None,
        l1: float = 0.0,
        max_norm: float | None = None,
        dropout: Any = 0.0,
        input_dropout: float = 0.0,
        normalization: Any = None,
        residual: bool = False,
        dtype: str | None = None,
        precision: str = "float32",
        backend: Any = None,
        device: str | None = None,
        callbacks: Any = None,
    ) -> None:
        self._store(locals())

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train."""
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    @available_if(lambda self: self._available_for_batches())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train for one epoch over these data, going on from the last."""
        y = on_host(y)
        if _check_partial_fit_first_call(self, on_host(classes)):
            self._label_binarizer = LabelBinarizer()
            multilabel = type_of_target(y).startswith("multilabel")
            self._label_binarizer.fit(y if multilabel else self.classes_)
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=True)

    def predict(self, X: Any) -> Array:
        """Return each row's class; for several labels, shape (n, labels), 0 or 1 for each."""
        return self._as_labels(self._outputs(X, "predict", lambda mlp, X: mlp.predict(X)))

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes, in the order of ``classes_``."""
        return self._outputs(X, "predict_proba", lambda mlp, X: mlp.predict_proba(X))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities."""
        p = self._outputs(X, "predict_log_proba", lambda mlp, X: mlp.predict_proba(X))
        there = elsewhere(p)
        with np.errstate(divide="ignore"):
            return np.log(p) if there is None else there.xp.log(p)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy: for several labels, the share of rows of which all are right."""
        predicted = on_host(self.predict(X))
        return float(accuracy_score(on_host(y), predicted, sample_weight=on_host(sample_weight)))

    # Inside

    def _encode(self, y: np.ndarray, first: bool, incremental: bool) -> np.ndarray:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or (first and not incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            self._check_classes(unique_labels(y))
        self.n_outputs_ = self._outputs_of_classes()
        if self._kind == "multilabel":
            return (y > 0).astype(np.int32)
        if len(self.classes_) == 1:
            return np.zeros(len(y), dtype=np.int32)
        return np.searchsorted(self.classes_, y).astype(np.int32)

    def _check_classes(self, found: np.ndarray) -> None:
        if self.warm_start:
            if set(found) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the "
                    f"previous call to fit. Previously got {self.classes_}, `y` has {found}"
                )
        elif len(np.setdiff1d(found, self.classes_, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {found}."
            )

    @property
    def _kind(self) -> str:
        if self._label_binarizer.y_type_.startswith("multilabel"):
            return "multilabel"
        return "labels" if len(self.classes_) > 2 else "binary"

    def _outputs_of_classes(self) -> int:
        return 1 if self._kind == "binary" else len(self.classes_)

    def _targets(self) -> tuple[str, str, Any]:
        output = "softmax" if self._kind == "labels" else "logistic"
        return self._kind, output, _parameters.loss(self.loss, self.n_outputs_)

    def _weighted(self, y: np.ndarray, weight: np.ndarray | None, incremental: bool) -> Any:
        if self.class_weight is None:
            return weight
        if incremental and isinstance(self.class_weight, str):
            raise InvalidValueError(
                "class_weight: found 'balanced' in partial_fit, which does not see all data; pass "
                "a dict, such as {0: 1.0, 1: 5.0}, or sample_weight"
            )
        of_class = compute_sample_weight(self.class_weight, y)
        return of_class if weight is None else weight * of_class

    def _stratum(self, target: np.ndarray) -> np.ndarray | None:
        return target.astype(bool)[:, None] if self._kind == "binary" else None

    def _validation_score(self, held: Held) -> float:
        p = on_host(self.mlp_.predict_proba(held.X))
        if not np.isfinite(p).all():
            return float("nan")
        predicted = self._as_labels(self.mlp_.predict(held.X))
        return float(accuracy_score(held.y, on_host(predicted), sample_weight=held.weight))

    def _as_labels(self, index: Array) -> Array:
        """Return the classes of these numbers, in their library unless the classes are text."""
        there = elsewhere(index)
        if self._kind == "multilabel":
            return (
                index.astype(np.int64) if there is None else there.xp.astype(index, there.xp.int64)
            )
        if len(self.classes_) == 1:
            index = index * 0
        if there is None or self.classes_.dtype.kind not in "buif":
            return self.classes_[on_host(index)]
        return there.xp.take(there.asarray(self.classes_), index, axis=0)

    def __sklearn_tags__(self) -> Any:
        """Several labels for a row are welcome."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
