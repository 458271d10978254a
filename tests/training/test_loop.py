"""A custom training loop: bit for bit what ``fit`` does, gradients in parts, own samplers."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close
from oracle import torch

import xpmlp
from xpmlp.errors import DivergenceError, InvalidValueError
from xpmlp.training import batches

N = 50
RNG = np.random.default_rng(2)
X = RNG.standard_normal((N, 4))
Y = RNG.integers(0, 3, N)
W = RNG.integers(0, 4, N).astype(float)


def network(backend: Any = "numpy", **options: Any) -> xpmlp.MLP:
    given = {"dtype": "float64", "seed": 3, "backend": backend} | options
    return xpmlp.MLP([4, 6, 3], "tanh", **given)


def assert_same(a: xpmlp.MLP, b: xpmlp.MLP) -> None:
    """Bit for bit."""
    theirs = b.state_dict()
    for name, value in a.state_dict().items():
        np.testing.assert_array_equal(value, theirs[name], strict=True)


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {"optimizer": "adam"}),
    "a schedule": ({"dropout": 0.3}, {"optimizer": xpmlp.SGD(xpmlp.schedules.Cosine(0.1))}),
    "weights": ({"l2": 0.1, "penalty_on": "sum"}, {"sample_weight": W, "class_weight": "balanced"}),
    "batch norm": ({"normalization": "batch"}, {"optimizer": xpmlp.Adam(0.01, average=0.9)}),
    "ensemble": ({"ensemble": 2}, {"shuffle": "full"}),
    "float32": ({"dtype": "float32"}, {"optimizer": xpmlp.AdamW(0.01, clip_norm=0.1)}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.sampled(3)
def test_it_is_fit_bit_for_bit(backend: Any, case: str) -> None:
    options, fit = CASES[case]
    ours, theirs = network(backend, **options), network(backend, **options)
    expected = theirs.fit(X, Y, epochs=3, batch_size=8, validation_data=(X, Y), **fit)
    loop = xpmlp.Loop(ours, X, Y, epochs=3, batch_size=8, validation_data=(X, Y), **fit)
    for _ in range(3):
        for batch in loop.batches():
            loop.step(batch)
    assert_same(ours, theirs)
    assert list(loop.history) == list(expected)
    for name in set(expected) - {"seconds"}:
        assert loop.history[name] == expected[name], name
    again = {"epochs": 1, "batch_size": 8, "continued": True} | fit
    ours.fit(X, Y, **again)
    theirs.fit(X, Y, **again)
    assert_same(ours, theirs)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("case", ["plain", "batch norm", "weights"])
def test_a_step_in_two_is_one_step(backend: Any, case: str) -> None:
    options, fit = CASES[case]
    ours, theirs = (
        network(backend, dropout=0.2, **options),
        network(backend, dropout=0.2, **options),
    )
    theirs.fit(X, Y, epochs=2, batch_size=16, **fit)
    loop = xpmlp.Loop(ours, X, Y, epochs=2, batch_size=16, **fit)
    for _ in range(2):
        for batch in loop.batches():
            loop.update(batch, *loop.gradient(batch))
    for name, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[name], value, atol=1e-10)
    assert_close(loop.history["loss"], theirs.progress.history["loss"], rtol=1e-10)
    assert "accuracy" not in loop.history


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("on", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.sampled(2)
def test_gradients_of_parts_add_up(backend: Any, on: str, weighted: bool) -> None:
    """The memory of 8 rows, and the steps of 32."""
    fit: dict[str, Any] = {"sample_weight": W if weighted else None, "optimizer": xpmlp.Adam(0.05)}
    options: dict[str, Any] = {"l1": 0.01, "l2": 0.1, "penalty_on": on}
    ours, theirs = network(backend, **options), network(backend, **options)
    expected = theirs.fit(X, Y, epochs=2, batch_size=32, **fit)
    loop = xpmlp.Loop(ours, X, Y, epochs=2, batch_size=32, **fit)
    for _ in range(2):
        for batch in loop.batches():
            total, gradient = 0.0, 0.0
            for part in batch.split(4):
                loss, g = loop.gradient(part)
                total, gradient = total + part.share * loss, gradient + part.share * g
            loop.update(batch, total, gradient)
    for name, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[name], value, atol=1e-9)
    assert_close(loop.history["loss"], expected["loss"], rtol=1e-9)


def test_parts_drop_other_units() -> None:
    mlp = network(dropout=0.5, initializer="zeros", bias_initializer="uniform")
    loop = xpmlp.Loop(mlp, np.zeros((8, 4)), np.zeros(8, int), epochs=1, batch_size=8)
    batch = next(loop.batches())
    found = [loop.by_name(loop.gradient(part)[1])["dense2.W"] for part in batch.split(2)]
    assert not np.array_equal(*found)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("on_host", [False, True])
def test_any_number_of_rows(backend: Any, on_host: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are missing and rows that come often, in ``fit`` and in a loop."""
    monkeypatch.setattr(batches, "CHUNK_STEPS", 3)
    rare = np.flatnonzero(Y == 0)
    orders = [np.concatenate([np.arange(N), np.repeat(rare, 3)]), rare, np.arange(2 * N) % N]

    def sampled(epoch: int, n: int) -> np.ndarray:
        assert n == N
        return orders[epoch]

    made = {"data_on": "host" if on_host else "device"}
    fitted, looped, expected = network(backend), network(backend), network(backend)
    history = fitted.fit(X, Y, epochs=3, batch_size=8, shuffle=sampled, **made)
    assert history.examples == 2 * N
    loop = xpmlp.Loop(looped, X, Y, epochs=3, batch_size=8)
    for order in orders:
        for batch in loop.batches(order):
            loop.step(batch)
    assert_same(looped, fitted)
    assert loop.history["loss"] == history["loss"]
    for i, order in enumerate(orders):
        expected.fit(X[order], Y[order], epochs=1, batch_size=8, shuffle=False, continued=i > 0)
    for name, value in expected.state_dict().items():
        assert_close(looped.state_dict()[name], value, atol=1e-12)


def test_accuracy_of_rows_that_come_often() -> None:
    mlp = network()
    history = mlp.fit(
        X, Y, epochs=1, optimizer=xpmlp.SGD(1e-12), shuffle=lambda epoch, n: np.repeat([0, 1], 40)
    )
    found = mlp.evaluate(X[:2], Y[:2])
    assert_close(history["accuracy"][0], found["accuracy"])
    assert_close(history["loss"][0], found["loss"], atol=1e-8)


def test_an_epoch_that_is_left() -> None:
    ours, theirs = network(), network()
    loop = xpmlp.Loop(ours, X, Y, epochs=2, batch_size=8)
    for batch in loop.batches(np.arange(N)):
        loop.step(batch)
        if batch.number == 1:
            break
    theirs.fit(X[:16], Y[:16], epochs=1, batch_size=8, shuffle=False)
    list(loop.batches())  # no step, no epoch
    for name, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[name], value, atol=1e-12)
    assert_close(loop.history["loss"], theirs.progress.history["loss"], rtol=1e-12)
    assert ours.epochs_trained == 1


def test_what_a_loop_refuses() -> None:
    mlp = network()
    loop = xpmlp.Loop(mlp, X, Y, epochs=1, batch_size=10)
    kept = list(loop.batches())
    with pytest.raises(InvalidValueError, match="one of another step; take each batch as"):
        loop.step(kept[0])
    walk = loop.batches()
    first = next(walk)
    with pytest.raises(InvalidValueError, match="a part of one; add up gradients"):
        loop.step(first.split(2)[0])
    with pytest.raises(InvalidValueError, match="a whole batch, and no more parts than rows"):
        first.split(2)[0].split(2)
    with pytest.raises(InvalidValueError, match="found 10 rows to make 11 parts of"):
        first.split(11)
    with pytest.raises(InvalidValueError, match=r"gradient: found shape \(3,\); expected"):
        loop.update(first, 0.0, np.zeros(3))
    with pytest.raises(InvalidValueError, match=r"missing or unknown: dense1.W, dense1.b"):
        loop.flat({"dense2.W": np.zeros((6, 3)), "dense2.b": np.zeros(3)})
    loop.step(first)
    with pytest.raises(InvalidValueError, match="of another step"):
        loop.step(first)
    for rows in ([], [[0]], [50], [-1], [0.5]):
        wrong = xpmlp.Loop(network(), X, Y, epochs=1).batches(rows)
        with pytest.raises(InvalidValueError, match=r"rows: found .*expected one integer or more"):
            next(wrong)
    assert mlp.epochs_trained == 0
    for batch in walk:
        loop.step(batch)
    with pytest.raises(InvalidValueError, match=r"all 1 epochs are over; make the loop with more"):
        loop.batches()
    pair = xpmlp.Loop(network(ensemble=2), X, Y, epochs=1)
    of_two = next(pair.batches())
    with pytest.raises(InvalidValueError, match="ensemble of 2 networks"):
        pair.gradient(of_two)
    untrained = network()
    with pytest.raises(InvalidValueError, match="expected finite numbers"):
        xpmlp.Loop(untrained, X * np.nan, Y)
    assert untrained.known_task is None


def spoiled(loop: xpmlp.Loop, in_two: bool) -> None:
    """An epoch in which a gradient, or all weights, are infinite."""
    for batch in loop.batches():
        if in_two:
            loss, gradient = loop.gradient(batch)
            loop.update(batch, loss, gradient * np.inf)
        else:
            state = loop.training.state
            loop.training.state = state._replace(params=state.params * np.inf)
            loop.step(batch)


@pytest.mark.parametrize("in_two", [False, True])
def test_a_loss_that_is_not_finite(in_two: bool) -> None:
    mlp = network()
    loop = xpmlp.Loop(mlp, X, Y, epochs=2, batch_size=25, optimizer=xpmlp.SGD(0.1))
    for batch in loop.batches():
        loop.step(batch)
    before = mlp.state_dict()
    with np.errstate(all="ignore"), pytest.raises(DivergenceError, match="in epoch 2 of 2"):
        spoiled(loop, in_two)
    for name, value in mlp.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_batch_without_weight() -> None:
    mlp = network(l2=0.1, penalty_on="sum")
    w = np.array([0.0, 0.0, 1.0, 1.0])
    loop = xpmlp.Loop(mlp, X[:4], Y[:4], epochs=1, batch_size=2, sample_weight=w, shuffle=False)
    loss, gradient = loop.gradient(next(loop.batches()))
    assert float(loss) == 0
    assert not gradient.any()


@pytest.mark.usefixtures("uncompiled")
def test_tied_weights_are_those_of_autograd(backend: Any) -> None:
    """An autoencoder: one matrix in two places, with the gradient of both."""
    made = {"backend": backend, "dtype": "float64", "seed": 0, "targets": "values"}
    mlp = xpmlp.MLP([4, 3, 4], "tanh", **made)
    values = mlp.state_dict()
    mlp.load_state_dict(values | {"dense2.W": values["dense1.W"].T})
    loop = xpmlp.Loop(mlp, X, X, epochs=5, batch_size=None, optimizer=xpmlp.SGD(0.1))
    for _ in range(5):
        for batch in loop.batches():
            loss, gradient = loop.gradient(batch)
            parts, xp = loop.by_name(gradient), loop.backend.xp
            W = parts["dense1.W"] + xp.matrix_transpose(parts["dense2.W"])
            tied = {"dense1.W": W, "dense2.W": xp.matrix_transpose(W)}
            loop.update(batch, loss, loop.flat(parts | tied))
    p = {
        n: torch.tensor(values[n], requires_grad=True) for n in ("dense1.W", "dense1.b", "dense2.b")
    }
    x = torch.tensor(X)
    for _ in range(5):
        z = torch.tanh(x @ p["dense1.W"] + p["dense1.b"]) @ p["dense1.W"].T + p["dense2.b"]
        gradients = torch.autograd.grad(0.5 * ((z - x) ** 2).sum() / N, list(p.values()))
        p = {
            n: (w - 0.1 * g).detach().requires_grad_()
            for (n, w), g in zip(p.items(), gradients, strict=True)
        }
    assert_close(mlp.parameters["dense1.W"], p["dense1.W"].detach(), atol=1e-12)
    np.testing.assert_array_equal(mlp.parameters["dense2.W"], mlp.parameters["dense1.W"].T)
