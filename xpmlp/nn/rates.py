"""A learning rate for each network of an ensemble, and their gradients clipped one by one.

A search trains many settings as one network: each network has its rate, from the same plan.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.nn.functions import Array
from xpmlp.nn.parameters import Layout
from xpmlp.nn.schedules import Schedule, schedule


@dataclass(frozen=True)
class PerNetwork(Schedule):
    """A learning rate, or a schedule, for each network of an ensemble that shares nothing.

    Attributes
    ----------
    each : tuple of float or Schedule
        One for each network.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If there is none, or one that is no rate.

    Examples
    --------
    >>> rates = xpmlp.schedules.PerNetwork([0.1, 0.01])
    >>> rates.rates(epoch=0, steps=2, total=10, history={})
    [(0.1, 0.01), (0.1, 0.01)]
    >>> mlp, points = xpmlp.MLP([2, 8, 2], ensemble=2, backend="numpy"), xpmlp.data.make_xor(n=50)
    >>> history = mlp.fit(points.X, points.y, optimizer=xpmlp.Adam(rates))
    """

    rate: float = field(default=1.0, init=False)
    each: Any = ()

    def __post_init__(self) -> None:
        if isinstance(self.each, str) or not isinstance(self.each, Sequence) or not self.each:
            raise InvalidTypeError(
                f"PerNetwork: found {self.each!r}; expected a learning rate for each network"
            )
        object.__setattr__(self, "each", tuple(map(schedule, self.each)))

    def at(self, time: float, total: float) -> float:
        """Return the mean of the rates at ``time`` epochs of ``total``.

        Examples
        --------
        >>> xpmlp.schedules.PerNetwork([0.25, 0.75]).at(0.0, total=1.0)
        0.5
        """
        return sum(one.at(time, total) for one in self.each) / len(self.each)

    def rates(
        self, epoch: int, steps: int, total: float, history: Mapping[str, Sequence[float]]
    ) -> list[Any]:
        """Return the rates of each step, a tuple with one for each network.

        Examples
        --------
        >>> xpmlp.schedules.PerNetwork([0.1, 0.2]).rates(epoch=3, steps=1, total=5, history={})
        [(0.1, 0.2)]
        """
        each = [one.rates(epoch, steps, total, history) for one in self.each]
        return list(zip(*each, strict=True))


def per_network(optimizer: Any) -> list[tuple[str, PerNetwork]]:
    """Return what an optimizer has for each network, with its name: rates and decays."""
    given = [(name, getattr(optimizer, name, None)) for name in ("learning_rate", "weight_decay")]
    for pattern, group in optimizer.groups or ():
        given += [(f"groups[{pattern!r}]", one) for one in (group.schedule, group.weight_decay)]
    return [(name, one) for name, one in given if isinstance(one, PerNetwork)]


def check_rates(optimizer: Any, networks: int | None) -> None:
    """Refuse rates for another number of networks: InvalidValueError."""
    for name, one in per_network(optimizer):
        if len(one.each) != networks:
            found = "one network" if networks is None else f"{networks} networks that share nothing"
            raise InvalidValueError(
                f"{name}: found {len(one.each)} rates for {found}; make the model with "
                f"MLP(..., ensemble={len(one.each)})"
            )


def owners(optimizer: Any, layout: Layout, networks: int | None) -> list[int] | None:
    """Return for each element of the flat buffer which network it belongs to; 0 in the gaps.

    None if the optimizer has the same rates for all.

    Raises
    ------
    InvalidValueError
        If it has rates for another number of networks.
    """
    if not per_network(optimizer):
        return None
    check_rates(optimizer, networks)
    made = [0] * layout.size
    for shape, start, stop in layout.slots.values():
        each = (stop - start) // shape[0]
        for i in range(shape[0]):
            made[start + i * each : start + (i + 1) * each] = [i] * each
    return made


def clipped(xp: Any, layout: Layout, g: Array, networks: int, limit: float) -> dict[str, Array]:
    """Scale each network's gradient so that its Euclidean norm is at most ``limit``.

    The norm is |g|∞ · ‖g/|g|∞‖, so the squares neither overflow nor vanish, as in
    ``xpmlp.nn.updates.clip_by_norm``.

    Parameters
    ----------
    g : Array, shape (layout.size,)
        Of parameters with an axis in front, of length ``networks``.

    Returns
    -------
    dict of str to Array
        The gradient by name.
    """
    views = layout.views(xp, g)
    rows = {name: xp.reshape(view, (networks, -1)) for name, view in views.items()}
    tops = xp.stack([xp.max(xp.abs(row), axis=1) for row in rows.values()])
    largest = xp.maximum(xp.max(tops, axis=0), float(xp.finfo(g.dtype).smallest_normal))
    shares = {name: (0.25 * row) / (0.25 * largest[:, None]) for name, row in rows.items()}
    squares = xp.stack([xp.sum(u * u, axis=1) for u in shares.values()])
    norm = xp.sqrt(xp.sum(squares, axis=0))
    too_long = (largest * norm > limit)[:, None]
    factor = (limit / xp.maximum(norm, 1e-3))[:, None]
    return {
        name: xp.reshape(xp.where(too_long, u * factor, rows[name]), views[name].shape)
        for name, u in shares.items()
    }
