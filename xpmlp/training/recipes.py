"""Recipes for tables: every setting of a network and its training, so that none has to be tuned.

They are those of RealMLP (Holzmüller, Grinsztajn and Steinwart 2024, "Better by Default"), chosen
by its authors on 118 data sets and measured on 90 others.
"""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import xpmlp_backends

from xpmlp.data.table import Table
from xpmlp.errors import InvalidValueError, unknown_name
from xpmlp.losses import MSE, Loss, SparseCategoricalCrossEntropy
from xpmlp.model.base import Model
from xpmlp.model.members import member
from xpmlp.nn.embeddings import Embedding
from xpmlp.nn.layers import Layer, Pass
from xpmlp.nn.random import Purpose, generator
from xpmlp.optimizers import Adam, AdamW, Optimizer
from xpmlp.schedules import CosLog4, FlatCos

RECIPES = ("fast", "best")

ONE_HOT = {"fast": 100, "best": 8}
"""Most values of a category that have an input each; of more, "best" learns a vector for each."""

SIMPLEX = 5
"""Rows whose random mean a unit's bias is minus."""

FIRST_ROWS = 4096
"""Most rows that the first weights are fitted to."""


@dataclass(frozen=True)
class Recipe:
    """The settings of a network for a table, and of its training.

    ``recipe`` makes one, in which ``dataclasses.replace(made, epochs=64)`` changes a setting.

    Attributes
    ----------
    name : {"fast", "best"}
        RealMLP's TD-S and TD.
    classes : int
        How many there are; 0 to predict values.
    activation : str
    learning_rate : float
        The highest, of the weights; ``optimizer`` says what other parameters have.
    hidden : tuple of int
    epochs, batch_size : int
    label_smoothing : float
    embeds : bool
        Whether numbers and large categories are embedded, activations mixed with the identity, and
        first weights fitted to the data.
    dropout, weight_decay : float
        At the beginning; half of the time they stay, then they fall to 0.
    clamps : bool
        Whether predicted values stay within the range of the training targets.

    Examples
    --------
    >>> from xpmlp.training.recipes import recipe
    >>> made = recipe("fast", classes=3)
    >>> made.hidden, made.activation, made.learning_rate, made.epochs
    ((256, 256, 256), 'selu', 0.04, 256)
    """

    name: str
    classes: int
    activation: str
    learning_rate: float
    hidden: tuple[int, ...] = (256, 256, 256)
    epochs: int = 256
    batch_size: int = 256
    label_smoothing: float = 0.0
    embeds: bool = False
    dropout: float = 0.0
    weight_decay: float = 0.0
    clamps: bool = False

    def batch(self, rows: int) -> int:
        """Return a batch size with as many full batches as ``batch_size`` has, and none smaller.

        RealMLP leaves out the rows of a smaller last batch, others in each epoch. This uses them.

        Examples
        --------
        >>> from xpmlp.training.recipes import recipe
        >>> made = recipe("fast", classes=2)
        >>> made.batch(100), made.batch(800), made.batch(25600)
        (100, 267, 256)
        """
        steps = max(rows // self.batch_size, 1)
        return -(-rows // steps)

    def table(self, given: Table | None = None) -> Table:
        """Return a table that scales as the recipe does, not fitted, with the lists of another.

        Examples
        --------
        >>> from xpmlp.training.recipes import recipe
        >>> made = recipe("fast", classes=2).table(xpmlp.Table(drop=["name"]))
        >>> made.settings["drop"], made.scaling
        (['name'], 'quartiles')
        """
        said: Any = {} if given is None else given.settings
        return Table(**said, scaling="quartiles", one_hot=ONE_HOT[self.name], codes=self.embeds)

    def loss(self) -> Loss:
        """Return the loss, of class indices or of values.

        Examples
        --------
        >>> from xpmlp.training.recipes import recipe
        >>> recipe("best", classes=2).loss()
        SparseCategoricalCrossEntropy(label_smoothing=0.1)
        """
        if not self.classes:
            return MSE()
        return SparseCategoricalCrossEntropy(label_smoothing=self.label_smoothing)

    def network(self, table: Table, values: int = 1) -> dict[str, Any]:
        """Return the arguments of ``MLP`` for the inputs of a table that has been fitted.

        ``values`` is how many are to be predicted, where there are no classes.

        Examples
        --------
        >>> from xpmlp.training.recipes import recipe
        >>> made = recipe("fast", classes=3)
        >>> table = made.table().fit({"age": [20.0, 30.0, 35.0], "sex": ["f", "m", "f"]})
        >>> xpmlp.MLP(**made.network(table), backend="numpy", seed=0).sizes[-1]
        3
        """
        made = {
            "sizes": [table.width, *self.hidden, max(self.classes, 2) if self.classes else values],
            "activation": self.activation,
            "loss": self.loss(),
            "targets": "labels" if self.classes else "values",
            "parametrization": "ntk",
            "input_scale": True,
            "scaling": "standard",
            "table": table,
        }
        if not self.embeds:
            return made | {"bias_initializer": "normal", "zero_last": True}
        numbers, categories = table.numbers, table.categories
        embedding = Embedding(
            "pbld" if numbers else None, columns=numbers, categories=categories, size=8
        )
        return made | {
            "activation_mix": True,
            "dropout": FlatCos(self.dropout) if self.dropout else 0.0,
            "embedding": embedding if numbers or categories else None,
        }

    def optimizer(self, names: Any) -> Optimizer:
        """Return the optimizer for parameters of these names, ``mlp.parameters``.

        Rates of biases, shares of activations and embeddings are a tenth, that of the inputs'
        scales is six times as high. Weight decay is multiplied by the same factors once more, as
        RealMLP does it; biases have none.

        Examples
        --------
        >>> from xpmlp.training.recipes import recipe
        >>> made = recipe("fast", classes=3).optimizer(["scale.g", "dense1.W", "dense1.b"])
        >>> [(pattern, group.rate) for pattern, group in made.groups]
        [('scale.*', 6.0), ('*.b', 0.1)]
        """
        factors = {"scale.*": 6.0, "mix*": 0.1, "embedding.*": 0.1, "*.b": 0.1}
        groups: dict[str, dict[str, Any]] = {}
        for pattern, factor in factors.items():
            if any(fnmatchcase(name, pattern) for name in names):
                groups[pattern] = {"rate": factor}
                if self.weight_decay:
                    decay = FlatCos(factor * self.weight_decay)
                    groups[pattern]["weight_decay"] = 0.0 if pattern == "*.b" else decay
        settings: Any = {"beta2": 0.95, "groups": groups}
        rate = CosLog4(self.learning_rate)
        if not self.weight_decay:
            return Adam(rate, **settings)
        return AdamW(rate, weight_decay=FlatCos(self.weight_decay), **settings)

    def prepare(self, mlp: Model, X: np.ndarray, y: np.ndarray) -> None:
        """Set what the training rows decide, before a network as ``network`` has it is trained.

        With "best" the first weights are fitted to the inputs, and predicted values end where the
        targets do. With "fast" only the last bias is set, to 0.

        Parameters
        ----------
        mlp : MLP
        X : ndarray, shape (n, inputs)
            What the table makes of the rows.
        y : ndarray, shape (n,) or (n, values)

        Examples
        --------
        >>> from xpmlp.training.recipes import recipe
        >>> made = recipe("best", classes=0)
        >>> X, y = {"age": [20.0, 30.0, 35.0], "sex": ["f", "m", "f"]}, np.array([1.0, 2.0, 4.0])
        >>> table = made.table().fit(X)
        >>> mlp = xpmlp.MLP(**made.network(table), backend="numpy", seed=0)
        >>> made.prepare(mlp, table.transform(X), y)
        """
        if self.embeds:
            mlp.load_state_dict(_fitted(mlp, X))
        else:
            last, values = mlp.network.biases[-1], mlp.state_dict()
            mlp.load_state_dict(values | {last: np.zeros_like(values[last])})
        if self.clamps:
            y = np.asarray(y, np.float64).reshape(len(y), -1)
            bounds = {"target_low": y.min(axis=0), "target_high": y.max(axis=0)}
            mlp.scaling = replace(mlp.scaling, **bounds)


def recipe(name: str, classes: int, metric: str | None = None) -> Recipe:
    """Return a recipe for so many classes, or for values to predict.

    Parameters
    ----------
    name : {"fast", "best"}
        "fast" is RealMLP-TD-S; "best" is RealMLP-TD, with embeddings, dropout and weight decay,
        which is better by a little and takes twice the time.
    classes : int
        0 to predict values.
    metric : str, optional
        What counts: for "log_loss" and "auc" labels are not smoothed.

    Raises
    ------
    InvalidValueError
        For another name, or a negative number of classes.

    Examples
    --------
    >>> from xpmlp.training.recipes import recipe
    >>> recipe("best", classes=0).learning_rate
    0.2
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    if classes < 0:
        raise InvalidValueError(f"classes: found {classes}; expected 0, for values, or more")
    made = Recipe(name, classes, "selu" if classes else "mish", 0.04)
    if classes and metric not in ("log_loss", "auc"):
        made = replace(made, label_smoothing=0.1)
    if name == "fast":
        return made if classes else replace(made, learning_rate=0.07)
    made = replace(made, embeds=True, dropout=0.15, weight_decay=0.02)
    return made if classes else replace(made, learning_rate=0.2, clamps=True)


def _fitted(mlp: Model, X: np.ndarray) -> dict[str, np.ndarray]:
    """Return ``fitted_weights``; of networks that share nothing those that each has alone."""
    if mlp.network.seeded is None:
        return fitted_weights(mlp, X)
    each = [fitted_weights(member(mlp, i), X) for i in range(mlp.network.seeded)]
    return {name: np.stack([values[name] for values in each]) for name in each[0]}


def fitted_weights(mlp: Model, X: np.ndarray) -> dict[str, np.ndarray]:
    """Return first weights and biases that suit the data, layer by layer, as RealMLP draws them.

    A unit's weights are divided by the standard deviation of what they make of the data. Its bias
    is minus a random mean of five rows' values, drawn for each unit: so the unit's kink is where
    the data are (an idea of Steinwart 2019, "he+5"). Of networks that share weights the deviation
    is over all of them; each has its bias if biases are not shared, too.
    """
    ops = xpmlp_backends.backend("numpy").ops
    values: dict[str, Any] = {n: np.asarray(v, np.float64) for n, v in mlp.state_dict().items()}
    rng = generator(mlp.seed, Purpose.BIASES, 1)
    rows = np.linspace(0, len(X) - 1, min(len(X), FIRST_ROWS)).astype(np.int64)
    h = np.asarray(X[rows], np.float64)
    for layer in mlp.network.layers:
        W, b = f"{layer.name}.W", f"{layer.name}.b"
        if W in values and b in values:
            z = _run(ops, layer, values | {b: np.zeros_like(values[b])}, h)
            seen = z.reshape(-1, z.shape[-1])
            deviation = seen.std(axis=-2, keepdims=True)
            deviation[deviation == 0] = 1.0
            each = z if values[b].ndim > 1 else seen
            bias = -_random_means(rng, each / deviation)
            values[W], values[b] = values[W] / deviation, bias.reshape(values[b].shape)
            h = z / deviation
            if b in layer.shapes:  # otherwise a layer after this adds it
                h = h + bias
        else:
            h = _run(ops, layer, values, h)
    return values


def _run(ops: Any, layer: Layer, values: dict[str, Any], h: np.ndarray) -> np.ndarray:
    """Return what a layer makes of its input when it predicts, in an array of its own."""
    y, _ = layer.forward(ops, values, h, Pass(statistics=values))
    return np.array(y)


def _random_means(rng: np.random.Generator, z: np.ndarray) -> np.ndarray:
    """Return for each unit the mean of some rows' values, with weights from a flat simplex.

    z is (n, units) or (networks, n, units); the rows' axis of the result has the length 1.
    """
    shape = (*z.shape[:-2], SIMPLEX, z.shape[-1])
    rows, share = rng.integers(z.shape[-2], size=shape), rng.standard_exponential(shape)
    share /= share.sum(axis=-2, keepdims=True)
    chosen = np.take_along_axis(z, rows, axis=-2)
    mean: np.ndarray = (chosen * share).sum(axis=-2, keepdims=True)
    return mean
