"""What is done to inputs before the first layer, and to real targets before the loss."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpmlp.arrays.checks import dtype_name
from xpmlp.arrays.rows import Rows
from xpmlp.errors import InvalidTypeError, unknown_name
from xpmlp.nn.contract import Backend

Array = Any


@dataclass(frozen=True)
class Scaling:
    """What is done to the inputs before the first layer: (X − shift) · scale.

    Attributes
    ----------
    mode : {"auto", "standard", "none"}
        ``"auto"`` divides uint8 by 255, because bytes are pixels, and leaves the rest alone;
        ``"standard"`` subtracts each column's mean and divides by its standard deviation, as
        measured on the first training data, and does the same to real targets; ``"none"``
        leaves all alone.
    pixels : bool or None
        Whether the model was fitted on uint8 under ``"auto"``; None before the first fit.
    shift, scale : ndarray of float64, shape (columns,) or (1,), or None
    target_shift, target_scale : ndarray of float64, shape (outputs,), or None
        Mean and standard deviation of real targets. The network learns
        (y − target_shift)/target_scale, and losses are in those units; predictions are not.
    """

    mode: str = "auto"
    pixels: bool | None = None
    shift: Any = None
    scale: Any = None
    target_shift: Any = None
    target_scale: Any = None

    @classmethod
    def make(cls, mode: str | None) -> "Scaling":
        """Check the name of a mode."""
        mode = "none" if mode is None else mode
        if mode not in ("auto", "standard", "none"):
            raise unknown_name("scaling", mode, ("auto", "standard", "none"))
        return cls(mode)

    def fitted(self, x: Rows) -> "Scaling":
        """Learn from the training inputs, unless that has happened."""
        if self.pixels is not None:
            self.check(x)
            return self
        pixels = self.mode == "auto" and x.dtype == "uint8"
        if pixels:
            return Scaling(self.mode, True, None, np.array([1 / 255]))
        if self.mode == "standard":
            mean, std = x.moments()
            # A constant column has nothing to say: it becomes 0, not NaN.
            return Scaling(self.mode, False, mean, 1 / np.where(std > 0, std, 1.0))
        return Scaling(self.mode, False)

    def fitted_to_targets(self, target: np.ndarray) -> "Scaling":
        """Learn from real targets, shape (n, outputs), unless that has happened."""
        if self.mode != "standard" or self.target_scale is not None:
            return self
        std = target.std(axis=0, dtype=np.float64)
        return replace(
            self,
            target_shift=target.mean(axis=0, dtype=np.float64),
            target_scale=np.where(std > 0, std, 1.0),
        )

    def of_targets(self, target: np.ndarray) -> np.ndarray:
        """(y − target_shift)/target_scale, for what the loss compares with."""
        if self.target_scale is None:
            return target
        scaled: np.ndarray = ((target - self.target_shift) / self.target_scale).astype(target.dtype)
        return scaled

    def to_targets(self, backend: Backend, prediction: Array) -> Array:
        """The way back, for what a person sees."""
        if self.target_scale is None:
            return prediction
        dtype = dtype_name(prediction)
        scale = backend.asarray(self.target_scale, dtype)
        return prediction * scale + backend.asarray(self.target_shift, dtype)

    def check(self, x: Rows, name: str = "X") -> None:
        """Refuse inputs of another kind than the model was fitted on."""
        if self.mode != "auto" or self.pixels is None:
            return
        found = x.dtype
        if self.pixels and found != "uint8":
            raise InvalidTypeError(
                f"{name}: found {found}; this model was fitted on uint8 pixels (0 to 255), which "
                "it divides by 255. Pass uint8, or make the model with scaling=None and scale "
                "the inputs yourself"
            )
        if not self.pixels and found == "uint8":
            raise InvalidTypeError(
                f"{name}: found uint8; this model was fitted on {'other numbers'}, which it does "
                "not scale. Convert with the scale the training data had"
            )

    def arrays(self, backend: Backend, dtype: str) -> tuple[Array | None, Array | None]:
        """Return shift and scale on the device."""
        shift, scale = (
            None if a is None else backend.asarray(a, dtype) for a in (self.shift, self.scale)
        )
        return shift, scale
