"""``xpmlp info``: what is installed, what works here, and what to do about the rest."""

import os
import platform
from argparse import Namespace
from collections.abc import Iterator
from importlib import import_module, util
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Any

import numpy as np
from xpmlp_backends import PUBLIC, backend, why_not

import xpmlp
from xpmlp.cli.environment import AVX512, CORE_VARIABLE, cpu, wants_skylakex
from xpmlp.cli.output import Output

PACKAGES = {
    "numpy": ("numpy",),
    "cupy": ("cupy-cuda13x", "cupy-cuda12x", "cupy"),
    "torch": ("torch",),
    "jax": ("jax",),
}
"""Under which names each backend's library is distributed."""

EXTRAS = {
    "rich": ("rich", "the live display"),
    "matplotlib": ("matplotlib", "pictures"),
    "sklearn": ("scikit-learn", "the data set digits"),
    "pooch": ("pooch", "downloading MNIST"),
    "PIL": ("pillow", "reading pictures"),
}
"""Module, distribution and purpose of what the extra ``cli`` brings."""

NARROW = ("Haswell", "Zen", "Sandybridge", "Nehalem", "Prescott", "Excavator", "Bulldozer")
"""OpenBLAS cores without AVX-512."""


def run(args: Namespace) -> None:
    """Print what was found, or write it as JSON."""
    out = Output(args.json)
    found = gather()
    _print(found, out)
    out.record(found)


def gather() -> dict[str, Any]:
    """Look around; the libraries that are installed are imported, to see whether they work."""
    reason = why_not("cupy")
    blas = _blas()
    plugins = [point.name for point in entry_points(group="xpmlp.backends")]
    return {
        "xpmlp": xpmlp.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "machine": platform.machine(),
        "cpus": _usable_cpus(),
        "avx512": cpu()[1] >= AVX512,
        "blas": blas,
        "backends": {name: _backend(name) for name in PUBLIC},
        "plugins": plugins,
        "auto": {
            "backend": "numpy" if reason else "cupy",
            "because": reason or "CuPy finds a GPU that works",
        },
        "environment": {name: os.environ.get(name) for name in ("XPMLP_BACKEND", "XPMLP_DATA_DIR")},
        "extras": {package: _version(package) for package, _ in EXTRAS.values()},
        "advice": _advice(blas),
    }


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):  # in a container fewer than the machine has
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _version(*packages: str) -> str | None:
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def _backend(name: str) -> dict[str, Any]:
    found: dict[str, Any] = {"version": _version(*PACKAGES[name])}
    try:
        reason = why_not(name)
        device = None if reason else str(backend(name).device)
    except Exception as error:  # a broken installation can raise anything on import
        reason, device = f"{type(error).__name__}: {error}", None
    return found | {"works": reason is None, "device": device, "why_not": reason}


def _blas() -> dict[str, Any]:
    """Ask the library that NumPy has loaded; without threadpoolctl, NumPy's build notes."""
    if util.find_spec("threadpoolctl"):
        pools = import_module("threadpoolctl").threadpool_info()
        for pool in sorted(pools, key=lambda p: "numpy" not in str(p["filepath"])):
            if pool["user_api"] == "blas":
                core = pool.get("architecture")
                keys = ("internal_api", "version", "num_threads")
                name, number, threads = (pool.get(key) for key in keys)
                return {"name": name, "version": number, "core": core, "threads": threads}
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    name, number = blas.get("name"), blas.get("version")
    return {"name": name, "version": number, "core": None, "threads": None}


def _advice(blas: dict[str, Any]) -> list[str]:
    advice = []
    narrow = blas["core"] in NARROW and cpu()[1] >= AVX512
    if narrow or (wants_skylakex() and blas["core"] in (None, "SkylakeX")):
        here = "" if narrow else " The xpmlp command does so for itself."
        advice.append(
            f"This CPU has AVX-512, which OpenBLAS does not use by itself. Set {CORE_VARIABLE}="
            f"SkylakeX before starting Python: matrix products get up to twice as fast.{here}"
        )
    missing = [f"{package} ({use})" for package, use in EXTRAS.values() if not _version(package)]
    if missing:
        advice.append(f"Missing: {', '.join(missing)}: pip install 'xpmlp[cli]'")
    return advice


def _print(found: dict[str, Any], out: Output) -> None:
    if out.json_path == "-":
        return
    for name, text in _rows(found):
        out.say(f"{name:<9} {text}", indent=" " * 10)


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "xpmlp", f"{found['xpmlp']}, Python {found['python']}"
    wide = ", AVX-512" if found["avx512"] else ""
    yield "system", f"{found['platform']}, {found['machine']}, {found['cpus']} CPUs{wide}"
    blas = found["blas"]
    core = blas["core"] or "unknown (pip install threadpoolctl)"
    threads = f", {blas['threads']} threads" if blas["threads"] else ""
    yield "BLAS", f"{blas['name']} {blas['version']}, core type {core}{threads}"
    yield "", ""
    for name, entry in found["backends"].items():
        if entry["works"]:
            yield name, f"{entry['version']} on {entry['device']}"
        else:
            installed = f"{entry['version']} is installed, but " if entry["version"] else ""
            yield name, f"no: {installed}{entry['why_not']}"
    if found["plugins"]:
        yield "plugins", ", ".join(found["plugins"])
    yield "auto", f"{found['auto']['backend']}, because {found['auto']['because']}"
    for name, value in found["environment"].items():
        if value:
            yield "set", f"{name}={value}"
    yield "", ""
    extras = [f"{name} {number}" for name, number in found["extras"].items() if number]
    yield "extras", ", ".join(extras) or "none"
    for advice in found["advice"]:
        yield "advice", advice
