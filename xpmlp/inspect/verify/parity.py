"""One training run on two backends: how far apart they get, and which operation is the cause.

>>> import xpmlp
>>> from xpmlp.inspect.verify.parity import verify
>>> points = xpmlp.data.load("xor")
>>> mlp = xpmlp.MLP([2, 4, 2], dtype="float64", backend="numpy", seed=0)
>>> verify(mlp, points.X, points.y, backends=("numpy", "numpy"), steps=20).agrees
True
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from itertools import islice
from types import ModuleType
from typing import Any

import numpy as np
import xpmlp_backends

from xpmlp.arrays.checks import to_host
from xpmlp.errors import BackendError, DivergenceError, InvalidValueError
from xpmlp.inspect.verify.replay import ENDS, RecordingBackend, Value, errors, magnitude, relative
from xpmlp.inspect.verify.report import Cause, Difference, Parity, Side
from xpmlp.mlp import MLP
from xpmlp.model.members import refuse_ensemble
from xpmlp.nn.contract import Backend, State
from xpmlp.nn.network import Network
from xpmlp.nn.optimizers import Optimizer
from xpmlp.nn.optimizers import optimizer as find_optimizer

TOLERANCES = {"float64": 1e-10, "float32": 1e-4}
"""What rounding may add up to in 100 steps of a well-behaved training run."""


def verify(
    mlp: MLP,
    X: Any,
    y: Any,
    *,
    backends: str | Sequence[str | Backend | ModuleType] = ("numpy",),
    steps: int = 100,
    batch_size: int | None = 32,
    optimizer: str | Optimizer = "adam",
    sample_weight: Any = None,
    shuffle: bool = True,
    tolerance: float | None = None,
) -> Parity:
    """Train copies of a network on two backends, and compare them after every step.

    The copies start from the network's weights and seed, and ``fit`` trains them: dropout,
    schedules and penalties are included. If they differ by more than the tolerance, each step up
    to there is computed again on both backends from the same state. The cause is the first value,
    in the order of computation, that differs by more than the tolerance; if none does, the first
    that differs by more than a tenth of it, since a small error may need many steps to show.

    Parameters
    ----------
    mlp : MLP
        Not changed.
    X, y : array-like
        As for ``MLP.fit``.
    backends : one or two of str, Backend or module
        Names, or backend objects: ``("numpy", xpmlp.backend("torch", "cuda:1"))``. The default
        for the second is the first other backend that works here.
    steps : int
        Schedules see the number of epochs that these steps need.
    batch_size, optimizer, sample_weight, shuffle
        As for ``MLP.fit``.
    tolerance : float, optional
        Largest relative difference; the default is 1e-10 in float64 and 1e-4 in float32.

    Returns
    -------
    Parity
        ``print`` its ``report()``.

    Raises
    ------
    BackendError
        If a backend cannot work here, or there is no second one.
    InvalidValueError, InvalidTypeError
        As ``MLP.fit``, and if there are not one or two backends.

    Examples
    --------
    >>> mlp, points = xpmlp.MLP([2, 4, 2], seed=0, backend="numpy"), xpmlp.data.make_xor(n=50)
    >>> parity = xpmlp.verify(mlp, points.X, points.y, backends=("numpy", "numpy"), steps=4)
    >>> parity.agrees, parity.largest.largest
    (True, 0.0)
    """
    refuse_ensemble(mlp, "verify")
    tolerance = TOLERANCES[mlp.dtype] if tolerance is None else tolerance
    if not tolerance >= 0 or steps < 1:
        raise InvalidValueError(
            f"found steps {steps!r} and tolerance {tolerance!r}; expected 1 or more, and 0 or more"
        )
    X, y = (to_host(mlp.backend, values, name) for values, name in ((X, "X"), (y, "y")))
    rows = len(X) if X.ndim and len(X) else 1  # fit explains what is wrong with other shapes
    batch = min(rows if batch_size is None else batch_size, rows)
    epoch = math.ceil(rows / batch) if batch > 0 else 1
    chosen, (one, other) = find_optimizer(optimizer), _pair(backends)

    def train(watched: RecordingBackend) -> RecordingBackend:
        with suppress(DivergenceError):  # the recording shows on which side
            mlp.copy(backend=watched).fit(
                X,
                y,
                epochs=math.ceil(steps / epoch),
                batch_size=batch_size,
                optimizer=chosen,
                sample_weight=sample_weight,
                shuffle=shuffle,
                data_on="device",  # replayed steps use the data of the first one
            )
        return watched

    first = train(RecordingBackend(one, steps))
    comparison = _Comparison(mlp.network, islice(first.states(), 1, None))
    second = train(RecordingBackend(other, steps, comparison.add))
    differences = comparison.differences
    left_out = _without_influence(mlp.network)
    beyond = next((d.step for d in differences if not d.largest <= tolerance), None)
    return Parity(
        sides=(_side(first), _side(second)),
        sizes=mlp.sizes,
        parameters=mlp.network.layout.count,
        dtype=mlp.dtype,
        seed=mlp.seed,
        rows=rows,
        batch_size=batch,
        optimizer=repr(chosen),
        tolerance=tolerance,
        differences=differences,
        left_out=left_out,
        beyond=beyond,
        cause=_cause(first, second, beyond, tolerance, epoch, left_out) if beyond else None,
    )


def _pair(specs: str | Sequence[str | Backend | ModuleType]) -> tuple[Backend, Backend]:
    """Find the backends of two names, or of one and the first other that works."""
    given = [specs] if isinstance(specs, str) else list(specs)
    if len(given) not in (1, 2):
        names = ", ".join(spec if isinstance(spec, str) else spec.name for spec in given)
        raise InvalidValueError(f"backends: found {len(given)} ({names}); expected one or two")
    first = xpmlp_backends.backend(given[0])
    if len(given) == 2:
        return first, xpmlp_backends.backend(given[1])
    reasons = []
    for name in xpmlp_backends.PUBLIC:
        if name != first.name:
            if (reason := xpmlp_backends.why_not(name)) is None:
                return first, xpmlp_backends.backend(name)
            reasons.append(f"{name}: {reason}")
    raise BackendError(
        f"verify needs a second backend besides {first.name}, and none works here. Install one, "
        f"for example: pip install 'xpmlp[torch]'. Found: {'; '.join(reasons)}"
    )


def _side(watched: RecordingBackend) -> Side:
    library = watched.xp.__name__.removeprefix("array_api_compat.").partition(".")[0]
    version = getattr(import_module(library), "__version__", "of unknown version")
    return Side(watched.name, library, version, str(watched.device))


def _without_influence(network: Network) -> tuple[str, ...]:
    """Return biases before batch normalization, which subtracts them again, and running means.

    The gradient of such a bias is nothing but rounding errors. Adam still takes full steps, so the
    bias and the running mean drift differently on every backend.
    """
    if network.architecture.normalization != "batch" or not network.architecture.bias:
        return ()
    hidden = range(1, len(network.architecture.sizes) - 1)
    return tuple(name for i in hidden for name in (f"dense{i}.b", f"norm{i}.mean"))


class _Comparison:
    """Compares the states of two training runs, step by step.

    Errors are relative to the largest magnitude in the layer so far: a bias may be close to 0, and
    gradients get close to it.
    """

    def __init__(self, network: Network, first: Iterator[State]) -> None:
        self.differences: list[Difference] = []
        self._network, self._first = network, first
        self._scales: dict[str, float] = defaultdict(float)

    def add(self, second: State) -> None:
        """Compare the second run's next state with that of the first, if it got as far."""
        if (first := next(self._first, None)) is None:
            return
        a, b = self._named(first), self._named(second)
        layers = {name: name.rpartition(".")[0] for name in a}
        for name, layer in layers.items():
            self._scales[layer] = max(self._scales[layer], magnitude(a[name]), magnitude(b[name]))
        off = {
            name: relative(errors(a[name], b[name]), self._scales[layer])
            for name, layer in layers.items()
        }
        losses = float(first.loss), float(second.loss)
        loss = off.pop("loss")
        moments = max((off[name] for name in off if name.startswith("moment")), default=0.0)
        parameters = max(off[name] for name in off if not name.startswith("moment"))
        where = max(off, key=lambda name: off[name])
        step = len(self.differences) + 1
        self.differences.append(Difference(step, losses, loss, parameters, moments, where))

    def _named(self, state: State) -> dict[str, np.ndarray]:
        """Return everything a step results in, by name."""
        layout, statistics = self._network.layout, self._network.statistics
        named = {"loss": state.loss}
        named |= layout.views(np, state.params) | statistics.views(np, state.statistics)
        for name in _without_influence(self._network):
            del named[name]
        for i, moment in enumerate(state.moments, start=1):
            views = layout.views(np, moment)
            named |= {f"moment {i} of {name}": view for name, view in views.items()}
        return named


def _cause(
    first: RecordingBackend,
    second: RecordingBackend,
    beyond: int,
    tolerance: float,
    epoch: int,
    left_out: tuple[str, ...],
) -> Cause | None:
    """Replay the steps on both backends, each from the first run's state; compare every value."""
    small = None
    for i, state in zip(range(beyond), first.states(), strict=False):
        both = zip(first.replay(i, state), second.replay(i, state), strict=True)
        values = [pair for pair in both if pair[0].tensor not in left_out]
        ends = [pair for pair in values if pair[0].quantity.endswith(ENDS)]
        if i + 1 < beyond and _first_beyond(ends, tolerance):
            continue  # a fault that does not depend on the state alone: training did not have it
        if found := _first_beyond(values, tolerance):
            return Cause(i + 1, i // epoch + 1, i % epoch + 1, *found)
        if small is None and (found := _first_beyond(values, tolerance / 10)):
            small = Cause(i + 1, i // epoch + 1, i % epoch + 1, *found)
    return small


def _first_beyond(values: Iterable[tuple[Value, Value]], limit: float) -> tuple[Any, ...] | None:
    """Return the last seven fields of a ``Cause``."""
    for a, b in values:
        off = errors(a.value, b.value)
        error = relative(off, max(a.scale, b.scale))
        if not error <= limit:
            at = tuple(map(int, np.unravel_index(np.argmax(off), off.shape)))
            both = (float(v.value[at]) if v.value.shape == off.shape else math.nan for v in (a, b))
            return a.layer, a.quantity, a.formula, error, at, *both
    return None
