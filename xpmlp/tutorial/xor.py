"""A network with one hidden layer learns XOR, and the decision boundary moves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xpmlp.callbacks import Callback
from xpmlp.data import Dataset
from xpmlp.data.toy import make_xor
from xpmlp.mlp import MLP
from xpmlp.nn.optimizers import Adam
from xpmlp.nn.schedules import Cosine
from xpmlp.training.history import History
from xpmlp.training.loop import Training

EPOCHS, RATE, BATCH = 100, 0.02, 16
"""With these, 10 hidden neurons reach 98 % on fresh points in less than a second."""

SINGLY = 10
"""First epochs, in which a frame may show any step."""

SIDE = 96
"""Points per side of the grid on which the boundary is drawn."""


class Frame(NamedTuple):
    """The plane as the network saw it after ``epoch`` epochs, which may end within one.

    ``chances`` are the probabilities of class 1, shape (SIDE, SIDE), rows from the bottom up.
    """

    epoch: float
    chances: Any


class Boundary(Callback):
    """A callback that keeps frames of the decision boundary.

    Most frames show the first epochs, which change most: their share of the training grows with
    the fourth power of their number.

    Parameters
    ----------
    reach : float
        Half the side of the square that is drawn, around 0.
    count : int
        Largest number of frames after the first, which shows the untrained network.
    """

    def __init__(self, reach: float, count: int = 40) -> None:
        line = np.linspace(-reach, reach, SIDE, dtype=np.float32)
        self.grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
        self.count = count
        self.frames: list[Frame] = []

    def on_train_begin(self, training: Training) -> None:
        """Choose the steps, and keep the first frame."""
        shares = np.linspace(0, 1, self.count + 1)[1:] ** 4
        self.wanted = set(np.ceil(shares * training.epochs * training.steps).astype(int).tolist())
        self.look(training.mlp, 0)

    def on_epoch_begin(self, training: Training) -> None:
        """Look at each step of the first epochs, later at whole epochs alone."""
        self.every = int(training.epoch < SINGLY)

    def on_batch_end(self, training: Training) -> None:
        """Keep a frame, if this is one of the steps."""
        if training.total in self.wanted and training.step < training.steps:
            mlp = training.mlp.copy()  # the model has the weights of the last epoch
            mlp.weights.flat = mlp.backend.xp.asarray(training.state.params, copy=True)
            self.look(mlp, training.total / training.steps)

    def on_epoch_end(self, training: Training) -> None:
        """Keep a frame, if one of the steps was the last, or any in a later epoch."""
        done = training.epoch + 1
        first = done * training.steps - (training.steps - 1 if done > SINGLY else 0)
        if self.wanted.intersection(range(first, done * training.steps + 1)):
            self.look(training.mlp, done)

    def look(self, mlp: MLP, epoch: float) -> None:
        """Keep a frame."""
        chances = mlp.predict_proba(self.grid)[:, 1].reshape(SIDE, SIDE)
        self.frames.append(Frame(epoch, chances))


@dataclass(frozen=True)
class Run:
    """A finished training run on 300 points, with 300 fresh ones for validation.

    ``reach`` is half the side of the square that the frames show.
    """

    mlp: MLP
    data: Dataset
    history: History
    frames: list[Frame]
    reach: float

    @property
    def name(self) -> str:
        """``"10 hidden neurons"``."""
        hidden = self.mlp.sizes[1]
        return f"{hidden} hidden neuron{'s' if hidden > 1 else ''}"

    @property
    def accuracy(self) -> float:
        """Accuracy on the fresh points."""
        return self.history["val_accuracy"][-1]


def learn(
    hidden: int = 10,
    *,
    epochs: int = EPOCHS,
    rate: float = RATE,
    batch_size: int = BATCH,
    seed: int = 0,
    backend: Any = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train a network with one hidden layer of ReLUs on XOR.

    Parameters
    ----------
    hidden : int
        Neurons in the hidden layer.
    epochs, batch_size : int
    rate : float
        Adam's initial learning rate; it falls to 0 along half a cosine.
    seed : int
        Of the points, the weights and the row order.
    backend : str or Backend, optional
    callbacks : sequence of Callback
        Called besides the one that records the boundary.
    """
    data = make_xor(seed=seed)
    mlp = MLP([2, hidden, 2], backend=backend, seed=seed)
    reach = float(1.05 * np.abs(data.X).max())
    boundary = Boundary(reach)
    history = mlp.fit(
        data.X,
        data.y,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=Adam(Cosine(rate)),
        validation_data=(data.X_test, data.y_test),
        callbacks=[boundary, *callbacks],
    )
    return Run(mlp, data, history, boundary.frames, reach)
