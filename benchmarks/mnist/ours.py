"""A recipe with xpmlp, as its users would train it."""

from typing import Any

import numpy as np

import xpmlp
from xpmlp.training.digit_recipes import DigitRecipe

WARM_ROWS = 2000
"""Rows of a fit before the clock of a warm run begins: it compiles."""


class Keep(xpmlp.Callback):
    """Keeps the weights of epochs, with the training seconds so far."""

    def __init__(self, every: int) -> None:
        self.every_epochs, self.kept = every, list[tuple[int, float, Any]]()

    def on_epoch_end(self, training: Any) -> None:
        """Copy them to the host."""
        done = training.finished
        if done % self.every_epochs == 0 or done == training.epochs:
            seconds = sum(training.history["seconds"])
            self.kept.append((done, seconds, training.mlp.state_dict()))


class Ours:
    """A network, warmed up."""

    def __init__(
        self, recipe: DigitRecipe, job: dict[str, Any], X: Any, y: Any, epochs: int
    ) -> None:
        self.recipe, self.X, self.y, self.epochs = recipe, X, y, epochs
        self.mlp = xpmlp.MLP(
            **recipe.network(), backend=job["backend"], device=job["device"], seed=job["seed"]
        )
        self.device = self.mlp.backend.device_name()
        self.options = recipe.fit() | {"epochs": epochs}
        first = self.mlp.state_dict()
        rows = len(X) if job["backend"] == "jax" else WARM_ROWS  # JAX compiles a whole epoch
        self.mlp.fit(X[:rows], y[:rows], **self.options | {"epochs": 1})
        self.mlp.load_state_dict(first)
        self.mlp.epochs_trained = 0

    def train(self, every: int) -> tuple[float, list[tuple[int, float, Any]]]:
        """Return the seconds of training, and (epoch, seconds, weights) of those that are kept."""
        keep = Keep(every)
        self.mlp.fit(self.X, self.y, callbacks=[keep], **self.options)
        return keep.kept[-1][1], keep.kept

    def accuracy(self, weights: Any, X: Any, y: Any, rounds: int) -> float:
        """Return the share of pictures that these weights read right."""
        self.mlp.load_state_dict(weights)
        predicted = self.mlp.predict(X, augment_rounds=rounds)
        return float(np.mean(np.asarray(predicted) == y))
