"""The architecture of a multilayer perceptron, and its layers.

A hidden layer is dense → normalization → activation → dropout; normalization and dropout are
optional. The output layer is dense alone; what the output means is defined by the loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import Any

from xpmlp.errors import InvalidTypeError, InvalidValueError, flag, short, unknown_name
from xpmlp.nn.activations import Activation, activation
from xpmlp.nn.initializers import drawn, filled
from xpmlp.nn.layers import Layer, activate, chain, dense, dropout, residual
from xpmlp.nn.normalization import NORMALIZATIONS
from xpmlp.nn.parameters import Layout
from xpmlp.nn.random import Purpose, dropout_keys, generator
from xpmlp.nn.returned import made_layer
from xpmlp.nn.schedules import BEGIN, Schedule, Time


@dataclass(frozen=True)
class Architecture:
    """All settings of the layers and their initial weights, checked when made.

    Attributes
    ----------
    sizes : tuple of int
        Units of each layer, inputs first, outputs last.
    activations : tuple of Activation
        One for each hidden layer.
    dropout : tuple of float or Schedule
        One rate for each hidden layer, applied after its activation.
    input_dropout : float or Schedule
    normalization : str, callable (name, units) -> Layer, or None
    residual : bool
        Whether hidden layers that keep the width add their input to their output.
    bias : bool
    initializer : str or callable
    """

    sizes: tuple[int, ...]
    activations: tuple[Activation, ...]
    dropout: tuple[float | Schedule, ...]
    input_dropout: float | Schedule
    normalization: Any
    residual: bool
    bias: bool
    initializer: Any

    @classmethod
    def make(
        cls,
        sizes: Sequence[int],
        activation: Any,
        dropout: Any,
        input_dropout: float | Schedule,
        normalization: Any,
        residual: bool,
        bias: bool,
        initializer: Any,
    ) -> "Architecture":
        """Check the arguments of ``MLP``, and expand them to one value for each layer."""
        sizes = _sizes(sizes)
        hidden = len(sizes) - 2
        residual, bias = flag("residual", residual), flag("bias", bias)
        rates = tuple(map(_rate, _per_layer("dropout", dropout, hidden, Real | Schedule)))
        if isinstance(normalization, str):
            if normalization not in NORMALIZATIONS:
                raise unknown_name("normalization", normalization, NORMALIZATIONS)
        elif normalization is not None and not callable(normalization):
            raise InvalidTypeError(
                f"normalization: found {normalization!r}; expected one of "
                f"{', '.join(NORMALIZATIONS)}, or a function (name, units) -> Layer"
            )
        if residual and not any(a == b for a, b in _hidden_pairs(sizes)):
            raise InvalidValueError(
                f"residual=True needs a hidden layer as wide as the one before it; sizes are "
                f"{list(sizes)}"
            )
        return cls(
            sizes,
            _activations(activation, hidden),
            rates,
            _rate(input_dropout),
            normalization,
            residual,
            bias,
            initializer,
        )


def _sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    try:
        values = tuple(int(n) for n in sizes)
        whole = all(n == m for n, m in zip(values, sizes, strict=True))
    except (TypeError, ValueError, OverflowError):
        values, whole = (), False
    if not whole or len(values) < 2 or not 1 <= min(values) <= max(values) < 2**31:
        raise InvalidValueError(
            f"sizes: found {short(repr(sizes))}; expected at least two whole numbers from 1 to "
            "2**31 - 1, inputs first and outputs last, such as [784, 128, 10]"
        )
    return values


def _rate(rate: Any) -> float | Schedule:
    """Check a dropout rate; the values of a schedule are checked before each epoch."""
    first = rate.rate if isinstance(rate, Schedule) else rate
    if not isinstance(first, Real) or not 0 <= float(first) < 1:
        raise InvalidValueError(f"dropout: found {rate!r}; expected a rate in [0, 1)")
    return rate if isinstance(rate, Schedule) else float(rate)


def _hidden_pairs(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Inputs and outputs of each hidden layer."""
    return list(pairwise(sizes[:-1]))


def _per_layer(name: str, value: Any, hidden: int, single: Any) -> list[Any]:
    if isinstance(value, single):
        return [value] * hidden
    try:
        values = list(value)
    except TypeError:
        raise InvalidTypeError(
            f"{name}: found {value!r}; expected one for all hidden layers, or a list"
        ) from None
    if len(values) != hidden:
        raise InvalidValueError(
            f"{name}: found {len(values)} values; expected one for all, or one for each of the "
            f"{hidden} hidden layers"
        )
    return values


def _activations(spec: Any, hidden: int) -> tuple[Activation, ...]:
    if isinstance(spec, list):
        return tuple(activation(one) for one in _per_layer("activation", spec, hidden, str))
    return (activation(spec),) * hidden


ARGUMENTS = (
    "sizes", "activation", "dropout", "input_dropout", "normalization", "residual", "bias",
    "initializer",
)  # fmt: skip
"""Those arguments of ``MLP`` that describe the architecture."""


class Network:
    """Layers in order, and the layout of their parameters.

    Attributes
    ----------
    body : Layer
        The whole network as one layer, without the loss's link.
    layers : list of Layer
        Its parts, for summaries.
    layout, statistics : Layout
        Of trainable parameters and of running statistics.
    dropouts : int
        Number of dropout layers, each of which needs a key in every step.
    dropout_rates : list of float or Schedule
        Theirs.
    weights : tuple of str
        Names of the weight matrices, which penalties and max-norm act on.
    """

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.dropouts, self.dropout_rates = 0, list[float | Schedule]()
        self.layers = self._layers()
        self.body = chain("mlp", self.layers)
        self.layout = Layout(self.body.shapes)
        self.statistics = Layout(self.body.statistics)
        self.weights = tuple(name for name in self.layout.slots if name.endswith(".W"))

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Network":
        """Make the network that the arguments of ``MLP`` describe."""
        return cls(Architecture.make(**{name: arguments[name] for name in ARGUMENTS}))

    def initial_values(self, seed: int) -> dict[str, Any]:
        """Return initial parameters and running statistics: float64 host arrays by name.

        The initializer draws weights, from a Philox stream for each layer; layers define the rest.
        """
        a = self.architecture
        followed_by = [*(f.name for f in a.activations), "identity"]
        values: dict[str, Any] = {}
        for name, slot in (self.layout.slots | self.statistics.slots).items():
            if name.endswith(".W"):
                i = self.weights.index(name)
                rng = generator(seed, Purpose.WEIGHTS, i)
                values[name] = drawn(a.initializer, followed_by[i], rng, *slot.shape)
            else:
                values[name] = filled(slot.shape, self.body.initial.get(name, 0.0))
        return values

    def keys(self, seed: int, epoch: int, time: Time = BEGIN) -> Any:
        """Draw the keys of an epoch's dropout layers: int32, shape (steps, layers, 2 or 3).

        The third word, where a rate is scheduled, has the rates at ``time``.

        Raises
        ------
        InvalidValueError
            If a schedule leaves [0, 1).
        """
        if not any(isinstance(rate, Schedule) for rate in self.dropout_rates):
            return dropout_keys(seed, epoch, time.steps, self.dropouts)
        rates = [
            rate.rates(*time) if isinstance(rate, Schedule) else [rate] * time.steps
            for rate in self.dropout_rates
        ]
        for rate, values in zip(self.dropout_rates, rates, strict=True):
            for k, value in enumerate(values):
                if not 0 <= value < 1:
                    raise InvalidValueError(
                        f"dropout: found {value:g} for step {k + 1} of an epoch, by {rate!r}; "
                        "expected a rate in [0, 1)"
                    )
        by_step = list(zip(*rates, strict=True))
        return dropout_keys(seed, epoch, time.steps, self.dropouts, by_step)

    def _dropout(self, name: str, rate: float | Schedule) -> list[Layer]:
        if rate == 0:
            return []
        self.dropout_rates.append(rate)
        self.dropouts += 1
        return [dropout(name, rate, self.dropouts - 1)]

    def _layers(self) -> list[Layer]:
        a = self.architecture
        layers = self._dropout("dropout0", a.input_dropout)
        for i, (n_in, n_out) in enumerate(_hidden_pairs(a.sizes), start=1):
            hidden = [dense(f"dense{i}", n_in, n_out, a.bias)]
            if a.normalization is not None:
                make = NORMALIZATIONS.get(a.normalization, a.normalization)
                hidden.append(made_layer(make, f"norm{i}", n_out))
            hidden.append(activate(f"activation{i}", a.activations[i - 1]))
            hidden += self._dropout(f"dropout{i}", a.dropout[i - 1])
            if a.residual and n_in == n_out:
                hidden = [residual(f"residual{i}", chain(f"layer{i}", hidden))]
            layers += hidden
        last = len(a.sizes) - 1
        return [*layers, dense(f"dense{last}", a.sizes[-2], a.sizes[-1], a.bias)]
