"""Dropout rates in a model's configuration: numbers, or schedules by name with their settings."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from xpmlp.errors import CheckpointError, short
from xpmlp.nn import schedules
from xpmlp.nn.schedules import Custom, Schedule

BUILT_IN: dict[str, type[Schedule]] = {
    name: found
    for name, found in vars(schedules).items()
    if isinstance(found, type) and issubclass(found, Schedule) and found not in (Custom, Schedule)
}
"""The schedules that consist of numbers, text and each other."""


def to_config(rate: Any, own: str) -> Any:
    """Describe a rate in JSON; custom schedules by their name after ``own``."""
    if not isinstance(rate, Schedule):
        return rate
    if BUILT_IN.get(type(rate).__name__) is type(rate):
        settings = {f.name: to_config(getattr(rate, f.name), own) for f in fields(rate)}
        return {"schedule": type(rate).__name__, **settings}
    named = rate.function if isinstance(rate, Custom) else type(rate)
    return {"schedule": own + getattr(named, "__name__", "custom")}


def from_config(found: Any, custom: Callable[[str], Any]) -> Any:
    """Return the rate that was described; ``custom(name)`` finds what is not built in.

    Raises
    ------
    CheckpointError, TypeError, ValueError
        If the description makes no sense.
    """
    if not isinstance(found, Mapping):
        return found
    settings = dict(found)
    name = settings.pop("schedule")
    if not isinstance(name, str):
        raise CheckpointError(f"found {short(repr(name))} for the name of a schedule")
    if name not in BUILT_IN:
        return custom(name)
    return BUILT_IN[name](**{n: from_config(value, custom) for n, value in settings.items()})
