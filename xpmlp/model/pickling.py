"""What is in a pickle of a model: for pickle, joblib and ``copy.deepcopy``.

A pickle has settings, host arrays, and the state from which ``fit(continued=True)`` continues. Any
machine can read it, with or without the library that computed it. Custom functions are pickled by
reference, as always. Layers and compiled steps are closures: they are made again, and the backend
is found again by name. A custom schedule function is part of ``mlp.progress``; set that to None
if it cannot be pickled and nothing is to be continued.

Loading a pickle runs code, and needs the version of xpmlp that wrote it. To share or to archive a
model, write a file: ``mlp.save``.
"""

import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np

from xpmlp.model.backends import backend_for
from xpmlp.model.base import Model
from xpmlp.model.files import SCALING
from xpmlp.model.task import Task
from xpmlp.model.weights import Weights
from xpmlp.nn.contract import Backend
from xpmlp.nn.network import Network

REMADE = ("network", "weights", "backend", "known_task", "progress", "compiled", "forward_pass")
"""Attributes that are made again; all others are pickled, those of a subclass too."""


class BackendRef:
    """A reference to a backend: the object within the process, a name and a device in a pickle.

    Parameters
    ----------
    name : str
    device : str or None
        What ``xpmlp.backend(name, device)`` takes.
    backend : Backend, optional
        The object; deep copies share it.
    """

    def __init__(self, name: str, device: str | None, backend: Backend | None = None) -> None:
        self.name, self.device, self.backend = name, device, backend

    def __deepcopy__(self, memo: Any) -> "BackendRef":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return BackendRef, (self.name, self.device)

    def find(self, dtype: str, precision: str) -> Backend:
        """Return the backend; or NumPy's, with a warning, if it cannot be made."""
        if self.backend is not None:
            return self.backend
        try:
            return backend_for(self.name, self.device, dtype, precision)
        except Exception as error:  # a broken installation may raise anything; the model is fine
            where = "" if self.device is None else f" on {self.device}"
            reason = str(error).rstrip(".")
            warnings.warn(
                f"this model was pickled on the backend {self.name!r}{where}, which cannot be made "
                f"here: {reason}. It is on NumPy now, with the same numbers; mlp.to(...) moves it",
                stacklevel=4,  # find, restore, __setstate__
            )
            return backend_for("numpy", None, dtype, precision)


def state(mlp: Model) -> dict[str, Any]:
    """Return what a pickle of a model holds."""
    backend, task, progress = mlp.backend, mlp.known_task, mlp.progress
    if progress is not None:  # training extends its history in place, so a copy needs its own
        progress = replace(progress.moved(backend.to_numpy), history=deepcopy(progress.history))
    place = getattr(backend, "place", str(backend.device))  # a third party's may not have one
    return {
        "attributes": {name: value for name, value in vars(mlp).items() if name not in REMADE},
        "home": BackendRef(backend.name, place, backend),
        "values": mlp.state_dict(),
        "task": task and (task.kind, task.loss, task.columns),
        "progress": progress,
    }


def restore(mlp: Model, state: Mapping[str, Any]) -> None:
    """Make a model from what a pickle holds.

    Arrays are copied: those that joblib maps from a file would change with the file.
    """
    vars(mlp).update(state["attributes"])
    arrays = {name: getattr(mlp.scaling, name) for name in SCALING}
    owned: dict[str, Any] = {name: np.array(a) for name, a in arrays.items() if a is not None}
    mlp.scaling = replace(mlp.scaling, **owned)
    mlp.network = Network.of(mlp.arguments)
    mlp.backend = state["home"].find(mlp.dtype, mlp.precision)
    mlp.weights = Weights(mlp.network, mlp.backend, mlp.dtype, state["values"])
    mlp.known_task = mlp.progress = None
    if state["task"] is not None:
        kind, loss, columns = state["task"]
        mlp.known_task = replace(Task.make(kind, loss, mlp.output, mlp.sizes[-1]), columns=columns)
    if state["progress"] is not None:
        mlp.progress = state["progress"].moved(np.array).moved(mlp.backend.asarray)
    mlp.forget_compiled()
