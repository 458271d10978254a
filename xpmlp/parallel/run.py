"""A run whose steps are cut into shards, which one worker or several compute."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpmlp.nn.contract import Array, Backend, Data, Execution, Plan, State
from xpmlp.nn.orders import cuts
from xpmlp.nn.random import shard_keys
from xpmlp.nn.shards import least_rows, parts
from xpmlp.nn.step import TrainingStep
from xpmlp.parallel.communicator import Communicator
from xpmlp.parallel.tree import EngineSum, Tree

SHARDS = 8
"""Shards of a batch, unless said otherwise."""

REDUCTIONS = ("tree", "engine")
"""How shards are added up: in the order of a tree, or as the engine does it."""


@dataclass(frozen=True, eq=False)
class Sharded:
    """How steps are cut: a function that compiles a step so.

    Attributes
    ----------
    together : Communicator
    shards : int
        Of each batch, on any number of workers.
    reduction : {"tree", "engine"}
    threads : int
        Of the array library in each worker.
    """

    together: Communicator
    shards: int = SHARDS
    reduction: str = "tree"
    threads: int = 1

    def __call__(self, backend: Backend, step: TrainingStep) -> "ShardedRun":
        """Compile a step."""
        return ShardedRun(self, backend, step)

    def settings(self) -> dict[str, Any]:
        """Return what the result depends on, to compare: not the number of workers."""
        reduction = {} if self.reduction == "tree" else {"reduction": self.reduction}
        return {"shards": self.shards, **reduction}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sharded) and (
            (self.shards, self.reduction) == (other.shards, other.reduction)
            and self.together is other.together
        )

    def __hash__(self) -> int:
        return hash((self.shards, self.reduction, id(self.together)))


class ShardedRun:
    """``run(state, data, plan, start, stop)``: gradients of shards, their sum, and the update.

    Each worker computes the gradients of its shards; all take the same update, by the sum of all.

    Parameters
    ----------
    how : Sharded
    backend : Backend
    step : TrainingStep
    """

    def __init__(self, how: Sharded, backend: Backend, step: TrainingStep) -> None:
        gradient, update = parts(step)
        self._how, self._backend = how, backend
        self._least = least_rows(step.network)
        self._gradient, self._update = backend.compile(gradient), backend.compile(update)
        self._size, self._mutable = gradient.layout.size, "mutable" in backend.capabilities
        self._tree: Tree | None = None
        self._work: Any = None
        self._nothing: Any = None

    @property
    def epochs(self) -> int:
        """As for ``Run``."""
        return self._update.epochs

    @epochs.setter
    def epochs(self, value: int) -> None:
        self._update.epochs = self._gradient.epochs = value

    @property
    def waited(self) -> float:
        """Seconds spent on the exchange with other workers so far."""
        return 0.0 if self._tree is None else self._tree.waited

    @property
    def execution(self) -> Execution:
        """How the gradients ran, and what was not at its best in the update, too."""
        mode, notes = self._gradient.execution
        return Execution(mode, tuple(dict.fromkeys((*notes, *self._update.execution.notes))))

    def __call__(self, state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
        """Apply the step for ``k`` in ``range(start, stop)``."""
        with np.errstate(all="ignore"):  # a loss that diverges is reported
            return self._taken(state, data, plan, start, stop)

    def _taken(self, state: State, data: Data, plan: Plan, start: int, stop: int) -> State:
        tree = self._tree or self._prepared(state)
        bounds = cuts(plan.rows.shape[-1], self._how.shards, self._least)
        some = sum(a < b for a, b in bounds)
        mine = [self._part(plan, i, *bounds[i]) for i in range(*tree.own) if i < some]
        for k in range(start, stop):
            self._work = state._replace(moments=(), grad=self._work.grad)
            flat = tree.sum(self._leaves(data, mine, k), some)
            if not self._mutable:  # the run owned what it was given
                state = self._work._replace(moments=state.moments, grad=state.grad)
            if self._how.together.on_host:
                flat = self._backend.asarray(flat)
            # A view, since the array is the tree's.
            state = state._replace(moments=(*state.moments, flat[:]))
            state = self._update(state, self._nothing, plan, k, k + 1)
            state = state._replace(moments=state.moments[:-1])
        return state

    def _prepared(self, state: State) -> Tree:
        """Make the memory that all steps use, now that the model's dtype is known."""
        backend, dtype, together = self._backend, state.params.dtype, self._how.together
        name = str(dtype).rpartition(".")[2]

        def empty(n: int) -> Array:
            if together.on_host:
                return np.empty(n, name)
            return backend.xp.empty(n, dtype=dtype, device=backend.ops.device)

        zeros = backend.asarray(np.zeros(self._size, name))
        self._work = state._replace(grad=zeros)
        one = backend.asarray(np.zeros((1, 1), name))
        self._nothing = Data(one, one, None, None, None)
        make = EngineSum if self._how.reduction == "engine" else Tree
        self._tree = make(self._how.shards, together, self._size, empty, self._keep)
        return self._tree

    def _part(self, plan: Plan, shard: int, begin: int, end: int) -> Plan:
        """Return the plan of a shard."""
        keys = shard_keys(self._backend.xp, plan.keys, shard)
        return plan._replace(rows=plan.rows[..., begin:end], keys=keys)

    def _leaves(self, data: Data, mine: list[Plan], k: int) -> Iterator[Array]:
        """Yield the sums of this worker's shards, each valid until the next."""
        for plan in mine:
            self._work = self._gradient(self._work, data, plan, k, k + 1)
            yield self._read(self._work.grad)

    def _read(self, array: Array) -> Array:
        """Return a shard's sums where workers exchange them."""
        if not self._how.together.on_host or type(array) is np.ndarray:
            return array
        return self._backend.to_numpy(array)

    def _keep(self, array: Array, memory: Array) -> Array:
        if self._how.together.on_host or self._mutable:
            memory[...] = array
            return memory
        return self._backend.xp.asarray(array, copy=True)
