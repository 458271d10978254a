"""A network: its layers in order, and the layout and first values of their parameters.

A hidden layer is dense → normalization → activation → dropout; normalization and dropout are
optional. The output layer is dense alone; what the output means is defined by the loss. Before the
first layer there may be an embedding and a learned scale of the inputs.
"""

from collections.abc import Mapping
from math import sqrt
from typing import Any

from xpmlp.errors import InvalidValueError
from xpmlp.nn.architecture import ARGUMENTS, Architecture
from xpmlp.nn.embeddings import embed
from xpmlp.nn.ensemble import FIRST_FACTORS, adapted, is_own, per_network, with_factors
from xpmlp.nn.initializers import bias_drawn, drawn, filled, signs, stacked
from xpmlp.nn.layers import Layer, activate, chain, dense, dropout, residual
from xpmlp.nn.normalization import NORMALIZATIONS
from xpmlp.nn.numeric import BINS
from xpmlp.nn.parameters import Layout
from xpmlp.nn.random import Purpose, dropout_keys, generator, seeds_of
from xpmlp.nn.returned import made_layer
from xpmlp.nn.schedules import BEGIN, Schedule, Time
from xpmlp.nn.tabular import input_scale, mixed_activation, ntk


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
    biases : tuple of str
        Names of the biases of dense layers.
    members : Members or None
        How many networks there are in one, and what they share; None for one without an axis in
        front.
    """

    def __init__(self, architecture: Architecture) -> None:
        self.architecture, self.members = architecture, architecture.members
        self.dropouts, self.dropout_rates = 0, list[float | Schedule]()
        self.layers = self._layers()
        self.body = chain("mlp", self.layers)
        self.layout = Layout(self.body.shapes)
        self.statistics = Layout(self.body.statistics)
        self.weights = tuple(name for name in self.layout.slots if name.endswith(".W"))
        self.biases = tuple(f"{name.removesuffix('.W')}.b" for name in self.weights)

    @property
    def codes(self) -> tuple[int, ...]:
        """The inputs that are codes of categories."""
        embedding = self.architecture.embedding
        return () if embedding is None else tuple(c.place for c in embedding.categories)

    @property
    def looks_at_batches(self) -> bool:
        """Whether a layer keeps statistics of batches, which other rows of a batch decide on."""
        return not set(self.statistics.slots) <= set(BINS)

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Network":
        """Make the network that the arguments of ``MLP`` describe."""
        return cls(Architecture.make(**{name: arguments[name] for name in ARGUMENTS}))

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
        return self.members is not None and is_own(self.members, name, self.layout.slots)

    def initial_values(self, seed: Any) -> dict[str, Any]:
        """Return initial parameters and running statistics: float64 host arrays by name.

        The initializers draw weights and biases, from a Philox stream for each layer; layers define
        the rest. Each of k networks that share nothing draws as it would alone, with its seed.
        """
        seeds = seeds_of(seed, self.seeded)
        values: dict[str, Any] = {}
        for i, (name, slot) in enumerate((self.layout.slots | self.statistics.slots).items()):
            shape = slot.shape if self.seeded is None else slot.shape[1:]
            each = [self._first(i, name, shape, one) for one in seeds]
            values[name] = each[0] if self.seeded is None else stacked(each)
        return values

    def _first(self, i: int, name: str, shape: tuple[int, ...], seed: int) -> Any:
        """Return the first values of one network's i-th array, or of one that networks share."""
        first = self.body.initial.get(name, 0.0)
        if name in self.weights:
            return self._weight(self.weights.index(name), shape, seed)
        if name in self.biases:
            return self._bias(self.biases.index(name), shape, seed)
        if name == FIRST_FACTORS:
            return signs(generator(seed, Purpose.SIGNS), shape)
        if callable(first):
            return first(generator(seed, Purpose.EMBEDDINGS, i), shape)
        return filled(shape, first)

    def _bias(self, i: int, shape: tuple[int, ...], seed: int) -> Any:
        """Return the first biases of a dense layer; of networks that share weights, of each."""
        a, rng = self.architecture, generator(seed, Purpose.BIASES, i)
        *front, units = shape
        each = [
            bias_drawn(a.bias_initializer, rng, a.pairs[i][0], units) for _ in range(*front or [1])
        ]
        return stacked(each) if front else each[0]

    def _weight(self, i: int, shape: tuple[int, ...], seed: int) -> Any:
        """Return the first weights of a dense layer, by its place among them.

        In NTK parametrization they are √in times as large, so that the layer computes the same.
        """
        a, last = self.architecture, len(self.weights) - 1
        if i == last and a.zero_last:
            return filled(shape, 0.0)
        scaled = a.parametrization == "ntk"
        spec = "lecun" if scaled and a.initializer == "auto" else a.initializer
        followed_by = [*(f.name for f in a.activations), "identity"][i]
        made = drawn(spec, followed_by, generator(seed, Purpose.WEIGHTS, i), *shape)
        return made * sqrt(shape[0]) if scaled else made

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
        layers = [] if a.embedding is None else [embed(a.embedding, a.sizes[0], self.seeded)]
        layers += [per_network(input_scale(a.first), a.members)] * a.input_scale
        layers += self._dropout("dropout0", a.input_dropout)
        *pairs, last = a.pairs
        for i, (n_in, n_out) in enumerate(pairs, start=1):
            hidden = self._dense(i, n_in, n_out)
            if a.normalization is not None:
                make = NORMALIZATIONS.get(a.normalization, a.normalization)
                hidden.append(per_network(made_layer(make, f"norm{i}", n_out), a.members))
            f = a.activations[i - 1]
            hidden.append(
                per_network(mixed_activation(f"mix{i}", f, n_out), a.members)
                if a.activation_mix
                else activate(f"activation{i}", f)
            )
            hidden += self._dropout(f"dropout{i}", a.dropout[i - 1])
            if a.residual and n_in == n_out:
                hidden = [residual(f"residual{i}", chain(f"layer{i}", hidden))]
            layers += hidden
        return [*layers, *self._dense(len(a.sizes) - 1, *last)]

    def _dense(self, i: int, n_in: int, n_out: int) -> list[Layer]:
        a, members = self.architecture, self.architecture.members
        if members is not None and members.sharing == "full":
            shared = self._scaled(dense(f"dense{i}", n_in, n_out, bias=False), n_in)
            return adapted(shared, members.count, n_in, n_out, a.bias)
        if members is not None and members.sharing == "mini" and i == 1:
            each = dense("dense1", n_in, n_out, a.bias, (members.count,))
            return [self._scaled(with_factors(each, "dense1.W", "dense1.b", "dense1.r"), n_in)]
        front = () if members is None else members.front
        return [self._scaled(dense(f"dense{i}", n_in, n_out, a.bias, front), n_in)]

    def _scaled(self, layer: Layer, n_in: int) -> Layer:
        return ntk(layer, n_in) if self.architecture.parametrization == "ntk" else layer
