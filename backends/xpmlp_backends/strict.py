"""array-api-strict, for tests: only what the standard promises, on a device that is not the host.

Its second device refuses implicit conversion to NumPy, as a GPU's arrays do. So code that runs
here depends neither on one library nor on sharing memory with the host.
"""

from xpmlp.nn.contract import Array
from xpmlp_backends.base import require
from xpmlp_backends.standard import StandardBackend, name_of

DEVICE = "device1"
"""The device that refuses implicit conversion."""


def device_of(x: Array) -> str:
    """Name the device of an array, as ``create`` takes it."""
    return name_of(x.device)


def create(device: str | None = None) -> StandardBackend:
    """Return the backend on a device of array-api-strict, by default ``device1``."""
    xp = require("array_api_strict", "strict", "pip install array-api-strict")
    return StandardBackend("strict", xp, device or DEVICE)
