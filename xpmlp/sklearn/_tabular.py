"""What both estimators for tables share: rows in, members trained by a recipe, their mean out."""

import os
from collections.abc import Iterator
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, _fit_context
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_y,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from xpmlp.callbacks import Callback, EarlyStopping
from xpmlp.data.frame import Frame, frame_of, is_frame
from xpmlp.data.table import Table
from xpmlp.errors import InvalidValueError
from xpmlp.mlp import MLP
from xpmlp.model.measures import Measure
from xpmlp.sklearn._arrays import check_weights, to_host
from xpmlp.sklearn._best import Held, Score
from xpmlp.training.history import History
from xpmlp.training.recipes import RECIPES, Recipe, recipe

LINES = 16
"""How many epochs ``verbose=True`` prints."""

Rows = np.ndarray
"""Numbers of rows."""


FORMATS: dict[str, Any] = {"dtype": None, "ensure_all_finite": "allow-nan"}
"""What scikit-learn's check accepts of an X that is no data frame."""


class BaseTabular(BaseEstimator):
    """Base class of `TabularClassifier` and `TabularRegressor`."""

    members_: list[MLP]
    history_: list[History]

    _metrics: ClassVar[dict[str, Measure]]
    """Metrics by which an epoch can be chosen; the first is the default."""
    _classes_wanted: ClassVar[bool]

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "recipe": [StrOptions(set(RECIPES))],
        "ensemble": [Interval(Integral, 1, None, closed="left"), None],
        "n_cv": [Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left"), None],
        "hidden": ["array-like", None],
        "epochs": [Interval(Integral, 1, None, closed="left"), None],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "table": [Table, None],
        "dtype": [StrOptions({"float32", "float64"})],
        "device": [str, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def _store(self, parameters: dict[str, Any]) -> None:
        """Set the constructor's arguments as attributes, unchanged, as scikit-learn requires."""
        for name, value in parameters.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    # What each estimator defines

    def _learn_targets(self, y: np.ndarray) -> np.ndarray:
        """Learn what y has; return the network's targets, in one or two dimensions."""
        raise NotImplementedError

    def _row_weights(self, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray | None:
        """Return the rows' weights, multiplied by those of their classes."""
        return weight

    @property
    def _classes(self) -> int:
        """How many classes there are; 0 for values."""
        return 0

    def _predicted(self, mlp: MLP, X: Any) -> np.ndarray:
        """Return what the metrics take: probabilities, or values."""
        raise NotImplementedError

    # Fitting

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on a table.

        Parameters
        ----------
        X : data frame or array-like, shape (n, columns)
            Numbers, text, booleans and dates, with missing values. Of pandas, polars or Arrow, or
            anything that NumPy can read.
        y : array-like, shape (n,) or (n, outputs)
            Classes, as numbers or text; or values, of several outputs, too.
        sample_weight : array-like, shape (n,), optional
            A weight of 2 counts as the row twice. Rows of weight 0 are left out.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For parameters and data that cannot work.
        DivergenceError
            If the loss becomes infinite: with a learning rate that is far too high.
        """
        metric = self._metric()
        if self.device is not None and self.backend is None and not os.environ.get("XPMLP_BACKEND"):
            raise InvalidValueError(
                f"device: found {self.device!r} without a backend; add backend='torch', 'jax' or "
                "'cupy'"
            )
        frame, y = self._checked_pair(X, y)
        target = self._learn_targets(y)
        weight = self._row_weights(y, check_weights(sample_weight, len(y)))
        if weight is not None:
            kept = np.flatnonzero(weight)
            if not len(kept):
                raise InvalidValueError("sample_weight: found only zeros; give some rows a weight")
            frame, target, weight = frame[kept], target[kept], weight[kept]
        random = check_random_state(self.random_state)
        self.members_, self.history_ = [], []
        for train, held in self._splits(target, random):
            self._fit_member(frame, target, weight, train, held, metric, random)
        return self

    def _metadata(self) -> dict[str, Any]:
        """Return what the networks should know of their classes."""
        return {}

    def _metric(self) -> str:
        """Return the name of the metric that chooses the epoch."""
        if self.metric is None:
            return next(iter(self._metrics))
        if self.metric not in self._metrics:
            known = ", ".join(self._metrics)
            raise InvalidValueError(f"metric: found {self.metric!r}; expected one of {known}")
        return str(self.metric)

    def _recipe(self, metric: str) -> Recipe:
        """Return the recipe, with what the parameters change in it."""
        given = {
            "hidden": None if self.hidden is None else tuple(self.hidden),
            "epochs": self.epochs,
            "learning_rate": self.learning_rate,
        }
        changed = {name: value for name, value in given.items() if value is not None}
        return replace(recipe(self.recipe, self._classes, metric), **changed)

    def _splits(self, target: np.ndarray, random: Any) -> Iterator[tuple[Rows, Rows]]:
        """Yield for each member the rows to train on, and those that choose its epoch."""
        n = len(target)
        if self.n_cv > 1:
            if self.n_cv > n:
                raise InvalidValueError(f"n_cv: found {self.n_cv} folds of {n} rows")
            rare = self._classes and np.bincount(target).max() < self.n_cv
            make = StratifiedKFold if self._classes and not rare else KFold
            folds = make(self.n_cv, shuffle=True, random_state=random.randint(2**31 - 1))
            yield from folds.split(target, target)
            return
        order, held = random.permutation(n), round(n * self.validation_fraction)
        if held == n:
            held = 0  # a single row
        yield np.sort(order[held:]), np.sort(order[:held])

    def _fit_member(
        self,
        frame: Frame,
        target: np.ndarray,
        weight: np.ndarray | None,
        train: Rows,
        held: Rows,
        metric: str,
        random: Any,
    ) -> None:
        """Train a network on some rows, with its own table, and keep its best epoch."""
        made, rows = self._recipe(metric), frame[train]
        table = made.table(self.table).fit(rows)
        X = table.transform(rows, self.dtype)
        mlp = MLP(
            **made.network(table, 1 if target.ndim == 1 else target.shape[1]),
            **({} if self.ensemble is None else {"ensemble": self.ensemble, "sharing": "mini"}),
            dtype=self.dtype,
            backend=self.backend or os.environ.get("XPMLP_BACKEND") or "numpy",
            device=self.device,
            seed=int(random.randint(2**31 - 1)),
        )
        mlp.metadata |= self._metadata()
        made.prepare(mlp, target[train])

        def some(rows: Rows) -> np.ndarray | None:
            return None if weight is None else weight[rows]

        held_out = None
        if len(held):
            held_out = Held(table.transform(frame[held], self.dtype), target[held], some(held))
        lines = LINES if self.verbose is True else int(self.verbose)
        score = Score(metric, held_out, self._predicted, lines)
        callbacks: list[Callback] = [score]
        if held_out is not None:
            patience = self.patience or made.epochs
            callbacks.append(EarlyStopping(patience, score.monitor, latest=True))
        history = mlp.fit(
            X,
            target[train],
            epochs=made.epochs,
            batch_size=made.batch_size,
            shuffle="full",
            optimizer=made.optimizer(list(mlp.network.layout.slots)),
            sample_weight=some(train),
            metrics=False,
            callbacks=callbacks,
        )
        mlp.forget_compiled()
        mlp.progress = None  # the optimizer's state: twice as much as the weights
        self.members_.append(mlp)
        self.history_.append(history)

    # Checks

    def _checked_pair(self, X: Any, y: Any) -> tuple[Frame, np.ndarray]:
        """Check X and y as scikit-learn does; return a frame, and y as an array."""
        if y is None:
            raise InvalidValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        y, numeric = to_host(y), not self._classes_wanted
        if _is_frame(X):
            frame = self._frame(X, reset=True)
            y = _check_y(y, multi_output=True, y_numeric=numeric, estimator=self)
            check_consistent_length(frame, y)
        else:
            targets = {"multi_output": True, "y_numeric": numeric}
            least = {"ensure_min_samples": 2}
            X, y = validate_data(self, X, y, reset=True, **FORMATS, **targets, **least)
            frame = _of_matrix(X)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return frame, y

    def _frame(self, X: Any, reset: bool = False) -> Frame:
        """Check X, and return it as a frame."""
        if not _is_frame(X):
            return _of_matrix(validate_data(self, X, reset=reset, **FORMATS))
        if hasattr(X, "columns"):
            validate_data(self, X, reset=reset, skip_check_array=True)
        frame = frame_of(X)
        if reset:
            self.n_features_in_ = len(frame.names)
        return frame

    # Predictions

    def _mean(self, X: Any) -> np.ndarray:
        """Return the mean of what the members predict for checked rows."""
        check_is_fitted(self)
        frame = self._frame(X)
        each = [np.asarray(self._predicted(mlp, frame), np.float64) for mlp in self.members_]
        return each[0] if len(each) == 1 else np.mean(each, axis=0)

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is a network."""
        return bool(getattr(self, "members_", ()))

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that X may have text, categories and missing values."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags


def _is_frame(X: Any) -> bool:
    """Whether X has named columns; one kind of sparse matrices is a dict of its cells."""
    return is_frame(X) and not issparse(X)


def _of_matrix(X: np.ndarray) -> Frame:
    """Return the columns of a matrix, ``x0`` and so on: numbers, or what objects are."""
    X = X.astype(np.float64) if X.dtype.kind in "buif" else X
    return frame_of({f"x{k}": X[:, k] for k in range(X.shape[1])})
