"""A training that is watched from outside, and any step of it computed again with all its values.

Nothing here trains: ``fit`` does. A ``RecordingBackend`` stands in for the real one, runs what
``fit`` compiles step by step and keeps what went in. From that, ``replay`` computes one step
again from any state, by the same ``TrainingStep`` whose layers, loss and optimizer are watched.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from xpmlp.nn.contract import Backend, Data, Execution, Plan, Run, State
from xpmlp.nn.layers import Grads, Layer, map_layers, watch
from xpmlp.nn.network import Network
from xpmlp.nn.parameters import Layout

Array = Any

ENDS = ("after the step", "after the compiled step")
"""How the names of a step's results end: computed part by part, and by what ``fit`` runs."""


class Value(NamedTuple):
    """One quantity of a step, on the host.

    Attributes
    ----------
    layer : str
        ``"dense2"``, or where no layer is at work ``"inputs"``, ``"targets"``, ``"loss"``.
    quantity : str
        ``"z"``, ``"dW"``, ``"W updated"``.
    value : ndarray
    scale : float
        Largest magnitude of this and of what was computed with it: what errors are relative to.
        The gradient of a bias may be nothing but rounding; that of its weights says how little.
    formula : str
        What the layer computes; empty where that is not a formula.
    """

    layer: str
    quantity: str
    value: np.ndarray
    scale: float
    formula: str = ""

    @property
    def tensor(self) -> str:
        """The name of the parameter, ``"dense2.W"``, whose new value or packing this is."""
        return f"{self.layer}.{self.quantity.partition(' ')[0]}"


class RecordingBackend:
    """A backend as it is, but for ``compile``: its run takes single steps and keeps their plans.

    Parameters
    ----------
    backend : Backend
    limit : int
        Steps to take; later ones leave the state as it is.
    after : callable (State) -> None, optional
        Gets the state after each step, on the host.
    """

    def __init__(
        self, backend: Backend, limit: int, after: Callable[[State], None] | None = None
    ) -> None:
        self.name, self.xp, self.device = backend.name, backend.xp, backend.device
        self.capabilities, self.ops = backend.capabilities, backend.ops
        self.owns, self.asarray = backend.owns, backend.asarray
        self.from_dlpack = backend.from_dlpack
        self.to_numpy, self.synchronize = backend.to_numpy, backend.synchronize
        self.precision = backend.precision
        self.memory, self.ran_out = backend.memory, backend.ran_out
        self.uploader, self.device_name = backend.uploader, backend.device_name
        self._compile, self.compile_forward = backend.compile, backend.compile_forward
        self._limit, self._after = limit, after
        self._plans: list[tuple[Plan, int]] = []

    def with_precision(self, precision: str) -> "RecordingBackend":
        """Return itself: operations are compared as the backend was given."""
        return self

    def compile(self, step: Any) -> Run:
        """Return the backend's own compiled run, step by step."""
        self._step, self._run = step, self._compile(step)
        return self

    @property
    def execution(self) -> Execution:
        """The backend's own."""
        return self._run.execution

    def __call__(self, state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
        """Take steps, and note each."""
        for k in range(start, stop):
            # A training that diverges goes through its epoch again: that is not recorded.
            again = any(seen is plan and row == k for seen, row in self._plans)
            if not again and len(self._plans) == self._limit:
                break
            if not self._plans:
                self._data, self._first = data, _each(self.to_numpy, state)
            state = self._run(state, data, plan, k, k + 1)
            if not again:
                self._plans.append((plan, k))
                if self._after is not None:
                    self._after(_each(self.to_numpy, state))
        return state

    def states(self) -> Iterator[State]:
        """Walk through the training again: the state before it and after each step, on the host."""
        state = self._moved(self._first)
        yield self._first
        for plan, k in self._plans:
            state = self._run(state, self._data, plan, k, k + 1)
            yield _each(self.to_numpy, state)

    def replay(self, index: int, state: State) -> list[Value]:
        """Compute a step again.

        Parameters
        ----------
        index : int
            Which one, counted from 0 through all epochs.
        state : State
            To start from, on the host.

        Returns
        -------
        list of Value
            Everything it computes, layer by layer and in that order; then what a backend may
            compute at once; at the end the same step as compiled.
        """
        (plan, k), step = self._plans[index], self._step
        log = _Log(self.to_numpy)
        parts = replace(step, model=map_layers(step.model, log.layer))
        at_once = replace(step, model=map_layers(step.model, log.joined, joined=True))
        with np.errstate(all="ignore"):  # what becomes infinite or NaN is reported
            end = self._watched(parts, log)(self._moved(state), self._data, plan, k)
            at_once(self._moved(state), self._data, plan, k)
        compiled = self._run(self._moved(state), self._data, plan, k, k + 1)
        for state, when in zip((end, compiled), ENDS, strict=True):
            log.state(state, step.network, when)
        return log.values

    def _watched(self, step: Any, log: "_Log") -> Any:
        """The step with its data, loss and update watched too."""
        ops = replace(
            step.ops, gather_batch=log.gather(step.ops.gather_batch), pack=log.pack(step.ops.pack)
        )
        return replace(
            step,
            ops=ops,
            loss=log.loss(step.loss),
            optimizer=log.optimizer(step.optimizer, step.network.layout),
        )

    def _moved(self, state: State) -> State:
        """Copy a state to the device; NumPy's ``asarray`` alone would not, and steps write."""
        return _each(lambda x: self.asarray(np.array(x)), state)


def _each(f: Callable[[Any], Any], state: State) -> State:
    """Apply f to every array of a state."""
    return State(*(tuple(map(f, x)) if isinstance(x, tuple) else f(x) for x in state))


class _Log:
    """What a step computes, noted by stand-ins for its parts."""

    def __init__(self, to_numpy: Callable[[Array], Any]) -> None:
        self.values: list[Value] = []
        self._to_numpy = to_numpy
        self._packing = "d{}"  # a step packs gradients first, then whatever it still corrects

    def note(self, layer: str, named: Mapping[str, Array], formula: str = "") -> None:
        """Note values that belong together."""
        # Copies: the step may write to what it has returned.
        hosts = {
            name: np.array(x) if isinstance(x, np.ndarray) else np.asarray(self._to_numpy(x))
            for name, x in named.items()
        }
        scale = max((magnitude(x) for x in hosts.values()), default=0.0)
        self.values += [Value(layer, name, x, scale, formula) for name, x in hosts.items()]

    def tensors(self, named: Mapping[str, Array], pattern: str) -> None:
        """Note parameters or their gradients, layer by layer."""
        layers: dict[str, dict[str, Array]] = defaultdict(dict)
        for name, x in named.items():
            layer, _, symbol = name.rpartition(".")
            layers[layer][pattern.format(symbol)] = x
        for layer, group in layers.items():
            self.note(layer, group)

    def flat(self, layout: Layout, buffer: Array, pattern: str) -> None:
        """Note the tensors in a flat buffer."""
        host = np.asarray(self._to_numpy(buffer))
        self.tensors(layout.views(np, host), pattern)

    def state(self, state: State, network: Network, when: str) -> None:
        """Note what a step results in."""
        self.note("loss", {f"mean {when}": state.loss})
        self.flat(network.layout, state.params, f"{{}} {when}")
        for i, moment in enumerate(state.moments, start=1):
            self.flat(network.layout, moment, f"moment {i} of {{}} {when}")
        self.flat(network.statistics, state.statistics, f"{{}} {when}")

    def joined(self, layer: Layer) -> Layer:
        """Watch a dense map with its activation where a backend computes both at once."""
        return self.layer(layer, " at once") if layer.shapes and layer.activation else layer

    def layer(self, layer: Layer, how: str = "") -> Layer:
        """Watch a layer's forward and backward pass."""
        output = layer.formula.partition(" = ")[0]

        def seen(x: Array, y: Array) -> Callable[..., None]:
            self.note(layer.name, {f"{output}{how}": y}, layer.formula)
            return seen_back

        def seen_back(dy: Array, dx: Array | None, grads: Grads) -> None:
            self.note(layer.name, {f"d{output} from above": dy})
            if dx is not None:
                self.note(layer.name, {f"dx{how}": dx}, layer.formula)
            named = {f"d{name.rpartition('.')[2]}{how}": g for name, g in grads.items()}
            self.note(layer.name, named, layer.formula)

        return watch(layer, seen)

    def loss(self, loss: Any) -> Any:
        """Watch the loss of each row and its gradient."""

        def watched(ops: Any, z: Array, y: Array) -> tuple[Array, Array]:
            self.note("targets", {"y": y})
            rows, dz = loss(ops, z, y)
            self.note("loss", {"rows": rows}, loss.name)
            self.note("loss", {"dz": dz}, loss.name)
            return rows, dz

        return watched

    def optimizer(self, optimizer: Any, layout: Layout) -> Any:
        """Watch clipping and the update."""

        def clip(ops: Any, g: Array) -> Array:
            clipped = optimizer.clip(ops, g)
            if clipped is not g:
                self.flat(layout, clipped, "d{} clipped")
            return clipped

        def update(ops: Any, p: Array, g: Array, moments: tuple[Array, ...], c: Array) -> Any:
            self._packing = "{}"
            new, moments = optimizer.update(ops, p, g, moments, c)
            self.flat(layout, new, f"{{}} updated by {optimizer.name}")
            for i, moment in enumerate(moments, start=1):
                self.flat(layout, moment, f"moment {i} of {{}} in {optimizer.name}")
            return new, moments

        return SimpleNamespace(clip=clip, update=update)

    def gather(self, gather: Callable[..., Any]) -> Callable[..., Any]:
        """Watch the batch as it enters."""

        def watched(*arguments: Any) -> Any:
            x, *rest = gather(*arguments)
            self.note("inputs", {"x": x})
            return x, *rest

        return watched

    def pack(self, pack: Callable[..., Array]) -> Callable[..., Array]:
        """Watch what goes into a flat buffer, penalties and bounds included, and what comes out."""

        def watched(layout: Layout, tensors: Any, out: Array, views: Any) -> Array:
            self.tensors(tensors, f"{self._packing} to be packed")
            buffer = pack(layout, tensors, out, views)
            self.flat(layout, buffer, f"{self._packing} packed")
            return buffer

        return watched


def magnitude(x: np.ndarray) -> float:
    """Return the largest finite |x|, or 0."""
    x = np.abs(x.astype(np.float64))
    return float(np.max(x, where=np.isfinite(x), initial=0.0))


def errors(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return |a − b|: 0 where both are the same, NaN included, and infinite where one is NaN."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if a.shape != b.shape:
        return np.full(a.shape, np.inf)
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        off = np.abs(a - b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isnan(off), np.inf, off))


def relative(off: np.ndarray, scale: float) -> float:
    """Return the largest error as a share of what is large there."""
    worst = float(np.max(off, initial=0.0))
    return worst / scale if worst and scale else worst
