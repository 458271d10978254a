"""Model files: a model as a configuration and arrays, and back.

A file holds host arrays: it loads with NumPy alone, whatever backend wrote it. Functions are kept
by name, and nothing is imported by a name from a file. A custom function's name has a mark before
it, so that it is never taken for a built-in one, and the function is passed in again at loading.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xpmlp_backends

from xpmlp.errors import CheckpointError, GradientError, InvalidTypeError, InvalidValueError, short
from xpmlp.model import rates
from xpmlp.model.base import Model
from xpmlp.model.calibration import Calibration, score_shape
from xpmlp.model.outputs import probable
from xpmlp.model.task import KINDS, Task
from xpmlp.nn.activations import ACTIVATIONS, Activation, activation
from xpmlp.nn.augmented import Augment
from xpmlp.nn.contract import Backend
from xpmlp.nn.embeddings import Embedding, embed
from xpmlp.nn.ensemble import Members
from xpmlp.nn.losses import DISTRIBUTIONS, LOSSES, CustomLoss
from xpmlp.nn.losses import loss as find_loss
from xpmlp.nn.random import as_seed
from xpmlp.storage import tensorfile

Loaded = TypeVar("Loaded", bound=Model)

SCALING = ("shift", "scale", "target_shift", "target_scale", "target_low", "target_high")
"""The arrays of ``Scaling``, kept as ``scaling.shift`` and so on."""

OWN = "own:"
"""The mark before the name of a custom function; part of the file format."""

DEFAULTS = {
    "bias_initializer": "zeros", "zero_last": False, "embedding": None, "input_scale": False,
    "parametrization": "standard", "activation_mix": False, "ensemble": None, "sharing": "none",
    "image_shape": None,
}  # fmt: skip
"""Arguments that are left out of files that do not need them, as earlier versions wrote them."""

_BUILT_IN = tuple(ACTIVATIONS.values())
_NAMED = LOSSES | DISTRIBUTIONS


def save(mlp: Model, path: Any) -> None:
    """Write a model file atomically.

    Raises
    ------
    InvalidValueError
        If ``mlp.metadata`` cannot be written as JSON.
    OSError
        If the file cannot be written; an old file of that name is then as it was.
    """
    tensorfile.write(Path(path), *describe(mlp, mlp.state_dict()))


def describe(mlp: Model, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a model's configuration, and its arrays with these parameters and statistics."""
    loss = mlp.known_task.loss if mlp.known_task else mlp.loss
    config: dict[str, Any] = {
        "arguments": _arguments(mlp),
        "kind": mlp.known_task and mlp.known_task.kind,
        "columns": mlp.known_task and mlp.known_task.columns,
        "loss": None if loss is None else _loss_config(loss),
        "pixels": mlp.scaling.pixels,
        "epochs_trained": mlp.epochs_trained,
        "metadata": mlp.metadata,
    }
    tensors = {name: np.ascontiguousarray(value, dtype=mlp.dtype) for name, value in values.items()}
    for name in SCALING:
        if (value := getattr(mlp.scaling, name)) is not None:
            tensors[f"scaling.{name}"] = np.asarray(value, dtype=np.float64)
    if mlp.calibration is not None:
        config["calibration"], arrays = mlp.calibration.to_config()
        tensors |= {f"calibration.{name}": value for name, value in arrays.items()}
    if mlp.augment is not None:
        config["augment"] = mlp.augment.to_config()
    if mlp.table is not None and mlp.table.features:
        config["table"], arrays = mlp.table.to_config()
        tensors |= {f"table.{name}": value for name, value in arrays.items()}
    return config, tensors


def _arguments(mlp: Model) -> dict[str, Any]:
    """Return the arguments that make such a model, with functions as names."""
    architecture = mlp.network.architecture
    own_layer, embedding = architecture.normalization, architecture.embedding
    first = {name: getattr(architecture, name) for name in ("initializer", "bias_initializer")}
    arguments = mlp.arguments | {
        "sizes": list(architecture.sizes),
        "activation": [_activation_name(a) for a in architecture.activations],
        "output": mlp.output and _activation_name(activation(mlp.output)),
        "loss": None,  # another entry has it, with its settings
        "dropout": [rates.to_config(rate, OWN) for rate in architecture.dropout],
        "input_dropout": rates.to_config(architecture.input_dropout, OWN),
        "embedding": embedding and embedding.to_config(),
        "image_shape": architecture.image_shape and list(architecture.image_shape),
        # The weights themselves are in the file.
        **{n: DEFAULTS.get(n, "auto") if callable(made) else made for n, made in first.items()},
    }
    if callable(own_layer):
        arguments["normalization"] = OWN + own_layer.__name__
    return {n: v for n, v in arguments.items() if n not in DEFAULTS or v != DEFAULTS[n]}


def load(
    cls: type[Loaded],
    path: Any,
    backend: Any = None,
    device: str | None = None,
    custom: Mapping[str, Any] | None = None,
) -> Loaded:
    """Read a model file; ``xpmlp.load`` documents the arguments and errors."""
    config, tensors = tensorfile.read(Path(path))
    # Outside: a wrong name is not the file's fault.
    chosen, own = xpmlp_backends.backend(backend, device), dict(custom or {})
    with _blaming(path):
        return _rebuild(cls, config, tensors, chosen, own)


def _rebuild(
    cls: type[Loaded],
    config: Mapping[str, Any],
    tensors: dict[str, np.ndarray],
    backend: Backend,
    own: dict[str, Any],
) -> Loaded:
    arguments = dict(config["arguments"])
    if arguments.get("embedding") is not None:
        arguments["embedding"] = _embedding(arguments["embedding"])
    # Compared before anything is allocated: the file is untrusted.
    for name, shape in _first_shapes(arguments):
        if tensors[name].shape != shape:
            raise CheckpointError(f"{name} does not have the shape {shape} of the layers")
    arguments["activation"] = [_own_activation(name, own) for name in arguments["activation"]]
    scheduled = partial(rates.from_config, custom=lambda name: _own("schedule", name, own))
    arguments["dropout"] = [scheduled(rate) for rate in arguments["dropout"]]
    arguments["input_dropout"] = scheduled(arguments["input_dropout"])
    if arguments["output"]:
        arguments["output"] = _own_activation(arguments["output"], own)
    if str(arguments["normalization"]).startswith(OWN):
        arguments["normalization"] = _own("layer", arguments["normalization"], own)
    if config["loss"] is not None:
        arguments["loss"] = _own_loss(config["loss"], own)
    mlp = cls(**arguments, backend=backend)
    _fill(mlp, config, tensors)
    if config.get("augment") is not None:
        entries, shape = tensorfile.entry(config, "augment", list), arguments["image_shape"]
        mlp.augment = Augment.from_config(entries, shape, own)
    mlp.metadata = tensorfile.entry(config, "metadata", dict)
    return mlp


def _embedding(config: Mapping[str, Any]) -> Embedding:
    """Return the embedding that a file describes."""
    if not isinstance(config, Mapping) or set(config) != set(Embedding().to_config()):
        raise CheckpointError(f"embedding: found {short(repr(config))}")
    return Embedding(**config)


def _first_shapes(arguments: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the shapes of large arrays, and of what says how many networks there are.

    One by one: the file may say that there are very many.
    """
    sizes, embedding = list(arguments["sizes"]), arguments.get("embedding")
    members = Members.make(arguments.get("ensemble"), arguments.get("sharing", "none"))
    front = () if members is None else members.front
    if embedding is not None:
        layer = embed(embedding, sizes[0], *front)
        yield from layer.shapes.items()
        yield from layer.statistics.items()
        sizes[0] = layer.width
    for i, ends in enumerate(pairwise(sizes), start=1):
        yield f"dense{i}.W", (*front, *ends)
    if members is not None and not members.independent:
        yield "dense1.r", (members.count, sizes[0])


def _fill(mlp: Model, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Set a model's weights, task and scaling."""
    task = None
    if (kind := config["kind"]) is not None:
        if kind not in KINDS:
            raise CheckpointError(f"unknown kind of targets {kind!r}")
        task = Task.make(kind, mlp.loss, mlp.output, mlp.sizes[-1])
        task = replace(task, columns=_columns(config, mlp, task.columns))
    arrays: dict[str, Any] = {n: tensors.get(f"scaling.{n}") for n in SCALING}
    _check_scaling(arrays, mlp.sizes[0], (task and task.columns) or mlp.sizes[-1])
    pixels = tensorfile.entry(config, "pixels", bool | None)
    epochs = tensorfile.entry(config, "epochs_trained", int)
    if epochs < 0:
        raise CheckpointError(f"epochs_trained is {epochs}")
    others: tuple[str, ...] = () if "training" not in config else ("training.",)
    if config.get("calibration") is not None:
        others += ("calibration.scores",)
    others += ("scaling.", "table.")
    own = {n: t for n, t in tensors.items() if not n.startswith(others)}
    mlp.load_state_dict(own)
    if task is not None:
        mlp.set_task(task)
    mlp.scaling = replace(mlp.scaling, pixels=pixels, **arrays)
    mlp.table = _table(config, tensors, mlp.sizes[0])
    mlp.epochs_trained = epochs
    mlp.calibration = _calibration(config, tensors, task, mlp.sizes[-1])


def _table(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], inputs: int) -> Any:
    """Return the model's table; older files, and those of other models, have none."""
    if config.get("table") is None:
        return None
    from xpmlp.data.table import Table

    kept = {n.removeprefix("table."): a for n, a in tensors.items() if n.startswith("table.")}
    made = Table.from_config(config["table"], kept)
    if made.width != inputs:
        raise CheckpointError(f"its table makes {made.width} inputs; the network has {inputs}")
    return made


def _calibration(
    config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], task: Task | None, outputs: int
) -> Calibration | None:
    """Return the model's calibration; older files, and most models, have none."""
    if config.get("calibration") is None:
        return None
    if task is None or task.opaque or (task.kind != "values" and probable(task) is None):
        raise CheckpointError("found a calibration of a model that cannot have one")
    entries, shape = tensorfile.entry(config, "calibration", dict), score_shape(task, outputs)
    return Calibration.from_config(entries, tensors.get("calibration.scores"), shape)


def _columns(config: Mapping[str, Any], mlp: Model, of_loss: int | None) -> int | None:
    """Return how many columns the targets have, if fewer than there are outputs.

    ``of_loss`` is what follows from the loss.
    """
    columns = config.get("columns")  # older files have none
    if of_loss is not None and columns != of_loss:
        raise CheckpointError(f"columns of the targets: found {short(repr(columns))}")
    if columns is None:
        return None
    if type(columns) is not int or not 0 < columns < mlp.sizes[-1] or config["kind"] != "values":
        raise CheckpointError(f"columns of the targets: found {short(repr(columns))}")
    return columns


def put(
    mlp: Model, path: Path, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray]
) -> None:
    """Set a model to the state in a file of a model with the same arguments.

    If the model's seed was drawn, it takes the file's.

    Raises
    ------
    InvalidValueError
        If the arguments differ.
    CheckpointError
        If the file does not make sense.
    """
    with _blaming(path):
        saved = dict(tensorfile.entry(config, "arguments", dict))
        given = json.loads(tensorfile.to_json(_arguments(mlp)))
        loss = mlp.known_task.loss if mlp.known_task else mlp.loss
        if loss is not None:
            saved["loss"] = config["loss"]
            given["loss"] = json.loads(tensorfile.to_json(_loss_config(loss)))
        if mlp.seed_is_drawn:
            given["seed"] = as_seed(saved["seed"])
        saved, given = DEFAULTS | saved, DEFAULTS | given
        other = [name for name in given if saved[name] != given[name]]
    if other:
        raise InvalidValueError(
            f"resume: the model of {path} was made with {other[0]}={saved[other[0]]!r}; this one "
            f"has {given[other[0]]!r}. Make it with the same arguments to resume"
        )
    with _blaming(path):
        _fill(mlp, config, tensors)
    mlp.reseed(given["seed"])


@contextmanager
def _blaming(path: Any) -> Iterator[None]:
    """Turn whatever goes wrong into an error about the file."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {short(error, 500)}") from error
    except GradientError:  # of a function that was passed in
        raise
    except (
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise CheckpointError(
            f"{path}: its configuration does not fit its arrays: {short(error, 500)}"
        ) from error


def _check_scaling(arrays: Mapping[str, Any], inputs: int, columns: int) -> None:
    for name, value in arrays.items():
        if value is None:
            continue
        width = columns if name.startswith("target") else inputs
        if value.dtype != np.float64 or value.shape not in ((width,), (1,)):
            raise CheckpointError(
                f"scaling.{name}: found {value.dtype} of shape {value.shape}; expected float64 of "
                f"shape ({width},)"
            )
        if not np.isfinite(value).all():
            raise CheckpointError(f"scaling.{name}: found NaN or infinity")


def _activation_name(spec: Activation) -> str:
    return spec.name if ACTIVATIONS.get(spec.name) is spec else OWN + spec.name


def _loss_config(spec: Any) -> dict[str, Any]:
    found = find_loss(spec)
    if isinstance(found, CustomLoss):
        return {"name": OWN + getattr(found.function, "__name__", "custom"), "settings": {}}
    if type(found) is not _NAMED.get(found.name):
        return {"name": OWN + type(found).__name__, "settings": {}}
    return {"name": found.name, "settings": asdict(found)}


def _own(what: str, marked: str, own: Mapping[str, Any]) -> Any:
    name = marked.removeprefix(OWN)
    if name not in own:
        register = ", or xpmlp.register_activation() it first" if what == "activation" else ""
        raise CheckpointError(
            f"it uses a custom {what} {name!r}; pass it: load(..., custom={{{name!r}: ...}})"
            f"{register}"
        )
    return own[name]


def _own_loss(config: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
    name = config["name"]
    if name not in _NAMED:
        return _own("loss", name, own)
    try:
        return _NAMED[name](**config["settings"])
    except (TypeError, InvalidTypeError, InvalidValueError) as error:
        raise CheckpointError(f"settings of loss {name!r}: {error}") from error


def _own_activation(marked: str, own: Mapping[str, Any]) -> Activation:
    name = marked.removeprefix(OWN)
    registered = ACTIVATIONS.get(name)
    if name in own:
        return activation(own[name])
    if registered is not None and (marked == name or registered not in _BUILT_IN):
        return registered
    return activation(_own("activation", marked, own))
