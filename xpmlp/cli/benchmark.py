"""Time the same training on every backend that works here, in turns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from time import perf_counter, sleep
from typing import Any

import numpy as np
from xpmlp_backends import PUBLIC, backend
from xpmlp_backends.base import one_line

from xpmlp.cli.libraries import look, refusal
from xpmlp.mlp import MLP

SECONDS = 1.5
"""Of measurement for each candidate."""

TURN = 0.25
"""Seconds of a turn. Turns alternate, so that a disturbance of the machine hits all candidates."""

PAUSE = 0.03
"""Seconds before a turn, in which the threads of the last one stop spinning."""

EPOCH = 0.1
"""Seconds of an epoch; a turn has several."""

MOST_STEPS, MOST_VALUES = 500, 2**24
"""Limits of an epoch: steps, and numbers in its inputs."""


@dataclass
class Candidate:
    """A network on one device, and its measured times.

    ``asked`` is the device by name if it is not the backend's default, ``fit(epochs=...)`` trains
    for epochs of ``steps`` steps, ``startup`` has the seconds for imports, compilation and the
    first step, ``times`` the mean seconds per step of each epoch, ``spent`` those of measurement.
    """

    backend: str
    asked: str | None
    mlp: MLP
    fit: Any
    steps: int
    startup: float
    times: list[float] = field(default_factory=list)
    spent: float = 0.0

    @property
    def device(self) -> str:
        """The device it runs on."""
        return str(self.mlp.backend.device)

    @property
    def seconds(self) -> float:
        """Median time of a step."""
        return median(self.times)

    @property
    def least(self) -> float:
        """Time of a step in the fastest epoch."""
        return min(self.times)

    def turn(self) -> None:
        """Train for about ``TURN`` seconds."""
        sleep(PAUSE)
        begin = perf_counter()
        epochs = max(round(TURN / (self.steps * self.seconds)), 1) if self.times else 1
        self.times += [seconds / self.steps for seconds in self.fit(epochs=epochs)["seconds"]]
        self.spent += perf_counter() - begin

    def to_dict(self) -> dict[str, Any]:
        """Return the values for scripts."""
        return {
            "backend": self.backend,
            "device": self.device,
            "seconds_per_step": self.seconds,
            "least_seconds_per_step": self.least,
            "startup_seconds": self.startup,
        }


def time_all(
    sizes: Sequence[int], batch: int, dropout: float
) -> tuple[list[Candidate], dict[str, str]]:
    """Time the training of the same network on all backends and devices.

    Returns those that work, NumPy first, and by name why the others do not.
    """
    make = partial(MLP, sizes, dropout=dropout, seed=0)
    X, y = random_data(sizes, batch)
    found: list[Candidate] = []
    refused: dict[str, str] = {}
    for name in PUBLIC:
        begin = perf_counter()
        state = look(name)
        loading = perf_counter() - begin
        if not state["works"]:
            refused[name] = refusal(state)
            continue
        for asked in devices(name):
            begin = perf_counter() - loading
            try:
                mlp = make(backend=name, device=asked)
                mlp.fit(X[:batch], y[:batch], epochs=1, batch_size=batch)
                startup = perf_counter() - begin
                steps, fit = _choose_steps(mlp, X, y, batch)
            except Exception as error:  # running out of memory, for example, has no common type
                if name == "numpy":  # then the network is the problem
                    raise
                refused[f"{name} {asked or ''}".strip()] = f"no: {one_line(error)}"
            else:
                found.append(Candidate(name, asked, mlp, fit, steps, startup))
    while waiting := [one for one in found if one.spent < SECONDS]:
        for one in waiting:
            one.turn()
    return found, refused


def random_data(sizes: Sequence[int], batch: int) -> tuple[Any, Any]:
    """Return random inputs for the longest epoch, and classes or, for one output, values."""
    rng = np.random.default_rng(0)
    rows = batch * max(min(MOST_STEPS, MOST_VALUES // (batch * sizes[0])), 1)
    X = rng.standard_normal((rows, sizes[0]), dtype=np.float32)
    return X, rng.integers(0, sizes[-1], rows) if sizes[-1] > 1 else X[:, 0]


def devices(name: str) -> list[str | None]:
    """Return the backend's default (None), and the CPU if that is a GPU."""
    also_cpu = name != "cupy" and "gpu" in backend(name).capabilities
    return [None, "cpu"] if also_cpu else [None]


def _choose_steps(mlp: MLP, X: Any, y: Any, batch: int) -> tuple[int, Any]:
    """Find the number of steps of an epoch, and compile for it."""
    steps = 1
    for _ in range(2):  # an epoch of one step takes longer than its step
        rows = steps * batch
        fit = partial(mlp.fit, X[:rows], y[:rows], batch_size=batch)
        seconds = fit(epochs=2)["seconds"][-1] / steps
        steps = max(min(round(EPOCH / seconds), len(X) // batch), 1)
    fit = partial(mlp.fit, X[: steps * batch], y[: steps * batch], batch_size=batch)
    fit(epochs=1)
    return steps, fit
