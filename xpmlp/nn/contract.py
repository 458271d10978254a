"""What a backend must offer: the one place where the mathematics meets an array library.

A backend is an object that is passed in, never a global switch. All code in ``xpmlp`` reaches
arrays through these members. ``xpmlp_backends`` has the implementations; its README says how to
write another.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, runtime_checkable

from xpmlp.nn.functions import Array as Array
from xpmlp.nn.ops import Ops


class State(NamedTuple):
    """Everything a training step changes, as device arrays.

    Attributes
    ----------
    params : Array, shape (layout.size,)
        All trainable parameters in one buffer; see ``xpmlp.nn.parameters.Layout``.
    moments : tuple of Array, each shape (layout.size,)
        The optimizer state, in as many arrays as the optimizer needs.
    grad : Array, shape (layout.size,)
        Scratch space for the gradient, meaningless between steps. It is part of the state so
        that a backend with mutable arrays can let the matrix product write into it.
    statistics : Array, shape (statistics layout.size,)
        Running means and variances of batch normalization.
    loss : Array, shape ()
        The last step's loss: the weighted mean over the batch plus the penalty. Of k networks,
        shape (k,), and (2, k) of the sums.
    totals, carry : Array, shape (2,)
        Sums over the epoch of loss times batch size and of the metric, and what rounding
        lost of them (Kahan's compensation).
    finite : Array of int32, shape (2,)
        How many of the epoch's steps left each sum finite. If the loss becomes NaN or
        infinite, the first is the number of the step in which it did.
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
    """All random draws and schedule values of an epoch; step ``k`` reads row ``k``.

    The host makes the plan before the epoch begins, so every backend uses the same numbers, and
    no step waits for the host.

    Attributes
    ----------
    rows : Array of int32, shape (steps, batch)
        Indices of each step's examples; (steps, k, batch) of k networks with orders of their own.
    coefficients : Array of the model's dtype, shape (steps, c)
        The optimizer's scalars for each step: the learning rate, Adam's bias corrections; or
        (steps, c, k), if each network has its rate.
    keys : Array of int32, shape (steps, dropout layers, 2) or (steps, k, dropout layers, 2)
        The last axis is 3 where a rate is scheduled.
        Each dropout layer's key; see ``xpmlp.nn.random.dropout_mask``. With augmentation there is
        one more, the last.
    """

    rows: Array
    coefficients: Array
    keys: Array


Step = Callable[[State, Data, Plan, Any], State]
"""A pure function ``step(state, data, plan, k) -> state``."""

Forward = Callable[[Array, Array, Array], Array]
"""A pure function ``forward(params, statistics, X) -> outputs`` of flat buffers and rows."""


class Execution(NamedTuple):
    """How a backend ran the steps; ``History.execution``.

    Attributes
    ----------
    mode : str
        ``"eager"``, ``"recorded"``, ``"captured in CUDA graphs"``, ``"compiled"``. NumPy records
        only from some 32 steps on, so a short fit is eager.
    notes : tuple of str
        What did not run in the backend's fastest mode, and why; empty if everything did.
    """

    mode: str
    notes: tuple[str, ...] = ()


class Memory(NamedTuple):
    """A device's memory in bytes: used by this process, free, and in total."""

    used: int
    free: int
    total: int


class Run(Protocol):
    """A loop over a step.

    Attributes
    ----------
    epochs : int
        How many epochs like this one are to come, itself included, as far as the training knows:
        a backend may weigh whether to compile.
    """

    epochs: int

    @property
    def execution(self) -> Execution:
        """How the steps have run so far."""

    def __call__(self, state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
        """Apply the step for ``k`` in ``range(start, stop)``."""


Uploader = Callable[[Iterable[Any]], Iterator[tuple[Array | None, ...]]]
"""``upload(chunks)``: for each NumPy array of row numbers, yields those rows of some host arrays,
on the device. The arrays may be longer than the chunk. They are valid until the caller asks for the
next ones, which are gathered and copied while the device still works on these.
"""


PRECISIONS = ("float32", "tf32", "bf16")
"""Precisions of the factors in matrix products of float32 models; float32 means no rounding."""


@runtime_checkable
class Backend(Protocol):
    """One array library on one device.

    Attributes
    ----------
    name : str
        ``"numpy"``, ``"cupy"``, ``"torch"``, ``"jax"``, ``"dpnp"``, or a third party's.
    xp : module
        The library's array API namespace.
    device : object
        Where arrays are, as the library names it; messages show ``str(device)``.
    capabilities : frozenset of str
        Of ``"gpu"`` (arrays live on a GPU), ``"float64"`` (float64 arrays can be made),
        ``"mutable"`` (arrays can be written to) and ``"sparse"`` (steps take a ``SparseMatrix``,
        and forward passes SciPy's, as the X of a network that begins with a dense layer).
    ops : Ops
        The operations worth fusing; they differ from the reference only in speed.
    precision : {"float32", "tf32", "bf16"}
        What the factors of float32 matrix products are rounded to; sums, weights and everything
        else stay float32.
    """

    name: str
    xp: Any
    device: Any
    capabilities: frozenset[str]
    ops: Ops
    precision: str

    def with_precision(self, precision: str) -> "Backend":
        """Return this backend with another precision of float32 matrix products.

        A device that has only float32 returns the backend itself: float32 is more exact than what
        was asked for. ``precision`` of the returned backend says what it uses.
        """

    def current(self) -> AbstractContextManager[Any]:
        """Return a context in which this device is the library's current one, for this thread.

        Whoever computes with arrays enters it, calls of runs included: CuPy computes on the current
        device. Copies from and to the host do so themselves.
        """

    def owns(self, x: object) -> bool:
        """Whether ``x`` is an array of this library on this device."""

    def asarray(self, host: Any, dtype: str | None = None) -> Array:
        """Copy a NumPy array to the device, in ``dtype`` (a name) or as it is."""

    def from_dlpack(self, x: Any) -> Array:
        """Import another library's array on this device, sharing its memory.

        May raise anything: callers then try a copy, and refuse the array if that fails too.
        """

    def to_numpy(self, x: Array) -> Any:
        """Copy an array to the host as a NumPy array that owns its memory."""

    def uploader(self, arrays: tuple[Any, ...], rows: int) -> Uploader:
        """Prepare to copy rows of NumPy arrays (or None), at most ``rows`` at once.

        An array may be a ``SparseMatrix``, with ``shape``, ``dtype``, ``x[chunk]`` and ``take``.
        All uses of one uploader share its buffers on the device.
        """

    def synchronize(self) -> None:
        """Wait until the device has finished; every timer calls this."""

    def device_name(self) -> str:
        """Return the device's name, for display: ``"NVIDIA H200"``."""

    def memory(self) -> Memory | None:
        """Return the device's memory; None if the device uses the host's."""

    def ran_out(self, error: BaseException) -> bool:
        """Whether an error means that the device is out of memory."""

    def compile(self, step: Step) -> Run:
        """Turn a pure step into the library's fastest loop over it.

        The run owns the ``state`` it is given and may reuse or donate its memory. Callers copy
        what they want to keep, and use only the returned state.
        """

    def padded(self, rows: int) -> int:
        """Return to how many rows a forward pass should fill up so many, with zeros.

        The number itself, unless each other number would be compiled anew.
        """

    def compile_forward(self, forward: Forward) -> Forward:
        """Turn a pure forward pass into the library's fastest, for any number of rows.

        The caller owns the result. Several threads may call it.
        """
