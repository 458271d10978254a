"""Checks of the numbers that optimizers and groups of parameters are made with."""

from math import inf
from numbers import Real
from typing import Any

from xpmlp.errors import InvalidValueError


def positive(owner: Any, name: str) -> None:
    """Refuse an attribute that is not a number above 0.

    Raises
    ------
    InvalidValueError
    """
    _number(owner, name, lambda value: 0 < value < inf, "a positive number")


def not_negative(owner: Any, name: str) -> None:
    """Refuse an attribute that is not a number of 0 or more.

    Raises
    ------
    InvalidValueError
    """
    _number(owner, name, lambda value: 0 <= value < inf, "a number, 0 or more")


def fraction(owner: Any, name: str, closed: bool = False) -> None:
    """Refuse an attribute that is not in [0, 1), or with ``closed`` in [0, 1].

    Raises
    ------
    InvalidValueError
    """
    ends = f"[0, 1{']' if closed else ')'}"
    _number(
        owner, name, lambda value: 0 <= value < 1 or (closed and value == 1), f"a number in {ends}"
    )


def _number(owner: Any, name: str, allowed: Any, expected: str) -> None:
    value = getattr(owner, name)
    if callable(value):
        expected += f", or a schedule: xpmlp.schedules.Custom({name}, function)"
    if not isinstance(value, Real) or not allowed(float(value)):
        raise InvalidValueError(f"{type(owner).__name__}: {name} is {value!r}; expected {expected}")
