"""What a training run has measured, and where it is."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from xpmlp.errors import InvalidValueError
from xpmlp.nn.contract import Array, Execution, Memory
from xpmlp.nn.optimizers import Optimizer


class History(dict[str, list[float]]):
    """One number per epoch for each measured value.

    The keys are ``loss``; ``accuracy`` for classes or ``r2`` for values, if ``metrics`` is on and
    there are not fewer columns of targets than outputs;
    ``learning_rate`` of the epoch's last step; ``seconds`` of training, without validation; and
    with validation data ``val_loss`` and ``val_accuracy`` or ``val_r2``. Training values are means
    over the epoch's steps, while the weights change. Both losses include the penalty.

    Attributes
    ----------
    execution : Execution
        How the backend ran the steps, and what did not run at its best.
    memory : Memory or None
        A GPU's memory after the last epoch; None for a CPU.
    examples : int
        Rows of training data, without those held out for validation.

    Examples
    --------
    >>> mlp, points = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0), xpmlp.data.make_xor(n=100)
    >>> history = mlp.fit(points.X, points.y, epochs=5, validation_split=0.2)
    >>> list(history)
    ['loss', 'accuracy', 'learning_rate', 'seconds', 'val_loss', 'val_accuracy']
    >>> len(history["loss"]), history.examples
    (5, 80)
    """

    execution = Execution("eager")
    memory: Memory | None = None
    examples = 0


@dataclass(frozen=True)
class Progress:
    """Where a training run is, apart from the model's weights.

    A run that continues another starts from one, a checkpoint holds one, and the model keeps the
    one with which its last run ended.

    Attributes
    ----------
    optimizer : Optimizer
    moments : tuple of Array, each shape (layout.size,)
        The optimizer state, on the device; empty before the first step.
    history : History
    first, epochs : int
        Finished epochs when the run began, and by now.
    steps : int
        Steps in the finished epochs.
    step : int
        Steps done in an unfinished epoch.
    sums : dict of str to Array
        What an unfinished epoch has summed up: ``totals``, ``carry`` and ``finite`` of ``State``.
    params, statistics : Array or None
        Of an unfinished epoch: the flat parameters and running statistics by now. The model has
        those of the last finished epoch.
    seconds : float
        Time spent in the unfinished epoch.
    stopped : bool
        Whether a callback has stopped the run.
    """

    optimizer: Optimizer
    moments: tuple[Array, ...] = ()
    history: History = field(default_factory=History)
    first: int = 0
    epochs: int = 0
    steps: int = 0
    step: int = 0
    sums: dict[str, Array] = field(default_factory=dict)
    params: Array = None
    statistics: Array = None
    seconds: float = 0.0
    stopped: bool = False

    def moved(self, move: Callable[[Array], Array]) -> "Progress":
        """Return it with the optimizer state elsewhere."""
        return replace(self, moments=tuple(map(move, self.moments)))


def continue_from(last: Progress | None, optimizer: Optimizer) -> Progress:
    """Return where a run that continues a model's last one starts.

    Raises
    ------
    InvalidValueError
        If there is none, or it had another kind of optimizer.
    """
    if last is None:
        raise InvalidValueError(
            "continued: this model has no training to continue; call fit without it first"
        )
    if type(last.optimizer) is not type(optimizer):
        raise InvalidValueError(
            f"continued: found the optimizer {optimizer.name!r}; the training so far had "
            f"{last.optimizer.name!r}, whose state another optimizer cannot use"
        )
    return replace(last, first=last.epochs)


def percent(share: float) -> str:
    """Format a share: ``"97.77 %"``."""
    return f"{100 * share:.2f} %"


def score(name: str, value: float) -> str:
    """Format a metric by its name: accuracy in per cent, R² as a number."""
    return percent(value) if name == "accuracy" else f"{value:.4f}"


def number(value: float) -> str:
    """Format a loss in at most nine characters."""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.3e}"
