"""The loop over epochs: plans on the host, steps on the device, figures once an epoch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from xpmlp.callbacks.callbacks import Callback
from xpmlp.checkpoints.fingerprint import settings
from xpmlp.errors import DivergenceError
from xpmlp.model.predict import evaluate_batches
from xpmlp.nn.contract import Execution, Run, State
from xpmlp.nn.schedules import schedule
from xpmlp.nn.step import first_state
from xpmlp.training.batches import Drawn, Feed, FromHost, OnDevice, Piece
from xpmlp.training.divergence import locate
from xpmlp.training.history import History, Progress
from xpmlp.training.plans import Order, Plans

if TYPE_CHECKING:
    from xpmlp.checkpoints.snapshot import Saved
    from xpmlp.mlp import MLP
    from xpmlp.nn.optimizers import Optimizer
    from xpmlp.training.prepare import Prepared

Array = Any


@dataclass(frozen=True)
class Underway:
    """An epoch that has begun, and what it takes to go through it again.

    Attributes
    ----------
    drawn : list of Drawn
    rates : list of float
        The learning rate of each step.
    first : int
        The step that it began with: 0, or where a resumed training goes on.
    moments : tuple of Array or None
        Copies of the running averages then; None if they were 0.
    state : State or None
        Where ``first`` is not 0, a copy of all that there was then.
    """

    drawn: list[Drawn]
    rates: list[float]
    first: int
    moments: tuple[Array, ...] | None
    state: State | None


class Training:
    """One call of ``fit``: what callbacks see.

    Attributes
    ----------
    mlp : MLP
        Its weights are those of the last finished epoch, also when training fails.
    history : History
    epoch, epochs : int
        The epoch in progress, from 0, and how many were asked for.
    step, steps : int
        Steps done in this epoch, and in a whole one.
    first, finished : int
        Epochs finished when it began, and by now.
    taken : int
        Steps in the finished epochs; a continued training counts on.
    examples : int
        Rows of training data.
    metrics : bool
        Whether accuracy or R² is measured on them.
    begun, stopped : bool
        Whether the first epoch has begun, and whether ``stop()`` has been called.
    state : State
        What the steps change.
    """

    def __init__(
        self,
        mlp: "MLP",
        optimizer: "Optimizer",
        ready: "Prepared",
        *,
        epochs: int,
        batch_size: int,
        shuffle: bool | Order,
        metrics: bool,
        callbacks: Sequence[Callback],
        after: Progress | None = None,
    ) -> None:
        self.mlp, self.optimizer, self.spread = mlp, optimizer, ready.spread
        self.data, self.validation, self._note = ready.data, ready.validation, ready.note
        self.history = after.history if after else History()
        self.examples = self.history.examples = self.data.X.shape[0]
        self.batch_size = min(batch_size, self.examples)
        self.feed: Feed = OnDevice(mlp.backend, self.data)
        if ready.on_host:
            self.feed = FromHost(mlp.backend, self.data, self.batch_size)
        self.first = self.finished = self.epoch = after.epochs if after else 0
        self.taken = after.steps if after else 0
        self.epochs = self.first + epochs
        self.step, self.steps = 0, math.ceil(self.examples / self.batch_size)
        self._spent = 0.0  # seconds of this epoch before it was resumed
        self.shuffle = shuffle
        self.metrics = metrics
        self.callbacks = callbacks
        self.stopped = self.begun = False
        self.resumed: Saved | None = None
        self._started = perf_counter()
        self._plans = Plans(mlp, optimizer, self.feed, self.batch_size, shuffle)
        self._schedule = schedule(optimizer.learning_rate)
        self._run: Run = mlp._compiled_step(optimizer, metrics)
        self.state = self._initial_state(after.moments if after else None)
        self._underway: Underway | None = None

    def stop(self) -> None:
        """End the training after the current epoch."""
        self.stopped = True

    @property
    def total(self) -> int:
        """Steps taken so far, in all epochs."""
        return self.taken + (self.step if self.epoch == self.finished else 0)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What it is recognized by when it is to go on; see ``xpmlp.checkpoints.fingerprint``."""
        return settings(self)

    @property
    def seconds(self) -> float:
        """Of the epoch in progress."""
        return perf_counter() - self._started

    @property
    def batch_loss(self) -> float:
        """Loss of the last step; reading it waits for the device."""
        return float(self.mlp.backend.to_numpy(self.state.loss))

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the figures that each epoch adds to the history."""
        metric = self.mlp.task.metric.name
        shown = ("loss", metric) if self.metrics else ("loss",)
        held_out = () if self.validation is None else ("val_loss", f"val_{metric}")
        return (*shown, "learning_rate", "seconds", *held_out)

    def run(self) -> History:
        """Train. The model keeps the last finished epoch's weights whatever happens."""
        begun: list[Callback] = []
        try:
            for callback in self.callbacks:
                callback.on_train_begin(self)
                begun.append(callback)
            if self.resumed is not None:
                self.resumed.remind(self)
                self.resumed = None
            self.begun = True
            self.mlp.progress = None  # it is not that of the weights any more
            while self.finished < self.epochs and (self.step or not self.stopped):
                self.epoch = self.finished
                self._notify("on_epoch_begin")
                self._train_epoch()
                self._notify("on_epoch_end")
                self.step = 0
            self.mlp.progress = self.progress()
        finally:
            self._end(begun)
        return self.history

    def _end(self, callbacks: list[Callback]) -> None:
        """Let every callback end the training, also if one of them fails."""
        failed: list[Exception] = []
        for callback in callbacks:
            try:
                callback.on_train_end(self)
            except Exception as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def progress(self) -> Progress:
        """Return where the training is, at the end of an epoch."""
        copy = self.mlp.backend.xp.asarray
        moments = tuple(copy(m, copy=True) for m in self.state.moments)
        return Progress(self.optimizer, moments, self.taken, self.finished, self.history)

    def resume(self, saved: "Saved") -> None:
        """Go on from a checkpoint, whose weights the model has, instead of from the beginning.

        Raises
        ------
        InvalidValueError
            If it is of a training with other settings or data.
        CheckpointError
            If it does not make sense.
        """
        stand = saved.stand(self)
        self.first, self.finished, self.taken = stand.first, stand.finished, stand.taken
        self.epoch, self.step, self._spent = stand.finished, stand.step, stand.seconds
        self.epochs += stand.first
        self.stopped, self.state, self.resumed = stand.stopped, stand.state, saved
        if stand.weights is not None:
            self.mlp.load_state_dict(stand.weights)
        self.history = stand.history
        self.history.examples = self.examples

    def _notify(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)

    def _initial_state(self, moments: tuple[Array, ...] | None = None) -> State:
        """Make a state of the model's weights, which are those of the last finished epoch."""
        weights = self.mlp.weights
        slots = self.optimizer.slots if moments is None else moments
        return first_state(self.mlp.backend.ops, weights.flat, weights.statistics, slots)

    def _train_epoch(self) -> None:
        backend, xp = self.mlp.backend, self.mlp.backend.xp
        self._started = perf_counter() - self._spent
        rates = self._schedule.rates(self.epoch, self.steps, self.epochs, self.history)
        if self.step == 0:
            self.state = self.state._replace(
                totals=xp.zeros_like(self.state.totals),
                carry=xp.zeros_like(self.state.carry),
                finite=xp.zeros_like(self.state.finite),
            )
        drawn = self._plans.draw(self.taken, rates)
        moments, state = self._kept_moments(), None
        if self.step:
            old = self.state
            state = first_state(backend.ops, old.params, old.statistics, old.moments)
        self._underway = Underway(drawn, rates, self.step, moments, state)
        for piece in self.feed.pieces(drawn, self.step):
            self._take_steps(piece)
        if self.epoch + 1 < self.epochs:
            self._plans.look_ahead()  # while a GPU is still at work
        loss, score = backend.to_numpy(self.state.totals).astype(np.float64)
        backend.synchronize()
        seconds, self._spent = self.seconds, 0.0
        self._note_execution()
        self.refuse_divergence(weights=True)
        self.mlp.weights.adopt(
            xp.asarray(self.state.params, copy=True), xp.asarray(self.state.statistics, copy=True)
        )
        self._underway = None
        self.mlp.epochs_trained += 1
        self.finished += 1
        self.taken += self.steps
        metric = self.mlp.task.metric
        figures = {"loss": loss / self.examples}
        if self.metrics:
            figures[metric.name] = metric.finish(score, self.examples, self.spread)
        figures |= {"learning_rate": rates[-1], "seconds": seconds}
        if self.validation is not None:
            measured = evaluate_batches(self.mlp, *self.validation)
            figures |= {f"val_{name}": value for name, value in measured.items()}
        for name, value in figures.items():
            self.history.setdefault(name, []).append(float(value))

    def _note_execution(self) -> None:
        """Say how the steps ran, and what memory they took."""
        mode, notes = self._run.execution
        self.history.execution = Execution(mode, (*notes, *filter(None, [self._note])))
        self.history.memory = self.mlp.backend.memory()

    def _take_steps(self, piece: Piece) -> None:
        """Run a piece at once, or in parts that end where a callback wants a word."""
        data, plan, done, end = piece
        while done < end:
            stop = end
            for callback in self.callbacks:
                if callback.every:
                    stop = min(stop, done + callback.every - self.total % callback.every)
            self.state = self._run(self.state, data, plan, done, stop)
            self.step += stop - done
            done = stop
            words = [c for c in self.callbacks if c.every and self.total % c.every == 0]
            for callback in words:
                callback.on_batch_end(self)
            if words:
                self.refuse_divergence()

    def _kept_moments(self) -> tuple[Array, ...] | None:
        """Copy the running averages, in case the epoch has to be replayed; at first they are 0."""
        if self.total == 0:
            return None
        return tuple(self.mlp.backend.xp.asarray(m, copy=True) for m in self.state.moments)

    def refuse_divergence(self, weights: bool = False) -> None:
        """Raise if a loss of this epoch was not finite, or what the last step left behind.

        Parameters
        ----------
        weights : bool
            Whether to look at those, too.

        Raises
        ------
        DivergenceError
        """
        xp, state = self.mlp.backend.xp, self.state
        if self._underway is None:
            return
        good = int(self.mlp.backend.to_numpy(state.finite)[0]) >= self.step
        if good and weights:
            good = all(bool(xp.all(xp.isfinite(x))) for x in (state.params, state.statistics))
        if not good:
            raise self._divergence(self._underway)

    def _divergence(self, epoch: Underway) -> DivergenceError:
        """Name the step and the layer that left the finite numbers."""
        # The loss of this step, from 0, was not finite; or only what the last one left behind.
        step = min(int(self.mlp.backend.to_numpy(self.state.finite)[0]), self.step - 1)
        found = self._locate(epoch, step)
        kept = f"of epoch {self.finished}" if self.finished else "from before the training"
        return DivergenceError(
            f"the training diverged in epoch {self.epoch + 1} of {self.epochs}, step {step + 1} of "
            f"{self.steps}: {found}. The learning rate was {epoch.rates[step]:.3g}; "
            f"the model keeps the weights {kept}"
        )

    def _locate(self, epoch: Underway, step: int) -> object:
        """Go through the epoch again up to a step, and look into it."""
        xp, found = self.mlp.backend.xp, None
        state = epoch.state or self._initial_state(epoch.moments)
        step -= epoch.first
        for data, plan, start, stop in self.feed.pieces(epoch.drawn, epoch.first):
            if step >= stop - start:
                state, step = self._run(state, data, plan, start, stop), step - (stop - start)
                continue
            k = start + step
            state = self._run(state, data, plan, start, k)
            before = xp.asarray(state.params, copy=True)
            rows = plan.rows[k, :]
            X, y = xp.take(data.X, rows, axis=0), xp.take(data.y, rows, axis=0)
            after = self._run(state, data, plan, k, k + 1).params
            found = locate(self.mlp, X, y, before, after)
            break
        return found or (
            "the loss or a running statistic is not finite. Try a smaller learning rate, or "
            "clip_norm=1.0"
        )
