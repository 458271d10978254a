"""Which libraries are installed, and which backends work with them."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from xpmlp_backends import backend, why_not
from xpmlp_backends._base import one_line

PACKAGES = {
    "numpy": ("numpy",),
    "cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy"),
    "torch": ("torch",),
    "jax": ("jax",),
}
"""Under which names each backend's library is distributed."""

EXTRAS = {
    "rich": "the live display",
    "matplotlib": "pictures",
    "scikit-learn": "the data set digits",
    "pooch": "downloading MNIST",
    "pillow": "reading pictures",
}
"""What the extra ``cli`` brings, and for what."""


def installed(*packages: str) -> str | None:
    """Return the version of the first of these distributions that is installed."""
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def look(name: str) -> dict[str, Any]:
    """Import a backend's library and see whether it works, and where it would compute."""
    found: dict[str, Any] = {"version": installed(*PACKAGES[name])}
    try:
        reason = why_not(name)
        device = None if reason else str(backend(name).device)
    except Exception as error:  # a broken installation can raise anything on import
        reason, device = one_line(error), None
    return found | {"works": reason is None, "device": device, "why_not": reason}


def refusal(found: dict[str, Any]) -> str:
    """Say in one line why a backend cannot be used."""
    there = f"{found['version']} is installed, but " if found["version"] else ""
    return f"no: {there}{found['why_not']}"
