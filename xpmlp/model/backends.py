"""The backend of a model: one that has its dtype, with its precision."""

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import xpmlp_backends

from xpmlp.errors import BackendError, InvalidValueError, unknown_name
from xpmlp.nn.contract import PRECISIONS, Backend

P = ParamSpec("P")
Result = TypeVar("Result")

logger = logging.getLogger("xpmlp")


def check_precision(precision: str, dtype: str) -> None:
    """Refuse an unknown precision, or one that the dtype does not have."""
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if dtype == "float64" and precision != "float32":
        raise InvalidValueError(
            f"precision: found {precision!r} for a model in float64, in which nothing is rounded; "
            "use dtype='float32', or leave the precision out"
        )


def backend_for(spec: Any, device: str | None, dtype: str, precision: str) -> Backend:
    """Return the backend for a model of this dtype and precision.

    Raises
    ------
    InvalidValueError, BackendError
        As ``xpmlp.backend``; and if the backend does not have the dtype.
    """
    found = xpmlp_backends.backend(spec, device)
    if dtype != "float32" and dtype not in found.capabilities:
        with suppress(ValueError):
            found.asarray([0.0], dtype)  # raises with the library's own remedy, if it has one
        raise BackendError(f"backend {found.name!r} has no {dtype}; use dtype='float32'")
    found = found.with_precision(precision)
    if found.precision != precision:
        logger.info(
            "precision %s: %s on %s computes its matrix products in %s",
            *(precision, found.name, found.device, found.precision),
        )
    return found


def on_device(function: Callable[P, Result]) -> Callable[P, Result]:
    """Return a function of a model, its first argument, that runs with its device current."""

    @wraps(function)
    def run(*args: P.args, **options: P.kwargs) -> Result:
        model: Any = args[0]
        with model.backend.current():
            return function(*args, **options)

    return run
