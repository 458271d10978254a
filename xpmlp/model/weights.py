"""A network's parameters and running statistics, on a device."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from xpmlp.arrays.checks import narrowed, refuse, to_host
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.nn.contract import Array, Backend
from xpmlp.nn.network import Network


class Weights:
    """Two flat buffers on a device; on the host they are arrays by name.

    Parameters
    ----------
    network : Network
        Its layouts say where each array is in the buffers.
    backend : Backend
    dtype : str
    values : dict of str to ndarray
        First parameters and running statistics.

    Attributes
    ----------
    flat : Array, shape (network.layout.size,)
        Trainable parameters.
    statistics : Array, shape (network.statistics.size,)
        Running statistics.
    """

    def __init__(
        self, network: Network, backend: Backend, dtype: str, values: dict[str, Any]
    ) -> None:
        self.network, self.backend, self.dtype = network, backend, dtype
        self.load(values)

    def to_host(
        self, flat: Array | None = None, statistics: Array | None = None
    ) -> dict[str, np.ndarray]:
        """Return copies on the host, by name; of the buffers given, or else of these."""
        values: dict[str, np.ndarray] = {}
        for layout, buffer in (
            (self.network.layout, self.flat if flat is None else flat),
            (self.network.statistics, self.statistics if statistics is None else statistics),
        ):
            host = self.backend.to_numpy(buffer)
            for name, (shape, start, stop) in layout.slots.items():
                values[name] = host[start:stop].reshape(shape).copy()
        return values

    def load(self, values: dict[str, Any]) -> None:
        """Set all parameters and statistics from arrays by name.

        Raises
        ------
        InvalidValueError
            For missing, unknown, wrongly shaped or non-finite arrays; nothing is changed then.
        InvalidTypeError
            For anything but a mapping to arrays of numbers; nothing is changed then.
        """
        if not isinstance(values, Mapping):
            raise InvalidTypeError(
                f"parameters: found a {type(values).__name__}; expected a dict of arrays by name, "
                "as state_dict() returns"
            )
        slots = self.network.layout.slots | self.network.statistics.slots
        if wrong := set(values) ^ set(slots):
            raise InvalidValueError(
                f"parameters: missing or unknown: {', '.join(sorted(map(str, wrong)))}; expected "
                f"exactly {', '.join(slots)}"
            )
        checked = {name: to_host(self.backend, value, name) for name, value in values.items()}
        for name, value in checked.items():
            if value.shape != slots[name].shape:
                raise InvalidValueError(
                    f"{name}: found shape {value.shape}; expected {slots[name].shape}"
                )
            bad = ~np.isfinite(narrowed(value, self.dtype))
            refuse(value, bad, f"finite numbers within the range of {self.dtype}", name)
        self._place(checked)

    def move(self, backend: Backend) -> None:
        """Move to another backend."""
        values = self.to_host()
        self.backend = backend
        self._place(values)

    def _place(self, values: dict[str, Any]) -> None:
        asarray = self.backend.asarray
        layouts = (self.network.layout, self.network.statistics)
        self.flat, self.statistics = (
            asarray(layout.flatten(values), self.dtype) for layout in layouts
        )
