"""All solvers but "lbfgs": ``xpmlp.MLP.fit`` on batches, with scikit-learn's order and rules."""

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from xpmlp.arrays.rows import DeviceRows
from xpmlp.errors import DivergenceError, warn
from xpmlp.sklearn._arrays import Examples, other_backend
from xpmlp.sklearn._callbacks import ScikitCallbacks
from xpmlp.sklearn._monitor import CurrentRate, Monitor, OverAllEpochs, initial_best
from xpmlp.sklearn._parameters import optimizer_of
from xpmlp.training.batches import Order


def train(
    estimator: Any,
    examples: Examples,
    held_out: Examples | None,
    callbacks: ScikitCallbacks,
    *,
    incremental: bool,
) -> None:
    """Train an estimator's model, and set its fitted attributes.

    Without ``held_out``, ``early_stopping`` splits validation data off the examples.
    ``incremental`` trains one epoch that continues the previous training.

    Raises
    ------
    DivergenceError
        If the loss is not finite, and there are no best weights to return to.
    """
    e = estimator
    if e.early_stopping and held_out is None:
        examples, held_out = split_validation(e, examples)
    _start_records(e)
    continued = incremental and _can_continue(e)
    if not continued:
        e._rate = float(e.learning_rate_init)
    monitor = Monitor(e, held_out, callbacks)
    n = len(examples.target)
    try:
        e.mlp_.fit(
            examples.X,
            examples.target,
            epochs=1 if incremental else e.max_iter,
            batch_size=_batch_size(e, n),
            optimizer=optimizer_of(e, _rate(e)),
            sample_weight=examples.weight,
            validation_data=None if held_out is None else (held_out.X, held_out.target),
            shuffle=_order(e._random_state, n) if e.shuffle else False,
            metrics=False,
            callbacks=[monitor, *(e.callbacks or ())],
            continued=continued,
        )
    except KeyboardInterrupt:
        warn("Training interrupted by user.", UserWarning)
    except DivergenceError as error:
        if not e.early_stopping:
            raise
        monitor.diverged()
        warn(str(error), ConvergenceWarning)
    else:
        _detach_rate(e)
        if e.n_iter_ == e.max_iter and not monitor.stopped and not incremental:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({e.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
            )
    finally:
        e.converged_ = monitor.stopped
        if e.early_stopping and (monitor.stopped or not incremental):
            e.mlp_.load_state_dict(e.__dict__.pop("_best"))  # a warm start begins with them
            if incremental:  # later calls count from 0 again
                e._no_improvement_count = 0


RECORDS = (
    "loss_curve_", "_no_improvement_count", "validation_scores_", "best_validation_score_",
    "best_loss_", "_best",
)  # fmt: skip
"""Fitted attributes that warm starts extend; a fit from new weights deletes them."""


def _start_records(estimator: Any) -> None:
    """Set records that are missing, or those of the best if ``early_stopping`` has changed."""
    e = estimator
    e.n_iter_ = 0
    if not hasattr(e, "loss_curve_"):
        e.loss_curve_, e._no_improvement_count = [], 0
    if getattr(e, "best_loss_", e) is e or (e.best_loss_ is None) != e.early_stopping:
        for name, value in initial_best(e.early_stopping).items():
            setattr(e, name, value)
    if e.early_stopping and not hasattr(e, "_best"):
        e._best = e.mlp_.state_dict()


def _can_continue(estimator: Any) -> bool:
    """Whether the model has the state of an optimizer of the kind that is wanted now."""
    progress = estimator.mlp_.progress
    wanted = optimizer_of(estimator, float(estimator.learning_rate_init))
    return progress is not None and type(progress.optimizer) is type(wanted)


def split_validation(estimator: Any, examples: Examples) -> tuple[Examples, Examples]:
    """Split the examples into those to train on and the same validation data as scikit-learn's."""
    X, y, target, weight = examples
    kept, held_out = train_test_split(
        np.arange(len(y)),
        random_state=estimator._random_state,
        test_size=estimator.validation_fraction,
        stratify=estimator._strata(target),
    )
    if len(held_out) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of "
            "your dataset."
        )
    device = other_backend(X)

    def part(rows: np.ndarray) -> Examples:
        some = X[rows] if device is None else DeviceRows(device, X).take(rows).array
        return Examples(some, y[rows], target[rows], None if weight is None else weight[rows])

    return part(kept), part(held_out)


def _rate(estimator: Any) -> Any:
    """Return the learning rate, or its schedule."""
    e = estimator
    if not isinstance(e.learning_rate, str):
        return OverAllEpochs(e.learning_rate.rate, e.learning_rate, e.max_iter)
    return e._rate if e._rate_rule == "constant" else CurrentRate(e._rate, e)


def _batch_size(estimator: Any, n: int) -> int:
    asked = estimator.batch_size
    if isinstance(asked, str):
        return min(200, n)
    if asked > n:
        warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            UserWarning,
        )
    return int(min(asked, n))


def _order(draw: np.random.RandomState, n: int) -> Order:
    """Return scikit-learn's order of the rows: each epoch shuffles the previous one's."""
    rows = np.arange(n)

    def order(epoch: int, n: int) -> np.ndarray:
        nonlocal rows
        drawn = np.arange(n)
        draw.shuffle(drawn)
        rows = rows[drawn]
        return rows

    return order


def _detach_rate(estimator: Any) -> None:
    """Replace the `CurrentRate` in the model's progress, which refers to the estimator."""
    progress = estimator.mlp_.progress
    if progress is not None and isinstance(progress.optimizer.learning_rate, CurrentRate):
        optimizer = replace(progress.optimizer, learning_rate=estimator._rate)
        estimator.mlp_.progress = replace(progress, optimizer=optimizer)
