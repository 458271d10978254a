"""NumPy on the CPU: the backend that is always there."""

import os
from importlib.util import find_spec
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from xpmlp.contract import Array, Forward, Run, Step
from xpmlp_backends._base import EagerBackend, only_cpu
from xpmlp_backends._inplace import in_place
from xpmlp_backends._replay import RecordedForward, RecordedRun


class NumpyBackend(EagerBackend):
    """Recorded steps, and operations that write where their result is wanted.

    Parameters
    ----------
    fused : bool, optional
        Whether to compute with kernels compiled by numba. By default if it is installed, unless
        the environment has ``XPMLP_FUSED=0``.
    """

    def __init__(self, fused: bool | None = None) -> None:
        super().__init__("numpy", xp, "cpu")
        self.ops = in_place(self.ops)
        self.fused = _want_fused() if fused is None else fused
        if self.fused:
            from xpmlp_backends import _numba

            self.ops = _numba.fused(self.ops)

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


def _want_fused() -> bool:
    return os.environ.get("XPMLP_FUSED", "1") != "0" and find_spec("numba") is not None


def create(device: str | None = None, fused: bool | None = None) -> NumpyBackend:
    """Return the NumPy backend."""
    only_cpu("numpy", device)
    return NumpyBackend(fused)
