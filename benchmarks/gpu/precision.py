"""One precision for everyone: what the factors of float32 matrix products may be rounded to."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from benchmarks.contestants import Contestant

JAX = {"float32": "highest", "tf32": "tensorfloat32", "bf16": "BF16_BF16_F32"}
"""JAX's names; its own default is TF32 where the GPU has it."""


@contextmanager
def torch_products(precision: str) -> Iterator[None]:
    """Let PyTorch round to TF32, or not at all; autocast to bfloat16 is the model's affair.

    PyTorch 2.9 has new flags beside the old ones, and raises where they contradict each other,
    as inside of ``torch.compile``. This function of its own sets both.
    """
    import torch

    before = _rounds_to_tf32(torch)
    _round_to_tf32(torch, precision == "tf32")
    try:
        yield
    finally:
        _round_to_tf32(torch, before)


def _rounds_to_tf32(torch: Any) -> bool:
    flags = torch.backends.cuda.matmul
    if hasattr(flags, "fp32_precision"):  # the old flag must not be read where only it was set
        return bool(flags.fp32_precision == "tf32")
    return bool(flags.allow_tf32)


def _round_to_tf32(torch: Any, yes: bool) -> None:
    torch.set_float32_matmul_precision("high" if yes else "highest")


def jax_products(precision: str) -> AbstractContextManager[None]:
    """Let JAX round as said; what it compiles belongs to the precision."""
    import jax

    context: AbstractContextManager[None] = jax.default_matmul_precision(JAX[precision])
    return context


class Within:
    """A contestant whose every call runs in a context, and so does its making.

    Parameters
    ----------
    context : callable
        Makes the context for a call.
    make : callable
        Makes the contestant.
    """

    def __init__(
        self,
        context: Callable[[], AbstractContextManager[None]],
        make: Callable[[], Contestant],
    ) -> None:
        self.context = context
        with context():
            self.contestant = make()

    def start(self) -> None:
        """See ``Contestant``."""
        with self.context():
            self.contestant.start()

    def train(self, steps: int, epochs: int = 1, shuffle: bool = True) -> list[float]:
        """See ``Contestant``."""
        with self.context():
            return self.contestant.train(steps, epochs, shuffle)

    def predict(self, X: np.ndarray) -> Callable[[], Any]:
        """See ``Contestant``; what is returned runs outside of the context."""
        with self.context():
            return self.contestant.predict(X)
