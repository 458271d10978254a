"""Importing and training reach no network, start no process and leave the environment alone.

The guard is an audit hook, which sees what Python itself opens or starts. Sockets that a compiled
library opens without Python are beyond it.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from conftest import make_backend

GUARD = """
import os, sys

FORBIDDEN = (
    *("socket.", "urllib.", "http.", "ftplib.", "subprocess.", "pty.", "webbrowser."),
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"),
)
ALLOWED = {
    "fc-list": "matplotlib asks for the fonts when it has no list of its own yet",
    "ldconfig": "PyTorch's CUDA bindings, where installed, ask for libraries when it is imported",
}
seen = []

def refuse(event, arguments):
    if not event.startswith(FORBIDDEN):
        return
    if event == "subprocess.Popen" and os.path.basename(str(arguments[0])) in ALLOWED:
        return
    seen.append(f"{event}{arguments}")  # whoever catches the error does not hide the attempt
    raise PermissionError(seen[-1])

sys.addaudithook(refuse)
"""

IMPORTS = """
import importlib, pkgutil
import xpmlp, xpmlp_backends

without = {}
for package in (xpmlp, xpmlp_backends):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__"):
            try:
                importlib.import_module(found.name)
            except ImportError as error:  # an adapter whose library is not installed
                without[found.name] = error
assert not seen, seen
"""

TRAINING = """
import numpy as np
from xpmlp.cli import main

def cli(*arguments):
    assert main([*arguments, "--backend", name]) == 0, arguments

cli("train", "digits", "--epochs", "2", "--out", "run")
cli("evaluate", "run", "digits")
cli("predict", "run", "digits", "--limit", "3")
data = xpmlp.data.load("digits")
mlp = xpmlp.MLP([64, 16, 10], "gelu", backend=name, dropout=0.1, normalization="batch", seed=0)
mlp.fit(data.X, data.y, epochs=2, validation_data=(data.X_test, data.y_test))
mlp.save("model.xpmlp")
again = xpmlp.load("model.xpmlp", backend=name)
assert again.evaluate(data.X_test, data.y_test) == mlp.evaluate(data.X_test, data.y_test)
assert np.array_equal(again.predict(data.X_test), mlp.predict(data.X_test))
assert not seen, seen
"""


def guarded(code: str, folder: Path, **environment: str) -> str:
    """Run code under the guard in a fresh process, in a folder of its own; return what it said."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XPMLP_")}
    done = subprocess.run(
        [sys.executable, "-c", GUARD + code],
        cwd=folder,
        env=kept
        | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        | {"XDG_CACHE_HOME": str(folder), "MPLCONFIGDIR": matplotlib.get_cachedir()}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9), timeout=1)",
        "import socket; socket.getaddrinfo('localhost', 80)",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/', timeout=1)",
        "import subprocess; subprocess.run([sys.executable, '-c', ''])",
        "os.system('true')",
        "os.fork() or os._exit(0)",
    ],
)
def test_the_guard_sees_an_attempt_though_its_error_is_caught(attempt: str, tmp_path: Path) -> None:
    code = f"try:\n    {attempt}\nexcept Exception:\n    pass\nprint(len(seen))"
    assert guarded(code, tmp_path).strip() == "1"


@pytest.mark.slow
def test_importing_all_modules_leaves_the_environment_alone(tmp_path: Path) -> None:
    """None of our variables is read before something is asked for, and none is set."""
    before = """
environment, kind, read = dict(os.environ), type(os.environ), set()
get = kind.__getitem__
kind.__getitem__ = lambda self, name: read.add(name) or get(self, name)
"""
    after = """
changed = {name for name in os.environ if os.environ[name] != environment.get(name)}
changed -= {"KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"}  # scikit-learn's, for OpenMP
assert read, "other libraries read some"
assert not [name for name in read if name.startswith("XPMLP_")], read
assert changed | (environment.keys() - os.environ.keys()) == set(), changed
assert all(name.startswith("xpmlp_backends.") for name in without), without
"""
    guarded(before + IMPORTS + after, tmp_path)


@pytest.mark.parametrize("name", ["numpy", "numpy-plain", "torch", "jax", "dpnp"])
@pytest.mark.slow
def test_training(name: str, tmp_path: Path, tried: Any) -> None:
    make_backend(name)
    fused = {"XPMLP_FUSED": "0"} if name == "numpy-plain" else {}
    setting = f"name = {name.removesuffix('-plain')!r}\n"
    guarded(IMPORTS + setting + TRAINING, tmp_path, **fused)
    tried(f"import, train, evaluate, predict, save, load on {name}: 0 sockets, 0 processes")
