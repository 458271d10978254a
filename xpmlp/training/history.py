"""What a training run has measured, and where it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from xpmlp.errors import InvalidValueError
from xpmlp.nn.contract import Array, Execution, Memory
from xpmlp.nn.metrics import falls
from xpmlp.nn.optimizers import Optimizer
from xpmlp.show.facts import Rows, as_html, as_text
from xpmlp.show.figures import BLUE, ORANGE, matplotlib, style
from xpmlp.show.frames import data_frame


class History(dict[str, list[float]]):
    """One number per epoch for each measured value.

    The keys are ``loss``; ``accuracy`` for classes or ``r2`` for values, if ``metrics`` is on and
    there are not fewer columns of targets than outputs;
    ``learning_rate`` of the epoch's last step, without factors of groups; ``seconds`` of training,
    without validation; and with validation data ``val_loss``, ``val_accuracy`` or ``val_r2``, and
    the named metrics that ``fit`` was asked for, such as ``val_f1``.
    Training values are means over the epoch's steps, while the weights change. Both losses include
    the penalty.

    Attributes
    ----------
    execution : Execution
        How the backend ran the steps, and what did not run at its best.
    memory : Memory or None
        A GPU's memory after the last epoch; None for a CPU.
    examples : int
        Rows of training data, without those held out for validation.
    falling : frozenset of str
        Custom metrics of which less is better, though their names do not say so.
    each : dict of str to list of list of float
        Of an ensemble: each network's loss and metric by epoch, whose means are in the history.

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
    falling: frozenset[str] = frozenset()

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self.each: dict[str, list[list[float]]] = {}

    def __repr__(self) -> str:
        return as_text(self._title(), _ends(self))

    def _repr_html_(self) -> str:
        return as_html(self._title(), _ends(self))

    def _title(self) -> str:
        return f"History of {lasted(self)}"

    def to_frame(self, library: str | None = None) -> Any:
        """Return a data frame with a row for each epoch, which count from 1.

        Parameters
        ----------
        library : {"pandas", "polars"}, optional
            By default pandas, or polars where pandas is not installed. In pandas the epochs are
            the index, in polars a column.

        Raises
        ------
        InvalidValueError
            For another library.
        MissingExtraError
            If it is not installed.

        Examples
        --------
        >>> frame = xpmlp.History(loss=[0.5, 0.25], accuracy=[0.7, 0.9]).to_frame()
        >>> frame["loss"].to_dict()
        {1: 0.5, 2: 0.25}
        """
        epochs = list(range(1, len(self.get("loss", ())) + 1))
        columns: dict[str, list[Any]] = {"epoch": epochs, **self}
        frame = data_frame(columns, library, "to_frame")
        return frame.set_index("epoch") if hasattr(frame, "set_index") else frame

    def plot(self) -> Any:
        """Draw loss and metric by epoch with pyplot, and return an array of matplotlib's Axes.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.

        Examples
        --------
        >>> history = xpmlp.History(loss=[0.5, 0.25], accuracy=[0.7, 0.9])
        >>> axes = history.plot()  # a panel for the loss, one for the metric
        >>> axes[1].figure.savefig("history.png")
        """
        names = [name for name in ("loss", "accuracy", "r2") if name in self] or ["loss"]
        size = (5.2 * len(names), 3.6)
        with style():
            subplots = matplotlib(".pyplot").subplots
            axes = subplots(1, len(names), figsize=size, layout="constrained", squeeze=False)[1][0]
            for ax, name in zip(axes, names, strict=True):
                curves(ax, self, name)
        return axes


def lasted(history: Mapping[str, Sequence[float]]) -> str:
    """Say how long the training was: ``"3 epochs, 1.5 s"``."""
    seconds = history.get("seconds", ())
    return f"{len(seconds)} epoch{'s' * (len(seconds) != 1)}, {sum(seconds):.1f} s"


def _ends(history: Mapping[str, Sequence[float]]) -> Rows:
    """Return a table of the first, last and best value of each metric."""
    rows = [("", "first", "last", "best")]
    for name, values in history.items():
        kind = name.removeprefix("val_")
        if not values or kind == "seconds":
            continue
        write = _FORMATS.get(kind, "{:.4g}".format)
        best = ""
        if kind != "learning_rate":
            less = falls(kind, getattr(history, "falling", ()))
            at = values.index((min if less else max)(values))
            best = f"{write(values[at])} in epoch {at + 1}"
        rows.append((name, write(values[0]), write(values[-1]), best))
    return rows


def curves(axes: Any, history: Mapping[str, Sequence[float]], name: str) -> None:
    """Draw one metric by epoch, on the training data and on the other part."""
    title = {"r2": "R²"}.get(name, name)
    axes.set_title(title[0].upper() + title[1:])
    axes.set_xlabel("epoch")
    last = percent if name == "accuracy" else "{:.4f}".format
    parts = {name: ("training", BLUE), f"test_{name}": ("test", ORANGE)}
    parts[f"val_{name}"] = ("validation", ORANGE)
    for key, (label, color) in parts.items():
        values = history.get(key, ())
        if values:
            epochs = range(1, len(values) + 1)
            dot = {"marker": "o", "markersize": 3.5} if len(values) <= 40 else {}
            text = f"{label}  {last(values[-1])}"
            axes.plot(epochs, values, color=color, linewidth=1.8, label=text, **dot)
    if name == "accuracy":
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(title="after the last epoch", title_fontsize=9, alignment="left")


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
    average : Array or None
        The averaged weights with which a run ended; the last of ``moments`` are then those that
        it trained.
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
    average: Array = None
    seconds: float = 0.0
    stopped: bool = False

    def moved(self, move: Callable[[Array], Array]) -> "Progress":
        """Return it with the optimizer state elsewhere."""
        average = None if self.average is None else move(self.average)
        return replace(self, moments=tuple(map(move, self.moments)), average=average)


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


_FORMATS: dict[str, Callable[[float], str]] = {"loss": number, "accuracy": percent, "r2": number}
