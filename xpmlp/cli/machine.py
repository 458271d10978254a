"""What NumPy can use here: processor, cores, BLAS, and limits set in the environment."""

import os
import platform
from importlib import import_module, util
from typing import Any

import numpy as np

from xpmlp.cli.environment import AVX512, CORE_VARIABLE, best_core, cpu, processor

VARIABLES = (
    *("XPMLP_BACKEND", "XPMLP_DATA_DIR", "XPMLP_FUSED", CORE_VARIABLE),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"),
)
"""Environment variables that change which libraries compute, and on how many threads."""

NARROW = ("Haswell", "Zen", "Sandybridge", "Nehalem", "Prescott", "Excavator", "Bulldozer")
"""OpenBLAS cores without AVX-512."""


def machine() -> dict[str, Any]:
    """Describe system, processor and BLAS."""
    return {
        "platform": platform.platform(terse=True),
        "machine": platform.machine(),
        "cpu": processor().get("model name") or platform.processor() or None,
        "cpus": usable_cpus(),
        "cpus_in_machine": os.cpu_count(),
        "avx512": cpu()[1] >= AVX512,
        "blas": blas(),
        "environment": {name: os.environ.get(name) for name in VARIABLES},
    }


def usable_cpus() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # in a container fewer than the machine has
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def blas() -> dict[str, Any]:
    """Describe the BLAS that NumPy has loaded; without threadpoolctl, the one it was built for."""
    if util.find_spec("threadpoolctl"):
        pools = import_module("threadpoolctl").threadpool_info()
        for pool in sorted(pools, key=lambda p: "numpy" not in str(p["filepath"])):
            if pool["user_api"] == "blas":
                core = pool.get("architecture")
                keys = ("internal_api", "version", "num_threads")
                name, number, threads = (pool.get(key) for key in keys)
                return {"name": name, "version": number, "core": core, "threads": threads}
    config: Any = np.show_config(mode="dicts")
    built = config.get("Build Dependencies", {}).get("blas", {})
    name, number = built.get("name"), built.get("version")
    return {"name": name, "version": number, "core": None, "threads": None}


def core_advice(found: dict[str, Any]) -> str | None:
    """Say what to set if OpenBLAS does not use its best kernels; None if it does.

    Parameters
    ----------
    found : dict
        From ``blas``.
    """
    core, best, unset = found["core"], best_core(), CORE_VARIABLE not in os.environ
    here = " The xpmlp command does this itself." if unset and best else ""
    if best == "Haswell":
        if core is None or core in NARROW:
            return None
        return (
            f"OpenBLAS uses 512-bit kernels, which this CPU computes in halves. Set {CORE_VARIABLE}"
            f"=Haswell before starting Python: large matrix products take a tenth less time.{here}"
        )
    narrow = core in NARROW and cpu()[1] >= AVX512
    unknown = core is None and "openblas" in str(found["name"]) and unset
    if not narrow and not (unknown and best):
        return None
    return (
        f"OpenBLAS {'leaves' if narrow else 'may leave'} this CPU's AVX-512 unused. Set "
        f"{CORE_VARIABLE}=SkylakeX before starting Python: matrix products get up to twice as "
        f"fast.{here}"
    )
