"""How the data come to the steps: lying on the device, or in chunks from the host."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np

from xpmlp.model.memory import CHUNK_BYTES, gathered_bytes
from xpmlp.nn.contract import Array, Backend, Data, Plan

CHUNK_STEPS = 256
"""Most steps whose rows are copied to the device at once."""


class Piece(NamedTuple):
    """Steps ``start`` to ``stop`` of a plan, with the data that its rows point into."""

    data: Data
    plan: Plan
    start: int
    stop: int


class Drawn(NamedTuple):
    """Steps of one batch size: each one's rows of the whole data, (steps, size), and the plan."""

    rows: np.ndarray
    plan: Plan


class Feed(Protocol):
    """The training data, wherever they lie."""

    data: Data

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return where steps find their rows: int32, shape (steps, size), for the plan."""
        ...

    def pieces(self, drawn: list[Drawn], done: int = 0) -> Iterator[Piece]:
        """Go through an epoch, from the step after ``done``.

        A piece is the caller's until it asks for the next.
        """
        ...

    def inputs(self, rows: np.ndarray) -> Array:
        """Return rows of the inputs on the device, before scaling."""
        ...

    def targets(self) -> np.ndarray:
        """Return all encoded targets, on the host."""
        ...


class OnDevice:
    """Data that lie on the device: steps read an epoch's rows from them."""

    def __init__(self, backend: Backend, data: Data) -> None:
        self.data = data
        self._backend = backend

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows themselves."""
        return rows

    def pieces(self, drawn: list[Drawn], done: int = 0) -> Iterator[Piece]:
        """Return each plan in one piece."""
        for rows, plan in drawn:
            if done < len(rows):
                yield Piece(self.data, plan, done, len(rows))
            done = max(done - len(rows), 0)

    def inputs(self, rows: np.ndarray) -> Array:
        """Take rows on the device."""
        places = self._backend.asarray(rows.astype(np.int32))
        return self._backend.xp.take(self.data.X, places, axis=0)

    def targets(self) -> np.ndarray:
        """Copy the targets to the host."""
        return np.asarray(self._backend.to_numpy(self.data.y))


class FromHost:
    """NumPy arrays, of which the rows of some steps at a time are gathered and copied.

    The steps see the same numbers in the same order as with the data on the device. Of sparse
    inputs no more rows than that are dense at once.

    Parameters
    ----------
    backend : Backend
    data : Data
        X (``SparseRows``, too), y and weight on the host, shift and scale on the device.
    batch : int
        Rows of a step.
    """

    def __init__(self, backend: Backend, data: Data, batch: int) -> None:
        self.data = data
        self._backend = backend
        self._arrays = (data.X, data.y, data.weight)
        self._steps = chunk_steps(backend, gathered_bytes(self._arrays) * batch)
        rows = min(self._steps * batch, data.X.shape[0])
        self._upload = backend.uploader(self._arrays, rows)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return where a chunk has the rows: they come in the order of its steps."""
        steps, size = rows.shape
        first: np.ndarray = np.arange(steps, dtype=np.int32) % self._steps * size
        places: np.ndarray = first[:, None] + np.arange(size, dtype=np.int32)
        return places

    def pieces(self, drawn: list[Drawn], done: int = 0) -> Iterator[Piece]:
        """Upload chunk by chunk; of one that is partly done, all, since steps know its places."""
        spans = [
            (rows[start : start + self._steps], plan, start)
            for rows, plan in drawn
            for start in range(0, len(rows), self._steps)
        ]
        while spans and done >= len(spans[0][0]):
            done -= len(spans.pop(0)[0])
        chunks = self._upload(rows.reshape(-1) for rows, _, _ in spans)
        for (rows, plan, start), (X, y, weight) in zip(spans, chunks, strict=True):
            data = self.data._replace(X=X, y=y, weight=weight)
            yield Piece(data, plan, start + done, start + len(rows))
            done = 0

    def inputs(self, rows: np.ndarray) -> Array:
        """Copy rows to the device."""
        return self._backend.asarray(self.data.X[rows])

    def targets(self) -> np.ndarray:
        """Return the targets."""
        return np.asarray(self.data.y)


def chunk_steps(backend: Backend, step_bytes: int) -> int:
    """Return how many steps' rows to copy at once, so that two chunks leave room for the rest."""
    memory = backend.memory()
    limit = CHUNK_BYTES if memory is None else min(CHUNK_BYTES, memory.free // 8)
    return max(1, min(CHUNK_STEPS, limit // step_bytes))
