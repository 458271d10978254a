"""PyTorch's modules for the layers of a network, for ``MLP.to_torch`` and ``MLP.from_torch``."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import array_api_compat.torch as xp
import torch
from torch import nn

import xpmlp_backends
from xpmlp.nn.activations import LEAK
from xpmlp.nn.tabular import smooth_clip


class Standardize(nn.Module):
    """(x − shift) · scale in a dtype; ``exact`` in float64 until then, and clipped smoothly."""

    def __init__(
        self, shift: Any, scale: Any, dtype: Any, clip: Any = None, exact: bool = False
    ) -> None:
        super().__init__()
        self.dtype, self.inner = dtype, torch.float64 if exact else dtype
        for name, value in (("shift", shift), ("scale", scale), ("clip", clip)):
            made = None if value is None else torch.tensor(value, dtype=self.inner)
            self.register_buffer(name, made)

    def forward(self, x: Any) -> Any:
        """Return the inputs of the first layer."""
        x = x.to(self.inner)
        x = x if self.shift is None else x - self.shift
        x = x if self.scale is None else x * self.scale
        x = x if self.clip is None else smooth_clip(xp, x, self.clip)
        return x.to(self.dtype)


class Scale(nn.Module):
    """y = x · weight, with a weight of each unit that can be trained."""

    def __init__(self, weight: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Any) -> Any:
        """Return the product."""
        return x * self.weight


class Mix(nn.Module):
    """y = z + share · (f(z) − z), with a share of each unit that can be trained."""

    def __init__(self, share: Any, activation: Any) -> None:
        super().__init__()
        self.share, self.activation = nn.Parameter(share), activation

    def forward(self, z: Any) -> Any:
        """Return what is between z and f(z)."""
        return z + self.share * (self.activation(z) - z)


class Residual(nn.Module):
    """y = x + F(x)."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        """Return the sum."""
        return x + self.inner(x)


class Elementwise(nn.Module):
    """An activation for which PyTorch has no module: exp, sign or binary_step."""

    FUNCTIONS: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "exp": torch.exp,
        "sign": torch.sign,
        "binary_step": lambda z: (z > 0).to(z.dtype),
    }

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, z: Any) -> Any:
        """Return f(z)."""
        return self.FUNCTIONS[self.name](z)


class Logits(nn.Module):
    """Numbers of which softmax, or else the sigmoid, gives these probabilities."""

    def __init__(self, softmax: bool) -> None:
        super().__init__()
        self.softmax = softmax

    def forward(self, p: Any) -> Any:
        """Return the logits."""
        least = torch.finfo(p.dtype).smallest_normal
        logs = torch.log(p.clamp(min=least))
        return logs if self.softmax else logs - torch.log((1 - p).clamp(min=least))


class Points(nn.Module):
    """One prediction for each target, of a loss that has several outputs for each."""

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, z: Any) -> Any:
        """Return the means, or the quantiles nearest to the median."""
        return self.loss.points(xpmlp_backends.backend("torch").ops, z)


class BothClasses(nn.Module):
    """The probabilities of 0 and 1, from that of 1."""

    def forward(self, p: Any) -> Any:
        """Return both, along the last axis."""
        return torch.cat((1 - p, p), dim=-1)


class Units(nn.Module):
    """Predictions in the targets' units: x · scale + shift, within [low, high]."""

    def __init__(self, scale: Any, shift: Any, low: Any, high: Any, dtype: Any) -> None:
        super().__init__()
        named = {"scale": scale, "shift": shift, "low": low, "high": high}
        for name, value in named.items():
            made = None if value is None else torch.tensor(value, dtype=dtype)
            self.register_buffer(name, made)

    def forward(self, x: Any) -> Any:
        """Return the predictions."""
        x = x * self.scale + self.shift
        return x if self.low is None else torch.clamp(x, self.low, self.high)


MADE: dict[str, Callable[[], Any]] = {
    "identity": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(LEAK),
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU("tanh"),
    "softplus": lambda: nn.Softplus(threshold=50),  # with 20 it is a line too early for float64
    "swish": nn.SiLU,
    "mish": nn.Mish,
    "softmax": lambda: nn.Softmax(dim=-1),
    **{name: partial(Elementwise, name) for name in Elementwise.FUNCTIONS},
}
"""Modules of activations, by name."""

NAMES: dict[type, str] = {
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.ELU: "elu",
    nn.SELU: "selu",
    nn.GELU: "gelu",
    nn.Softplus: "softplus",
    nn.SiLU: "swish",
    nn.Mish: "mish",
    nn.Softmax: "softmax",
}
"""Names of activations, by class of module."""

_SETTINGS = {
    nn.LeakyReLU: ("negative_slope", LEAK),
    nn.ELU: ("alpha", 1.0),
    nn.Softplus: ("beta", 1.0),
}


def name_of(module: Any) -> str | None:
    """Return the name of an activation; None for other modules, and for other settings of them."""
    if isinstance(module, Elementwise):
        return module.name
    name = NAMES.get(type(module))
    if name == "gelu":
        return "gelu" if module.approximate == "none" else "gelu_tanh"
    if name == "softmax" and module.dim not in (1, -1):
        return None
    setting, value = _SETTINGS.get(type(module), (None, None))
    return name if setting is None or getattr(module, setting) == value else None
