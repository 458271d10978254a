"""A training run after any of its steps, as configuration and arrays, and the way back.

A checkpoint has what a model file has, with the weights of that step, and under ``training``: the
optimizer state, the sums of the unfinished epoch, the history, and the state of the callbacks.
Row order, dropout and schedule need nothing: they follow from the seed, the epoch and the history.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.errors import CheckpointError, InvalidTypeError, InvalidValueError, short
from xpmlp.model import files
from xpmlp.model.base import Model
from xpmlp.nn.contract import Execution
from xpmlp.storage import tensorfile
from xpmlp.training.callback import Callback
from xpmlp.training.fingerprint import compare, to_config
from xpmlp.training.history import History, Progress
from xpmlp.training.loop import Training
from xpmlp.training.workers import Silent

SUMS = ("totals", "carry", "finite")
"""The fields of a state that an unfinished epoch has gathered."""

RENAMED = {"call by call": "eager"}
"""Words of older checkpoints, and what they are called now."""

Arrays = dict[str, np.ndarray]


def packed(training: Training, settings: dict[str, Any]) -> tuple[dict[str, Any], Arrays]:
    """Return the run as it is now, as the configuration and arrays of a file.

    Parameters
    ----------
    training : Training
    settings : dict
        Its fingerprint.

    Raises
    ------
    InvalidTypeError
        If a callback's state, or what it added to the history, is not numbers.
    """
    model, state, at = training.mlp, training.state, training.progress()
    to_numpy = model.backend.to_numpy
    config, tensors = files.describe(model, model.weights.to_host(training.kept, state.statistics))
    for i, moment in enumerate(at.moments):
        for name, view in model.network.layout.views(np, to_numpy(moment)).items():
            tensors[f"training.moments{i}.{name}"] = view
    for name in SUMS:
        tensors[f"training.{name}"] = to_numpy(at.sums[name])
    if at.step:
        for name, value in model.state_dict().items():
            tensors[f"training.epoch.{name}"] = value
    for name, values in at.history.items():
        tensors[f"training.history.{name}"] = _numbers(values, f"history[{name!r}]", 1)
    for name, each in at.history.each.items():
        tensors[f"training.each.{name}"] = _numbers(each, f"history.each[{name!r}]", 2)
    stateful = _stateful(training)
    for i, callback in enumerate(stateful):
        for name, value in callback.state_dict().items():
            where = f"{type(callback).__name__}.state_dict()[{name!r}]"
            tensors[f"training.callback{i}.{name}"] = _numbers(value, where)
    config["training"] = {
        "settings": settings,
        "callbacks": [_described(callback) for callback in stateful],
        "first": at.first,
        "finished": at.epochs,
        "taken": at.steps,
        "step": at.step,
        "seconds": at.seconds,
        "stopped": at.stopped,
        "history": list(at.history),
        "execution": at.history.execution,
    }
    if at.history.each:
        config["training"]["each"] = list(at.history.each)
    return config, tensors


def _numbers(value: Any, where: str, ndim: int | None = None) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=None if ndim is None else np.float64)
    except (TypeError, ValueError, OverflowError):  # ragged, text
        array = np.array(None)
    if array.dtype.kind not in "biuf" or ndim not in (None, array.ndim):
        raise InvalidTypeError(
            f"{where}: found {short(repr(value))}; a checkpoint keeps "
            f"{'numbers and arrays of them' if ndim is None else 'one number for each epoch'}"
        )
    return array


def _progress(training: Training, saved: Mapping[str, Any], tensors: Arrays) -> Progress:
    """Read where the run was; the model has the weights of the file."""
    model = training.mlp
    steps = 2**53 if callable(training.shuffle) else training.steps  # any number of rows
    first, finished, taken, step = (
        tensorfile.entry(saved, name, int) for name in ("first", "finished", "taken", "step")
    )
    if not (0 <= first <= finished <= first + training.epochs and 0 <= step <= steps <= 2**53):
        raise ValueError(f"epochs {first} to {finished}, step {step} of {steps}")
    if not 0 <= taken <= 2**53:
        raise ValueError(f"{taken} steps")
    seconds = tensorfile.entry(saved, "seconds", float)
    stopped = tensorfile.entry(saved, "stopped", bool)
    history = History()
    mode, notes = tensorfile.entry(saved, "execution", list)
    history.execution = Execution(RENAMED.get(str(mode), str(mode)), tuple(map(str, notes)))
    for name in tensorfile.entry(saved, "history", list):
        history[name] = _array(tensors, f"history.{name}", "float64").tolist()
    for name in tensorfile.entry(saved, "each", list) if "each" in saved else ():
        each = _array(tensors, f"each.{name}", "float64", (finished, *model.network.networks))
        history.each[name] = each.tolist()
    kinds = dict.fromkeys(SUMS, model.dtype) | {"finite": "int32"}
    pair = (2, *model.network.networks)
    gathered = {name: _array(tensors, name, kind, pair) for name, kind in kinds.items()}
    if step and (gathered["finite"][0] != step).any():
        raise ValueError(f"of {step} steps {gathered['finite'][0]} were finite")
    sums = {name: model.backend.asarray(values) for name, values in gathered.items()}
    return Progress(
        training.optimizer,
        moments=_moments(training, tensors),
        history=history,
        first=first,
        epochs=finished,
        steps=taken,
        step=step,
        sums=sums,
        params=model.weights.flat,
        statistics=model.weights.statistics,
        seconds=seconds,
        stopped=stopped,
    )


def _weights(model: Model, tensors: Arrays) -> Arrays:
    """Read the weights of the last finished epoch, where another is unfinished."""
    own = {name: value.shape for name, value in model.state_dict().items()}
    weights = {n: _array(tensors, f"epoch.{n}", model.dtype, shape) for n, shape in own.items()}
    if not all(np.isfinite(value).all() for value in weights.values()):
        raise ValueError("the weights of the last epoch are not finite")
    return weights


def _moments(training: Training, tensors: Arrays) -> tuple[Any, ...]:
    """Lay the optimizer state out on the device, as the parameters are."""
    mlp = training.mlp
    slots = mlp.network.layout.slots
    moments = [
        {
            name: _array(tensors, f"moments{i}.{name}", mlp.dtype, slot.shape)
            for name, slot in slots.items()
        }
        for i in range(training.optimizer.buffers)
    ]
    flatten = mlp.network.layout.flatten
    return tuple(mlp.backend.asarray(flatten(values), mlp.dtype) for values in moments)


def _array(
    tensors: Arrays, name: str, dtype: str, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """Return an array of the run; it must have this dtype, and this shape or one dimension."""
    found = tensors[f"training.{name}"]
    good = found.ndim == 1 if shape is None else found.shape == shape
    if not good or found.dtype != dtype:
        raise ValueError(f"{name} is {found.dtype} of shape {found.shape}")
    return found


def _stateful(training: Training) -> list[Callback]:
    """Return the callbacks that have a state, also those that act on another worker."""
    found = [c.of if isinstance(c, Silent) else c for c in training.callbacks]
    return [c for c in found if type(c).state_dict is not Callback.state_dict]


def _described(callback: Callback) -> dict[str, Any]:
    return {"kind": type(callback).__name__, **to_config(callback.settings())}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that has been read, with a valid checksum."""

    path: Path
    config: dict[str, Any]
    tensors: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """Read a file.

        Raises
        ------
        CheckpointError
            If it is broken or altered, or a model file without a training run.
        """
        config, tensors = tensorfile.read(path)
        if not isinstance(config.get("training"), dict):
            raise CheckpointError(
                f"{path}: found a model without the state of its training; expected a checkpoint, "
                "as fit(checkpoints=...) writes them. xpmlp.load reads it"
            )
        return cls(path, config, tensors)

    def put_into(self, mlp: Model) -> None:
        """Set a model's weights, task and scaling to those of the file; see ``files.put``."""
        files.put(mlp, self.path, self.config, self.tensors)

    def restore(self, training: Training, settings: Mapping[str, Any]) -> None:
        """Put a run where the checkpoint was; the model has the file's weights already.

        Raises
        ------
        InvalidValueError
            If the run has other settings or other data.
        CheckpointError
            If the file does not make sense.
        """
        saved = self.config["training"]
        try:
            compare(saved["settings"], settings, self.path)
            progress = _progress(training, saved, self.tensors)
            weights = _weights(training.mlp, self.tensors) if progress.step else None
        except InvalidValueError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise self._senseless(error) from error
        training.restore(progress)
        if weights is not None:
            training.mlp.load_state_dict(weights)

    def restore_callbacks(self, training: Training) -> None:
        """Restore the state of the callbacks, which have begun; then free the arrays.

        Raises
        ------
        InvalidValueError
            If the run has other callbacks with a state.
        CheckpointError
            If a callback refuses its state.
        """
        callbacks = _stateful(training)
        try:
            saved = tensorfile.entry(self.config["training"], "callbacks", list)
        except (KeyError, TypeError) as error:
            raise self._senseless(error) from error
        given = dict(enumerate(map(_described, callbacks)))
        compare({"callbacks": dict(enumerate(saved))}, {"callbacks": given}, self.path)
        for i, callback in enumerate(callbacks):
            if callback not in training.callbacks:  # it acts on another worker
                continue
            prefix = f"training.callback{i}."
            own = {n[len(prefix) :]: v for n, v in self.tensors.items() if n.startswith(prefix)}
            try:
                callback.restore(training, own)
            except Exception as error:  # whatever a callback raises at nonsense
                raise CheckpointError(
                    f"{self.path}: the state of {type(callback).__name__} cannot be read: {error!r}"
                ) from error
        self.tensors.clear()

    def _senseless(self, error: Exception) -> CheckpointError:
        return CheckpointError(f"{self.path}: no run can resume from it: {short(repr(error))}")
