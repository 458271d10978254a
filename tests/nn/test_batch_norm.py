"""Batch normalization and batches of one row, which have no variance."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp.errors import InvalidValueError
from xpmlp.nn.normalization import batch_norm

X = np.random.default_rng(2).normal(size=(33, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64)


def model(backend: Any, normalization: Any = "batch") -> xpmlp.MLP:
    return xpmlp.MLP([3, 4, 2], normalization=normalization, backend=backend, seed=1)


@pytest.mark.parametrize(
    "normalization", ["batch", lambda name, units: batch_norm(name, units, 0.01)]
)
@pytest.mark.parametrize(("rows", "batch_size"), [(33, 1), (1, 16), (1, None)])
def test_batches_of_one_row_are_refused(
    backend: Any, normalization: Any, rows: int, batch_size: int | None
) -> None:
    mlp = model(backend, normalization)
    before = mlp.state_dict()
    with pytest.raises(InvalidValueError, match=r"batches of one row.*normalization='layer'"):
        mlp.fit(X[:rows], Y[:rows], batch_size=batch_size)
    assert mlp.epochs_trained == 0
    for name, value in mlp.state_dict().items():
        assert_close(value, before[name])


def test_a_last_batch_of_one_row_leaves_the_running_values(backend: Any) -> None:
    """The rows in their order, so that the last one is alone; its step moves the weights alone."""
    still = xpmlp.SGD(1e-30)  # so that both see the same weights
    whole, part = model(backend), model(backend)
    whole.fit(X, Y, epochs=2, batch_size=16, shuffle=False, optimizer=still)
    part.fit(X[:32], Y[:32], epochs=2, batch_size=16, shuffle=False, optimizer=still)
    for name in ("norm1.mean", "norm1.var"):
        assert_close(whole.state_dict()[name], part.state_dict()[name], rtol=1e-6)


def test_layer_normalization_takes_single_rows(backend: Any) -> None:
    history = model(backend, "layer").fit(X, Y, epochs=1, batch_size=1)
    assert np.isfinite(history["loss"]).all()
