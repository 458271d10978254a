"""What the penalty on the weights is added to."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close
from oracle import F, torch

import xpmlp
from xpmlp.errors import InvalidValueError


@pytest.mark.parametrize("weighted", [False, True])
def test_a_penalty_on_the_sum_is_divided_by_the_weights(backend: Any, weighted: bool) -> None:
    """By autograd: Σ wᵢ·rowsᵢ + λ₁ Σ|W| + ½ λ₂ ΣW², all of it divided by Σ wᵢ."""
    rng = np.random.default_rng(8)
    X, y, w = rng.standard_normal((6, 3)), rng.integers(0, 2, 6), rng.uniform(0.5, 3.0, 6)
    options = {"l1": 0.3, "l2": 0.7, "penalty_on": "sum", "dtype": "float64", "seed": 0}
    mlp = xpmlp.MLP([3, 4, 2], "tanh", backend=backend, **options)
    p = {n: torch.tensor(v, requires_grad=True) for n, v in mlp.state_dict().items()}
    history = mlp.fit(
        *(X, y), epochs=1, optimizer=xpmlp.SGD(0.1), sample_weight=w if weighted else None
    )
    z = torch.tanh(torch.tensor(X) @ p["dense1.W"] + p["dense1.b"]) @ p["dense2.W"] + p["dense2.b"]
    weight = torch.tensor(w if weighted else np.ones(6))
    total = (weight * F.cross_entropy(z, torch.tensor(y), reduction="none")).sum()
    for W in (p["dense1.W"], p["dense2.W"]):
        total = total + 0.3 * W.abs().sum() + 0.35 * (W * W).sum()
    loss = total / weight.sum()
    loss.backward()
    assert_close(np.array(history["loss"]), np.array([loss.item()]), rtol=1e-12)
    for name, value in mlp.state_dict().items():
        expected = p[name].detach().numpy() - 0.1 * p[name].grad.numpy()
        assert_close(value, expected, of_max=1e-12)


def test_an_evaluation_divides_by_its_rows(backend: Any) -> None:
    rng = np.random.default_rng(8)
    X, y = rng.standard_normal((6, 3)), rng.integers(0, 2, 6)
    of_sum, of_mean, none = (
        xpmlp.MLP([3, 2], backend=backend, dtype="float64", seed=0, **options)
        for options in ({"l2": 0.6, "penalty_on": "sum"}, {"l2": 0.1}, {})
    )
    for mlp in (of_sum, of_mean, none):
        start = mlp.state_dict()
        mlp.fit(X, y, epochs=1)
        mlp.load_state_dict(start)
    assert_close(np.array(of_sum.evaluate(X, y)["loss"]), of_mean.evaluate(X, y)["loss"])
    assert of_sum.evaluate(X, y)["loss"] > none.evaluate(X, y)["loss"]


def test_an_unknown_place_of_the_penalty() -> None:
    with pytest.raises(InvalidValueError, match=r"penalty_on 'avg'.*mean, sum"):
        xpmlp.MLP([2, 1], penalty_on="avg")
