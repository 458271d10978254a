"""What may import what, and how little is imported: what import-linter's contracts cannot say."""

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"xpmlp": ROOT / "xpmlp", "xpmlp_backends": ROOT / "backends" / "xpmlp_backends"}
LIBRARIES = {
    *("numpy", "cupy", "cupyx", "torch", "jax", "jaxlib", "dpnp", "dpctl", "array_api_strict"),
    "scipy",
}
ON_THE_HOST = {"random.py", "orders.py", "initializers.py", "parameters.py"}
"""Files of ``xpmlp/nn`` that draw and lay out numbers on the host, with NumPy."""


@cache
def modules() -> dict[str, Path]:
    """Every module of both packages."""
    found = {}
    for name, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            parts = (name, *path.relative_to(folder).with_suffix("").parts)
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def names_imported(source: ast.AST) -> Iterator[str]:
    """All names that are imported, inside functions and under ``TYPE_CHECKING`` too."""
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__", "require")
        ):
            yield from (str(a.value) for a in node.args if isinstance(a, ast.Constant))


def libraries_of(source: ast.AST) -> set[str]:
    return LIBRARIES & {name.split(".")[0] for name in names_imported(source)}


def modules_imported(name: str) -> set[str]:
    """Modules of ours that a module imports; the packages that it lies in do not count."""
    found = set()
    for imported in names_imported(tree(modules()[name])):
        target = imported if imported in modules() else imported.rpartition(".")[0]
        if target in modules() and not f"{name}.".startswith(f"{target}."):
            found.add(target)
    return found


# What is written


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np",
        "import os, torch",
        "from jax import numpy",
        "import cupy.cuda",
        "def f():\n    from numpy.linalg import norm",
        "importlib.import_module('torch.nn')",
        "if TYPE_CHECKING:\n    import scipy",
    ],
)
def test_every_kind_of_import_is_seen(source: str) -> None:
    assert libraries_of(ast.parse(source))


def test_our_own_modules_are_no_libraries() -> None:
    own = "from . import numpy\nfrom xpmlp_backends.numpy import x\nimport numbers"
    assert not libraries_of(ast.parse(own))


def test_the_mathematics_names_no_array_library() -> None:
    files = sorted((PACKAGES["xpmlp"] / "nn").glob("*.py"))
    assert {path.name for path in files} > ON_THE_HOST | {"layers.py", "gradcheck.py"}
    found = {path.name: libraries_of(tree(path)) for path in files}
    assert {name for name, libraries in found.items() if libraries} == ON_THE_HOST
    assert set().union(*found.values()) == {"numpy"}


@pytest.mark.slow
def test_imports_have_no_circle() -> None:
    try:
        TopologicalSorter({name: modules_imported(name) for name in modules()}).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_every_module_has_its_place_in_the_order_of_imports() -> None:
    """import-linter does not mind a module that no layer names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (each["layers"] for each in contracts if each["type"] == "layers")
    placed = {name.strip() for layer in layers for name in layer.replace("|", ":").split(":")}
    children = {".".join(name.split(".")[:2]) for name in modules() if name.startswith("xpmlp.")}
    assert placed == children | {"xpmlp_backends"}


def test_few_imports_are_for_types_alone() -> None:
    found = [
        name
        for name, path in modules().items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    assert len(found) <= 8, found


def test_a_file_fits_one_sitting() -> None:
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in modules().items()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def private(path: Path, name: str) -> set[str]:
    """Private methods of a class, and attributes that it gives itself."""
    (made,) = (n for n in ast.walk(tree(path)) if isinstance(n, ast.ClassDef) and n.name == name)
    methods = {n.name for n in ast.walk(made) if isinstance(n, ast.FunctionDef)}
    attributes = {
        n.attr
        for n in ast.walk(made)
        if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "self"
    }
    return {n for n in methods | attributes if n.startswith("_") and not n.endswith("__")}


def test_private_members_of_models_are_used_in_their_class_alone() -> None:
    homes = {"xpmlp.model.base": "Model", "xpmlp.mlp": "MLP"}
    members = set().union(*(private(modules()[m], name) for m, name in homes.items()))
    assert members
    used = [
        f"{name}:{node.lineno}: {ast.unparse(node)}"
        for name, path in modules().items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute)
        and node.attr in members
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        and name not in homes
    ]
    assert used == []


# What really happens


def run(code: str, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "backends")])
    done = subprocess.run(
        [sys.executable, *flags, "-c", code],
        env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_importing_xpmlp_imports_no_array_library() -> None:
    code = """
import sys, xpmlp
xpmlp.__version__, dir(xpmlp)
heavy = {"numpy", "torch", "jax", "cupy", "array_api_compat", "safetensors", "matplotlib", "rich"}
print(sorted(heavy & set(sys.modules)))
"""
    assert run(code).stdout.strip() == "[]"


@pytest.mark.parametrize(("fused", "allowed"), [(False, set()), (True, {"scipy"})])
def test_the_numpy_backend_imports_no_other_library(fused: bool, allowed: set[str]) -> None:
    """Numba looks for scipy by itself."""
    if fused:
        pytest.importorskip("numba")
    code = f"""
import sys, xpmlp
from xpmlp_backends.numpy import backend as _numpy
backend = _numpy.create(fused={fused})
xpmlp.MLP([2, 3, 2], backend=backend).fit([[0.0, 1.0], [1.0, 0.0]], [0, 1], epochs=1)
others = {{"torch", "jax", "cupy", "dpnp", "dpctl", "scipy", "sklearn", "array_api_strict"}}
print(*(others & set(sys.modules)))
"""
    assert set(run(code).stdout.split()) <= allowed


CORE_ONLY = """
import sys
from importlib.abc import MetaPathFinder

ALLOWED = {"numpy", "array_api_compat", "safetensors", "xpmlp", "xpmlp_backends"}
ALLOWED |= set(sys.stdlib_module_names)

class Block(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if not name.startswith("_sysconfigdata") and name.split(".")[0] not in ALLOWED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
for blocked in ("torch", "scipy", "rich", "sklearn", "matplotlib"):
    try:
        __import__(blocked)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{blocked} is not blocked")

import numpy as np
import xpmlp

rng = np.random.default_rng(0)
X, y = rng.standard_normal((60, 4)), np.arange(60) % 3
X[:, 0] += y
mlp = xpmlp.MLP([4, 8, 3], "gelu", dropout=0.1, normalization="batch", backend="auto", seed=0)
history = mlp.fit(X, y, epochs=20, batch_size=16, validation_split=0.2)
assert history["loss"][-1] < history["loss"][0]
assert mlp.backend.name == "numpy"
mlp.save("core.xpmlp")
again = xpmlp.load("core.xpmlp")
assert again.evaluate(X, y) == mlp.evaluate(X, y)
assert (again.predict(X) == mlp.predict(X)).all()
assert xpmlp.check_gradient(mlp, X[:8], y[:8]).error <= 1e-6
from xpmlp.errors import BackendError
for name in ("torch", "jax", "cupy", "dpnp"):
    try:
        xpmlp.MLP([2, 1], backend=name)
    except BackendError as error:
        assert "pip install 'xpmlp[" in str(error), error
    else:
        raise SystemExit(f"{name} was not refused")
print("done")
"""


def test_the_core_works_with_its_three_dependencies_alone(tmp_path: Path) -> None:
    done = run(f"import os; os.chdir({str(tmp_path)!r})\n{CORE_ONLY}", "-W", "error")
    assert done.stdout.strip() == "done"
    assert (tmp_path / "core.xpmlp").is_file()
