"""Operations of many networks as one: which table computes arrays of three axes.

A library's fast operations are written for rows and units. Where the arrays of k networks have one
more axis in front, ``for_networks`` calls another table; a table that has nothing faster passes
the reference, which holds for any number of axes.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from xpmlp.nn.contract import Array
from xpmlp.nn.ops import Ops

Operation = Callable[..., Any]

ARRAYS = {
    "dense": (0, 1), "dense_grad": (0, 1), "dense_activation": (1, 2),
    "dense_activation_grad": (1, 2), "batch_mean": (1,), "penalize": (1,), "dropout": (1,),
    "dropout_mask": (), "dropout_grad": (), "accumulate": (),
}  # fmt: skip
"""The arguments whose axes decide: rows and units for one network."""


DENSE = ("dense", "dense_grad")
"""Those of a library that replaces no others."""


def for_networks(single: Ops, several: Ops, names: tuple[str, ...] = tuple(ARRAYS)) -> Ops:
    """Return operations that compute arrays of one network with ``single``, else ``several``."""
    return replace(
        single,
        **{name: _either(name, getattr(single, name), getattr(several, name)) for name in names},
    )


def _either(name: str, one: Operation, many: Operation) -> Operation:
    """Return the operation that asks for the axes."""
    if name == "dropout_mask":

        def chosen(key: Array, *args: Any, **options: Any) -> Any:
            return (one if key.ndim == 1 else many)(key, *args, **options)

    elif name == "dropout":

        def chosen(ops: Any, x: Array, key: Array, *args: Any) -> Any:
            return (one if key.ndim == 1 else many)(ops, x, key, *args)

    elif name == "dropout_grad":

        def chosen(ops: Any, dy: Array, mask: Any) -> Any:
            return (many if hasattr(mask, "ndim") else one)(ops, dy, mask)

    elif name == "accumulate":

        def chosen(totals: Array, *args: Any) -> Any:
            return (one if totals.ndim == 1 else many)(totals, *args)

    else:
        places = ARRAYS[name]

        def chosen(*args: Any) -> Any:
            for i in places:
                if args[i].ndim > 2:
                    return many(*args)
            return one(*args)

    return chosen
