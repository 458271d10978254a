"""What is recorded for Python and C: custom functions, and what cannot be written down."""

import runpy
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
from networks import assert_same, fitted, inputs

import xpmlp
from xpmlp.errors import InvalidValueError
from xpmlp.export import trace
from xpmlp.export.program import Copy, Program
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
    assert f"model_{name}(double z)" in (tmp_path / "model.h").read_text()


def test_a_custom_layer_is_written_down(tmp_path: Path) -> None:
    def turned(name: str, units: int) -> Layer:
        """The units in the other order, minus the largest of the row."""

        def forward(ops: Any, p: Any, x: Any, run: Any) -> Any:
            xp = ops.xp
            places = [x[:, k : k + 1] for k in range(units - 1, -1, -1)]
            y = xp.concat(places, axis=1) - xp.min(x, axis=-1, keepdims=True)
            return y, lambda dy, need_dx=True: (xp.zeros_like(x), {})

        return Layer(name, forward, {}, {}, "y = x turned")

    mlp = fitted("values", normalization=turned)
    mlp.to_python(tmp_path / "model.py")
    X = inputs(mlp)
    assert_same(runpy.run_path(str(tmp_path / "model.py"))["predict"](X.tolist()), mlp, X)
    assert any(isinstance(s, Copy) for s in Program(mlp).statements)


def of_layer(function: Any) -> xpmlp.MLP:
    def made(name: str, units: int) -> Layer:
        def forward(ops: Any, p: Any, x: Any, run: Any) -> Any:
            return function(ops.xp, x), lambda dy, need_dx=True: (dy, {})

        return Layer(name, forward, {}, {}, "y = f(x)")

    mlp: xpmlp.MLP = fitted("values", normalization=made)
    return mlp


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
