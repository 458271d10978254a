"""``MLPClassifier``."""

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.neural_network import MLPClassifier as ScikitClassifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from xpmlp.errors import InvalidValueError
from xpmlp.nn.contract import Backend
from xpmlp.nn.losses import LOSSES
from xpmlp.nn.losses import loss as find_loss
from xpmlp.sklearn import _parameters
from xpmlp.sklearn._arrays import elsewhere, on_host
from xpmlp.sklearn._base import BaseMLP
from xpmlp.sklearn._exchange import from_sklearn, to_sklearn
from xpmlp.sklearn._hooks import with_callbacks
from xpmlp.sklearn._monitor import Held

Array = Any


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A multilayer perceptron that tells classes apart.

    In the place of ``sklearn.neural_network.MLPClassifier``: the parameters up to ``max_fun`` are
    that one's, and with the same ``random_state`` training and results are the same, to rounding.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, or int
    activation : str, (f, derivative), Activation, or list of them
        Of the hidden layers: "identity", "logistic", "tanh", "relu", or any other that xpmlp
        knows, such as "gelu"; a list has one for each layer. See ``xpmlp.activations``.
    solver : {"adam", "sgd", "lbfgs"}, another of xpmlp's names, or an Optimizer
        "adamw", "rmsprop" and so on take ``learning_rate_init``; an object such as
        ``xpmlp.AdamW(1e-3, clip_norm=1.0)`` has its own settings.
    alpha : float
        L2 penalty ½ alpha ΣW², added to the sum of a batch's losses before it is divided by the
        number of rows, or by the sum of their weights.
    batch_size : int or "auto"
        "auto" is min(200, n).
    learning_rate : {"constant", "invscaling", "adaptive"} or Schedule
        The names count for "sgd" alone; an object, such as ``xpmlp.schedules.Cosine(1e-3)``, for
        every solver but "lbfgs", and in the place of ``learning_rate_init``.
    learning_rate_init : float
    power_t : float
        Of "invscaling".
    max_iter : int
        Most epochs, or iterations of "lbfgs".
    shuffle : bool
        Whether each epoch takes the rows in a new order.
    random_state : int, RandomState or None
        Of weights, order and the rows set aside; the same numbers as in scikit-learn.
    tol : float
        What counts as an improvement of the loss, or of the score under ``early_stopping``.
    verbose : bool or int
        Whether to print each epoch's figures.
    warm_start : bool
        Whether ``fit`` goes on from the weights there are.
    momentum : float
        Of "sgd".
    nesterovs_momentum : bool
    early_stopping : bool
        Whether to set rows aside, to stop when their score has not improved for
        ``n_iter_no_change`` epochs, and to end with the best weights. Rows passed to ``fit`` as
        ``X_val`` are used instead.
    validation_fraction : float
        Share of the rows set aside.
    beta_1, beta_2, epsilon : float
        Of "adam".
    n_iter_no_change : int or inf
    max_fun : int
        Most evaluations of "lbfgs".
    loss : "log_loss", a loss of xpmlp's, or callable (xp, z, y) -> (rows, dz)
        ``xpmlp.losses.SparseCategoricalCrossEntropy(label_smoothing=0.1)``, for example, and
        ``BinaryCrossEntropy`` for two classes or several labels. A loss of values, such as "mse" or
        your own, compares probabilities with 0 and 1.
    class_weight : dict, list of dict, "balanced" or None
        A weight for each class, in which its rows' weights are multiplied.
    l1 : float
        L1 penalty l1 Σ|W|, divided as ``alpha`` is.
    max_norm : float, optional
        Largest Euclidean norm of a unit's incoming weights.
    dropout : float or list of float
        Share of each hidden layer's units dropped in training.
    input_dropout : float
    normalization : {"layer", "batch"} or callable, optional
        Between each hidden dense map and its activation.
    residual : bool
        Whether hidden layers that keep the width add their input to their output.
    dtype : {"float32", "float64"}, optional
        To compute in; X's own unless given. Integers of 8 and 16 bits are computed in float32,
        which holds them exactly, and other integers in float64.
    precision : {"float32", "tf32", "bf16"}
        Of a GPU's matrix products.
    backend : str or Backend, optional
        "numpy", "cupy", "torch", "jax", "auto". Unless given: where X is; for what NumPy can read,
        the environment's ``XPMLP_BACKEND``, or NumPy.
    device : str, optional
        In the library's own terms: "cuda:1".
    callbacks : sequence of Callback, optional
        xpmlp's, for all solvers but "lbfgs": ``xpmlp.SaveModel("best.xpmlp")``. Those of
        scikit-learn 1.9 are given to ``set_callbacks``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        On the host, whatever X is.
    coefs_, intercepts_ : list of array
        Weights, shape (inputs, outputs), and biases of each layer, in the library of X.
    loss_ : float
        Of the last epoch.
    loss_curve_ : list of float
        Of each epoch. Not with "lbfgs", as the next three.
    best_loss_ : float or None
        None under ``early_stopping``, where the next two are not None.
    validation_scores_ : list of float or None
    best_validation_score_ : float or None
    history_ : History
        For each epoch: loss, learning rate, seconds; with validation data ``val_loss``,
        ``val_score`` and xpmlp's own figure of them.
    converged_ : bool
        Whether a stopping rule has ended the training, or in ``partial_fit``, would have.
    mlp_ : xpmlp.MLP
        The network itself: ``mlp_.save(path)``, ``xpmlp.explain(mlp_, X, y)``.
    n_iter_, t_, n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_
        As in scikit-learn.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from xpmlp.sklearn import MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> MLPClassifier(max_iter=20, random_state=0, tol=0.1).fit(X[:1500], y[:1500]).score(
    ...     X[1500:], y[1500:]
    ... ) > 0.9
    True
    """

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
        """Train.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame, shape (n, features)
            Of NumPy or what it can read, or an array of CuPy, PyTorch or JAX, which stays where
            it is.
        y : array-like, shape (n,), or (n, labels) of 0 and 1
            Classes: numbers or text. On the host, or an array of any library.
        sample_weight : array-like, shape (n,), optional
            A weight of 2 counts as the row twice.
        X_val, y_val, sample_weight_val : optional
            Rows to measure after each epoch: ``history_["val_loss"]``, and ``"val_score"``, which
            ``early_stopping`` goes by, and in which weights count.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For parameters and data that cannot work, and where a training leaves the finite
            numbers.
        DeviceMemoryError
            If the device's memory is too small, with a batch size that fits.
        """
        with self._unless_it_fails():
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
        """Train for one epoch over these data, going on from the last: rates, averages, counts.

        Parameters
        ----------
        X, y, sample_weight
            As for ``fit``.
        classes : array-like, shape (n_classes,)
            All classes that will ever come; needed at the first call.
        X_val, y_val, sample_weight_val : optional
            Rows to measure. ``early_stopping`` needs them here: when their score has not improved
            for ``n_iter_no_change`` calls, the best weights come back and ``converged_`` is True.

        Returns
        -------
        self
        """
        y, held = on_host(y), (X_val, y_val, sample_weight_val)
        with self._unless_it_fails():
            if _check_partial_fit_first_call(self, on_host(classes)):
                self._label_binarizer = LabelBinarizer()
                multilabel = type_of_target(y).startswith("multilabel")
                self._label_binarizer.fit(y if multilabel else self.classes_)
            return self._fit(X, y, sample_weight, held, incremental=True)

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

    def to_sklearn(self) -> ScikitClassifier:
        """Return a fitted ``sklearn.neural_network.MLPClassifier`` with the same predictions.

        Parameters that scikit-learn does not have are left out; they would matter to a further
        training only.

        Raises
        ------
        InvalidValueError
            For a network that scikit-learn cannot compute: with normalization, say.
        """
        return to_sklearn(self, ScikitClassifier)

    @classmethod
    def from_sklearn(cls, estimator: ScikitClassifier, **parameters: Any) -> Self:
        """Build a classifier with the parameters of scikit-learn's, and its weights if fitted.

        Parameters
        ----------
        estimator : sklearn.neural_network.MLPClassifier
        **parameters
            Of this class, in place of scikit-learn's or beside them: ``backend="cupy"``.
        """
        made: Self = from_sklearn(cls, estimator, ScikitClassifier, parameters)
        return made

    # Inside

    def _learn_targets(self, y: np.ndarray, first: bool, incremental: bool) -> None:
        if not hasattr(self, "classes_") or (first and not incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        elif self.warm_start and set(found := unique_labels(y)) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the "
                f"previous call to fit. Previously got {self.classes_}, `y` has {found}"
            )
        self.n_outputs_ = 1 if self._kind == "binary" else len(self.classes_)

    def _encode(self, y: np.ndarray) -> np.ndarray:
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

    def _task(self) -> dict[str, Any]:
        link = "softmax" if self._kind == "labels" else "sigmoid"
        self.out_activation_ = {"sigmoid": "logistic"}.get(link, link)
        loss = _parameters.loss(self.loss, self.n_outputs_, self.solver)
        own = link if loss is None else find_loss(loss).link
        if own not in (link, "identity"):
            fitting = [n for n, made in LOSSES.items() if made.link == link]
            raise InvalidValueError(
                f"loss: found {find_loss(loss).name!r}, which has {own} after {self.n_outputs_} "
                f"outputs; expected 'log_loss', {', '.join(fitting)} for these classes, or a loss "
                "of values such as 'mse'"
            )
        # A loss that does not make probabilities of the outputs itself is given probabilities.
        return {"targets": self._kind, "loss": loss, "output": link if own == "identity" else None}

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
        found = p > 0.5 if self._kind == "multilabel" else p.argmax(axis=1)
        return float(accuracy_score(held.y, self._as_labels(found), sample_weight=held.weight))

    def _as_labels(self, index: Array) -> Array:
        """Return the classes of these numbers, in their library where it has such classes."""
        there = elsewhere(index)
        if self._kind == "multilabel":
            return (
                index.astype(np.int64) if there is None else there.xp.astype(index, there.xp.int64)
            )
        if len(self.classes_) == 1:
            index = index * 0
        classes = None if there is None else self._classes_there(there)
        if there is None or classes is None:
            return self.classes_[on_host(index)]
        return there.xp.take(classes, index, axis=0)

    def _classes_there(self, there: Backend) -> Array | None:
        """Return the classes on a device; None where its library does not have such numbers."""
        if self.classes_.dtype.kind not in "bif" and self.classes_.dtype != np.uint8:
            return None
        classes = there.asarray(self.classes_)
        back = there.to_numpy(classes)
        return classes if np.array_equal(back, self.classes_) else None

    def __sklearn_tags__(self) -> Any:
        """Several labels for a row are welcome."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
