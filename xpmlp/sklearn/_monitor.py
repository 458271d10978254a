"""scikit-learn's rules in a training: what is recorded and printed, when rates fall, when to stop.

They come after each epoch, as a callback of ``xpmlp.MLP.fit``.
"""

from dataclasses import dataclass
from math import inf, nan
from typing import Any, NamedTuple

from xpmlp.callbacks import Callback
from xpmlp.nn.schedules import Schedule
from xpmlp.training.loop import Training

SMALLEST_RATE = 1e-6
"""Where an adaptive rate is no more divided, and the training ends."""


class Held(NamedTuple):
    """Rows held out, and what scoring them needs: y as it came, on the host."""

    X: Any
    target: Any
    y: Any
    weight: Any


@dataclass(frozen=True)
class Followed(Schedule):
    """The rate that an estimator has now: "invscaling" and "adaptive" follow the training."""

    estimator: Any = None

    def rates(self, epoch: int, steps: int, total: float, history: Any) -> list[float]:
        """Return the rate of each step of an epoch."""
        return [self.estimator._rate] * steps


@dataclass(frozen=True)
class Within(Schedule):
    """A schedule over ``max_iter`` epochs, also where ``partial_fit`` trains them one by one."""

    schedule: Schedule | None = None
    epochs: int = 1

    def rates(self, epoch: int, steps: int, total: float, history: Any) -> list[float]:
        """Return the rate of each step of an epoch."""
        assert self.schedule is not None
        return self.schedule.rates(epoch, steps, max(self.epochs, epoch + 1), history)


class Monitor(Callback):
    """After each epoch: records, prints, counts epochs without improvement, and stops.

    Parameters
    ----------
    estimator : BaseMLP
        Its fitted attributes are those after the last epoch, also when the training is interrupted.
    held : Held or None
        What to score after each epoch.
    hooks : Hooks
        scikit-learn's own callbacks.

    Attributes
    ----------
    stopped : bool
        Whether a rule has ended the training.
    """

    def __init__(self, estimator: Any, held: Held | None, hooks: Any) -> None:
        self.estimator, self.held, self.hooks = estimator, held, hooks
        self.stopped = False

    def on_epoch_begin(self, training: Training) -> None:
        """Tell scikit-learn's callbacks."""
        self.hooks.begin()

    def on_epoch_end(self, training: Training) -> None:
        """Apply the rules."""
        e = self.estimator
        e.n_iter_ += 1
        e.t_ += training.examples
        figures = {name: training.history[name][-1] for name in training.measures}
        self.record(figures)
        self.count()
        if e._rule == "invscaling":
            e._rate = e.learning_rate_init / (e.t_ + 1) ** e.power_t
        if e._no_improvement_count > e.n_iter_no_change:
            self.stall()
        if self.hooks.end():
            self.stopped = True
        if self.stopped:
            training.stop()

    def on_train_end(self, training: Training) -> None:
        """Take note of another callback's stop."""
        self.stopped |= training.stopped

    def record(self, figures: dict[str, float]) -> None:
        """Take an epoch's figures into the fitted attributes, and print them."""
        e = self.estimator
        e.loss_ = figures["loss"]
        e.loss_curve_.append(e.loss_)
        if e.verbose:
            print(f"Iteration {e.n_iter_}, loss = {e.loss_:.8f}")
        if self.held is not None:
            figures["val_score"] = self.score()
        for name, value in figures.items():
            e.history_.setdefault(name, []).append(value)

    def score(self) -> float:
        """Accuracy or R² of the rows held out; NaN for predictions that are not finite."""
        assert self.held is not None
        return float(self.estimator._validation_score(self.held))

    def count(self) -> None:
        """Count the epochs in which the loss, or the validation score, has not improved by tol."""
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
        if e._rule == "adaptive" and e._rate > SMALLEST_RATE:
            e._rate /= 5.0
            e._no_improvement_count = 0
            message += f" Setting learning rate to {e._rate:f}"
        else:
            self.stopped = True
            message += " Learning rate too small." if e._rule == "adaptive" else ""
            message += " Stopping."
        if e.verbose:
            print(message)

    def diverged(self) -> None:
        """Record an epoch that left the finite numbers, where the best weights are kept anyway."""
        e = self.estimator
        e.n_iter_ += 1
        e.loss_ = nan
        e.loss_curve_.append(nan)
        e.validation_scores_.append(nan)
        for values in e.history_.values():
            values.append(nan)
        self.stopped = True


def first_best(early_stopping: bool) -> dict[str, Any]:
    """Return the fitted attributes that rules compare with, before the first epoch."""
    if early_stopping:
        return {"validation_scores_": [], "best_validation_score_": -inf, "best_loss_": None}
    return {"validation_scores_": None, "best_validation_score_": None, "best_loss_": inf}
