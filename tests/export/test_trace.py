"""What is recorded for Python and C: custom functions, and what cannot be written down."""

import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from networks import assert_same, fitted, inputs

import xpmlp
from xpmlp.errors import InvalidValueError
from xpmlp.export import trace
from xpmlp.export.program import Program
from xpmlp.nn.activations import ACTIVATIONS
from xpmlp.nn.layers import Layer

CUSTOM = {
    "cube": (lambda xp, z: z**3, lambda xp, z: 3 * z**2),
    "wave": (lambda xp, z: xp.sin(z) + xp.cos(2 * z), lambda xp, z: xp.cos(z) - 2 * xp.sin(2 * z)),
    "slope": (
        lambda xp, z: xp.where((z > 1.0) & (z < 3.0), 2 * z - 1, z),
        lambda xp, z: xp.where((z > 1.0) & (z < 3.0), 2 * xp.ones_like(z), xp.ones_like(z)),
    ),
    "square": (lambda xp, z: 1 - xp.square(z) / 2, lambda xp, z: -z),
}


@pytest.mark.parametrize("name", CUSTOM)
def test_custom_activations_are_written_down(name: str, tmp_path: Path) -> None:
    f = xpmlp.activations.from_functions(*CUSTOM[name], name)
    mlp = fitted("values", f, dtype="float64")  # type: ignore[arg-type]
    mlp.to_python(tmp_path / "model.py")
    X = inputs(mlp)
    assert_same(runpy.run_path(str(tmp_path / "model.py"))["predict"](X.tolist()), mlp, X)
    mlp.to_c(tmp_path / "model.h")
    assert f"model_custom1_{name}(double z)" in (tmp_path / "model.h").read_text()


def test_custom_activations_of_one_name_are_told_apart(tmp_path: Path) -> None:
    twice = xpmlp.activations.from_functions(lambda xp, z: 2 * z, lambda xp, z: 0 * z + 2)
    least = xpmlp.activations.from_functions(
        lambda xp, z: xp.minimum(z, np.inf) - 1, lambda xp, z: xp.ones_like(z)
    )
    mlp = fitted("values", [twice, least], dtype="float64")  # type: ignore[arg-type]
    assert twice.name == least.name == "<lambda>"
    mlp.to_python(tmp_path / "model.py")
    X = inputs(mlp)
    assert_same(runpy.run_path(str(tmp_path / "model.py"))["predict"](X.tolist()), mlp, X)
    mlp.to_c(tmp_path / "model.h")
    assert "> INFINITY" in (tmp_path / "model.h").read_text()


def of_layer(function: Any) -> xpmlp.MLP:
    def made(name: str, units: int) -> Layer:
        def forward(ops: Any, p: Any, x: Any, run: Any) -> Any:
            return function(ops.xp, x), lambda dy, need_dx=True: (dy, {})

        return Layer(name, forward, {}, {}, "y = f(x)")

    mlp: xpmlp.MLP = fitted("values", normalization=made)
    return mlp


def test_registered_activations_are_custom_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    f = xpmlp.activations.from_functions(*CUSTOM["square"], "lambda")
    monkeypatch.setitem(ACTIVATIONS, "lambda", f)
    mlp = fitted("values", "lambda", dtype="float64")
    mlp.to_python(tmp_path / "model.py")
    X = inputs(mlp)
    assert_same(runpy.run_path(str(tmp_path / "model.py"))["predict"](X.tolist()), mlp, X)


def turned(xp: Any, x: Any) -> Any:
    """Units in the other order, minus the smallest of the row."""
    places = [x[:, k : k + 1] for k in range(x.shape[1] - 1, -1, -1)]
    return xp.concat(places, axis=1) - xp.min(x, axis=-1, keepdims=True)


def ended(xp: Any, x: Any) -> Any:
    """The last unit is 0."""
    return xp.concat([x[:, :-1], xp.zeros_like(x[:, :1])], axis=1)


def crossed(xp: Any, x: Any) -> Any:
    """Rows of two by four units, turned, and added to themselves in a way no index follows."""
    grid = xp.reshape(x, (x.shape[0], 2, 1, 4)) + xp.zeros((3, 1), dtype=x.dtype)
    turned = xp.permute_dims(xp.sum(grid, axis=2), (0, 2, 1))
    return xp.reshape(turned, x.shape) * xp.max(x, axis=1, keepdims=True)


def stacked(xp: Any, x: Any) -> Any:
    halves = xp.stack([x[:, :4], -x[:, 4:]], axis=-1)
    return xp.reshape(xp.matrix_transpose(halves), x.shape) * xp.ones_like(x)


def from_first(xp: Any, x: Any) -> Any:
    doubled = xp.minimum(2 * x, 1e30)
    return doubled - doubled[:, :1]


@pytest.mark.parametrize("function", [turned, ended, crossed, stacked, from_first])
def test_a_custom_layer_is_written_down(function: Any, tmp_path: Path) -> None:
    mlp = of_layer(function)
    mlp.to_python(tmp_path / "model.py")
    X = inputs(mlp)
    assert_same(runpy.run_path(str(tmp_path / "model.py"))["predict"](X.tolist()), mlp, X)
    if compiler := shutil.which("gcc") or shutil.which("cc"):
        mlp.to_c(tmp_path / "model.h")
        (tmp_path / "m.c").write_text(SINGLE)
        command = [compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", "m.c", "-o", "m", "-lm"]
        subprocess.run(command, cwd=tmp_path, check=True)
        text = " ".join(repr(float(v)) for v in X[0])
        done = subprocess.run(
            [tmp_path / "m"], input=text, capture_output=True, text=True, check=True
        )
        assert_same([float(done.stdout)], mlp, X[:1])


SINGLE = """
#include <stdio.h>
#include "model.h"
int main(void)
{
  float x[model_inputs], out[model_outputs];
  for (int i = 0; i < model_inputs; i++) if (scanf("%f", &x[i]) != 1) return 1;
  model_predict(x, out);
  printf("%.9g", out[0]);
  return 0;
}
"""


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda xp, x: xp.round(x), "uses xp.round, which this export does not know"),
        (lambda xp, x: x @ (x.T @ x), "a product of two arrays that both depend on the inputs"),
        (lambda xp, x: xp.take(x, xp.arange(8, dtype=xp.int32), axis=1), "has no export"),
    ],
)
def test_what_cannot_be_written_down_is_named(function: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=said):
        of_layer(function).to_c(tmp_path / "model.h")
    assert list(tmp_path.iterdir()) == []


def test_what_depends_on_constants_alone_is_computed_at_once() -> None:
    xp, a = trace.NAMESPACE, trace.constant([[1.0, 2.0, 3.0]], "float64")
    for found, wanted in (
        (xp.mean(a, axis=1), [2.0]),
        (xp.var(a, axis=1), [2 / 3]),
        (xp.max(a, axis=-1, keepdims=True), [[3.0]]),
        (a @ trace.constant(np.ones((3, 1))), [[6.0]]),
        (-a[:, 1:], [[-2.0, -3.0]]),
        (xp.take(a.T, trace.constant([2, 0]), axis=0), [[3.0], [1.0]]),
        (xp.broadcast_to(a, (2, 3)), [[1.0, 2.0, 3.0]] * 2),
        (xp.astype(a > 1.5, "float32"), [[0.0, 1.0, 1.0]]),
        (2.0**a, [[2.0, 4.0, 8.0]]),
    ):
        np.testing.assert_allclose(found.value, wanted, rtol=1e-14)
    assert hash(a) == id(a)


def test_a_network_of_few_outputs_is_few_statements() -> None:
    program = Program(fitted("values", scaling=None))
    assert [type(s).__name__ for s in program.statements] == ["Dense", "Loop"] * 2 + ["Dense"]
    assert program.inputs == 5
    assert networks.ROWS
