"""The loop over epochs: plans on the host, steps on the device, values read once an epoch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from xpmlp.errors import DivergenceError, InvalidValueError
from xpmlp.model.base import Form, Model
from xpmlp.model.measures import Measure, measured
from xpmlp.model.predict import evaluate_batches
from xpmlp.nn.contract import Array, Execution, State
from xpmlp.nn.optimizers import Optimizer
from xpmlp.nn.schedules import Time
from xpmlp.nn.step import Seen, first_state, summary
from xpmlp.training.averaging import started, swapped, with_weights
from xpmlp.training.batches import Chunk, EpochPlan, Order, Planner, batch_source
from xpmlp.training.callback import Callback
from xpmlp.training.divergence import EpochStart, unlocated
from xpmlp.training.history import History, Progress
from xpmlp.training.prepare import TrainingData
from xpmlp.training.shards import cut_of


class Training:
    """One call of ``fit``: what callbacks see.

    Attributes
    ----------
    mlp : MLP
        It has the weights of the last finished epoch, also when training fails.
    history : History
    epoch, epochs : int
        The epoch in progress, from 0, and the number of the last one.
    step, steps : int
        Steps done in this epoch, and in a whole one.
    first, finished, taken : int
        Finished epochs when the run began and by now, and steps in the finished epochs; the fits
        that this run continues count.
    examples : int
        Rows of training data that an epoch takes.
    metrics : bool
        Whether accuracy or R² is measured on them.
    begun, stopped : bool
        Whether the first epoch has begun, and whether ``stop()`` has been called.
    state : State
        What the steps change.
    given, data : TrainingData, Data
        The prepared data, and the same in the form that steps take.
    validation : Held or None
    named : tuple of Measure
        What else is measured on the validation data.
    form : Form or None
        How steps are compiled, if not as the backend does it.
    """

    def __init__(
        self,
        mlp: Model,
        optimizer: Optimizer,
        given: TrainingData,
        *,
        epochs: int,
        batch_size: int,
        shuffle: bool | str | Order,
        metrics: bool,
        callbacks: Sequence[Callback] = (),
        named: tuple[Measure, ...] = (),
        sampled: bool = False,
        after: Progress | None = None,
        form: Form | None = None,
    ) -> None:
        self.mlp: Any = mlp
        self.optimizer, self.form = optimizer, form
        self.given, self.validation = given, given.validation
        self.data = given.for_steps(mlp.backend, mlp.dtype)
        self.batch_size = min(batch_size, given.x.count)
        cut = cut_of(mlp, form)
        rows = self.batch_size, len(mlp.seeds), sampled or callable(shuffle), cut
        self.source = batch_source(mlp.backend, self.data, given.x.on_host, *rows)
        self.shuffle, self.callbacks = shuffle, callbacks
        self.metrics, self.named = metrics and mlp.task.metric is not None, named
        self._planner = Planner(mlp, optimizer, self.source, self.batch_size, shuffle, cut)
        self.steps, self.examples = self._planner.steps, self._planner.examples
        self._backend, self._run = mlp.backend, mlp.compiled_step(optimizer, self.metrics, form)
        self._start: EpochStart | None = None
        self._asked, self._started, self.begun = epochs, perf_counter(), False
        self.undo: Callable[[], None] | None = None
        self.restore(after or Progress(optimizer))

    def restore(self, at: Progress) -> None:
        """Continue from there; the model has the weights of the last finished epoch."""
        self.history, self.history.examples = at.history, self.examples
        self.history.falling |= {measure.name for measure in self.named if measure.falls}
        self.first, self.finished, self.taken = at.first, at.epochs, at.steps
        self.epoch, self.epochs, self.step = at.epochs, at.first + self._asked, at.step
        self._spent, self.stopped = at.seconds, at.stopped
        self._given = self.mlp.weights.flat
        self.state = self._initial_state(at.moments, at.params, at.statistics)
        if at.average is not None and not self._same(at.average):
            self.state = self._with_weights(self.state)  # set since that run
        self.state = self.state._replace(**at.sums)

    def progress(self) -> Progress:
        """Return where the run is; the next step changes the arrays."""
        unfinished = self.epoch == self.finished and self.step > 0
        state = self.state
        params, moments = swapped(self.optimizer, state.params, state.moments)
        return Progress(
            self.optimizer,
            moments=moments,
            history=self.history,
            first=self.first,
            epochs=self.finished,
            steps=self.taken,
            step=self.step if unfinished else 0,
            sums={name: getattr(state, name) for name in ("totals", "carry", "finite")},
            params=params if unfinished else None,
            statistics=state.statistics if unfinished else None,
            seconds=self.seconds if unfinished else 0.0,
            stopped=self.stopped,
        )

    def stop(self) -> None:
        """End the training after the current epoch."""
        self.stopped = True

    @property
    def total(self) -> int:
        """Steps taken so far, in all epochs."""
        return self.taken + (self.step if self.epoch == self.finished else 0)

    @property
    def seconds(self) -> float:
        """Time spent in the epoch in progress."""
        return perf_counter() - self._started

    @property
    def batch_loss(self) -> float:
        """Loss of the last step, the mean of several networks'; reading it waits for the device."""
        return float(self.mlp.backend.to_numpy(self.state.loss).mean())

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the values that each epoch adds to the history."""
        measured = tuple[str, ...](self.mlp.task.measures)
        more = tuple(measure.name for measure in self.named)
        held_out = () if self.validation is None else tuple(f"val_{n}" for n in measured + more)
        return (*(measured if self.metrics else ("loss",)), "learning_rate", "seconds", *held_out)

    def run(self) -> History:
        """Train. The model keeps the last finished epoch's weights whatever happens."""
        begun: list[Callback] = []
        try:
            for callback in self.callbacks:
                callback.on_train_begin(self)
                begun.append(callback)
            self.begun = True
            self.mlp.progress = None  # the weights are about to change
            while self.finished < self.epochs and (self.step or not self.stopped):
                self.epoch = self.finished
                self._notify("on_epoch_begin")
                for chunk in self.begin_epoch():
                    self.take_steps(chunk)
                self.finish_epoch()
                self._notify("on_epoch_end")
                self.step = 0
            self.history.memory = self.mlp.backend.memory()
            self.mlp.progress = self.ended()
        finally:
            self._end(begun)
        return self.history

    def _end(self, callbacks: list[Callback]) -> None:
        """Call every callback's ``on_train_end``, even if one of them fails."""
        failed: list[Exception] = []
        for callback in callbacks:
            try:
                callback.on_train_end(self)
            except Exception as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def ended(self) -> Progress:
        """Return where the run ended; a later run may continue from it."""
        copy = self.mlp.backend.xp.asarray
        _, moments = swapped(self.optimizer, self.state.params, self.state.moments)
        return Progress(
            self.optimizer,
            tuple(copy(moment, copy=True) for moment in moments),
            self.history,
            epochs=self.finished,
            steps=self.taken,
            average=self._given if self.averages else None,
        )

    def _same(self, average: Array) -> bool:
        """Whether the model's weights are still those with which a run ended."""
        xp, flat = self.mlp.backend.xp, self.mlp.weights.flat
        return flat is average or bool(xp.all(flat == average))

    def _notify(self, event: str, callbacks: Sequence[Callback] | None = None) -> None:
        for callback in self.callbacks if callbacks is None else callbacks:
            getattr(callback, event)(self)
        if self.mlp.backend is not self._backend:
            raise InvalidValueError(
                f"a callback moved the model from {self._backend.name} to {self.mlp.backend.name} "
                "while it was training; move it before fit, or after it"
            )

    def _initial_state(
        self, moments: tuple[Array, ...] | None, params: Array = None, statistics: Array = None
    ) -> State:
        """Return a state with these weights, or else the model's; as a ``Progress`` has them."""
        weights, ops = self.mlp.weights, self.mlp.backend.ops
        params = weights.flat if params is None else params
        moments = started(ops.xp, self.optimizer, params, moments or ())
        params, moments = swapped(self.optimizer, params, moments)
        statistics = weights.statistics if statistics is None else statistics
        networks = self.mlp.network.networks
        return first_state(ops, params, statistics, moments or self.optimizer.slots, networks)

    @property
    def averages(self) -> bool:
        """Whether the weights are averaged."""
        return self.optimizer.average is not None

    @property
    def kept(self) -> Array:
        """The weights that the model gets: the average if there is one."""
        return swapped(self.optimizer, self.state.params, self.state.moments)[0]

    def begin_epoch(self, rows: Any = None) -> Iterator[Chunk]:
        """Begin an epoch, of these rows or of the planner's; return the data for its steps."""
        self._started = perf_counter() - self._spent
        self._planner.begin(rows)
        self.steps = self._planner.steps
        self.examples = self.history.examples = self._planner.examples
        self._start = self._epoch_start()
        return self.source.chunks(self._start.plans, self.step)

    @property
    def plans(self) -> list[EpochPlan]:
        """The plans of the epoch in progress."""
        return [] if self._start is None else self._start.plans

    def finish_epoch(self) -> None:
        """Give the model the weights, and the history what was measured."""
        xp, start = self.mlp.backend.xp, self._start
        assert start is not None
        if self.epoch + 1 < self.epochs:
            self._planner.look_ahead()  # while a GPU still computes
        seen = self.refuse_divergence()  # this waits for the device
        seconds, self._spent = self.seconds, 0.0
        mode, notes = self._run.execution
        self.history.execution = Execution(mode, (*notes, *filter(None, [self.given.note])))
        weights = self.mlp.weights
        weights.flat = self._given = xp.asarray(self.kept, copy=True)
        weights.statistics = xp.asarray(self.state.statistics, copy=True)
        self._start = self.undo = None  # the weights from before would take memory to the end
        self.mlp.epochs_trained += 1
        self.finished += 1
        self.taken += self.steps
        values: dict[str, float] = self._measured(seen.loss, seen.score)
        if self.mlp.network.members is not None:
            each = [self._measured(*sums) for sums in zip(*seen.each, strict=True)]
            for name in values:
                self.history.each.setdefault(name, []).append([one[name] for one in each])
        values |= {"learning_rate": float(np.mean(start.rates[self.steps - 1])), "seconds": seconds}
        if self.validation is not None:
            held_out = evaluate_batches(self.mlp, *self.validation[:3])
            held_out |= measured(self.mlp, self.named, self.validation)
            values |= {f"val_{name}": value for name, value in held_out.items()}
        for name, value in values.items():
            self.history.setdefault(name, []).append(float(value))

    def _measured(self, loss: float, score: float) -> dict[str, float]:
        """Return an epoch's loss and metric from their sums over its rows."""
        values, n = {"loss": float(loss / self.examples)}, self.examples
        if self.metrics:
            metric = self.mlp.task.metric
            values[metric.name] = float(metric.finish(score, n, self.around_mean()))
        return values

    def around_mean(self) -> float:
        """Return Σ (y − mean)² over the targets of an epoch, for R²; of any rows that it takes."""
        return self.given.around_mean * (self.examples / self.given.x.count)

    def _epoch_start(self) -> EpochStart:
        """Draw the epoch's plans, set its sums to 0, and keep what going through it again takes."""
        xp, old = self.mlp.backend.xp, self.begin_sums()
        again = None if self.step == 0 else self._copied(old)
        moments = None  # at first it is 0
        if self.total:
            _, kept = swapped(self.optimizer, old.params, old.moments)
            moments = tuple(xp.asarray(m, copy=True) for m in kept)
        time = Time(self.epoch, self.steps, self.epochs, self.history)
        plans, rates = self._planner.draw(self.taken, time)
        return EpochStart(plans, rates, self.step, moments, again)

    def begin_sums(self) -> State:
        """Set the epoch's sums to 0, unless it is resumed; return the state as it was."""
        xp, old = self.mlp.backend.xp, self.state
        self._run = self.mlp.compiled_step(self.optimizer, self.metrics, self.form)
        self._run.epochs = self.epochs - self.epoch
        if self.step == 0:
            if self._weights_were_set():
                old = self._with_weights(old)
            sums = ("totals", "carry", "finite")
            self.state = old._replace(**{n: xp.zeros_like(getattr(old, n)) for n in sums})
        return old

    def _weights_were_set(self) -> bool:
        """Whether a callback may have set the model's weights since the last epoch."""
        if self.averages:  # the model has others than the run
            return self.mlp.weights.flat is not self._given
        return bool(self.callbacks)

    def _with_weights(self, state: State) -> State:
        """Return a state with copies of the model's weights and running statistics."""
        return with_weights(self.mlp.backend.xp, self.optimizer, state, self.mlp.weights)

    def _call_due(self, due: list[Callback], start: EpochStart) -> None:
        """Call ``on_batch_end``; weights that a callback sets are trained from here."""
        before = self.mlp.weights.flat
        self._notify("on_batch_end", due)
        self._run = self.mlp.compiled_step(self.optimizer, self.metrics, self.form)
        self.refuse_divergence()
        if self.mlp.weights.flat is not before:
            self.state = s = self._with_weights(self.state)
            self._start = replace(start, first=self.step, state=self._copied(s))

    def take_steps(self, chunk: Chunk) -> None:
        """Run a chunk at once, or in parts that end where a callback is due."""
        data, plan, done, end = chunk
        while done < end:
            stop = end
            for callback in self.callbacks:
                if callback.every:
                    stop = min(stop, done + callback.every - self.total % callback.every)
            self.state = self._run(self.state, data, plan, done, stop)
            self.step += stop - done
            done = stop
            due = [c for c in self.callbacks if c.every and self.total % c.every == 0]
            if due and self._start is not None:
                self._call_due(due, self._start)

    def refuse_divergence(self) -> Seen:
        """Return what this epoch has summed up; raise if a loss or a weight is not finite.

        Raises
        ------
        DivergenceError
        """
        start, seen = self._start, self._seen()
        if start is None or (seen.finite and seen.steps >= self.step):
            return seen
        # The losses may be finite where weights are not: some activations make 0 of NaN.
        bad = seen.steps if seen.steps < self.step else None
        again = partial(self._restarted, start)
        step, found = start.locate(self.mlp, self._run, self.source, again, bad)
        kept = f"of epoch {self.finished}" if self.finished else "from before the training"
        rate = np.max(start.rates[step])
        error = DivergenceError(
            f"the training diverged in epoch {self.epoch + 1} of {self.epochs}, step "
            f"{step + 1} of {self.steps}: {found}. The learning rate was "
            f"{rate:.3g}; the model keeps the weights {kept}"
        )
        error.networks = getattr(found, "networks", ())
        raise error

    def _seen(self) -> Seen:
        backend = self.mlp.backend
        return Seen.of(backend.to_numpy(summary(backend.xp, self.state)))

    def refuse_loss(self) -> Seen:
        """Return what this epoch has summed up, of steps that cannot be taken again.

        Raises
        ------
        DivergenceError
        """
        seen = self._seen()
        if not seen.finite or seen.steps < self.step:
            raise unlocated(self.epoch, self.epochs)
        return seen

    def _restarted(self, start: EpochStart) -> State:
        """Return the state with which this epoch began."""
        s = start.state
        return self._initial_state(start.moments) if s is None else self._copied(s)

    def _copied(self, s: State) -> State:
        """Return a copy of a state, whose sums begin anew."""
        networks = self.mlp.network.networks
        return first_state(self.mlp.backend.ops, s.params, s.statistics, s.moments, networks)
