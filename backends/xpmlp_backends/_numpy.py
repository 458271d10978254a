"""NumPy on the CPU: the backend that is always there."""

from dataclasses import replace
from typing import Any

import array_api_compat.numpy as xp
import numpy as np

from xpmlp.contract import Array, Data, Plan, Run, State, Step
from xpmlp_backends._base import EagerBackend, only_cpu


class NumpyBackend(EagerBackend):
    """The reference operations, with gradients written straight into the flat buffer."""

    def __init__(self) -> None:
        super().__init__("numpy", xp, "cpu")
        self.ops = replace(self.ops, dense_grad=dense_grad, pack=pack)

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
        """Return a plain loop. NumPy's own warnings are silenced: a diverging loss is reported."""
        loop = super().compile(step)

        def run(state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
            with np.errstate(all="ignore"):
                return loop(state, data, plan, start, stop)

        return run


def dense_grad(
    x: Array, W: Array, dz: Array, need_dx: bool, out: tuple[Any, Any] = (None, None)
) -> tuple[Array | None, Array, Array]:
    """``xpmlp.layers.affine_grad`` with the products written to ``out``."""
    dx = np.matmul(dz, W.T) if need_dx else None
    return dx, np.matmul(x.T, dz, out=out[0]), np.sum(dz, axis=0, out=out[1])


def pack(layout: Any, tensors: Any, out: Array, views: Any) -> Array:
    """``Layout.pack`` in place: what already lies in ``out`` is not copied."""
    for name, view in views.items():
        if tensors[name] is not view:
            view[...] = tensors[name]
    return out


def create(device: str | None = None) -> NumpyBackend:
    """Return the NumPy backend."""
    only_cpu("numpy", device)
    return NumpyBackend()
