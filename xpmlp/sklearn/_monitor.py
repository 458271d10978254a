"""scikit-learn's rules after each epoch: what to record and print, when to lower rates, to stop.

They are a callback of ``xpmlp.MLP.fit``.
"""

from dataclasses import dataclass
from math import inf, nan
from typing import Any

from xpmlp.callbacks import Callback
from xpmlp.nn.schedules import Schedule
from xpmlp.sklearn._arrays import Examples
from xpmlp.sklearn._callbacks import ScikitCallbacks
from xpmlp.training.loop import Training

SMALLEST_RATE = 1e-6
"""At this adaptive rate or below, training stops instead of dividing the rate again."""


@dataclass(frozen=True)
class CurrentRate(Schedule):
    """The estimator's current rate, which "invscaling" and "adaptive" change after epochs."""

    estimator: Any = None

    def rates(self, epoch: int, steps: int, total: float, history: Any) -> list[float]:
        """Return the rate of each step of an epoch."""
        return [self.estimator._rate] * steps


@dataclass(frozen=True)
class OverAllEpochs(Schedule):
    """A schedule over ``max_iter`` epochs, also if ``partial_fit`` trains them one by one."""

    schedule: Schedule | None = None
    epochs: int = 1

    def rates(self, epoch: int, steps: int, total: float, history: Any) -> list[float]:
        """Return the rate of each step of an epoch."""
        assert self.schedule is not None
        return self.schedule.rates(epoch, steps, max(self.epochs, epoch + 1), history)


class Monitor(Callback):
    """Records and prints each epoch, counts epochs without improvement, and stops training.

    The estimator's fitted attributes are those after the last epoch, also if training is
    interrupted. ``held_out`` is scored after each epoch, and ``stopped`` says whether a rule has
    stopped training.
    """

    def __init__(
        self, estimator: Any, held_out: Examples | None, callbacks: ScikitCallbacks
    ) -> None:
        self.estimator, self.held_out, self.callbacks = estimator, held_out, callbacks
        self.stopped = False

    def on_epoch_begin(self, training: Training) -> None:
        """Call scikit-learn's callbacks."""
        self.callbacks.begin_epoch()

    def on_epoch_end(self, training: Training) -> None:
        """Apply the rules."""
        e = self.estimator
        e.n_iter_ += 1
        e.t_ += training.examples
        self.record({name: training.history[name][-1] for name in training.measures})
        self.count()
        if e._rate_rule == "invscaling":
            e._rate = e.learning_rate_init / (e.t_ + 1) ** e.power_t
        if e._no_improvement_count > e.n_iter_no_change:
            self.stall()
        if self.callbacks.end_epoch():
            self.stopped = True
        if self.stopped:
            training.stop()

    def on_train_end(self, training: Training) -> None:
        """Take note of another callback's stop."""
        self.stopped |= training.stopped

    def record(self, values: dict[str, float]) -> None:
        """Add an epoch's values to the fitted attributes, and print them."""
        e = self.estimator
        e.loss_ = values["loss"]
        e.loss_curve_.append(e.loss_)
        if e.verbose:
            print(f"Iteration {e.n_iter_}, loss = {e.loss_:.8f}")
        if self.held_out is not None:
            values["val_score"] = float(e._validation_score(self.held_out))
        for name, value in values.items():
            e.history_.setdefault(name, []).append(value)

    def count(self) -> None:
        """Count successive epochs in which the loss or validation score did not improve by tol."""
        e = self.estimator
        if e.early_stopping:
            score = e.history_["val_score"][-1]
            e.validation_scores_.append(score)
            if e.verbose:
                print(f"Validation score: {score:f}")
            worse, best = score < e.best_validation_score_ + e.tol, e.best_validation_score_
            if score > best:
                e.best_validation_score_ = score
                e._best = e.mlp_.state_dict()
        else:
            worse, best = e.loss_ > e.best_loss_ - e.tol, e.best_loss_
            e.best_loss_ = min(best, e.loss_)
        e._no_improvement_count = e._no_improvement_count + 1 if worse else 0

    def stall(self) -> None:
        """Stop, or divide an adaptive rate."""
        e = self.estimator
        what = "Validation score" if e.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={e.tol:f} for {e.n_iter_no_change:d} "
            "consecutive epochs."
        )
        if e._rate_rule == "adaptive" and e._rate > SMALLEST_RATE:
            e._rate /= 5.0
            e._no_improvement_count = 0
            message += f" Setting learning rate to {e._rate:f}"
        else:
            self.stopped = True
            message += " Learning rate too small." if e._rate_rule == "adaptive" else ""
            message += " Stopping."
        if e.verbose:
            print(message)

    def diverged(self) -> None:
        """Record an epoch whose loss was not finite; the best weights of before are kept."""
        e = self.estimator
        e.n_iter_ += 1
        e.loss_ = nan
        e.loss_curve_.append(nan)
        e.validation_scores_.append(nan)
        for values in e.history_.values():
            values.append(nan)
        self.stopped = True


def initial_best(early_stopping: bool) -> dict[str, Any]:
    """Return the fitted attributes that epochs are compared with, before the first epoch."""
    if early_stopping:
        return {"validation_scores_": [], "best_validation_score_": -inf, "best_loss_": None}
    return {"validation_scores_": None, "best_validation_score_": None, "best_loss_": inf}
