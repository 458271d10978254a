"""How inputs are scaled before the first layer, and real targets before the loss."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpmlp.arrays.checks import KEPT, dtype_name, narrowed, refuse
from xpmlp.arrays.dlpack import is_numpy_array
from xpmlp.arrays.robust import ROUNDING
from xpmlp.arrays.rows import HostRows, Rows, SparseRows
from xpmlp.errors import InvalidTypeError, unknown_name
from xpmlp.model.task import Task
from xpmlp.nn.contract import Array, Backend
from xpmlp.nn.tabular import BOUND

MODES = ("auto", "standard", "robust", "none")
EXACT = {"float32": set(KEPT) - {"int32", "float64"}, "float64": set(KEPT)}
"""Dtypes of which each model's dtype holds every number."""


@dataclass(frozen=True)
class Scaling:
    """The scaling of inputs, (X − shift) · scale, and of real targets.

    Attributes
    ----------
    mode : {"auto", "standard", "robust", "none"}
        ``"auto"`` divides uint8 by 255, because bytes are pixels, and changes nothing else;
        ``"standard"`` subtracts each column's mean and divides by its standard deviation,
        measured on the first training data, and does the same to real targets; ``"robust"``
        subtracts each input's median, divides by its interquartile range and clips smoothly, and
        standardizes real targets; ``"none"`` changes nothing.
    pixels : bool or None
        Whether the model was fitted on uint8 under ``"auto"``; None before the first fit.
    shift, scale : ndarray of float64, shape (columns,) or (1,), or None
    codes : tuple of int
        The inputs that are codes of categories, which stay as they are.
    target_shift, target_scale : ndarray of float64, shape (columns of y,), or None
        Mean and standard deviation of real targets. The network learns
        (y − target_shift)/target_scale, and losses are in those units; predictions are not.
    target_low, target_high : ndarray of float64, shape (outputs,), or None
        Where predictions of real values end, whatever the network says; a recipe sets them.
    """

    mode: str = "auto"
    pixels: bool | None = None
    shift: Any = None
    scale: Any = None
    target_shift: Any = None
    target_scale: Any = None
    codes: tuple[int, ...] = ()
    target_low: Any = None
    target_high: Any = None

    @classmethod
    def make(cls, mode: str | None, codes: tuple[int, ...] = ()) -> "Scaling":
        """Return the scaling of a mode, not fitted yet."""
        mode = "none" if mode is None else mode
        if mode not in MODES:
            raise unknown_name("scaling", mode, MODES)
        return cls(mode, codes=codes)

    @property
    def measures(self) -> bool:
        """Whether its numbers are measured on the first training data, in all their digits."""
        return self.mode in ("standard", "robust")

    def fitted(self, x: Rows, ready: bool = False) -> "Scaling":
        """Return it fitted to the training inputs; itself if it is fitted already.

        Inputs that are ``ready`` stay as they are: a table has standardized them.
        """
        if self.pixels is not None:
            self.check(x)
            return self
        pixels = self.mode == "auto" and x.dtype == "uint8" and not self.codes
        if pixels:
            return replace(self, pixels=True, scale=np.array([1 / 255]))
        if not self.measures or ready:
            return replace(self, pixels=False)
        if self.mode == "standard":
            mean, deviation = standard(x)
            shift, scale = mean, 1 / deviation
        else:
            _refuse_sparse(x)
            shift, scale = x.quartiles()
        coded = np.isin(np.arange(len(shift)), self.codes)
        shift, scale = np.where(coded, 0.0, shift), np.where(coded, 1.0, scale)
        return replace(self, pixels=False, shift=shift, scale=scale)

    def applied(self, x: Rows, dtype: str, name: str = "X") -> Rows:
        """Return inputs that a step can scale in ``dtype`` without losing digits.

        Numbers that ``dtype`` would round are standardized here, in float64: a step would round
        before it subtracts. Others stay as they are, and steps scale them.

        Raises
        ------
        InvalidTypeError
            For inputs of another kind than those the model was fitted on.
        InvalidValueError
            For a number that is out of the range of ``dtype`` once it is standardized.
        """
        self.check(x, name)
        if self.mode == "robust" and self.shift is not None:
            _refuse_sparse(x, name)
            return x.standardized(self.shift, self.scale, dtype, self._clip())
        if not self.measures or (x.dtype in EXACT[dtype] and self._fits(dtype)):
            return x
        shift = np.zeros(1) if self.shift is None else self.shift
        made = x.standardized(shift, np.ones(1) if self.scale is None else self.scale, dtype)
        made.refuse_nonfinite(f"{name}, standardized", dtype)
        return made

    def _fits(self, dtype: str) -> bool:
        """Whether shift and scale are normal numbers of this dtype."""
        if self.shift is None:
            return True
        low, high = np.finfo(dtype).tiny, np.finfo(dtype).max
        return bool(np.all((low <= self.scale) & (self.scale <= high) & (abs(self.shift) <= high)))

    def scales_targets(self, task: Task) -> bool:
        """Whether it standardizes the targets of this task."""
        if task.opaque:  # the outputs could not be brought back to their units
            return False
        return self.measures and task.kind == task.loss.targets == "values"

    def encode(
        self, task: Task, y: np.ndarray, outputs: int, dtype: str, name: str = "y"
    ) -> np.ndarray:
        """Check targets; those that are standardized stay in float64 until then."""
        return task.encode(y, outputs, "float64" if self.scales_targets(task) else dtype, name)

    def fitted_to_targets(self, backend: Backend, task: Task, target: np.ndarray) -> "Scaling":
        """Return it fitted to encoded targets; itself if it is already, or scales none."""
        if not self.scales_targets(task) or self.target_scale is not None:
            return self
        mean, deviation = standard(HostRows(backend, target))
        return replace(self, target_shift=mean, target_scale=deviation)

    def of_targets(self, task: Task, target: np.ndarray, dtype: str, name: str = "y") -> np.ndarray:
        """Return encoded targets as the loss takes them: standardized, in ``dtype``."""
        if not self.scales_targets(task):
            return target
        if self.target_scale is None:
            return narrowed(target, dtype)
        made = narrowed((target - self.target_shift) / self.target_scale, dtype)
        expected = f"a number within the range of {dtype} once it is standardized"
        refuse(target, ~np.isfinite(made), expected, name)
        return made

    def to_targets(self, backend: Backend, prediction: Array, shifted: bool = True) -> Array:
        """Return predictions in the units of the targets, in float64.

        A device without float64 returns its own dtype. What is not ``shifted`` is a difference:
        a standard deviation.

        Parameters
        ----------
        prediction : Array, shape (..., columns of y)
        """
        if self.target_scale is None:
            return prediction
        if is_numpy_array(prediction):
            made = prediction * self.target_scale
            if not shifted:
                return made
            made = made + self.target_shift
            return made if self.target_low is None else made.clip(self.target_low, self.target_high)
        xp, dtype = backend.xp, dtype_name(prediction)
        if "float64" in backend.capabilities:
            prediction, dtype = xp.astype(prediction, xp.float64), "float64"
        made = prediction * backend.asarray(self.target_scale, dtype)
        if not shifted:
            return made
        made = made + backend.asarray(self.target_shift, dtype)
        if self.target_low is None:
            return made
        low, high = (backend.asarray(a, dtype) for a in (self.target_low, self.target_high))
        return xp.minimum(xp.maximum(made, low), high)

    def gradient(self, backend: Backend, x: Array, dx: Array) -> Array:
        """Return a gradient by the inputs before scaling, from that by the scaled ones.

        What ``smooth_clip`` makes of u is x = u/√(1 + s u²), with the slope (1 − s x²)^{3/2}.

        Parameters
        ----------
        x, dx : Array, shape (n, columns)
            Scaled inputs, and the gradient by them.
        """
        if self.scale is None:
            return dx
        dtype = dtype_name(dx)
        if self.mode == "robust":
            room = 1.0 - backend.asarray(self._clip(), dtype) * x * x
            dx = dx * room * backend.xp.sqrt(backend.xp.maximum(room, backend.xp.zeros_like(room)))
        return dx * backend.asarray(np.asarray(self.scale), dtype)

    def _clip(self) -> np.ndarray:
        """Return 1/bound² of each column, for ``smooth_clip``: 0 for codes."""
        coded = np.isin(np.arange(len(self.shift)), self.codes)
        return np.where(coded, 0.0, 1 / BOUND**2)

    def check(self, x: Rows, name: str = "X") -> None:
        """Refuse inputs of another kind than those the model was fitted on."""
        if self.mode != "auto" or self.pixels is None or self.codes:
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
                f"{name}: found uint8; this model was fitted on other numbers, which it does not "
                "scale. Convert with the scale the training data had"
            )

    def arrays(self, x: Rows, dtype: str) -> tuple[Array | None, Array | None]:
        """Return shift and scale on the device, as steps on these inputs need them."""
        shift, scale = (
            None if a is None or x.scaled else x.backend.asarray(a, dtype)
            for a in (self.shift, self.scale)
        )
        return shift, scale


def _refuse_sparse(x: Rows, name: str = "X") -> None:
    if isinstance(x, SparseRows):
        raise InvalidTypeError(
            f"{name}: found a sparse matrix for scaling='robust', whose medians and quartiles are "
            "0 where most numbers are; expected a dense one. Pass X.toarray(), or make the model "
            "with scaling='standard'"
        )


def standard(x: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return each column's mean and standard deviation; 1 for a column that is constant."""
    mean, deviation = x.moments()
    least = np.maximum(ROUNDING * np.abs(mean), np.finfo(np.float64).tiny)
    return mean, np.where(deviation > least, deviation, 1.0)
