"""Columns as a data frame of the library that is there: pandas, or else polars."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from xpmlp.errors import require, unknown_name

LIBRARIES = ("pandas", "polars")


def data_frame(columns: Mapping[str, Sequence[Any]], library: str | None, purpose: str) -> Any:
    """Return columns as a data frame.

    Parameters
    ----------
    columns : mapping of str to sequence
    library : {"pandas", "polars"} or None
        None takes the first of them that is installed.
    purpose : str
        The call, for messages.

    Raises
    ------
    InvalidValueError
        For another library.
    MissingExtraError
        If it is not installed.
    """
    if library is None:
        library = next(filter(_is_installed, LIBRARIES), LIBRARIES[0])
    if library not in LIBRARIES:
        raise unknown_name("library of data frames", library, LIBRARIES)
    return require(library, extra="", purpose=purpose).DataFrame(dict(columns))


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:
        return False
