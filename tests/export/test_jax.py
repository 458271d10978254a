"""``to_jax``: a pure function that computes what the model does, and that JAX transforms."""

from typing import Any

import networks
import numpy as np
import pytest
from conftest import assert_close
from networks import assert_same, fitted, inputs

import xpmlp
from xpmlp.errors import InvalidValueError
from xpmlp.nn.layers import Pass

jax = pytest.importorskip("jax", reason="JAX is not installed")


@pytest.mark.sampled(40)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", networks.cases()[::3], ids=lambda case: case[0])
def test_every_network_predicts_the_same(case: Any, dtype: str) -> None:
    _, activation, kind, settings = case
    mlp = fitted(kind, activation, dtype=dtype, **settings)
    function, parameters = mlp.to_jax()
    X = inputs(mlp)
    assert_same(jax.jit(function)(parameters, X), mlp, X)


def test_it_works_under_jit_grad_and_vmap() -> None:
    mlp = fitted("labels", "tanh", dtype="float64", scaling=None, normalization="batch")
    function, parameters = mlp.to_jax("logits")
    assert set(parameters) == set(mlp.parameters)
    X = inputs(mlp)
    together = jax.jit(function)(parameters, X)
    one = jax.jit(jax.vmap(lambda x: function(parameters, x)))(X)
    assert_close(one, together, atol=1e-12)
    gradient = jax.jit(jax.grad(lambda p: function(p, X)[:, 0].sum()))(parameters)
    # By a finite difference of the model itself.
    values, step = mlp.state_dict(), 1e-6
    sums = []
    for sign in (1, -1):
        moved = {name: value.copy() for name, value in values.items()}
        moved["dense2.W"][1, 2] += sign * step
        mlp.load_state_dict(moved)
        sums.append(float(outputs_of(mlp, X)[:, 0].sum()))
    assert_close(float(gradient["dense2.W"][1, 2]), (sums[0] - sums[1]) / (2 * step), atol=1e-6)


def outputs_of(mlp: xpmlp.MLP, X: np.ndarray) -> np.ndarray:
    """The last layer's outputs, by NumPy."""
    values = mlp.state_dict()
    run = Pass(statistics=values)
    return np.asarray(mlp.full_network().forward(mlp.backend.ops, values, X, run)[0])


def test_it_depends_on_nothing_that_changes() -> None:
    mlp = fitted()
    function, parameters = mlp.to_jax()
    X = inputs(mlp)
    function = jax.jit(function)
    before = np.asarray(function(parameters, X))
    mlp.fit(networks.data(), networks.targets("labels"), epochs=1)
    mlp.calibrate(networks.data(), networks.targets("labels"))
    assert_close(function(parameters, X), before)


def test_other_outputs_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="unknown outputs 'values'"):
        fitted().to_jax("values")
