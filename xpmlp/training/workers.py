"""Workers that train together: that they do the same is checked first, and after each epoch."""

import hashlib
import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from statistics import median
from typing import Any

import numpy as np

from xpmlp.errors import WorkerError, short
from xpmlp.parallel.communicator import Communicator, gather
from xpmlp.parallel.run import Sharded
from xpmlp.parallel.threads import limited
from xpmlp.training.callback import Callback
from xpmlp.training.fingerprint import settings, to_config
from xpmlp.training.loop import Training

logger = logging.getLogger(__name__)

SLOW = 1.5
"""How many times as long as the others a worker computes before it is reported."""

ADVICE = {
    "seed": "Pass the same: MLP(..., seed=0)",
    "weights": "Give the models the same seed, or load the same weights",
    "xpmlp": "Install the same version everywhere",
    "numpy": "Install the same version everywhere",
    "settings: data": "Each worker needs all data, in the same order",
}


@contextmanager
def together(form: Any, callbacks: list[Callback]) -> Iterator[list[Callback]]:
    """Yield the callbacks of a run: those given and, with several workers, an ``Agreement``.

    Within, the number of threads is fixed, and an error of one worker before its first step is
    told to the others.
    """
    if not isinstance(form, Sharded):
        yield callbacks
        return
    with limited(form.threads) as threads:
        if form.together.size == 1:
            yield callbacks
            return
        watch = Agreement(form.together, threads)
        acting = [c if c.everywhere or not form.together.rank else Silent(c) for c in callbacks]
        try:
            yield [*acting, watch]
        except Exception as error:
            if not watch.begun and not isinstance(error, WorkerError):
                watch.fail(error)
            raise


class Silent(Callback):
    """A callback that acts on worker 0 alone, on the others."""

    def __init__(self, of: Callback) -> None:
        self.of = of


class Agreement(Callback):
    """Compares the workers of a run before its first epoch and after each.

    Parameters
    ----------
    workers : Communicator
    threads : str
        Those of the array library, which have to be the same.
    """

    def __init__(self, workers: Communicator, threads: str) -> None:
        self.workers, self._threads = workers, threads
        self.begun = False
        self._reported = False
        self._waited = 0.0

    def fail(self, error: Exception) -> None:
        """Tell the others that this worker does not begin: they are waiting to compare."""
        self.begun = True
        gather(self.workers, {"error": short(f"{type(error).__name__}: {error}", 1000)})

    def on_train_begin(self, training: Training) -> None:
        """Compare versions, seed, model, settings and data.

        Raises
        ------
        WorkerError
            Names what differs, and the worker.
        """
        found = self._described(training)
        self.begun = True
        each = gather(self.workers, found)
        for rank, facts in enumerate(each):
            if "error" in facts:
                raise WorkerError(f"worker {rank} has failed: {facts['error']}")
        for rank, facts in enumerate(each[1:], start=1):
            _compare(each[0], facts, rank)
        self._waited = waited(training)

    def on_epoch_end(self, training: Training) -> None:
        """Compare the weights; stop if a callback of any worker has stopped.

        Raises
        ------
        WorkerError
            If they are not the same, bit for bit.
        """
        before, self._waited = self._waited, waited(training)
        seconds = training.history["seconds"][-1]
        busy = max(seconds - (self._waited - before), 0.0)
        each = gather(
            self.workers,
            {"weights": digest(training), "stopped": training.stopped, "busy": busy},
        )
        for rank, one in enumerate(each):
            if one["weights"] != each[0]["weights"]:
                raise WorkerError(
                    f"after epoch {training.epoch + 1} worker {rank} has other weights than "
                    "worker 0. A callback may have set them there alone, or the library computes "
                    "with more threads than one, or machines differ"
                )
        if any(one["stopped"] for one in each):
            training.stop()
        self._report([one["busy"] for one in each])

    def _report(self, busy: list[float]) -> None:
        """Say once, on worker 0, which worker the others wait for."""
        slowest, usual = max(busy), median(busy)
        if self.workers.rank or self._reported or slowest < max(SLOW * usual, 1.0):
            return
        self._reported = True
        logger.warning(
            "worker %d takes %.1f times as long as the others, which wait for it",
            busy.index(slowest),
            slowest / max(usual, 1e-9),
        )

    def _described(self, training: Training) -> dict[str, Any]:
        model = training.mlp
        return {
            "xpmlp": import_module("xpmlp").__version__,  # by name: it lies above this module
            "numpy": np.__version__,
            "threads": self._threads,
            "machine": platform.machine(),
            "backend": model.backend.name,
            "seed": list(map(int, model.seeds)),
            "model": to_config(dict(model.arguments)),
            "weights": digest(training),
            "finished epochs": training.finished,
            "step": training.step,
            "settings": settings(training),
        }


def waited(training: Training) -> float:
    """Return how many seconds this worker has waited for others."""
    return float(getattr(training._run, "waited", 0.0))


def digest(training: Training) -> str:
    """Return SHA-256 of parameters and running statistics."""
    to_numpy, state = training.mlp.backend.to_numpy, training.state
    made = hashlib.sha256()
    for array in (state.params, state.statistics):
        made.update(np.ascontiguousarray(to_numpy(array)).data)
    return made.hexdigest()


def _compare(first: dict[str, Any], other: dict[str, Any], rank: int) -> None:
    for name, found in other.items():
        had, where = first.get(name), name
        if had == found:
            continue
        while isinstance(had, dict) and isinstance(found, dict):
            part = next(n for n in {**found, **had} if had.get(n) != found.get(n))
            where, had, found = f"{where}: {part}", had.get(part), found.get(part)
        hashes = where in ("weights", "settings: data")
        values = "" if hashes else f": found {short(found)}; worker 0 has {short(had)}"
        advice = ADVICE.get(where, "Each worker has to make the same calls with the same arguments")
        raise WorkerError(f"worker {rank} has other {where}{values}. {advice}")
