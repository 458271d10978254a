"""Save the model while it trains."""

import os
from collections.abc import Mapping
from pathlib import Path
from string import Formatter
from typing import Any

from xpmlp.callbacks.early_stopping import Best
from xpmlp.errors import InvalidValueError, flag
from xpmlp.model import files
from xpmlp.training.callback import Callback
from xpmlp.training.loop import Training


class SaveModel(Callback):
    """Save the model to a file while it trains; ``xpmlp.load`` reads it.

    Parameters
    ----------
    path : path-like
        May have fields for the epoch's values in the history, and ``epoch``, counted from 1:
        ``"run-{epoch:03d}-{val_loss:.4f}.xpmlp"``. Values that a callback before this one adds to
        the history are fields too. Without fields, each file replaces the one before. Double a
        brace that is not a field.
    epochs : int
        Epochs between two saves; the last epoch is always saved.
    monitor : str, optional
        A key of the history, for ``best_only``; see ``EarlyStopping``.
    best_only : bool
        Whether to save only if the metric is better than at any save of this run.

    Attributes
    ----------
    saved : Path or None
        The file that was written last.

    Raises
    ------
    InvalidValueError
        For ``epochs`` below 1, and ``monitor`` without ``best_only``; in ``fit`` for a path with
        fields that the training run does not have.
    OSError
        In ``fit``, if the file cannot be written.

    Examples
    --------
    >>> saving = xpmlp.SaveModel("run-{epoch:03d}.xpmlp", epochs=2)
    >>> mlp, points = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0), xpmlp.data.make_xor(n=100)
    >>> history = mlp.fit(points.X, points.y, epochs=5, callbacks=[saving])
    >>> saving.saved.name
    'run-005.xpmlp'
    >>> xpmlp.load("run-004.xpmlp", backend="numpy").epochs_trained
    4
    """

    everywhere = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        epochs: int = 1,
        monitor: str | None = None,
        best_only: bool = False,
    ) -> None:
        if epochs < 1:
            raise InvalidValueError(f"SaveModel: epochs is {epochs}; expected 1 or more")
        if monitor is not None and not best_only:
            raise InvalidValueError(
                f"SaveModel: monitor={monitor!r} chooses nothing without best_only=True"
            )
        self.path = os.fspath(path)
        self.epochs = epochs
        self.monitor = monitor
        self.best_only = flag("best_only", best_only)
        self.saved: Path | None = None

    def on_train_begin(self, training: Training) -> None:
        """Refuse a path that cannot be filled, and forget an earlier run."""
        self._before = {name: len(values) for name, values in training.history.items()}
        added = self._may_be_added(training)
        self._fill(training, dict.fromkeys((*training.measures, *added), 0.5))
        self._best = Best(self, training)
        self._pending = False

    def on_epoch_end(self, training: Training) -> None:
        """Save if it is time."""
        self._fill(training, self._row(training))  # refused now rather than at the first save
        done = training.epoch + 1
        due = done % self.epochs == 0
        if self.best_only:
            wanted = due and self._best.improved(training)
        else:
            wanted = due or training.stopped or done == training.epochs
        self._pending = not wanted
        if wanted:
            self._save(training)

    def on_train_end(self, training: Training) -> None:
        """Save the last epoch if a later callback has made it the last."""
        if training.stopped and self._pending and not self.best_only:
            self._save(training)

    def settings(self) -> dict[str, Any]:
        """Return the parameters except the path."""
        return {name: getattr(self, name) for name in ("epochs", "monitor", "best_only")}

    def state_dict(self) -> dict[str, Any]:
        """Return the best value that was saved."""
        return {"best": self._best.value} if self.best_only else {}

    def restore(self, training: Training, values: Mapping[str, Any]) -> None:
        """Restore it."""
        if self.best_only:
            self._best.value = float(values["best"])

    def _save(self, training: Training) -> None:
        self.saved = self._fill(training, self._row(training))
        files.save(training.mlp, self.saved)

    def _row(self, training: Training) -> dict[str, float]:
        """Return the last value of everything that this run has added to the history."""
        return {
            name: values[-1]
            for name, values in training.history.items()
            if len(values) > self._before.get(name, 0)
        }

    def _may_be_added(self, training: Training) -> set[str]:
        """Return the fields of the path that a custom callback before this one may measure."""
        measures = training.mlp.task.measures
        ours = {"epoch", *training.measures, *measures, *(f"val_{name}" for name in measures)}
        before = training.callbacks[: training.callbacks.index(self)]
        if all(type(callback).__module__.startswith("xpmlp.") for callback in before):
            return set()
        try:
            fields = {name for _, name, _, _ in Formatter().parse(self.path) if name}
        except ValueError:  # _fill says what is wrong with it
            return set()
        return set(filter(str.isidentifier, fields)) - ours

    def _fill(self, training: Training, row: dict[str, float]) -> Path:
        try:
            return Path(self.path.format(epoch=training.epoch + 1, **row))
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            raise InvalidValueError(
                f"SaveModel: path {self.path!r} cannot be filled ({error}); this training has the "
                f"fields epoch, {', '.join(row)}"
            ) from error
