"""What a run is to do, and what must be set before NumPy is loaded: imports nothing heavy."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from xpmlp.cli.environment import CORE_VARIABLE, best_core

POOLS = ("OPENBLAS", "OMP", "MKL", "NUMBA")


@dataclass(frozen=True)
class Settings:
    """How much to measure.

    Attributes
    ----------
    quick : bool
        Everything once and tiny: whether it runs, not how fast.
    rounds : int
        Interleaved measurements of each contestant.
    networks : tuple of str
        Names of the networks to train; none for all.
    seeds, epochs : int
        Of the time to accuracy.
    """

    quick: bool = False
    rounds: int = 11
    networks: tuple[str, ...] = ()
    seeds: int = 3
    epochs: int = 20


def prepare_process(threads: int | None) -> int:
    """Give this process and its children so many cores and threads; NumPy must not be loaded yet.

    JAX takes as many threads as the process has cores, so the cores are what is set; the
    variables are for libraries that would count all cores of the machine.
    """
    count = threads or os.cpu_count() or 1
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        count = min(threads or len(cores), len(cores))
        os.sched_setaffinity(0, cores[:count])
    for library in POOLS:
        os.environ[f"{library}_NUM_THREADS"] = str(count)
    if core := best_core():
        os.environ.setdefault(CORE_VARIABLE, core)
    return count


def caches(folder: str) -> dict[str, str]:
    """Return the variables that make an empty folder the place of what is kept once compiled."""
    return dict.fromkeys(("NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"), folder)


def child(*arguments: str, extra: Mapping[str, str] | None = None) -> tuple[float, str]:
    """Run a fresh Python; return its seconds and what it printed.

    Raises
    ------
    RuntimeError
        With the last line of its complaint, if it fails.
    """
    paths = [str(Path(__file__).parents[1]), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
    command = [sys.executable, *arguments]
    begin = perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment | dict(extra or {}), check=False
    )
    seconds = perf_counter() - begin
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["failed without a word"])[-1])
    return seconds, done.stdout


def child_json(module: str, *arguments: str, extra: Mapping[str, str] | None = None) -> Any:
    """Run a module in a fresh Python, and read the JSON in the last line that it prints."""
    return json.loads(child("-m", module, *arguments, extra=extra)[1].splitlines()[-1])
