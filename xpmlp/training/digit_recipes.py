"""Recipes for handwritten digits of 28x28 pixels: a plain network, trained on varied pictures.

What they set was chosen on the last 10,000 of MNIST's training pictures, after training on the
50,000 before; ``python -m benchmarks mnist`` trains on all 60,000 and then reads the test pictures,
once.
"""

from dataclasses import dataclass
from typing import Any

from xpmlp.errors import unknown_name
from xpmlp.optimizers import Adam
from xpmlp.schedules import OneCycle

SHAPE = (28, 28)
"""The pictures for which strengths are chosen: they are in pixels."""


@dataclass(frozen=True)
class DigitRecipe:
    """The settings of a network for digits, and of its training.

    Attributes
    ----------
    name : {"quick", "good", "best"}
    hidden : tuple of int
    epochs : int
    learning_rate : float
        The highest, of one cycle.
    augment : tuple of str
        As for ``fit(augment=...)``.
    average : float or None
        Of ``Adam``: predictions are those of averaged weights.
    dropout : float
    batch_size : int
    rounds : int
        By how many variants of each picture to predict, ``predict(X, augment_rounds=...)``.

    Examples
    --------
    >>> from xpmlp.training.digit_recipes import digit_recipe
    >>> made = digit_recipe("quick")
    >>> mlp = xpmlp.MLP(**made.network(), backend="numpy", seed=0)
    >>> sorted(made.fit())
    ['augment', 'batch_size', 'epochs', 'optimizer']
    """

    name: str
    hidden: tuple[int, ...]
    epochs: int
    learning_rate: float
    augment: tuple[str, ...]
    average: float | None = None
    dropout: float = 0.0
    batch_size: int = 128
    rounds: int = 0

    def network(self) -> dict[str, Any]:
        """Return the arguments of ``MLP``."""
        sizes = [SHAPE[0] * SHAPE[1], *self.hidden, 10]
        return {"sizes": sizes, "dropout": self.dropout, "image_shape": SHAPE}

    def fit(self) -> dict[str, Any]:
        """Return the arguments of ``fit``, besides the data."""
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "optimizer": Adam(OneCycle(self.learning_rate), average=self.average),
            "augment": list(self.augment),
        }


RECIPES = {
    made.name: made
    for made in (
        DigitRecipe(
            "quick",
            (512, 512),
            6,
            3e-3,
            ("shift:1.5", "rotate:10", "scale:0.1", "shear:0.1"),
            average=0.99,
        ),
        DigitRecipe(
            "good",
            (512, 512),
            25,
            3e-3,
            ("elastic:24", "shift:1"),
            average=0.999,
        ),
        DigitRecipe(
            "best",
            (1024, 512),
            400,
            2e-3,
            ("elastic", "rotate:10", "scale:0.12", "shear:0.1", "shift:1"),
            average=0.999,
            rounds=8,
        ),
    )
}


def digit_recipe(name: str) -> DigitRecipe:
    """Return a recipe by its name.

    Raises
    ------
    InvalidValueError
        For another one.

    Examples
    --------
    >>> from xpmlp.training.digit_recipes import digit_recipe
    >>> digit_recipe("quick").hidden
    (512, 512)
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]
