"""Operations on the arrays of many networks, of three axes, against the plain formulas."""

from collections.abc import Iterator
from typing import Any

import array_api_compat.numpy as numpy_xp
import numpy as np
import pytest
from conftest import assert_close

from xpmlp.nn.activations import ACTIVATIONS
from xpmlp.nn.ops import Ops
from xpmlp.nn.penalty import Penalty
from xpmlp.nn.random import dropout_keys

K, N = 3, 5
PLAIN = Ops.reference(numpy_xp, "cpu")


SIZES = [(4, 7), (6, 2), (1, 1)]


def factors(
    rng: np.random.Generator, *sizes: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray, Any]]:
    """Inputs, weights and biases: of each network, or shared."""
    for n_in, n_out in sizes:
        for x_front, W_front in (((K,), (K,)), ((), (K,)), ((K,), ())):
            x, W = (rng.standard_normal((*f, *s)) for f, s in (
                (x_front, (N, n_in)), (W_front, (n_in, n_out)),
            ))  # fmt: skip
            yield x, W, rng.standard_normal((*W_front, n_out))
            yield x, W, None


def on(backend: Any, *arrays: Any) -> list[Any]:
    """Arrays on the device; everything else as it is."""
    return [backend.asarray(a) if isinstance(a, np.ndarray) else a for a in arrays]


def close(backend: Any, found: Any, expected: Any) -> None:
    for a, b in zip(found, expected, strict=True):
        if b is None:
            assert a is None
        else:
            assert_close(backend.to_numpy(a), b, atol=1e-13, of_max=1e-14)


@pytest.fixture(params=[1, 1 << 20])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's blocks of rows: of one network, and of all."""
    monkeypatch.setattr("xpmlp_backends.numpy.networks.BLOCK", request.param)
    monkeypatch.setattr("xpmlp_backends.numpy.networks.DEPTH", min(request.param + 3, 2048))


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("size", SIZES)
def test_dense_maps(
    backend: Any, block: None, name: str, size: tuple[int, int], rng: np.random.Generator
) -> None:
    ops, f = backend.ops, ACTIVATIONS[name]
    for x, W, b in factors(rng, size):
        dz = rng.standard_normal((K, N, W.shape[-1]))
        x_, W_, b_, dz_ = on(backend, x, W, b, dz)
        expected = PLAIN.dense(x, W, b)
        close(backend, [ops.dense(x_, W_, b_)], [expected])
        for need_dx in (True, False):
            found = ops.dense_grad(x_, W_, dz_, need_dx)
            close(backend, found, PLAIN.dense_grad(x, W, dz, need_dx))
        z, h = ops.dense_activation(ops, x_, W_, b_, f)
        _, right = PLAIN.dense_activation(PLAIN, x, W, b, f)
        close(backend, [h], [right])
        for need_dx in (True, False):
            found = ops.dense_activation_grad(ops, x_, W_, z, h, dz_, f, need_dx)
            given = (x, W, expected, right, dz, f, need_dx)
            close(backend, found, PLAIN.dense_activation_grad(PLAIN, *given))


def test_networks_are_what_they_are_one_by_one(rng: np.random.Generator) -> None:
    """The plain formulas themselves: for a matrix of each, and summed for one that is shared."""
    for x, W, b in factors(rng, *SIZES):
        dz = rng.standard_normal((K, N, W.shape[-1]))
        z, (_, dW, db) = PLAIN.dense(x, W, b), PLAIN.dense_grad(x, W, dz, True)
        parts = []
        for k in range(K):
            own = [a if a is None or a.ndim == n else a[k] for a, n in ((x, 2), (W, 2), (b, 1))]
            assert_close(z[k], PLAIN.dense(*own), atol=1e-14)
            parts.append(PLAIN.dense_grad(own[0], own[1], dz[k], False)[1:])
        each = [np.stack(part) for part in zip(*parts, strict=True)]
        close_to = [a if W.ndim > 2 else a.sum(axis=0) for a in each]
        assert_close(dW, close_to[0], atol=1e-13)
        assert_close(db, close_to[1], atol=1e-13)


def test_the_batch_and_its_loss(backend: Any, rng: np.random.Generator) -> None:
    rows, dz = rng.random((K, N)), rng.standard_normal((K, N, 2))
    for weight in (None, rng.random((K, N)), np.zeros((K, N))):
        found = backend.ops.batch_mean(*on(backend, rows, dz, weight))
        close(backend, found, PLAIN.batch_mean(rows, dz, weight))
    totals, carry = rng.random((2, K)), rng.random((2, K)) * 1e-17
    value, finite = np.array([1.0, np.inf, np.nan]), np.ones((2, K), np.int32)
    for score in (None, rng.random((K, N))):
        given = (totals, carry, finite, value)
        arrays = on(backend, *map(np.array, given), score)
        with np.errstate(invalid="ignore"):
            found = backend.ops.accumulate(*arrays[:4], N, arrays[4])
            right = PLAIN.accumulate(*given, N, score)
        for a, b in zip((found[0], found[2]), (right[0], right[2]), strict=True):
            assert np.allclose(backend.to_numpy(a), b, rtol=1e-14, equal_nan=True)


def test_penalties(backend: Any, rng: np.random.Generator) -> None:
    W, dW = rng.standard_normal((2, K, 4, 3))
    each = np.array([0.0, 0.5, 1.0])
    for l1, l2 in ((0.1, 0.0), (0.0, 0.2), (0.1, 0.2), (each, 0.0), (0.1, each)):
        penalty = Penalty(*on(backend, l1, l2))
        found = backend.ops.penalize(penalty, *on(backend, W, dW.copy()))
        close(backend, found, PLAIN.penalize(Penalty(l1, l2), W, dW))


def test_dropout(backend: Any, rng: np.random.Generator) -> None:
    """With one key for all, and with a key for each."""
    x, keys = rng.standard_normal((K, N, 4)), dropout_keys(0, 0, 1, K)[0]
    for key in (keys[0], keys):
        x_, key_ = on(backend, x, key)
        y, mask = backend.ops.dropout(backend.ops, x_, key_, 0.4)
        right, _ = PLAIN.dropout(PLAIN, x, key, 0.4)
        assert_close(backend.to_numpy(y), right, rtol=1e-15)
        back = backend.ops.dropout_grad(backend.ops, x_, mask)
        assert_close(backend.to_numpy(back), right, rtol=1e-15)
        f = ACTIVATIONS["tanh"]
        grad = backend.ops.activation_grad(backend.ops, x_, x_, x_, f, mask)
        expected = PLAIN.activation_grad(PLAIN, x, x, right, f)
        assert_close(backend.to_numpy(grad), expected, rtol=1e-13, atol=1e-15)
    for k in range(K):
        one, _ = PLAIN.dropout(PLAIN, x[k], keys[k], 0.4)
        assert_close(PLAIN.dropout(PLAIN, x, keys, 0.4)[0][k], one)


def test_two_classes_of_many_rows(backend: Any, rng: np.random.Generator) -> None:
    """NumPy has loops for them; NaN and infinity are those of the plain formula."""
    z = rng.standard_normal((600, 2)) * 30
    z[:3] = [[1e308, -1e308], [0.0, 0.0], [-np.inf, np.inf]]
    labels = rng.integers(0, 2, 600).astype(np.int32)
    for smoothing in (0.0, 0.1):
        found = backend.ops.label_cross_entropy(*on(backend, z, labels), smoothing)
        close(backend, found, PLAIN.label_cross_entropy(z, labels, smoothing))
    z[5, 1] = np.nan
    rows, dz = backend.ops.label_cross_entropy(*on(backend, z, labels))
    assert np.isnan(backend.to_numpy(rows)[5])
    assert np.isnan(backend.to_numpy(dz)[5]).all()
    assert np.isfinite(np.delete(backend.to_numpy(rows), 5)).all()
