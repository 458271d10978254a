"""What the two estimators share: fitting an ``xpmlp.MLP``, and scikit-learn's view of it."""

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from xpmlp.callbacks import Callback
from xpmlp.contract import Backend
from xpmlp.errors import DivergenceError, InvalidValueError
from xpmlp.inputs import taken
from xpmlp.model import MLP
from xpmlp.sklearn import _lbfgs, _parameters
from xpmlp.sklearn._arrays import (
    checked_inputs,
    checked_pair,
    checked_weights,
    dtype_of,
    elsewhere,
    found_again,
    home_of,
    on_host,
    same_place,
)
from xpmlp.sklearn._hooks import CallbackSupportMixin, Hooks, NoHooks
from xpmlp.sklearn._monitor import Followed, Held, Monitor, first_best
from xpmlp.training import History, Order

Array = Any

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)


class BaseMLP(CallbackSupportMixin, BaseEstimator):
    """Fitting, and what is fitted. Use `MLPClassifier` or `MLPRegressor`."""

    _numeric: ClassVar[bool]
    _parameter_constraints: ClassVar[dict[str, Any]]

    def _store(self, parameters: dict[str, Any]) -> None:
        """Keep the constructor's arguments, as scikit-learn wants it: as they are."""
        for name, value in parameters.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    # What the two do each in their own way

    def _encode(self, y: np.ndarray, first: bool, incremental: bool) -> np.ndarray:
        """Check targets, and return what the network is to learn: shape (n,) or (n, outputs)."""
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
        target = self._encode(y, first, incremental)
        held = self._given_validation(*validation)
        self._refuse_early_stopping(incremental, held)
        self._random_state = check_random_state(self.random_state)
        if first:
            self._initialize(X, [X.shape[1], *hidden, self.n_outputs_])
        else:
            self._check_warm(X, hidden)
        hooks = NoHooks() if incremental else Hooks(self, *task, metadata)
        try:
            if _parameters.is_stochastic(self.solver):
                self._fit_stochastic(X, y, target, weight, held, incremental, hooks)
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
        self.mlp_ = MLP(
            sizes,
            _parameters.activation(self.activation),
            **self._task(),
            dropout=self.dropout,
            input_dropout=self.input_dropout,
            normalization=self.normalization,
            residual=self.residual,
            initializer="zeros",  # the weights are drawn, or taken from another estimator
            l1=self.l1,
            l2=self.alpha,
            penalty_on="sum",
            max_norm=self.max_norm,
            scaling=None,
            dtype=dtype,
            precision=self.precision,
            backend=self._backend(here),
            device=self.device,
            seed=seed,
        )

    def _backend(self, here: Backend | None) -> str | Backend:
        """Choose where to compute: as asked, else where X is, else NumPy."""
        asked: str | Backend | None = self.backend
        if asked is not None:
            return asked
        if here is not None and self.device is None:
            return here
        return here.name if here is not None else _default_backend()

    def _check_warm(self, X: Array, hidden: list[int]) -> None:
        found = [X.shape[1], *hidden, self.n_outputs_]
        if found != list(self.mlp_.sizes):
            raise InvalidValueError(
                f"found layers of {found} units; the model that is to go on has "
                f"{list(self.mlp_.sizes)}. Make a new estimator, or set warm_start=False"
            )

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
        target = self._encode(y, first=False, incremental=True)
        return Held(X, target, y, checked_weights(weight, len(y)))

    def _split(
        self, X: Array, y: np.ndarray, target: np.ndarray, weight: np.ndarray | None
    ) -> tuple[Array, np.ndarray, np.ndarray | None, Held]:
        """Set rows aside for early stopping: the same that scikit-learn does."""
        kept, rows = train_test_split(
            np.arange(len(y)),
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=self._stratum(target),
        )
        if len(rows) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        where = elsewhere(X)
        parts = [X[r] if where is None else taken(where, X, r) for r in (kept, rows)]
        weights = [None if weight is None else weight[r] for r in (kept, rows)]
        return parts[0], target[kept], weights[0], Held(parts[1], target[rows], y[rows], weights[1])

    def _fit_stochastic(
        self,
        X: Array,
        y: np.ndarray,
        target: np.ndarray,
        weight: np.ndarray | None,
        held: Held | None,
        incremental: bool,
        hooks: Any,
    ) -> None:
        if self.early_stopping and held is None:
            X, target, weight, held = self._split(X, y, target, weight)
        goes_on = incremental and self.mlp_.progress is not None
        if not goes_on:
            self._rate = float(self.learning_rate_init)
        self.n_iter_ = 0
        monitor = Monitor(self, held, hooks)
        try:
            self.mlp_.fit(
                X,
                target,
                epochs=1 if incremental else self.max_iter,
                batch_size=self._batch_size(len(target)),
                optimizer=_parameters.optimizer_of(self, self._schedule()),
                sample_weight=weight,
                validation_data=None if held is None else (held.X, held.target),
                shuffle=self._order(len(target)) if self.shuffle else False,
                metrics=False,
                callbacks=[*(self.callbacks or ()), monitor],
                continued=goes_on,
            )
        except KeyboardInterrupt:
            _warn("Training interrupted by user.", UserWarning)
        except DivergenceError as error:
            if not self.early_stopping:
                raise
            monitor.diverged()
            _warn(str(error), ConvergenceWarning)
        else:
            self._unfollow()
            if self.n_iter_ == self.max_iter and not monitor.stopped and not incremental:
                _warn(
                    f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                    "optimization hasn't converged yet.",
                    ConvergenceWarning,
                )
        self._end(monitor, incremental)

    def _end(self, monitor: Monitor, incremental: bool) -> None:
        """Give back the best weights, where early stopping has chosen them."""
        self.converged_ = monitor.stopped
        if self.early_stopping and (monitor.stopped or not incremental):
            self.mlp_.weights.adopt(*self._best)
            if incremental:
                self._no_improvement_count = 0

    def _keep_best(self) -> None:
        """Remember the weights of now; each epoch ends with new arrays, so these stay."""
        self._best = (self.mlp_.weights.flat, self.mlp_.weights.statistics)

    def _unfollow(self) -> None:
        """Let what the model keeps for a later training hold a rate, not this estimator."""
        progress = self.mlp_.progress
        if progress is not None and isinstance(progress.optimizer.learning_rate, Followed):
            optimizer = replace(progress.optimizer, learning_rate=self._rate)
            self.mlp_.progress = replace(progress, optimizer=optimizer)

    @property
    def _rule(self) -> str:
        """How the rate follows the training; only scikit-learn's "sgd" does."""
        named = isinstance(self.learning_rate, str) and self.solver == "sgd"
        return self.learning_rate if named else "constant"

    def _schedule(self) -> Any:
        if not isinstance(self.learning_rate, str):
            return self.learning_rate
        return self._rate if self._rule == "constant" else Followed(self._rate, self)

    def _batch_size(self, n: int) -> int:
        if isinstance(self.batch_size, str):
            return min(200, n)
        if self.batch_size > n:
            _warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                UserWarning,
            )
        return int(min(self.batch_size, n))

    def _order(self, n: int) -> Order:
        """Return scikit-learn's orders: each epoch shuffles that of the one before."""
        rows = np.arange(n)

        def order(epoch: int, n: int) -> np.ndarray:
            nonlocal rows
            drawn = np.arange(n)
            self._random_state.shuffle(drawn)
            rows = rows[drawn]
            return rows

        return order

    # Use

    def _outputs(self, X: Any, method: str, call: Callable[[MLP, Array], Array]) -> Array:
        """Check X, and return what ``call(mlp, X)`` makes of it, in X's library."""
        check_is_fitted(self)
        same_place(self, X, method)
        return call(self.mlp_, checked_inputs(self, X, reset=False))

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is a network."""
        return hasattr(self, "mlp_")

    def _tensors(self, suffix: str) -> list[Array]:
        """Return each layer's weights or biases where X was; views, if the model is there too."""
        mlp, there = self.mlp_, found_again(self._home)
        views = mlp.network.layout.views(mlp.backend.xp, mlp.weights.flat)
        found = [views[f"dense{i}.{suffix}"] for i in range(1, len(mlp.sizes))]
        if isinstance(found[0], np.ndarray) if there is None else there.owns(found[0]):
            return found
        host = [mlp.backend.to_numpy(x) for x in found]
        return host if there is None else [there.asarray(x) for x in host]

    def _set_tensors(self, suffix: str, values: Sequence[Any]) -> None:
        mlp = self.mlp_
        given = {f"dense{i}.{suffix}": on_host(v) for i, v in enumerate(values, start=1)}
        mlp.load_state_dict(mlp.state_dict() | given)

    @property
    def coefs_(self) -> list[Array]:
        """Weight matrices, shape (inputs, outputs) each, in the library of the training's X."""
        return self._tensors("W")

    @coefs_.setter
    def coefs_(self, values: Sequence[Any]) -> None:
        self._set_tensors("W", values)

    @property
    def intercepts_(self) -> list[Array]:
        """Biases, shape (outputs,) each."""
        return self._tensors("b")

    @intercepts_.setter
    def intercepts_(self, values: Sequence[Any]) -> None:
        self._set_tensors("b", values)

    @property
    def _fitted_array(self) -> Array:
        """A fitted array, for scikit-learn to compare X with."""
        return self.intercepts_[0]

    def to(self, backend: str | Backend, device: str | None = None) -> Self:
        """Move a fitted estimator to another backend, in place: fit on a GPU, predict on a laptop.

        Parameters
        ----------
        backend, device
            As for ``xpmlp.MLP.to``. Parameters given to the constructor stay as they are.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        self.mlp_.to(backend, device)
        self._home = home_of(self.mlp_.backend)
        if hasattr(self, "_best"):
            self._keep_best()
        return self

    def __getstate__(self) -> dict[str, Any]:
        # The best weights are the model's own once a training has ended.
        state: dict[str, Any] = {**super().__getstate__()}
        state.pop("_best", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "mlp_") and hasattr(self, "loss_curve_"):
            self._keep_best()

    def __sklearn_tags__(self) -> Any:
        """Say what scikit-learn may expect: sparse input, and arrays of other libraries."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags

    def _available_for_batches(self) -> bool:
        if not _parameters.is_stochastic(self.solver):
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not "
                "stochastic."
            )
        return True

    callbacks: Sequence[Callback] | None


def _default_backend() -> str:
    from os import environ

    return environ.get("XPMLP_BACKEND") or "numpy"


def _warn(message: str, category: type[Warning]) -> None:
    """Warn, naming the line that called ``fit``: the first outside of this package and theirs."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals["__name__"].split(".")[0] in ("xpmlp", "sklearn"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
