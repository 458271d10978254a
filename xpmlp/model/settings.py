"""What custom functions depend on: a step that was compiled before it changed is compiled anew.

A recorded or compiled step keeps the numbers that it saw: an attribute of a loss, a variable of the
function around it. A step that runs eagerly reads them each time. Steps are therefore kept by the
values of these numbers, so that every backend trains with the same ones.
"""

from collections.abc import Mapping
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_VALUES = (*_PLAIN, np.ndarray, np.generic)


class _Same:
    """An object that is compared by identity, and kept, so that no other gets its place."""

    def __init__(self, x: object) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.x is other.x

    def __hash__(self) -> int:
        return id(self.x)


def settings_of(x: Any, seen: tuple[Any, ...] = ()) -> Any:
    """Return what a function or an object depends on, as a value to compare and to hash.

    Numbers, text and NumPy arrays count by their values: those in attributes, in variables of
    functions around it, in defaults, and global ones that a function's code names. Arrays of other
    libraries and modules count by identity.
    """
    if isinstance(x, _PLAIN):
        return type(x), repr(x)  # repr: NaN is not equal to itself
    if isinstance(x, np.ndarray | np.generic):
        return str(x.dtype), np.shape(x), x.tobytes()
    if isinstance(x, _Same):
        return x
    if any(x is one for one in seen):
        return None
    seen = (*seen, x)
    if isinstance(x, Mapping):
        return tuple((str(key), settings_of(value, seen)) for key, value in x.items())
    if isinstance(x, list | tuple | set | frozenset):
        return type(x), tuple(settings_of(one, seen) for one in x)
    return settings_of(_parts(x), seen)


def _parts(x: Any) -> tuple[Any, ...]:
    """Return what an object consists of; the object itself if that cannot be seen."""
    if isinstance(x, FunctionType):
        numbers = {n: v for n, v in _globals(x.__code__, x).items() if isinstance(v, _VALUES)}
        around = [cell.cell_contents for cell in x.__closure__ or () if cell != CellType()]
        return (_Same(x.__code__), around, x.__defaults__, x.__kwdefaults__, vars(x), numbers)
    if isinstance(x, MethodType):
        return (x.__func__, x.__self__)
    if isinstance(x, partial):
        return (x.func, x.args, x.keywords)
    slots = {n: getattr(x, n) for n in getattr(type(x), "__slots__", ()) if hasattr(x, n)}
    attributes = slots | getattr(x, "__dict__", {})
    if isinstance(x, type | ModuleType) or hasattr(x, "__dlpack__") or not attributes:
        return (_Same(x),)
    return (_Same(type(x)), attributes)


def _globals(code: CodeType, x: FunctionType) -> dict[str, Any]:
    """Return the global variables that a function's code names, with the functions in it."""
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    found = {n: x.__globals__[n] for n in code.co_names if n in x.__globals__}
    for one in inner:
        found |= _globals(one, x)
    return found
