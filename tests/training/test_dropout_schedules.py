"""Dropout rates that follow a schedule: they come with the plan, and nothing is compiled anew."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp.errors import CheckpointError, InvalidValueError
from xpmlp.nn.schedules import Constant, Cosine, Custom, FlatCos, StepDecay, WarmUp

RNG = np.random.default_rng(8)
X = RNG.normal(size=(40, 3))
Y = (X[:, 0] > X[:, 1]).astype(np.int64)
OPTIONS: dict[str, Any] = {"batch_size": 8, "shuffle": False, "optimizer": xpmlp.SGD(0.2)}
KINDS: dict[str, dict[str, Any]] = {
    "joined": {},  # with the dense map and its activation
    "alone": {"normalization": "layer"},
    "residual": {"residual": True},
}


def model(backend: Any, dropout: Any, **options: Any) -> xpmlp.MLP:
    given = {"dtype": "float64", "seed": 4, "dropout": dropout} | options
    return xpmlp.MLP([3, 6, 6, 2], "tanh", backend=backend, **given)


def same(found: xpmlp.MLP, expected: xpmlp.MLP, rtol: float = 1e-8) -> None:
    for name, value in expected.state_dict().items():
        assert_close(found.state_dict()[name], value, of_max=rtol)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.sampled(2)
def test_a_constant_schedule_is_a_number(backend: Any, kind: str) -> None:
    scheduled = model(backend, Constant(0.3), input_dropout=Constant(0.1), **KINDS[kind])
    constant = model(backend, 0.3, input_dropout=0.1, **KINDS[kind])
    for mlp in (scheduled, constant):
        mlp.fit(X, Y, epochs=3, **OPTIONS)
    same(scheduled, constant)


def test_each_step_has_its_rate(backend: Any) -> None:
    """By hand: an epoch at two rates, then one at others."""
    mlp = model(backend, [StepDecay(0.4, every=1, factor=0.5), Custom(0.5, lambda t, n: t < 1)])
    mlp.fit(X, Y, epochs=2, **OPTIONS)
    first = model(backend, [0.4, 0.5])
    first.fit(X, Y, epochs=1, **OPTIONS)
    second = model(backend, [0.2, Constant(1e-12)])  # as many dropout layers have the same keys
    second.load_state_dict(first.state_dict())
    second.epochs_trained = 1
    second.fit(X, Y, epochs=1, **OPTIONS)
    same(mlp, second)


def test_a_rate_of_0_drops_nothing(backend: Any) -> None:
    mlp, without = model(backend, Custom(0.5, lambda t, n: 0.0)), model(backend, 0.0)
    for one in (mlp, without):
        one.fit(X, Y, epochs=2, **OPTIONS)
    same(mlp, without, rtol=1e-13)


def test_steps_run_in_the_fastest_mode_and_are_compiled_once(backend: Any) -> None:
    mlp, constant = model(backend, FlatCos(0.3)), model(backend, 0.3)
    modes = [one.fit(X, Y, epochs=4, **OPTIONS).execution for one in (mlp, constant)]
    assert modes[0] == modes[1]
    assert len(mlp.compiled) == 1


@pytest.mark.parametrize("backend", ["numpy", "strict", "torch"], indirect=True)
def test_a_resumed_run_ends_as_the_uninterrupted_one(backend: Any, tmp_path: Any) -> None:
    rates = [FlatCos(0.3, flat=0.2), WarmUp(0.4, epochs=1, then=Cosine(0.4))]
    whole = model(backend, rates)
    keep = xpmlp.Checkpoints(tmp_path, every=4, keep=99, best=False)
    whole.fit(X, Y, epochs=3, checkpoints=keep, **OPTIONS)
    for path in sorted(tmp_path.glob("step-*.xpmlp"))[:-1]:
        mlp = model(backend, rates)
        again = tmp_path / f"from {path.stem}"
        mlp.fit(X, Y, epochs=3, checkpoints=again, resume=path, **OPTIONS)
        same(mlp, whole, rtol=0.0)
    with pytest.raises(InvalidValueError, match=r"was made with dropout=.*'flat': 0.2"):
        model(backend, 0.3).fit(X, Y, checkpoints=tmp_path, resume=True, **OPTIONS)


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        (Custom(0.5, lambda t, n: 2.0), r"dropout: found 1 for step 1 of an epoch, by Custom"),
        (Custom(0.5, lambda t, n: 1.0 - 3 * (t > 0.5)), r"dropout: found -1 for step 4"),
        (Custom(0.5, lambda t, n: np.nan), r"dropout: found nan for step 1"),
    ],
)
def test_a_schedule_that_leaves_the_range(rate: Any, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        model("numpy", rate).fit(X, Y, epochs=1, **OPTIONS)


@pytest.mark.parametrize("options", [{"dropout": Cosine(1.5)}, {"input_dropout": Constant(1.0)}])
def test_a_schedule_that_begins_out_of_range(options: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"dropout: found .*; expected a rate in \[0, 1\)"):
        xpmlp.MLP([3, 6, 2], backend="numpy", **options)


# Looking into it


def test_gradients_and_explanations_take_the_first_rate() -> None:
    mlp = model("numpy", FlatCos(0.3), targets="labels")
    found = xpmlp.explain(mlp, X[:9], Y[:9], training=True)
    assert found["dLoss/dW1"].error < 1e-6
    assert set(np.unique(found["d1"].values == 0)) == {False, True}
    assert "FlatCos(rate=0.3" in mlp.summary()


# Model files


class Halving(xpmlp.schedules.Schedule):
    def at(self, time: float, total: float) -> float:
        return self.rate / 2**time


def quarter(time: float, total: float) -> float:
    return 0.25


@pytest.mark.parametrize(
    ("rate", "custom"),
    [
        (FlatCos(0.3, final=0.1), {}),
        ([WarmUp(0.4, epochs=2, then=Cosine(0.2)), 0.1], {}),
        (Halving(0.5), {"Halving": Halving(0.5)}),
        (Custom(0.5, quarter), {"quarter": Custom(0.5, quarter)}),
    ],
)
def test_a_loaded_model_trains_on_alike(tmp_path: Any, rate: Any, custom: Any) -> None:
    mlp = model("numpy", rate, input_dropout=Constant(0.2))
    mlp.fit(X, Y, epochs=2, **OPTIONS)
    mlp.save(tmp_path / "model.xpmlp")
    loaded = xpmlp.load(tmp_path / "model.xpmlp", backend="numpy", custom=custom)
    assert loaded.network.dropout_rates == mlp.network.dropout_rates
    for one in (mlp, loaded):
        one.fit(X, Y, epochs=2, **OPTIONS)
    same(loaded, mlp, rtol=0.0)
    if custom:
        with pytest.raises(CheckpointError, match="it uses a custom schedule"):
            xpmlp.load(tmp_path / "model.xpmlp", backend="numpy")


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": "Sawtooth", "rate": 0.1},
        {"schedule": ["FlatCos"], "rate": 0.1},
        {"schedule": "FlatCos", "rate": -1},
        {"schedule": "FlatCos", "rate": 0.1, "speed": 2},
        {"schedule": "FlatCos", "rate": "fast"},
        {"rate": 0.1},
        {"schedule": "WarmUp", "rate": 0.1, "then": {"schedule": "Schedule", "rate": 0.1}},
    ],
)
def test_a_forged_schedule_is_refused(tmp_path: Any, wrong: Any) -> None:
    from xpmlp.storage import tensorfile

    path = tmp_path / "model.xpmlp"
    model("numpy", 0.1).save(path)
    config, tensors = tensorfile.read(path)
    config["arguments"]["dropout"] = [wrong, 0.1]
    tensorfile.write(path, config, tensors)
    with pytest.raises(CheckpointError):
        xpmlp.load(path, backend="numpy")


def test_an_estimator_takes_one() -> None:
    sklearn = pytest.importorskip("xpmlp.sklearn")
    estimator = sklearn.MLPClassifier(
        (6,), dropout=FlatCos(0.3), input_dropout=Constant(0.1), max_iter=2, random_state=0,
        backend="numpy",
    )  # fmt: skip
    with pytest.warns(Warning, match="Maximum iterations"):
        estimator.fit(X, Y)
    assert estimator.mlp_.network.dropout_rates == [Constant(0.1), FlatCos(0.3)]
