"""``Checkpoints``: a folder from which an interrupted training run resumes, bit for bit."""

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
from xpmlp.checkpoints.snapshot import Checkpoint, packed
from xpmlp.errors import CheckpointError, InvalidTypeError, InvalidValueError, WorkerError, flag
from xpmlp.model.base import Form
from xpmlp.parallel import Alone, Communicator, gather
from xpmlp.storage import tensorfile
from xpmlp.storage.atomic import remove_stale
from xpmlp.storage.locking import locked
from xpmlp.storage.paths import expanded
from xpmlp.storage.signals import SignalWatcher
from xpmlp.training.callback import Callback
from xpmlp.training.fingerprint import settings
from xpmlp.training.loop import Training

logger = logging.getLogger(__name__)

BEST = "best.xpmlp"
INTERVAL = 0.2
"""Seconds between two looks whether a signal has come."""


class Checkpoints(Callback):
    """A folder of checkpoints, from which a training run resumes after any interruption.

    With ``fit(checkpoints=..., resume=True)`` a run ends as if it had never been interrupted:
    weights, optimizer state, schedule, early stopping, history, row order and dropout are the
    same, bit for bit, on the same backend and machine. Ctrl-C and SIGTERM let the step finish and
    save before they act as usual; a second one acts at once. ``xpmlp.load`` reads each checkpoint
    as a model.

    Only the main thread of a process gets signals: a run in another thread is interrupted as
    usual.

    Parameters
    ----------
    folder : path-like
        Made if it is missing. A second process in the same folder is refused.
    every : int, optional
        Steps between two checkpoints; after each epoch if omitted.
    keep : int
        How many of the newest checkpoints to keep, 1 or more.
    best : bool
        Whether to keep the best epoch as well, by ``monitor``, as ``best.xpmlp``.
    monitor : str, optional
        A key of the history; see ``EarlyStopping``.
    pause : float
        Least seconds between the checkpoints of two epochs, for short epochs.
    tell : callable, optional
        Called with the number of a signal when it comes, before the step finishes.

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

    Examples
    --------
    >>> points = xpmlp.data.make_xor(n=100)
    >>> checkpoints = xpmlp.Checkpoints("run", every=2, keep=2)
    >>> mlp = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0)
    >>> history = mlp.fit(points.X, points.y, epochs=5, checkpoints=checkpoints, resume=True)
    >>> [path.name for path in checkpoints.files()]
    ['step-000000005.xpmlp', 'step-000000004.xpmlp', 'best.xpmlp']
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
        self.keep, self.best = whole("checkpoints: keep", keep), flag("checkpoints: best", best)
        self.monitor, self.pause = monitor, not_negative("checkpoints: pause", pause)
        self.tell = tell
        self.saved: Path | None = None
        self.resumed_from: Path | None = None
        self._signals: SignalWatcher | None = None
        self._resumed: Checkpoint | None = None
        self._workers: Communicator = Alone()

    @classmethod
    def of(
        cls, given: "str | os.PathLike[str] | Checkpoints | None", every: int | None, resume: object
    ) -> "Checkpoints":
        """Return the checkpoints that the arguments of ``fit`` ask for.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            If they do not go together, or ``resume`` is neither a bool nor a path.
        """
        if not isinstance(resume, bool | str | os.PathLike):
            raise InvalidTypeError(f"resume: found {resume!r}; expected a bool or a path")
        if given is None:
            name = "resume" if every is None else "checkpoint_every"
            raise InvalidValueError(f"{name}: needs a folder, checkpoints=...")
        if not isinstance(given, Checkpoints):
            return cls(given, every)
        if every is not None:
            raise InvalidValueError(
                "checkpoint_every: found with checkpoints=Checkpoints(...), which has its own every"
            )
        return given

    # Finding them

    def files(self) -> list[Path]:
        """Return the checkpoints in the folder, newest first, the best one last.

        Examples
        --------
        >>> xpmlp.Checkpoints("no run yet").files()
        []
        """
        found = sorted(filter(_step, self.folder.glob("step-*.xpmlp")), key=_step, reverse=True)
        best = self.folder / BEST
        return [*found, *([best] if best.exists() else [])]

    def newest(self) -> Checkpoint | None:
        """Read the newest valid checkpoint, or None; warn of each newer one that is broken.

        Raises
        ------
        CheckpointError
            If there are checkpoints, and none is valid.

        Examples
        --------
        >>> mlp, points = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0), xpmlp.data.make_xor(n=100)
        >>> history = mlp.fit(points.X, points.y, epochs=3, checkpoints="run")
        >>> xpmlp.Checkpoints("run").newest().path.name
        'step-000000003.xpmlp'
        """
        found, failed = self._newest_valid()
        if found is not None:
            for refused in failed:
                logger.warning("%s. Resuming from %s, which is valid", refused, found.path)
        return found

    def _newest_valid(self) -> tuple[Checkpoint | None, list[Exception]]:
        """Return the newest valid checkpoint, and what is wrong with the newer ones."""
        failed: list[Exception] = []
        for path in self.files():
            try:
                return Checkpoint.read(path), failed
            except (CheckpointError, OSError) as error:
                failed.append(error)
        if failed:
            raise CheckpointError(f"{failed[0]}; no other checkpoint in {self.folder} is valid")
        return None, []

    # Making them

    @contextmanager
    def opened(self, resume: Any, form: Form | None = None) -> Iterator[Checkpoint | None]:
        """Lock the folder while a run trains, and yield the checkpoint to resume from.

        Within, a signal waits until the step is done. Of several workers only the first writes.

        Raises
        ------
        InvalidValueError
            If there are checkpoints already, and ``resume`` is not given.
        CheckpointError
            If there is no valid checkpoint to resume from.
        RunLockedError
            If another process or thread uses the folder.
        OSError
            If the folder cannot be made or written to, or the checkpoint cannot be read.
        """
        self._workers = getattr(form, "together", Alone())
        if self._workers.rank:
            yield from self._followed()
            return
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
                    gather(self._workers, found and str(found.path))
                    yield found
            finally:
                self._signals = self._resumed = None
                if ours:
                    with suppress(OSError):
                        self.folder.rmdir()  # if there is nothing in it

    def _followed(self) -> Iterator[Checkpoint | None]:
        """Yield the checkpoint that the first worker has found; write nothing."""
        with SignalWatcher() as self._signals:
            try:
                path = gather(self._workers, None)[0]
                if isinstance(path, dict):
                    raise WorkerError(f"worker 0 has failed: {path['error']}")
                found = self._resumed = Checkpoint.read(Path(path)) if path else None
                self.resumed_from = found.path if found else None
                yield found
            finally:
                self._signals = self._resumed = None

    def _to_resume(self, resume: Any) -> Checkpoint | None:
        if resume is True:
            return self.newest()
        path = None if resume is False else expanded(resume, "resume").absolute()
        here = path is not None and self.folder.resolve() in (path.resolve(), path.resolve().parent)
        if self.files() and not here:
            raise InvalidValueError(
                f"checkpoints: found those of another training run in {self.folder}. Resume from "
                "the newest with resume=True, give another folder, or remove them first"
            )
        if path is None:
            return None
        folder = Checkpoints(path if path.is_dir() else path.parent)
        if path.is_dir():
            return folder.newest()
        try:
            return Checkpoint.read(path)
        except CheckpointError as error:
            valid, _ = folder._newest_valid()
            if valid is None:
                raise
            raise CheckpointError(f"{error}. {valid.path} is valid: resume from it") from error

    def around(self, callbacks: list[Callback]) -> list[Callback]:
        """Return the callbacks of a run: those of the user between those of the checkpoints.

        A resumed run is put where it was before the user's callbacks begin, and their states are
        restored after.
        """
        assert self._signals is not None
        return [_Resume(self), *callbacks, self, _Watch(self, self._signals, self._workers)]

    def resume(self, training: Training) -> None:
        """Take the run's fingerprint; if it resumes a checkpoint, put it where that was."""
        self._settings = settings(training)
        if self._resumed is not None:
            self._resumed.restore(training, self._settings)

    def on_train_begin(self, training: Training) -> None:
        """Restore the other callbacks, and refuse now what could not be written later.

        Raises
        ------
        InvalidValueError, InvalidTypeError
            If the model or a callback has a value that a file cannot hold.
        """
        if self._signals is None:
            raise InvalidValueError(
                "callbacks: found Checkpoints; give them as fit(checkpoints=...), which locks "
                "their folder and finds the checkpoint to resume from"
            )
        if self._resumed is not None:
            self._resumed.restore_callbacks(training)
            self._resumed = None
        if self._workers.rank:
            return
        tensorfile.pack(*packed(training, self._settings))
        self._written = perf_counter()
        self._best = Best(self, training) if self.best else None
        if self._best is not None and training.finished > training.first:
            self._best.look_back(training.history, training.finished - training.first)

    def on_batch_end(self, training: Training) -> None:
        """Save."""
        self.save(training)

    def on_epoch_end(self, training: Training) -> None:
        """Save if it is time, and the best epoch in any case."""
        if self._workers.rank:
            return
        if self._best is not None and self._best.improved(training):
            tensorfile.write(self.folder / BEST, *packed(training, self._settings))
        over = training.stopped or training.finished == training.epochs
        due = not self.every and perf_counter() - self._written >= self.pause
        if over or due:
            self.save(training)

    def save(self, training: Training) -> None:
        """Write a checkpoint, and remove the oldest if there are too many.

        Raises
        ------
        DivergenceError
            If a loss was not finite; the last good checkpoint stays the newest.
        OSError
            If it cannot be written; the older checkpoints are unchanged.
        """
        training.refuse_divergence()
        if self._workers.rank:
            return
        path = self.folder / f"step-{training.total:09d}.xpmlp"
        tensorfile.write(path, *packed(training, self._settings))
        self.saved, self._written = path, perf_counter()
        # Files with more steps were damaged, or are of a run that was further: they stay.
        steps = [old for old in self.files() if 0 < _step(old) <= training.total]
        for old in steps[self.keep :]:
            with suppress(OSError):  # it may be gone, or open elsewhere
                old.unlink()

    def remove(self) -> None:
        """Remove all checkpoints, and the folder if it is empty then.

        Examples
        --------
        >>> mlp, points = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0), xpmlp.data.make_xor(n=100)
        >>> history = mlp.fit(points.X, points.y, epochs=3, checkpoints="run")
        >>> xpmlp.Checkpoints("run").remove()
        >>> xpmlp.Checkpoints("run").files()
        []
        """
        for path in self.files():
            path.unlink()
        with suppress(OSError):  # it may not exist
            self.folder.rmdir()


def _step(path: Path) -> int:
    """Return the number of steps in a file's name, or 0."""
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
    """Looks now and then whether a signal has come, and saves before it is answered."""

    def __init__(
        self, checkpoints: Checkpoints, signals: SignalWatcher, workers: Communicator
    ) -> None:
        self.checkpoints, self.signals, self.workers = checkpoints, signals, workers
        self.every = 1  # until the time of a step is known

    def on_epoch_begin(self, training: Training) -> None:
        """Start the clock."""
        self._looked, self._step = perf_counter(), training.total

    def on_batch_end(self, training: Training) -> None:
        """Look, and choose when to look again."""
        self._answer(training)
        now, done = perf_counter(), training.total - self._step
        every = power_of_two(INTERVAL * done / max(now - self._looked, 1e-9))
        self.every = gather(self.workers, every)[0]  # all look after the same steps
        self._looked, self._step = now, training.total

    def on_epoch_end(self, training: Training) -> None:
        """Look."""
        self._answer(training)

    def _answer(self, training: Training) -> None:
        caught = gather(self.workers, self.signals.caught)
        number = next((one for one in caught if one is not None), None)
        if number is not None:
            self.checkpoints.save(training)
            self.signals.caught = number  # another worker's
            self.signals.answer()
