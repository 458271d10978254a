"""Model files: safetensors inside, configuration as JSON in its metadata, a SHA-256 over all.

The safetensors format has no checksum, and a flipped bit in a weight is still a weight, so the
digest of configuration, names, dtypes, shapes and bytes travels in the metadata. A file holds
host arrays: it loads with NumPy alone, whatever backend made it. Nothing is unpickled and
nothing is imported by a name from a file.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from xpmlp.activations import ACTIVATIONS, Activation, activation
from xpmlp.atomic import write_atomically
from xpmlp.errors import CheckpointError, InvalidValueError
from xpmlp.inputs import Scaling
from xpmlp.losses import LOSSES, CustomLoss, Loss
from xpmlp.targets import KINDS, Task

if TYPE_CHECKING:
    from xpmlp.model import MLP

FORMAT = 1
"""Version of the layout below; a reader refuses files with a higher one."""


def save(mlp: "MLP", path: Any) -> None:
    """Write a model file atomically.

    Raises
    ------
    InvalidValueError
        If ``mlp.metadata`` cannot be written as JSON.
    OSError
        If the file cannot be written; an old file of that name is then as it was.
    """
    architecture = mlp.network.architecture
    arguments = mlp._arguments | {
        "sizes": list(architecture.sizes),
        "activation": [a.name for a in architecture.activations],
        "output": mlp.output and activation(mlp.output).name,
        "loss": None,  # the task has it
        "dropout": list(architecture.dropout),
    }
    if callable(arguments["normalization"]):
        arguments["normalization"] = arguments["normalization"].__name__
    if callable(arguments["initializer"]):
        arguments["initializer"] = "auto"  # the weights themselves are in the file
    task = mlp._task
    config = {
        "format": FORMAT,
        "arguments": arguments,
        "task": task and {"kind": task.kind, "loss": _loss_config(task.loss)},
        "pixels": mlp.scaling.pixels,
        "epochs_trained": mlp.epochs_trained,
        "metadata": mlp.metadata,
    }
    tensors = {
        name: np.ascontiguousarray(value, dtype=mlp.dtype)
        for name, value in mlp.state_dict().items()
    }
    for name in ("shift", "scale"):
        if getattr(mlp.scaling, name) is not None:
            tensors[f"input.{name}"] = np.asarray(getattr(mlp.scaling, name), dtype=np.float64)
    try:
        text = json.dumps(config, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"metadata: cannot be written as JSON: {error}") from error
    metadata = {"xpmlp": text, "sha256": _digest(text, tensors)}
    write_atomically(Path(path), safetensors.numpy.save(tensors, metadata))


def load(
    path: Any,
    backend: Any = None,
    device: str | None = None,
    custom: Mapping[str, Any] | None = None,
) -> "MLP":
    """Read a model file.

    Parameters
    ----------
    path : path-like
    backend, device : optional
        As for ``MLP``; independent of the backend that made the file.
    custom : mapping of str to activation, loss or brick function, optional
        The user's own functions that the file refers to by name.

    Returns
    -------
    MLP

    Raises
    ------
    CheckpointError
        If the file is broken, altered, of another kind or of a newer version, or names a
        function that is not known here.
    FileNotFoundError
        If there is no such file.
    """
    from xpmlp.model import MLP

    config, tensors = _read(Path(path))
    own = dict(custom or {})
    try:
        arguments = dict(config["arguments"])
        # Compared before anything is allocated: a file's claims are not to be believed.
        for i, shape in enumerate(pairwise(arguments["sizes"]), start=1):
            if tensors[f"dense{i}.W"].shape != shape:
                raise CheckpointError(f"dense{i}.W does not have the shape {shape} of the layers")
        arguments["activation"] = [_own_activation(n, own) for n in arguments["activation"]]
        arguments["normalization"] = own.get(arguments["normalization"], arguments["normalization"])
        if arguments["output"]:
            arguments["output"] = _own_activation(arguments["output"], own)
        mlp = MLP(**arguments, backend=backend, device=device)
        if config["task"]:
            loss = _own_loss(config["task"]["loss"], own)
            mlp.loss = loss
            if config["task"]["kind"] not in KINDS:
                raise CheckpointError(f"unknown kind of task {config['task']['kind']!r}")
            mlp._set_task(Task.make(config["task"]["kind"], loss, mlp.output))
        mlp.scaling = Scaling(
            mlp.scaling.mode,
            config["pixels"],
            tensors.pop("input.shift", None),
            tensors.pop("input.scale", None),
        )
        mlp.epochs_trained = int(config["epochs_trained"])
        mlp.metadata = dict(config["metadata"])
        mlp.load_state_dict(tensors)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (KeyError, TypeError, AttributeError, InvalidValueError) as error:
        raise CheckpointError(
            f"{path}: its configuration does not fit its arrays: {error}"
        ) from error
    return mlp


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read container and configuration, and compare the digest."""
    content = path.read_bytes()
    try:
        tensors = safetensors.numpy.load(content)
        size = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + size])["__metadata__"]
        text, digest = metadata["xpmlp"], metadata["sha256"]
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: not a readable xpmlp model file ({type(error).__name__}: {error}); expected "
            "one written by mlp.save(), complete and unaltered"
        ) from error
    if digest != _digest(text, tensors):
        raise CheckpointError(
            f"{path}: the content does not match its SHA-256, so it was altered or damaged after "
            "it was saved; use another copy"
        )
    config: dict[str, Any] = json.loads(text)
    if config["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: file format {config['format']}; this version of xpmlp reads up to {FORMAT}. "
            "Upgrade xpmlp"
        )
    return config, tensors


def _digest(text: str, tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the configuration and every array's name, dtype, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\0{name}\0{value.dtype.str}\0{value.shape}\0".encode())
        digest.update(np.ascontiguousarray(value).data)
    return digest.hexdigest()


def _loss_config(loss: Loss) -> dict[str, Any]:
    if isinstance(loss, CustomLoss):
        return {"name": getattr(loss.function, "__name__", "custom"), "settings": {}}
    return {"name": loss.name, "settings": asdict(loss)}


def _own_loss(config: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
    name = config["name"]
    if name in own:
        return own[name]
    if name not in LOSSES:
        raise CheckpointError(
            f"it was trained with an own loss {name!r}; pass it: load(..., custom={{{name!r}: f}})"
        )
    known = {f.name for f in fields(LOSSES[name])}
    return LOSSES[name](**{k: v for k, v in config["settings"].items() if k in known})


def _own_activation(name: str, own: Mapping[str, Any]) -> Activation:
    if name in own:
        return activation(own[name])
    if name not in ACTIVATIONS:
        raise CheckpointError(
            f"it uses an own activation {name!r}; pass it: load(..., custom={{{name!r}: ...}}), "
            "or xpmlp.register_activation() it first"
        )
    return ACTIVATIONS[name]
