"""Averaged weights: against PyTorch's ``AveragedModel``, and what a run does with them."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close
from oracle import needs_torch, torch

import xpmlp
from xpmlp.errors import DivergenceError, InvalidValueError

RNG = np.random.default_rng(21)
X = RNG.normal(size=(40, 3))
Y = (X[:, 0] > X[:, 1]).astype(np.int64)
HELD = (X[:15] + 0.1, Y[:15])
BATCH, DECAY = 8, 0.9
ADAM = xpmlp.Adam(0.02, average=DECAY)

in_place_and_not = pytest.mark.parametrize("backend", ["numpy", "strict", "torch"], indirect=True)
"""For what happens between steps."""


def model(backend: Any, **options: Any) -> xpmlp.MLP:
    given = {"dtype": "float64", "seed": 4} | options
    return xpmlp.MLP([3, 5, 2], "tanh", backend=backend, **given)


def fit(mlp: xpmlp.MLP, optimizer: Any = ADAM, epochs: int = 3, **options: Any) -> Any:
    given = {"batch_size": BATCH, "shuffle": False} | options
    return mlp.fit(X, Y, epochs=epochs, optimizer=optimizer, **given)


def trained(mlp: xpmlp.MLP) -> Any:
    """The weights that were trained, flat, on the host."""
    return mlp.backend.to_numpy(mlp.progress.moments[-1])


def flat(mlp: xpmlp.MLP) -> Any:
    return mlp.backend.to_numpy(mlp.weights.flat)


class At(xpmlp.Callback):
    """Calls a function at the end of one epoch, or of every third step."""

    def __init__(self, event: str, f: Any, epoch: int = 1) -> None:
        self.f, self.epoch = f, epoch
        self.every = 3 if event == "on_batch_end" else 0
        setattr(self, event, self.call)

    def call(self, training: Any) -> None:
        if training.epoch == self.epoch:
            self.f(training)


def halve(training: Any) -> None:
    values = training.mlp.state_dict()
    training.mlp.load_state_dict({name: 0.5 * value for name, value in values.items()})


# The mean


@needs_torch
def test_a_fit_is_pytorchs(backend: Any) -> None:
    """PyTorch averages what it gets with a custom formula; the weights are trained as without."""
    mlp = model(backend)
    start = mlp.state_dict()
    net = torch.nn.Sequential(
        torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)
    ).double()
    with torch.no_grad():
        for layer, name in ((net[0], "dense1"), (net[2], "dense2")):
            layer.weight.copy_(torch.tensor(start[f"{name}.W"].T))
            layer.bias.copy_(torch.tensor(start[f"{name}.b"]))

    def mean(average: Any, weights: Any, before: Any) -> Any:
        """With the weights aⁿ of what is n steps ago, which add up to (1 − aᵗ)/(1 − a)."""
        return average + (1 - DECAY) / (1 - DECAY ** (int(before) + 1)) * (weights - average)

    averaged = torch.optim.swa_utils.AveragedModel(net, avg_fn=mean)
    stepper = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(3):
        for rows in range(0, len(X), BATCH):
            stepper.zero_grad()
            z = net(torch.tensor(X[rows : rows + BATCH]))
            torch.nn.functional.cross_entropy(z, torch.tensor(Y[rows : rows + BATCH])).backward()
            stepper.step()
            averaged.update_parameters(net)
    fit(mlp)
    for layer, name in ((averaged.module[0], "dense1"), (averaged.module[2], "dense2")):
        expected = {"W": layer.weight.detach().numpy().T, "b": layer.bias.detach().numpy()}
        for symbol, value in expected.items():
            assert_close(mlp.parameters[f"{name}.{symbol}"], value, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9999])
@pytest.mark.sampled(2)
def test_it_is_the_weighted_mean_of_the_weights_after_each_step(backend: Any, decay: float) -> None:
    """With 0 the last ones, near 1 the plain mean; the first weights have no part in it."""
    seen: list[Any] = []

    class Watch(xpmlp.Callback):
        every = 1

        def on_batch_end(self, training: Any) -> None:
            seen.append(training.mlp.backend.to_numpy(training.state.params))

    mlp = model(backend)
    fit(mlp, xpmlp.SGD(0.3, average=decay), callbacks=[Watch()])
    shares = decay ** np.arange(len(seen))[::-1]
    expected = np.average(seen, axis=0, weights=shares)
    assert len(seen) == 15
    assert_close(flat(mlp), expected, of_max=1e-13)
    assert_close(trained(mlp), seen[-1])


def test_training_goes_on_with_the_last_weights(backend: Any) -> None:
    """Losses of training are the same as without; validation sees the average."""
    plain, averaged = model(backend), model(backend)
    without = fit(plain, xpmlp.Adam(0.02), validation_data=HELD)
    history = fit(averaged, validation_data=HELD)
    assert_close(np.array(history["loss"]), np.array(without["loss"]), rtol=1e-12)
    assert_close(trained(averaged), flat(plain), of_max=1e-12)
    assert abs(history["val_loss"][-1] - without["val_loss"][-1]) > 1e-4
    assert averaged.evaluate(*HELD)["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-12)


@in_place_and_not
def test_bounds_hold_for_the_average(backend: Any) -> None:
    mlp = model(backend, max_norm=0.4)
    fit(mlp)
    assert np.linalg.norm(mlp.parameters["dense1.W"], axis=0).max() <= 0.4 * (1 + 1e-12)


@pytest.mark.parametrize("value", [-0.1, 1.0, np.nan, "much"])
def test_a_bad_decay_is_refused(value: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"SGD: average is .*; expected a number in \[0, 1"):
        xpmlp.SGD(average=value)


# Callbacks


def test_weights_set_between_epochs_are_trained_on(backend: Any) -> None:
    """They are the average, too: the same by hand, with fits that continue."""
    mlp, by_hand = model(backend), model(backend)
    fit(mlp, callbacks=[At("on_epoch_end", halve)])

    class Now:
        mlp = by_hand

    fit(by_hand, epochs=2)
    halve(Now)
    fit(by_hand, epochs=1, continued=True)
    assert_close(flat(mlp), flat(by_hand), of_max=1e-12)
    assert_close(trained(mlp), trained(by_hand), of_max=1e-12)
    untouched = model(backend)
    fit(untouched)
    assert np.abs(flat(untouched) - flat(mlp)).max() > 0.01


@in_place_and_not
def test_weights_set_within_an_epoch_are_the_average_too(backend: Any) -> None:
    def zeros(training: Any) -> None:
        values = training.mlp.state_dict()
        training.mlp.load_state_dict({name: np.zeros_like(v) for name, v in values.items()})

    mlp = model(backend)
    fit(mlp, xpmlp.SGD(1e-12, average=0.99), epochs=2, callbacks=[At("on_batch_end", zeros)])
    assert np.abs(flat(mlp)).max() < 1e-9


@in_place_and_not
def test_callbacks_that_set_nothing_change_nothing(backend: Any) -> None:
    plain, watched = model(backend), model(backend)
    fit(plain)
    fit(watched, callbacks=[At("on_epoch_end", lambda _: None), At("on_batch_end", lambda _: None)])
    assert_close(flat(watched), flat(plain), of_max=1e-13)


@in_place_and_not
def test_early_stopping_restores_the_average_of_the_best_epoch(backend: Any) -> None:
    stopping = xpmlp.EarlyStopping(patience=2)
    mlp = model(backend)
    history = fit(
        mlp, xpmlp.Adam(0.5, average=0.8), epochs=30, validation_data=HELD, callbacks=[stopping]
    )
    assert len(history["loss"]) < 30
    assert mlp.evaluate(*HELD)["loss"] == pytest.approx(min(history["val_loss"]), rel=1e-12)
    # Weights that are not those with which the run ended are where the next one starts.
    again = mlp.copy()
    before = flat(mlp)
    fit(mlp, xpmlp.Adam(1e-12, average=0.8), epochs=1, continued=True)
    assert_close(flat(mlp), before, atol=1e-9)
    assert_close(flat(again), before)


@in_place_and_not
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, which strict does not silence
def test_a_divergence_is_placed_as_without(backend: Any) -> None:
    """The epoch is run again from the trained weights; the model keeps the last average."""
    rate = xpmlp.schedules.Custom(0.1, lambda time, total: 1.0 if time < 1.4 else 1e38)
    said = []
    for average in (None, DECAY):
        mlp, expected = (model(backend, dtype="float32") for _ in range(2))
        optimizer = xpmlp.SGD(rate, average=average)
        with pytest.raises(DivergenceError, match=r"epoch 2 of 3, step [345] of 5: ") as error:
            fit(mlp, optimizer)
        said.append(str(error.value))
        fit(expected, optimizer, epochs=1)
        assert_close(flat(mlp), flat(expected))
    assert said[0] == said[1]


# Continuing and resuming


@pytest.mark.parametrize("parts", [(1, 2), (2, 1)])
def test_two_trainings_are_one(backend: Any, parts: tuple[int, int]) -> None:
    whole, two = model(backend), model(backend)
    fit(whole)
    for i, epochs in enumerate(parts):
        fit(two, epochs=epochs, continued=i > 0)
    assert_close(flat(two), flat(whole), of_max=1e-12)
    assert_close(trained(two), trained(whole), of_max=1e-12)


@in_place_and_not
def test_an_average_may_begin_and_end_when_a_run_continues(backend: Any) -> None:
    """It begins at the model's weights; without it training goes on from what the model has."""
    mlp, plain = model(backend), model(backend)
    fit(mlp, xpmlp.Adam(0.02), epochs=1)
    first = flat(mlp)
    fit(mlp, xpmlp.Adam(1e-12, average=0.5), epochs=1, continued=True)
    assert_close(flat(mlp), first, atol=1e-9)
    fit(mlp, epochs=1, continued=True)
    average = flat(mlp)
    assert np.abs(average - trained(mlp)).max() > 1e-4
    fit(mlp, xpmlp.Adam(1e-12), epochs=1, continued=True)
    assert len(mlp.progress.moments) == 2
    assert_close(flat(mlp), average, atol=1e-9)
    fit(plain, xpmlp.Adam(0.02), epochs=1)
    assert_close(flat(plain), first)


@in_place_and_not
def test_a_checkpoint_is_a_model_with_the_average(backend: Any, tmp_path: Any) -> None:
    mlp = model(backend)
    fit(mlp, validation_data=HELD, checkpoints=tmp_path / "run", checkpoint_every=4)
    mlp.save(tmp_path / "saved.xpmlp")
    newest = max((tmp_path / "run").glob("step-*.xpmlp"))
    for path in (newest, tmp_path / "saved.xpmlp"):
        loaded = xpmlp.load(path, backend="numpy")
        for name, value in mlp.state_dict().items():
            np.testing.assert_array_equal(loaded.state_dict()[name], value)
    best = xpmlp.load(tmp_path / "run" / "best.xpmlp", backend="numpy")
    expected = min(mlp.progress.history["val_loss"])
    assert best.evaluate(*HELD)["loss"] == pytest.approx(expected, rel=1e-10)


@in_place_and_not
def test_a_resumed_run_ends_as_the_uninterrupted_one(backend: Any, tmp_path: Any) -> None:
    """Bit for bit, also if a callback sets weights; and from checkpoints within an epoch."""
    run = {"callbacks": [At("on_epoch_end", halve, 0), xpmlp.EarlyStopping(patience=9)]}
    whole = model(backend, normalization="batch", dropout=0.2)
    keep = xpmlp.Checkpoints(tmp_path, every=5, keep=99, best=False)
    fit(whole, shuffle=True, validation_data=HELD, epochs=4, batch_size=10, checkpoints=keep, **run)
    for path in sorted(tmp_path.glob("step-*.xpmlp"))[:-1]:
        mlp = model(backend, normalization="batch", dropout=0.2)
        fit(
            mlp, shuffle=True, validation_data=HELD, epochs=4, batch_size=10,
            checkpoints=tmp_path / f"from {path.stem}", resume=path, **run,
        )  # fmt: skip
        for name, value in whole.state_dict().items():
            np.testing.assert_array_equal(mlp.state_dict()[name], value)
        assert trained(mlp).tobytes() == trained(whole).tobytes()


@in_place_and_not
def test_a_checkpoint_after_an_epoch_resumes(backend: Any, tmp_path: Any) -> None:
    whole, first = model(backend), model(backend)
    fit(whole, epochs=4)

    class Stop(xpmlp.Callback):
        def on_epoch_end(self, training: Any) -> None:
            if training.epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(first, epochs=4, checkpoints=tmp_path, callbacks=[Stop()])
    resumed = model(backend)
    fit(resumed, epochs=4, checkpoints=tmp_path, resume=True)
    assert_close(flat(resumed), flat(whole))
    assert_close(trained(resumed), trained(whole))
