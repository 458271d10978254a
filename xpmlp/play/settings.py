"""What can be set on the page: names, choices and limits, and a check of what it sends."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from typing import Any

from xpmlp_backends import PUBLIC

from xpmlp.errors import InvalidValueError, short, unknown_name
from xpmlp.nn.activations import ACTIVATIONS
from xpmlp.nn.initializers import INITIALIZERS
from xpmlp.nn.optimizers import OPTIMIZERS

POINTS = ("xor", "circles", "spirals", "moons", "line", "waves")
DATA = (*POINTS, "digits", "table")
SCHEDULES = {
    "constant": "Constant",
    "cosine": "Cosine",
    "one-cycle": "OneCycle",
    "step": "StepDecay",
    "exponential": "Exponential",
    "inverse-time": "InverseTime",
}
"""Names, and the classes of ``xpmlp.schedules``."""

LOSSES = (
    "auto", "mse", "mae", "huber", "binary_cross_entropy", "sparse_categorical_cross_entropy",
)  # fmt: skip

LAYERS = 6
"""Most hidden layers."""


@dataclass(frozen=True)
class Settings:
    """What a run is made of; every field has a sentence in ``HELP``.

    Examples
    --------
    >>> from xpmlp.play.settings import Settings
    >>> Settings.checked({"data": "moons", "hidden": [8]}).hidden
    (8,)
    """

    data: str = "xor"
    points: int = 300
    noise: float = 0.0
    columns: tuple[str, ...] = ()
    label: str | None = None
    test_share: float = 0.3
    hidden: tuple[int, ...] = (4, 4)
    activation: str = "tanh"
    loss: str = "auto"
    optimizer: str = "adam"
    learning_rate: float = 0.01
    schedule: str = "constant"
    clip_norm: float | None = None
    batch_size: int = 32
    dropout: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    slip: bool = False
    normalization: str | None = None
    initializer: str = "auto"
    bias: bool = True
    seed: int = 0
    backend: str = "numpy"
    epochs: int = 1000
    pace: float | None = 60.0
    story: str | None = None

    @classmethod
    def checked(cls, given: Any) -> "Settings":
        """Return settings from what a page sent; what is missing has its default.

        Raises
        ------
        InvalidValueError
            For anything that is not as the limits and choices say, in one line.
        """
        if not isinstance(given, Mapping):
            raise InvalidValueError(f"settings: found {short(repr(given), 40)}; expected an object")
        known = {field.name for field in fields(cls)}
        for name in given:
            if name not in known:
                raise unknown_name("setting", short(name, 40), known)
        given = {n: [] if n == "columns" and v is None else v for n, v in given.items()}
        values = {name: CHECKS[name](name, value) for name, value in given.items()}
        return cls(**values)

    def as_json(self) -> dict[str, Any]:
        """Return them as a page sends them."""
        return {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(self).items()}


LIMITS: dict[str, tuple[float, float]] = {
    "points": (20, 2000),
    "noise": (0.0, 1.0),
    "test_share": (0.0, 0.9),
    "hidden": (1, 64),
    "units": (1, 64),
    "layers": (0, LAYERS),
    "learning_rate": (1e-6, 100.0),
    "clip_norm": (1e-3, 1000.0),
    "batch_size": (1, 2000),
    "dropout": (0.0, 0.9),
    "l1": (0.0, 10.0),
    "l2": (0.0, 10.0),
    "seed": (0, 2**31 - 1),
    "epochs": (1, 10_000),
    "pace": (1, 10_000),
}
"""Smallest and largest value; ``units`` and ``layers`` are for the page's buttons."""

CHOICES: dict[str, tuple[Any, ...]] = {
    "data": DATA,
    "activation": tuple(name for name in ACTIVATIONS if name not in ("exp", "softmax")),
    "loss": LOSSES,
    "optimizer": tuple(OPTIMIZERS),
    "schedule": tuple(SCHEDULES),
    "normalization": (None, "batch", "layer"),
    "initializer": ("auto", *INITIALIZERS),
    "backend": PUBLIC,
}
"""What names may be given; of the backends, the page shows those that are installed."""

HELP = {
    "data": "What the network learns: points of the plane, digits, or your own table.",
    "points": "How many points are drawn, those of the test included.",
    "noise": "Standard deviation of what is added to each coordinate, or to the values.",
    "columns": "The columns that the network gets; the first two of numbers are the axes.",
    "label": "The column of the table to predict.",
    "test_share": "Share of the rows that the network is tested on and never sees in training.",
    "hidden": "Units of each hidden layer.",
    "activation": "What each hidden unit makes of its weighted sum.",
    "loss": "What training makes small; auto is cross-entropy for classes, squared error else.",
    "optimizer": "How the gradient becomes a step.",
    "learning_rate": "How large the steps are.",
    "schedule": "How the learning rate changes over the epochs.",
    "clip_norm": "The largest length of a gradient; a longer one is shortened to it.",
    "batch_size": "Rows of which the gradient of one step is the mean.",
    "dropout": "Share of the hidden units that each training step leaves out.",
    "l1": "Weight of the penalty on the absolute values of the weights.",
    "l2": "Weight of the penalty on the squares of the weights.",
    "slip": "Make the original script's mistake in the L2 gradient: one sum for all weights.",
    "normalization": "Whether each layer's sums are brought to mean 0 and deviation 1.",
    "initializer": "How the first weights are drawn; auto is He for ReLUs, Glorot for others.",
    "bias": "Whether each unit adds a number of its own to its sum.",
    "seed": "The same number gives the same points, first weights and order of rows.",
    "backend": "The array library that computes; the losses are the same on each.",
    "epochs": "Passes over the training rows until the run is done.",
    "pace": "Most epochs in a second, so that one can watch; none is as fast as it goes.",
    "story": "The story that these settings belong to.",
}
"""A sentence for each setting."""


def installed() -> list[str]:
    """Return the backends whose library is installed; whether a device works is seen at a start."""
    return [name for name in PUBLIC if find_spec(name)]


def _number(name: str, value: Any) -> float:
    low, high = LIMITS[name]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high or not math.isfinite(value):
        found = short(repr(value), 40)
        raise InvalidValueError(
            f"{name}: found {found}; expected a number from {low:g} to {high:g}"
        )
    return float(value)


def _whole(name: str, value: Any) -> int:
    number = _number(name, value)
    if number != int(number):
        raise InvalidValueError(f"{name}: found {value!r}; expected a whole number")
    return int(number)


def _choice(name: str, value: Any) -> Any:
    if not isinstance(value, str | None) or value not in CHOICES[name]:
        raise unknown_name(name, value, [str(n) for n in CHOICES[name]])
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        found = short(repr(value), 40)
        raise InvalidValueError(f"{name}: found {found}; expected true or false")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > 200:
        raise InvalidValueError(
            f"{name}: found {short(repr(value), 40)}; expected a text of at most 200 characters"
        )
    return value


def _optional(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: None if value is None else check(name, value)


def _several(most: int, check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    def checked(name: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) > most:
            found = short(repr(value), 40)
            raise InvalidValueError(f"{name}: found {found}; expected a list of at most {most}")
        return tuple(check(name, each) for each in value)

    return checked


CHECKS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("noise", "test_share", "learning_rate", "dropout", "l1", "l2"), _number),
    **dict.fromkeys(("points", "batch_size", "seed", "epochs"), _whole),
    **dict.fromkeys(CHOICES, _choice),
    **dict.fromkeys(("bias", "slip"), _flag),
    **dict.fromkeys(("label", "story"), _optional(_text)),
    **dict.fromkeys(("clip_norm", "pace"), _optional(_number)),
    "hidden": _several(LAYERS, _whole),
    "columns": _several(100, _text),
}
"""What checks each setting, and returns it."""
