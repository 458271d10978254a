"""What both estimators share: fitting an ``xpmlp.MLP`` as scikit-learn does."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import check_random_state

from xpmlp.errors import InvalidValueError
from xpmlp.mlp import MLP
from xpmlp.nn.contract import Array, Backend
from xpmlp.sklearn import _batches, _lbfgs, _parameters
from xpmlp.sklearn._arrays import (
    Examples,
    backend_ref,
    check_pair,
    check_weights,
    compute_dtype,
    other_backend,
)
from xpmlp.sklearn._calibrated import Calibrated
from xpmlp.sklearn._callbacks import CallbackSupportMixin, ScikitCallbacks, with_callbacks
from xpmlp.sklearn._exchange import from_sklearn, to_sklearn
from xpmlp.training.history import History

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)


class BaseMLP(CallbackSupportMixin, Calibrated):
    """Base class of `MLPClassifier` and `MLPRegressor`."""

    _counterpart: ClassVar[Any]
    """scikit-learn's class."""
    _numeric: ClassVar[bool]
    """Whether y must be numbers."""
    _parameter_constraints: ClassVar[dict[str, Any]]

    def _store(self, parameters: dict[str, Any]) -> None:
        """Set the constructor's arguments as attributes, unchanged, as scikit-learn requires."""
        for name, value in parameters.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    # What each estimator defines

    def _learn_targets(self, y: np.ndarray, first: bool, incremental: bool) -> None:
        """Set ``n_outputs_``, and a classifier's ``classes_``, from the targets."""
        raise NotImplementedError

    def _encode(self, y: np.ndarray) -> np.ndarray:
        """Return the network's targets for y: shape (n,) or (n, outputs)."""
        raise NotImplementedError

    def _task(self) -> dict[str, Any]:
        """Set ``out_activation_``; return ``xpmlp.MLP``'s arguments for targets and loss."""
        raise NotImplementedError

    def _row_weights(self, y: np.ndarray, weight: np.ndarray | None, incremental: bool) -> Any:
        """Return the rows' weights, multiplied by those of their classes."""
        return weight

    def _units_out(self) -> int:
        """Return the network's number of outputs."""
        return self.n_outputs_

    def _strata(self, target: np.ndarray) -> np.ndarray | None:
        """Return the strata of the split for early stopping."""
        return None

    def _validation_score(self, held_out: Examples) -> float:
        """Return the accuracy or R² of checked examples; NaN if predictions are not finite."""
        raise NotImplementedError

    # Fitting

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
        """Train on data.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame, shape (n, features)
            Anything that NumPy can read, or an array of CuPy, PyTorch, JAX or dpnp, which stays
            where it is.
        y : array-like, shape (n,) or (n, outputs)
            On the host, or an array of any library. For a classifier numbers or text, or for
            several labels 0 and 1 in shape (n, labels); for a regressor numbers.
        sample_weight : array-like, shape (n,), optional
            A weight of 2 counts as the row twice.
        X_val, y_val, sample_weight_val : optional
            Validation data, measured after each epoch: ``history_["val_loss"]`` and
            ``"val_score"``. ``early_stopping`` uses the score, in which the weights count.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For parameters and data that cannot work, and if the loss is not finite.
        DeviceMemoryError
            If the device's memory is too small; the message has a batch size that fits.
        """
        with self._rollback_on_error():
            return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any, Any],
        incremental: bool = False,
    ) -> Self:
        self._check_combinations(incremental, validation)
        hidden = _parameters.hidden_sizes(self.hidden_layer_sizes)
        first = not hasattr(self, "mlp_") or not (self.warm_start or incremental)
        passed = X, y
        X = self._as_inputs(X, learn=first)
        X, y = check_pair(self, X, y, reset=first, numeric=self._numeric)
        weight = self._row_weights(y, check_weights(sample_weight, len(y)), incremental)
        self._learn_targets(y, first, incremental)
        examples = Examples(X, y, self._encode(y), weight)
        held_out = self._check_validation(*validation)
        self._random_state = check_random_state(self.random_state)
        sizes = [X.shape[1], *hidden, self._units_out()]
        if first:
            self._initialize(X, sizes)
        else:
            self._continue_network(sizes)
        self._input_backend = backend_ref(other_backend(X))
        self.converged_ = False
        metadata = {"sample_weight": sample_weight}
        callbacks = ScikitCallbacks(self, *passed, metadata, enabled=not incremental)
        try:
            if _parameters.is_stochastic(self.solver):
                _batches.train(self, examples, held_out, callbacks, incremental=incremental)
            else:
                _lbfgs.minimize(self, examples, held_out, callbacks)
                del self._random_state  # nothing draws from it again, and it takes 3 kB
        except ArithmeticError as error:  # DivergenceError is one
            raise InvalidValueError(f"{NOT_FINITE} ({error})") from error
        finally:
            if not (incremental or self.warm_start):  # the next fit makes a network of its own
                self.mlp_.forget_compiled()
        callbacks.end_fit()
        return self

    @contextmanager
    def _rollback_on_error(self) -> Iterator[None]:
        """Restore the estimator if an error comes before an epoch is finished."""
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
        """Make the network, draw its weights, and delete the records of previous fits."""
        draws = bool(np.any(self.dropout)) or self.input_dropout != 0
        draws |= self.initializer is not None
        # Only these need a seed; drawing none without them keeps scikit-learn's random numbers.
        seed = int(self._random_state.randint(2**31 - 1)) if draws else 0
        self._build(other_backend(X), sizes, compute_dtype(X, self.dtype), seed)
        if self.initializer is None:
            drawn = _parameters.first_weights(self.mlp_, [self._random_state])[0]
            self.mlp_.load_state_dict(self.mlp_.state_dict() | drawn)
        self.n_iter_ = self.t_ = 0
        for name in _batches.RECORDS:
            self.__dict__.pop(name, None)

    def _build(self, backend: Backend | None, sizes: list[int], dtype: str, seed: int) -> None:
        """Make the network for an X on this backend, or on the host for None."""
        self._input_backend = backend_ref(backend)
        self.n_layers_ = len(sizes)
        self.history_ = History()
        self._settings = self._network_settings()
        self._requested = (self.backend, self.device, self.dtype)
        self.mlp_ = MLP(
            sizes,
            **self._settings,
            **self._first_settings(),
            penalty_on="sum",
            dtype=dtype,
            backend=self._choose_backend(backend),
            device=self.device,
            seed=seed,
            table=None if self.table is None else self.table_,
        )
        self.mlp_.metadata |= self._metadata()

    def _metadata(self) -> dict[str, Any]:
        """Return what the network should know of its classes."""
        return {}

    def _network_settings(self) -> dict[str, Any]:
        """Return ``xpmlp.MLP``'s arguments that may change between two fits of one network."""
        return self._task() | {
            "activation": _parameters.activation(self.activation),
            "dropout": _parameters.rates(self.dropout),
            "input_dropout": _parameters.rates(self.input_dropout),
            "normalization": self.normalization,
            "residual": self.residual,
            "l1": self.l1,
            "l2": self.alpha,
            "max_norm": self.max_norm,
            "precision": self.precision,
        }

    def _first_settings(self) -> dict[str, Any]:
        """Return ``xpmlp.MLP``'s arguments that count when the network is made."""
        # scikit-learn's weights are drawn later, and others come from another estimator.
        first = "zeros" if self.initializer is None else self.initializer
        return {"bias": self.bias, "scaling": self.scaling, "initializer": first}

    def _continue_network(self, sizes: list[int]) -> None:
        """Keep the network, with today's parameters: another ``alpha``, for example."""
        before, settings = self.mlp_, self._network_settings()
        for name, found, old in (
            ("layers", sizes, list(before.sizes)),
            ("normalization", self.normalization, self._settings["normalization"]),
            *((n, getattr(self, n), before.arguments[n]) for n in ("bias", "scaling")),
        ):
            if found != old:
                raise InvalidValueError(
                    f"{name}: found {found!r}; the network to continue has {old!r}. Make a new "
                    "estimator, or set warm_start=False"
                )
        requested = (self.backend, self.device, self.dtype)
        if (settings, requested) == (self._settings, self._requested):
            return
        moved: dict[str, Any] = {}
        if requested != self._requested:
            moved = dict(zip(("backend", "device", "dtype"), requested, strict=True))
        self._settings, self._requested = settings, requested
        self.mlp_ = before.copy(**moved, **settings)
        if before.progress is not None:
            to_device = partial(self.mlp_.backend.asarray, dtype=self.mlp_.dtype)
            progress = before.progress.moved(before.backend.to_numpy)
            self.mlp_.progress = progress.moved(to_device)

    def _choose_backend(self, of_X: Backend | None) -> str | Backend:
        """Return the backend to compute on: the parameter, else X's, else NumPy."""
        requested: str | Backend | None = self.backend
        if requested is not None:
            return requested
        if of_X is not None:
            return of_X if self.device is None else of_X.name
        return os.environ.get("XPMLP_BACKEND") or "numpy"

    def _check_combinations(self, incremental: bool, validation: tuple[Any, Any, Any]) -> None:
        """Refuse parameters and data that cannot work together, before anything is done."""
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
        _parameters.check_combinations(self)

    def _check_validation(self, X: Any, y: Any, weight: Any) -> Examples | None:
        """Check validation data passed to ``fit``."""
        if X is None:
            return None
        X, y = check_pair(self, self._as_inputs(X), y, reset=False, numeric=self._numeric)
        return Examples(X, y, self._encode(y), check_weights(weight, len(y)))

    @property
    def _rate_rule(self) -> str:
        """scikit-learn's rule by which the rate changes; only "sgd" has one."""
        named = isinstance(self.learning_rate, str) and self.solver == "sgd"
        return self.learning_rate if named else "constant"

    def _has_partial_fit(self) -> bool:
        if not _parameters.is_stochastic(self.solver):
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not "
                "stochastic."
            )
        return True

    # Conversion

    def to_sklearn(self) -> Any:
        """Return scikit-learn's fitted estimator of the same name, with the same predictions.

        Parameters that scikit-learn does not have are left out; they affect only further training.

        Raises
        ------
        InvalidValueError
            For a network that scikit-learn cannot compute: with normalization, for example.

        Examples
        --------
        >>> from xpmlp.sklearn import MLPRegressor
        >>> X = np.linspace(-1, 1, 50)[:, None]
        >>> model = MLPRegressor(hidden_layer_sizes=5, solver="lbfgs", random_state=0)
        >>> theirs = model.fit(X, X[:, 0]).to_sklearn()
        >>> theirs.__module__.split(".")[0], bool(np.allclose(theirs.predict(X), model.predict(X)))
        ('sklearn', True)
        """
        return to_sklearn(self)

    @classmethod
    def from_sklearn(cls, estimator: Any, **parameters: Any) -> Self:
        """Make an estimator with the parameters of scikit-learn's, and its weights if fitted.

        Parameters
        ----------
        estimator : scikit-learn's estimator of the same name
        **parameters
            Of this class, to add or to change: ``backend="cupy"``.

        Raises
        ------
        InvalidTypeError
            For another kind of estimator.
        InvalidValueError
            For parameters that contradict a fitted estimator's network.

        Examples
        --------
        >>> import sklearn.neural_network
        >>> from xpmlp.sklearn import MLPRegressor
        >>> X = np.linspace(-1, 1, 50)[:, None]
        >>> theirs = sklearn.neural_network.MLPRegressor(hidden_layer_sizes=5, solver="lbfgs")
        >>> ours = MLPRegressor.from_sklearn(theirs.fit(X, X[:, 0]))
        >>> bool(np.allclose(ours.predict(X), theirs.predict(X)))
        True
        """
        return from_sklearn(cls, estimator, parameters)
