"""The batches of an epoch: which rows each step takes, and how the data come to the steps.

All that is random or scheduled is drawn on the host before an epoch begins. It follows from the
seed, the epoch and the history, so an epoch can be drawn again. The data lie on the device, or
come from the host in chunks.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from xpmlp.arrays.stored import StoredMatrix
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.model.base import Model
from xpmlp.model.memory import CHUNK_BYTES, gathered_bytes
from xpmlp.nn.contract import Array, Backend, Data, Plan
from xpmlp.nn.optimizers import Optimizer
from xpmlp.nn.orders import Cut, stored_order
from xpmlp.nn.random import as_order, augment_keys, permutation, row_dtype
from xpmlp.nn.schedules import Time
from xpmlp.training.rates import coefficients

STORED_BYTES = 2**25
"""Most bytes of rows in a file that are gathered at a time: their groups are in memory, too."""

CHUNK_STEPS = 256
"""Most steps whose rows are copied to the device at a time."""


Order = Callable[[int, int], Array]
"""``order(epoch, n)``: the rows of an epoch, counted over all fits, as any number of integers below
n."""


FULL = "full"
"""Rows in a new order, of which those of a smaller last batch are left out."""


def check_order(shuffle: bool | str | Order) -> bool | str | Order:
    """Return what ``fit`` takes as ``shuffle``; InvalidTypeError for anything else."""
    if not callable(shuffle) and shuffle not in (True, False, FULL):
        raise InvalidTypeError(
            f"shuffle: found {shuffle!r}; expected a bool, {FULL!r} or a function"
        )
    return shuffle


class Chunk(NamedTuple):
    """Steps ``start`` to ``stop`` of a plan, with the data that its indices point into."""

    data: Data
    plan: Plan
    start: int
    stop: int


class EpochPlan(NamedTuple):
    """Steps of one batch size: the rows that each takes, and their plan.

    The rows have the shape (steps, size), or (steps, k, size) if each of k networks has its own.
    """

    rows: np.ndarray
    plan: Plan


WHOLE = Cut()
"""Batches that are not cut."""


class BatchSource(Protocol):
    """The training data, on the device or on the host."""

    data: Data

    def indices(self, rows: np.ndarray) -> np.ndarray:
        """Return the indices by which steps find their rows: int32, of the same shape."""

    def chunks(self, plans: list[EpochPlan], done: int = 0) -> Iterator[Chunk]:
        """Yield an epoch, from the step after ``done``.

        A chunk is valid until the next is asked for.
        """


class OnDevice:
    """Data on the device, from which steps read their rows."""

    def __init__(self, data: Data) -> None:
        if data.X.shape[0] > 2**31:
            raise InvalidValueError(
                f"X: found {data.X.shape[0]:,} rows on the device, where their numbers have 32 "
                "bits; expected 2,147,483,648 at most. Pass data_on='host'"
            )
        self.data = data

    def indices(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows themselves."""
        return rows

    def chunks(self, plans: list[EpochPlan], done: int = 0) -> Iterator[Chunk]:
        """Return each plan in one chunk."""
        for rows, plan in plans:
            if done < len(rows):
                yield Chunk(self.data, plan, done, len(rows))
            done = max(done - len(rows), 0)


class FromHost:
    """Data on the host: the rows of some steps at a time are gathered and copied to the device.

    The steps see the same numbers in the same order as with data on the device. Only the rows of a
    chunk of sparse inputs are dense at a time.

    Parameters
    ----------
    backend : Backend
    data : Data
        X (also ``SparseMatrix`` or ``StoredMatrix``), y and weight on the host, shift and scale on
        the device.
    batch : int
        Rows of a step.
    orders : int
        How many networks have an order of rows of their own, each of which takes a batch.
    sampled : bool
        Whether an epoch may have more rows than there are.
    cut : Cut
        Which rows of a batch are this worker's; no others are read.
    """

    def __init__(
        self,
        backend: Backend,
        data: Data,
        batch: int,
        orders: int = 1,
        sampled: bool = False,
        cut: Cut = WHOLE,
    ) -> None:
        own = cut.own(batch)
        self.data, self._cut, batch = data, cut, (own.stop - own.start) * orders
        self._arrays = (data.X, data.y, data.weight)
        stored = isinstance(data.X, StoredMatrix)
        most = STORED_BYTES if stored else CHUNK_BYTES
        self._steps = chunk_steps(backend, gathered_bytes(self._arrays) * batch, most)
        if stored:
            data.X.hold(orders * (cut.last - cut.first))
        rows = self._steps * batch
        rows = rows if sampled else min(rows, data.X.shape[0] * orders)
        self._upload = backend.uploader(self._arrays, rows)

    def indices(self, rows: np.ndarray) -> np.ndarray:
        """Return indices into a chunk, which has the rows in the order of its steps."""
        place, own = np.zeros(rows.shape, np.int32), self._own(rows)
        steps, size = len(own), math.prod(own.shape[1:])
        first: np.ndarray = np.arange(steps, dtype=np.int32) % self._steps * size
        self._own(place)[...] = (first[:, None] + np.arange(size, dtype=np.int32)).reshape(
            own.shape
        )
        return place

    def _own(self, rows: np.ndarray) -> np.ndarray:
        """Return a view of the rows of each step that are this worker's."""
        return rows[..., self._cut.own(rows.shape[-1])]

    def chunks(self, plans: list[EpochPlan], done: int = 0) -> Iterator[Chunk]:
        """Upload chunk by chunk; all of one that is partly done, since plans index into it."""
        spans = [
            (rows[start : start + self._steps], plan, start)
            for rows, plan in plans
            for start in range(0, len(rows), self._steps)
        ]
        while spans and done >= len(spans[0][0]):
            done -= len(spans.pop(0)[0])
        chunks = self._upload(self._own(rows).reshape(-1) for rows, _, _ in spans)
        for (rows, plan, start), (X, y, weight) in zip(spans, chunks, strict=True):
            data = self.data._replace(X=X, y=y, weight=weight)
            yield Chunk(data, plan, start + done, start + len(rows))
            done = 0


def batch_source(
    backend: Backend,
    data: Data,
    on_host: bool,
    batch: int,
    orders: int = 1,
    sampled: bool = False,
    cut: Cut = WHOLE,
) -> BatchSource:
    """Return the source of data on the host or on the device."""
    return FromHost(backend, data, batch, orders, sampled, cut) if on_host else OnDevice(data)


def chunk_steps(backend: Backend, step_bytes: int, most: int = CHUNK_BYTES) -> int:
    """Return for how many steps to copy rows at a time: two chunks must leave room for the rest."""
    memory = backend.memory()
    limit = most if memory is None else min(most, memory.free // 8)
    return max(1, min(CHUNK_STEPS, limit // step_bytes))


class Planner:
    """Draws the plans of epochs.

    Parameters
    ----------
    model : Model
        Its ``epochs_trained`` counts over all fits, so that no order repeats.
    optimizer : Optimizer
    source : BatchSource
    batch_size : int
    shuffle : bool, "full" or Order
    cut : Cut
        In how many streams rows in a file are shuffled.

    Attributes
    ----------
    examples, steps : int
        Rows and steps of the epoch that ``begin`` has begun; before, of one that takes each row.
    """

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        source: BatchSource,
        batch_size: int,
        shuffle: bool | str | Order,
        cut: Cut = WHOLE,
    ) -> None:
        self.model, self.source, self._cut = model, source, cut
        self.optimizer = model.grouped(optimizer)
        self.batch_size, self.shuffle = batch_size, shuffle
        self.examples = self._rows = source.data.X.shape[0]
        self.steps = math.ceil(self._rows / batch_size)
        if shuffle == FULL:
            self.steps = self._rows // batch_size
            self.examples = self.steps * batch_size
        self._full = self.examples
        self._order_now: np.ndarray | None = None
        self._next_order: np.ndarray | None = None

    def begin(self, rows: Any = None) -> None:
        """Draw the row order of an epoch, or take the rows that are given."""
        order, self._next_order = self._next_order, None
        if rows is not None:
            order = self.for_all(as_order(rows, self._rows, "rows: found"))
        elif order is None:
            order = self._order(self.model.epochs_trained)
        self._order_now, self.examples = order, order.shape[-1]
        self.steps = math.ceil(self.examples / self.batch_size)

    def look_ahead(self) -> None:
        """Draw the row order of the next epoch; not a custom one, which may have a state."""
        if not callable(self.shuffle) and not isinstance(self.source.data.X, StoredMatrix):
            self._next_order = self._order(self.model.epochs_trained + 1)

    def _order(self, epoch: int) -> np.ndarray:
        n, seeds = self._rows, self.model.seeds
        if callable(self.shuffle):
            return self.for_all(as_order(self.shuffle(epoch, n), n))
        if not self.shuffle:
            return self.for_all(np.arange(n, dtype=row_dtype(n)))
        orders = [self._shuffled(seed, epoch)[: self._full] for seed in seeds]
        return self.for_all(orders[0]) if len(set(seeds)) == 1 else np.stack(orders)

    def _shuffled(self, seed: int, epoch: int) -> np.ndarray:
        X = self.source.data.X
        if isinstance(X, StoredMatrix):
            shards, least = self._cut[:2]
            batch = self.batch_size
            return stored_order(seed, epoch, X.groups, X.buffer, shards, batch, least)
        return permutation(seed, epoch, self._rows)

    def for_all(self, order: np.ndarray) -> np.ndarray:
        """Return an order that all networks have in common.

        Their inputs are then one array; but for dropout of the inputs, and augmentation, which are
        each network's.
        """
        network = self.model.network
        drawn = network.architecture.input_dropout or self.model.augment
        if network.seeded is None or not drawn:
            return order
        return np.broadcast_to(order, (network.seeded, len(order)))

    def keys(self, epoch: int, time: Time) -> np.ndarray:
        """Draw the keys of dropout; those of each network, if they draw on their own.

        After them comes the key of augmentation, if there is any.
        """
        network, seeds = self.model.network, self.model.seeds
        each = [network.keys(seed, epoch, time) for seed in seeds]
        if self.model.augment is not None:
            drawn = (augment_keys(s, epoch, time.steps, each[0].shape[-1]) for s in seeds)
            each = [np.concatenate(pair, axis=1) for pair in zip(each, drawn, strict=True)]
        return each[0] if network.seeded is None else np.stack(each, axis=1)

    def draw(self, taken: int, time: Time) -> tuple[list[EpochPlan], list[Any]]:
        """Return the plans of the epoch begun: full batches, and a smaller last one if there is.

        With them come the learning rates of the steps.

        Parameters
        ----------
        taken : int
            Steps before it.
        time : Time
        """
        model, n, batch = self.model, self.examples, self.batch_size
        order = self._order_now
        assert order is not None
        values, rates = coefficients(self.optimizer, taken, time)
        with np.errstate(over="ignore"):  # an absurd rate diverges, which is reported
            numbers = values.astype(model.dtype)
        keys = self.keys(model.epochs_trained, time)
        asarray = model.backend.asarray

        def plan(start: int, stop: int, size: int) -> EpochPlan:
            rows = order[..., start * batch : start * batch + (stop - start) * size]
            rows = rows.reshape(*order.shape[:-1], stop - start, size)
            rows = rows if rows.ndim == 2 else np.ascontiguousarray(rows.transpose(1, 0, 2))
            indices, scalars = self.source.indices(rows), numbers[start:stop]
            return EpochPlan(
                rows, Plan(asarray(indices), asarray(scalars), asarray(keys[start:stop]))
            )

        full = n // batch
        plans = [plan(0, full, batch)]
        if full < self.steps:
            plans.append(plan(full, self.steps, n - full * batch))
        return plans, rates
