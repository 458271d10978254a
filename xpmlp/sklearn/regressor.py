"""``MLPRegressor``."""

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPRegressor as ScikitRegressor
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if

from xpmlp.losses import loss as find_loss
from xpmlp.sklearn import _parameters
from xpmlp.sklearn._arrays import on_host
from xpmlp.sklearn._base import BaseMLP
from xpmlp.sklearn._hooks import with_callbacks
from xpmlp.sklearn._monitor import Held

Array = Any


class MLPRegressor(RegressorMixin, BaseMLP):
    """A multilayer perceptron that predicts numbers."""

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
        """Train."""
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
        """Train for one epoch over these data, going on from the last."""
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=True)

    def predict(self, X: Any) -> Array:
        """Return the predicted values, shape (n,), or (n, outputs) for several."""
        return self._outputs(X, "predict", lambda mlp, X: mlp.predict(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R², averaged over the outputs."""
        predicted = on_host(self.predict(X))
        return float(r2_score(on_host(y), predicted, sample_weight=on_host(sample_weight)))

    # Inside

    def _encode(self, y: np.ndarray, first: bool, incremental: bool) -> np.ndarray:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]
        return y

    def _targets(self) -> tuple[str, str, Any]:
        loss = _parameters.loss(self.loss, self.n_outputs_)
        return "values", find_loss(loss).link, loss

    def _validation_score(self, held: Held) -> float:
        predicted = on_host(self.mlp_.predict(held.X))
        if not np.isfinite(predicted).all():
            return float("nan")
        return float(r2_score(held.y, predicted, sample_weight=held.weight))
