"""A traced pass with a name for everything in it: z1, h1, W1 and so on."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpmlp.errors import InvalidValueError
from xpmlp.mlp import MLP
from xpmlp.model.trace import Record, Trace
from xpmlp.nn.layers import Layer, Pass
from xpmlp.nn.penalty import Penalty

_LETTERS = {"dense": "z", "norm": "n", "activation": "h", "dropout": "d", "residual": "r"}
_NORM_PARAMETERS = {"g": "γ", "b": "β", "W": "ω"}


@dataclass(frozen=True)
class Stage:
    """One layer at work.

    Attributes
    ----------
    kind : {"dense", "norm", "activation", "dropout", "residual"}
    number : int
        From 1; 0 for dropout of the inputs.
    layer : Layer
    source, name : str
        Names of its input and its output.
    record : Record or None
        None for the sum at the end of a residual block, whose parts are stages themselves.
    skipped : str
        For that sum: the name of the block's input.
    """

    kind: str
    number: int
    layer: Layer
    source: str
    name: str
    record: Record | None
    skipped: str = ""

    def parameters(self) -> dict[str, str]:
        """Return the symbol of each of the layer's parameters by its full name."""
        if self.record is None:
            return {}
        letters = _NORM_PARAMETERS if self.kind == "norm" else {}
        short = {name: name.partition(".")[2] for name in self.layer.shapes}
        return {name: f"{letters.get(s, s)}{self.number}" for name, s in short.items()}


@dataclass(frozen=True)
class Names:
    """Names of the inputs, and of the classes; empty where they are not known."""

    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, mlp: MLP, features: Sequence[str] | None, classes: Sequence[str] | None) -> "Names":
        """Return those given, or those that the model knows.

        Raises
        ------
        InvalidValueError
            If there are more or fewer than the network has inputs and outputs.
        """
        if features is None:
            features = mlp.table.inputs if mlp.table is not None else ()
        if classes is None:
            classes = mlp.metadata.get("classes") or ()
        outputs = max(mlp.sizes[-1], 2 if mlp.task.kind == "binary" else 0)
        for name, found, count in (
            ("features", features, mlp.sizes[0]),
            ("classes", classes, outputs),
        ):
            if found and len(found) != count:
                raise InvalidValueError(
                    f"{name}: found {len(found)} names; the network has {count} of them"
                )
        return cls(tuple(map(str, features)), tuple(map(str, classes)))


@dataclass(frozen=True)
class Walk:
    """A traced pass, with names for everything.

    ``stages`` are in the order of the forward pass, without layers that do nothing here.
    ``values`` has every named value, ``gradients`` those gradients of the loss that were computed.
    """

    mlp: MLP
    trace: Trace
    training: bool
    names: Names = Names()
    stages: list[Stage] = field(default_factory=list)
    values: dict[str, np.ndarray] = field(default_factory=dict)
    gradients: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, mlp: MLP, trace: Trace, training: bool, names: Names) -> "Walk":
        """Name everything in a trace."""
        walk = cls(mlp, trace, training, names)
        walk._visit(mlp.full_network(), iter(trace.records), "X")
        return walk

    @property
    def output(self) -> str:
        """Name of what enters the loss."""
        return self.stages[-1].name

    @property
    def examples(self) -> int:
        """Number of examples."""
        return len(self.trace.x)

    @property
    def penalty(self) -> Penalty:
        """The penalty, as added to the mean loss of these examples."""
        return self.mlp.penalty.of_batch(self.mlp.backend.xp, self.examples)

    def host(self, array: Any) -> np.ndarray:
        """Bring an array of the backend to NumPy."""
        return np.asarray(self.mlp.backend.to_numpy(array))

    def device(self, array: np.ndarray) -> Any:
        """Bring real numbers to the backend in the model's dtype, others as they are."""
        dtype = self.mlp.dtype if array.dtype.kind == "f" else None
        return self.mlp.backend.asarray(array, dtype)

    def again(
        self, stage: Stage, dy: np.ndarray, parameters: Mapping[str, np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run one layer again on its input; return its output, and ``dy`` taken back through it."""
        mlp, record = self.mlp, stage.record
        assert record is not None
        keys = mlp.network.keys(mlp.seed, mlp.epochs_trained)[0]
        views = mlp.network.statistics.views(mlp.backend.xp, mlp.weights.statistics)
        run = Pass(training=self.training, keys=mlp.backend.asarray(keys), statistics=views)
        p = {name: self.device(value) for name, value in (parameters or {}).items()}
        y, backward = stage.layer.forward(mlp.backend.ops, p, self.device(record.x), run)
        return self.host(y), self.host(backward(self.device(dy))[0])

    def _visit(self, layer: Layer, records: Iterator[Record], source: str) -> str:
        """Name the parts of a layer in the order of the pass; return the name of its output."""
        if not layer.parts:
            return self._leaf(next(records), source)
        kind, number = _place(layer, self.mlp)
        name = source
        for part in layer.parts:
            name = self._visit(part, records, name)
        if kind != "residual":
            return name
        self.stages.append(Stage(kind, number, layer, name, f"r{number}", None, skipped=source))
        self.gradients[f"r{number}"] = self.gradients[name]
        return f"r{number}"

    def _leaf(self, record: Record, source: str) -> str:
        kind, number = _place(record.layer, self.mlp)
        self.values[source] = record.x
        if kind == "dropout" and not self.training:
            return source
        name = f"{_LETTERS.get(kind, 'a')}{number}"
        self.values[name] = record.y
        if record.dy is not None:
            self.gradients[name] = record.dy
        self.stages.append(Stage(kind, number, record.layer, source, name, record))
        return name


def _place(layer: Layer, mlp: MLP) -> tuple[str, int]:
    """Return a layer's kind and number, by its name; the output activation has the last number."""
    kind, number = re.fullmatch(r"(.*?)(\d*)", layer.name).groups()  # type: ignore[union-attr]
    if layer.name == "output":
        return "activation", len(mlp.sizes) - 1
    return kind, int(number or 0)
