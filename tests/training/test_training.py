"""Training: the same on every backend, in every way of running it, and safe when it fails."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend
from oracle import torch
from xpmlp_backends.base import EagerBackend

import xpmlp
from xpmlp import losses
from xpmlp.errors import DivergenceError, InvalidValueError
from xpmlp.nn.random import Purpose, generator, permutation
from xpmlp.nn.schedules import Custom, ReduceOnPlateau

SGD, Adam = xpmlp.SGD, xpmlp.Adam
N, INPUTS, CLASSES = 40, 6, 3


class Losses(xpmlp.Callback):
    """Every step's loss, with the number of examples that it is the mean of."""

    every = 1

    def __init__(self) -> None:
        self.values: list[float] = []
        self.sizes: list[int] = []

    def on_batch_end(self, training: Any) -> None:
        self.values.append(training.batch_loss)
        rest = training.examples - (training.step - 1) * training.batch_size
        self.sizes.append(min(rest, training.batch_size))


class Snapshots(xpmlp.Callback):
    """The weights at the end of each epoch."""

    def __init__(self) -> None:
        self.states: list[dict[str, np.ndarray]] = []

    def on_epoch_end(self, training: Any) -> None:
        self.states.append(training.mlp.state_dict())


def suited(loss: str, labels: np.ndarray) -> np.ndarray:
    """Targets that a loss takes: class indices, or rows."""
    return labels if "sparse" in loss else np.eye(CLASSES)[labels] * (1 + ("poisson" in loss))


@pytest.fixture
def uncompiled(backend: Any) -> None:
    """Let JAX run each step as it comes, where a test is not about the loop: compiling is slow."""
    if backend.name == "jax":
        backend.compile = MethodType(EagerBackend.compile, backend)


def example(n: int = N, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    """Points and classes that a small network can learn."""
    rng = np.random.default_rng(11)
    X = rng.standard_normal((n, INPUTS)).astype(dtype)
    return X, np.argmax(X[:, :CLASSES] + 0.3 * X[:, CLASSES:], axis=1)


def model(backend: Any, *, sizes: Any = (INPUTS, 8, CLASSES), **options: Any) -> xpmlp.MLP:
    return xpmlp.MLP(sizes, **({"backend": backend, "dtype": "float64", "seed": 3} | options))


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    """Bit for bit."""
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], strict=True)


def differ(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return any(not np.array_equal(a[name], b[name]) for name in a)


# The same on every backend


def hundred_steps(backend: Any, dtype: str) -> list[float]:
    X, y = example(64, dtype)
    mlp = model(backend, sizes=(INPUTS, 16, 16, CLASSES), dtype=dtype, dropout=0.2, l2=1e-3)
    seen = Losses()
    mlp.fit(X, y, epochs=25, batch_size=16, optimizer=Adam(1e-2), callbacks=[seen])
    assert len(seen.values) == 100
    return seen.values


@cache
def hundred_steps_on_numpy(dtype: str) -> list[float]:
    return hundred_steps(make_backend("numpy"), dtype)


@pytest.mark.parametrize(("dtype", "bar"), [("float64", 1e-10), ("float32", 1e-4)])
@pytest.mark.sampled(3)
def test_a_hundred_steps_with_dropout_loss_by_loss(backend: Any, dtype: str, bar: float) -> None:
    expected = hundred_steps_on_numpy(dtype)
    assert_close(hundred_steps(backend, dtype), expected, atol=bar)
    assert expected[-1] < 0.5 * expected[0]  # it learned, so the bar means something


def test_same_seed_twice_is_the_same_bits_and_another_seed_is_not(backend: Any) -> None:
    X, y = example()
    states = []
    for seed in (5, 5, 6):
        mlp = model(backend, seed=seed, dropout=0.3, dtype="float32")
        mlp.fit(X, y, epochs=2, batch_size=20)
        states.append(mlp.state_dict())
    assert_same(states[0], states[1])
    assert differ(states[0], states[2])


# Ways of running the same steps


def test_pieces_between_callbacks_give_the_same_bits(backend: Any) -> None:
    X, y = example()
    calls: list[tuple[int, int]] = []

    class Every(xpmlp.Callback):
        def __init__(self, every: int) -> None:
            self.every = every

        def on_batch_end(self, training: Any) -> None:
            calls.append((self.every, training.step))

    states, histories = [], []
    mlp = model(backend, dropout=0.2)  # one, so that JAX compiles once
    start = mlp.state_dict()
    for callbacks in ([], [Every(1)], [Every(2), Every(3)], [Every(100)]):
        mlp.load_state_dict(start)
        mlp.epochs_trained = 0
        history = mlp.fit(X, y, epochs=2, batch_size=6, callbacks=callbacks)
        states.append(mlp.state_dict())
        histories.append(history["loss"])
    for state in states[1:]:
        assert_same(states[0], state)
    assert histories.count(histories[0]) == len(histories)
    ones, twos, threes = ([s for e, s in calls if e == every] for every in (1, 2, 3))
    assert ones == [1, 2, 3, 4, 5, 6, 7] * 2
    assert twos == [2, 4, 6, 1, 3, 5, 7]  # counted over all epochs
    assert threes == [3, 6, 2, 5]


def test_the_last_batch_may_be_smaller(backend: Any) -> None:
    X, y = example(10)
    seen = Losses()
    history = model(backend).fit(X, y, epochs=2, batch_size=4, callbacks=[seen])
    assert seen.sizes == [4, 4, 2] * 2
    for epoch in (0, 1):
        part = slice(3 * epoch, 3 * epoch + 3)
        expected = np.average(seen.values[part], weights=seen.sizes[part])
        assert history["loss"][epoch] == pytest.approx(expected, rel=1e-12)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("batch_size", [None, N, N + 7])
def test_full_batches(backend: Any, batch_size: int | None) -> None:
    X, y = example()
    seen = Losses()
    mlp = model(backend)
    mlp.fit(X, y, epochs=3, batch_size=batch_size, shuffle=False, callbacks=[seen])
    assert seen.sizes == [N] * 3


def sgd_by_autograd(
    mlp: xpmlp.MLP, X: np.ndarray, y: np.ndarray, batches: list[Any], rate: float
) -> dict[str, np.ndarray]:
    """A ReLU classifier's weights after plain gradient descent over batches, by PyTorch."""
    p = {name: torch.tensor(v, requires_grad=True) for name, v in mlp.state_dict().items()}
    for rows in batches:
        h = torch.tensor(X[rows])
        h = torch.relu(h @ p["dense1.W"] + p["dense1.b"]) @ p["dense2.W"] + p["dense2.b"]
        torch.nn.functional.cross_entropy(h, torch.tensor(y[rows])).backward()
        with torch.no_grad():
            for tensor in p.values():
                tensor -= rate * tensor.grad
                tensor.grad = None
    return {name: tensor.detach().numpy() for name, tensor in p.items()}


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("batch_size", [1, 7])
@pytest.mark.parametrize("shuffle", [False, True, "full"])
def test_rows_come_in_the_promised_order(
    backend: Any, batch_size: int, shuffle: bool | str
) -> None:
    """Row by row where shuffle is off, else by the seed's permutation of each epoch."""
    X, y = example(15)
    mlp = model(backend)
    orders = [permutation(mlp.seed, e, 15) if shuffle else np.arange(15) for e in (0, 1)]
    assert all(sorted(order) == list(range(15)) for order in orders)
    if shuffle == "full":
        orders = [order[: 15 // batch_size * batch_size] for order in orders]
    batches = [
        order[start : start + batch_size]
        for order in orders
        for start in range(0, len(order), batch_size)
    ]
    expected = sgd_by_autograd(mlp, X, y, batches, rate=0.1)
    mlp.fit(X, y, epochs=2, batch_size=batch_size, shuffle=shuffle, optimizer=SGD(0.1))
    for name, value in mlp.state_dict().items():
        assert_close(value, expected[name], atol=1e-13)


@pytest.mark.parametrize("batch_size", [7, 16, None])
def test_what_is_measured_of_full_batches(batch_size: int | None) -> None:
    """Loss and R² are those of the rows that were taken; R² by the spread of all rows."""
    X, y = example(15)
    y = np.asarray(y, np.float64)[:, None]
    mlp = xpmlp.MLP([X.shape[1], 1], targets="values", backend="numpy", seed=0, dtype="float64")
    rows = permutation(0, 0, 15)[: 14 if batch_size == 7 else 15]
    errors = (np.asarray(mlp.predict(X))[:, None] - y)[rows] ** 2
    history = mlp.fit(X, y, epochs=1, batch_size=batch_size, shuffle="full", optimizer=SGD(1e-12))
    assert history.examples == len(rows)
    assert history["loss"][0] == pytest.approx(0.5 * errors.mean())
    assert history["r2"][0] == pytest.approx(1 - errors.mean() / y.var())


def test_no_order_repeats_over_epochs_and_fits() -> None:
    X, y = example()
    whole, parts = model("numpy"), model("numpy")
    whole.fit(X, y, epochs=4, batch_size=8, optimizer="sgd")
    for _ in range(2):
        parts.fit(X, y, epochs=2, batch_size=8, optimizer="sgd")
    assert whole.epochs_trained == parts.epochs_trained == 4
    assert_same(whole.state_dict(), parts.state_dict())
    orders = {tuple(permutation(3, epoch, N)) for epoch in range(4)}
    assert len(orders) == 4


@pytest.mark.sampled(5)
def test_an_epochs_sums_do_not_lose_small_terms(backend: Any) -> None:
    """1,500 float32 losses: a plain sum would be wrong in the fifth digit."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((1500, 1)), rng.uniform(0.9, 1.1, 1500)
    seen = Losses()
    mlp = model(backend, sizes=(1, 1), dtype="float32", loss="mse")
    optimizer = SGD(1e-30)
    history = mlp.fit(X, y, epochs=1, batch_size=1, optimizer=optimizer, callbacks=[seen])
    assert history["loss"][0] == pytest.approx(np.mean(seen.values), rel=1.5e-7)


# What fit gives back


@pytest.mark.usefixtures("uncompiled")
def test_history_has_one_number_for_each_epoch(backend: Any) -> None:
    X, y = example()
    history = model(backend).fit(X, y, epochs=3, batch_size=20, validation_data=(X, y))
    assert list(history) == [
        "loss",
        "accuracy",
        "learning_rate",
        "seconds",
        "val_loss",
        "val_accuracy",
    ]
    for values in history.values():
        assert len(values) == 3
        assert all(type(value) is float and np.isfinite(value) for value in values)
    assert history["learning_rate"] == [1e-3] * 3
    assert min(history["seconds"]) > 0


def test_history_of_values_has_r2() -> None:
    X, _ = example()
    y = X @ np.ones((INPUTS, 1))
    mlp = model("numpy", sizes=(INPUTS, 8, 1))
    history = mlp.fit(X, y, epochs=50, batch_size=8, optimizer=Adam(0.01))
    assert "r2" in history
    assert "accuracy" not in history
    found = mlp.evaluate(X, y)
    residual = mlp.predict(X) - y[:, 0]
    assert found["r2"] == pytest.approx(1 - residual @ residual / np.sum((y - y.mean()) ** 2))
    assert found["loss"] == pytest.approx(0.5 * residual @ residual / N)
    assert found["r2"] > 0.9


@pytest.mark.usefixtures("uncompiled")
def test_validation_figures_are_those_of_evaluate(backend: Any) -> None:
    X, y = example()
    mlp = model(backend, dropout=0.5, l2=0.1, normalization="batch")
    history = mlp.fit(X, y, epochs=2, batch_size=20, validation_data=(X[:15], y[:15]))
    found = mlp.evaluate(X[:15], y[:15])
    assert found == {"loss": history["val_loss"][-1], "accuracy": history["val_accuracy"][-1]}
    predicted = mlp.predict(X[:15])
    assert found["accuracy"] == pytest.approx(np.mean(predicted == y[:15]))
    np.testing.assert_array_equal(predicted, np.argmax(mlp.predict_proba(X[:15]), axis=1))


@pytest.mark.usefixtures("uncompiled")
def test_validation_split_holds_the_same_rows_out_everywhere(backend: Any) -> None:
    X, y = example()
    weight = np.linspace(0.5, 2, N)
    split, explicit = model(backend), model(backend)
    history = split.fit(X, y, epochs=2, batch_size=8, validation_split=0.25, sample_weight=weight)
    order = generator(split.seed, Purpose.SPLIT).permutation(N)
    held, kept = order[:10], order[10:]
    expected = explicit.fit(
        X[kept],
        y[kept],
        epochs=2,
        batch_size=8,
        validation_data=(X[held], y[held]),
        sample_weight=weight[kept],
    )
    assert_same(split.state_dict(), explicit.state_dict())
    assert history["val_loss"] == expected["val_loss"]


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, 1e-6])
def test_validation_split_must_leave_rows_on_both_sides(share: float) -> None:
    with pytest.raises(InvalidValueError, match="validation_split"):
        model("numpy").fit(*example(), validation_split=share)


def test_validation_data_and_split_exclude_each_other() -> None:
    with pytest.raises(InvalidValueError, match="not both"):
        model("numpy").fit(*example(), validation_split=0.5, validation_data=example())


# Sample weights


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("options", [{}, {"l2": 0.1}, {"loss": "mse", "output": "softmax"}])
@pytest.mark.sampled(3)
def test_a_weight_of_two_is_the_row_twice(backend: Any, options: dict[str, Any]) -> None:
    X, y = example()
    weight = np.where(np.arange(N) % 3 == 0, 2.0, 1.0)
    twice = np.repeat(np.arange(N), weight.astype(int))
    y = np.eye(CLASSES)[y] if "loss" in options else y
    weighted, repeated = model(backend, **options), model(backend, **options)
    settings = {"epochs": 10, "batch_size": None, "optimizer": SGD(0.1)}
    a = weighted.fit(X, y, sample_weight=weight, **settings)
    b = repeated.fit(X[twice], y[twice], **settings)
    for name, value in repeated.state_dict().items():
        assert_close(weighted.state_dict()[name], value, atol=1e-12)
    assert_close(a["loss"], b["loss"], rtol=1e-12)


@pytest.mark.usefixtures("uncompiled")
def test_weights_of_one_are_none_and_zero_is_absence(backend: Any) -> None:
    X, y = example()
    settings = {"epochs": 5, "batch_size": None, "optimizer": SGD(0.1)}
    plain, ones, zero, absent = (model(backend) for _ in range(4))
    plain.fit(X, y, **settings)
    ones.fit(X, y, sample_weight=np.ones(N), **settings)
    zero.fit(X, y, sample_weight=np.arange(N) < 30, **settings)
    absent.fit(X[:30], y[:30], **settings)
    for name, value in plain.state_dict().items():
        assert_close(ones.state_dict()[name], value, atol=1e-13)
        assert_close(zero.state_dict()[name], absent.state_dict()[name], atol=1e-13)
        assert not np.array_equal(value, absent.state_dict()[name])


@pytest.mark.usefixtures("uncompiled")
def test_a_batch_of_zero_weight_moves_nothing(backend: Any) -> None:
    X, y = example(16)
    mlp, settings = model(backend), {"epochs": 1, "batch_size": 8, "shuffle": False}
    weight = np.repeat([1.0, 0.0], 8)
    mlp.fit(X, y, sample_weight=weight, optimizer=SGD(0.1), **settings)
    half = model(backend)
    half.fit(X[:8], y[:8], optimizer=SGD(0.1), **settings)
    for name, value in half.state_dict().items():
        assert_close(mlp.state_dict()[name], value, atol=1e-14)


# Stopping


def test_early_stopping_gives_back_the_best_weights(backend: Any) -> None:
    X, y = example()
    wrong = (y + 1) % CLASSES  # the better the fit, the worse the validation
    seen, stopping = Snapshots(), xpmlp.EarlyStopping(patience=3)
    mlp = model(backend)
    history = mlp.fit(
        X,
        y,
        epochs=50,
        batch_size=20,
        optimizer=Adam(0.05),
        validation_data=(X, wrong),
        callbacks=[seen, stopping],
    )
    best = int(np.argmin(history["val_loss"]))
    assert stopping.best_epoch == best
    assert len(history["loss"]) == best + 3 + 1 < 50
    assert_same(mlp.state_dict(), seen.states[best])
    assert differ(mlp.state_dict(), seen.states[-1])


def test_early_stopping_watches_what_it_is_told() -> None:
    X, y = example()
    seen = Snapshots()
    last = xpmlp.EarlyStopping(patience=2, monitor="accuracy", min_delta=2.0, restore_best=False)
    mlp = model("numpy")
    history = mlp.fit(X, y, epochs=9, batch_size=20, callbacks=[seen, last])
    assert len(history["loss"]) == 3  # nothing rises by 2, so the first epoch stays the best
    assert last.best_epoch == 0
    assert_same(mlp.state_dict(), seen.states[-1])
    with pytest.raises(InvalidValueError, match="'val_accuracy'"):
        mlp.fit(X, y, epochs=2, callbacks=[xpmlp.EarlyStopping(monitor="val_accuracy")])
    with pytest.raises(InvalidValueError, match="patience"):
        xpmlp.EarlyStopping(patience=0)


def test_reduce_on_plateau_lowers_the_rate(backend: Any) -> None:
    X, y = example()
    rates = ReduceOnPlateau(1e-9, factor=0.5, patience=2, minimum=2e-10)  # nothing ever improves
    history = model(backend).fit(
        X, y, epochs=8, batch_size=None, optimizer=SGD(rates), validation_data=(X, y)
    )
    expected = [1e-9, 1e-9, 1e-9, 5e-10, 5e-10, 2.5e-10, 2.5e-10, 2e-10]
    assert history["learning_rate"] == pytest.approx(expected)
    with pytest.raises(InvalidValueError, match="val_loss"):
        model(backend).fit(X, y, epochs=3, optimizer=SGD(rates))


def test_callbacks_are_called_in_order() -> None:
    events: list[str] = []

    class Record(xpmlp.Callback):
        every = 2

        def __getattribute__(self, name: str) -> Any:
            if not name.startswith("on_"):
                return super().__getattribute__(name)
            return lambda training: events.append(name[3:])

    class Stop(xpmlp.Callback):
        def on_epoch_end(self, training: Any) -> None:
            if training.epoch == 1:
                training.stop()

    model("numpy").fit(*example(), epochs=5, batch_size=10, callbacks=[Record(), Stop()])
    epoch = ["epoch_begin", "batch_end", "batch_end", "epoch_end"]
    assert events == ["train_begin", *epoch, *epoch, "train_end"]


# Failing


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.sampled(3)
def test_divergence_keeps_the_last_good_weights(backend: Any, dtype: str) -> None:
    X, _ = example()
    y = X @ np.ones((INPUTS, 2))
    mlp, seen = model(backend, sizes=(INPUTS, 8, 2), dtype=dtype), Snapshots()
    ended = []
    rates = Custom(0.01, lambda time, total: 1e12 if time >= 2 else 1.0)

    class End(xpmlp.Callback):
        def on_train_end(self, training: Any) -> None:
            ended.append(training.epoch)

    with (
        pytest.raises(DivergenceError, match=r"epoch 3 of 50, step \d+ of") as raised,
        np.errstate(all="ignore"),  # array-api-strict is NumPy underneath, and warns
    ):
        mlp.fit(X, y, epochs=50, batch_size=4, optimizer=SGD(rates), callbacks=[seen, End()])
    assert isinstance(raised.value, ArithmeticError)
    for part in ("the loss mse has infinity", "Try a smaller learning rate", "rate was 1e+10"):
        assert part in str(raised.value)
    assert str(raised.value).endswith("the model keeps the weights of epoch 2")
    assert len(seen.states) == 2
    assert ended == [2]
    assert mlp.epochs_trained == 2
    assert_same(mlp.state_dict(), seen.states[-1])
    assert np.isfinite(mlp.evaluate(X, y)["loss"])
    mlp.fit(X, y, epochs=1, optimizer=SGD(0.01))  # and it can go on from there


@pytest.mark.parametrize("name", losses.LOSSES)
def test_every_loss_explodes_into_the_same_error(name: str) -> None:
    X, labels = example()
    y = suited(name, labels)
    mlp = model("numpy", sizes=(INPUTS, 8, 8, CLASSES), activation="leaky_relu", loss=name)
    before = mlp.state_dict()
    with pytest.raises(DivergenceError, match="from before the training"):
        mlp.fit(X, y, epochs=1, batch_size=4, optimizer=SGD(1e30))
    assert_same(mlp.state_dict(), before)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("event", ["on_batch_end", "on_epoch_begin", "on_epoch_end"])
def test_an_exception_in_a_callback_leaves_the_last_finished_epoch(
    backend: Any, event: str
) -> None:
    X, y = example()
    seen = Snapshots()

    class Fail(xpmlp.Callback):
        every = 2

    def fail(self: Any, training: Any) -> None:
        if training.epoch == 2:
            raise KeyboardInterrupt

    setattr(Fail, event, fail)
    mlp = model(backend)
    with pytest.raises(KeyboardInterrupt):
        mlp.fit(X, y, epochs=9, batch_size=10, callbacks=[seen, Fail()])
    finished = 3 if event == "on_epoch_end" else 2
    assert mlp.epochs_trained == len(seen.states) == finished
    assert_same(mlp.state_dict(), seen.states[-1])
    mlp.predict(X)


# What training must leave alone


def everything(backend: Any, **options: Any) -> xpmlp.MLP:
    """A model with every layer and regularizer at once."""
    return model(
        backend,
        sizes=(INPUTS, 7, 7, CLASSES),
        activation=["tanh", "swish"],
        dropout=0.2,
        input_dropout=0.1,
        normalization="batch",
        residual=True,
        l1=1e-3,
        l2=1e-2,
        max_norm=1.5,
        scaling="standard",
        **options,
    )


def padding(mlp: xpmlp.MLP) -> np.ndarray:
    """What lies between the tensors in the flat buffer."""
    flat = mlp.backend.to_numpy(mlp.weights.flat)
    used = np.zeros(flat.shape, dtype=bool)
    for slot in mlp.network.layout.slots.values():
        used[slot.start : slot.stop] = True
    assert 0 < used.sum() < used.size
    return flat[~used]


def test_the_gaps_between_parameters_stay_zero(backend: Any) -> None:
    mlp = everything(backend)
    optimizer = xpmlp.AdamW(0.05, clip_norm=1.0, clip_value=0.5)
    mlp.fit(*example(), epochs=3, batch_size=20, optimizer=optimizer)
    np.testing.assert_array_equal(padding(mlp), 0.0)


@pytest.mark.usefixtures("uncompiled")
def test_arrays_of_the_user_are_never_modified(backend: Any) -> None:
    X, y = example()
    arrays = [X, np.eye(CLASSES)[y], np.linspace(0.5, 2.0, N)]
    copies = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False  # a write by NumPy would raise, others are compared below
    mlp = everything(backend)
    state = mlp.state_dict()
    mlp.fit(*arrays[:2], sample_weight=arrays[2], epochs=2, batch_size=20)
    mlp.evaluate(*arrays[:2])
    mlp.predict(arrays[0])
    mlp.predict_proba(arrays[0])
    for a, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(a, copy)
    assert differ(mlp.state_dict(), state)


@pytest.mark.usefixtures("uncompiled")
def test_arrays_of_the_library_are_never_modified(backend: Any) -> None:
    X, y = example()
    ours = [backend.asarray(X), backend.asarray(np.eye(CLASSES)[y])]
    mlp = everything(backend)
    mlp.fit(*ours, epochs=2, batch_size=20)
    mlp.evaluate(*ours)
    mlp.predict(ours[0])
    assert_close(backend.to_numpy(ours[0]), X)
    assert_close(backend.to_numpy(ours[1]), np.eye(CLASSES)[y])


def test_state_dicts_are_copies(backend: Any) -> None:
    mlp = model(backend)
    before, handed_out = mlp.state_dict(), mlp.state_dict()
    for value in handed_out.values():
        value += 1.0
    assert_same(mlp.state_dict(), before)
    mlp.load_state_dict(handed_out)
    taken = mlp.state_dict()
    for value in handed_out.values():
        value += 1.0
    assert_same(mlp.state_dict(), taken)


# Norms


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.sampled(3)
def test_max_norm_holds_after_training(backend: Any, dtype: str) -> None:
    X, y = example(dtype=dtype)
    free, bounded = model(backend, dtype=dtype), model(backend, dtype=dtype, max_norm=0.4)
    for mlp in (free, bounded):
        mlp.fit(X, y, epochs=5, batch_size=8, optimizer=SGD(0.3))
    weights = [value for name, value in bounded.parameters.items() if name.endswith(".W")]
    norms = [np.linalg.norm(W, axis=0) for W in weights]
    assert max(n.max() for n in norms) <= 0.4 * (1 + 4 * np.finfo(dtype).eps)
    assert min(np.linalg.norm(free.parameters["dense1.W"], axis=0)) > 0.4


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("rows", [32, 28])
def test_running_statistics_are_those_of_pytorch(backend: Any, rows: int) -> None:
    """Weights stand still here, so PyTorch's layer sees the same batches."""
    X, y = example(rows)
    mlp = model(backend, normalization="batch")
    mlp.fit(X, y, epochs=3, batch_size=8, shuffle=False, optimizer=SGD(1e-300))
    values = mlp.state_dict()
    layer = torch.nn.BatchNorm1d(8, dtype=torch.float64)
    z = torch.tensor(X) @ torch.tensor(values["dense1.W"]) + torch.tensor(values["dense1.b"])
    for _ in range(3):
        for start in range(0, rows, 8):
            layer(z[start : start + 8])
    assert_close(values["norm1.mean"], layer.running_mean, atol=1e-14)
    assert_close(values["norm1.var"], layer.running_var, rtol=1e-14)
    layer.eval()
    h = torch.relu(layer(z).detach()) @ torch.tensor(values["dense2.W"])
    assert_close(mlp.predict_proba(X), torch.softmax(h, dim=1), atol=1e-14)


@pytest.mark.usefixtures("uncompiled")
def test_batch_norm_survives_a_batch_of_one(backend: Any) -> None:
    X, y = example(9)
    mlp = model(backend, normalization="batch")
    mlp.fit(X, y, epochs=2, batch_size=8)
    assert all(np.all(np.isfinite(value)) for value in mlp.state_dict().values())


# JAX as a user gets it


def test_jax_in_its_default_mode_trains_float32_and_refuses_float64() -> None:
    pytest.importorskip("jax")
    code = """
import warnings, jax, numpy as np, xpmlp
from xpmlp.errors import BackendError
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "X: found inputs far from scaled")  # 0 and 1/255
X = np.random.default_rng(0).standard_normal((50, 4))
y = np.arange(50) % 3
for X, y in ((X, np.eye(3)[y]), ((X > 0).astype(np.uint8), y)):
    mlp = xpmlp.MLP([4, 8, 3], dropout=0.2, normalization="batch", backend="jax", seed=0)
    history = mlp.fit(X, y, epochs=2, batch_size=20, validation_split=0.2)
    assert np.isfinite(history["loss"]).all()
    assert mlp.predict_proba(X).dtype == np.float32
try:
    xpmlp.MLP([4, 3], backend="jax", dtype="float64")
except BackendError as error:
    assert not jax.config.jax_enable_x64
    print(error)
"""
    root = str(Path(__file__).resolve().parents[2])
    environment = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_X64"}
    environment |= {"PYTHONPATH": os.pathsep.join([root, os.path.join(root, "backends")])}
    environment |= {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "jax_enable_x64" in done.stdout
    assert "dtype='float32'" in done.stdout


# What nobody asked for


def test_without_metrics_the_training_is_the_same(backend: Any) -> None:
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((24, 4)), rng.integers(0, 3, 24)
    trained = []
    for metrics in (True, False):
        mlp = xpmlp.MLP([4, 5, 3], backend=backend, dtype="float32", seed=2)
        kept = {"validation_data": (X, y), "batch_size": 8}
        trained.append((mlp.fit(X, y, epochs=2, metrics=metrics, **kept), mlp.parameters))
    (full, with_metrics), (lean, without) = trained
    assert set(full) - set(lean) == {"accuracy"}
    assert lean["loss"] == full["loss"]
    assert lean["val_accuracy"] == full["val_accuracy"]
    for name, value in with_metrics.items():
        np.testing.assert_array_equal(without[name], value)


def test_a_metric_that_is_not_measured_cannot_be_monitored() -> None:
    mlp = xpmlp.MLP([2, 3, 2], backend="numpy", seed=0)
    stopping = [xpmlp.EarlyStopping(monitor="accuracy")]
    with pytest.raises(InvalidValueError, match="no 'accuracy', only loss"):
        mlp.fit(np.eye(2), [0, 1], epochs=1, metrics=False, callbacks=stopping)
