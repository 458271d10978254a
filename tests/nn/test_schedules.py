"""Schedules against PyTorch's where it has the same formula, else against closed forms."""

import math
from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp import schedules
from xpmlp.errors import InvalidTypeError, InvalidValueError

EPOCHS, STEPS = 12, 4


def rates(schedule: schedules.Schedule, epochs: int = EPOCHS, steps: int = STEPS) -> np.ndarray:
    """The rate of every step of a training without plateaus."""
    return np.array([schedule.rates(e, steps, epochs, {}) for e in range(epochs)]).ravel()


def torch_rates(make: Any, count: int, rate: float = 0.1) -> np.ndarray:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    values = []
    for _ in range(count):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(values)


def test_step_decay_is_pytorchs() -> None:
    expected = torch_rates(lambda s, o: s.StepLR(o, step_size=3, gamma=0.5), EPOCHS)
    assert_close(
        rates(schedules.StepDecay(0.1, every=3, factor=0.5), steps=1), expected, rtol=1e-12
    )


def test_exponential_is_pytorchs() -> None:
    expected = torch_rates(lambda s, o: s.ExponentialLR(o, gamma=0.9), EPOCHS)
    assert_close(rates(schedules.Exponential(0.1, factor=0.9), steps=1), expected, rtol=1e-12)


def test_cosine_is_pytorchs_step_by_step() -> None:
    count = EPOCHS * STEPS
    expected = torch_rates(lambda s, o: s.CosineAnnealingLR(o, T_max=count, eta_min=0.01), count)
    assert_close(rates(schedules.Cosine(0.1, final=0.01)), expected, rtol=1e-10)


def test_one_cycle_is_pytorchs() -> None:
    # PyTorch's last step sits at the very end of the cycle, ours one step before the end.
    count = 1000
    expected = torch_rates(lambda s, o: s.OneCycleLR(o, max_lr=0.1, total_steps=count + 1), count)
    ours = rates(schedules.OneCycle(0.1), epochs=10, steps=100)
    assert_close(ours, expected, atol=0.1 * 0.006)  # it counts the rise to 0.3·n − 1
    assert ours[0] == pytest.approx(0.1 / 25)
    assert schedules.OneCycle(0.1).at(10, 10) == pytest.approx(0.1 / 25 / 1e4)
    assert ours.max() == pytest.approx(0.1)


def test_constant_and_inverse_time() -> None:
    assert_close(rates(schedules.Constant(0.1)), np.full(EPOCHS * STEPS, 0.1))
    time = np.arange(EPOCHS * STEPS) / STEPS
    assert_close(rates(schedules.InverseTime(0.1, decay=2.0)), 0.1 / (1 + 2 * time), rtol=1e-12)


def test_warm_up_rises_and_hands_over() -> None:
    ours = rates(schedules.WarmUp(0.1, epochs=3, then=schedules.Cosine(0.1)))
    rise, fall = ours[: 3 * STEPS], ours[3 * STEPS :]
    assert_close(rise[1:], 0.1 * np.arange(1, 3 * STEPS) / (3 * STEPS), rtol=1e-12)
    assert 0 < rise[0] < rise[1]
    assert_close(fall, rates(schedules.Cosine(0.1), epochs=EPOCHS - 3), rtol=1e-12)
    assert rates(schedules.WarmUp(0.1, epochs=3))[-1] == 0.1


SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.99)
PYTABKIT = {
    "CosLog4": (
        *(0.0, 0.350381, 0.323689, 0.718355, 0.493489, 0.323689),
        *(0.073619, 0.718355, 0.875658, 0.186201, 0.001821),
    ),
    "FlatCos": (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.904508, 0.5, 0.095492, 0.000987),
}
"""What pytabkit 1.8.0 computes for "coslog4" and "flat_cos" at these shares of the time."""


@pytest.mark.parametrize("name", PYTABKIT)
def test_realmlps_schedules_are_pytabkits(name: str) -> None:
    ours = getattr(schedules, name)(0.2)
    found = np.array([ours.at(12 * share, 12.0) for share in SHARES])
    assert_close(found, 0.2 * np.array(PYTABKIT[name]), atol=2e-7)


def test_coslog4_has_four_rises_and_falls_each_twice_as_long() -> None:
    ours = schedules.CosLog4(1.0)
    assert [ours.at(t, 15.0) for t in (0, 1, 3, 7, 15, 16)] == pytest.approx([0.0] * 6, abs=1e-12)
    assert [ours.at(2 ** (k + 0.5) - 1, 15.0) for k in range(4)] == pytest.approx([1.0] * 4)


def test_flat_cos_ends_at_its_final_rate() -> None:
    ours = schedules.FlatCos(0.2, flat=0.25, final=0.1)
    assert [ours.at(t, 8.0) for t in (0, 2, 5, 8, 9)] == pytest.approx([0.2, 0.2, 0.15, 0.1, 0.1])


def test_an_own_schedule() -> None:
    own = schedules.Custom(0.1, lambda time, total: 1 / math.sqrt(1 + time))
    time = np.arange(EPOCHS * STEPS) / STEPS
    assert_close(rates(own), 0.1 / np.sqrt(1 + time), rtol=1e-12)


@pytest.mark.parametrize("patience", [1, 2, 4])
def test_reduce_on_plateau_is_pytorchs(patience: int, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    losses = np.round(np.abs(rng.standard_normal(60)) + 2 / np.arange(1, 61), 2).tolist()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    # PyTorch waits while bad epochs <= patience; we act on the patience-th.
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience - 1, threshold=1e-4, threshold_mode="abs", eps=0
    )
    ours = schedules.ReduceOnPlateau(0.1, factor=0.5, patience=patience)
    for epoch in range(len(losses)):
        history = {"loss": losses[:epoch], "val_loss": losses[:epoch]}
        expected = optimizer.param_groups[0]["lr"]
        assert ours.rates(epoch, 2, 60, history) == pytest.approx([expected] * 2)
        theirs.step(losses[epoch])
    assert expected < 0.1


def test_reduce_on_plateau_watches_accuracy_the_other_way() -> None:
    ours = schedules.ReduceOnPlateau(0.1, monitor="val_accuracy", patience=2)
    rising = {"loss": [1.0], "val_accuracy": [0.1, 0.2, 0.3, 0.4]}
    assert ours.rates(4, 1, 9, rising) == [0.1]
    flat = {"loss": [1.0], "val_accuracy": [0.4, 0.3, 0.3]}
    assert ours.rates(3, 1, 9, flat) == pytest.approx([0.01])


def test_the_rate_is_in_the_history_and_moves_the_weights() -> None:
    X = np.array([[1.0], [2.0]])
    schedule = schedules.StepDecay(0.1, every=1, factor=0.5)
    mlp = xpmlp.MLP([1, 1], bias=False, loss="mse", dtype="float64", backend="numpy", seed=0)
    mlp.load_state_dict({"dense1.W": np.array([[1.0]])})
    history = mlp.fit(X, 3 * X, epochs=3, batch_size=2, optimizer=xpmlp.SGD(schedule))
    assert history["learning_rate"] == pytest.approx([0.1, 0.05, 0.025])
    w = 1.0
    for rate in (0.1, 0.05, 0.025):
        w -= rate * np.mean(X * (w * X - 3 * X))
    assert mlp.parameters["dense1.W"][0, 0] == pytest.approx(w, rel=1e-12)


def test_what_cannot_work_is_refused() -> None:
    for wrong in (0.0, -1.0, math.inf, "fast"):
        with pytest.raises(InvalidValueError, match="expected a positive number"):
            schedules.Cosine(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="no 'val_loss'"):
        schedules.ReduceOnPlateau(0.1).rates(1, 1, 2, {"loss": [1.0]})


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused_before_its_epoch(value: float) -> None:
    """The first epoch is trained, and kept."""
    schedule = xpmlp.schedules.Custom(1.0, lambda time, total: 0.1 if time < 1 else value)
    mlp = xpmlp.MLP([2, 2], seed=1)
    X, y = np.eye(2, dtype=np.float32), np.array([0, 1])
    with pytest.raises(
        xpmlp.errors.InvalidValueError, match=r"learning_rate: found (-0.1|nan|inf)"
    ):
        mlp.fit(X, y, epochs=3, batch_size=1, optimizer=xpmlp.SGD(schedule))
    assert mlp.epochs_trained == 1
    assert np.isfinite(mlp.predict_proba(X)).all()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda v: schedules.Cosine(0.1, final=v), "final"),
        (lambda v: schedules.StepDecay(0.1, factor=v), "factor"),
        (lambda v: schedules.StepDecay(0.1, every=v), "every"),
        (lambda v: schedules.Exponential(0.1, factor=v), "factor"),
        (lambda v: schedules.InverseTime(0.1, decay=v), "decay"),
        (lambda v: schedules.WarmUp(0.1, epochs=v), "epochs"),
        (lambda v: schedules.OneCycle(0.1, start=v), "start"),
        (lambda v: schedules.OneCycle(0.1, end=v), "end"),
        (lambda v: schedules.OneCycle(0.1, rise=v), "rise"),
        (lambda v: schedules.ReduceOnPlateau(0.1, minimum=v), "minimum"),
        (lambda v: schedules.ReduceOnPlateau(0.1, patience=v), "patience"),
        (lambda v: schedules.FlatCos(0.1, flat=v), "flat"),
        (lambda v: schedules.FlatCos(0.1, final=v), "final"),
        (lambda v: schedules.CosLog4(v), "rate"),
        (lambda v: schedules.Constant(v), "rate"),
    ],
)
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "0.1", None, True])
def test_a_setting_that_would_make_a_rate_negative_is_refused(
    make: Any, name: str, value: Any
) -> None:
    with pytest.raises(InvalidValueError, match=f": {name} is .*expected a"):
        make(value)


def test_a_rise_that_never_ends_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="rise is 1; expected a share below 1"):
        schedules.OneCycle(0.1, rise=1)
    with pytest.raises(InvalidValueError, match="flat is 1; expected a share below 1"):
        schedules.FlatCos(0.1, flat=1)


def test_what_custom_schedules_return() -> None:
    """A number, and one for each step."""
    X, y = np.linspace(-1, 1, 20)[:, None], np.linspace(-1, 1, 20)

    class Single(xpmlp.schedules.Schedule):
        def rates(self, epoch: int, steps: int, total: float, history: Any) -> list[float]:
            return [self.rate]

    def nothing(time: float, total: float) -> Any:
        return None

    def rate(given: Any) -> None:
        mlp = xpmlp.MLP([1, 1], targets="values", backend="numpy", seed=0)
        mlp.fit(X, y, batch_size=5, epochs=1, optimizer=xpmlp.SGD(given))

    with pytest.raises(
        InvalidTypeError, match="the function returned a NoneType for time=0, total"
    ):
        rate(xpmlp.schedules.Custom(0.1, nothing))
    with pytest.raises(InvalidValueError, match=r"found 1 by .*expected one for each of 4 steps"):
        rate(Single(0.1))
    with pytest.raises(InvalidValueError, match=r"or a schedule: xpmlp.schedules.Custom\(learning"):
        rate(lambda time, total: 1.0)
