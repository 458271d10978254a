"""What is installed for a run on a GPU, and what is missing.

``python -m benchmarks.gpu.installed`` needs Python alone. It ends with 1 and one line where no
stage of ``scripts/gpu`` can run.
"""

import platform
import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from benchmarks.environment import gpus

PACKAGES = {
    "CuPy": ("cupy-cuda13x", "cupy-cuda12x", "cupy"),
    "nvmath bindings": ("nvmath-python",),
    "cuda-bindings": ("cuda-bindings",),
    "NumPy": ("numpy",),
    "array-api-compat": ("array-api-compat",),
    "safetensors": ("safetensors",),
    "PyTorch": ("torch",),
    "Triton (torch.compile)": ("triton",),
    "JAX": ("jax",),
    "JAX's GPU plugin": ("jax-cuda13-plugin", "jax-cuda12-plugin"),
    "Numba": ("numba",),
    "pytest": ("pytest",),
    "hypothesis": ("hypothesis",),
}
"""By the name of what is wanted: the packages of which one has it."""

NEEDED = ("numpy", "array_api_compat", "safetensors")
"""Modules without which nothing can be imported; xpmlp itself says what else is missing."""


def versions() -> dict[str, str | None]:
    """Return the version of each package; None is missing."""
    return {name: next(_found(packages), None) for name, packages in PACKAGES.items()}


def _found(packages: tuple[str, ...]) -> Iterator[str]:
    for package in packages:
        try:
            yield version(package)
        except PackageNotFoundError:
            continue


def lines() -> list[str]:
    """Return what is there, and what is missing."""
    found = versions()
    there = [f"Python {platform.python_version()}"]
    there += [f"{name} {number}" for name, number in found.items() if number]
    missing = [name for name, number in found.items() if not number]
    texts = [
        *(f"GPU: {gpu['name']}, {gpu['memory']}, driver {gpu['driver']}" for gpu in gpus()),
        f"installed: {', '.join(there)}",
        f"missing: {', '.join(missing) or 'nothing'}",
    ]
    return [line for text in texts for line in textwrap.wrap(text, 80, break_on_hyphens=False)]


def why_not() -> str | None:
    """Return None if xpmlp can compute on a GPU here, else the reason in one line."""
    if absent := [name for name in NEEDED if find_spec(name) is None]:
        return f"{', '.join(absent)} cannot be imported"
    reason: str | None = import_module("xpmlp_backends").why_not("cupy")
    return reason


def main() -> int:
    """Print all of it; return the exit status."""
    print(*lines(), sep="\n", flush=True)
    if reason := why_not():
        print(f"nothing can run on a GPU here: {reason}", flush=True)
        return 1
    runtime = import_module("cupy").cuda.runtime
    lt = import_module("xpmlp_backends.cupy.backend").cublaslt()
    print(
        f"CuPy finds {runtime.getDeviceProperties(0)['name'].decode()}; "
        f"CUDA {runtime.runtimeGetVersion()}, of the driver {runtime.driverGetVersion()}; "
        f"cuBLASLt: {lt if isinstance(lt, str) else lt.get_version()}",
        flush=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
