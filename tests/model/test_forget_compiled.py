"""``forget_compiled``: what a fitted model keeps besides its weights is freed, and made again."""

import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest
from conftest import make_backend

import xpmlp

RNG = np.random.default_rng(5)
X = RNG.normal(size=(96, 200)).astype("float32")
Y = RNG.integers(0, 10, 96)


def fitted(backend: Any) -> xpmlp.MLP:
    mlp = xpmlp.MLP([200, 64, 10], backend=backend, seed=1)
    mlp.fit(X, Y, epochs=2, batch_size=32)
    return mlp


def test_a_model_trains_on_as_if_nothing_had_been_forgotten(backend: Any) -> None:
    kept, forgot = fitted(backend), fitted(backend)
    for _ in range(2):
        forgot.forget_compiled()
        histories = [m.fit(X, Y, batch_size=32, continued=True, epochs=2) for m in (kept, forgot)]
        assert histories[0]["loss"] == histories[1]["loss"]
        assert histories[0].execution == histories[1].execution
        for m in (kept, forgot):
            assert m.predict(X[:3]).shape == (3,)
    for name, value in kept.state_dict().items():
        np.testing.assert_array_equal(value, forgot.state_dict()[name])


@pytest.mark.parametrize("name", ["numpy", "numpy-plain"])
def test_weights_and_optimizer_state_are_all_that_stays(name: str) -> None:
    backend = make_backend(name)
    # What is compiled once for the process is not the model's. Adam has two arrays of that size.
    needed = 3 * fitted(backend).weights.flat.nbytes
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        mlp = fitted(backend)
        mlp.predict(X[:3])
        full = tracemalloc.get_traced_memory()[0] - before
        mlp.forget_compiled()
        gc.collect()
        left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert left < 1.3 * needed < full
