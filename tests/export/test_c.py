"""Headers of C: compiled with all warnings as errors, they predict what the model does."""

import ctypes
import shutil
import subprocess
from itertools import count
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from networks import assert_same, fitted, inputs

import xpmlp
from xpmlp.errors import InvalidValueError

CC = shutil.which("gcc") or shutil.which("cc")
needs_compiler = pytest.mark.skipif(CC is None, reason="no C compiler: neither gcc nor cc")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
PROGRAM = """
#include "model.h"
void rows(const {x} *x, {real} *out, int n)
{{
  for (int i = 0; i < n; i++) model_predict(x + i * model_inputs, out + i * model_outputs);
}}
"""
LABELS = """
void labels(const {x} *x, int *out, int n)
{{
  for (int i = 0; i < n; i++) out[i] = model_label(x + i * model_inputs);
}}
"""
NUMBER = count()


def compiled(mlp: xpmlp.MLP, folder: Path, source: str = PROGRAM, optimize: str = "-O0") -> Any:
    """The header's functions, in a library."""
    mlp.to_c(folder / "model.h")
    real = {"float32": "float", "float64": "double"}[mlp.dtype]
    x = "unsigned char" if mlp.scaling.pixels else real
    (folder / "model.c").write_text(source.format(x=x, real=real), encoding="utf-8")
    library = folder / f"model{next(NUMBER)}.so"
    command = [
        CC or "cc",
        *STRICT,
        optimize,
        "-shared",
        "-fPIC",
        "-o",
        str(library),
        "model.c",
        "-lm",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


def called(function: Any, X: np.ndarray, out: np.ndarray) -> np.ndarray:
    pointers = (ctypes.c_void_p(a.ctypes.data) for a in (np.ascontiguousarray(X), out))
    function(*pointers, len(X))
    return out


def compare(mlp: xpmlp.MLP, folder: Path) -> None:
    X = inputs(mlp)
    wanted = networks.expected(mlp, X)
    made = called(compiled(mlp, folder).rows, X, np.zeros(wanted.shape, mlp.dtype))
    assert_same(made, mlp, X)


@needs_compiler
@pytest.mark.sampled(12)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", networks.cases()[::2], ids=lambda case: case[0])
def test_every_network_predicts_the_same(case: Any, dtype: str, tmp_path: Path) -> None:
    _, activation, kind, settings = case
    compare(fitted(kind, activation, dtype=dtype, **settings), tmp_path)


@needs_compiler
@pytest.mark.parametrize(("kind", "activation", "settings"), networks.varied())
def test_every_piece(kind: str, activation: str, settings: Any, tmp_path: Path) -> None:
    compare(fitted(kind, activation, **settings), tmp_path)


@needs_compiler
def test_many_inputs_round_little(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mlp = xpmlp.MLP([784, 20, 10], targets="labels", backend="numpy", seed=0)
    X = rng.random((20, 784), dtype=np.float32)
    library = compiled(mlp, tmp_path, optimize="-O2")  # with which compilers warn of more
    assert_same(called(library.rows, X, np.zeros((20, 10), "float32")), mlp, X)


@needs_compiler
def test_labels_and_the_names_of_classes(tmp_path: Path) -> None:
    mlp = fitted()
    mlp.metadata = {"classes": ['a "b"', "c\\d??/", "Süd"]}
    source = PROGRAM + LABELS + "const char *name(int k) {{ return model_classes[k]; }}"
    library, X = compiled(mlp, tmp_path, source), inputs(mlp)
    found = called(library.labels, X, np.zeros(len(X), np.int32))
    np.testing.assert_array_equal(found, mlp.predict(X))
    library.name.restype = ctypes.c_char_p
    assert [library.name(k).decode() for k in range(3)] == mlp.metadata["classes"]


@needs_compiler
def test_pixels_are_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (30, 5)).astype("uint8"), rng.integers(0, 2, 30)
    mlp = xpmlp.MLP([5, 20, 1], backend="numpy", seed=0)
    mlp.fit(X, y, epochs=1)
    library = compiled(mlp, tmp_path, PROGRAM + LABELS)
    assert_same(called(library.rows, X, np.zeros((30, 2), "float32")), mlp, X)
    found = called(library.labels, X, np.zeros(30, np.int32))
    np.testing.assert_array_equal(found, mlp.predict(X))


@needs_compiler
def test_nan_stays_nan(tmp_path: Path) -> None:
    library = compiled(fitted(scaling=None), tmp_path)
    found = called(library.rows, np.full((1, 5), np.nan, "float32"), np.zeros((1, 3), "float32"))
    assert np.isnan(found).all()


@needs_compiler
def test_two_models_in_one_program(tmp_path: Path) -> None:
    fitted().to_c(tmp_path / "one.h")
    fitted("values").to_c(tmp_path / "other.h", name="Second Net")
    text = '#include "one.h"\n#include "other.h"\n#include "one.h"\nint main(void) { return 0; }\n'
    (tmp_path / "both.c").write_text(text)
    command = [CC or "cc", *STRICT, "-o", "both", "both.c", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert "second_net_predict(const float *x, float *out)" in (tmp_path / "other.h").read_text()


def test_values_have_no_labels(tmp_path: Path) -> None:
    for kind, has in (("labels", True), ("values", False), ("multilabel", False)):
        fitted(kind).to_c(tmp_path / "model.h")
        assert ("model_label" in (tmp_path / "model.h").read_text()) == has


def test_every_float_is_written_exactly(tmp_path: Path) -> None:
    for dtype in ("float32", "float64"):
        mlp = fitted(dtype=dtype, scaling=None)
        mlp.to_c(tmp_path / "model.h")
        text = (tmp_path / "model.h").read_text()
        numbers = text.partition("model_dense1_W[40] = {")[2].partition("}")[0]
        read = [np.array(n.strip().rstrip("f"), dtype=dtype) for n in numbers.split(",")]
        np.testing.assert_array_equal(read, mlp.parameters["dense1.W"].ravel())


def test_a_table_is_refused(tmp_path: Path) -> None:
    mlp = networks.of_people()
    with pytest.raises(InvalidValueError, match=r"mlp\.copy\(table=None\)"):
        mlp.to_c(tmp_path / "model.h")
    mlp.copy(table=None).to_c(tmp_path / "model.h")


@pytest.mark.parametrize("name", ["", "1st", "***"])
def test_names_that_c_does_not_take_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="letters, digits and underscores"):
        fitted().to_c(tmp_path / "model.h", name=name)
