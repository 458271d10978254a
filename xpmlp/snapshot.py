"""A training after any of its steps, as configuration and arrays, and the way back.

What a model file has, with the weights of that step, and under ``training``: the running
averages, the sums of the unfinished epoch, the history, and what the callbacks remember. Order,
dropout and schedule need nothing: they follow from the seed, the epoch and the history.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xpmlp import container, files
from xpmlp.callbacks import Callback
from xpmlp.contract import Execution, State
from xpmlp.errors import CheckpointError, InvalidValueError
from xpmlp.progress import History
from xpmlp.sharing import is_numpy_array
from xpmlp.sparse import on_host
from xpmlp.step import first_state

if TYPE_CHECKING:
    from xpmlp.training import Training

SUMS = ("totals", "carry", "finite")
"""The fields of a state that an unfinished epoch has gathered."""

SAMPLE = 256
"""Rows by which data are recognised."""

Arrays = dict[str, np.ndarray]


def save(training: "Training", path: Path) -> None:
    """Write the training as it is now, in a file that ``xpmlp.load`` reads as a model, too.

    Raises
    ------
    OSError
        If it cannot be written; an old file of that name is then as it was.
    """
    mlp, state = training.mlp, training.state
    to_numpy = mlp.backend.to_numpy
    config, tensors = files.describe(mlp, mlp.weights.to_host(state.params, state.statistics))
    for i, moment in enumerate(state.moments):
        for name, view in mlp.network.layout.views(np, to_numpy(moment)).items():
            tensors[f"training.moments{i}.{name}"] = np.ascontiguousarray(view)
    for name in SUMS:
        tensors[f"training.{name}"] = to_numpy(getattr(state, name))
    for name, values in training.history.items():
        tensors[f"training.history.{name}"] = np.array(values, dtype=np.float64)
    for i, (_, known) in enumerate(_remembering(training)):
        for name, value in known.items():
            tensors[f"training.callback{i}.{name}"] = np.array(value)
    underway = training.epoch == training.finished
    config["training"] = {
        "settings": settings(training),
        "callbacks": [type(callback).__name__ for callback, _ in _remembering(training)],
        "first": training.first,
        "finished": training.finished,
        "taken": training.taken,
        "step": training.step if underway else 0,
        "seconds": training.seconds if underway else 0.0,
        "stopped": training.stopped,
        "history": list(training.history),
        "execution": training.history.execution,
    }
    container.write(path, config, tensors)


@dataclass(frozen=True)
class Stand:
    """Where a training was, beside the weights.

    Attributes
    ----------
    first, finished, taken, step, seconds, stopped
        As in ``Training``.
    state : State
        Of the model's weights, with the sums of the unfinished epoch.
    history : History
    """

    first: int
    finished: int
    taken: int
    step: int
    seconds: float
    stopped: bool
    state: State
    history: History


def read(training: "Training", path: Path, config: Mapping[str, Any], tensors: Arrays) -> Stand:
    """Read where a training was; the model has the weights of the file already.

    Raises
    ------
    InvalidValueError
        If the training has other settings or data than that of the file.
    CheckpointError
        If the file does not make sense.
    """
    saved = config["training"]
    try:
        _compare(saved["settings"], settings(training), path)
        return _stand(training, saved, tensors)
    except InvalidValueError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{path}: no training can go on from it: {error!r}") from error


def _stand(training: "Training", saved: Mapping[str, Any], tensors: Arrays) -> Stand:
    mlp, steps = training.mlp, training.steps
    first, finished, taken, step = (
        container.entry(saved, name, int) for name in ("first", "finished", "taken", "step")
    )
    if not (0 <= first <= finished <= first + training.epochs and 0 <= step <= steps <= 2**53):
        raise ValueError(f"epochs {first} to {finished}, step {step} of {steps}")
    if not 0 <= taken <= 2**53:
        raise ValueError(f"{taken} steps")
    seconds, stopped = (container.entry(saved, *e) for e in (("seconds", float), ("stopped", bool)))
    history = History()
    mode, notes = container.entry(saved, "execution", list)
    history.execution = Execution(str(mode), tuple(map(str, notes)))
    for name in container.entry(saved, "history", list):
        history[name] = _array(tensors, f"history.{name}", "float64").tolist()
    state = first_state(
        mlp.backend.ops, mlp.weights.flat, mlp.weights.statistics, _moments(training, tensors)
    )
    kinds = dict.fromkeys(SUMS, mlp.dtype) | {"finite": "int32"}
    sums = {n: mlp.backend.asarray(_array(tensors, n, kind, (2,))) for n, kind in kinds.items()}
    return Stand(first, finished, taken, step, seconds, stopped, state._replace(**sums), history)


def _moments(training: "Training", tensors: Arrays) -> tuple[Any, ...]:
    """Lay the running averages out on the device, as the parameters are."""
    mlp = training.mlp
    slots = mlp.network.layout.slots
    moments = [
        {
            name: _array(tensors, f"moments{i}.{name}", mlp.dtype, slot.shape)
            for name, slot in slots.items()
        }
        for i in range(training.optimizer.slots)
    ]
    flatten = mlp.network.layout.flatten
    return tuple(mlp.backend.asarray(flatten(values), mlp.dtype) for values in moments)


def _array(
    tensors: Arrays, name: str, dtype: str, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """Return an array of the training that must have a dtype and a shape, or one dimension."""
    found = tensors[f"training.{name}"]
    good = found.ndim == 1 if shape is None else found.shape == shape
    if not good or found.dtype != dtype:
        raise ValueError(f"{name} is {found.dtype} of shape {found.shape}")
    return found


def settings(training: "Training") -> dict[str, Any]:
    """Return all on which the training depends beside the model, in a form to compare."""
    shuffle = training.shuffle
    return {
        "optimizer": _described(training.optimizer),
        "epochs": training.epochs - training.first,
        "batch_size": training.batch_size,
        "shuffle": _described(shuffle) if callable(shuffle) else bool(shuffle),
        "metrics": training.metrics,
        "training rows": training.examples,
        "data": _fingerprint(training),
    }


def _compare(saved: Mapping[str, Any], given: Mapping[str, Any], path: Path) -> None:
    for name, value in given.items():
        if saved[name] != value:
            other = "" if name == "data" else f": found {value}; it had {saved[name]}"
            raise InvalidValueError(
                f"resume: the training of {path} had other {name}{other}. Give the same to go on "
                "with it, or another folder for a training of its own"
            )


def _described(x: Any) -> Any:
    """Say what an optimiser, a schedule or a function is, as JSON can."""
    if is_dataclass(x):
        values = {field.name: _described(getattr(x, field.name)) for field in fields(x)}
        return {"kind": type(x).__name__, **values}
    if callable(x):
        return getattr(x, "__name__", type(x).__name__)
    return x if x is None or isinstance(x, str | bool) else float(x)


def _fingerprint(training: "Training") -> str:
    """SHA-256 of the shapes, of all targets and weights, and of some rows of the inputs.

    In float32, to which every backend rounds alike.
    """
    data, validation = training.data, training.validation or ()
    parts = [_sample(training, data.X), training.feed.targets(), data.weight]
    if validation:
        parts += [_sample(training, validation[0]), validation[1]]
    digest = hashlib.sha256()
    for part in parts:
        if part is not None:
            host = part if is_numpy_array(part) else training.mlp.backend.to_numpy(part)
            digest.update(f"{host.shape}".encode())
            digest.update(np.ascontiguousarray(host, dtype=np.float32).tobytes())
    shapes = [tuple(x.shape) for x in (data.X, *validation)]
    digest.update(str(shapes).encode())
    return digest.hexdigest()


def _sample(training: "Training", X: Any) -> Any:
    """Return some rows of examples, wherever they lie."""
    backend = training.mlp.backend
    rows = np.unique(np.linspace(0, X.shape[0] - 1, SAMPLE).astype(np.int32))
    return X[rows] if on_host(X) else backend.xp.take(X, backend.asarray(rows), axis=0)


def _remembering(training: "Training") -> list[tuple[Callback, dict[str, Any]]]:
    """Return the callbacks that have something to remember, with it."""
    found = [(callback, callback.state_dict()) for callback in training.callbacks]
    return [(callback, values) for callback, values in found if values]


def remind(training: "Training", path: Path, config: Mapping[str, Any], tensors: Arrays) -> None:
    """Give the callbacks, which have begun, what those before them knew.

    Raises
    ------
    InvalidValueError
        If the training has other callbacks that remember something.
    CheckpointError
        If what the file has makes no sense to them.
    """
    callbacks = [callback for callback, _ in _remembering(training)]
    names = [type(callback).__name__ for callback in callbacks]
    _compare({"callbacks": config["training"].get("callbacks")}, {"callbacks": names}, path)
    for i, callback in enumerate(callbacks):
        prefix = f"training.callback{i}."
        own = {n.removeprefix(prefix): v for n, v in tensors.items() if n.startswith(prefix)}
        try:
            callback.restore(training, own)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: what {names[i]} knew cannot be read: {error!r}"
            ) from error
