"""``MLPRegressor``."""

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPRegressor as ScikitRegressor
from sklearn.utils.metaestimators import available_if

from xpmlp.nn.contract import Array
from xpmlp.nn.losses import loss as find_loss
from xpmlp.sklearn import _parameters
from xpmlp.sklearn._arrays import Examples, to_host
from xpmlp.sklearn._base import BaseMLP
from xpmlp.sklearn._docs import documented


@documented
class MLPRegressor(RegressorMixin, BaseMLP):
    """A multilayer perceptron for regression.

    Drop-in replacement for ``sklearn.neural_network.MLPRegressor``: the parameters up to
    ``max_fun`` are the same, and with the same ``random_state`` so are training and results, to
    rounding.

    Parameters
    ----------
    loss : "squared_error", "poisson", another name in ``xpmlp.losses``, Loss, or callable
        "mae", "quantile", ``xpmlp.losses.Huber(2.0)``, or a function (xp, z, y) -> (rows, dz). The
        first two are halved, as in scikit-learn; "poisson" predicts rates, exp of the last layer,
        and needs y of 0 or more. "gaussian" predicts standard deviations too, and
        ``xpmlp.losses.Quantiles`` several quantiles; both need y of about unit size.
    %(from_sklearn)s
    %(additional)s

    Attributes
    ----------
    %(attributes)s

    Examples
    --------
    >>> from xpmlp.sklearn import MLPRegressor
    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> model = MLPRegressor(hidden_layer_sizes=(20,), solver="lbfgs", random_state=0)
    >>> model.fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.99
    True
    """

    _counterpart = ScikitRegressor
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
        X_val, y_val, sample_weight_val : optional
            Validation data, which ``early_stopping`` needs here. When their score has not improved
            for ``n_iter_no_change`` calls, the best weights return and ``converged_`` is True.

        Returns
        -------
        self
        """
        validation = (X_val, y_val, sample_weight_val)
        with self._rollback_on_error():
            return self._fit(X, y, sample_weight, validation, incremental=True)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the predicted values, shape (n,), or (n, outputs) for several.

        With ``return_std`` return (values, standard deviations): for ``loss="gaussian"``.
        """
        return self._outputs(X, "predict", lambda mlp, X: mlp.predict(X, return_std))

    def predict_interval(self, X: Any, coverage: float = 0.9) -> Array:
        """Return intervals after ``calibrate``, shape (n, 2), or (n, outputs, 2) for several.

        They contain the true value for at least this share of all rows like those of the
        calibration. See ``xpmlp.MLP.predict_interval``.
        """
        return self._outputs(
            X, "predict_interval", lambda mlp, X: mlp.predict_interval(X, coverage)
        )

    def predict_quantiles(self, X: Any) -> Array:
        """Return all quantiles of ``loss=xpmlp.losses.Quantiles(...)``, ascending.

        Their shape is (n, quantiles), or (n, outputs, quantiles) for several outputs.
        """
        return self._outputs(X, "predict_quantiles", lambda mlp, X: mlp.predict_quantiles(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R², averaged over the outputs."""
        predicted = to_host(self.predict(X))
        return float(r2_score(to_host(y), predicted, sample_weight=to_host(sample_weight)))

    def _learn_targets(self, y: np.ndarray, first: bool, incremental: bool) -> None:
        self.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]

    def _encode(self, y: np.ndarray) -> np.ndarray:
        return y

    def _task(self) -> dict[str, Any]:
        loss = _parameters.loss(self.loss, self.n_outputs_, self.solver)
        self.out_activation_ = find_loss(loss).link
        return {"targets": "values", "loss": loss}

    def _units_out(self) -> int:
        loss = find_loss(_parameters.loss(self.loss, self.n_outputs_, self.solver))
        return self.n_outputs_ * loss.outputs_per_target

    def _validation_score(self, held_out: Examples) -> float:
        predicted = to_host(self.mlp_.predict(held_out.X))
        if not np.isfinite(predicted).all():
            return float("nan")
        return float(r2_score(held_out.y, predicted, sample_weight=held_out.weight))
