"""array-api-strict, for tests: only what the standard promises, on a device that is not the host.

Its second device refuses implicit conversion to NumPy as a GPU's arrays do, so code that runs
here does not lean on any one library or on sharing memory with the host.
"""

from typing import Any

from xpmlp.contract import Array
from xpmlp_backends._base import EagerBackend, only_cpu, require


class StrictBackend(EagerBackend):
    """The reference operations on array-api-strict's second device."""

    capabilities = frozenset({"float64"})

    @property
    def place(self) -> None:
        """There is only one."""

    def owns(self, x: object) -> bool:
        """Whether x is a strict array on the second device."""
        return type(x).__module__.startswith("array_api_strict") and (
            getattr(x, "device", None) == self.device
        )

    def from_dlpack(self, x: Any) -> Array:
        """Take over an array on the second device, whose memory is the host's in truth."""
        return self.xp.from_dlpack(x, device=self.device)

    def to_numpy(self, x: Array) -> Any:
        """Return a copy, by way of the strict CPU device."""
        import numpy as np

        return np.array(x.to_device(self.xp.Device("CPU_DEVICE")))


def create(device: str | None = None) -> StrictBackend:
    """Return the backend on array-api-strict's ``device1``."""
    only_cpu("strict", device)
    xp = require("array_api_strict", "strict", "pip install array-api-strict")
    return StrictBackend("strict", xp, xp.Device("device1"))
