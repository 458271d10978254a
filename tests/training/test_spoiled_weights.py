"""A weight that is not finite is reported at the step that spoiled it, whatever the loss says."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from conftest import make_backend

import xpmlp
from xpmlp.callbacks import Callback
from xpmlp.errors import DivergenceError

rng = np.random.default_rng(0)
X, Y = rng.random((60, 4)).astype(np.float32), rng.integers(0, 3, 60)
STEPS = 12


@dataclass(frozen=True)
class Spoil(xpmlp.SGD):
    """Plain gradient descent that makes a weight of the first layer NaN in one step."""

    name = "spoil"
    at: int = 1
    value: float = np.nan

    def coefficients(self, t: Any, rate: Any) -> Any:
        return rate, np.where(np.asarray(t) == self.at, self.value, 0.0)

    def update(self, ops: Any, p: Any, g: Any, moments: Any, c: Any) -> Any:
        seventh = ops.xp.arange(p.shape[0], device=ops.device) == 7
        return ops.xp.where(seventh, p + c[1], p - c[0] * g), ()


def lenient() -> Any:
    """ReLU that makes 0 of NaN, as cuBLASLt's may."""
    return xpmlp.activations.from_functions(
        lambda xp, z: xp.where(z > 0, z, xp.zeros_like(z)),
        lambda xp, z: xp.astype(z > 0, z.dtype),
        "lenient",
    )


@pytest.mark.parametrize("activation", ["relu", "lenient", "tanh"])
@pytest.mark.parametrize("at", [1, 7, STEPS, STEPS + 3])
def test_it_is_reported_at_its_step(backend: Any, activation: str, at: int) -> None:
    chosen = lenient() if activation == "lenient" else activation
    mlp = xpmlp.MLP([4, 6, 3], activation=chosen, backend=backend, seed=0)
    with pytest.raises(DivergenceError) as caught:
        mlp.fit(X, Y, epochs=3, batch_size=5, optimizer=Spoil(0.01, at=at))
    epoch, step = divmod(at - 1, STEPS)
    assert f"epoch {epoch + 1} of 3, step {step + 1} of {STEPS}: dense1.W becomes NaN in" in str(
        caught.value
    )
    assert all(np.isfinite(value).all() for value in mlp.state_dict().values())


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_weight_too(backend: Any, value: float) -> None:
    """Beside which a saturated unit looks healthy."""
    mlp = xpmlp.MLP([4, 6, 3], activation="tanh", backend=backend, seed=0)
    with pytest.raises(DivergenceError, match=r"step 4 of 12: dense1.W becomes infinity in"):
        mlp.fit(X, Y, epochs=1, batch_size=5, optimizer=Spoil(0.01, at=4, value=value))


def test_a_callback_sees_it_as_soon_as_it_looks(backend: Any) -> None:
    seen = []

    class Look(Callback):
        every = 3

        def on_batch_end(self, training: Any) -> None:
            seen.append(training.step)

    mlp = xpmlp.MLP([4, 6, 3], activation=lenient(), backend=backend, seed=0)
    with pytest.raises(DivergenceError, match="step 5 of 12"):
        mlp.fit(X, Y, epochs=1, batch_size=5, optimizer=Spoil(0.01, at=5), callbacks=[Look()])
    assert seen == [3, 6]


def test_weights_that_were_not_finite_before_are_reported_at_the_first_step(backend: Any) -> None:
    mlp = xpmlp.MLP([4, 6, 3], activation=lenient(), backend=backend, seed=0)
    flat = np.array(backend.to_numpy(mlp.weights.flat))
    flat[7] = np.nan
    mlp.weights.flat = backend.asarray(flat)
    with pytest.raises(DivergenceError, match=r"step 1 of 12: dense1.W already is NaN before"):
        mlp.fit(X, Y, epochs=1, batch_size=5)


def test_cublaslts_relu_hides_nothing() -> None:
    """On the imitation, whose ReLU makes 0 of NaN, in a captured step."""
    backend = make_backend("cupy-emulated")
    mlp = xpmlp.MLP([4, 6, 3], backend=backend, seed=0)
    with pytest.raises(DivergenceError, match=r"step 8 of 12: dense1.W becomes NaN in the update"):
        mlp.fit(X, Y, epochs=1, batch_size=5, optimizer=Spoil(0.01, at=8))
