"""Every distribution that CI installs has its version in ``constraints.txt``, and that one."""

import os
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from conftest import REQUIRED
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
ASKED = ["xpmlp[dev,jax,nvrtc,dpnp,torch]", "pytest-cov"]
"""What .ci/run asks for; ``dev`` brings ``test``, which brings ``cli``, ``fast``, ``sklearn``."""


def pins(path: Path) -> dict[str, Requirement]:
    """Read a constraints file: ``name==version`` on each line that is no comment."""
    lines = path.read_text("utf-8").splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(each.name): each for each in found}


def is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def required(requirement: Requirement) -> list[str]:
    """Return what a distribution requires; of one that is not installed, nothing is known."""
    if requirement.name != "xpmlp":
        known = is_installed(requirement.name)
        return (known and distribution(requirement.name).requires) or []
    extras = PROJECT["project"]["optional-dependencies"]
    return [
        *PROJECT["project"]["dependencies"],
        *(each for extra in requirement.extras for each in extras[extra]),
    ]


def needed(asked: list[str]) -> Iterator[str]:
    """Walk requirements, and yield the names of all distributions but xpmlp."""
    waiting, seen = [Requirement(each) for each in asked], set()
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        if requirement.name != "xpmlp":
            yield canonicalize_name(requirement.name)
        wanted = [{"extra": extra} for extra in requirement.extras] or [{"extra": ""}]
        for each in map(Requirement, required(requirement)):
            if each.marker is None or any(map(each.marker.evaluate, wanted)):
                waiting.append(each)


def is_of_cuda_pytorch(name: str) -> bool:
    """PyTorch's build for GPUs brings NVIDIA's libraries; CI installs the one for CPUs."""
    return name.startswith(("nvidia-", "cuda-", "triton"))


def test_the_constraints_are_exact_versions_and_nothing_else() -> None:
    """No option, so no registry's host either."""
    for name, pin in pins(ROOT / "constraints.txt").items():
        assert [each.operator for each in pin.specifier] == ["=="], name
        assert "*" not in str(pin.specifier), name
        assert pin.url is None, name


def test_all_that_is_needed_is_pinned(tried: Any) -> None:
    """As far as what is installed here says what it needs; where CI asks, that is everything."""
    pinned = pins(ROOT / "constraints.txt")
    names = set(needed([*ASKED, *PROJECT["build-system"]["requires"]]))
    assert {"numpy", "torch", "jax", "import-linter", "hatchling"} <= names
    for name, brings in (("jax", "jaxlib"), ("numba", "llvmlite")):
        if name in REQUIRED or is_installed(name):
            assert brings in names
    missing = {name for name in names - pinned.keys() if not is_of_cuda_pytorch(name)}
    assert missing == set(), "run scripts/pin"
    tried(f"{len(names)} distributions needed, {len(pinned)} pinned, 0 of those needed missing")


def test_what_xpmlp_asks_for_takes_the_pinned_version() -> None:
    pinned = pins(ROOT / "constraints.txt")
    extras = PROJECT["project"]["optional-dependencies"]
    # CI does not install the others: they need a GPU.
    ours = {name for name in extras if not name.startswith("cuda")}
    for each in map(Requirement, required(Requirement(f"xpmlp[{','.join(sorted(ours))}]"))):
        if each.name != "xpmlp":
            (pin,) = pinned[canonicalize_name(each.name)].specifier
            assert each.specifier.contains(pin.version), f"{each}: pinned {pin}; run scripts/pin"


@pytest.mark.skipif("PIP_CONSTRAINT" not in os.environ, reason="PIP_CONSTRAINT is not set")
def test_what_is_installed_are_the_pinned_versions(tried: Any) -> None:
    pinned = pins(Path(os.environ["PIP_CONSTRAINT"]))
    # This environment may have fewer extras.
    found = {name: distribution(name).version for name in needed(ASKED) if is_installed(name)}
    wrong = {n: v for n, v in found.items() if n in pinned and not pinned[n].specifier.contains(v)}
    assert wrong == {}
    assert "numpy" in found
    tried(f"{len(found)} installed distributions have the pinned versions")
