"""Operations of many networks as one: which table computes arrays of three axes.

A library's fast operations are written for rows and units. Where the arrays of k networks have one
more axis in front, ``for_networks`` calls another table; a table that has nothing faster passes
the reference, which holds for any number of axes.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from xpmlp.nn.ops import Ops

Operation = Callable[..., Any]


def _axes(place: int, single: int) -> Callable[..., bool]:
    """Return whether an argument has more axes than that of one network."""
    return lambda *args, **_: args[place].ndim > single


MANY: dict[str, Callable[..., bool]] = {
    "dense": lambda x, W, *_: x.ndim > 2 or W.ndim > 2,
    "dense_grad": lambda x, W, *_: x.ndim > 2 or W.ndim > 2,
    "dense_activation": lambda ops, x, W, *_: x.ndim > 2 or W.ndim > 2,
    "dense_activation_grad": lambda ops, x, W, *_: x.ndim > 2 or W.ndim > 2,
    "mixed": _axes(0, 2),
    "mixed_grad": _axes(0, 2),
    "sum_by_code": _axes(0, 2),
    "batch_mean": _axes(1, 2),
    "penalize": _axes(1, 2),
    "accumulate": _axes(0, 1),
    "dropout": _axes(2, 1),
    "dropout_mask": _axes(0, 1),
    "dropout_grad": lambda ops, dy, mask: hasattr(mask, "ndim"),
}
"""Whether an operation's arguments are those of many networks; a mask that is an array is one for
which each network has a key."""

DENSE = ("dense", "dense_grad")
"""The operations that differ in a library that replaces no others."""


def for_networks(single: Ops, several: Ops, names: tuple[str, ...] = tuple(MANY)) -> Ops:
    """Return operations that compute arrays of one network with ``single``, else ``several``."""
    chosen = {name: _either(name, getattr(single, name), getattr(several, name)) for name in names}
    return replace(single, **chosen)


def _either(name: str, one: Operation, many: Operation) -> Operation:
    """Return the operation that looks at the axes of its arguments first."""
    are_many = MANY[name]

    def chosen(*args: Any, **options: Any) -> Any:
        return (many if are_many(*args) else one)(*args, **options)

    return chosen
