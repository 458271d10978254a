"""``MLPClassifier``."""

from contextlib import nullcontext
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.neural_network import MLPClassifier as ScikitClassifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from xpmlp.errors import InvalidValueError
from xpmlp.model.class_weight import class_weights
from xpmlp.nn.contract import Array, Backend
from xpmlp.nn.losses import LOSSES
from xpmlp.nn.losses import loss as find_loss
from xpmlp.sklearn import _parameters
from xpmlp.sklearn._arrays import Examples, names_of, other_backend, to_host
from xpmlp.sklearn._base import BaseMLP
from xpmlp.sklearn._docs import documented


@documented
class MLPClassifier(ClassifierMixin, BaseMLP):
    """A multilayer perceptron for classification.

    Drop-in replacement for ``sklearn.neural_network.MLPClassifier``: the parameters up to
    ``max_fun`` are the same, and with the same ``random_state`` so are training and results, to
    rounding.

    Parameters
    ----------
    %(from_sklearn)s
    loss : "log_loss", another name in ``xpmlp.losses``, Loss, or callable (xp, z, y) -> (rows, dz)
        ``xpmlp.losses.SparseCategoricalCrossEntropy(label_smoothing=0.1)``, for example, and
        ``BinaryCrossEntropy`` for two classes or several labels. A regression loss, such as "mse",
        or a custom one compares probabilities with 0 and 1.
    class_weight : dict, list of dict, "balanced" or None
        A weight for each class, by which the weights of its rows are multiplied.
    %(additional)s

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        On the host, whatever X is.
    %(attributes)s

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from xpmlp.sklearn import MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier((50,), learning_rate_init=0.01, tol=0.02, n_iter_no_change=3)
    >>> model.set_params(random_state=0).fit(X[:1500], y[:1500]).score(X[1500:], y[1500:]) > 0.8
    True
    """

    _counterpart = ScikitClassifier
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
        bias: bool = True,
        initializer: Any = None,
        scaling: str | None = None,
        dtype: str | None = None,
        precision: str = "float32",
        backend: Any = None,
        device: str | None = None,
        callbacks: Any = None,
        table: Any = None,
    ) -> None:
        self._store(locals())

    @available_if(lambda self: self._has_partial_fit())
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
        """Train for one epoch, continuing with learning rate, optimizer state and counters.

        Parameters
        ----------
        X, y, sample_weight
            As for ``fit``.
        classes : array-like, shape (n_classes,)
            All classes of all calls; needed in the first.
        X_val, y_val, sample_weight_val : optional
            Validation data, which ``early_stopping`` needs here. When their score has not improved
            for ``n_iter_no_change`` calls, the best weights return and ``converged_`` is True.

        Returns
        -------
        self
        """
        y, validation = to_host(y), (X_val, y_val, sample_weight_val)
        with self._rollback_on_error():
            if _check_partial_fit_first_call(self, to_host(classes)):
                self._label_binarizer = LabelBinarizer()
                multilabel = type_of_target(y).startswith("multilabel")
                self._label_binarizer.fit(y if multilabel else self.classes_)
            return self._fit(X, y, sample_weight, validation, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return each row's class; for several labels 0 or 1 for each, shape (n, labels)."""
        return self._as_classes(self._outputs(X, "predict", lambda mlp, X: mlp.predict(X)))

    def predict_proba(self, X: Any) -> Array:
        """Return the classes' probabilities, in the order of ``classes_``.

        After ``calibrate`` they are those at the temperature found.
        """
        return self._outputs(X, "predict_proba", lambda mlp, X: mlp.predict_proba(X))

    def predict_set(self, X: Any, coverage: float = 0.9) -> Array:
        """Return a set of classes for each row, after ``calibrate``: bool, shape (n, classes).

        The sets contain the right class for at least this share of all rows like those of the
        calibration. See ``xpmlp.MLP.predict_set``.
        """
        return self._outputs(X, "predict_set", lambda mlp, X: mlp.predict_set(X, coverage))

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities."""
        p = self._outputs(X, "predict_log_proba", lambda mlp, X: mlp.predict_proba(X))
        backend = other_backend(p)
        with np.errstate(divide="ignore"), nullcontext() if backend is None else backend.current():
            return np.log(p) if backend is None else backend.xp.log(p)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy; for several labels the share of rows with all labels right."""
        predicted = to_host(self.predict(X))
        return float(accuracy_score(to_host(y), predicted, sample_weight=to_host(sample_weight)))

    def _learn_targets(self, y: np.ndarray, first: bool, incremental: bool) -> None:
        if not hasattr(self, "classes_") or (first and not incremental):
            self._label_binarizer = _binarizer(y)
            self.classes_ = self._label_binarizer.classes_
        elif self.warm_start and set(found := unique_labels(y)) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the "
                f"previous call to fit. Previously got {self.classes_}, `y` has {found}"
            )
        self.n_outputs_ = 1 if self._kind == "binary" else len(self.classes_)

    def _encode(self, y: np.ndarray) -> np.ndarray:
        if y.ndim == 1 and y.dtype == self.classes_.dtype:  # a fifth of unique_labels' time
            index = np.searchsorted(self.classes_, y)
            if (self.classes_.take(index, mode="clip") == y).all():
                return index.astype(np.int32)
        found = unique_labels(y)
        if len(np.setdiff1d(found, self.classes_, assume_unique=True)):
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. 'y' has {found}."
            )
        if self._kind == "multilabel":
            return (y > 0).astype(np.int32)
        return np.searchsorted(self.classes_, y).astype(np.int32)

    @property
    def _kind(self) -> str:
        if self._label_binarizer.y_type_.startswith("multilabel"):
            return "multilabel"
        return "labels" if len(self.classes_) > 2 else "binary"

    def _metadata(self) -> dict[str, Any]:
        return names_of(self.classes_)

    def _task(self) -> dict[str, Any]:
        link = "softmax" if self._kind == "labels" else "sigmoid"
        self.out_activation_ = {"sigmoid": "logistic"}.get(link, link)
        loss = _parameters.loss(self.loss, self.n_outputs_, self.solver)
        loss_link = link if loss is None else find_loss(loss).link
        if loss_link not in (link, "identity"):
            fitting = [n for n, made in LOSSES.items() if made.link == link]
            raise InvalidValueError(
                f"loss: found {find_loss(loss).name!r}, which has {loss_link} after "
                f"{self.n_outputs_} outputs; expected 'log_loss', {', '.join(fitting)} for these "
                "classes, or a regression loss such as 'mse'"
            )
        # If the loss has no link, the network itself turns its outputs into probabilities.
        output = link if loss_link == "identity" else None
        return {"targets": self._kind, "loss": loss, "output": output}

    def _row_weights(self, y: np.ndarray, weight: np.ndarray | None, incremental: bool) -> Any:
        if self.class_weight is None:
            return weight
        if incremental and isinstance(self.class_weight, str):
            raise InvalidValueError(
                "class_weight: found 'balanced' in partial_fit, which does not see all data; pass "
                "a dict, such as {0: 1.0, 1: 5.0}, or sample_weight"
            )
        of_class = class_weights(self.class_weight, y)
        return of_class if weight is None else weight * of_class

    def _strata(self, target: np.ndarray) -> np.ndarray | None:
        return target.astype(bool)[:, None] if self._kind == "binary" else None

    def _validation_score(self, held_out: Examples) -> float:
        p = to_host(self.mlp_.predict_proba(held_out.X))
        if not np.isfinite(p).all():
            return float("nan")
        index = p > 0.5 if self._kind == "multilabel" else p.argmax(axis=1)
        found = self._as_classes(index)
        return float(accuracy_score(held_out.y, found, sample_weight=held_out.weight))

    def _as_classes(self, index: Array) -> Array:
        """Return the classes of these indices, in the indices' library if it has such values."""
        backend = other_backend(index)
        if backend is not None:
            with backend.current():
                return self._as_classes_on(backend, index)
        if self._kind == "multilabel":
            return index.astype(np.int64)
        return self.classes_[index * 0 if len(self.classes_) == 1 else index]

    def _as_classes_on(self, backend: Backend, index: Array) -> Array:
        if self._kind == "multilabel":
            return backend.xp.astype(index, backend.xp.int64)
        if len(self.classes_) == 1:
            index = index * 0
        classes = self._classes_on(backend)
        if classes is None:
            return self.classes_[to_host(index)]
        return backend.xp.take(classes, index, axis=0)

    def _classes_on(self, backend: Backend) -> Array | None:
        """Return the classes on a device; None if its library cannot represent them."""
        if self.classes_.dtype.kind not in "bif" and self.classes_.dtype != np.uint8:
            return None
        classes = backend.asarray(self.classes_)
        return classes if np.array_equal(backend.to_numpy(classes), self.classes_) else None

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that a row may have several labels."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _binarizer(y: np.ndarray) -> LabelBinarizer:
    """Return scikit-learn's record of the classes, fitted.

    Its own ``fit`` takes as long as 20 steps of a small network: it looks three times for what y
    is, which the dtype says of whole numbers and text.
    """
    made = LabelBinarizer()
    if y.ndim != 1 or y.dtype.kind not in "biuU":
        return made.fit(y)
    made.classes_, made.sparse_input_ = np.unique(y), False
    made.y_type_ = "binary" if len(made.classes_) <= 2 else "multiclass"
    return made
