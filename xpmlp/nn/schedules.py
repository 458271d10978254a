"""Learning-rate schedules: plain functions of time, in epochs.

Time is the fractional epoch, step/steps_per_epoch, so a schedule's shape does not depend on the
batch size. Schedules run on the host before each epoch; the plan has their values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import cos, inf, log2, pi
from numbers import Real
from typing import Any, ClassVar, NamedTuple

from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.nn.metrics import falls

__all__ = [
    "Constant", "CosLog4", "Cosine", "Custom", "Exponential", "FlatCos", "InverseTime", "OneCycle",
    "ReduceOnPlateau", "Schedule", "StepDecay", "WarmUp", "schedule",
]  # fmt: skip


class Time(NamedTuple):
    """When an epoch is: its number from 0, its steps, the number of epochs, and what was before.

    ``Schedule.rates`` takes these.
    """

    epoch: int
    steps: int
    total: float
    history: Mapping[str, Sequence[float]]


BEGIN = Time(0, 1, 1, {})
"""The only step of a run of one epoch."""


@dataclass(frozen=True)
class Schedule:
    """Base class of the schedules: a subclass has ``at``, or ``rates``.

    Attributes
    ----------
    rate : float
        The initial rate, or the peak after a warm-up; above 0.

    Raises
    ------
    InvalidValueError
        When a schedule is made with a setting that is out of range.

    Examples
    --------
    >>> class Halving(xpmlp.schedules.Schedule):
    ...     def at(self, time, total):
    ...         return self.rate / 2**time
    >>> Halving(0.8).at(1.0, total=3.0)
    0.4
    >>> optimizer = xpmlp.Adam(Halving(0.01))
    """

    rate: float
    positive: ClassVar[tuple[str, ...]] = ("rate",)
    """Names of settings that are above 0; those in ``not_negative`` may be 0."""
    not_negative: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for name in (*self.positive, *self.not_negative):
            value, above = getattr(self, name), name in self.positive
            number = isinstance(value, Real) and not isinstance(value, bool)
            if not number or not 0 <= value < inf or (above and value == 0):
                expected = "a positive number" if above else "a number, 0 or more"
                raise InvalidValueError(
                    f"{type(self).__name__}: {name} is {value!r}; expected {expected}"
                )

    def at(self, time: float, total: float) -> float:
        """Return the rate, a float, at ``time`` epochs of ``total``.

        Examples
        --------
        >>> xpmlp.schedules.StepDecay(0.1, every=2, factor=0.5).at(3.0, total=10.0)
        0.05
        """
        raise NotImplementedError

    def rates(
        self, epoch: int, steps: int, total: float, history: Mapping[str, Sequence[float]]
    ) -> list[float]:
        """Return the rate of each of an epoch's ``steps``, given the history before it.

        ``epoch`` counts from 0, ``total`` is the number of epochs.

        Examples
        --------
        >>> xpmlp.schedules.InverseTime(1.0).rates(epoch=1, steps=2, total=5, history={})
        [0.5, 0.4]
        """
        return [self.at(epoch + k / steps, total) for k in range(steps)]


@dataclass(frozen=True)
class Constant(Schedule):
    """η = rate.

    Examples
    --------
    >>> xpmlp.Adam(xpmlp.schedules.Constant(0.001)).rates(epoch=0, steps=2, total=5, history={})
    [0.001, 0.001]
    """

    def at(self, time: float, total: float) -> float:
        return self.rate


@dataclass(frozen=True)
class StepDecay(Schedule):
    """η = rate · factor^⌊time/every⌋; ``every`` is a number of epochs.

    Examples
    --------
    >>> halved = xpmlp.schedules.StepDecay(0.1, every=5, factor=0.5)
    >>> [halved.at(epoch, total=20) for epoch in (0, 4, 5, 10)]
    [0.1, 0.1, 0.05, 0.025]
    >>> optimizer = xpmlp.SGD(halved)
    """

    every: float = 10.0
    factor: float = 0.5
    positive = ("rate", "every")
    not_negative = ("factor",)

    def at(self, time: float, total: float) -> float:
        return float(self.rate * self.factor ** (time // self.every))


@dataclass(frozen=True)
class Exponential(Schedule):
    """η = rate · factor^time: the rate is multiplied by ``factor`` in each epoch.

    Examples
    --------
    >>> falling = xpmlp.schedules.Exponential(1.0, factor=0.5)
    >>> [falling.at(epoch, total=3) for epoch in range(3)]
    [1.0, 0.5, 0.25]
    """

    factor: float = 0.95
    not_negative = ("factor",)

    def at(self, time: float, total: float) -> float:
        return float(self.rate * self.factor**time)


@dataclass(frozen=True)
class InverseTime(Schedule):
    """η = rate/(1 + decay · time).

    Examples
    --------
    >>> falling = xpmlp.schedules.InverseTime(1.0, decay=0.5)
    >>> [falling.at(epoch, total=6) for epoch in (0, 2, 6)]
    [1.0, 0.5, 0.25]
    """

    decay: float = 1.0
    not_negative = ("decay",)

    def at(self, time: float, total: float) -> float:
        return self.rate / (1.0 + self.decay * time)


@dataclass(frozen=True)
class Cosine(Schedule):
    """η falls from rate to final along half a cosine (Loshchilov and Hutter 2017).

    Examples
    --------
    >>> cosine = xpmlp.schedules.Cosine(0.2, final=0.1)
    >>> [round(cosine.at(epoch, total=10), 3) for epoch in (0, 5, 10)]
    [0.2, 0.15, 0.1]
    """

    final: float = 0.0
    not_negative = ("final",)

    def at(self, time: float, total: float) -> float:
        return self.final + (self.rate - self.final) * 0.5 * (1.0 + cos(pi * min(time / total, 1)))


@dataclass(frozen=True)
class FlatCos(Schedule):
    """A constant rate for a share ``flat`` of the time, then a fall to ``final``: half a cosine.

    RealMLP's dropout and weight decay fall so (Holzmüller et al. 2024).

    Examples
    --------
    >>> falling = xpmlp.schedules.FlatCos(0.2)
    >>> [round(falling.at(epoch, total=8), 3) for epoch in (0, 4, 5, 6, 8)]
    [0.2, 0.2, 0.171, 0.1, 0.0]
    >>> optimizer = xpmlp.AdamW(0.01, weight_decay=xpmlp.schedules.FlatCos(0.02))
    """

    flat: float = 0.5
    final: float = 0.0
    not_negative = ("flat", "final")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.flat >= 1:
            raise InvalidValueError(f"FlatCos: flat is {self.flat!r}; expected a share below 1")

    def at(self, time: float, total: float) -> float:
        done = (min(time / total, 1.0) - self.flat) / (1.0 - self.flat)
        return self.final + (self.rate - self.final) * 0.5 * (1.0 + cos(pi * max(done, 0.0)))


@dataclass(frozen=True)
class CosLog4(Schedule):
    """Four rises from 0 and falls, each twice as long as the last: ½ (1 − cos 2π log₂(1 + 15 t)).

    t is the share of the time. The rate is highest at t = 0.028, 0.122, 0.310 and 0.688, and 0
    at the first step and the last (RealMLP: Holzmüller et al. 2024).

    Examples
    --------
    >>> cycles = xpmlp.schedules.CosLog4(0.04)
    >>> [round(cycles.at(t, total=15), 3) for t in (0, 0.5, 1, 3, 7, 11, 15)]
    [0.0, 0.037, 0.0, 0.0, 0.0, 0.037, 0.0]
    >>> optimizer = xpmlp.Adam(cycles, beta2=0.95)
    """

    def at(self, time: float, total: float) -> float:
        turns = log2(1.0 + 15.0 * min(time / total, 1.0))
        return self.rate * 0.5 * (1.0 - cos(2.0 * pi * turns))


@dataclass(frozen=True)
class WarmUp(Schedule):
    """A linear rise over the first ``epochs``, then the schedule ``then``, or a constant rate.

    Time starts at 0 for ``then`` when the rise is over; it ends with the training.

    Examples
    --------
    >>> warm = xpmlp.schedules.WarmUp(0.1, epochs=2, then=xpmlp.schedules.Cosine(0.1))
    >>> [round(warm.at(epoch, total=10), 3) for epoch in (0, 1, 2, 6, 10)]
    [0.001, 0.05, 0.1, 0.05, 0.0]
    """

    epochs: float = 1.0
    then: Schedule | None = None
    not_negative = ("epochs",)

    def at(self, time: float, total: float) -> float:
        if time < self.epochs:
            # The first step must move too, so the rise starts at a hundredth of the peak.
            return self.rate * max(time / self.epochs, 0.01)
        after = self.then or Constant(self.rate)
        return after.at(time - self.epochs, max(total - self.epochs, 1e-9))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """A cosine rise from rate/start to ``rate`` in a share ``rise`` of the time, then a fall.

    The fall ends at rate/(start · end) (Smith and Topin 2019; the defaults are PyTorch's).

    Examples
    --------
    >>> cycle = xpmlp.schedules.OneCycle(0.1, rise=0.5, start=10, end=10)
    >>> [round(cycle.at(epoch, total=10), 3) for epoch in (0, 5, 10)]
    [0.01, 0.1, 0.001]
    """

    rise: float = 0.3
    start: float = 25.0
    end: float = 1e4
    positive = ("rate", "start", "end")
    not_negative = ("rise",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rise >= 1:
            raise InvalidValueError(f"OneCycle: rise is {self.rise!r}; expected a share below 1")

    def at(self, time: float, total: float) -> float:
        low, last = self.rate / self.start, self.rate / (self.start * self.end)
        done = min(time / total, 1.0)
        if done < self.rise:
            return low + (self.rate - low) * 0.5 * (1.0 - cos(pi * done / self.rise))
        return last + (self.rate - last) * 0.5 * (
            1.0 + cos(pi * (done - self.rise) / (1 - self.rise))
        )


@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """η is multiplied by ``factor`` when ``monitor`` has not improved for ``patience`` epochs.

    The rate is a function of the history alone, so a resumed run has the same rates. An improvement
    is larger than ``min_delta``; the rate does not fall below ``minimum``. Without values of
    ``monitor`` the second epoch raises InvalidValueError.

    Examples
    --------
    >>> plateau = xpmlp.schedules.ReduceOnPlateau(0.1, monitor="loss", factor=0.5, patience=2)
    >>> history = {"loss": [1.0, 0.8, 0.8, 0.8]}  # two epochs without an improvement
    >>> plateau.rates(epoch=4, steps=1, total=10, history=history)
    [0.05]
    """

    monitor: str = "val_loss"
    factor: float = 0.1
    patience: int = 10
    min_delta: float = 1e-4
    minimum: float = 0.0
    positive = ("rate", "patience")
    not_negative = ("factor", "min_delta", "minimum")

    def rates(
        self, epoch: int, steps: int, total: float, history: Mapping[str, Sequence[float]]
    ) -> list[float]:
        if history.get("loss") and not history.get(self.monitor):
            raise InvalidValueError(
                f"ReduceOnPlateau: the history has no {self.monitor!r}; give validation_data, "
                "or monitor='loss'"
            )
        rate, best, since = self.rate, inf, 0
        sign = 1.0 if falls(self.monitor, getattr(history, "falling", ())) else -1.0
        for value in history.get(self.monitor, ()):
            if sign * value < best - self.min_delta:
                best, since = sign * value, 0
            else:
                since += 1
            if since >= self.patience:
                rate, since = max(rate * self.factor, self.minimum), 0
        return [rate] * steps


def _one(time: float, total: float) -> float:
    return 1.0


@dataclass(frozen=True)
class Custom(Schedule):
    """η = rate · function(time, total), with a custom function of two numbers of epochs.

    Examples
    --------
    >>> linear = xpmlp.schedules.Custom(0.1, lambda time, total: 1 - time / total)
    >>> linear.at(5.0, total=10.0)
    0.05
    """

    function: Callable[[float, float], float] = _one

    def at(self, time: float, total: float) -> float:
        """Return ``rate`` times the function's value.

        Raises
        ------
        InvalidTypeError
            If the function returns no number.
        """
        found = self.function(time, total)
        try:
            return self.rate * float(found)
        except TypeError:
            raise InvalidTypeError(
                f"Custom: the function returned a {type(found).__name__} for time={time:g}, "
                f"total={total:g}; expected a number, which the rate is multiplied by"
            ) from None


def schedule(spec: Any) -> Schedule:
    """Return the schedule given, or a constant one for a number.

    Raises
    ------
    InvalidValueError
        For a number that is not above 0.

    Examples
    --------
    >>> xpmlp.schedules.schedule(0.1)
    Constant(rate=0.1)
    """
    return spec if isinstance(spec, Schedule) else Constant(float(spec))
