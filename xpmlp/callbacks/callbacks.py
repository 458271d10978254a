"""Hooks into training, and those that most trainings want: stop early, keep files, show it."""

import os
import sys
from collections.abc import Iterable, Mapping
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from xpmlp.errors import InvalidTypeError, InvalidValueError

if TYPE_CHECKING:
    from xpmlp.training.loop import Training


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


class Best:
    """The best of a figure in one training, for callbacks that act when it improves.

    Parameters
    ----------
    owner : Callback with ``monitor``
        Which names the figure, by the rule in ``EarlyStopping``.
    training : Training
        At its beginning.
    """

    def __init__(self, owner: Any, training: "Training") -> None:
        self.owner = type(owner).__name__
        held_out = training.validation is not None
        self.name = owner.monitor or ("val_loss" if held_out else "loss")
        self.value = inf
        # A continued training's history may have figures that are measured no more.
        self.before = len(training.history.get(self.name, ()))

    def improved(self, training: "Training", by: float = 0.0) -> bool:
        """Compare the epoch's figure with the best so far."""
        found = training.history.get(self.name, [])
        if len(found) == self.before:
            raise InvalidValueError(
                f"{self.owner}: this training has no {self.name!r}, only "
                f"{', '.join(training.measures)}; give validation_data or validation_split, or "
                "another monitor"
            )
        value = self._sign * found[-1]
        better = value < self.value - by
        if better:
            self.value = value
        return better

    def look_back(self, history: Mapping[str, list[float]], epochs: int) -> None:
        """Take the best of the last epochs for the best so far."""
        values = history.get(self.name, [])[-epochs:]
        self.value = min((self._sign * value for value in values), default=inf)

    @property
    def _sign(self) -> float:
        return 1.0 if self.name.endswith("loss") else -1.0


class EarlyStopping(Callback):
    """Stop when a figure has not improved for a while, and give back the best weights.

    Parameters
    ----------
    monitor : str, optional
        A key of the history; ``"val_loss"`` where there is validation data, else ``"loss"``.
        Losses are to fall, accuracy and R² to rise. A callback that comes before may have added
        it; so that there is none such is an error after the first epoch only.
    patience : int
        Epochs without improvement to wait for.
    min_delta : float
        Smallest change that counts as improvement.
    restore_best : bool
        Whether the model ends with the weights of the best epoch rather than the last.

    Attributes
    ----------
    best_epoch : int or None
        Counted from 0 in the fit's history.
    """

    def __init__(
        self,
        patience: int = 10,
        monitor: str | None = None,
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        if patience < 1:
            raise InvalidValueError(f"EarlyStopping: patience is {patience}; expected 1 or more")
        self.patience = patience
        self.monitor = monitor
        self.min_delta = min_delta
        self.restore_best = restore_best
        self.best_epoch: int | None = None
        self._weights: Any = None

    def on_train_begin(self, training: "Training") -> None:
        """Forget an earlier training."""
        self.best_epoch, self._weights = None, None
        self._best = Best(self, training)

    def on_epoch_end(self, training: "Training") -> None:
        """Compare with the best so far."""
        if self._best.improved(training, by=self.min_delta):
            self.best_epoch = training.epoch
            if self.restore_best:
                self._weights = training.mlp.state_dict()
        elif self.best_epoch is None or training.epoch - self.best_epoch >= self.patience:
            training.stop()

    def settings(self) -> dict[str, Any]:
        """Return the parameters."""
        names = ("patience", "monitor", "min_delta", "restore_best")
        return {name: getattr(self, name) for name in names}

    def state_dict(self) -> dict[str, Any]:
        """Return the best figure, its epoch and its weights."""
        values: dict[str, Any] = {"best": self._best.value}
        if self.best_epoch is not None:
            values["best_epoch"] = self.best_epoch
        return values | {f"weights.{name}": w for name, w in (self._weights or {}).items()}

    def restore(self, training: "Training", values: Mapping[str, Any]) -> None:
        """Take them back."""
        value, weights = float(values["best"]), None
        epoch = int(values["best_epoch"]) if "best_epoch" in values else None
        if epoch is not None and self.restore_best:
            own = training.mlp.state_dict()
            weights = {name: values[f"weights.{name}"] for name in own}
            for name, array in weights.items():
                if array.shape != own[name].shape or not abs(array).max() < inf:
                    raise ValueError(f"{name} of the best weights is not like the model's")
        self._best.value, self.best_epoch, self._weights = value, epoch, weights

    def on_train_end(self, training: "Training") -> None:
        """Give back the best weights."""
        if self.restore_best and self._weights is not None:
            training.mlp.load_state_dict(self._weights)


class SaveModel(Callback):
    """Save the model to a file while it trains, for ``xpmlp.load``.

    Parameters
    ----------
    path : path-like
        May have fields, which are filled from the epoch's row of the history, and with ``epoch``,
        counted from 1: ``"run-{epoch:03d}-{val_loss:.4f}.xpmlp"``. Without any, each file takes
        the place of the one before, when it is complete. A brace that is no field is doubled.
    epochs : int
        After every so many epochs, and after the last.
    monitor : str, optional
        A key of the history, for ``best_only``; see ``EarlyStopping``.
    best_only : bool
        Save only what is better than all that was saved in this training.

    Attributes
    ----------
    saved : Path or None
        The file that was written last.
    """

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
        self.best_only = best_only
        self.saved: Path | None = None

    def on_train_begin(self, training: "Training") -> None:
        """Refuse a path that cannot be filled, and forget an earlier training."""
        self._fill(training, dict.fromkeys(training.measures, 0.5))
        self._best = Best(self, training)
        self._pending = False

    def on_epoch_end(self, training: "Training") -> None:
        """Save, if it is time."""
        done = training.epoch + 1
        due = done % self.epochs == 0
        if self.best_only:
            wanted = due and self._best.improved(training)
        else:
            wanted = due or training.stopped or done == training.epochs
        self._pending = not wanted
        if wanted:
            self._save(training)

    def on_train_end(self, training: "Training") -> None:
        """Save the last epoch, if a callback that comes after this one has made it the last."""
        if training.stopped and self._pending and not self.best_only:
            self._save(training)

    def settings(self) -> dict[str, Any]:
        """Return the parameters but the path."""
        return {name: getattr(self, name) for name in ("epochs", "monitor", "best_only")}

    def state_dict(self) -> dict[str, Any]:
        """Return the best figure that was saved."""
        return {"best": self._best.value} if self.best_only else {}

    def restore(self, training: "Training", values: Mapping[str, Any]) -> None:
        """Take it back."""
        if self.best_only:
            self._best.value = float(values["best"])

    def _save(self, training: "Training") -> None:
        row = {name: training.history[name][-1] for name in training.measures}
        self.saved = self._fill(training, row)
        training.mlp.save(self.saved)

    def _fill(self, training: "Training", row: dict[str, float]) -> Path:
        try:
            return Path(self.path.format(epoch=training.epoch + 1, **row))
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            raise InvalidValueError(
                f"SaveModel: path {self.path!r} cannot be filled ({error}); this training has the "
                f"fields epoch, {', '.join(row)}"
            ) from error


class ShowProgress(Callback):
    """Show the training: a line per epoch, and a live one on a terminal with rich installed.

    Parameters
    ----------
    stream : text file, optional
        Standard output unless given.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream

    def on_train_begin(self, training: "Training") -> None:
        """Print the head of the table."""
        from xpmlp.callbacks.display import display

        self._shown = display(sys.stdout if self.stream is None else self.stream, "val")
        self._pass_on("on_train_begin", training)

    def on_epoch_begin(self, training: "Training") -> None:
        """Note the time."""
        self._pass_on("on_epoch_begin", training)

    def on_batch_end(self, training: "Training") -> None:
        """Draw the live line."""
        self._pass_on("on_batch_end", training)

    def on_epoch_end(self, training: "Training") -> None:
        """Print the epoch's line."""
        self._pass_on("on_epoch_end", training)

    def on_train_end(self, training: "Training") -> None:
        """Take the live line away."""
        self._pass_on("on_train_end", training)
        del self._shown  # a terminal can be neither copied nor pickled, a callback can

    def _pass_on(self, event: str, training: "Training") -> None:
        getattr(self._shown, event)(training)
        self.every = self._shown.every  # a live line looks again when it likes


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


def power_of_two(steps: float) -> int:
    """Return the largest power of two up to so many steps, 1 or more.

    For ``every``: JAX compiles each number of steps that it is to take at once.
    """
    return 1 << max(int(min(steps, 2**30)).bit_length() - 1, 0)
