"""Finds the fastest of several algorithms: timed once, and kept on disk.

Each is timed inside a small CUDA graph of repeated calls, because Python takes longer to launch
a product than the GPU takes to compute it. The choice is kept in the user's cache folder, so
that the next run computes with the same algorithms and gives the same bits; ``XPMLP_AUTOTUNE=0``
takes cuBLASLt's first proposal: nothing is timed or kept.
"""

import json
import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from xpmlp.errors import MissingExtraError
from xpmlp.storage.atomic import write_atomically
from xpmlp.storage.paths import cache_folder
from xpmlp_backends.cupy.streams import private_stream

logger = logging.getLogger("xpmlp")

CALLS = 20
"""Calls in a graph that is timed."""

LAUNCHES = 3
"""Times that graph is launched, after a first one; the median counts."""


class Tuning:
    """Chooses algorithms by time.

    Parameters
    ----------
    cupy : module
    library : str
        Name and version of the library; another version's algorithms are timed anew.
    folder : Path, optional
        Where choices are kept.
    """

    def __init__(self, cupy: Any, library: str, folder: Path | None = None) -> None:
        self._cupy = cupy
        device = cupy.cuda.Device()
        name = cupy.cuda.runtime.getDeviceProperties(device.id)["name"]
        name = name.decode() if isinstance(name, bytes) else name
        self._where = f"{name}, {device.compute_capability}, {library}"
        self._path = _file(folder)
        self._asked = os.environ.get("XPMLP_AUTOTUNE", "1") != "0"
        self._kept = self._mine(self._stored()) if self._asked else {}
        self._rows: list[tuple[Any, ...]] = []

    def best(
        self, key: str, algorithms: Sequence[np.ndarray], call: Callable[[np.ndarray], None]
    ) -> np.ndarray:
        """Return the fastest algorithm.

        Parameters
        ----------
        key : str
            What the algorithm is for.
        algorithms : sequence of ndarray
            The most promising first; their bytes identify them.
        call : callable (algorithm) -> None
            Puts the work on the current stream; its result is the same each time.
        """
        if len(algorithms) == 1 or not self._asked:
            return algorithms[0]
        kept = self._kept.get(key)
        for algorithm in algorithms:
            if algorithm.tobytes().hex() == kept:
                return algorithm
        if self._cupy.cuda.get_current_stream().is_capturing():  # nothing can be timed now
            return algorithms[0]
        times = [self._time(partial(call, a)) for a in algorithms]
        chosen = int(np.argmin(times))
        self._rows.append((key, len(times), times[0] * 1e6, times[chosen] * 1e6))
        self._keep(key, algorithms[chosen].tobytes().hex())
        return algorithms[chosen]

    def table(self) -> list[tuple[Any, ...]]:
        """Return what was timed in this process: a header, then a row for each product."""
        return [("product", "candidates", "first, µs", "best, µs"), *self._rows]

    def _time(self, call: Callable[[], None]) -> float:
        """Return the seconds of one call; infinite for an algorithm that fails."""
        cuda = self._cupy.cuda
        stream = private_stream(self._cupy)
        cuda.get_current_stream().synchronize()  # the operands come from there
        try:
            with stream:
                call()  # loads the kernel
                stream.synchronize()
                stream.begin_capture()
                try:
                    for _ in range(CALLS):
                        call()
                finally:
                    graph = stream.end_capture()
                seconds = median(self._launch(graph, stream) for _ in range(LAUNCHES + 1))
        except Exception as error:
            logger.debug("an algorithm was left out: %s", error)
            return float("inf")
        return seconds / CALLS

    def _launch(self, graph: Any, stream: Any) -> float:
        start, stop = self._cupy.cuda.Event(), self._cupy.cuda.Event()
        start.record(stream)
        graph.launch(stream)
        stop.record(stream)
        stop.synchronize()
        return float(self._cupy.cuda.get_elapsed_time(start, stop)) / 1e3

    def _stored(self) -> dict[str, Any]:
        """Return the choices for all devices and libraries; an unreadable file is no loss."""
        try:
            found = json.loads(self._path.read_text()) if self._path else {}
        except (OSError, ValueError):
            found = {}
        return found if isinstance(found, dict) else {}

    def _mine(self, stored: dict[str, Any]) -> dict[str, str]:
        found = stored.get(self._where)
        return found if isinstance(found, dict) else {}

    def _keep(self, key: str, algorithm: str) -> None:
        self._kept[key] = algorithm
        if self._path is None:
            return
        stored = self._stored()
        stored[self._where] = self._mine(stored) | {key: algorithm}
        try:
            write_atomically(self._path, json.dumps(stored, indent=1).encode())
        except OSError as error:
            logger.debug("choices of algorithms are not kept: %s", error)


def _file(folder: Path | None) -> Path | None:
    """Return where choices are kept; None without platformdirs, when each run times anew."""
    try:
        return (folder or cache_folder()) / "products.json"
    except MissingExtraError as error:
        logger.debug("choices of algorithms are not kept: %s", error)
        return None
