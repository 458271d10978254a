"""JAX arrays: a chunk of steps is one compiled loop whose state is donated."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any, Self

from xpmlp.errors import BackendError
from xpmlp.nn.contract import (
    Array,
    Data,
    Execution,
    Forward,
    Memory,
    Plan,
    Run,
    State,
    Step,
    Uploader,
)
from xpmlp.nn.ops import Ops
from xpmlp_backends.base import EagerBackend, require, within

INSTALL = "pip install 'xpmlp[jax]'"

NAMES = {"float32": "highest", "tf32": "tensorfloat32", "bf16": "BF16_BF16_F32"}
"""JAX's names of precisions. Its "bfloat16" means the fastest one, which is TF32 on a GPU."""


class JaxBackend(EagerBackend):
    """The reference operations under ``jit``."""

    def __init__(self, jax: Any, device: Any, precision: str = "float32") -> None:
        super().__init__("jax", jax.numpy, device)
        self.jax = jax
        self.precision = precision
        self.capabilities = frozenset({"gpu"} if device.platform == "gpu" else ())
        if jax.config.jax_enable_x64:
            self.capabilities |= {"float64"}
        # Under jit there are no devices: what a step creates goes where its arguments are.
        self.ops = replace(Ops.reference(jax.numpy), erf=jax.scipy.special.erf)

    @property
    def place(self) -> str:
        """The platform, and which of its devices."""
        platform = self.device.platform
        return f"{platform}:{self.jax.devices(platform).index(self.device)}"

    def with_precision(self, precision: str) -> Self:
        """Return a backend whose products have this precision, if the device can round them."""
        if precision == self.precision or not can_round(self.device):
            return self
        return type(self)(self.jax, self.device, precision)

    def _computed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that is traced in this precision, whatever the process has set."""
        precision = partial(self.jax.default_matmul_precision, NAMES[self.precision])
        return within(precision, function)

    def owns(self, x: object) -> bool:
        """Whether x is a JAX array on this device."""
        return isinstance(x, self.jax.Array) and x.devices() == {self.device}

    def asarray(self, host: Any, dtype: str | None = None) -> Array:
        """Copy to the device; float64 needs JAX's 64-bit mode, which only the user can set."""
        if dtype == "float64" and not self.jax.config.jax_enable_x64:
            raise BackendError(
                "backend 'jax': float64 needs 64-bit mode: call "
                "jax.config.update('jax_enable_x64', True) first, set JAX_ENABLE_X64=1, or use "
                "dtype='float32'"
            )
        # Put on the device first: JAX then converts there, and a NumPy buffer is never shared.
        made = self.jax.numpy.array(host, dtype=dtype, copy=True)
        return self.jax.device_put(made, self.device)

    def from_dlpack(self, x: Any) -> Array:
        """Import an array on this device in its dtype, also 64 bits without 64-bit mode."""
        home = self.jax if hasattr(self.jax, "enable_x64") else import_module("jax.experimental")
        with home.enable_x64(True):
            return super().from_dlpack(x)

    def to_numpy(self, x: Array) -> Any:
        """Return a copy on the host."""
        import numpy as np

        return np.array(x)

    def synchronize(self) -> None:
        """Wait for everything that was dispatched to this device."""
        self.jax.device_put(0, self.device).block_until_ready()

    def uploader(self, arrays: tuple[Any, ...], rows: int) -> Uploader:
        """Return a function whose copies JAX dispatches asynchronously, beside the steps."""

        def upload(chunks: Iterable[Any]) -> Iterator[tuple[Array | None, ...]]:
            last = None
            for rows in chunks:
                made = tuple(None if x is None else self.asarray(x[rows]) for x in arrays)
                yield made
                # This follows the caller's steps. Without the wait, as many chunks as JAX
                # dispatches ahead would be on the device at once.
                mark = next(x for x in made if x is not None)[:1]
                if last is not None:
                    last.block_until_ready()
                last = mark

        return upload

    def memory(self) -> Memory | None:
        """Return what JAX's allocator uses of a GPU's memory, and may use; None for a CPU."""
        found = self.device.memory_stats() if "gpu" in self.capabilities else None
        if not found:
            return None
        used, total = found["bytes_in_use"], found["bytes_limit"]
        return Memory(used, total - used, total)

    def ran_out(self, error: BaseException) -> bool:
        """Whether XLA says that a resource is exhausted; it has no error type for that."""
        failed = isinstance(error, self.jax.errors.JaxRuntimeError)
        return super().ran_out(error) or (failed and "RESOURCE_EXHAUSTED" in str(error))

    def device_name(self) -> str:
        """Return the kind of device: ``"NVIDIA H200"``, ``"cpu"``."""
        return str(self.device.device_kind)

    def compile(self, step: Step) -> Run:
        """Return a jitted scan over the plan's rows, compiled once for each number of steps."""
        return CompiledRun(self.jax, self._computed(step))

    def padded(self, rows: int) -> int:
        """Return the next of 1, 2, 3, 4, 6, 8, 12, ...: a pass is compiled for each of these."""
        power = 1 << (rows - 1).bit_length()
        return power * 3 // 4 if 4 * rows <= 3 * power else power

    def compile_forward(self, forward: Forward) -> Forward:
        """Return it jitted, compiled once for each number of rows."""
        return self.jax.jit(self._computed(forward))


class CompiledRun:
    """``run(state, data, plan, start, stop)``: one compiled loop over the plan's rows."""

    execution = Execution("compiled")
    epochs = 1

    def __init__(self, jax: Any, step: Step) -> None:
        def scan(state: State, data: Data, plan: Plan) -> State:
            def body(carried: State, row: Plan) -> tuple[State, None]:
                return step(carried, data, Plan(*(x[None, ...] for x in row)), 0), None

            return State(*jax.lax.scan(body, state, plan)[0])

        self._compiled = jax.jit(scan, donate_argnums=0)

    def __call__(self, state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
        """Apply the step for ``k`` in ``range(start, stop)``; the state's memory is donated."""
        is_all = (start, stop) == (0, plan.rows.shape[0])
        part = plan if is_all else Plan(*(x[start:stop, ...] for x in plan))
        return self._compiled(state, data, part)


def can_round(device: Any) -> bool:
    """Whether products can be rounded here: on NVIDIA GPUs from compute capability 8.0."""
    generation = str(getattr(device, "compute_capability", "")).partition(".")[0]
    return device.platform == "gpu" and generation.isdigit() and int(generation) >= 8


def device_of(x: Array) -> str:
    """Name the device of an array, as ``create`` takes it; the first of several."""
    platform = {d.platform for d in x.devices()}.pop()
    devices = require("jax", "jax", INSTALL).devices(platform)
    return f"{platform}:{min(devices.index(d) for d in x.devices())}"


def create(device: str | None = None) -> JaxBackend:
    """Return the backend on ``"cpu"``, ``"gpu"`` or ``"gpu:1"``; by default JAX's first device."""
    jax = require("jax", "jax", INSTALL)
    require("jax.scipy.special", "jax", INSTALL)
    if device is None:
        return JaxBackend(jax, jax.devices()[0])
    platform, _, index = device.partition(":")
    try:
        return JaxBackend(jax, jax.devices(platform)[int(index or 0)])
    except (RuntimeError, IndexError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BackendError(f"backend 'jax': device {device!r} cannot be used: {reason}") from error
