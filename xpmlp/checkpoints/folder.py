"""``Checkpoints``: a folder from which an interrupted training goes on, bit for bit."""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from xpmlp.arrays.checks import not_negative, whole
from xpmlp.callbacks.display import power_of_two
from xpmlp.callbacks.early_stopping import Best
from xpmlp.checkpoints.fingerprint import settings
from xpmlp.checkpoints.snapshot import Checkpoint, packed
from xpmlp.errors import CheckpointError, InvalidTypeError, InvalidValueError
from xpmlp.storage import tensorfile
from xpmlp.storage.atomic import remove_stale
from xpmlp.storage.locking import locked
from xpmlp.storage.paths import expanded
from xpmlp.storage.signals import SignalWatcher
from xpmlp.training.loop import Callback, Training

logger = logging.getLogger(__name__)

BEST = "best.xpmlp"
INTERVAL = 0.2
"""Seconds after which a training looks whether it was interrupted."""


class Checkpoints(Callback):
    """Files of a training in a folder, each of which it can go on from after any interruption.

    ``fit(checkpoints=..., resume=True)`` makes the training the same as one without an
    interruption: weights, running averages, schedule, early stopping, history, order of the rows
    and dropout are bit for bit what they would have been, on the same backend and machine. Ctrl-C
    and SIGTERM let the step finish, save, and then do what they do without; a second one acts at
    once. ``xpmlp.load`` reads each of the files as a model.

    Signals are a process's main thread's: a training in another thread is interrupted as usual.

    Parameters
    ----------
    folder : path-like
        Made if it is not there. Of two processes the second is refused.
    every : int, optional
        Save after every so many steps; unless given, after each epoch.
    keep : int
        So many of the newest files stay, 1 or more.
    best : bool
        Whether the best epoch's, by ``monitor``, stays too, as ``best.xpmlp``.
    monitor : str, optional
        A key of the history; see ``EarlyStopping``.
    pause : float
        Seconds that have to pass after a file before an epoch makes another; for short epochs.
    tell : callable, optional
        Called with the number of a signal that has come, before the step finishes.

    Attributes
    ----------
    saved : Path or None
        The file that was written last.
    resumed_from : Path or None
        The file that the last run resumed from.

    Raises
    ------
    InvalidValueError
        If the folder has no name, or a number is out of range.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int | None = None,
        keep: int = 3,
        best: bool = True,
        monitor: str | None = None,
        pause: float = 0.0,
        tell: Callable[[int], None] | None = None,
    ) -> None:
        # Absolute: a program may go elsewhere while it trains.
        self.folder = expanded(folder, "checkpoints").absolute()
        self.every = 0 if every is None else whole("checkpoints: every", every)
        self.keep, self.best = whole("checkpoints: keep", keep), bool(best)
        self.monitor, self.pause = monitor, not_negative("checkpoints: pause", pause)
        self.tell = tell
        self.saved: Path | None = None
        self.resumed_from: Path | None = None
        self._signals: SignalWatcher | None = None
        self._resumed: Checkpoint | None = None

    @classmethod
    def of(
        cls, given: "str | os.PathLike[str] | Checkpoints | None", every: int | None, resume: object
    ) -> "Checkpoints | None":
        """Return what ``fit``'s arguments ask for.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            If they do not go together, or ``resume`` is neither a bool nor a path.
        """
        if not isinstance(resume, bool | str | os.PathLike):
            raise InvalidTypeError(f"resume: found {resume!r}; expected a bool or a path")
        if given is None:
            if every is not None or resume is not False:
                name = "resume" if every is None else "checkpoint_every"
                raise InvalidValueError(f"{name}: needs a folder, checkpoints=...")
            return None
        if not isinstance(given, Checkpoints):
            return cls(given, every)
        if every is not None:
            raise InvalidValueError(
                "checkpoint_every: found with checkpoints=Checkpoints(...), which has its own every"
            )
        return given

    # Finding them again

    def files(self) -> list[Path]:
        """Return the checkpoints in the folder, the newest first, the best one last."""
        found = sorted(filter(_step, self.folder.glob("step-*.xpmlp")), key=_step, reverse=True)
        best = self.folder / BEST
        return [*found, *([best] if best.exists() else [])]

    def newest(self) -> Checkpoint | None:
        """Read the newest checkpoint that is sound, and say so if others are not.

        Returns
        -------
        Checkpoint or None
            None if there are none.

        Raises
        ------
        CheckpointError
            If there are some and none is sound.
        """
        found, failed = self._sound()
        if found is not None:
            for refused in failed:
                logger.warning("%s. Going on from %s, which is sound", refused, found.path)
        return found

    def _sound(self) -> tuple[Checkpoint | None, list[Exception]]:
        """Read the newest that is sound; return what is wrong with those that are newer, too."""
        failed: list[Exception] = []
        for path in self.files():
            try:
                return Checkpoint.read(path), failed
            except (CheckpointError, OSError) as error:
                failed.append(error)
        if failed:
            raise CheckpointError(f"{failed[0]}; no other checkpoint in {self.folder} is sound")
        return None, []

    # Making them

    @contextmanager
    def opened(self, resume: Any) -> Iterator[Checkpoint | None]:
        """Own the folder while a training runs, and yield the checkpoint to go on from.

        Signals wait within until a step is done.

        Raises
        ------
        InvalidValueError
            If there are checkpoints already, and no wish to go on from them.
        CheckpointError
            If there is nothing sound to go on from.
        RunLockedError
            If another process or thread has the folder.
        OSError
            If the folder cannot be made or written to, or the file to go on from not be read.
        """
        ours = not self.folder.exists()
        if not self.folder.is_dir() and os.path.lexists(self.folder):
            raise InvalidValueError(
                f"checkpoints: found a file or a broken link at {self.folder}; expected a folder"
            )
        with SignalWatcher(self.tell) as self._signals:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with locked(self.folder, "a training that keeps its checkpoints there"):
                    remove_stale(self.folder)
                    found = self._resumed = self._to_resume(resume)
                    self.resumed_from = found.path if found else None
                    yield found
            finally:
                self._signals = self._resumed = None
                if ours:
                    with suppress(OSError):
                        self.folder.rmdir()  # if there is nothing in it

    def _to_resume(self, resume: Any) -> Checkpoint | None:
        if resume is True:
            return self.newest()
        path = None if resume is False else expanded(resume, "resume").absolute()
        here = path is not None and self.folder.resolve() in (path.resolve(), path.resolve().parent)
        if self.files() and not here:
            raise InvalidValueError(
                f"checkpoints: found those of another training in {self.folder}. resume=True "
                "goes on from the newest; or give another folder, or remove them first"
            )
        if path is None:
            return None
        folder = Checkpoints(path if path.is_dir() else path.parent)
        if path.is_dir():
            return folder.newest()
        try:
            return Checkpoint.read(path)
        except CheckpointError as error:
            sound, _ = folder._sound()
            if sound is None:
                raise
            raise CheckpointError(f"{error}. {sound.path} is sound: resume from it") from error

    def around(self, callbacks: list[Callback]) -> list[Callback]:
        """Return what a run has to call: the user's callbacks between those of checkpoints.

        A resumed run is where it was before the user's callbacks begin; they get back what they
        knew when they have begun.
        """
        assert self._signals is not None
        return [_Resume(self), *callbacks, self, _Watch(self, self._signals)]

    def resume(self, training: Training) -> None:
        """Take the run's fingerprint, and put it where the checkpoint was, if one is resumed."""
        self._settings = settings(training)
        if self._resumed is not None:
            self._resumed.restore(training, self._settings)

    def on_train_begin(self, training: Training) -> None:
        """Note the time, and what is the best so far; refuse what could not be written later.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            If the model or a callback has something that no file can hold.
        """
        if self._signals is None:
            raise InvalidValueError(
                "callbacks: found Checkpoints; give them as fit(checkpoints=...), which locks "
                "their folder and finds where to go on"
            )
        if self._resumed is not None:
            self._resumed.restore_callbacks(training)
            self._resumed = None
        tensorfile.pack(*packed(training, self._settings))
        self._written = perf_counter()
        self._best = Best(self, training) if self.best else None
        if self._best is not None and training.finished > training.first:
            self._best.look_back(training.history, training.finished - training.first)

    def on_batch_end(self, training: Training) -> None:
        """Save."""
        self.save(training)

    def on_epoch_end(self, training: Training) -> None:
        """Save, if it is time; the best apart."""
        if self._best is not None and self._best.improved(training):
            tensorfile.write(self.folder / BEST, *packed(training, self._settings))
        over = training.stopped or training.finished == training.epochs
        due = not self.every and perf_counter() - self._written >= self.pause
        if over or due:
            self.save(training)

    def save(self, training: Training) -> None:
        """Write a checkpoint now, and remove the oldest if there are too many.

        Raises
        ------
        DivergenceError
            If a loss was not finite: the last good file stays the newest.
        OSError
            If it cannot be written; the files before are then as they were.
        """
        training.refuse_divergence(weights=True)
        path = self.folder / f"step-{training.total:09d}.xpmlp"
        tensorfile.write(path, *packed(training, self._settings))
        self.saved, self._written = path, perf_counter()
        # Later ones are of a training that was further: damaged, or left on purpose.
        steps = [old for old in self.files() if 0 < _step(old) <= training.total]
        for old in steps[self.keep :]:
            with suppress(OSError):  # it may be gone already, or open elsewhere
                old.unlink()

    def remove(self) -> None:
        """Remove all checkpoints, and the folder if nothing else is in it."""
        for path in self.files():
            path.unlink()
        with suppress(OSError):  # it may never have been made
            self.folder.rmdir()


def _step(path: Path) -> int:
    """Return the number of steps in a file's name; 0 if it has none."""
    named = re.fullmatch(r"step-([0-9]{1,18})\.xpmlp", path.name)
    return int(named[1]) if named else 0


class _Resume(Callback):
    """Puts a run where its checkpoint was, before the other callbacks begin."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints

    def on_train_begin(self, training: Training) -> None:
        """Resume."""
        self.checkpoints.resume(training)


class _Watch(Callback):
    """Looks now and then whether a signal has come, and then saves before it is answered.

    Parameters
    ----------
    checkpoints : Checkpoints
    signals : SignalWatcher
    """

    def __init__(self, checkpoints: Checkpoints, signals: SignalWatcher) -> None:
        self.checkpoints, self.signals = checkpoints, signals
        self.every = 1  # until it is known how long steps take

    def on_epoch_begin(self, training: Training) -> None:
        """Note where the clock starts."""
        self._looked, self._step = perf_counter(), training.total

    def on_batch_end(self, training: Training) -> None:
        """Look, and choose when to look again."""
        self._answer(training)
        now, done = perf_counter(), training.total - self._step
        self.every = power_of_two(INTERVAL * done / max(now - self._looked, 1e-9))
        self._looked, self._step = now, training.total

    def on_epoch_end(self, training: Training) -> None:
        """Look."""
        self._answer(training)

    def _answer(self, training: Training) -> None:
        if self.signals.caught is not None:
            self.checkpoints.save(training)
            self.signals.answer()
