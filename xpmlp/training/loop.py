"""The loop over epochs: plans on the host, steps on the device, values read once an epoch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from xpmlp.errors import DivergenceError, InvalidTypeError
from xpmlp.model.base import Model
from xpmlp.model.memory import Request
from xpmlp.model.predict import evaluate_batches
from xpmlp.nn.contract import Execution, Run, State
from xpmlp.nn.optimizers import Optimizer
from xpmlp.nn.step import first_state
from xpmlp.training.batches import Chunk, Order, Planner, batch_source
from xpmlp.training.divergence import EpochStart
from xpmlp.training.history import History, Progress
from xpmlp.training.prepare import TrainingData

Array = Any


class Callback:
    """Base of the callbacks: override what you need.

    Each method gets the ``Training``, whose ``mlp``, ``history``, ``epoch``, ``epochs``,
    ``step``, ``steps`` and ``batch_loss`` can be read, and whose ``stop()`` ends the training
    after the current epoch.

    Attributes
    ----------
    every : int
        Call ``on_batch_end`` after every so many steps, counted over all epochs; 0 never does.
        Each call reads one number from the device, so small values slow a GPU down.
    """

    every: int = 0

    def on_train_begin(self, training: "Training") -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, training: "Training") -> None:
        """Before each epoch, and again where one is resumed in its middle, after some steps."""

    def on_batch_end(self, training: "Training") -> None:
        """After every ``every`` steps; ``training.mlp`` has the weights of the last epoch's end."""

    def on_epoch_end(self, training: "Training") -> None:
        """After each epoch, when its row of ``training.history`` is there."""

    def on_train_end(self, training: "Training") -> None:
        """After the last epoch, however it ended."""

    def settings(self) -> dict[str, Any]:
        """Return what must be the same when a training is resumed, if there is a state."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs to know: numbers and arrays of them, by name."""
        return {}

    def restore(self, training: "Training", values: Mapping[str, Any]) -> None:
        """Take back, after ``on_train_begin``, what ``state_dict`` returned, as NumPy arrays.

        Raises
        ------
        Exception
            If they do not make sense: the file is refused then.
        """


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
        Epochs finished when the run began, and by now.
    taken : int
        Steps in the finished epochs; a continued run counts on.
    examples : int
        Rows of training data.
    metrics : bool
        Whether accuracy or R² is measured on them.
    begun, stopped : bool
        Whether the first epoch has begun, and whether ``stop()`` has been called.
    state : State
        What the steps change.
    given : TrainingData
        The data as they were prepared.
    data : Data
        The same as steps take them.
    validation : (Rows, ndarray) or None
    """

    def __init__(
        self,
        mlp: Model,
        optimizer: Optimizer,
        given: TrainingData,
        *,
        epochs: int,
        batch_size: int,
        shuffle: bool | Order,
        metrics: bool,
        callbacks: Sequence[Callback],
        after: Progress | None = None,
    ) -> None:
        self.mlp: Any = mlp
        self.optimizer = optimizer
        self.given, self.validation = given, given.validation
        self.data = given.for_steps(mlp.backend, mlp.dtype)
        self.examples = given.x.count
        self.batch_size = min(batch_size, self.examples)
        self.source = batch_source(mlp.backend, self.data, given.x.on_host, self.batch_size)
        self.shuffle, self.metrics, self.callbacks = shuffle, metrics, callbacks
        self._planner = Planner(mlp, optimizer, self.source, self.batch_size, shuffle)
        self.steps = self._planner.steps
        self._run: Run = mlp.compiled_step(optimizer, metrics)
        self._start: EpochStart | None = None
        self._asked, self._started, self.begun = epochs, perf_counter(), False
        self.restore(after or Progress(optimizer))

    def restore(self, at: Progress) -> None:
        """Go on from there; the model has the weights of the last finished epoch."""
        self.history, self.history.examples = at.history, self.examples
        self.first, self.finished, self.taken = at.first, at.epochs, at.steps
        self.epoch, self.epochs, self.step = at.epochs, at.first + self._asked, at.step
        self._spent, self.stopped = at.seconds, at.stopped
        self.state = self._initial_state(at.moments, at.params, at.statistics)
        self.state = self.state._replace(**at.sums)

    def progress(self) -> Progress:
        """Return where the run is; the arrays are the run's own, which the next step changes."""
        unfinished = self.epoch == self.finished and self.step > 0
        state = self.state
        return Progress(
            self.optimizer,
            state.moments,
            self.history,
            self.first,
            self.finished,
            self.taken,
            self.step if unfinished else 0,
            {name: getattr(state, name) for name in ("totals", "carry", "finite")},
            state.params if unfinished else None,
            state.statistics if unfinished else None,
            self.seconds if unfinished else 0.0,
            self.stopped,
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
        """Of the epoch in progress."""
        return perf_counter() - self._started

    @property
    def batch_loss(self) -> float:
        """Loss of the last step; reading it waits for the device."""
        return float(self.mlp.backend.to_numpy(self.state.loss))

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measured that each epoch adds to the history."""
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
            self.begun = True
            self.mlp.progress = None  # it is not that of the weights any more
            while self.finished < self.epochs and (self.step or not self.stopped):
                self.epoch = self.finished
                self._notify("on_epoch_begin")
                self._train_epoch()
                self._notify("on_epoch_end")
                self.step = 0
            self.mlp.progress = self._ended()
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

    def _ended(self) -> Progress:
        """Return where the run ended: a later one continues from it."""
        copy = self.mlp.backend.xp.asarray
        moments = tuple(copy(moment, copy=True) for moment in self.state.moments)
        return Progress(
            self.optimizer, moments, self.history, epochs=self.finished, steps=self.taken
        )

    def _notify(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)

    def _initial_state(
        self, moments: tuple[Array, ...] | None, params: Array = None, statistics: Array = None
    ) -> State:
        """Make a state of the model's weights, unless others are given."""
        weights = self.mlp.weights
        return first_state(
            self.mlp.backend.ops,
            weights.flat if params is None else params,
            weights.statistics if statistics is None else statistics,
            moments or self.optimizer.slots,
        )

    def _train_epoch(self) -> None:
        backend, xp = self.mlp.backend, self.mlp.backend.xp
        self._started = perf_counter() - self._spent
        rates = self.optimizer.rates(self.epoch, self.steps, self.epochs, self.history)
        if self.step == 0:
            self.state = self.state._replace(
                totals=xp.zeros_like(self.state.totals),
                carry=xp.zeros_like(self.state.carry),
                finite=xp.zeros_like(self.state.finite),
            )
        plans = self._planner.draw(self.taken, rates)
        moments, state = self._kept_moments(), None
        if self.step:
            old = self.state
            state = first_state(backend.ops, old.params, old.statistics, old.moments)
        self._start = EpochStart(plans, rates, self.step, moments, state)
        for chunk in self.source.chunks(plans, self.step):
            self._take_steps(chunk)
        if self.epoch + 1 < self.epochs:
            self._planner.look_ahead()  # while a GPU is still at work
        loss, score = backend.to_numpy(self.state.totals).astype(np.float64)
        backend.synchronize()
        seconds, self._spent = self.seconds, 0.0
        self._note_execution()
        self.refuse_divergence(weights=True)
        weights = self.mlp.weights
        weights.flat = xp.asarray(self.state.params, copy=True)
        weights.statistics = xp.asarray(self.state.statistics, copy=True)
        self._start = None
        self.mlp.epochs_trained += 1
        self.finished += 1
        self.taken += self.steps
        metric = self.mlp.task.metric
        measured = {"loss": loss / self.examples}
        if self.metrics:
            measured[metric.name] = metric.finish(score, self.examples, self.given.around_mean)
        measured |= {"learning_rate": rates[-1], "seconds": seconds}
        if self.validation is not None:
            held_out = evaluate_batches(self.mlp, *self.validation)
            measured |= {f"val_{name}": value for name, value in held_out.items()}
        for name, value in measured.items():
            self.history.setdefault(name, []).append(float(value))

    def _note_execution(self) -> None:
        """Say how the steps ran, and what memory they took."""
        mode, notes = self._run.execution
        self.history.execution = Execution(mode, (*notes, *filter(None, [self.given.note])))
        self.history.memory = self.mlp.backend.memory()

    def _take_steps(self, chunk: Chunk) -> None:
        """Run a chunk at once, or in parts that end where a callback wants a word."""
        data, plan, done, end = chunk
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
        """Copy the optimizer state, in case the epoch is gone through again; at first it is 0."""
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
        if self._start is None:
            return
        good = int(self.mlp.backend.to_numpy(state.finite)[0]) >= self.step
        if good and weights:
            good = all(bool(xp.all(xp.isfinite(x))) for x in (state.params, state.statistics))
        if not good:
            raise self._divergence(self._start)

    def _divergence(self, epoch: EpochStart) -> DivergenceError:
        """Name the step and the layer that left the finite numbers."""
        # The loss of this step, from 0, was not finite; or only what the last one left behind.
        step = min(int(self.mlp.backend.to_numpy(self.state.finite)[0]), self.step - 1)
        state = epoch.state or self._initial_state(epoch.moments)
        found = epoch.locate(self.mlp, self._run, self.source, state, step)
        kept = f"of epoch {self.finished}" if self.finished else "from before the training"
        return DivergenceError(
            f"the training diverged in epoch {self.epoch + 1} of {self.epochs}, step {step + 1} of "
            f"{self.steps}: {found}. The learning rate was {epoch.rates[step]:.3g}; "
            f"the model keeps the weights {kept}"
        )


def train(
    model: Model,
    prepare: Callable[[], TrainingData],
    asked: Request,
    data_on: str,
    **options: Any,
) -> History:
    """Prepare and train: all arrays are held in here, and are free when it has failed.

    Parameters
    ----------
    model : Model
        As it was, if it fails before the first epoch has begun, or for want of memory in it.
    prepare : callable () -> TrainingData
    asked : Request
        Filled in as it becomes known.
    data_on : {"auto", "device", "host"}
    **options
        Of ``Training``.
    """
    training, undo = None, model.restore_point()
    try:
        given = prepare()
        epochs, n = model.epochs_trained, given.x.count
        asked.batch_size = min(asked.batch_size or n, n)
        asked.data = given.host_bytes
        given = given.placed(model.backend, data_on)
        asked.on_host = given.x.on_host
        model.scaling = given.scaling
        model.set_task(given.task)
        training = Training(model, given=given, batch_size=asked.batch_size, **options)
        return training.run()
    except BaseException as error:
        begun = training is not None and training.begun
        ran_out = isinstance(error, Exception) and model.backend.ran_out(error)
        if not begun or (ran_out and model.epochs_trained == epochs):
            undo()
        raise


def check_callbacks(callbacks: Any) -> list[Callback]:
    """Return what ``fit`` was given as a list.

    Raises
    ------
    InvalidTypeError
        If they are no callbacks.
    """
    found = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks]
    for callback in found:
        if not isinstance(callback, Callback):
            raise InvalidTypeError(
                f"callbacks: found {callback!r}; expected a list of objects such as "
                "xpmlp.EarlyStopping()"
            )
        kind = type(callback)
        if kind.state_dict is not Callback.state_dict and kind.restore is Callback.restore:
            raise InvalidTypeError(
                f"callbacks: {kind.__name__} has a state_dict and no restore(training, values) "
                "that takes it back"
            )
    return found
