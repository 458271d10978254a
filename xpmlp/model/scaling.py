"""How inputs are scaled before the first layer, and real targets before the loss."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpmlp.arrays.checks import dtype_name
from xpmlp.arrays.rows import Rows
from xpmlp.errors import InvalidTypeError, unknown_name
from xpmlp.nn.contract import Array, Backend


@dataclass(frozen=True)
class Scaling:
    """The scaling of inputs, (X − shift) · scale, and of real targets.

    Attributes
    ----------
    mode : {"auto", "standard", "none"}
        ``"auto"`` divides uint8 by 255, because bytes are pixels, and changes nothing else;
        ``"standard"`` subtracts each column's mean and divides by its standard deviation,
        measured on the first training data, and does the same to real targets; ``"none"``
        changes nothing.
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
        """Return the scaling of a mode, not fitted yet."""
        mode = "none" if mode is None else mode
        if mode not in ("auto", "standard", "none"):
            raise unknown_name("scaling", mode, ("auto", "standard", "none"))
        return cls(mode)

    def fitted(self, x: Rows) -> "Scaling":
        """Return it fitted to the training inputs; itself if it is fitted already."""
        if self.pixels is not None:
            self.check(x)
            return self
        pixels = self.mode == "auto" and x.dtype == "uint8"
        if pixels:
            return Scaling(self.mode, True, None, np.array([1 / 255]))
        if self.mode == "standard":
            mean, std = x.moments()
            # A constant column becomes 0, not NaN.
            return Scaling(self.mode, False, mean, 1 / np.where(std > 0, std, 1.0))
        return Scaling(self.mode, False)

    def fitted_to_targets(self, target: np.ndarray) -> "Scaling":
        """Return it fitted to real targets, shape (n, outputs); itself if it is already."""
        if self.mode != "standard" or self.target_scale is not None:
            return self
        std = target.std(axis=0, dtype=np.float64)
        return replace(
            self,
            target_shift=target.mean(axis=0, dtype=np.float64),
            target_scale=np.where(std > 0, std, 1.0),
        )

    def of_targets(self, target: np.ndarray) -> np.ndarray:
        """Return (y − target_shift)/target_scale, which the loss compares with."""
        if self.target_scale is None:
            return target
        return ((target - self.target_shift) / self.target_scale).astype(target.dtype)

    def to_targets(self, backend: Backend, prediction: Array) -> Array:
        """Return predictions in the units of the targets."""
        if self.target_scale is None:
            return prediction
        dtype = dtype_name(prediction)
        scale = backend.asarray(self.target_scale, dtype)
        return prediction * scale + backend.asarray(self.target_shift, dtype)

    def check(self, x: Rows, name: str = "X") -> None:
        """Refuse inputs of another kind than those the model was fitted on."""
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
