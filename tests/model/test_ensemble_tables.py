"""Many networks as one, with the pieces for tables: each is the network that it would be alone."""

import pickle
from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp.callbacks import Callback
from xpmlp.errors import InvalidValueError
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


DECAY = FlatCos(0.02)


def optimizer(rate: Any, decay: Any = DECAY, **settings: Any) -> Any:
    """Return an optimizer with everything that it can have."""
    return xpmlp.AdamW(rate, weight_decay=decay, beta2=0.95, groups=GROUPS, **settings)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("each_rate", [False, True])
@pytest.mark.parametrize("numbers", ["pbld", "piecewise"])
def test_each_network_is_what_it_is_alone(
    backend: Any, numbers: str, each_rate: bool, data: Data
) -> None:
    """Embeddings, scales, shares, biases, rates of groups, scheduled dropout, averaged weights."""
    rates: list[Any] = [CosLog4(0.04), 0.01, FlatCos(0.02)] if each_rate else [CosLog4(0.04)] * 3
    decays: list[Any] = [0.01, 0.1, FlatCos(0.03)] if each_rate else [DECAY] * 3
    more = {"clip_norm": 0.5} if numbers == "pbld" else {"average": 0.9}
    arguments, fit = pieces(numbers, backend=backend), {"epochs": 4, "batch_size": 30}
    mlp = xpmlp.MLP(ensemble=3, seed=4, **arguments)
    together = [PerNetwork(each) if each_rate else each[0] for each in (rates, decays)]
    mlp.fit(*data, optimizer=optimizer(*together, **more), **fit)
    i = 2
    alone = xpmlp.MLP(seed=4 + i, **arguments)
    alone.fit(*data, optimizer=optimizer(rates[i], decays[i], **more), **fit)
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


# How sure they are


def noisy(n: int = 120) -> Data:
    """Values whose noise grows with the input."""
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, (n, 2))
    return X, 50 + 20 * X[:, 0] + 5 * (X[:, 1] + 1.1) * rng.standard_normal(n)


def values(loss: Any, outputs: int, backend: Any, **options: Any) -> Any:
    """Return an ensemble of three that has learned them a little."""
    sizes, made = [2, 8, outputs], {"scaling": "standard", "dtype": "float64", "seed": 0} | options
    mlp = xpmlp.MLP(sizes, loss=loss, ensemble=3, backend=backend, **made)
    mlp.fit(*noisy(), epochs=6, batch_size=24, optimizer=xpmlp.Adam(0.02))
    return mlp


def test_the_moments_of_normal_distributions(backend: Any) -> None:
    """Their mixture: by the law of total variance."""
    mlp, (X, y) = values("gaussian", 2, backend), noisy()
    means, deviations = mlp.predict(X, return_std=True, each=True)
    assert means.shape == deviations.shape == (3, 120)
    for i in range(3):
        mean, deviation = mlp.member(i).predict(X, return_std=True)
        assert_close(means[i], mean, rtol=1e-10)
        assert_close(deviations[i], deviation, rtol=1e-10)
    mean, deviation = mlp.predict(X, return_std=True)
    assert_close(mean, means.mean(axis=0), rtol=1e-10)
    variance = (deviations**2).mean(axis=0) + means.var(axis=0)
    assert_close(deviation, np.sqrt(variance), rtol=1e-9)
    assert_close(mlp.predict(X), mean, rtol=1e-12)
    scale = y.std()
    loss = 0.5 * np.log(2 * np.pi * variance / scale**2) + 0.5 * (y - mean) ** 2 / variance
    assert_close(mlp.evaluate(X, y)["loss"], loss.mean(), rtol=1e-9)


@pytest.mark.parametrize("sharing", ["none", "mini", "full"])
def test_quantiles_are_means_of_quantiles(backend: Any, sharing: str) -> None:
    loss = xpmlp.losses.Quantiles([0.1, 0.5, 0.9])
    mlp, (X, y) = values(loss, 3, backend, sharing=sharing), noisy()
    each = [mlp.member(i).predict_quantiles(X) for i in range(3)]
    found = mlp.predict_quantiles(X)
    assert_close(found, np.mean(each, axis=0), rtol=1e-9)
    assert_close(mlp.predict(X), found[:, 1], rtol=1e-12)
    assert mlp.calibrate(X, y).rows == 120
    interval = mlp.predict_interval(X, 0.8)
    share = ((interval[:, 0] <= y) & (y <= interval[:, 1])).mean()
    assert 0.8 <= share < 0.9  # of the rows of the calibration
    with pytest.raises(InvalidValueError, match="an ensemble of values"):
        mlp.predict(X, return_std=True, each=True)


def test_the_temperature_is_that_of_the_mean_probabilities(data: Data, tmp_path: Any) -> None:
    mlp = xpmlp.MLP([4, 16, 2], ensemble=3, sharing="full", seed=0, backend="numpy")
    mlp.fit(*data, epochs=60, optimizer=xpmlp.Adam(0.02))
    before, X, y = mlp.predict_proba(data[0]), *data
    np.testing.assert_allclose(before, mlp.predict_proba(X, each=True).mean(axis=0), rtol=1e-5)
    noise = np.where(np.arange(90) % 3, y, 1 - y)
    temperature = mlp.calibrate(X, noise).temperature
    assert temperature > 1.05
    tempered = before.astype(np.float64) ** (1 / temperature)
    expected = tempered / tempered.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(mlp.predict_proba(X), expected, rtol=1e-4)
    assert mlp.predict_set(X, 0.9).shape == (90, 2)
    mlp.save(tmp_path / "model.xpmlp")
    again = xpmlp.load(tmp_path / "model.xpmlp", backend="numpy")
    np.testing.assert_array_equal(again.predict_proba(X), mlp.predict_proba(X))


@pytest.mark.parametrize("sharing", ["none", "mini", "full"])
def test_files_and_pickles(sharing: str, data: Data, tmp_path: Any) -> None:
    """And a run that is resumed is the run, bit for bit."""
    arguments = pieces("piecewise", sharing=sharing, ensemble=3, seed=4, backend="numpy")
    fit: dict[str, Any] = {"batch_size": 20, "optimizer": optimizer(0.01, average=0.9)}
    whole, half = xpmlp.MLP(**arguments), xpmlp.MLP(**arguments)
    whole.fit(*data, epochs=4, **fit)
    half.fit(*data, epochs=4, checkpoints=tmp_path / "run", callbacks=[Stop()], **fit)
    half.save(tmp_path / "half.xpmlp")
    for other in (xpmlp.load(tmp_path / "half.xpmlp", backend="numpy"), half.copy()):
        assert repr(other.arguments["ensemble"]) == "3"
        np.testing.assert_array_equal(other.predict_proba(data[0]), half.predict_proba(data[0]))
    resumed = xpmlp.MLP(**arguments)
    resumed.fit(*data, epochs=4, checkpoints=tmp_path / "run", resume=True, **fit)
    for name, value in whole.state_dict().items():
        np.testing.assert_array_equal(resumed.state_dict()[name], value)
    for name, value in pickle.loads(pickle.dumps(whole)).state_dict().items():
        np.testing.assert_array_equal(value, whole.state_dict()[name])
    assert "3, which share" in whole.summary()


class Stop(Callback):
    """Ends a run after its second epoch."""

    def on_epoch_end(self, training: Any) -> None:
        if training.epoch == 1:
            training.stop = True
