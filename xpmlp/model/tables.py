"""Data frames as the inputs of a model that has a ``Table``."""

from copy import copy
from typing import Any

from xpmlp.errors import InvalidTypeError, InvalidValueError


def table_of(spec: Any, inputs: int) -> Any:
    """Return the ``Table`` that is meant by ``MLP(table=...)``; ``"auto"`` is one of defaults.

    Raises
    ------
    InvalidTypeError, InvalidValueError
        For anything else, and for a fitted one that makes another number of inputs.
    """
    from xpmlp.data.table import Table

    made = Table() if isinstance(spec, str) and spec == "auto" else spec
    if not isinstance(made, Table):
        raise InvalidTypeError(f"table: found {spec!r}; expected 'auto' or an xpmlp.Table")
    if made.features:
        _check_width(made, inputs)
    return made


def is_frame(X: Any) -> bool:
    """Whether X has named columns."""
    from xpmlp.data import frame

    return frame.is_frame(X)


def as_frame(X: Any) -> Any:
    """Return a data frame as a ``Frame``, whose length is that of its columns; arrays as they are.

    Raises
    ------
    InvalidTypeError
        For columns of anything but numbers, text, booleans and times.
    """
    from xpmlp.data import frame

    return frame.frame_of(X) if frame.is_frame(X) else X


def fitted(table: Any, X: Any, inputs: int, rows: Any = None) -> Any:
    """Return a table fitted to a data frame, or to some of its rows; itself if it is already.

    Raises
    ------
    InvalidTypeError
        If X is no data frame.
    InvalidValueError
        If the table makes another number of inputs than the network has.
    DataError
        If cells cannot be read.
    """
    if table.features:
        return table
    if not is_frame(X):
        raise InvalidTypeError(
            f"X: found {type(X).__name__}; the model's table has not been fitted, and learns from "
            "a data frame with named columns"
        )
    made = copy(table).fit(X if rows is None else as_frame(X)[rows])
    _check_width(made, inputs)
    return made


def transformed(table: Any, X: Any, dtype: str) -> Any:
    """Return a data frame as inputs; arrays are taken for inputs already.

    Raises
    ------
    DataError
        If a column is missing, or a cell is not what its column was in training.
    """
    return table.transform(X, dtype) if is_frame(X) else X


def _check_width(table: Any, inputs: int) -> None:
    if table.width != inputs:
        raise InvalidValueError(
            f"table: its {len(table.names)} columns become {table.width} inputs; the network has "
            f"{inputs}. Fit the table first: table = xpmlp.Table().fit(X), then "
            "MLP([table.width, ...], table=table)"
        )
