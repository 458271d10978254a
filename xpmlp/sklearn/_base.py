"""What the two estimators share: fitting an ``xpmlp.MLP``, and scikit-learn's view of it."""

import os
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils import check_random_state

from xpmlp.contract import Backend
from xpmlp.errors import InvalidValueError
from xpmlp.model import MLP
from xpmlp.sklearn import _batches, _lbfgs, _parameters
from xpmlp.sklearn._arrays import (
    checked_pair,
    checked_weights,
    dtype_of,
    elsewhere,
    home_of,
)
from xpmlp.sklearn._fitted import FittedMLP
from xpmlp.sklearn._hooks import CallbackSupportMixin, Hooks, NoHooks
from xpmlp.sklearn._monitor import Held, first_best
from xpmlp.training import History

Array = Any

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)


class BaseMLP(CallbackSupportMixin, FittedMLP):
    """Fitting, and what is fitted. Use `MLPClassifier` or `MLPRegressor`."""

    _numeric: ClassVar[bool]
    _parameter_constraints: ClassVar[dict[str, Any]]

    def _store(self, parameters: dict[str, Any]) -> None:
        """Keep the constructor's arguments, as scikit-learn wants it: as they are."""
        for name, value in parameters.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    # What the two do each in their own way

    def _learn_targets(self, y: np.ndarray, first: bool, incremental: bool) -> None:
        """Set what the targets of a training say: ``n_outputs_``, and ``classes_``."""
        raise NotImplementedError

    def _encode(self, y: np.ndarray) -> np.ndarray:
        """Return what the network is to learn of targets: shape (n,) or (n, outputs)."""
        raise NotImplementedError

    def _task(self) -> dict[str, Any]:
        """Set ``out_activation_``; return ``xpmlp.MLP``'s arguments for targets and loss."""
        raise NotImplementedError

    def _weighted(self, y: np.ndarray, weight: np.ndarray | None, incremental: bool) -> Any:
        """Return the rows' weights, those of their classes included."""
        return weight

    def _stratum(self, target: np.ndarray) -> np.ndarray | None:
        """Return what a split for early stopping keeps the shares of."""
        return None

    def _validation_score(self, held: Held) -> float:
        """Score rows held out, whose X needs no more checks."""
        raise NotImplementedError

    # Fitting

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any, Any],
        incremental: bool = False,
    ) -> Self:
        hidden = _parameters.hidden_sizes(self.hidden_layer_sizes)
        first = not hasattr(self, "mlp_") or not (self.warm_start or incremental)
        task, metadata = (X, y), {"sample_weight": sample_weight}
        X, y = checked_pair(self, X, y, reset=first, numeric=self._numeric)
        weight = self._weighted(y, checked_weights(sample_weight, len(y)), incremental)
        self._learn_targets(y, first, incremental)
        target = self._encode(y)
        held = self._given_validation(*validation)
        self._refuse_early_stopping(incremental, held)
        self._random_state = check_random_state(self.random_state)
        if first:
            self._initialize(X, [X.shape[1], *hidden, self.n_outputs_])
        else:
            self._go_on([X.shape[1], *hidden, self.n_outputs_])
        self._home = home_of(elsewhere(X))
        hooks = NoHooks() if incremental else Hooks(self, *task, metadata)
        try:
            if _parameters.is_stochastic(self.solver):
                rows = _batches.Rows(X, y, target, weight)
                _batches.train(self, rows, held, incremental=incremental, hooks=hooks)
            else:
                self._refuse_callbacks()
                _lbfgs.minimize(self, X, target, weight, hooks)
        except ArithmeticError as error:  # DivergenceError is one
            raise InvalidValueError(f"{NOT_FINITE} ({error})") from error
        hooks.finish()
        return self

    def _initialize(self, X: Array, sizes: list[int]) -> None:
        """Make the network, draw its weights, and forget all that was fitted."""
        drops = bool(np.any(self.dropout)) or self.input_dropout > 0
        # Without dropout nothing is drawn from the seed, and scikit-learn's draws stay in step.
        seed = int(self._random_state.randint(2**31 - 1)) if drops else 0
        self._make(elsewhere(X), sizes, dtype_of(X, self.dtype), seed)
        names = [a.name for a in self.mlp_.network.architecture.activations]
        drawn = _parameters.initial_weights(sizes, names, self._random_state)
        self.mlp_.load_state_dict(self.mlp_.state_dict() | drawn)
        self.n_iter_ = self.t_ = 0
        if _parameters.is_stochastic(self.solver):
            self.loss_curve_: list[float] = []
            self._no_improvement_count = 0
            for name, value in first_best(self.early_stopping).items():
                setattr(self, name, value)
            self._keep_best()

    def _make(self, here: Backend | None, sizes: list[int], dtype: str, seed: int) -> None:
        """Make the network, for X that is ``here`` (None on the host)."""
        self._home = home_of(here)
        self.n_layers_ = len(sizes)
        self.history_ = History()
        self._settings = self._network_settings()
        self.mlp_ = MLP(
            sizes,
            **self._settings,
            initializer="zeros",  # the weights are drawn, or taken from another estimator
            penalty_on="sum",
            scaling=None,
            dtype=dtype,
            backend=self._backend(here),
            device=self.device,
            seed=seed,
        )

    def _network_settings(self) -> dict[str, Any]:
        """Return ``xpmlp.MLP``'s arguments that may change between two fits of one network."""
        return self._task() | {
            "activation": _parameters.activation(self.activation),
            "dropout": self.dropout,
            "input_dropout": self.input_dropout,
            "normalization": self.normalization,
            "residual": self.residual,
            "l1": self.l1,
            "l2": self.alpha,
            "max_norm": self.max_norm,
            "precision": self.precision,
        }

    def _go_on(self, sizes: list[int]) -> None:
        """Take the network that is there, with the parameters of now: another ``alpha``, say."""
        before = self.mlp_
        if sizes != list(before.sizes):
            raise InvalidValueError(
                f"found layers of {sizes} units; the network that is to go on has "
                f"{list(before.sizes)}. Make a new estimator, or set warm_start=False"
            )
        settings = self._network_settings()
        if settings == self._settings:
            return
        self._settings = settings
        self.mlp_ = before.copy(**settings)
        self.mlp_.progress = before.progress

    def _backend(self, here: Backend | None) -> str | Backend:
        """Choose where to compute: as asked, else where X is, else NumPy."""
        asked: str | Backend | None = self.backend
        if asked is not None:
            return asked
        if here is not None and self.device is None:
            return here
        return here.name if here is not None else os.environ.get("XPMLP_BACKEND") or "numpy"

    def _refuse_early_stopping(self, incremental: bool, held: Held | None) -> None:
        if incremental and self.early_stopping and held is None:
            raise InvalidValueError(
                "partial_fit does not support early_stopping=True without validation data: "
                "pass X_val and y_val"
            )

    def _refuse_callbacks(self) -> None:
        if self.callbacks:
            raise InvalidValueError(
                f"callbacks: found {len(self.callbacks)} with solver='lbfgs', which has no epochs; "
                "use 'sgd' or 'adam', or scikit-learn's set_callbacks"
            )

    def _given_validation(self, X: Any, y: Any, weight: Any) -> Held | None:
        """Check validation data that were passed to ``fit``."""
        if X is None and y is None:
            return None
        if X is None or y is None:
            raise InvalidValueError("X_val and y_val: found one without the other; pass both")
        X, y = checked_pair(self, X, y, reset=False, numeric=self._numeric)
        return Held(X, self._encode(y), y, checked_weights(weight, len(y)))

    def _keep_best(self) -> None:
        """Remember the weights of now; each epoch ends with new arrays, so these stay."""
        self._best = (self.mlp_.weights.flat, self.mlp_.weights.statistics)

    def _restore_best(self) -> None:
        """Give the network its best weights back."""
        self.mlp_.weights.adopt(*self._best)

    @property
    def _rule(self) -> str:
        """How the rate follows the training; only scikit-learn's "sgd" does."""
        named = isinstance(self.learning_rate, str) and self.solver == "sgd"
        return self.learning_rate if named else "constant"

    def _available_for_batches(self) -> bool:
        if not _parameters.is_stochastic(self.solver):
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not "
                "stochastic."
            )
        return True
