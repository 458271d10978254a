"""The settings of a network's layers and first weights, checked and expanded."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from numbers import Real
from typing import Any

from xpmlp.errors import InvalidTypeError, InvalidValueError, flag, short, unknown_name
from xpmlp.nn.activations import Activation, activation
from xpmlp.nn.embeddings import Embedding
from xpmlp.nn.ensemble import Members
from xpmlp.nn.initializers import bias_initializer as find_bias_initializer
from xpmlp.nn.normalization import NORMALIZATIONS
from xpmlp.nn.schedules import Schedule

PARAMETRIZATIONS = ("standard", "ntk")


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
    bias_initializer : str or callable
    zero_last : bool
        Whether the last layer's weights start at 0.
    embedding : Embedding or None
    input_scale : bool
        Whether each input, or output of the embedding, has a learned scale.
    parametrization : {"standard", "ntk"}
    activation_mix : bool
        Whether each hidden unit learns how much of its activation it uses.
    members : Members or None
        How many networks there are in one, and what they share.
    image_shape : tuple of int or None
        (height, width) or (height, width, channels) of inputs that are pictures.
    """

    sizes: tuple[int, ...]
    activations: tuple[Activation, ...]
    dropout: tuple[float | Schedule, ...]
    input_dropout: float | Schedule
    normalization: Any
    residual: bool
    bias: bool
    initializer: Any
    bias_initializer: Any
    zero_last: bool
    embedding: Embedding | None
    input_scale: bool
    parametrization: str
    activation_mix: bool
    members: Members | None = None
    image_shape: tuple[int, ...] | None = None

    @property
    def first(self) -> int:
        """Inputs of the first dense layer."""
        return self.sizes[0] if self.embedding is None else self.embedding.width(self.sizes[0])

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each dense layer."""
        return list(pairwise((self.first, *self.sizes[1:])))

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
        bias_initializer: Any = "zeros",
        zero_last: bool = False,
        embedding: Any = None,
        input_scale: bool = False,
        parametrization: str = "standard",
        activation_mix: bool = False,
        ensemble: int | None = None,
        sharing: str = "none",
        image_shape: Sequence[int] | None = None,
    ) -> "Architecture":
        """Check the arguments of ``MLP``, and expand them to one value for each layer."""
        sizes = _sizes(sizes)
        hidden = len(sizes) - 2
        residual, bias = flag("residual", residual), flag("bias", bias)
        zero_last = flag("zero_last", zero_last)
        input_scale = flag("input_scale", input_scale)
        activation_mix = flag("activation_mix", activation_mix)
        if parametrization not in PARAMETRIZATIONS:
            raise unknown_name("parametrization", parametrization, PARAMETRIZATIONS)
        find_bias_initializer(bias_initializer)
        if not isinstance(embedding, Embedding | None):
            raise InvalidTypeError(
                f"embedding: found {short(repr(embedding))}; expected an xpmlp.Embedding"
            )
        rates = tuple(map(_rate, _per_layer("dropout", dropout, hidden, Real | Schedule)))
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
        made = cls(
            sizes,
            _activations(activation, hidden),
            rates,
            _rate(input_dropout),
            normalization,
            residual,
            bias,
            initializer,
            bias_initializer,
            zero_last,
            embedding,
            input_scale,
            parametrization,
            activation_mix,
            members,
            _image_shape(image_shape, sizes[0]),
        )
        if residual and not any(a == b for a, b in made.pairs[:-1]):
            raise InvalidValueError(
                f"residual=True needs a hidden layer as wide as the one before it; sizes are "
                f"{list(sizes)}"
            )
        return made


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


def _image_shape(shape: Any, inputs: int) -> tuple[int, ...] | None:
    """Check the shape of pictures, whose pixels are the inputs."""
    if shape is None:
        return None
    try:
        values = tuple(int(n) for n in shape)
        whole = all(n == m and n > 0 for n, m in zip(values, shape, strict=True))
    except (TypeError, ValueError, OverflowError):
        values, whole = (), False
    if not whole or len(values) not in (2, 3) or prod(values) != inputs:
        raise InvalidValueError(
            f"image_shape: found {short(repr(shape))}; expected (height, width), or (height, "
            f"width, channels), of {inputs} pixels, the inputs of the network"
        )
    return values


def _rate(rate: Any) -> float | Schedule:
    """Check a dropout rate; the values of a schedule are checked before each epoch."""
    first = rate.rate if isinstance(rate, Schedule) else rate
    if not isinstance(first, Real) or not 0 <= float(first) < 1:
        raise InvalidValueError(f"dropout: found {rate!r}; expected a rate in [0, 1)")
    return rate if isinstance(rate, Schedule) else float(rate)


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
    "initializer", "bias_initializer", "zero_last", "embedding", "input_scale", "parametrization",
    "activation_mix", "ensemble", "sharing", "image_shape",
)  # fmt: skip
"""Those arguments of ``MLP`` that describe the architecture."""
