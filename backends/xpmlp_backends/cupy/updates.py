"""The optimizers' updates of CuPy arrays, in place: one kernel each, for all parameters at once.

Each computes what ``xpmlp.nn.optimizers`` has under its name.
"""

from functools import partial
from math import ceil
from typing import Any

import numpy as np

from xpmlp.nn.contract import Array
from xpmlp_backends.cupy.kernels import THREADS, Kernels, scalar


class Updates:
    """The updates, on kernels."""

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels

    def table(self) -> dict[str, Any]:
        """Return them by their names in ``Ops``."""
        return {
            "momentum": partial(self.momentum, nesterov=0),
            "nesterov": partial(self.momentum, nesterov=1),
            **{f.__name__: f for f in (self.sgd, self.adagrad, self.rmsprop, self.adam)},
        }

    def sgd(self, p: Array, g: Array, rate: Array) -> Array:
        """θ ← θ − η g."""
        self.kernels.over(p.size, "sgd", p.dtype, p, g, rate)
        return p

    def momentum(
        self, p: Array, g: Array, v: Array, rate: Array, mu: float, *, nesterov: int
    ) -> Any:
        """v ← μ v + g, θ ← θ − η v, or Nesterov's θ ← θ − η (g + μ v)."""
        T = scalar(p.dtype)
        self.kernels.over(p.size, "momentum", p.dtype, p, g, v, rate, T(mu), np.int32(nesterov))
        return p, (v,)

    def adagrad(self, p: Array, g: Array, s: Array, rate: Array, epsilon: float) -> Any:
        """s ← s + g², θ ← θ − η g/(√s + ε)."""
        self.kernels.over(p.size, "adagrad", p.dtype, p, g, s, rate, scalar(p.dtype)(epsilon))
        return p, (s,)

    def rmsprop(self, p: Array, g: Array, s: Array, rate: Array, rho: float, epsilon: float) -> Any:
        """s ← ρ s + (1 − ρ) g², θ ← θ − η g/(√s + ε)."""
        settings = map(scalar(p.dtype), (rho, 1.0 - rho, epsilon))
        self.kernels.over(p.size, "rmsprop", p.dtype, p, g, s, rate, *settings)
        return p, (s,)

    def adam(
        self,
        p: Array,
        g: Array,
        m: Array,
        v: Array,
        c: Array,
        beta1: float,
        beta2: float,
        epsilon: float,
    ) -> Any:
        """Adam and AdamW."""
        settings = map(scalar(p.dtype), (beta1, 1.0 - beta1, beta2, 1.0 - beta2, epsilon))
        # A thread takes four elements.
        blocks = min(ceil(p.size / (4 * THREADS)), 4096)
        self.kernels(
            "adam", p.dtype, (blocks,), (THREADS,), p, g, m, v, c, *settings, np.int64(p.size)
        )
        return p, (m, v)
