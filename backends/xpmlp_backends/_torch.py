"""PyTorch arrays, on the CPU or a GPU; its autograd is not used."""

from dataclasses import replace
from typing import Any

from xpmlp.contract import Array, Data, Plan, Run, State, Step
from xpmlp.errors import BackendError
from xpmlp_backends._base import EagerBackend, require

INSTALL = "pip install 'xpmlp[torch]'"


class TorchBackend(EagerBackend):
    """The reference operations on tensors, with PyTorch's own erf and fused affine map."""

    def __init__(self, torch: Any, xp: Any, device: Any) -> None:
        super().__init__("torch", xp, device)
        self.torch = torch
        if device.type != "cpu":
            self.capabilities = self.capabilities | {"gpu"}
        self.ops = replace(self.ops, erf=torch.special.erf, dense=self._dense)

    def _dense(self, x: Array, W: Array, b: Array | None) -> Array:
        return x @ W if b is None else self.torch.addmm(b, x, W)

    def asarray(self, host: Any, dtype: str | None = None) -> Array:
        """Copy to the device; NumPy converts the dtype, which PyTorch cannot for 0-d arrays."""
        import numpy as np

        return super().asarray(np.asarray(host, dtype=dtype))

    def owns(self, x: object) -> bool:
        """Whether x is a tensor on this device."""
        return isinstance(x, self.torch.Tensor) and x.device == self.device

    def to_numpy(self, x: Array) -> Any:
        """Return a copy on the host."""
        return x.detach().to("cpu", copy=True).numpy()

    def synchronize(self) -> None:
        """Wait for the GPU, if there is one."""
        if self.device.type == "cuda":
            self.torch.cuda.synchronize(self.device)

    def compile(self, step: Step) -> Run:
        """Return a plain loop without autograd's bookkeeping."""
        loop = super().compile(step)

        def run(state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
            with self.torch.no_grad():
                return loop(state, data, plan, start, stop)

        return run


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
