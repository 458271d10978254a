"""MNIST on the GPU: 784-512-512-10 with dropout, trained through CuPy for 20 epochs."""

from collections.abc import Mapping

from xpmlp_backends import backend

from benchmarks.accuracy import RUNS, train
from xpmlp.data import load_mnist
from xpmlp.data.mnist import FOLDER_VARIABLE
from xpmlp.errors import BackendError, DataError, DownloadError

US, RUN = "xpmlp cupy", "MNIST 784-512-512-10"
NEEDED = 20.0
"""Seconds it may take where every step runs eagerly."""


class LeftOutError(Exception):
    """Why it is not trained."""


def run(seconds: float) -> dict[str, float]:
    """Train, if there is time, a GPU and the data; nothing is downloaded.

    Raises
    ------
    LeftOutError
        With the reason.
    """
    if seconds < NEEDED:
        raise LeftOutError(f"{seconds:.0f} s were left; it needs {NEEDED:.0f} s")
    try:
        device = backend("cupy")
        load_mnist(mirrors=())
    except BackendError as error:
        raise LeftOutError(str(error)) from error
    except (DataError, DownloadError) as error:
        raise LeftOutError(f"it is not there; {FOLDER_VARIABLE} names its folder") from error
    found = train(RUNS[RUN], "cupy", 0)
    memory = device.memory()
    return found | ({"memory_used": memory.used} if memory else {})


def lines(results: Mapping[str, float]) -> list[str]:
    """Return the line."""
    made = [
        f"{RUN} with dropout, {RUNS[RUN].epochs} epochs through CuPy: test accuracy "
        f"{results['test_accuracy']:.4f}",
        f"after {results['seconds']:.2f} s of training",
    ]
    if "memory_used" in results:
        made[-1] += (
            f"; this process held {results['memory_used'] / 1e6:,.0f} MB of the GPU's memory"
        )
    return made
