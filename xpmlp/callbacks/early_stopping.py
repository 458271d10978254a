"""``EarlyStopping``; and ``Best``, the best value so far, for all callbacks that compare."""

from collections.abc import Mapping
from math import inf
from typing import Any

from xpmlp.errors import InvalidValueError, flag
from xpmlp.nn.metrics import falls
from xpmlp.training.callback import Callback
from xpmlp.training.loop import Training


class Best:
    """The best value of a metric in one run, for callbacks that act when it improves.

    Parameters
    ----------
    owner : Callback with ``monitor``
        Its ``monitor`` names the metric; see ``EarlyStopping``.
    training : Training
        Before its first epoch.
    """

    def __init__(self, owner: Any, training: Training) -> None:
        self.owner = type(owner).__name__
        held_out = training.validation is not None
        self.name = owner.monitor or ("val_loss" if held_out else "loss")
        self.value = inf
        self._sign = 1.0 if falls(self.name, training.history.falling) else -1.0
        # A continued run's history may have metrics that are no longer measured.
        self.before = len(training.history.get(self.name, ()))

    def improved(self, training: Training, by: float = 0.0, or_equal: bool = False) -> bool:
        """Compare the epoch's value with the best so far; return whether it is better."""
        found = training.history.get(self.name, [])
        if len(found) == self.before:
            raise InvalidValueError(
                f"{self.owner}: this training has no {self.name!r}, only "
                f"{', '.join(training.measures)}; give validation_data or validation_split, or "
                "another monitor"
            )
        value = self._sign * found[-1]
        better = value < self.value - by or (or_equal and value == self.value - by)
        if better:
            self.value = value
        return better

    def look_back(self, history: Mapping[str, list[float]], epochs: int) -> None:
        """Set the best so far to the best of the last epochs."""
        values = history.get(self.name, [])[-epochs:]
        self.value = min((self._sign * value for value in values), default=inf)


class EarlyStopping(Callback):
    """Stop when a metric has stopped improving, and restore the best weights.

    Parameters
    ----------
    monitor : str, optional
        A key of the history; by default ``"val_loss"`` with validation data, else ``"loss"``.
        Names that end in "loss", "mse", "mae" or another metric of which less is better should
        fall, others rise; a ``xpmlp.metrics.Measure`` says which it is. An unknown key is an
        error after the first epoch, because an earlier callback may add it.
    patience : int
        Epochs without improvement before training stops.
    min_delta : float
        Smallest change that counts as an improvement.
    restore_best : bool
        Whether the model ends with the weights of the best epoch instead of the last.
    latest : bool
        Whether an epoch as good as the best so far takes its place.

    Attributes
    ----------
    best_epoch : int or None
        Index of the best epoch in the history, from 0.

    Raises
    ------
    InvalidValueError
        If ``patience`` is below 1; in ``fit``, if nothing measures ``monitor``.

    Examples
    --------
    >>> stopping = xpmlp.EarlyStopping(patience=3)
    >>> mlp, points = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0), xpmlp.data.make_xor(n=100)
    >>> history = mlp.fit(
    ...     points.X, points.y, validation_split=0.2, epochs=500, optimizer=xpmlp.Adam(0.1),
    ...     callbacks=[stopping],
    ... )
    >>> len(history["loss"]) < 500
    True
    >>> history["val_loss"][stopping.best_epoch] == min(history["val_loss"])
    True
    """

    def __init__(
        self,
        patience: int = 10,
        monitor: str | None = None,
        min_delta: float = 0.0,
        restore_best: bool = True,
        latest: bool = False,
    ) -> None:
        if patience < 1:
            raise InvalidValueError(f"EarlyStopping: patience is {patience}; expected 1 or more")
        self.patience = patience
        self.monitor = monitor
        self.min_delta = min_delta
        self.restore_best = flag("restore_best", restore_best)
        self.latest = flag("latest", latest)
        self.best_epoch: int | None = None
        self._weights: Any = None

    def on_train_begin(self, training: Training) -> None:
        """Forget an earlier run."""
        self.best_epoch, self._weights = None, None
        self._best = Best(self, training)

    def on_epoch_end(self, training: Training) -> None:
        """Compare with the best so far."""
        if self._best.improved(training, by=self.min_delta, or_equal=self.latest):
            self.best_epoch = training.epoch
            if self.restore_best:
                self._weights = training.mlp.state_dict()
        elif self.best_epoch is None or training.epoch - self.best_epoch >= self.patience:
            training.stop()

    def settings(self) -> dict[str, Any]:
        """Return the parameters."""
        names = ("patience", "monitor", "min_delta", "restore_best")
        latest = {"latest": True} if self.latest else {}  # checkpoints of before do not have it
        return {name: getattr(self, name) for name in names} | latest

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, its epoch and its weights."""
        values: dict[str, Any] = {"best": self._best.value}
        if self.best_epoch is not None:
            values["best_epoch"] = self.best_epoch
        return values | {f"weights.{name}": w for name, w in (self._weights or {}).items()}

    def restore(self, training: Training, values: Mapping[str, Any]) -> None:
        """Restore them."""
        value, weights = float(values["best"]), None
        epoch = int(values["best_epoch"]) if "best_epoch" in values else None
        if epoch is not None and self.restore_best:
            own = training.mlp.state_dict()
            weights = {name: values[f"weights.{name}"] for name in own}
            for name, array in weights.items():
                if array.shape != own[name].shape or not abs(array).max() < inf:
                    raise ValueError(f"{name} of the best weights is not like the model's")
        self._best.value, self.best_epoch, self._weights = value, epoch, weights

    def on_train_end(self, training: Training) -> None:
        """Restore the best weights."""
        if self.restore_best and self._weights is not None:
            training.mlp.load_state_dict(self._weights)
