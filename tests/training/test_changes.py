"""What a callback changes takes effect, on every backend: weights, and what a step depends on."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp

RNG = np.random.default_rng(11)
X = RNG.normal(size=(40, 3)).astype(np.float32)
Y = (X[:, 0] > X[:, 1]).astype(np.int64)
TARGET = 1.5 * X[:, 0]

EVENTS = ("on_train_begin", "on_epoch_begin", "on_epoch_end", "on_batch_end")


class At(xpmlp.Callback):
    """Calls a function at one event; ``every`` is for batches."""

    def __init__(self, event: str, f: Callable[[Any], Any], epoch: int | None = None) -> None:
        self.f, self.epoch = f, epoch
        self.every = 3 if event == "on_batch_end" else 0
        setattr(self, event, self.call)

    def call(self, training: Any) -> None:
        if self.epoch in (None, training.epoch):
            self.f(training)


def halve(training: Any) -> None:
    values = training.mlp.state_dict()
    training.mlp.load_state_dict({name: 0.5 * value for name, value in values.items()})


def model(backend: Any, **options: Any) -> xpmlp.MLP:
    return xpmlp.MLP([3, 5, 2], "tanh", backend=backend, seed=4, **options)


OPTIONS: dict[str, Any] = {"batch_size": 8, "optimizer": xpmlp.Momentum(0.1)}


@pytest.mark.parametrize("event", ["on_epoch_begin", "on_epoch_end"])
def test_weights_set_between_epochs_are_trained_on(backend: Any, event: str) -> None:
    """The same by hand: fits of one epoch, which keep the optimizer state, and a change between."""
    mlp, by_hand = model(backend, normalization="batch"), model(backend, normalization="batch")
    mlp.fit(X, Y, epochs=3, callbacks=[At(event, halve)], **OPTIONS)

    class Now:
        mlp = by_hand

    for epoch in range(3):
        if event == "on_epoch_begin":
            halve(Now)
        by_hand.fit(X, Y, epochs=1, continued=epoch > 0, **OPTIONS)
        if event == "on_epoch_end":
            halve(Now)
    for name, value in by_hand.state_dict().items():
        assert_close(mlp.state_dict()[name], value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("event", EVENTS)
def test_the_history_is_that_of_the_models_weights(backend: Any, event: str) -> None:
    def zeros(training: Any) -> None:
        values = training.mlp.state_dict()
        training.mlp.load_state_dict({name: np.zeros_like(v) for name, v in values.items()})

    mlp = model(backend)
    rate = xpmlp.SGD(1e-12)  # the weights stay what they are set to
    history = mlp.fit(X, Y, epochs=2, batch_size=8, optimizer=rate, callbacks=[At(event, zeros)])
    assert history["loss"][1] == pytest.approx(np.log(2), abs=1e-5)
    assert np.abs(mlp.state_dict()["dense1.W"]).max() < 1e-6


@pytest.mark.parametrize("event", EVENTS[1:])
def test_a_resumed_run_ends_as_the_uninterrupted_one(
    backend: Any, event: str, tmp_path: Any
) -> None:
    whole = model(backend)
    keep = xpmlp.Checkpoints(tmp_path, every=2, keep=99, best=False)
    run = {"epochs": 3, "callbacks": [At(event, halve)], **OPTIONS}
    whole.fit(X, Y, checkpoints=keep, **run)
    paths = sorted(tmp_path.glob("step-*.xpmlp"))
    assert len(paths) > 5
    for path in paths[:-1:3]:
        mlp = model(backend)
        mlp.fit(X, Y, checkpoints=tmp_path / f"again from {path.stem}", resume=path, **run)
        for name, value in whole.state_dict().items():
            assert_close(mlp.state_dict()[name], value)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_divergence_after_weights_were_set_is_placed(backend: Any) -> None:
    def huge(training: Any) -> None:
        values = training.mlp.state_dict()
        values |= {n: np.full_like(values[n], 3e38) for n in ("dense1.W", "dense2.W")}
        training.mlp.load_state_dict(values)

    change = At("on_batch_end", huge, epoch=1)
    mlp = xpmlp.MLP([3, 5, 1], "tanh", backend=backend, seed=4)
    with pytest.raises(xpmlp.errors.DivergenceError, match="epoch 2 of 3, step 2 of 5: forward"):
        mlp.fit(X, TARGET, epochs=3, callbacks=[change], **OPTIONS)


def test_a_model_does_not_move_while_it_trains(torch_backend: Any) -> None:
    def move(training: Any) -> None:
        training.mlp.to(torch_backend)

    with pytest.raises(xpmlp.errors.InvalidValueError, match="moved the model from numpy to torch"):
        model("numpy").fit(X, Y, epochs=2, callbacks=[At("on_epoch_end", move)])


# What a step depends on


def times(factor: float, xp: Any, z: Any, y: Any) -> Any:
    """½ a (z − y)², and its gradient."""
    return 0.5 * factor * xp.sum((z - y) * (z - y), axis=1), factor * (z - y)


class Annealed(xpmlp.losses.Loss):
    """½ a (z − y)² with a factor that may be changed."""

    name = "annealed"

    def __init__(self) -> None:
        object.__setattr__(self, "factor", 1.0)

    def __call__(self, ops: Any, z: Any, y: Any) -> Any:
        return times(self.factor, ops.xp, z, y)

    def halve(self) -> None:
        object.__setattr__(self, "factor", 0.5 * self.factor)


def around() -> tuple[Any, Callable[[], None]]:
    """The same as a function with a variable around it."""
    factor = 1.0

    def annealed(xp: Any, z: Any, y: Any) -> Any:
        return times(factor, xp, z, y)

    def halve() -> None:
        nonlocal factor
        factor *= 0.5

    return annealed, halve


FACTOR = 1.0


def of_module(xp: Any, z: Any, y: Any) -> Any:
    """The same with a global variable."""
    return times(FACTOR, xp, z, y)


def halve_global() -> None:
    global FACTOR
    FACTOR *= 0.5


def losses() -> dict[str, tuple[Any, Callable[[], None]]]:
    loss = Annealed()
    return {
        "attribute": (loss, loss.halve),
        "variable": around(),
        "global": (of_module, halve_global),
    }


@pytest.mark.parametrize("event", ["on_epoch_end", "on_batch_end"])
@pytest.mark.parametrize("name", losses())
@pytest.mark.sampled(2)
def test_a_setting_of_a_loss_that_changes(
    backend: Any, name: str, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradient descent with a factor a on the loss is gradient descent with the rate η a."""
    monkeypatch.setitem(globals(), "FACTOR", 1.0)
    loss, halve = losses()[name]
    rate = xpmlp.SGD(0.1)
    mlp = xpmlp.MLP([3, 4, 1], "tanh", loss=loss, backend=backend, seed=2)
    mlp.fit(
        X, TARGET, epochs=3, batch_size=8, optimizer=rate, callbacks=[At(event, lambda _: halve())]
    )
    every = 5 if event == "on_epoch_end" else 3
    rates = [0.1 * 0.5 ** (step // every) for step in range(15)]
    schedule = xpmlp.schedules.Custom(1.0, lambda time, total: rates[round(5 * time)])
    expected = xpmlp.MLP([3, 4, 1], "tanh", backend=backend, seed=2)
    expected.fit(X, TARGET, epochs=3, batch_size=8, optimizer=xpmlp.SGD(schedule))
    for key, value in expected.state_dict().items():
        assert_close(mlp.state_dict()[key], value, rtol=1e-5, atol=1e-6)


def test_a_setting_of_an_activation_that_changes(backend: Any) -> None:
    slope = [1.0]

    def bent(xp: Any, z: Any) -> Any:
        return slope[0] * xp.tanh(z)

    def bent_derivative(xp: Any, z: Any) -> Any:
        return slope[0] * (1.0 - xp.tanh(z) ** 2)

    mlp = xpmlp.MLP([3, 4, 1], (bent, bent_derivative), backend=backend, seed=2)
    mlp.fit(X, TARGET, epochs=1)
    before = np.asarray(mlp.predict(X[:3]))
    slope[0] = 0.5
    values = mlp.state_dict()
    expected = 0.5 * np.tanh(X[:3] @ values["dense1.W"] + values["dense1.b"]) @ values["dense2.W"]
    assert_close(mlp.predict(X[:3]), expected[:, 0] + values["dense2.b"], rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(mlp.predict(X[:3])) - before).max() > 1e-3


def test_a_setting_of_an_optimizer_that_changes(backend: Any) -> None:
    class Scaled(xpmlp.optimizers.Optimizer):
        """θ ← θ − a η g with a factor that may be changed."""

        name = "scaled"
        factor = [1.0]  # noqa: RUF012 - shared on purpose

        def update(self, ops: Any, p: Any, g: Any, moments: Any, c: Any) -> Any:
            return p - self.factor[0] * c[0] * g, ()

    optimizer = Scaled(0.1)
    object.__setattr__(optimizer, "factor", [1.0])

    def halve(training: Any) -> None:
        training.optimizer.factor[0] *= 0.5

    mlp = xpmlp.MLP([3, 4, 1], "tanh", backend=backend, seed=2)
    mlp.fit(
        X, TARGET, epochs=3, batch_size=40, optimizer=optimizer,
        callbacks=[At("on_epoch_end", halve)],
    )  # fmt: skip
    schedule = xpmlp.schedules.Custom(0.1, lambda time, total: 0.5 ** int(time))
    expected = xpmlp.MLP([3, 4, 1], "tanh", backend=backend, seed=2)
    expected.fit(X, TARGET, epochs=3, batch_size=40, optimizer=xpmlp.SGD(schedule))
    for key, value in expected.state_dict().items():
        assert_close(mlp.state_dict()[key], value, rtol=1e-5, atol=1e-6)


def test_steps_that_do_not_change_are_compiled_once(backend: Any) -> None:
    mlp = xpmlp.MLP([3, 4, 1], loss=around()[0], backend=backend, seed=2)
    mlp.fit(X, TARGET, epochs=3, callbacks=[At("on_epoch_end", lambda _: None)])
    first = dict(mlp.compiled)
    mlp.fit(X, TARGET, epochs=2, optimizer=xpmlp.Adam(0.1))
    assert list(mlp.compiled.values()) == list(first.values())
    assert len(first) == 1
