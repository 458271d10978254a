"""What may import what, and how little is imported: rules that reading alone would not keep."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "xpmlp"

ARRAY_LIBRARIES = {"numpy", "cupy", "cupyx", "torch", "jax", "jaxlib", "array_api_strict", "scipy"}

HOST_BOUNDARY = {
    "random.py": "draws on the host, from NumPy's Philox",
    "initializers.py": "first weights are drawn on the host",
    "parameters.py": "lays host arrays out in one buffer",
    "weights.py": "takes weights to the host and back",
    "sharing.py": "tells the host's arrays from those of other libraries",
    "sparse.py": "rows of sparse matrices become dense on the host",
    "inputs.py": "checks what people pass in, which is NumPy's to read",
    "targets.py": "checks targets, which are small, on the host",
    "prepare.py": "splits and encodes on the host before training",
    "inference.py": "sums an evaluation in float64 on the host",
    "plans.py": "draws an epoch's plan on the host",
    "training.py": "sums an epoch in float64 on the host",
    "feeding.py": "gathers rows of data that stay on the host",
    "trace.py": "explains a pass in host numbers",
    "files.py": "a model file holds host arrays",
    "container.py": "a model file holds host arrays",
    "snapshot.py": "a checkpoint holds host arrays",
    "identity.py": "recognizes data on the host",
    "pickling.py": "a pickle holds host arrays",
    "gradcheck.py": "finite differences in float64 on the host",
    "replay.py": "goes through a finished training on the host",
    "parity.py": "compares with other libraries, which it loads by name, in host numbers",
    "explaining/": "shows a pass to people, in host numbers",
    "divergence.py": "looks into a step that went wrong, in host numbers",
    "diagnosis.py": "shows a training to people, in host numbers",
    "tutorial/": "draws pictures from host arrays",
    "diagnosing/": "shows a training to people, in host numbers",
    "plots.py": "pictures are drawn from host arrays",
    "objective.py": "a function of host arrays, for optimizers of other libraries",
    "sklearn/": "what scikit-learn checks and shows lies on the host",
    "data/": "files are read on the host",
    "cli/": "people and files are on the host",
}
MATHEMATICS = {
    "layers",
    "normalization",
    "activations",
    "losses",
    "special",
    "optimizers",
    "schedules",
    "ops",
    "penalty",
    "step",
    "network",
    "metrics",
    "contract",
}


def sources() -> list[str]:
    """Every file of the package, as a path relative to it."""
    return sorted(str(path.relative_to(PACKAGE).as_posix()) for path in PACKAGE.rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Top names of all imports, inside functions too, by statement or by ``import_module``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__", "require")
        ):
            yield from (
                str(a.value).split(".")[0] for a in node.args if isinstance(a, ast.Constant)
            )


def is_boundary(name: str) -> bool:
    return any(name == entry or name.startswith(entry) for entry in HOST_BOUNDARY)


def forbidden(source: str) -> set[str]:
    return ARRAY_LIBRARIES & set(imported(ast.parse(source)))


def test_the_list_is_of_files_that_exist_and_need_it() -> None:
    assert all(reason for reason in HOST_BOUNDARY.values())
    assert {f"{name}.py" for name in MATHEMATICS}.issubset(sources())
    assert not any(is_boundary(f"{name}.py") for name in MATHEMATICS)
    for entry in HOST_BOUNDARY:
        files = [name for name in sources() if name == entry or name.startswith(entry)]
        used = [name for name in files if forbidden((PACKAGE / name).read_text("utf-8"))]
        assert used, f"{entry} imports no array library: take it off the list"


@pytest.mark.parametrize("name", [name for name in sources() if not is_boundary(name)])
def test_the_mathematics_imports_no_array_library(name: str) -> None:
    assert not forbidden((PACKAGE / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [name for name in sources() if is_boundary(name)])
def test_the_host_boundary_is_numpy_alone(name: str) -> None:
    allowed = {"numpy", "scipy"} if name == "sklearn/_lbfgs.py" else {"numpy"}
    assert forbidden((PACKAGE / name).read_text(encoding="utf-8")) <= allowed


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np",
        "import os, torch",
        "from jax import numpy",
        "import cupy.cuda",
        "def f():\n    from numpy.linalg import norm",
        "importlib.import_module('torch.nn')",
    ],
)
def test_the_parser_sees_every_kind_of_import(source: str) -> None:
    assert forbidden(source)


def test_the_parser_is_not_fooled_by_its_own_package() -> None:
    assert not forbidden("from . import numpy\nfrom xpmlp_backends._numpy import x\nimport numbers")


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
others = {{"torch", "jax", "cupy", "scipy", "sklearn", "array_api_strict"}}
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
for name in ("torch", "jax", "cupy"):
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
