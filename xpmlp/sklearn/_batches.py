"""All solvers but "lbfgs": ``xpmlp.MLP.fit`` on batches, in scikit-learn's order, by its rules."""

import sys
import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from xpmlp.arrays.rows import DeviceRows
from xpmlp.errors import DivergenceError
from xpmlp.sklearn._arrays import elsewhere
from xpmlp.sklearn._monitor import Followed, Held, Monitor, Within, first_best
from xpmlp.sklearn._parameters import optimizer_of
from xpmlp.training.batches import Order

Array = Any


class Rows(NamedTuple):
    """Training data: X where it lies, y as it came, what the network is to learn, and weights."""

    X: Array
    y: np.ndarray
    target: np.ndarray
    weight: np.ndarray | None


def train(estimator: Any, rows: Rows, held: Held | None, *, incremental: bool, hooks: Any) -> None:
    """Train an estimator's model, and set the fitted attributes.

    Parameters
    ----------
    estimator : BaseMLP
    rows : Rows
    held : Held or None
        Validation data that were given; under ``early_stopping`` others are set aside.
    incremental : bool
        One epoch, which goes on from the training before.
    hooks : Hooks or NoHooks

    Raises
    ------
    DivergenceError
        If the loss leaves the finite numbers, and there are no best weights to go back to.
    """
    e = estimator
    if e.early_stopping and held is None:
        rows, held = set_aside(e, rows)
    _begin(e)
    goes_on = incremental and _same_kind(e)
    if not goes_on:
        e._rate = float(e.learning_rate_init)
    monitor = Monitor(e, held, hooks)
    n = len(rows.target)
    try:
        e.mlp_.fit(
            rows.X,
            rows.target,
            epochs=1 if incremental else e.max_iter,
            batch_size=_batch_size(e, n),
            optimizer=optimizer_of(e, _rate(e)),
            sample_weight=rows.weight,
            validation_data=None if held is None else (held.X, held.target),
            shuffle=_order(e._random_state, n) if e.shuffle else False,
            metrics=False,
            callbacks=[monitor, *(e.callbacks or ())],
            continued=goes_on,
        )
    except KeyboardInterrupt:
        _warn("Training interrupted by user.", UserWarning)
    except DivergenceError as error:
        if not e.early_stopping:
            raise
        monitor.diverged()
        _warn(str(error), ConvergenceWarning)
    else:
        _let_go(e)
        if e.n_iter_ == e.max_iter and not monitor.stopped and not incremental:
            _warn(
                f"Stochastic Optimizer: Maximum iterations ({e.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
            )
    finally:
        e.converged_ = monitor.stopped
        if e.early_stopping and (monitor.stopped or not incremental):
            e.mlp_.load_state_dict(e._best)
            if incremental:  # each stop counts for itself
                e._no_improvement_count = 0


FIGURES = (
    "loss_curve_", "_no_improvement_count", "validation_scores_", "best_validation_score_",
    "best_loss_", "_best",
)  # fmt: skip
"""Fitted attributes of these solvers, which grow from fit to fit until a first one begins anew."""


def _begin(estimator: Any) -> None:
    """Make the fitted attributes that are not there yet, or are of the other kind of stopping."""
    e = estimator
    e.n_iter_ = 0
    if not hasattr(e, "loss_curve_"):
        e.loss_curve_, e._no_improvement_count = [], 0
    if getattr(e, "best_loss_", e) is e or (e.best_loss_ is None) != e.early_stopping:
        for name, value in first_best(e.early_stopping).items():
            setattr(e, name, value)
    if e.early_stopping and not hasattr(e, "_best"):
        e._best = e.mlp_.state_dict()


def _same_kind(estimator: Any) -> bool:
    """Whether there are running averages of an optimizer like the one that is to go on."""
    progress = estimator.mlp_.progress
    wanted = optimizer_of(estimator, float(estimator.learning_rate_init))
    return progress is not None and type(progress.optimizer) is type(wanted)


def set_aside(estimator: Any, rows: Rows) -> tuple[Rows, Held]:
    """Set rows aside for early stopping: the same that scikit-learn does."""
    X, y, target, weight = rows
    kept, aside = train_test_split(
        np.arange(len(y)),
        random_state=estimator._random_state,
        test_size=estimator.validation_fraction,
        stratify=estimator._stratum(target),
    )
    if len(aside) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of "
            "your dataset."
        )
    where = elsewhere(X)

    def part(which: np.ndarray) -> Rows:
        some = X[which] if where is None else DeviceRows(where, X).take(which).array
        return Rows(some, y[which], target[which], None if weight is None else weight[which])

    found = part(aside)
    return part(kept), Held(found.X, found.target, found.y, found.weight)


def _rate(estimator: Any) -> Any:
    """Return the rate, or the schedule that gives it."""
    e = estimator
    if not isinstance(e.learning_rate, str):
        return Within(e.learning_rate.rate, e.learning_rate, e.max_iter)
    return e._rate if e._rule == "constant" else Followed(e._rate, e)


def _batch_size(estimator: Any, n: int) -> int:
    asked = estimator.batch_size
    if isinstance(asked, str):
        return min(200, n)
    if asked > n:
        _warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            UserWarning,
        )
    return int(min(asked, n))


def _order(draw: np.random.RandomState, n: int) -> Order:
    """Return scikit-learn's orders: each epoch shuffles that of the one before."""
    rows = np.arange(n)

    def order(epoch: int, n: int) -> np.ndarray:
        nonlocal rows
        drawn = np.arange(n)
        draw.shuffle(drawn)
        rows = rows[drawn]
        return rows

    return order


def _let_go(estimator: Any) -> None:
    """Let what the model keeps for a later training hold a rate, not the estimator."""
    progress = estimator.mlp_.progress
    if progress is not None and isinstance(progress.optimizer.learning_rate, Followed):
        optimizer = replace(progress.optimizer, learning_rate=estimator._rate)
        estimator.mlp_.progress = replace(progress, optimizer=optimizer)


def _warn(message: str, category: type[Warning]) -> None:
    """Warn, naming the line that called ``fit``: the first outside of this package and theirs."""
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_globals["__name__"].split(".")[0] in ("xpmlp", "sklearn"):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
