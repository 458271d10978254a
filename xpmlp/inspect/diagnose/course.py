"""A training as the diagnosis sees it, and what it can say of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan

from xpmlp.inspect.diagnose.facts import Facts
from xpmlp.inspect.diagnose.probe import LayerState, Measurement


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    name : str
        ``"dead units"``, for example.
    evidence : str
        The numbers, with layer and epoch.
    change : str
        What to try.
    layer : str or None
        ``"dense2"``, where it is one layer.
    epoch : int or None
        Epochs that were over when it was seen; 0 is before the first.
    """

    name: str
    evidence: str
    change: str
    layer: str | None = None
    epoch: int | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.evidence} {self.change}"


@dataclass
class Course:
    """A training so far.

    Attributes
    ----------
    facts : Facts
    metric : str
        ``"accuracy"`` or ``"r2"``.
    measurements : list of Measurement
        Before the first epoch, and after each.
    history : mapping of str to sequence of float
    fresh : bool
        Whether the weights had never been trained before.
    kept : int or None
        Epochs that count, if early stopping gave back the weights of an earlier one.
    finished : bool
        Whether training is over; some findings are not fair before.
    diverged : int or None
        The epoch, from 1, in which loss or weights became NaN or infinite.
    """

    facts: Facts
    metric: str
    measurements: list[Measurement] = field(default_factory=list)
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    fresh: bool = True
    kept: int | None = None
    finished: bool = False
    diverged: int | None = None

    @property
    def first(self) -> Measurement:
        """Before the first epoch."""
        return self.measurements[0]

    @property
    def last(self) -> Measurement:
        """After the last epoch."""
        return self.measurements[-1]

    @property
    def learned(self) -> float:
        """The probe's score on a scale where 0 is the constant guess and 1 is perfect."""
        return skill(self.last.score, self.facts.shown_guess)

    def curve(self, name: str) -> list[float]:
        """A figure by epoch, as far as it counts; empty if it was not measured."""
        return list(self.history.get(name, ()))[: self.kept]

    def worst(self, figure: str, measurement: Measurement) -> LayerState:
        """The hidden layer where a figure is largest; the only layer if none is hidden."""
        layers = measurement.layers[:-1] or measurement.layers
        return max(layers, key=lambda layer: float(getattr(layer, figure)))


def skill(score: float, guess: float) -> float:
    """(score − guess)/(1 − guess); NaN where there is nothing to guess."""
    return (score - guess) / (1.0 - guess) if guess < 1 and isfinite(score) else nan
