"""The worked step of the lecture slides: every printed number, to its 8 digits, on every backend.

2-3-2 without biases, sigmoid twice, loss ½Σ(y − h₂)², α = 0.001, one example.
"""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp.callbacks import Callback
from xpmlp.inspect.explain import explain_worked_step
from xpmlp.nn.layers import Pass
from xpmlp.nn.optimizers import SGD
from xpmlp.training.prepare import settle

X = np.random.RandomState(0).randn(300, 2)[:1]
Y = np.array([[1.0, 0.0]])
# The slides print half a unit of the eighth decimal at most away from the truth.
PRINTED = {"atol": 0.51e-8}

W1 = [[-0.67746455, 0.37769425, -0.07365253], [-0.53663519, 0.60920496, 0.21149622]]
W2 = [[-0.41491732, -0.30992816], [-0.31583913, -0.27706468], [-0.44701662, 0.15231059]]
H1 = [[0.19626223, 0.71301043, 0.48867814]]
H2 = [[0.37166596, 0.45414264]]
DLOSS_DH2 = [[-0.62833404, 0.45414264]]
DH2_DZ2 = [[0.23353037, 0.2478971]]  # the slides print the first with a minus, and use it without
DLOSS_DW2 = [[-0.02879856, 0.02209533], [-0.10462365, 0.08027117], [-0.07170623, 0.0550157]]
DLOSS_DH1 = [[0.02599101, 0.01515256, 0.08274025]]
DH1_DZ1 = [[0.15774337, 0.20462656, 0.24987182]]
DLOSS_DW1 = [[0.00723246, 0.00546965, 0.03647082], [0.00164061, 0.00124073, 0.00827303]]
NEW_W2 = [[-0.41488852, -0.30995026], [-0.31573451, -0.27714495], [-0.44694491, 0.15225557]]
NEW_W1 = [[-0.67747178, 0.37768878, -0.073689], [-0.53663683, 0.60920372, 0.21148795]]


def weights() -> dict[str, np.ndarray]:
    """Uniform in [−1, 1) from seed 2017, W1 first, each divided by √fan_in."""
    rng = np.random.RandomState(2017)
    return {
        "dense1.W": rng.uniform(-1, 1, (2, 3)) / np.sqrt(2),
        "dense2.W": rng.uniform(-1, 1, (3, 2)) / np.sqrt(3),
    }


@pytest.fixture
def mlp(backend: Any) -> xpmlp.MLP:
    if "float64" not in backend.capabilities:
        pytest.skip(f"{backend.name} has no float64")
    made = xpmlp.MLP(
        [2, 3, 2],
        activation="sigmoid",
        output="sigmoid",
        loss="mse",
        bias=False,
        scaling=None,
        dtype="float64",
        backend=backend,
        seed=0,
    )
    made.load_state_dict(weights())
    return made


def test_the_weights_are_those_of_the_slides() -> None:
    assert_close(X, [[1.76405235, 0.40015721]], **PRINTED)
    assert_close(weights()["dense1.W"], W1, **PRINTED)
    assert_close(weights()["dense2.W"], W2, **PRINTED)


def test_forward(mlp: xpmlp.MLP) -> None:
    settle(mlp, X, Y)
    ops, host = mlp.backend.ops, mlp.backend.to_numpy
    p = mlp.network.layout.views(ops.xp, mlp.weights.flat)
    x = mlp.backend.asarray(X, "float64")
    values = []
    for layer in [*mlp.network.layers, mlp.full_network()]:
        y, _ = layer.forward(ops, p, x, Pass())
        values.append(host(y))
        x = y if layer is not mlp.network.layers[-1] else mlp.backend.asarray(X, "float64")
    z1, h1, z2, h2 = values
    assert_close(z1, X @ np.array(W1), atol=2e-8)
    assert_close(h1, H1, **PRINTED)
    assert_close(z2, np.array(H1) @ np.array(W2), atol=2e-8)
    assert_close(h2, H2, **PRINTED)


def test_backward(mlp: xpmlp.MLP) -> None:
    x, y = settle(mlp, X, Y)
    ops, host = mlp.backend.ops, mlp.backend.to_numpy
    p = mlp.network.layout.views(ops.xp, mlp.weights.flat)
    dense1, sigmoid1, dense2 = mlp.network.layers
    h1, back_h1 = sigmoid1.forward(ops, p, dense1.forward(ops, p, x, Pass())[0], Pass())
    z2, back_z2 = dense2.forward(ops, p, h1, Pass())
    output = mlp.task.output
    assert output is not None
    h2 = output.function(ops, z2)
    _, dh2 = mlp.task.loss(ops, h2, y)
    assert_close(host(dh2), DLOSS_DH2, **PRINTED)
    assert_close(host(output.derivative(ops, z2, h2)), DH2_DZ2, **PRINTED)
    dh1, grads2 = back_z2(output.backward(ops, z2, h2, dh2))
    assert_close(host(grads2["dense2.W"]), DLOSS_DW2, **PRINTED)
    assert_close(host(dh1), DLOSS_DH1, **PRINTED)
    ones = ops.xp.ones_like(dh1)
    assert_close(host(back_h1(ones)[0]), DH1_DZ1, **PRINTED)
    _, grads, _ = mlp.make_step(SGD()).gradient(p, x, y, None, Pass(training=True))
    assert_close(host(grads["dense2.W"]), DLOSS_DW2, **PRINTED)
    assert_close(host(grads["dense1.W"]), DLOSS_DW1, **PRINTED)


def test_the_updated_weights_and_the_loss(mlp: xpmlp.MLP) -> None:
    losses = []

    class Record(Callback):
        every = 1

        def on_batch_end(self, training: Any) -> None:
            losses.append(training.batch_loss)

    mlp.fit(X, Y, epochs=1, batch_size=1, optimizer=SGD(0.001), callbacks=[Record()])
    assert_close(mlp.parameters["dense1.W"], NEW_W1, **PRINTED)
    assert_close(mlp.parameters["dense2.W"], NEW_W2, **PRINTED)
    assert_close(losses[0], 0.5 * np.sum((Y - np.array(H2)) ** 2), atol=2e-8)


def test_explained_with_another_optimizer() -> None:
    """At ten times the rate each weight moves ten times as far."""
    slides, faster = explain_worked_step(), explain_worked_step(optimizer=SGD(0.01))
    moved, further = (e["W1*"].values - e["W1"].values for e in (slides, faster))
    assert_close(further, 10 * moved, rtol=1e-9)
