"""Hooks into training, and early stopping, which is one of them."""

from math import inf
from typing import TYPE_CHECKING, Any

from xpmlp.errors import InvalidValueError

if TYPE_CHECKING:
    from xpmlp.training import Training


class Callback:
    """Base of the callbacks: override what you need.

    Each method gets the ``Training``, whose ``mlp``, ``history``, ``epoch``, ``epochs``,
    ``step``, ``steps`` and ``batch_loss`` can be read, and whose ``stop()`` ends the training
    after the current epoch.

    Attributes
    ----------
    every : int
        Call ``on_batch_end`` after every so many steps; 0 never does. Each call reads one number
        from the device, so small values slow a GPU down.
    """

    every: int = 0

    def on_train_begin(self, training: "Training") -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, training: "Training") -> None:
        """Before each epoch."""

    def on_batch_end(self, training: "Training") -> None:
        """After every ``every`` steps; ``training.mlp`` has the weights of the last epoch's end."""

    def on_epoch_end(self, training: "Training") -> None:
        """After each epoch, when its row of ``training.history`` is there."""

    def on_train_end(self, training: "Training") -> None:
        """After the last epoch, however it ended."""


class EarlyStopping(Callback):
    """Stop when a figure has not improved for a while, and give back the best weights.

    Parameters
    ----------
    monitor : str, optional
        A key of the history; ``"val_loss"`` where there is validation data, else ``"loss"``.
        Losses are to fall, accuracy and R² to rise.
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
        self._best = inf
        self._weights: Any = None

    def on_train_begin(self, training: "Training") -> None:
        """Forget an earlier training."""
        self.best_epoch, self._best, self._weights = None, inf, None

    def on_epoch_end(self, training: "Training") -> None:
        """Compare with the best so far."""
        history = training.history
        monitor = self.monitor or ("val_loss" if "val_loss" in history else "loss")
        if monitor not in history:
            raise InvalidValueError(
                f"EarlyStopping: the history has no {monitor!r}, only {', '.join(history)}; "
                "give validation_data or validation_split, or another monitor"
            )
        value = history[monitor][-1] * (1.0 if monitor.endswith("loss") else -1.0)
        if value < self._best - self.min_delta:
            self._best, self.best_epoch = value, training.epoch
            if self.restore_best:
                self._weights = training.mlp.state_dict()
        elif self.best_epoch is None or training.epoch - self.best_epoch >= self.patience:
            training.stop()

    def on_train_end(self, training: "Training") -> None:
        """Give back the best weights."""
        if self.restore_best and self._weights is not None:
            training.mlp.load_state_dict(self._weights)
