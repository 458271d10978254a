"""Groups of parameters, each with its own rate, schedule and weight decay.

The optimizers' formulas know nothing of groups: an update is elementwise, so it is applied to each
part of the flat buffer with that part's coefficients. Without groups there is one part, the whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

from xpmlp.errors import InvalidTypeError, InvalidValueError, short, unknown_name
from xpmlp.nn.functions import Array
from xpmlp.nn.limits import not_negative
from xpmlp.nn.parameters import Layout
from xpmlp.nn.rates import clipped
from xpmlp.nn.schedules import Schedule
from xpmlp.nn.updates import Updated, with_plain_updates

Groups = tuple[tuple[str, "Group"], ...]


@dataclass(frozen=True)
class Group:
    """What is different for the parameters that a pattern in ``groups`` matches.

    Attributes
    ----------
    rate : float
        Factor of the learning rate. 0 freezes: the parameters do not change at all, by decay
        neither.
    schedule : Schedule, optional
        The group's learning rate, times ``rate``, instead of the optimizer's.
    weight_decay : float or Schedule, optional
        Instead of the optimizer's; for optimizers that have one.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        For anything else.

    Examples
    --------
    >>> slow = xpmlp.optimizers.Group(rate=0.1, weight_decay=0)
    >>> optimizer = xpmlp.AdamW(0.01, groups={"dense1.*": slow, "*.b": {"rate": 0.1}})
    >>> optimizer.groups[1]
    ('*.b', Group(rate=0.1, schedule=None, weight_decay=None))
    """

    rate: float = 1.0
    schedule: Schedule | None = None
    weight_decay: "float | Schedule | None" = None

    def __post_init__(self) -> None:
        not_negative(self, "rate")
        if self.schedule is not None and not isinstance(self.schedule, Schedule):
            raise InvalidTypeError(
                f"Group: schedule is {self.schedule!r}; expected a schedule such as "
                "xpmlp.schedules.Cosine(0.01)"
            )
        if self.weight_decay is not None and not isinstance(self.weight_decay, Schedule):
            not_negative(self, "weight_decay")

    @classmethod
    def of(cls, given: Any) -> "Group":
        """Return a group from its settings by name, or the one given."""
        if isinstance(given, Group):
            return given
        if not isinstance(given, Mapping):
            raise InvalidTypeError(
                f'groups: found {short(repr(given))}; expected settings such as {{"rate": 0.1}}'
            )
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise unknown_name("setting of a group", name, known)
        return cls(**given)


def as_groups(optimizer: Any, given: Any) -> Groups | None:
    """Return the groups of an optimizer in the order given; None if there are none.

    Raises
    ------
    InvalidValueError, InvalidTypeError
        If they are not what ``Optimizer.groups`` describes.
    """
    if not isinstance(given, Mapping | tuple | None):
        raise InvalidTypeError(
            f"groups: found {short(repr(given))}; expected a dict of settings by pattern, such as "
            '{"*.b": {"rate": 0.1}}'
        )
    pairs = given.items() if isinstance(given, Mapping) else given or ()
    made = tuple((str(pattern), Group.of(settings)) for pattern, settings in pairs)
    for pattern, group in made:
        if group.weight_decay is not None and not hasattr(optimizer, "weight_decay"):
            raise InvalidValueError(
                f"groups: {pattern!r} has a weight_decay, which {type(optimizer).__name__} does "
                "not have; use xpmlp.AdamW"
            )
    return made or None


class Grouped:
    """An optimizer, laid out on a network's parameters.

    Parameters
    ----------
    optimizer : Optimizer
    layout : Layout
        Of the parameters. Without groups only its size is used.

    Attributes
    ----------
    optimizer : Optimizer
    name : str
    slots : int
        Arrays of optimizer state, without averaged weights.
    groups : list of Group
        Those whose coefficients the plan has: first that of all other parameters.
    members : dict of str to int
        Which of the groups each parameter belongs to, of those that change.
    frozen : frozenset of str
        Names of parameters that do not change.

    Raises
    ------
    InvalidValueError
        If a pattern decides nothing: no parameter has such a name, or earlier patterns took all
        that do.
    """

    def __init__(self, optimizer: Any, layout: Layout) -> None:
        self.optimizer, self.layout = optimizer, layout
        self.name = getattr(optimizer, "name", "")
        self.slots = optimizer.slots
        patterns = as_groups(optimizer, optimizer.groups) or ()
        owners = _owners([pattern for pattern, _ in patterns], list(layout.slots))
        settings = [Group(), *(group for _, group in patterns)]
        moving = [i for i, group in enumerate(settings) if group.rate != 0]
        self.groups = [settings[i] for i in moving]
        self.members = {n: moving.index(i) for n, i in owners.items() if i in moving}
        self.frozen = frozenset(owners) - set(self.members)
        self._parts = _parts(layout, owners) if patterns else None

    @property
    def structure(self) -> Any:
        """What a compiled step depends on, to compare: the parts and their coefficients."""
        return self._parts and (tuple(self._parts.slots.items()), tuple(self.members.items()))

    def values(
        self, epoch: int, steps: int, total: float, history: Mapping[str, Sequence[float]]
    ) -> list[tuple[list[Any], list[Any] | None]]:
        """Return each group's learning rates and decays of an epoch's steps.

        The decays are None where the optimizer has none, or its own constant. Where each network of
        an ensemble has its own, those of a step are a tuple.
        """
        time = (epoch, steps, total, history)
        common = self.optimizer.rates(*time)
        own: Any = getattr(self.optimizer, "weight_decay", None)
        found: list[tuple[list[Any], list[Any] | None]] = []
        for group in self.groups:
            rates = common if group.schedule is None else group.schedule.rates(*time)
            decay: Any = own if group.weight_decay is None else group.weight_decay
            decays = decay.rates(*time) if isinstance(decay, Schedule) else [decay] * steps
            constant = decay is own and not isinstance(own, Schedule)
            found.append(([_times(group.rate, r) for r in rates], None if constant else decays))
        return found

    def clip(self, ops: Any, g: Array, networks: int | None = None) -> Array:
        """Clip the gradient, by the norm of all parameters' together.

        Parameters
        ----------
        networks : int, optional
            How many networks share nothing: the gradient of each is clipped by its own norm.
        """
        limit = self.optimizer.clip_norm
        if networks is None or limit is None:
            return self.optimizer.clip(ops, g)
        g = replace(self.optimizer, clip_norm=None).clip(ops, g)
        each = clipped(ops.xp, self.layout, g, networks, limit)
        return ops.pack(self.layout, each, g, self.layout.views(ops.xp, g))

    def update(
        self,
        ops: Any,
        p: Array,
        g: Array,
        moments: tuple[Array, ...],
        c: Array,
        owners: Array | None = None,
    ) -> Updated:
        """Return the new parameters and optimizer state; as ``Optimizer.update``.

        Parameters
        ----------
        c : Array, shape (coefficients,) or (coefficients, k)
            Those of all groups, one group after the other; or of each network, too.
        owners : Array of int32, shape (layout.size,), optional
            Which network has each parameter, for coefficients of each.
        """
        if owners is not None:
            ops = with_plain_updates(ops)
        if self._parts is None:
            return self.optimizer.update(ops, p, g, moments, _of_each(ops.xp, c, owners))
        network = None if owners is None else self._parts.views(ops.xp, owners)
        width = c.shape[0] // len(self.groups)
        old = [self._parts.views(ops.xp, x) for x in (p, *moments)]
        grad = self._parts.views(ops.xp, g)
        new = [dict(views) for views in old]
        for name in self._parts.slots:
            if name in self.frozen:
                continue
            i = self.members[name]
            theta, *state = (views[name] for views in old)
            own = c[i * width : (i + 1) * width, ...]
            own = _of_each(ops.xp, own, None if network is None else network[name])
            theta, state = self.optimizer.update(ops, theta, grad[name], tuple(state), own)
            for views, x in zip(new, (theta, *state), strict=True):
                views[name] = x
        # A backend that updates in place has nothing left to copy.
        p, *state = (
            ops.pack(self._parts, *packed) for packed in zip(new, (p, *moments), old, strict=True)
        )
        return p, tuple(state)


def _of_each(xp: Any, c: Array, owners: Array | None) -> Any:
    """Return coefficients; those of each network as arrays with one for each parameter."""
    if owners is None:
        return c
    return [xp.take(c[i, :], owners, axis=0) for i in range(c.shape[0])]


def _times(factor: float, rate: Any) -> Any:
    """Return a rate, or a tuple of each network's, times a factor."""
    return tuple(factor * r for r in rate) if isinstance(rate, tuple) else factor * rate


def _owners(patterns: list[str], names: list[str]) -> dict[str, int]:
    """Return for each name the number, from 1, of the first pattern that matches it; else 0."""
    owners = dict.fromkeys(names, 0)
    for i, pattern in enumerate(patterns, start=1):
        matched = [name for name in names if fnmatchcase(name, pattern)]
        left = [name for name in matched if not owners[name]]
        if not left:
            why = f"no parameter has such a name. The parameters are {', '.join(names)}"
            if matched:
                why = f"patterns before it match {', '.join(matched)}, and the first decides"
            raise InvalidValueError(f"groups: the pattern {pattern!r} decides nothing: {why}")
        owners |= dict.fromkeys(left, i)
    return owners


def _parts(layout: Layout, owners: Mapping[str, int]) -> Layout:
    """Cut the flat buffer where the group changes; a part has the name of its first parameter."""
    names = list(layout.slots)
    firsts = names[:1] + [b for a, b in pairwise(names) if owners[a] != owners[b]]
    starts = [layout.slots[name].start for name in firsts]
    ends = [*starts[1:], layout.size]
    return Layout({name: (b - a,) for name, a, b in zip(firsts, starts, ends, strict=True)})
