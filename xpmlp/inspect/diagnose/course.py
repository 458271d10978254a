"""A training run as the diagnosis sees it, and what it can find."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan

from xpmlp.errors import short
from xpmlp.inspect.diagnose.facts import Facts
from xpmlp.inspect.diagnose.probe import LayerState, Measurement


@dataclass(frozen=True)
class Finding:
    """One problem of a training run.

    Attributes
    ----------
    name : str
        For example ``"dead units"``.
    evidence : str
        The numbers, with layer and epoch.
    change : str
        What to try.
    layer : str or None
        For example ``"dense2"``; None if no single layer is concerned.
    epoch : int or None
        Finished epochs when it was seen.

    Examples
    --------
    >>> points = xpmlp.data.make_xor(n=200)
    >>> mlp, diagnosis = xpmlp.MLP([2, 16, 2], backend="numpy", seed=0), xpmlp.Diagnosis()
    >>> history = mlp.fit(points.X, points.y, optimizer=xpmlp.SGD(1e-6), callbacks=[diagnosis])
    >>> finding = diagnosis.findings[0]
    >>> finding.name, finding.epoch, finding.layer
    ('learning rate too small', 20, None)
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
    """A training run so far.

    Attributes
    ----------
    facts : Facts
    metric : str
        ``"accuracy"`` or ``"r2"``; empty if there is neither.
    measurements : list of Measurement
        Before the first epoch, and after each.
    history : mapping of str to sequence of float
    fresh : bool
        Whether the weights had never been trained before.
    kept : int or None
        Epochs that count, if early stopping restored the weights of an earlier one.
    finished : bool
        Whether training is over; some findings are unfair before that.
    diverged : int or None
        The epoch, from 1, in which loss or weights became NaN or infinite.
    classes : sequence of str or None
        Their names, if they have any.
    """

    facts: Facts
    metric: str
    measurements: list[Measurement] = field(default_factory=list)
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    fresh: bool = True
    kept: int | None = None
    finished: bool = False
    diverged: int | None = None
    classes: Sequence[str] | None = None

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
        """The score on the probe: 0 is that of a constant guess, 1 is perfect."""
        return skill(self.last.score, self.facts.shown_guess)

    def curve(self, name: str) -> list[float]:
        """Values of a metric, one for each epoch that counts; empty if it was not measured."""
        return list(self.history.get(name, ()))[: self.kept]

    def class_name(self, index: int) -> str:
        """Return a class as people know it: ``'rose'`` by its name, else ``3`` by its index."""
        return str(index) if self.classes is None else repr(short(self.classes[index], 40))

    def worst(self, name: str, measurement: Measurement) -> LayerState:
        """The hidden layer with the largest value; the only layer if none is hidden."""
        layers = measurement.layers[:-1] or measurement.layers
        return max(layers, key=lambda layer: float(getattr(layer, name)))


def skill(score: float, guess: float) -> float:
    """(score − guess)/(1 − guess); NaN where there is nothing to guess."""
    return (score - guess) / (1.0 - guess) if guess < 1 and isfinite(score) else nan
