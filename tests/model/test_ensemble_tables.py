"""Many networks as one, with the pieces for tables: each is the network that it would be alone."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp.schedules import CosLog4, FlatCos, PerNetwork

Data = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def data() -> Data:
    """Two numbers, a category with 4 codes, and an input that stays as it is."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(90, 4))
    X[:, 2] = rng.integers(0, 4, 90)
    return X, (X[:, 0] * X[:, 1] + 0.3 * X[:, 2] > 0.4).astype(int)


def pieces(numbers: str, **changed: Any) -> dict[str, Any]:
    """Return the arguments of a network as recipes have it, small."""
    embedding = xpmlp.Embedding(
        numbers, columns=[0, 1], categories={2: 4}, size=2, outputs=3, frequencies=4, bins=5
    )
    return {
        "sizes": [4, 7, 7, 2],
        "activation": "selu",
        "embedding": embedding,
        "input_scale": True,
        "parametrization": "ntk",
        "activation_mix": True,
        "bias_initializer": "normal",
        "dropout": FlatCos(0.15),
        "loss": xpmlp.losses.SparseCategoricalCrossEntropy(label_smoothing=0.1),
        "scaling": None,
        "dtype": "float64",
    } | changed


GROUPS = {
    "scale.*": {"rate": 6.0},
    "mix*": {"rate": 0.1, "weight_decay": 0.0},
    "embedding.*": {"rate": 0.1, "schedule": CosLog4(0.02)},
    "*.b": {"rate": 0.1, "weight_decay": FlatCos(0.01)},
    "dense3.*": {"rate": 0.0},
}


def optimizer(rate: Any, **settings: Any) -> xpmlp.optimizers.Optimizer:
    """Return an optimizer with everything that it can have."""
    return xpmlp.AdamW(rate, weight_decay=FlatCos(0.02), beta2=0.95, groups=GROUPS, **settings)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("each_rate", [False, True])
@pytest.mark.parametrize("numbers", ["pbld", "piecewise"])
def test_each_network_is_what_it_is_alone(
    backend: Any, numbers: str, each_rate: bool, data: Data
) -> None:
    """Embeddings, scales, shares, biases, rates of groups, scheduled dropout, averaged weights."""
    rates: list[Any] = [CosLog4(0.04), 0.01, FlatCos(0.02)] if each_rate else [CosLog4(0.04)] * 3
    more = {"clip_norm": 0.5} if numbers == "pbld" else {"average": 0.9}
    arguments, fit = pieces(numbers, backend=backend), {"epochs": 4, "batch_size": 30}
    mlp = xpmlp.MLP(ensemble=3, seed=4, **arguments)
    together = PerNetwork(rates) if each_rate else rates[0]
    mlp.fit(*data, optimizer=optimizer(together, **more), **fit)
    i = 2
    alone = xpmlp.MLP(seed=4 + i, **arguments)
    alone.fit(*data, optimizer=optimizer(rates[i], **more), **fit)
    found = mlp.member(i).state_dict()
    for name, value in alone.state_dict().items():
        assert_close(found[name], value, atol=1e-10)


def member_losses(mlp: Any, X: np.ndarray, y: np.ndarray, values: dict[str, Any]) -> float:
    """Return the mean of the networks' losses, each computed alone from its own weights."""
    mlp.load_state_dict(values)
    count = mlp.network.members.count
    return float(np.mean([mlp.member(i).evaluate(X, y)["loss"] for i in range(count)]))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("sharing", ["mini", "full"])
@pytest.mark.parametrize("numbers", ["pbld", "piecewise"])
def test_a_step_of_shared_networks_follows_the_mean_loss(
    backend: Any, sharing: str, numbers: str, data: Data
) -> None:
    """A step of gradient descent, against finite differences of the losses of the members."""
    arguments = pieces(numbers, dropout=0.0, backend=backend)
    mlp = xpmlp.MLP(ensemble=3, sharing=sharing, seed=4, **arguments)
    rate, h = 0.1, 1e-6
    fit: dict[str, Any] = {"epochs": 1, "batch_size": None, "optimizer": xpmlp.SGD(rate)}
    mlp.fit(*data, **fit)  # the bins are known from here on
    start = mlp.state_dict()
    mlp.fit(*data, **fit)
    after, reference = mlp.state_dict(), mlp.copy(backend="numpy")
    rng = np.random.default_rng(0)
    for name in mlp.parameters:
        at = tuple(rng.integers(0, n) for n in start[name].shape)
        there = []
        for sign in (1, -1):
            moved = start | {name: start[name].copy()}
            moved[name][at] += sign * h
            there.append(member_losses(reference, *data, moved))
        slope = (there[0] - there[1]) / (2 * h)
        assert_close((start[name] - after[name])[at] / rate, slope, rtol=1e-5, atol=1e-8)
    each = mlp.predict_proba(data[0], each=True)
    for i in range(3):
        found = mlp.member(i).copy(backend="numpy").predict_proba(data[0])
        assert_close(found, each[i], atol=1e-10)
