"""Record a training run, and replay any of its steps with all its values.

``fit`` does the training. A ``RecordingBackend`` replaces the real one, runs the compiled steps one
by one and keeps their inputs. From these, ``replay`` computes a step again from any state, with
the same ``TrainingStep``, whose layers, loss and optimizer are watched.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from xpmlp.nn.contract import Array, Backend, Data, Execution, Plan, Run, State
from xpmlp.nn.layers import Grads, Layer, map_layers, watch
from xpmlp.nn.network import Network
from xpmlp.nn.parameters import Layout

ENDS = ("after the step", "after the compiled step")
"""How the names of a step's results end: as computed part by part, and as ``fit`` computes it."""


class Value(NamedTuple):
    """One quantity of a step, on the host.

    Attributes
    ----------
    layer : str
        ``"dense2"``, or ``"inputs"``, ``"targets"``, ``"loss"``.
    quantity : str
        ``"z"``, ``"dW"``, ``"W updated"``.
    value : ndarray
    scale : float
        Largest magnitude of this value and of those computed with it: errors are relative to it.
        The gradient of a bias may be nothing but rounding; that of the weights shows how small.
    formula : str
        What the layer computes, if that is a formula.
    """

    layer: str
    quantity: str
    value: np.ndarray
    scale: float
    formula: str = ""

    @property
    def tensor(self) -> str:
        """Name of the parameter whose new value or packed copy this is: ``"dense2.W"``."""
        return f"{self.layer}.{self.quantity.partition(' ')[0]}"


class RecordingBackend:
    """A backend that compiles runs of single steps, and keeps their plans.

    Parameters
    ----------
    backend : Backend
    limit : int
        Steps to take; later ones do not change the state.
    after : callable (State) -> None, optional
        Receives the state after each step, on the host.
    """

    def __init__(
        self, backend: Backend, limit: int, after: Callable[[State], None] | None = None
    ) -> None:
        self._backend = backend
        self._limit, self._after = limit, after
        self._plans: list[tuple[Plan, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def with_precision(self, precision: str) -> "RecordingBackend":
        """Return itself: the backend is compared in the precision it has."""
        return self

    def compile(self, step: Any) -> Run:
        """Compile with the backend; this object runs the result step by step."""
        self._step, self._run = step, self._backend.compile(step)
        return self

    @property
    def execution(self) -> Execution:
        """That of the backend's run."""
        return self._run.execution

    def __call__(self, state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
        """Take steps, and record each."""
        for k in range(start, stop):
            # A run that diverges replays its epoch: that is not recorded.
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
        """Repeat the run: yield the state before it and after each step, on the host."""
        state = self._moved(self._first)
        yield self._first
        for plan, k in self._plans:
            with self.current():
                state = self._run(state, self._data, plan, k, k + 1)
            yield _each(self.to_numpy, state)

    def replay(self, index: int, state: State) -> list[Value]:
        """Compute a step again.

        Parameters
        ----------
        index : int
            Counted from 0 through all epochs.
        state : State
            To start from, on the host.

        Returns
        -------
        list of Value
            Everything the step computes, in that order, layer by layer; then what a backend may
            fuse; then the results of the compiled step.
        """
        (plan, k), step = self._plans[index], self._step
        log = _Log(self.to_numpy, step.ops)
        parts = replace(step, model=map_layers(step.model, log.layer))
        at_once = replace(step, model=map_layers(step.model, log.joined, joined=True))
        with self.current(), np.errstate(all="ignore"):  # infinity and NaN are reported
            end = self._watched(parts, log)(self._moved(state), self._data, plan, k)
            at_once(self._moved(state), self._data, plan, k)
        compiled = self._run(self._moved(state), self._data, plan, k, k + 1)
        for state, when in zip((end, compiled), ENDS, strict=True):
            log.state(state, step.network, when)
        return log.values

    def _watched(self, step: Any, log: "_Log") -> Any:
        """Return the step with its data, loss and update watched too."""
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
        """Copy a state to the device; NumPy's ``asarray`` alone would not, and steps may write."""
        return _each(lambda x: self.asarray(np.array(x)), state)


def _each(f: Callable[[Any], Any], state: State) -> State:
    """Apply f to every array of a state."""
    return State(*(tuple(map(f, x)) if isinstance(x, tuple) else f(x) for x in state))


class _Log:
    """Notes what a step computes, with wrappers around its parts."""

    def __init__(self, to_numpy: Callable[[Array], Any], ops: Any) -> None:
        self.values: list[Value] = []
        self._ops = ops  # unwatched: groups of parameters are packed within an update
        self._to_numpy = to_numpy
        self._packing = "d{}"  # a step packs gradients first, then whatever it still corrects

    def note(self, layer: str, named: Mapping[str, Array], formula: str = "") -> None:
        """Note values that share a scale."""
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
        """Note the results of a step."""
        self.note("loss", {f"mean {when}": state.loss})
        self.flat(network.layout, state.params, f"{{}} {when}")
        for i, moment in enumerate(state.moments, start=1):
            self.flat(network.layout, moment, f"moment {i} of {{}} {when}")
        self.flat(network.statistics, state.statistics, f"{{}} {when}")

    def joined(self, layer: Layer) -> Layer:
        """Watch a dense map and its activation if a backend computes both at once."""
        return self.layer(layer, " at once") if layer.shapes and layer.activation else layer

    def layer(self, layer: Layer, how: str = "") -> Layer:
        """Watch the forward and backward pass of a layer."""
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
        """Watch the loss of each row, and the gradient."""

        def watched(ops: Any, z: Array, y: Array) -> tuple[Array, Array]:
            self.note("targets", {"y": y})
            rows, dz = loss(ops, z, y)
            self.note("loss", {"rows": rows}, loss.name)
            self.note("loss", {"dz": dz}, loss.name)
            return rows, dz

        return watched

    def optimizer(self, optimizer: Any, layout: Layout) -> Any:
        """Watch clipping and update."""

        def clip(ops: Any, g: Array) -> Array:
            clipped = optimizer.clip(ops, g)
            if clipped is not g:
                self.flat(layout, clipped, "d{} clipped")
            return clipped

        def update(
            ops: Any, p: Array, g: Array, moments: tuple[Array, ...], c: Array, owners: None
        ) -> Any:
            self._packing = "{}"
            new, moments = optimizer.update(self._ops, p, g, moments, c)
            self.flat(layout, new, f"{{}} updated by {optimizer.name}")
            for i, moment in enumerate(moments, start=1):
                self.flat(layout, moment, f"moment {i} of {{}} in {optimizer.name}")
            return new, moments

        return SimpleNamespace(
            clip=clip, update=update, slots=optimizer.slots, frozen=optimizer.frozen
        )

    def gather(self, gather: Callable[..., Any]) -> Callable[..., Any]:
        """Watch the inputs of the batch."""

        def watched(*arguments: Any) -> Any:
            x, *rest = gather(*arguments)
            self.note("inputs", {"x": x})
            return x, *rest

        return watched

    def pack(self, pack: Callable[..., Array]) -> Callable[..., Array]:
        """Watch what goes into a flat buffer, with penalties and bounds, and what comes out."""

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
    """Return |a − b|: 0 where both are equal or NaN, infinite where only one is NaN."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if a.shape != b.shape:
        return np.full(a.shape, np.inf)
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        off = np.abs(a - b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0.0, np.where(np.isnan(off), np.inf, off))


def relative(off: np.ndarray, scale: float) -> float:
    """Return the largest error divided by the scale."""
    worst = float(np.max(off, initial=0.0))
    return worst / scale if worst and scale else worst
