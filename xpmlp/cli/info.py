"""``xpmlp info``: what is installed, what works here, how fast, and what to do about the rest."""

import platform
from argparse import Namespace
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

from xpmlp_backends import PUBLIC, auto

import xpmlp
from xpmlp.cli.libraries import EXTRAS, installed, look, refusal, where
from xpmlp.cli.machine import core_advice, machine
from xpmlp.cli.output import Output
from xpmlp.errors import InvalidValueError
from xpmlp.parallel.find import GROUP, launched


def run(args: Namespace) -> None:
    """Print what is installed and works, or write it as JSON.

    Raises
    ------
    XpmlpError
        For a network that cannot be measured.
    """
    out = Output(args.json)
    if args.measure:
        _measure(args, out)
        return
    for name in ("sizes", "batch_size", "dropout"):
        if getattr(args, name) is not None:
            raise InvalidValueError(f"--{name.replace('_', '-')}: only with --measure")
    found = _base() | {"backends": {name: look(name) for name in PUBLIC}} | _rest()
    found["advice"] = list(_advice(found))
    _print([*_machine_rows(found), ("", ""), *_rows(found)], out)
    out.record(found)


def _measure(args: Namespace, out: Output) -> None:
    from xpmlp.cli.measure import measure, plan

    settings, found = plan(args), _base()
    _print(list(_machine_rows(found)), out)
    found["measured"] = measure(settings, out)
    out.record(found)


def _base() -> dict[str, Any]:
    versions = {"xpmlp": xpmlp.__version__, "python": platform.python_version()}
    return versions | machine() | {"numba": installed("numba")}


def _rest() -> dict[str, Any]:
    name, because = auto()
    return {
        "plugins": [point.name for point in entry_points(group="xpmlp.backends")],
        "auto": {"backend": name, "because": because},
        "workers": {"launched": (found := launched()) and found._asdict(), "engines": _engines()},
        "extras": {package: installed(package) for package in EXTRAS},
    }


def _engines() -> dict[str, str | None]:
    """Return what carries gradients between workers, by its name in ``fit(workers=)``."""
    mpi = ("mpi4py", "mpich", "openmpi", "impi-rt")
    versions = [f"{name} {number}" for name in mpi if (number := installed(name))]
    torch = installed("torch")
    third = {point.name: point.value for point in entry_points(group=GROUP)}
    has_mpi = installed("mpi4py") is not None
    return {
        "mpi": ", ".join(versions) if has_mpi else None,
        "torch": torch and f"torch {torch} (gloo)",
        **third,
    }


def _advice(found: dict[str, Any]) -> Iterator[str]:
    core = core_advice(found["blas"])
    if core:
        yield core
    missing = [f"{name} ({EXTRAS[name]})" for name, number in found["extras"].items() if not number]
    if missing:
        yield f"Not installed: {', '.join(missing)}. To install: pip install 'xpmlp[cli]'"


def _print(rows: list[tuple[str, str]], out: Output) -> None:
    if out.json_path == "-":
        return
    for name, text in rows:
        out.row(name, text)


def _machine_rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "xpmlp", f"{found['xpmlp']}, Python {found['python']}"
    yield "system", f"{found['platform']}, {found['machine']}"
    cores, of = found["cpus"], found["cpus_in_machine"]
    usable = _count(cores, "core") if cores == of else f"{cores} of {_count(of, 'core')}"
    name = found["cpu"] or found["machine"]
    yield "CPU", f"{name}{', AVX-512' if found['avx512'] else ''}; {usable} for this process"
    blas = found["blas"]
    core = blas["core"] or "unknown (pip install threadpoolctl)"
    threads = f", {_count(blas['threads'], 'thread')}" if blas["threads"] else ""
    yield "BLAS", f"{blas['name']} {blas['version']}, core type {core}{threads}"
    without = "not installed; it makes training on NumPy faster: pip install 'xpmlp[fast]'"
    yield "numba", found["numba"] if found["numba"] else without
    limits = [f"{name}={value}" for name, value in found["environment"].items() if value]
    if limits:
        yield "variables", ", ".join(limits)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, entry in found["backends"].items():
        yield name, where(entry) if entry["works"] else refusal(entry)
    if found["plugins"]:
        yield "plugins", ", ".join(found["plugins"])
    yield "auto", f"{found['auto']['backend']}, because {found['auto']['because']}"
    engines = [f"{name}: {what}" for name, what in found["workers"]["engines"].items() if what]
    here = found["workers"]["launched"]
    several = f"; {here['launcher']} has started {here['size']} here" if here else ""
    none = "no engine is installed; pip install 'xpmlp[mpi]'"
    yield "workers", ("; ".join(engines) or none) + several
    yield "", ""
    extras = [f"{name} {number}" for name, number in found["extras"].items() if number]
    yield "extras", ", ".join(extras) or "none"
    for advice in found["advice"]:
        yield "advice", advice
