"""``MLPRegressor``."""

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPRegressor as ScikitRegressor
from sklearn.utils.metaestimators import available_if

from xpmlp.nn.losses import loss as find_loss
from xpmlp.sklearn import _parameters
from xpmlp.sklearn._arrays import on_host
from xpmlp.sklearn._base import BaseMLP
from xpmlp.sklearn._exchange import from_sklearn, to_sklearn
from xpmlp.sklearn._hooks import with_callbacks
from xpmlp.sklearn._monitor import Held

Array = Any


class MLPRegressor(RegressorMixin, BaseMLP):
    """A multilayer perceptron that predicts numbers.

    In the place of ``sklearn.neural_network.MLPRegressor``: the parameters up to ``max_fun`` are
    that one's, and with the same ``random_state`` training and results are the same, to rounding.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, a loss of xpmlp's, or callable (xp, z, y) -> (rows, dz)
        "mae", "quantile", ``xpmlp.losses.Huber(2.0)``. The first two are halved, as there;
        "poisson" predicts rates, exp of the last layer, and wants y of 0 or more.
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
    """

    _numeric = True
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **ScikitRegressor._parameter_constraints,
        **_parameters.CONSTRAINTS,
        "loss": _parameters.REGRESSION_LOSS,
    }

    def __init__(
        self,
        loss: Any = "squared_error",
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
        y : array-like, shape (n,) or (n, outputs)
            Numbers, of any library.
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
        X_val, y_val, sample_weight_val : optional
            Rows to measure. ``early_stopping`` needs them here: when their score has not improved
            for ``n_iter_no_change`` calls, the best weights come back and ``converged_`` is True.

        Returns
        -------
        self
        """
        held = (X_val, y_val, sample_weight_val)
        with self._unless_it_fails():
            return self._fit(X, y, sample_weight, held, incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the predicted values, shape (n,), or (n, outputs) for several."""
        return self._outputs(X, "predict", lambda mlp, X: mlp.predict(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R², averaged over the outputs."""
        predicted = on_host(self.predict(X))
        return float(r2_score(on_host(y), predicted, sample_weight=on_host(sample_weight)))

    def to_sklearn(self) -> ScikitRegressor:
        """Return a fitted ``sklearn.neural_network.MLPRegressor`` with the same predictions.

        Parameters that scikit-learn does not have are left out; they would matter to a further
        training only.

        Raises
        ------
        InvalidValueError
            For a network that scikit-learn cannot compute: with normalization, say.
        """
        return to_sklearn(self, ScikitRegressor)

    @classmethod
    def from_sklearn(cls, estimator: ScikitRegressor, **parameters: Any) -> Self:
        """Build a regressor with the parameters of scikit-learn's, and its weights if fitted.

        Parameters
        ----------
        estimator : sklearn.neural_network.MLPRegressor
        **parameters
            Of this class, in place of scikit-learn's or beside them: ``backend="cupy"``.
        """
        made: Self = from_sklearn(cls, estimator, ScikitRegressor, parameters)
        return made

    # Inside

    def _learn_targets(self, y: np.ndarray, first: bool, incremental: bool) -> None:
        self.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]

    def _encode(self, y: np.ndarray) -> np.ndarray:
        return y

    def _task(self) -> dict[str, Any]:
        loss = _parameters.loss(self.loss, self.n_outputs_, self.solver)
        self.out_activation_ = find_loss(loss).link
        return {"targets": "values", "loss": loss}

    def _validation_score(self, held: Held) -> float:
        predicted = on_host(self.mlp_.predict(held.X))
        if not np.isfinite(predicted).all():
            return float("nan")
        return float(r2_score(held.y, predicted, sample_weight=held.weight))
