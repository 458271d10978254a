"""One training run of the page: a thread that trains, pauses, and hands out snapshots."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Condition, Lock, Thread
from typing import Any

import numpy as np

from xpmlp.callbacks import Callback
from xpmlp.inspect.diagnose import Diagnosis
from xpmlp.mlp import MLP
from xpmlp.play.network import fit_arguments, network_of, optimizer_of, problem_of
from xpmlp.play.settings import Settings
from xpmlp.training.loop import Training

PATIENCE = 10.0
"""Seconds without a question from the page after which a run pauses: its tab is closed."""

GAP = 1 / 40
"""Seconds between two snapshots while it trains."""

WANTED = 0.25
"""Seconds for which snapshots are taken after a question for one: the next finds it at once."""

STEPS = 200
"""Steps between two looks at what the page wants, within a long epoch."""

KEPT = 60
"""Most snapshots that are kept for the animation."""

REMEMBERED = 512
"""Frames of which it is known which epochs they had."""

_numbers = count(1)


class Left(Exception):  # noqa: N818 - nothing is wrong
    """Ends the training of a run that nobody wants any more."""


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment.

    Attributes
    ----------
    number : int
        Of the frame, from 1.
    status : {"paused", "running", "done", "failed"}
    epoch : int
        Finished epochs.
    step : int
        Steps in the epoch in progress.
    flat, statistics : ndarray
        Parameters and running statistics, on the host.
    rate : float
        The learning rate of the last step.
    message : str or None
        Why it failed, in one line.
    """

    number: int
    status: str
    epoch: int
    step: int
    flat: Any
    statistics: Any
    rate: float
    message: str | None = None


class Run:
    """A network in training. It begins paused, before the first epoch.

    Parameters
    ----------
    settings : Settings
    table : path-like, optional
        The user's table.
    patience : float
        See ``PATIENCE``.

    Attributes
    ----------
    number : int
        Differs from run to run.
    problem : Problem
    mlp : MLP
        In training, on its backend: only the run's thread uses it.
    viewer : MLP
        A copy on NumPy, for questions of the page.
    history : dict of str to list of float
        As ``fit`` returns it, so far.
    looking : Lock
        Held by whoever uses the viewer.
    bells : set of callable
        Called, from the run's thread, when there is a new snapshot.
    known : dict of int to int
        How many epochs each of the last snapshots had.
    film : list of Snapshot
        Some of all epochs, for the animation.

    Raises
    ------
    XpmlpError
        For settings or data that cannot work.
    """

    def __init__(
        self, settings: Settings, table: Path | None = None, *, patience: float = PATIENCE
    ) -> None:
        self.settings, self.patience, self.number = settings, patience, next(_numbers)
        self.problem = problem_of(settings, table)
        self.mlp = network_of(settings, self.problem)
        self.viewer: MLP = self.mlp
        self.history: Any = {}
        self.film: list[Snapshot] = []
        self.looking = Lock()
        self._training: Any = None
        self.diagnosis = _Thinned(self.problem.classes)
        self.bells: set[Callable[[], None]] = set()
        self.known: dict[int, int] = {}
        self._changed = Condition()
        self._goal: int | None = 0  # stop after so many steps; None: go on
        self._left, self._aims = False, 0
        self._asked, self._wanted = time.monotonic(), 0.0
        self._taken, self._paced, self._film_every = 0.0, 0.0, 1
        self.last = Snapshot(0, "starting", 0, 0, *self._weights(), settings.learning_rate)
        self._thread = Thread(target=self._work, name=f"run {self.number}", daemon=True)
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self.last.number)

    # What the page asks for, from any thread

    def ask(self) -> None:
        """Note that somebody is there."""
        self._asked = time.monotonic()

    def want(self) -> None:
        """Ask for snapshots, one now and some for the next questions."""
        self.ask()
        self._wanted = self._asked

    def go(self) -> None:
        """Train on, to the end."""
        self._aim(
            lambda training: None,
            lambda before: before.status == "running" or self.last is not before,
        )

    def pause(self) -> None:
        """Pause, and wait until it does."""
        self._aim(lambda training: 0, lambda before: self.last.status != "running")

    def advance(self, by: str) -> None:
        """Train one step, or to the end of the epoch, and wait for it."""

        def goal(training: Training) -> int:
            return (training.finished + 1) * training.steps if by == "epoch" else training.total + 1

        def reached(before: Snapshot) -> bool:
            return self.last is not before and self.last.status != "running"

        self._aim(goal, reached)

    def leave(self) -> None:
        """End the training, after the steps that it is at."""
        with self._changed:
            self._left = True
            self._changed.notify_all()
        self._ring()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    @property
    def over(self) -> bool:
        """Whether it is done, or has failed."""
        return self.last.status in ("done", "failed")

    def _aim(
        self, goal: Callable[[Training], int | None], reached: Callable[[Snapshot], bool]
    ) -> None:
        """Set after how many steps to stop, and wait until that is seen, or somebody else aims."""
        self.ask()
        with self._changed:
            if self.over:
                return
            before, self._aims = self.last, self._aims + 1
            mine, self._goal = self._aims, goal(self._training)
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: reached(before) or self.over or self._left or self._aims != mine
            )

    # The thread that trains

    def _work(self) -> None:
        status, message = "done", None
        try:
            self.mlp.fit(
                self.problem.X,
                self.problem.y,
                optimizer=optimizer_of(self.settings),
                callbacks=[self.diagnosis, _Conductor(self)],
                **fit_arguments(self.settings, self.problem),
            )
        except Left:
            return
        except Exception as error:  # whatever it is, the page says it
            status, message = "failed", " ".join(str(error).split()) or type(error).__name__
        self._publish(status, *self._weights(), self.last.rate, message)

    def begin(self, training: Training) -> None:
        """Make the viewer."""
        self._training, self.history = training, training.history
        self.viewer = self.mlp.copy(backend="numpy")
        self.viewer.penalty = self.mlp.penalty

    def meet(self, training: Training) -> int:
        """Pause if that is wanted; return after how many steps to meet again, 0 for the epoch."""
        every = self._slow_down(training)
        with self._changed:
            if time.monotonic() - self._asked > self.patience:
                self._goal = 0
            pauses = self._goal is not None and training.total >= self._goal
        if pauses:
            self.take(training, "paused")
            with self._changed:
                self._changed.wait_for(
                    lambda: self._left or self._goal is None or self._goal > training.total
                )
        if self._left:
            raise Left
        self._paced = now = time.monotonic()
        wanted = self.bells or now - self._wanted < WANTED
        if pauses or (wanted and now - self._taken >= GAP):
            self.take(training, "running")
        goal = self._goal
        if goal is not None and goal < (training.finished + 1) * training.steps:
            return 1
        return every

    def _slow_down(self, training: Training) -> int:
        """Wait until the next epoch is due, or something is wanted.

        Return after how many steps to look again: after each, if they are as slow as pictures.
        """
        pace, goal, steps = self.settings.pace, self._goal, training.steps
        if pace is None:
            return STEPS if steps > STEPS else 0
        singly = pace * steps <= 1 / GAP
        due = self._paced + 1 / (pace * steps if singly else pace)
        with self._changed:
            self._changed.wait_for(
                lambda: self._left or self._goal != goal, max(due - time.monotonic(), 0.0)
            )
        return 1 if singly else STEPS if steps > STEPS else 0

    def take(self, training: Training, status: str) -> None:
        """Publish a snapshot."""
        self._taken = time.monotonic()
        if status == "paused":
            self.diagnosis.catch_up(training)
        rates = self.history.get("learning_rate") or [self.last.rate]
        self._publish(status, *self._weights(training.state), rates[-1])

    def _weights(self, state: Any = None) -> tuple[Any, Any]:
        """Return copies of parameters and statistics on the host, of a state or of the model."""
        host, weights = self.mlp.backend.to_numpy, self.mlp.weights
        arrays = (weights.flat, weights.statistics)
        if state is not None:
            arrays = (state.params, state.statistics)
        flat, statistics = (np.array(host(x)) for x in arrays)
        return flat, statistics

    def _publish(
        self, status: str, flat: Any, statistics: Any, rate: float, message: str | None = None
    ) -> None:
        training = self._training
        epoch, step = (0, 0) if training is None else (training.finished, training.step)
        if training is None or step == training.steps or status in ("done", "failed"):
            step = 0
        with self._changed:
            number = self.last.number + 1
            self.last = Snapshot(number, status, epoch, step, flat, statistics, rate, message)
            self.known[number] = len(self.history.get("loss", ()))
            self.known.pop(number - REMEMBERED, None)
            self._changed.notify_all()
        self._ring()

    def _ring(self) -> None:
        for ring in tuple(self.bells):
            ring()

    def keep(self, training: Training) -> None:
        """Keep some epochs for the animation: when there are too many, every second one goes."""
        if training.finished % self._film_every:
            return
        self.film.append(
            Snapshot(0, "running", training.finished, 0, *self._weights(), self.last.rate)
        )
        if len(self.film) > KEPT:
            self._film_every *= 2
            self.film = self.film[::2]


class _Conductor(Callback):
    """Lets the run see every epoch, and every step where the page goes by steps."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_train_begin(self, training: Training) -> None:
        self.run.keep(training)
        self.run.begin(training)

    def on_epoch_begin(self, training: Training) -> None:
        if training.finished == 0:
            self.every = self.run.meet(training)

    def on_batch_end(self, training: Training) -> None:
        if training.step < training.steps:  # else the end of the epoch follows
            self.every = self.run.meet(training)

    def on_epoch_end(self, training: Training) -> None:
        self.run.keep(training)
        self.every = self.run.meet(training)


class _Thinned(Diagnosis):
    """A diagnosis that measures ever more seldom: the page trains for thousands of epochs."""

    SHARE = 1.05
    """The next measurement is at so many times the epochs of the last."""

    def on_epoch_end(self, training: Training) -> None:
        if training.finished >= self.SHARE * self.measured:
            super().on_epoch_end(training)

    @property
    def measured(self) -> int:
        """Epochs at the last measurement."""
        return 0 if self.course is None else self.course.last.epoch

    def on_train_end(self, training: Training) -> None:
        self.catch_up(training)
        super().on_train_end(training)

    def catch_up(self, training: Training) -> None:
        """Measure the last finished epoch, if that has not been done."""
        if training.finished > self.measured:
            self._measure(training, training.finished, training.history["learning_rate"][-1])
