"""Training on ready batches: from a generator, or a ``DataLoader`` of PyTorch.

An epoch is one pass over them. Each batch is checked and encoded as ``fit`` does it with all data,
and is then the data set of one step.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from time import perf_counter
from typing import Any

import numpy as np

from xpmlp.arrays.checks import weights
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.model.base import Model
from xpmlp.model.examples import Held, pair
from xpmlp.nn.contract import Array, Backend, Plan
from xpmlp.nn.optimizers import Optimizer
from xpmlp.nn.schedules import Schedule, Time
from xpmlp.training.batches import Chunk
from xpmlp.training.divergence import EpochStart
from xpmlp.training.loop import Training
from xpmlp.training.prepare import TrainingData, by_class, prepare
from xpmlp.training.rates import coefficients

Batches = Iterable[Sequence[Array]] | Callable[[], Iterable[Sequence[Array]]]
"""Batches (X, y) or (X, y, sample_weight), which can be iterated anew; or a function that returns
some."""


NO_STEPS = (
    "steps_per_epoch: found it without batches; an epoch of X and y takes each row once. Leave it "
    "out, or pass epochs="
)

NO_DATA = "y: found None; pass fit(X, y), or fit(batches=loader) with pairs (X, y)"


def refuse_with_batches(
    X: Any,
    y: Any,
    sample_weight: Any,
    validation_split: Any,
    shuffle: Any,
    batch_size: Any,
    data_on: str,
    checkpoints: Any,
) -> None:
    """Refuse arguments of ``fit`` that batches leave without effect.

    Raises
    ------
    InvalidValueError
        Says what to do instead.
    """
    for name, given, fix in (
        ("X and y", X is not None or y is not None, "pass one or the other"),
        ("sample_weight", sample_weight is not None, "batches may be (X, y, sample_weight)"),
        ("validation_split", validation_split != 0, "pass validation_data"),
        ("shuffle", shuffle is not True, "what makes the batches chooses their rows"),
        ("batch_size", batch_size != 128, "what makes the batches chooses their size"),
        ("data_on", data_on != "auto", "each batch is copied as it comes"),
        (
            "checkpoints",
            checkpoints is not None,
            "nobody can say whether batches come again as they were; xpmlp.SaveModel keeps "
            "weights, and continued=True continues",
        ),
    ):
        if given:
            raise InvalidValueError(f"{name}: found it together with batches; {fix}")


class Stream:
    """Batches, and an iterator over those of the first epoch.

    Parameters
    ----------
    batches : Batches
    epochs : int
        How often they are iterated.
    class_weight : dict of int to float, optional
    steps : int, optional
        Batches of an epoch, if that is not one pass: the next epoch takes those that follow.

    Raises
    ------
    InvalidTypeError
        For anything else.
    InvalidValueError
        For an iterator, which is spent after one epoch, if there are more; and for no batch.
    """

    def __init__(
        self, batches: Any, epochs: int, class_weight: Any = None, steps: int | None = None
    ) -> None:
        if not (isinstance(batches, Iterable) or callable(batches)) or isinstance(
            batches, str | Mapping
        ):
            raise InvalidTypeError(
                f"batches: found a {type(batches).__name__}; expected what gives pairs (X, y): a "
                "list, a DataLoader, a generator, or a function that returns one"
            )
        if isinstance(class_weight, str):
            raise InvalidValueError(
                f"class_weight: found {class_weight!r} with batches, which are not seen all at "
                "once; pass a dict such as {0: 1.0, 1: 5.0}, or weights in the batches"
            )
        self._batches, self.class_weight, self._steps = batches, class_weight, steps
        first = self._iterate()
        self._once = first is batches
        if self._once and epochs > 1 and steps is None:
            raise InvalidValueError(
                f"batches: found an iterator ({type(batches).__name__}), which is spent after one "
                f"epoch, for epochs={epochs}. Pass epochs=1, or a function that returns a new one: "
                "fit(batches=make_batches). One without an end needs steps_per_epoch"
            )
        try:
            self.first = next(first)
        except StopIteration:
            raise InvalidValueError("batches: found none; expected one at least") from None
        self._rest: Iterator[Any] | None = first if steps is None else chain([self.first], first)

    @property
    def length(self) -> int | None:
        """How many there are in an epoch, if they or ``steps`` say so."""
        if self._steps is not None:
            return self._steps
        try:
            return len(self._batches)
        except TypeError:
            return None

    def epoch(self) -> Iterator[Any]:
        """Return the batches of an epoch."""
        if self._steps is not None:
            return self._next_ones(self._steps)
        rest, self._rest = self._rest, None
        return self._iterate() if rest is None else chain([self.first], rest)

    def _next_ones(self, steps: int) -> Iterator[Any]:
        """Yield the batches that follow; begin anew after the last, where that is possible."""
        taken, is_new = 0, False
        while taken < steps:
            for batch in islice(self._rest or (), steps - taken):
                yield batch
                taken, is_new = taken + 1, False
            if taken < steps:
                if self._once or is_new:
                    raise InvalidValueError(
                        f"batches: found {taken} more, expected steps_per_epoch={steps} in each "
                        "epoch. Pass fewer epochs, or a function that returns a new iterator"
                    )
                self._rest, is_new = self._iterate(), True

    def _iterate(self) -> Iterator[Any]:
        made = self._batches
        return iter(made if isinstance(made, Iterable) else made())


HOST = (1, 3)
"""DLPack's numbers of the host's memory, and of that which is pinned for a GPU."""


def parts_of(backend: Backend, batch: Any, number: int) -> tuple[Any, Any, Any]:
    """Return X, y and weights, or None, of a batch; what is on the host as NumPy has it.

    Loaders make arrays on the host, also for a model on a GPU.
    """
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        what = f"{len(batch)} parts" if isinstance(batch, tuple | list) else type(batch).__name__
        raise InvalidTypeError(
            f"batches: found {what} in batch {number}; expected (X, y), or (X, y, sample_weight)"
        )
    X, y, *weight = (_on_host(backend, part) for part in batch)
    return X, y, weight[0] if weight else None


def _on_host(backend: Backend, x: Any) -> Any:
    """Return an array of another library on the host as NumPy's; anything else as it is."""
    where = getattr(x, "__dlpack_device__", None)
    if where is None or isinstance(x, np.ndarray) or backend.owns(x) or where()[0] not in HOST:
        return x
    try:
        return np.from_dlpack(x)
    except Exception:  # what DLPack or NumPy does not have is read, or refused, as elsewhere
        return x


def prepare_first(model: Model, stream: Stream, validation_data: Any) -> TrainingData:
    """Check the first batch as ``fit`` checks all data: it says what the targets are.

    Raises
    ------
    InvalidValueError
        For a model that learns its scaling, its table or first weights from all data.
    """
    X, y, weight = parts_of(model.backend, stream.first, 0)
    for name, learns in (
        (
            f"scaling={model.scaling.mode!r}",
            model.scaling.measures and model.scaling.pixels is None,
        ),
        ("table", model.table is not None and not model.table.features),
    ):
        if learns:
            raise InvalidValueError(
                f"batches: this model learns its {name} from all data at its first fit. Fit it on "
                "some rows first, fit(X_some, y_some, epochs=1), or scale the batches"
            )
    given = prepare(model, X, y, weight, validation_data)
    if given.first:
        raise InvalidValueError(
            "batches: this model learns first weights or bins from all data at its first fit; fit "
            "it on some rows first, fit(X_some, y_some, epochs=1)"
        )
    return given


class StreamTraining(Training):
    """One call of ``fit`` with batches.

    ``steps`` and ``examples`` count those of the epoch so far, where nobody knows how many there
    are. ``given`` and ``data`` are those of the first batch.
    """

    def __init__(self, mlp: Model, optimizer: Optimizer, *, stream: Stream, **options: Any) -> None:
        self._stream = stream
        self._said = stream.length
        self._around = _Around()
        if self._said is None and _scheduled(mlp, optimizer):
            raise InvalidValueError(
                "batches: found a schedule, and batches that do not say how many they are: "
                "schedules run over the steps of an epoch. Give the object a __len__, pass "
                "steps_per_epoch, or a constant rate"
            )
        super().__init__(mlp, optimizer, **options)
        self.steps = self._said or 1

    def begin_epoch(self, rows: Any = None) -> Iterator[Chunk]:
        """Begin an epoch; return its steps, each with its data."""
        self._started = perf_counter() - self._spent
        self.examples, self._around = 0, _Around()
        self.steps = self._said or 1
        start = self._start = self._epoch_start()
        return self._chunks(start)

    def _epoch_start(self) -> EpochStart:
        self.begin_sums()
        return EpochStart([], [], 0, None, None)

    def _chunks(self, start: EpochStart) -> Iterator[Chunk]:
        values, keys = self._drawn(self.steps if self._said else 0, start)
        for number, batch in enumerate(self._stream.epoch()):
            if self._said is not None and number >= self._said:
                raise InvalidValueError(
                    f"batches: found more than {self._said}, their len() in this epoch"
                )
            if number >= len(values):
                values, keys = self._drawn(2 * number + 1, start)
            held = self._checked(batch, number)
            x = held.x.to_device() if held.x.on_host else held.x
            data = replace(self.given, x=x, target=held.target, weight=held.weight)
            n = held.x.count
            self.steps = max(self.steps, number + 1)
            self.examples += n
            self._around.add(held.target)
            asarray = self.mlp.backend.asarray
            indices = self._planner.for_all(np.arange(n, dtype=np.int32))[None]
            at = slice(number, number + 1)
            plan = Plan(asarray(indices), asarray(values[at]), asarray(keys[at]))
            yield Chunk(data.for_steps(self.mlp.backend, self.mlp.dtype), plan, 0, 1)
        if not self.step:
            raise InvalidValueError(
                f"batches: found none in epoch {self.epoch + 1}; expected what can be iterated "
                "anew, or a function that returns a new iterator"
            )
        self.steps, self.history.examples = self.step, self.examples

    def _drawn(self, steps: int, start: EpochStart) -> tuple[np.ndarray, np.ndarray]:
        """Draw coefficients and keys of so many steps: the first ones do not change with more."""
        if not steps:
            return np.zeros((0,)), np.zeros((0,))
        time = Time(self.epoch, steps, self.epochs, self.history)
        values, rates = coefficients(self._planner.optimizer, self.taken, time)
        start.rates[:] = rates
        with np.errstate(over="ignore"):
            return values.astype(self.mlp.dtype), self._planner.keys(self.mlp.epochs_trained, time)

    def _checked(self, batch: Any, number: int) -> Held:
        """Check a batch, and bring it to the form that steps take."""
        mlp, scaling, task = self.mlp, self.given.scaling, self.given.task
        X, y, given = parts_of(self.mlp.backend, batch, number)
        said = f"batch {number}, "
        x, host_y = pair(mlp, X, y, said, mlp.table)
        target = scaling.encode(task, host_y, mlp.sizes[-1], mlp.dtype, f"{said}y")
        weight = weights(mlp.backend, given, x.count, mlp.dtype, f"{said}sample_weight")
        if self._stream.class_weight is not None:
            classes = range(max(mlp.sizes[-1], 2))
            rule = dict.fromkeys(classes, 1.0) | dict(self._stream.class_weight)
            weight = by_class(task, rule, target, weight, mlp.dtype)
        x = scaling.applied(x, mlp.dtype, f"{said}X")
        return Held(x, scaling.of_targets(task, target, mlp.dtype, f"{said}y"), weight, host_y)

    def around_mean(self) -> float:
        """Return Σ (y − mean)² over the targets of the epoch."""
        return self._around.total if self.given.task.kind == "values" else 0.0

    def refuse_divergence(self) -> Any:
        """Return what this epoch has summed up; raise if it is not finite: no step comes again."""
        return self.refuse_loss()


class _Around:
    """Σ (y − mean)² of targets that come in blocks (Chan, Golub and LeVeque 1979)."""

    def __init__(self) -> None:
        self.count, self.total, self.mean = 0, 0.0, np.zeros(1)

    def add(self, target: np.ndarray) -> None:
        """Add a block of rows."""
        y = target.astype(np.float64)
        n, mean = len(y), y.mean(axis=0)
        self.total += float(np.sum((y - mean) ** 2))
        if self.count:
            gap = mean - self.mean
            self.total += float(np.sum(gap**2)) * self.count * n / (self.count + n)
            mean = self.mean + gap * (n / (self.count + n))
        self.count, self.mean = self.count + n, mean


def _scheduled(model: Model, optimizer: Optimizer) -> bool:
    """Whether a learning rate, a weight decay or a rate of dropout follows a schedule."""
    grouped = model.grouped(optimizer)
    said: list[Any] = [*vars(optimizer).values(), *model.network.dropout_rates]
    said += [value for group in grouped.groups for value in (group.schedule, group.weight_decay)]
    return any(isinstance(value, Schedule) for value in said)
