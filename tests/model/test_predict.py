"""Passes over any number of rows: the same numbers, and few shapes where each is compiled."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend

import xpmlp

X = np.random.default_rng(8).normal(size=(70, 3)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(np.int64)


@pytest.mark.parametrize(("target", "outputs"), [(Y, 2), (np.eye(2)[Y], 2), (2.0 * X[:, 0], 1)])
def test_any_number_of_rows_on_the_host_and_on_the_device(
    backend: Any, target: np.ndarray, outputs: int
) -> None:
    made = xpmlp.MLP([3, 6, outputs], "tanh", backend=backend, seed=3)
    made.fit(X, target, epochs=1)
    values = made.state_dict()
    z = np.tanh(X @ values["dense1.W"] + values["dense1.b"]) @ values["dense2.W"]
    z = z + values["dense2.b"]
    for n in (1, 2, 3, 5, 13, 31, 70):
        expected = z[:n, 0] if outputs == 1 else z[:n].argmax(axis=1)
        for x in (X[:n], backend.asarray(X[:n])):
            found = made.predict(x)
            assert found.shape == (n,)
            found = found if isinstance(found, np.ndarray) else backend.to_numpy(found)
            assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for n in (1, 5, 31):
        loss = made.evaluate(X[:n], target[:n])["loss"]
        assert loss == pytest.approx(float(np.mean(losses(z[:n], target[:n]))), rel=1e-5)
        assert made.evaluate(backend.asarray(X[:n]), target[:n])["loss"] == pytest.approx(loss)


def losses(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Each row's loss, by the textbook."""
    if z.shape[1] == 1:
        return 0.5 * (z[:, 0] - y) ** 2
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(len(y)), y if y.ndim == 1 else y.argmax(axis=1)])


def test_jax_compiles_a_pass_for_few_numbers_of_rows() -> None:
    backend = make_backend("jax")
    sizes = {backend.padded(n) for n in range(1, 4097)}
    assert len(sizes) == 24
    assert all(n <= backend.padded(n) <= 1.5 * n for n in range(1, 4097))
    mlp = xpmlp.MLP([3, 4, 2], backend=backend, seed=3)
    mlp.fit(X, Y, epochs=1)
    for n in range(1, 71):
        mlp.predict(X[:n])
    assert mlp.forward_pass.run._cache_size() == len({backend.padded(n) for n in range(1, 71)})


def test_no_other_backend_fills_up(backend: Any) -> None:
    if backend.name != "jax":
        assert [backend.padded(n) for n in (1, 5, 4095)] == [1, 5, 4095]
