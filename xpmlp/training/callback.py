"""``Callback``: what runs at the events of a training."""

from collections.abc import Iterable, Mapping
from typing import Any

from xpmlp.errors import InvalidTypeError


class Callback:
    """Base class of callbacks: override what you need.

    Each method gets the run, a ``xpmlp.training.loop.Training``. Read its ``mlp``, ``history``,
    ``epoch``, ``epochs``, ``step``, ``steps`` and ``batch_loss``; its ``stop()`` ends the training
    after this epoch. Weights set by ``training.mlp.load_state_dict`` are trained on; where the
    optimizer averages weights, the average starts from them, too.

    Attributes
    ----------
    every : int
        Steps between two calls of ``on_batch_end``, counted over all epochs; 0 means no calls.
        Each call reads a number from the device, so small values slow a GPU down.
    everywhere : bool
        Whether it acts in each of several workers; otherwise only in the first, as what prints or
        writes files does. What changes the run has to act everywhere.

    Examples
    --------
    >>> class StopAt(xpmlp.Callback):
    ...     def on_epoch_end(self, training):
    ...         if training.history["loss"][-1] < 0.5:
    ...             training.stop()
    >>> mlp, points = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0), xpmlp.data.make_xor(n=100)
    >>> adam = xpmlp.Adam(0.02)
    >>> history = mlp.fit(points.X, points.y, epochs=200, optimizer=adam, callbacks=[StopAt()])
    >>> len(history["loss"]) < 200
    True
    """

    every: int = 0
    everywhere: bool = True

    def on_train_begin(self, training: Any) -> None:
        """Run before the first epoch."""

    def on_epoch_begin(self, training: Any) -> None:
        """Run before each epoch, and again when a run resumes within an epoch."""

    def on_batch_end(self, training: Any) -> None:
        """Run after every ``every`` steps; ``training.mlp`` still has the last epoch's weights."""

    def on_epoch_end(self, training: Any) -> None:
        """Run after each epoch; ``training.history`` has its values."""

    def on_train_end(self, training: Any) -> None:
        """Run after the last epoch, also when training failed."""

    def settings(self) -> dict[str, Any]:
        """Return the parameters that a resumed run must have too, if there is a state."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resumed run needs: numbers and arrays of numbers, by name."""
        return {}

    def restore(self, training: Any, values: Mapping[str, Any]) -> None:
        """Set the state that ``state_dict`` returned, as NumPy arrays; after ``on_train_begin``.

        Raises
        ------
        Exception
            Of any type, if the values make no sense: the checkpoint is refused.
        """


def check_callbacks(callbacks: Any) -> list[Callback]:
    """Return the callbacks as a list.

    Raises
    ------
    InvalidTypeError
        For anything else, and for a callback whose state could not be restored.
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
                f"callbacks: {kind.__name__} has a state_dict but no restore(training, values) "
                "that takes it back"
            )
    return found
