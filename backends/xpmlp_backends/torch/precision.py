"""Matrix products of PyTorch on CUDA in float32, TF32 or bfloat16, whatever the process has set.

PyTorch has one TF32 switch for the whole process. It is set for the time of a call and restored
after it: the user's setting changes no model, and no model changes the user's setting.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import RLock
from typing import Any

from xpmlp.nn.contract import Array
from xpmlp.nn.ops import Ops

_TURN = RLock()
"""One thread at a time sets the switch: of two, each would restore what the other has set."""


def can_round(torch: Any, device: Any) -> bool:
    """Whether products can be rounded here: on NVIDIA GPUs from compute capability 8.0."""
    if device.type != "cuda" or torch.version.cuda is None:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


@contextmanager
def products(torch: Any, precision: str) -> Iterator[None]:
    """Compute float32 products in a precision: only "float32" forbids TF32."""
    with _TURN:
        restore = _set(torch.backends.cuda.matmul, precision != "float32")
        try:
            yield
        finally:
            restore()


def _set(matmul: Any, tf32: bool) -> Callable[[], None]:
    """Set the switch, and return a function that restores it."""
    if not hasattr(matmul, "fp32_precision"):  # PyTorch before 2.9; later ones refuse to mix both
        old = matmul.allow_tf32
        matmul.allow_tf32 = tf32
        return lambda: setattr(matmul, "allow_tf32", old)
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32" if tf32 else "ieee"

    def restore() -> None:
        # The value read may be inherited from torch.backends.fp32_precision; "none" inherits again.
        matmul.fp32_precision = "none"
        if matmul.fp32_precision != before:
            matmul.fp32_precision = before

    return restore


def in_bfloat16(torch: Any, device: Any, ops: Ops) -> Ops:
    """Return the operations with products of factors rounded to bfloat16, summed in float32."""
    multiply = _multiply(torch, device)

    def product(a: Array, b: Array) -> Array:
        if a.dtype != torch.float32:
            return a @ b
        return multiply(a.bfloat16(), b.bfloat16())

    def dense(x: Array, W: Array, b: Array | None) -> Array:
        z = product(x, W)
        return z if b is None else z.add_(b)

    def dense_grad(
        x: Array, W: Array, dz: Array, need_dx: bool, out: Any = (None, None)
    ) -> tuple[Array | None, Array, Array]:
        db = torch.sum(dz, 0, out=out[1])
        return product(dz, W.T) if need_dx else None, product(x.T, dz), db

    return replace(ops, dense=dense, dense_grad=dense_grad)


def _multiply(torch: Any, device: Any) -> Callable[[Array, Array], Array]:
    """Return the fastest product of bfloat16 matrices with a float32 result that PyTorch has."""
    probe = torch.zeros((8, 8), dtype=torch.bfloat16, device=device)
    try:
        torch.mm(probe, probe, out_dtype=torch.float32)
    except (RuntimeError, TypeError):  # PyTorch before 2.8, or another device
        # A bfloat16 product would round its result too. TF32 holds a bfloat16 exactly.
        return lambda a, b: a.float() @ b.float()
    return lambda a, b: torch.mm(a, b, out_dtype=torch.float32)
