"""What a backend must offer: the one place where the mathematics meets an array library.

A backend is an object that is passed in, never a global switch. Everything in ``xpmlp`` reaches
arrays through these members; ``xpmlp_backends`` holds the implementations, and its README says
how to write another.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

from xpmlp.nn.ops import Ops

Array = Any
"""An array of whichever library the backend wraps."""


class State(NamedTuple):
    """Everything a training step changes, as device arrays.

    Attributes
    ----------
    params : Array, shape (layout.size,)
        All trainable parameters in one buffer; see ``xpmlp.nn.parameters.Layout``.
    moments : tuple of Array, each shape (layout.size,)
        The optimizer's running averages, as many as it has.
    grad : Array, shape (layout.size,)
        Scratch for the gradient. Its content between steps means nothing; it lives here so
        that a backend with mutable arrays can let the matrix product write into it.
    statistics : Array, shape (statistics layout.size,)
        Running means and variances of batch normalization.
    loss : Array, shape ()
        The last step's loss: the weighted mean over the batch plus the penalty.
    totals, carry : Array, shape (2,)
        Sums over the epoch of loss times batch size and of the metric, and what rounding
        lost of them (Kahan's compensation).
    finite : Array of int32, shape (2,)
        In how many steps of the epoch each sum was finite: where a loss became NaN or
        infinite, the first is the number of the step.
    """

    params: Array
    moments: tuple[Array, ...]
    grad: Array
    statistics: Array
    loss: Array
    totals: Array
    carry: Array
    finite: Array


class Data(NamedTuple):
    """A data set on the device, in the dtype it came in.

    Attributes
    ----------
    X : Array, shape (n, features)
    y : Array, shape (n,) or (n, outputs)
    weight : Array, shape (n,), or None
        Per-sample weights; None means all ones.
    shift, scale : Array, shape (features,) or (1,), or None
        Inputs become ``(X - shift) * scale``; None means as they are.
    """

    X: Array
    y: Array
    weight: Array | None
    shift: Array | None
    scale: Array | None


class Plan(NamedTuple):
    """What the host decided for an epoch; step ``k`` reads row ``k``.

    Whatever is random or scheduled is drawn on the host before the epoch begins, so that every
    backend follows the same numbers and a step has nothing to ask the host.

    Attributes
    ----------
    rows : Array of int32, shape (steps, batch)
        Indices of each step's examples.
    coefficients : Array of the model's dtype, shape (steps, c)
        The optimizer's scalars of each step: the learning rate, Adam's bias corrections.
    keys : Array of int32, shape (steps, dropout layers, 2)
        Each dropout layer's key; see ``xpmlp.nn.random.dropout_mask``.
    """

    rows: Array
    coefficients: Array
    keys: Array


Step = Callable[[State, Data, Plan, Any], State]
"""A pure function ``step(state, data, plan, k) -> state``."""

Forward = Callable[[Array, Array, Array], Array]
"""A pure function ``forward(params, statistics, X) -> outputs`` of flat buffers and rows."""


class Execution(NamedTuple):
    """How a backend took its steps, for people; ``History.execution``.

    Attributes
    ----------
    mode : str
        ``"call by call"``, ``"recorded"``, ``"captured in CUDA graphs"``, ``"compiled"``.
    notes : tuple of str
        What did not run as the backend does best, and why; empty if all did.
    """

    mode: str
    notes: tuple[str, ...] = ()


class Memory(NamedTuple):
    """A device's memory in bytes: what this process uses of it, what is free, and all of it."""

    used: int
    free: int
    total: int


class Run(Protocol):
    """A loop over a step."""

    @property
    def execution(self) -> Execution:
        """How the steps have run so far."""
        ...

    def __call__(self, state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
        """Apply the step for ``k`` in ``range(start, stop)``."""
        ...


Uploader = Callable[[Iterable[Any]], Iterator[tuple[Array | None, ...]]]
"""``upload(pieces)``: yields, for one NumPy array of row numbers after another, those rows of some
host arrays, on the device. The arrays may be longer than the piece, and they are the caller's until
it asks for the next ones, which are gathered and copied while the device still works on these.
"""


PRECISIONS = ("float32", "tf32", "bf16")
"""What matrix products of float32 models may be rounded to, by name; float32 is not rounded."""


@runtime_checkable
class Backend(Protocol):
    """One array library on one device.

    Attributes
    ----------
    name : str
        ``"numpy"``, ``"cupy"``, ``"torch"``, ``"jax"``, or a third party's.
    xp : module
        The library's array API namespace.
    device : object
        Where arrays live, in the library's own terms; ``str(device)`` is shown to people.
    capabilities : frozenset of str
        Of ``"gpu"`` (arrays live on a GPU), ``"float64"`` (float64 arrays can be made) and
        ``"mutable"`` (arrays can be written to).
    ops : Ops
        The operations worth fusing; fields differ from the reference only in speed.
    precision : {"float32", "tf32", "bf16"}
        What the factors of float32 matrix products are rounded to here; sums, weights and all
        else stay float32.
    """

    name: str
    xp: Any
    device: Any
    capabilities: frozenset[str]
    ops: Ops
    precision: str

    def with_precision(self, precision: str) -> "Backend":
        """Return this backend computing the products of float32 matrices so.

        Where the device has nothing but float32 that is the backend itself, since float32 is only
        more exact than what was asked for; ``precision`` of what is returned says what is done.
        """
        ...

    def owns(self, x: object) -> bool:
        """Whether ``x`` is an array of this library on this device."""
        ...

    def asarray(self, host: Any, dtype: str | None = None) -> Array:
        """Copy a NumPy array to the device, in ``dtype`` (a name) or as it is."""
        ...

    def from_dlpack(self, x: Any) -> Array:
        """Take over an array of another library that lies on this device, on the same memory.

        Whatever the library raises where it cannot: callers try a copy, and then refuse.
        """
        ...

    def to_numpy(self, x: Array) -> Any:
        """Copy an array to the host as a NumPy array that owns its memory."""
        ...

    def uploader(self, arrays: tuple[Any, ...], rows: int) -> Uploader:
        """Prepare to copy rows of NumPy arrays (or None), at most ``rows`` at once.

        An array may be a ``SparseRows``, which has ``shape``, ``dtype``, ``x[piece]`` and ``take``.

        Where places on the device are kept for them, all uses have the same.
        """
        ...

    def synchronize(self) -> None:
        """Wait until the device has finished. Every timer calls this."""
        ...

    def device_name(self) -> str:
        """Name the device for people: ``"NVIDIA H200"``."""
        ...

    def memory(self) -> Memory | None:
        """The device's memory, if it has its own; None where it is the host's."""
        ...

    def ran_out(self, error: BaseException) -> bool:
        """Whether an error says that the device's memory is not enough."""
        ...

    def compile(self, step: Step) -> Run:
        """Turn a pure step into the fastest loop over it that the library has.

        The run owns the ``state`` it is given and may reuse or donate its memory: callers keep
        a copy of what they want to keep, and use only the state that is returned.
        """
        ...

    def compile_forward(self, forward: Forward) -> Forward:
        """Turn a pure forward pass into the fastest the library has, for inputs of any length.

        Its result is the caller's. It may be called from several threads.
        """
        ...
