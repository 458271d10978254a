"""array-api-strict, for tests: only what the standard promises, on a device that is not the host.

Its second device refuses implicit conversion to NumPy, as a GPU's arrays do. So code that runs
here depends neither on one library nor on sharing memory with the host.
"""

from typing import Any

from xpmlp.errors import BackendError
from xpmlp.nn.contract import Array
from xpmlp_backends.base import EagerBackend, require


class StrictBackend(EagerBackend):
    """The reference operations, on any device that array-api-strict has."""

    capabilities = frozenset({"float64"})

    @property
    def place(self) -> str:
        """The name of the device in array-api-strict."""
        return str(self.device._device)

    def owns(self, x: object) -> bool:
        """Whether x is a strict array on this device."""
        return type(x).__module__.startswith("array_api_strict") and (
            getattr(x, "device", None) == self.device
        )

    def from_dlpack(self, x: Any) -> Array:
        """Import an array on this device, whose memory is really the host's."""
        return self.xp.from_dlpack(x, device=self.device)

    def to_numpy(self, x: Array) -> Any:
        """Return a copy, by way of the strict CPU device."""
        import numpy as np

        return np.array(x.to_device(self.xp.Device("CPU_DEVICE")))


DEVICE = "device1"
"""The device that refuses implicit conversion."""


def device_of(x: Array) -> str:
    """Name the device of an array, as ``create`` takes it."""
    return str(x.device._device)


def create(device: str | None = None) -> StrictBackend:
    """Return the backend on a device of array-api-strict, by default ``device1``."""
    xp = require("array_api_strict", "strict", "pip install array-api-strict")
    try:
        return StrictBackend("strict", xp, xp.Device(device or DEVICE))
    except ValueError as error:
        raise BackendError(f"backend 'strict': {error}") from error
