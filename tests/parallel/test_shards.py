"""A run on shards: what it computes, and that the number of workers does not matter."""

from itertools import pairwise

import numpy as np
import pytest
from parallel.together import together

import xpmlp
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.nn.penalty import Penalty
from xpmlp.parallel import Alone
from xpmlp.parallel.find import sharded

pytestmark = pytest.mark.sampled(3)


def data(n=103, outputs=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 6)), rng.integers(0, outputs, n)


def model(backend, dtype="float64", **settings):
    return xpmlp.MLP([6, 12, 8, 3], "tanh", backend=backend, dtype=dtype, seed=3, **settings)


def host(mlp):
    to_numpy = mlp.backend.to_numpy
    return to_numpy(mlp.weights.flat), to_numpy(mlp.weights.statistics)


SETTINGS = {
    "plain": ({}, {}),
    "dropout": ({"dropout": 0.3, "input_dropout": 0.1}, {}),
    "batch norm": ({"normalization": "batch"}, {}),
    "penalties": ({"l1": 1e-3, "l2": 1e-2, "max_norm": 1.0, "penalty_on": "sum"}, {}),
    "all": (
        {"dropout": 0.2, "normalization": "batch", "l2": 1e-3},
        {"optimizer": xpmlp.AdamW(0.01, clip_norm=0.5, average=0.9), "validation_split": 0.2},
    ),
    "weights": ({"normalization": "batch"}, {"sample_weight": np.arange(103) % 4.0}),
}


def fitted(backend, which, **how):
    settings, options = SETTINGS[which]
    X, y = data()
    mlp = model(backend, **settings)
    stop = xpmlp.EarlyStopping(patience=2)
    options = {"epochs": 3, "batch_size": 32, "callbacks": [stop]} | options | how
    history = mlp.fit(X, y, **options)
    del history["seconds"]
    return (*host(mlp), history)


@pytest.mark.parametrize("which", SETTINGS)
def test_the_number_of_workers_changes_no_bit(backend, which):
    expected = fitted(backend, which, shards=8)
    exact = backend.name == "numpy"
    for size in (2, 3):
        for found in together(size, lambda worker: fitted(backend, which, workers=worker)):
            for a, b in zip(found[:2], expected[:2], strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=0 if exact else 1e-10)
            for name, values in expected[2].items():
                np.testing.assert_allclose(found[2][name], values, rtol=0 if exact else 1e-10)


@pytest.mark.parametrize("size", [1, 4, 8])
def test_float32_on_more_workers(size):
    expected = fitted("numpy", "all", shards=8)
    for found in together(size, lambda worker: fitted("numpy", "all", workers=worker)):
        assert (found[0] == expected[0]).all()
        assert found[2] == expected[2]


@pytest.mark.parametrize("which", ["plain", "penalties", "weights"])
def test_without_dropout_and_batch_norm_a_step_is_that_of_the_whole_batch(backend, which):
    settings, options = SETTINGS[which]
    settings = {k: v for k, v in settings.items() if k != "normalization"}
    X, y = data()
    found = []
    for shards in (None, 8, 5):
        mlp = model(backend, **settings)
        options = {"epochs": 2, "batch_size": 40, "optimizer": xpmlp.SGD(0.1)} | options
        history = mlp.fit(X, y, shards=shards, **options)
        found.append((host(mlp)[0], history["loss"], history["accuracy"]))
    for one in found[1:]:
        for a, b in zip(one, found[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_a_step_agrees_with_autograd():
    torch = pytest.importorskip("torch")
    X, y = data(n=21)
    w = np.linspace(0.5, 2.0, 21)
    mlp = model("numpy", normalization="batch", l2=0.1, targets="labels")
    net = mlp.copy().to_torch()[:-1].train()  # without the softmax
    rate, shards = 0.5, 4
    mlp.fit(
        *(X, y),
        epochs=1,
        batch_size=21,
        shuffle=False,
        optimizer=xpmlp.SGD(rate),
        sample_weight=w,
        shards=shards,
    )
    ends = [21 * i // shards for i in range(shards + 1)]
    x, labels, weight = torch.tensor(X), torch.tensor(y), torch.tensor(w)
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    first = [(m.running_mean.clone(), m.running_var.clone()) for m in norms]
    means = [[0.0, 0.0] for _ in norms]
    total = 0.0
    for a, b in pairwise(ends):
        for m, (mean, var) in zip(norms, first, strict=True):
            m.running_mean, m.running_var = mean.clone(), var.clone()
        rows = torch.nn.functional.cross_entropy(net(x[a:b]), labels[a:b], reduction="none")
        total = total + (rows * weight[a:b]).sum()
        for mean, m in zip(means, norms, strict=True):
            mean[0] += m.running_mean * (b - a) / 21
            mean[1] += m.running_var * (b - a) / 21
    loss = total / weight.sum()
    for p in net.parameters():
        if p.ndim == 2:
            loss = loss + 0.05 * (p * p).sum()
    loss.backward()
    with torch.no_grad():
        for p in net.parameters():
            p -= rate * p.grad
    expected = net.state_dict()
    for name, value in mlp.state_dict().items():
        kind = name.rpartition(".")[2]
        if kind in ("mean", "var"):
            i = int(name.partition(".")[0].removeprefix("norm")) - 1
            np.testing.assert_allclose(value, means[i][kind == "var"].numpy(), rtol=1e-10)
    weights = [v for v in expected.values() if v.ndim == 2]
    ours = [mlp.state_dict()[f"dense{i}.W"] for i in (1, 2, 3)]
    for a, b in zip(ours, weights, strict=True):
        np.testing.assert_allclose(a, b.numpy().T, rtol=1e-9, atol=1e-12)


def test_one_shard_and_no_workers_is_the_run_of_today(backend):
    X, y = data()
    found = []
    for how in ({}, {"shards": 1}):
        mlp = model(backend, dropout=0.2)
        mlp.fit(X, y, epochs=1, **how)
        found.append(host(mlp)[0])
    assert (found[0] == found[1]).all()


def test_shards_drop_other_units_than_each_other():
    n, mlp = 16, xpmlp.MLP([1, 64, 1], "identity", dropout=0.5, targets="values", seed=0)
    X = np.ones((n, 1))
    seen = []

    class Look(xpmlp.Callback):
        every = 1

        def on_batch_end(self, training):
            seen.append(training.mlp.backend.to_numpy(training.state.params))

    mlp.fit(X, np.zeros(n), epochs=1, batch_size=n, shards=8, callbacks=[Look()])
    from xpmlp.nn.random import dropout_mask, shard_keys

    keys = np.array([[[5, 9], [6, 1]]], np.int32)
    masks = [
        dropout_mask(np, shard_keys(np, keys, shard)[0, 0], (4, 500), 0.5, np.float32)
        for shard in range(8)
    ]
    assert (shard_keys(np, keys, 0) == keys).all()
    for i in range(8):
        for j in range(i):
            assert 0.4 < (masks[i] == masks[j]).mean() < 0.6
    with_rate = np.concatenate([keys, keys[..., :1]], axis=-1)
    assert (shard_keys(np, with_rate, 3)[..., 2] == with_rate[..., 2]).all()


def test_rows_of_weight_zero_in_a_whole_batch_change_nothing():
    X, y = data(n=16)
    mlp = model("numpy", penalty_on="sum", l2=0.1)
    before = host(mlp)[0]
    w = np.r_[np.zeros(8), np.ones(8)]
    seen = []

    class Look(xpmlp.Callback):
        every = 1

        def on_batch_end(self, training):
            seen.append(np.array(training.state.params))

    options = {"epochs": 1, "batch_size": 8, "shuffle": False, "optimizer": "sgd", "shards": 4}
    mlp.fit(X, y, sample_weight=w, callbacks=[Look()], **options)
    assert (seen[0] == before).all()
    assert (seen[1] != before).any()


def test_the_engines_sum_is_the_same_up_to_rounding():
    expected = fitted("numpy", "all", shards=8)
    engine = {"reduction": "engine"}
    for found in together(3, lambda worker: fitted("numpy", "all", workers=worker, **engine)):
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-9, atol=1e-9)


def test_divergence_is_found_in_its_step():
    X, y = data()

    def fit(worker):
        mlp = xpmlp.MLP([6, 12, 3], "relu", backend="numpy", seed=0)
        mlp.fit(X, y, epochs=2, workers=worker, optimizer=xpmlp.SGD(1e30), batch_size=32)

    with pytest.raises(xpmlp.errors.DivergenceError, match="epoch 1 of 2, step 2 of 4"):
        together(2, fit)


def test_a_continued_run_has_the_bits_of_one_run():
    X, y = data()
    one, two = model("numpy", dropout=0.2), model("numpy", dropout=0.2)
    one.fit(X, y, epochs=4, shards=4)
    two.fit(X, y, epochs=2, shards=4)
    two.fit(X, y, epochs=2, shards=4, continued=True)
    assert (host(one)[0] == host(two)[0]).all()


def test_refusals():
    X, y = data()
    with pytest.raises(InvalidTypeError, match=r"workers: found 2\.5"):
        model("numpy").fit(X, y, workers=2.5)
    with pytest.raises(InvalidValueError, match="shards: found 0; expected a whole number from 1"):
        model("numpy").fit(X, y, shards=0)
    with pytest.raises(InvalidValueError, match="shards: found 0; expected a whole number from 1"):
        sharded(None, 0, "tree")
    with pytest.raises(InvalidValueError, match="reduction"):
        model("numpy").fit(X, y, workers=Alone(), reduction="ring")
    with pytest.raises(InvalidValueError, match="ensemble"):
        xpmlp.MLP([6, 4, 3], ensemble=2, backend="numpy").fit(X, y, shards=2)
    with pytest.raises(InvalidValueError, match="together with batches"):
        model("numpy").fit(batches=[(X, y)], epochs=1, shards=2)
    with pytest.raises(InvalidValueError, match=r"found 10 rows for 8 shards.*Expected 16"):
        model("numpy", normalization="batch").fit(X, y, batch_size=10, shards=8)
    with pytest.raises(InvalidValueError, match="found 3 for 2 shards"):
        together(3, lambda worker: model("numpy").fit(X, y, workers=worker, shards=2))
    assert Penalty().is_zero


@pytest.mark.parametrize("workers", [3, "3"])
def test_a_number_of_workers_is_said_at_the_start(workers):
    with pytest.raises(InvalidValueError, match=r"found 3; .*mpiexec -n 3 python script\.py"):
        model("numpy").fit(*data(), workers=workers)
