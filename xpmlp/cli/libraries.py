"""Which libraries are installed, and which backends work with them."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from xpmlp_backends import backend, why_not
from xpmlp_backends.base import one_line

from xpmlp.model.memory import gibibytes
from xpmlp.nn.contract import Backend

PACKAGES = {
    "numpy": ("numpy",),
    "cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy"),
    "torch": ("torch",),
    "jax": ("jax",),
    "dpnp": ("dpnp",),
}
"""The names under which each backend's library is distributed."""

EXTRAS = {
    "rich": "the live display",
    "matplotlib": "pictures",
    "scikit-learn": "the data set digits",
    "pooch": "downloading MNIST",
    "platformdirs": "the cache folder",
    "pillow": "reading pictures",
    "shtab": "completion in the shell",
}
"""Packages of the extra ``cli``, and what they are for."""


def installed(*packages: str) -> str | None:
    """Return the version of the first of these distributions that is installed."""
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def look(name: str) -> dict[str, Any]:
    """Import a backend's library; return whether it works, and where it would compute."""
    found: dict[str, Any] = {"version": installed(*PACKAGES[name])}
    place: dict[str, Any] = {"device": None, "gpu": None, "memory": None}
    try:
        reason = why_not(name)
        if reason is None:
            place = _place(backend(name))
    except Exception as error:  # a broken installation can raise anything on import
        reason = one_line(error)
    return found | {"works": reason is None, "why_not": reason} | place


def _place(made: Backend) -> dict[str, Any]:
    """Return where a backend computes, and the name and memory of a GPU."""
    gpu, memory = "gpu" in made.capabilities, made.memory()
    return {
        "device": str(made.device),
        "gpu": made.device_name() if gpu else None,
        "memory": None if memory is None else memory._asdict(),
    }


def where(found: dict[str, Any]) -> str:
    """Say in one line where a backend that works computes."""
    place, memory = f"{found['version']} on {found['device']}", found["memory"]
    if found["gpu"]:
        place += f", {found['gpu']}"
    if memory:
        place += f", {gibibytes(memory['free'])} of {gibibytes(memory['total'])} memory free"
    return place


def refusal(found: dict[str, Any]) -> str:
    """Say in one line why a backend cannot be used."""
    there = f"{found['version']} is installed, but " if found["version"] else ""
    return f"no: {there}{found['why_not']}"
