"""The reference: every public name has examples that run, and stands on a page."""

import doctest
import inspect
import re
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xpmlp_backends

import xpmlp
from xpmlp.cli.options import COMMANDS
from xpmlp.nn.activations import ACTIVATIONS
from xpmlp.nn.initializers import INITIALIZERS
from xpmlp.nn.losses import DISTRIBUTIONS, LOSSES
from xpmlp.nn.optimizers import OPTIMIZERS

PAGES = Path(__file__).resolve().parent.parent / "docs" / "reference"

MODULES = (
    "xpmlp", "xpmlp.activations", "xpmlp.augment", "xpmlp.callbacks", "xpmlp.checkpoints",
    "xpmlp.data", "xpmlp.inspect.diagnose", "xpmlp.inspect.explain", "xpmlp.inspect.verify",
    "xpmlp.losses", "xpmlp.metrics", "xpmlp.optimizers", "xpmlp.parallel", "xpmlp.play.points",
    "xpmlp.schedules",
    "xpmlp.sklearn", "xpmlp_backends",
)  # fmt: skip
"""Their ``__all__`` is public; of ``xpmlp.errors``, which has none, the exceptions are."""

RESULTS = (
    "xpmlp.play.points.Problem",
    "xpmlp.nn.gradcheck.GradientCheck",
    "xpmlp.inspect.verify.report.Parity",
    "xpmlp.inspect.verify.report.Difference",
)
"""What public functions return is public, too."""

WITH_METHODS = ("MLP", "Table", "Objective", "Loop", "Explanation", "History")
"""Classes whose methods all have examples of their own; those of others have some."""

INTERNAL = {
    "set_task", "restore_point", "full_network", "grouped", "make_step", "compiled_step",
    "custom_settings", "of_numbers", "texts", "penalty_on_device",
}  # fmt: skip
"""Methods for the library's own modules, which may change them."""

NEEDS = {
    "sklearn": "sklearn",
    "load_digits": "sklearn",
    "scipy": "scipy",
    ".csv": "duckdb",
    "to_onnx": "onnxruntime",
    "import torch": "torch",
    "import jax": "jax",
    "TensorBoard(": "tensorboardX",
    "optuna": "optuna",
}
"""Optional packages, by what in an example needs them."""


@cache
def public() -> dict[str, Any]:
    """Every public class and function by name."""
    found: dict[str, Any] = {}
    for module in MODULES:
        if module != "xpmlp.sklearn" or find_spec("sklearn"):
            home = import_module(module)
            found |= {name: getattr(home, name) for name in home.__all__ if name not in found}
    errors = vars(import_module("xpmlp.errors"))
    found |= {n: x for n, x in errors.items() if n.endswith("Error") and n != "OSError"}
    for path in RESULTS:
        module, _, name = path.rpartition(".")
        found[name] = getattr(import_module(module), name)
    return {n: x for n, x in found.items() if inspect.isclass(x) or inspect.isfunction(x)}


def methods(cls: type) -> dict[str, Any]:
    """The public methods and properties of a class and of our classes that it inherits from."""
    found = {}
    for name in dir(cls):
        member = inspect.getattr_static(cls, name)
        for inner in ("__func__", "fget", "func"):  # classmethod, property, cached_property
            member = getattr(member, inner, member)
        ours = str(getattr(member, "__module__", "")).startswith("xpmlp")
        if inspect.isfunction(member) and ours and (name[0] != "_" or name == "__call__"):
            found[name] = member
    return found


@cache
def documented() -> dict[str, str]:
    """The docstrings of all public names, and of the methods that have one."""
    found = {}
    for name, thing in public().items():
        found[name] = inspect.cleandoc(thing.__doc__ or "")
        for method, function in methods(thing).items() if inspect.isclass(thing) else ():
            text = inspect.cleandoc(function.__doc__ or "")
            if text not in found.values() and method not in INTERNAL:
                found[f"{name}.{method}"] = text
    return found


def needed(name: str) -> bool:
    """Whether a name must have an example."""
    owner, _, method = name.partition(".")
    return not method or owner in WITH_METHODS


def with_examples() -> list[str]:
    return [name for name, text in documented().items() if ">>>" in text]


def test_every_public_name_has_examples() -> None:
    lacking = []
    for name, text in documented().items():
        section = text.partition("\nExamples\n--------\n")[2]
        shown = doctest.DocTestParser().get_examples(section)
        if needed(name) and not any(not example.options.get(doctest.SKIP) for example in shown):
            lacking.append(name)
    assert lacking == []


@pytest.mark.parametrize("name", with_examples())
def test_the_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = documented()[name]
    for sign, package in NEEDS.items():
        if sign in text:
            pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    for variable in ("XPMLP_BACKEND", "XPMLP_DATA_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XPMLP_FUSED", "0")  # numba would compile for seconds
    registered = dict(ACTIVATIONS)
    names = {"xpmlp": xpmlp, "np": np, "__name__": name}
    test = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert not said, "".join(said)
    for added in set(ACTIVATIONS) - set(registered):
        del ACTIVATIONS[added]


@cache
def on_pages() -> dict[str, set[str]]:
    """Every name that a page documents, without its module, with the methods it shows."""
    found = {}
    text = "".join(page.read_text(encoding="utf-8") for page in sorted(PAGES.glob("*.md")))
    directive = r"^\.\. auto\w+:: [\w.]*?(\w+)\n((?:   :.*\n)*)"
    for name, options in re.findall(directive, text, flags=re.MULTILINE):
        shown = re.findall(r":(?:special-)?members: (.*)", options)
        found[name] = {method for names in shown for method in names.split(", ")}
    return found


def test_every_public_name_stands_on_a_page() -> None:
    assert set(public()) - set(on_pages()) == set()


def test_a_page_shows_every_method_that_has_examples() -> None:
    lacking = [
        f"{name}.{method}"
        for name, thing in public().items()
        for method, function in (methods(thing).items() if inspect.isclass(thing) else ())
        if ">>>" in (function.__doc__ or "")
        and method not in on_pages()[name]
        # A page shows what a class inherits at its base class.
        and not any(method in on_pages().get(base.__name__, ()) for base in thing.__mro__)
    ]
    assert lacking == []


def test_the_pages_name_nothing_that_is_not_there() -> None:
    for page in PAGES.glob("*.md"):
        named = re.findall(r"^\.\. auto\w+:: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
        for path in named:
            if "sklearn" not in path or find_spec("sklearn"):
                module, _, name = path.rpartition(".")
                assert hasattr(import_module(module), name), path


def test_the_table_of_what_is_built_in_has_all_of_it() -> None:
    text = (PAGES / "index.md").read_text(encoding="utf-8").partition("## What is built in")[2]
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line[:2] == "| "}
    found = {kind: set(re.findall(r"`(\w+)`", row)) for kind, row in rows.items()}
    schedules = {n for n in xpmlp.schedules.__all__ if n not in ("Schedule", "schedule")}
    callbacks = {
        name
        for name, thing in public().items()
        if inspect.isclass(thing) and issubclass(thing, xpmlp.Callback)
    }
    arguments = set(inspect.signature(xpmlp.MLP).parameters)
    assert found["activations"] == set(ACTIVATIONS)
    assert found["losses"] == set(LOSSES)
    assert found["losses of distributions"] == set(DISTRIBUTIONS)
    assert found["initial weights"] == {"auto", *INITIALIZERS}
    assert found["optimizers"] == set(OPTIMIZERS)
    assert found["schedules"] == schedules
    assert found["callbacks"] == callbacks - {"Callback"}
    assert found["data sets"] == set(xpmlp.data.NAMES)
    assert found["backends"] == set(xpmlp_backends.PUBLIC)
    assert found["regularization"] - {"MLP"} == {
        n for n in arguments if re.search(r"^l\d|norm$|drop", n)
    }
    assert {"normalization", "residual"} <= found["layers"] & arguments


def test_the_command_line_page_shows_every_command() -> None:
    page = (PAGES / "command_line.md").read_text(encoding="utf-8")
    assert re.findall(r"\{terminal\} xpmlp (\w+) --help", page) == list(COMMANDS)
