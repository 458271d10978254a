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
from xpmlp.nn.ensemble import FIRST_FACTORS, Members, adapted, per_network, with_factors
from xpmlp.nn.initializers import drawn, filled, signs, stacked
from xpmlp.nn.layers import Layer, activate, chain, dense, dropout, residual
from xpmlp.nn.normalization import NORMALIZATIONS
from xpmlp.nn.parameters import Layout
from xpmlp.nn.random import Purpose, generator, seeds_of
from xpmlp.nn.returned import made_layer


@dataclass(frozen=True)
class Architecture:
    """All settings of the layers and their initial weights, checked when made.

    Attributes
    ----------
    sizes : tuple of int
        Units of each layer, inputs first, outputs last.
    activations : tuple of Activation
        One for each hidden layer.
    dropout : tuple of float
        One rate for each hidden layer, applied after its activation.
    input_dropout : float
    normalization : str, callable (name, units) -> Layer, or None
    residual : bool
        Whether hidden layers that keep the width add their input to their output.
    bias : bool
    initializer : str or callable
    members : Members or None
        How many networks there are in one, and what they share.
    """

    sizes: tuple[int, ...]
    activations: tuple[Activation, ...]
    dropout: tuple[float, ...]
    input_dropout: float
    normalization: Any
    residual: bool
    bias: bool
    initializer: Any
    members: Members | None = None

    @classmethod
    def make(
        cls,
        sizes: Sequence[int],
        activation: Any,
        dropout: float | Sequence[float],
        input_dropout: float,
        normalization: Any,
        residual: bool,
        bias: bool,
        initializer: Any,
        ensemble: int | None = None,
        sharing: str = "none",
    ) -> "Architecture":
        """Check the arguments of ``MLP``, and expand them to one value for each layer."""
        sizes = _sizes(sizes)
        hidden = len(sizes) - 2
        residual, bias = flag("residual", residual), flag("bias", bias)
        rates = tuple(_per_layer("dropout", dropout, hidden, Real))
        for rate in (*rates, input_dropout):
            if not isinstance(rate, Real) or not 0 <= float(rate) < 1:
                raise InvalidValueError(f"dropout: found {rate!r}; expected a rate in [0, 1)")
        if isinstance(normalization, str):
            if normalization not in NORMALIZATIONS:
                raise unknown_name("normalization", normalization, NORMALIZATIONS)
        elif normalization is not None and not callable(normalization):
            raise InvalidTypeError(
                f"normalization: found {normalization!r}; expected one of "
                f"{', '.join(NORMALIZATIONS)}, or a function (name, units) -> Layer"
            )
        members = Members.make(ensemble, sharing)
        if members is not None and callable(normalization):
            raise InvalidTypeError(
                f"normalization: found a function with ensemble={members.count}; custom layers are "
                "written for arrays of two axes, and those of an ensemble have three. Use 'layer' "
                "or 'batch'"
            )
        if residual and not any(a == b for a, b in _hidden_pairs(sizes)):
            raise InvalidValueError(
                f"residual=True needs a hidden layer as wide as the one before it; sizes are "
                f"{list(sizes)}"
            )
        return cls(
            sizes,
            _activations(activation, hidden),
            tuple(map(float, rates)),
            float(input_dropout),
            normalization,
            residual,
            bias,
            initializer,
            members,
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
    "initializer", "ensemble", "sharing",
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
    weights : tuple of str
        Names of the weight matrices, which penalties and max-norm act on.
    members : Members or None
        How many networks there are in one, and what they share; None for one without an axis in
        front.
    """

    def __init__(self, architecture: Architecture) -> None:
        self.architecture, self.members = architecture, architecture.members
        self.dropouts = 0
        self.layers = self._layers()
        self.body = chain("mlp", self.layers)
        self.layout = Layout(self.body.shapes)
        self.statistics = Layout(self.body.statistics)
        self.weights = tuple(name for name in self.layout.slots if name.endswith(".W"))

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Network":
        """Make the network that the arguments of ``MLP`` describe."""
        given = {name: arguments[name] for name in ARGUMENTS if name in arguments}
        return cls(Architecture.make(**given))

    @property
    def networks(self) -> tuple[int, ...]:
        """The axis in front of what each network has: of losses, outputs and metrics."""
        return () if self.members is None else (self.members.count,)

    @property
    def seeded(self) -> int | None:
        """How many seeds the networks have; None for one."""
        members = self.members
        return None if members is None or not members.independent else members.count

    def is_of_each(self, name: str) -> bool:
        """Whether each network has this parameter or statistic: the first axis counts them."""
        if self.members is None:
            return False
        shared = {"none": (), "mini": ("W", "b", "g"), "full": ("W", "g")}[self.members.sharing]
        kind = name.rpartition(".")[2]
        if kind == "b" and name.startswith("norm"):
            return self.members.independent
        return kind not in shared

    def initial_values(self, seed: Any) -> dict[str, Any]:
        """Return initial parameters and running statistics: float64 host arrays by name.

        The initializer draws weights, from a Philox stream for each layer; layers define the rest.
        Each of k networks that share nothing draws as it would alone, with its seed.
        """
        seeds = seeds_of(seed, self.seeded)
        a = self.architecture
        followed_by = [*(f.name for f in a.activations), "identity"]
        values: dict[str, Any] = {}
        for name, slot in (self.layout.slots | self.statistics.slots).items():
            if name.endswith(".W"):
                i = self.weights.index(name)
                each = [
                    drawn(
                        a.initializer,
                        followed_by[i],
                        generator(one, Purpose.WEIGHTS, i),
                        *slot.shape[-2:],
                    )
                    for one in seeds
                ]
                values[name] = stacked(each) if len(slot.shape) > 2 else each[0]
            elif name == FIRST_FACTORS:
                values[name] = signs(generator(seeds[0], Purpose.SIGNS), slot.shape)
            else:
                values[name] = filled(slot.shape, self.body.initial.get(name, 0.0))
        return values

    def _dropout(self, name: str, rate: float) -> list[Layer]:
        if rate == 0:
            return []
        self.dropouts += 1
        return [dropout(name, rate, self.dropouts - 1)]

    def _layers(self) -> list[Layer]:
        a = self.architecture
        layers = self._dropout("dropout0", a.input_dropout)
        for i, (n_in, n_out) in enumerate(_hidden_pairs(a.sizes), start=1):
            hidden = self._dense(i, n_in, n_out)
            if a.normalization is not None:
                make = NORMALIZATIONS.get(a.normalization, a.normalization)
                hidden.append(per_network(made_layer(make, f"norm{i}", n_out), a.members))
            hidden.append(activate(f"activation{i}", a.activations[i - 1]))
            hidden += self._dropout(f"dropout{i}", a.dropout[i - 1])
            if a.residual and n_in == n_out:
                hidden = [residual(f"residual{i}", chain(f"layer{i}", hidden))]
            layers += hidden
        return [*layers, *self._dense(len(a.sizes) - 1, a.sizes[-2], a.sizes[-1])]

    def _dense(self, i: int, n_in: int, n_out: int) -> list[Layer]:
        a, members = self.architecture, self.architecture.members
        if members is not None and members.sharing == "full":
            shared = dense(f"dense{i}", n_in, n_out, bias=False)
            return adapted(shared, members.count, n_in, n_out, a.bias)
        if members is not None and members.sharing == "mini" and i == 1:
            each = dense("dense1", n_in, n_out, a.bias, (members.count,))
            return [with_factors(each, "dense1.W", "dense1.b", "dense1.r")]
        front = () if members is None else members.front
        return [dense(f"dense{i}", n_in, n_out, a.bias, front)]
