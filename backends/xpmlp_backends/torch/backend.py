"""PyTorch arrays, on the CPU or a GPU; its autograd is not used."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Self

from xpmlp.errors import BackendError
from xpmlp.nn.contract import Array, Forward, Memory, Run, Step, Uploader
from xpmlp.nn.ops import Ops
from xpmlp_backends.base import EagerBackend, Loop, StepNamespace, pack_with, require, within
from xpmlp_backends.cuda.capture import CapturedRun
from xpmlp_backends.cuda.upload import PinnedUploader, of_torch
from xpmlp_backends.networks import DENSE, for_networks
from xpmlp_backends.torch.graphs import TorchGraphs
from xpmlp_backends.torch.precision import can_round, in_bfloat16, products

INSTALL = "pip install 'xpmlp[torch]'"


class TorchBackend(EagerBackend):
    """Operations in as few calls of PyTorch as possible: the calls are what takes time."""

    def __init__(
        self, torch: Any, xp: Any, device: Any, precision: str = "float32", capture: bool = True
    ) -> None:
        super().__init__("torch", xp, device)
        self.torch, self.precision, self._capture = torch, precision, capture
        if device.type != "cpu":
            self.capabilities = self.capabilities | {"gpu"}
        reference = Ops.reference(_within_steps(torch, xp), device)
        self.ops = replace(
            reference,
            erf=torch.special.erf,
            dense=self._dense,
            dense_grad=self._dense_grad,
            label_cross_entropy=self._label_cross_entropy,
            pack=pack_with(torch.Tensor.copy_),
            sgd=_sgd,
            momentum=_momentum,
            nesterov=_nesterov,
            adagrad=_adagrad,
            rmsprop=_rmsprop,
            adam=_adam,
        )
        if precision == "bf16":
            self.ops = in_bfloat16(torch, device, self.ops)
        self.ops = for_networks(self.ops, reference, DENSE)

    def with_precision(self, precision: str) -> Self:
        """Return a backend whose products have this precision, if the GPU can round them."""
        if precision == self.precision or not can_round(self.torch, self.device):
            return self
        return type(self)(self.torch, self.xp, self.device, precision, self._capture)

    def _computed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a step or forward pass without autograd's bookkeeping, in this precision."""
        function = within(self.torch.no_grad, function)
        if self.device.type != "cuda":
            return function
        return within(partial(products, self.torch, self.precision), function)

    def _dense(self, x: Array, W: Array, b: Array | None) -> Array:
        return x @ W if b is None else self.torch.addmm(b, x, W)

    def _dense_grad(
        self, x: Array, W: Array, dz: Array, need_dx: bool, out: Any = (None, None)
    ) -> tuple[Array | None, Array, Array]:
        dW = self.torch.mm(x.T, dz, out=out[0])
        db = self.torch.sum(dz, 0, out=out[1])
        return dz @ W.T if need_dx else None, dW, db

    def _label_cross_entropy(
        self, z: Array, labels: Array, smoothing: float = 0.0
    ) -> tuple[Array, Array]:
        bound = 0.5 * self.torch.finfo(z.dtype).max
        log_p = self.torch.log_softmax(z.clamp(-bound, bound), 1)
        column = labels.long()[:, None]
        rows, dz = log_p.gather(1, column)[:, 0].neg_(), log_p.exp()
        dz.scatter_add_(1, column, dz.new_full((1, 1), smoothing - 1.0).expand_as(column))
        if smoothing:
            share = smoothing / z.shape[1]
            rows.mul_(1.0 - smoothing).sub_((log_p * share).sum(1))
            dz.sub_(share)
        return rows, dz

    def asarray(self, host: Any, dtype: str | None = None) -> Array:
        """Copy to the device; NumPy converts the dtype, which PyTorch cannot for 0-d arrays."""
        import numpy as np

        return super().asarray(np.asarray(host, dtype=dtype))

    def from_dlpack(self, x: Any) -> Array:
        """Import an array on this device; refuse one that would make PyTorch end the process."""
        if any(stride < 0 for stride in self._strides(x)):
            raise BufferError("PyTorch has no negative strides")
        return super().from_dlpack(x)

    def _strides(self, x: Any) -> tuple[int, ...]:
        import numpy as np

        found = getattr(x, "strides", None)
        if found is None and self.device.type == "cpu":
            found = np.from_dlpack(x).strides
        return found or ()

    def owns(self, x: object) -> bool:
        """Whether x is a tensor on this device."""
        return isinstance(x, self.torch.Tensor) and x.device == self.device

    def to_numpy(self, x: Array) -> Any:
        """Return a copy on the host."""
        return x.detach().to("cpu", copy=True).numpy()

    def synchronize(self) -> None:
        """Wait for the GPU, if there is one."""
        if self.device.type == "cuda":
            # Not the whole device: another thread's capture would not survive that.
            self.torch.cuda.current_stream(self.device).synchronize()

    def uploader(self, arrays: tuple[Any, ...], rows: int) -> Uploader:
        """Return a function that copies from pinned memory on a second stream, if on a GPU."""
        if self.device.type != "cuda":
            return super().uploader(arrays, rows)
        return PinnedUploader(of_torch(self.torch, self.device), arrays, rows)

    def memory(self) -> Memory | None:
        """Return a GPU's memory; what PyTorch has reserved but does not use counts as free."""
        if self.device.type != "cuda":
            return None
        cuda = self.torch.cuda
        free, total = cuda.mem_get_info(self.device)
        used = cuda.memory_allocated(self.device)
        return Memory(used, free + cuda.memory_reserved(self.device) - used, total)

    def ran_out(self, error: BaseException) -> bool:
        """Whether it is PyTorch's own out-of-memory error, or a MemoryError."""
        return super().ran_out(error) or isinstance(error, self.torch.cuda.OutOfMemoryError)

    def device_name(self) -> str:
        """Return a GPU's name, or ``"cpu"``."""
        if self.device.type != "cuda":
            return super().device_name()
        return str(self.torch.cuda.get_device_name(self.device))

    def compile(self, step: Step) -> Run:
        """Return a loop without autograd's bookkeeping; on a GPU, one that launches graphs."""
        if self.device.type != "cuda" or not self._capture:
            return Loop(self._computed(step))
        graphs = TorchGraphs(self.torch, self.device)
        return CapturedRun(self._computed(step), graphs, self.to_numpy, self.ran_out)

    def compile_forward(self, forward: Forward) -> Forward:
        """Return it without autograd's bookkeeping."""
        return self._computed(forward)


def _within_steps(torch: Any, xp: Any) -> StepNamespace:
    """The namespace, without functions that copy Python's numbers or count a mask."""

    def maximum(a: Array, b: Any) -> Array:
        return torch.clamp(a, min=b) if isinstance(b, int | float) else xp.maximum(a, b)

    def minimum(a: Array, b: Any) -> Array:
        return torch.clamp(a, max=b) if isinstance(b, int | float) else xp.minimum(a, b)

    def sign(x: Array) -> Array:
        return torch.where(x == x, torch.sign(x), x)

    return StepNamespace(xp, maximum=maximum, minimum=minimum, sign=sign)


# Updates in place; ``xpmlp.nn.optimizers`` has the formulas.


def _sgd(p: Array, g: Array, rate: Array) -> Array:
    return p.sub_(g * rate)


def _momentum(p: Array, g: Array, v: Array, rate: Array, mu: float) -> Any:
    v.mul_(mu).add_(g)
    return p.sub_(v * rate), (v,)


def _nesterov(p: Array, g: Array, v: Array, rate: Array, mu: float) -> Any:
    v.mul_(mu).add_(g)
    return p.sub_(g.add(v, alpha=mu).mul_(rate)), (v,)


def _adagrad(p: Array, g: Array, s: Array, rate: Array, epsilon: float) -> Any:
    s.addcmul_(g, g)
    return p.sub_((g * rate).div_(s.sqrt().add_(epsilon))), (s,)


def _rmsprop(p: Array, g: Array, s: Array, rate: Array, rho: float, epsilon: float) -> Any:
    s.mul_(rho).addcmul_(g, g, value=1.0 - rho)
    return p.sub_((g * rate).div_(s.sqrt().add_(epsilon))), (s,)


def _adam(
    p: Array, g: Array, m: Array, v: Array, c: Array, beta1: float, beta2: float, epsilon: float
) -> Any:
    m.lerp_(g, 1.0 - beta1)
    v.mul_(beta2).addcmul_(g, g, value=1.0 - beta2)
    step = (m * c[0]).div_(v.sqrt().mul_(c[1]).add_(epsilon))
    return p.mul_(c[2]).sub_(step), (m, v)


def device_of(x: Array) -> str:
    """Name the device of a tensor, as ``create`` takes it."""
    return str(x.device)


def create(device: str | None = None) -> TorchBackend:
    """Return the backend on ``device``: by default a CUDA GPU if PyTorch sees one, else the CPU."""
    torch = require("torch", "torch", INSTALL)
    xp = require("array_api_compat.torch", "torch", INSTALL)
    try:
        found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        # A tensor knows its index ("cuda:0") even where the name did not give one.
        placed = torch.empty(0, device=found).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BackendError(
            f"backend 'torch': device {device!r} cannot be used: {reason}"
        ) from error
    return TorchBackend(torch, xp, placed)
