"""NumPy on the CPU: the backend that is always there."""

import logging
import os
from importlib import import_module
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from xpmlp.errors import BackendError
from xpmlp.nn.contract import Array, Forward, Run, Step
from xpmlp_backends.base import EagerBackend, one_line, only_cpu
from xpmlp_backends.numpy.inplace import in_place
from xpmlp_backends.numpy.replay import RecordedForward, RecordedRun

logger = logging.getLogger("xpmlp")


class NumpyBackend(EagerBackend):
    """Recorded steps, and operations that write where their result is wanted.

    Parameters
    ----------
    fused : bool, optional
        Whether to compute with loops compiled by numba. By default where it works, unless the
        environment has ``XPMLP_FUSED=0``.

    Raises
    ------
    BackendError
        If they are asked for and numba does not work here.
    """

    def __init__(self, fused: bool | None = None) -> None:
        super().__init__("numpy", xp, "cpu")
        self.ops = in_place(self.ops)
        self.fused = os.environ.get("XPMLP_FUSED", "1") != "0" if fused is None else fused
        if self.fused:
            try:
                self.ops = import_module("xpmlp_backends.numpy.fused").fused(self.ops)
            except Exception as error:  # whatever a broken installation raises
                self._do_without(error, asked=fused is True)

    def _do_without(self, error: Exception, asked: bool) -> None:
        self.fused = False
        there = not isinstance(error, ModuleNotFoundError)
        if asked:
            fix = "" if there else "; install it with: pip install 'xpmlp[fast]'"
            raise BackendError(
                f"backend 'numpy': numba cannot be used: {one_line(error)}{fix}"
            ) from error
        if there:
            logger.warning("backend numpy: computing without numba, because %s", one_line(error))

    def owns(self, x: object) -> bool:
        """Whether x is a NumPy array."""
        return isinstance(x, np.ndarray)

    def to_numpy(self, x: Array) -> np.ndarray:
        """Return a copy."""
        return np.array(x)

    def asarray(self, host: Any, dtype: str | None = None) -> Array:
        """Return the array itself where its dtype fits: nothing here writes to data."""
        return np.asarray(host, dtype=dtype)

    def compile(self, step: Step) -> Run:
        """Return a loop that plays the recorded step."""
        return RecordedRun(step)

    def compile_forward(self, forward: Forward) -> Forward:
        """Return a function that plays the recorded pass where a few rows come."""
        return RecordedForward(forward)


def device_of(x: Array) -> str:
    """Name the device of an array, as ``create`` takes it."""
    return "cpu"


def create(device: str | None = None, fused: bool | None = None) -> NumpyBackend:
    """Return the NumPy backend."""
    only_cpu("numpy", device)
    return NumpyBackend(fused)
