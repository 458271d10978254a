"""What the two estimators share: fitting an ``xpmlp.MLP``, and scikit-learn's view of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils import check_random_state

from xpmlp.errors import InvalidValueError
from xpmlp.mlp import MLP
from xpmlp.nn.contract import Backend
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
from xpmlp.sklearn._monitor import Held
from xpmlp.training.history import History

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
        self._refuse_combinations(incremental, validation)
        hidden = _parameters.hidden_sizes(self.hidden_layer_sizes)
        first = not hasattr(self, "mlp_") or not (self.warm_start or incremental)
        task, metadata = (X, y), {"sample_weight": sample_weight}
        X, y = checked_pair(self, X, y, reset=first, numeric=self._numeric)
        weight = self._weighted(y, checked_weights(sample_weight, len(y)), incremental)
        self._learn_targets(y, first, incremental)
        rows = _batches.Rows(X, y, self._encode(y), weight)
        held = self._given_validation(*validation)
        self._random_state = check_random_state(self.random_state)
        sizes = [X.shape[1], *hidden, self.n_outputs_]
        if first:
            self._initialize(X, sizes)
        else:
            self._go_on(sizes)
        self._home = home_of(elsewhere(X))
        self.converged_ = False
        hooks = NoHooks() if incremental else Hooks(self, *task, metadata)
        try:
            if _parameters.is_stochastic(self.solver):
                _batches.train(self, rows, held, incremental=incremental, hooks=hooks)
            else:
                _lbfgs.minimize(self, rows, held, hooks)
        except ArithmeticError as error:  # DivergenceError is one
            raise InvalidValueError(f"{NOT_FINITE} ({error})") from error
        hooks.finish()
        return self

    @contextmanager
    def _unless_it_fails(self) -> Iterator[None]:
        """Put everything back as it was if what is done fails before an epoch is finished."""
        before, mlp = dict(self.__dict__), self.__dict__.get("mlp_")
        epochs = 0 if mlp is None else mlp.epochs_trained
        undo = None if mlp is None else mlp.restore_point()
        try:
            yield
        except BaseException:
            now = self.__dict__.get("mlp_")
            if now is None or now.epochs_trained in (0, epochs):  # a new network, or the same
                self.__dict__.clear()
                self.__dict__.update(before)
                if undo is not None:
                    undo()
            raise

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
        for name in _batches.FIGURES:
            self.__dict__.pop(name, None)

    def _make(self, here: Backend | None, sizes: list[int], dtype: str, seed: int) -> None:
        """Make the network, for X that is ``here`` (None on the host)."""
        self._home = home_of(here)
        self.n_layers_ = len(sizes)
        self.history_ = History()
        self._settings = self._network_settings()
        self._asked = (self.backend, self.device, self.dtype)
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
            "dropout": _parameters.rates(self.dropout),
            "input_dropout": float(self.input_dropout),
            "normalization": self.normalization,
            "residual": self.residual,
            "l1": self.l1,
            "l2": self.alpha,
            "max_norm": self.max_norm,
            "precision": self.precision,
        }

    def _go_on(self, sizes: list[int]) -> None:
        """Take the network that is there, with the parameters of now: another ``alpha``, say."""
        before, settings = self.mlp_, self._network_settings()
        for name, found, old in (
            ("layers", sizes, list(before.sizes)),
            ("normalization", self.normalization, self._settings["normalization"]),
        ):
            if found != old:
                raise InvalidValueError(
                    f"{name}: found {found!r}; the network that is to go on has {old!r}. Make a "
                    "new estimator, or set warm_start=False"
                )
        place = (self.backend, self.device, self.dtype)
        if (settings, place) == (self._settings, self._asked):
            return
        moved: dict[str, Any] = {}
        if place != self._asked:
            moved = {"backend": self.backend, "device": self.device, "dtype": self.dtype}
        self._settings, self._asked = settings, place
        self.mlp_ = before.copy(**moved, **settings)
        if before.progress is not None:
            to_there = partial(self.mlp_.backend.asarray, dtype=self.mlp_.dtype)
            progress = before.progress.moved(before.backend.to_numpy)
            self.mlp_.progress = progress.moved(to_there)

    def _backend(self, here: Backend | None) -> str | Backend:
        """Choose where to compute: as asked, else where X is, else NumPy."""
        asked: str | Backend | None = self.backend
        if asked is not None:
            return asked
        if here is not None and self.device is None:
            return here
        return here.name if here is not None else os.environ.get("XPMLP_BACKEND") or "numpy"

    def _refuse_combinations(self, incremental: bool, validation: tuple[Any, Any, Any]) -> None:
        """Refuse what cannot work together, before anything is done."""
        X_val, y_val, weight = validation
        if (X_val is None) != (y_val is None):
            raise InvalidValueError("X_val and y_val: found one without the other; pass both")
        if X_val is None and weight is not None:
            raise InvalidValueError("sample_weight_val: found it without X_val and y_val")
        if incremental and self.early_stopping and X_val is None:
            raise InvalidValueError(
                "partial_fit does not support early_stopping=True without validation data: "
                "pass X_val and y_val"
            )
        _parameters.refuse_combinations(self)

    def _given_validation(self, X: Any, y: Any, weight: Any) -> Held | None:
        """Check validation data that were passed to ``fit``."""
        if X is None:
            return None
        X, y = checked_pair(self, X, y, reset=False, numeric=self._numeric)
        return Held(X, self._encode(y), y, checked_weights(weight, len(y)))

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
