"""What a figure was measured on."""

import os
import platform
import subprocess
from datetime import date
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGES = (
    *("xpmlp", "numpy", "numba", "torch", "jax", "cupy-cuda13x", "cupy-cuda12x"),
    *("scikit-learn", "triton", "nvidia-cublas", "nvidia-cublas-cu12", "nvmath-python"),
)
GPU_FIELDS = {"name": "name", "driver": "driver_version", "memory": "memory.total"}
"""What is asked of the driver, by our names and its own."""


def describe() -> dict[str, Any]:
    """Return date, processor, load, threads, GPUs and versions, for the log of a run."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "system": platform.system(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "cores_used": usable_cores(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "blas": _blas(),
        "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE"),
        "gpus": gpus(),
        "versions": versions,
    }


def gpus() -> list[dict[str, str]]:
    """Return name, driver and memory of each NVIDIA GPU, as the driver tells them."""
    query = ",".join(GPU_FIELDS.values())
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = (line.split(",") for line in done.stdout.splitlines())
    return [dict(zip(GPU_FIELDS, map(str.strip, row), strict=False)) for row in rows]


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _blas() -> str | None:
    """Return which kernels and how many threads NumPy's matrix products use, if that is known."""
    if not find_spec("threadpoolctl"):
        return None
    pools = import_module("threadpoolctl").threadpool_info()
    found = [p for p in pools if p["user_api"] == "blas" and "numpy" in p["filepath"]]
    return "; ".join(
        f"{p['internal_api']} {p['version']}, {p.get('architecture')} kernels, "
        f"{p['num_threads']} threads"
        for p in found
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "?")
