"""What the host decides of an epoch before it begins: order of the rows, rates, dropout's keys.

All of it follows from the seed, the epoch and the history, so that an epoch can be drawn again.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from xpmlp.nn.contract import Plan
from xpmlp.nn.random import as_order, dropout_keys, permutation
from xpmlp.training.batches import Drawn, Feed

if TYPE_CHECKING:
    from xpmlp.mlp import MLP
    from xpmlp.nn.optimizers import Optimizer

Order = Callable[[int, int], Any]
"""``order(epoch, n)``: the rows of an epoch, counted over all fits, as n integers below n."""


class Plans:
    """Draws the epochs of a training.

    Parameters
    ----------
    mlp : MLP
        Whose ``epochs_trained`` counts on over several fits, so that no order repeats.
    optimizer : Optimizer
    feed : Feed
    batch_size : int
    shuffle : bool or Order
    """

    def __init__(
        self,
        mlp: "MLP",
        optimizer: "Optimizer",
        feed: Feed,
        batch_size: int,
        shuffle: bool | Order,
    ) -> None:
        self.mlp, self.optimizer, self.feed = mlp, optimizer, feed
        self.batch_size, self.shuffle = batch_size, shuffle
        self.examples = feed.data.X.shape[0]
        self.steps = math.ceil(self.examples / batch_size)
        self._next_order: np.ndarray | None = None

    def look_ahead(self) -> None:
        """Draw the order of the epoch after this one; not a user's, which may have a state."""
        if not callable(self.shuffle):
            self._next_order = self._order(self.mlp.epochs_trained + 1)

    def _order(self, epoch: int) -> np.ndarray:
        n = self.examples
        if callable(self.shuffle):
            return as_order(self.shuffle(epoch, n), n)
        return (
            permutation(self.mlp.seed, epoch, n) if self.shuffle else np.arange(n, dtype=np.int32)
        )

    def draw(self, taken: int, rates: list[float]) -> list[Drawn]:
        """Draw an epoch: the full batches, and the smaller last one if there is one.

        Parameters
        ----------
        taken : int
            Steps before it.
        rates : list of float
            The learning rate of each step.
        """
        mlp, n, batch = self.mlp, self.examples, self.batch_size
        order, self._next_order = self._next_order, None
        if order is None:
            order = self._order(mlp.epochs_trained)
        t = np.arange(1.0, self.steps + 1.0) + taken
        scalars = np.broadcast_arrays(t, *self.optimizer.coefficients(t, np.array(rates)))[1:]
        with np.errstate(over="ignore"):  # an absurd rate diverges, and that is reported
            coefficients = np.stack(scalars, axis=1).astype(mlp.dtype)
        keys = dropout_keys(mlp.seed, mlp.epochs_trained, self.steps, mlp.network.dropouts)
        asarray = mlp.backend.asarray

        def plan(start: int, stop: int, size: int) -> Drawn:
            rows = order[start * batch : start * batch + (stop - start) * size]
            rows = rows.reshape(stop - start, size)
            places, scalars = self.feed.places(rows), coefficients[start:stop]
            return Drawn(rows, Plan(asarray(places), asarray(scalars), asarray(keys[start:stop])))

        full = n // batch
        drawn = [plan(0, full, batch)]
        if full < self.steps:
            drawn.append(plan(full, self.steps, n - full * batch))
        return drawn
