"""Many networks as one: each is the network that it would be alone."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp.errors import DivergenceError, InvalidTypeError, InvalidValueError
from xpmlp.model.members import subset
from xpmlp.nn.ensemble import combined
from xpmlp.nn.functions import softmax
from xpmlp.nn.ops import Ops
from xpmlp.schedules import PerNetwork

SIZES = [3, 8, 8, 2]

NETWORKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout": {"dropout": 0.2, "input_dropout": 0.1, "activation": ["tanh", "gelu"]},
    "batch": {"normalization": "batch", "bias": False, "l2": 0.01},
    "layer": {"normalization": "layer", "residual": True, "activation": "tanh", "l1": 0.001},
    "max_norm": {"max_norm": 1.0, "penalty_on": "sum", "l2": 0.5, "activation": "sigmoid"},
}


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    """Two classes that a line cannot separate."""
    X = np.random.default_rng(3).normal(size=(90, 3))
    return X, (X[:, 0] * X[:, 1] > 0).astype(int)


def alone(
    X: Any, y: Any, i: int, backend: Any, arguments: dict[str, Any], **fit: Any
) -> tuple[Any, Any]:
    """Network i of an ensemble with the seed 4, trained without the others."""
    mlp = xpmlp.MLP(SIZES, seed=4 + i, dtype="float64", backend=backend, **arguments)
    return mlp, mlp.fit(X, y, batch_size=20, **fit)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    "optimizer", [xpmlp.SGD(0.1), xpmlp.Adam(0.01, clip_norm=0.5, clip_value=0.1)], ids=type
)
def test_each_network_is_what_it_is_alone(
    backend: Any, name: str, optimizer: Any, data: Any
) -> None:
    """Over 100 steps, with a last batch that is smaller, and weights of rows."""
    (X, y), weight = data, np.random.default_rng(5).random(90)
    arguments, fit = NETWORKS[name], {"epochs": 20, "optimizer": optimizer, "sample_weight": weight}
    mlp = xpmlp.MLP(SIZES, ensemble=3, seed=4, dtype="float64", backend=backend, **arguments)
    history = mlp.fit(X, y, batch_size=20, **fit)
    for i in (0, 2) if backend.name == "numpy" else (1,):
        other, expected = alone(X, y, i, backend, arguments, **fit)
        member = mlp.member(i)
        for key, value in other.state_dict().items():
            assert_close(member.state_dict()[key], value, atol=1e-10)
        for measure in ("loss", "accuracy"):
            found = [epoch[i] for epoch in history.each[measure]]
            assert_close(found, expected[measure], atol=1e-10)
        assert member.seed == 4 + i
        assert member.epochs_trained == 20
        assert_close(mlp.predict_proba(X, each=True)[i], other.predict_proba(X), atol=1e-10)
        evaluated = mlp.evaluate(X, y, each=True)
        assert_close(evaluated["loss"][i], other.evaluate(X, y)["loss"], atol=1e-10)
    assert_close(history["loss"], np.mean(history.each["loss"], axis=1), atol=1e-12)


@pytest.mark.parametrize("optimizer", [xpmlp.AdamW, xpmlp.Nesterov])
def test_each_network_has_its_rate_and_penalty(backend: Any, optimizer: Any, data: Any) -> None:
    X, y = data
    rates, penalties = (0.1, 0.02), (0.0, 0.05)
    mlp = xpmlp.MLP(SIZES, ensemble=2, seed=4, l2=penalties, dtype="float64", backend=backend)
    mlp.fit(X, y, epochs=6, batch_size=20, optimizer=optimizer(PerNetwork(rates)))
    for i in range(2):
        fit = {"epochs": 6, "optimizer": optimizer(rates[i])}
        expected, _ = alone(X, y, i, backend, {"l2": penalties[i]}, **fit)
        for key, value in expected.state_dict().items():
            assert_close(mlp.member(i).state_dict()[key], value, atol=1e-10)


@pytest.mark.parametrize(
    ("shuffle", "seed"), [(True, [7, 7]), (False, [7, 8]), (lambda _, n: np.arange(n)[::-1], 7)]
)
@pytest.mark.parametrize("dropped", [0.0, 0.3])
def test_one_order_of_rows_for_all(
    backend: Any, shuffle: Any, seed: Any, dropped: float, data: Any
) -> None:
    """One seed, no shuffling, or a custom order: the networks' inputs are one array."""
    X, y = data
    arguments = {"input_dropout": dropped, "dtype": "float64", "backend": backend}
    mlp = xpmlp.MLP(SIZES, ensemble=2, seed=seed, **arguments)
    mlp.fit(X, y, epochs=3, batch_size=32, shuffle=shuffle)
    other = xpmlp.MLP(SIZES, seed=mlp.seeds[1], **arguments)
    other.fit(X, y, epochs=3, batch_size=32, shuffle=shuffle)
    for key, value in other.state_dict().items():
        assert_close(mlp.member(1).state_dict()[key], value, atol=1e-10)


def test_data_on_the_host_make_no_difference(
    backend: Any, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each network's rows of some steps are copied to the device at a time."""
    monkeypatch.setattr("xpmlp.training.batches.CHUNK_STEPS", 2)
    found = []
    for place in ("device", "host"):
        mlp = xpmlp.MLP(SIZES, ensemble=3, seed=1, dtype="float64", backend=backend)
        mlp.fit(*data, epochs=3, batch_size=20, data_on=place)
        found.append(mlp.parameters["dense1.W"])
    assert_close(*found, atol=1e-12)


# Networks that share weights


def objective(mlp: Any, X: np.ndarray, y: np.ndarray, values: dict[str, np.ndarray]) -> float:
    """The mean of the networks' losses, each computed alone from its own weights."""
    mlp.load_state_dict(values)
    losses = [mlp.member(i).evaluate(X, y)["loss"] for i in range(len(mlp.predict(X, each=True)))]
    return float(np.mean(losses))


@pytest.mark.parametrize("sharing", ["mini", "full"])
@pytest.mark.parametrize("bias", [True, False])
def test_the_step_of_shared_networks_follows_the_mean_loss(
    backend: Any, sharing: str, bias: bool, data: Any
) -> None:
    """One step of gradient descent, against finite differences of the losses of the members."""
    (X, y), rate, h = data, 0.1, 1e-6
    arguments = {"ensemble": 3, "sharing": sharing, "dtype": "float64", "seed": 2, "bias": bias}
    mlp = xpmlp.MLP([3, 4, 2], "tanh", targets="labels", backend=backend, **arguments)
    start = mlp.state_dict()
    mlp.fit(X, y, epochs=1, batch_size=None, optimizer=xpmlp.SGD(rate))
    after, reference = mlp.state_dict(), mlp.copy(backend="numpy")
    rng = np.random.default_rng(0)
    for name, value in start.items():
        at = tuple(rng.integers(0, n) for n in value.shape)
        there = []
        for sign in (1, -1):
            moved = value.copy()
            moved[at] += sign * h
            there.append(objective(reference, X, y, start | {name: moved}))
        slope = (there[0] - there[1]) / (2 * h)
        assert_close((value[at] - after[name][at]) / rate, slope, atol=1e-7)


@pytest.mark.parametrize("sharing", ["none", "mini", "full"])
@pytest.mark.parametrize("penalty_on", ["mean", "sum"])
def test_a_weight_of_two_is_the_row_twice(
    backend: Any, sharing: str, penalty_on: str, data: Any
) -> None:
    (X, y), weight = data, np.random.default_rng(0).integers(0, 3, 90)
    found = []
    for given in ((X, y, weight), (np.repeat(X, weight, 0), np.repeat(y, weight), None)):
        mlp = xpmlp.MLP(
            SIZES,
            ensemble=2,
            sharing=sharing,
            l2=0.3,
            penalty_on=penalty_on,
            dtype="float64",
            backend=backend,
            seed=0,
        )
        options = {"epochs": 2, "batch_size": None, "optimizer": xpmlp.SGD(0.1)}
        history = mlp.fit(*given[:2], sample_weight=given[2], **options)
        found.append((mlp.parameters["dense2.W"], history.each["loss"][-1]))
    for one, other in zip(*found, strict=True):
        assert_close(one, other, atol=1e-12)


@pytest.mark.parametrize("sharing", ["mini", "full"])
@pytest.mark.parametrize("normalization", ["layer", "batch", None])
def test_a_member_is_a_network_alone(
    backend: Any, sharing: str, normalization: str | None, data: Any
) -> None:
    """Its factors are part of its weights."""
    X, y = data
    mlp = xpmlp.MLP(
        SIZES,
        ensemble=4,
        sharing=sharing,
        normalization=normalization,
        dropout=0.1,
        residual=True,
        dtype="float64",
        backend=backend,
        seed=0,
    )
    history = mlp.fit(X, y, epochs=8, batch_size=20, optimizer=xpmlp.Adam(0.01))
    predicted = mlp.predict_proba(X, each=True)
    for i in (0, -1):
        assert_close(mlp.member(i).predict_proba(X), predicted[i], atol=1e-12)
    assert np.ptp(predicted, axis=0).max() > 1e-3  # the networks differ
    assert_close(mlp.predict_proba(X), predicted.mean(axis=0), atol=1e-12)
    assert history["loss"][-1] < history["loss"][0]


def test_shared_networks_take_little_memory() -> None:
    sizes = [50, 256, 256, 256, 10]
    one = xpmlp.MLP(sizes, backend="numpy").network.layout.count
    for k in (8, 32):
        mini = xpmlp.MLP(sizes, ensemble=k, sharing="mini", backend="numpy")
        assert mini.network.layout.count == one + 50 * k
        assert mini.weights.flat.nbytes <= 1.2 * 4 * one


# Predictions


BY_LINK = {
    "softmax": xpmlp.losses.SparseCategoricalCrossEntropy(),
    "sigmoid": xpmlp.losses.BinaryCrossEntropy(),
    "exp": xpmlp.losses.Poisson(),
    "identity": xpmlp.losses.MSE(),
}


@pytest.mark.parametrize("link", BY_LINK)
def test_the_mean_of_predictions(backend: Any, link: str) -> None:
    """Outputs whose prediction is the mean; at any size of the logits."""
    xp, loss = backend.xp, BY_LINK[link]
    function = xpmlp.activations.activation(link).function
    for size in (1.0, 30.0):
        host = np.random.default_rng(0).normal(size=(5, 7, 3)) * size
        z = backend.asarray(host)
        made = function(backend.ops, combined(backend.ops, loss, z))
        expected = np.mean(
            [backend.to_numpy(function(backend.ops, z[i, ...])) for i in range(5)], 0
        )
        assert_close(backend.to_numpy(xp.asarray(made)), expected, rtol=1e-12, atol=1e-300)


def test_the_logarithm_of_the_mean_does_not_overflow() -> None:
    ops = Ops.reference(np)
    z = np.array([[[1e4, 0.0]], [[0.0, 1e4]]])
    assert_close(softmax(np, combined(ops, BY_LINK["softmax"], z)), [[0.5, 0.5]], atol=1e-12)
    z = np.array([[[800.0]], [[-800.0]]])
    assert_close(combined(ops, BY_LINK["sigmoid"], z), [[0.0]], atol=1e-9)


def test_predictions_of_values(backend: Any, data: Any) -> None:
    """In the targets' units: their mean and their deviation."""
    X, y = data[0], data[0][:, 0] * 100 + 1000
    mlp = xpmlp.MLP([3, 8, 1], ensemble=5, scaling="standard", backend=backend, seed=0)
    mlp.fit(X, y, epochs=3, optimizer=xpmlp.Adam(0.01), validation_split=0.2)
    each = mlp.predict(X, each=True)
    mean, deviation = mlp.predict(X, return_std=True)
    assert each.shape == (5, 90)
    assert_close(mlp.predict(X), each.mean(axis=0), rtol=1e-6)
    assert_close(mean, each.mean(axis=0), rtol=1e-6)
    assert_close(deviation, each.std(axis=0), rtol=1e-4)
    assert_close(mlp.member(3).predict(X), each[3], rtol=1e-6)
    r2 = 1 - np.sum((y - mean) ** 2) / np.sum((y - y.mean()) ** 2)
    assert_close(mlp.evaluate(X, y)["r2"], r2, atol=1e-5)


@pytest.mark.parametrize("kind", ["labels", "one_hot", "binary", "multilabel"])
def test_predictions_of_classes(kind: str, data: Any) -> None:
    X, y = data
    targets = {"one_hot": np.eye(2)[y], "multilabel": np.stack([y, 1 - y], axis=1)}
    outputs = 1 if kind == "binary" else 2
    arguments = {"targets": kind, "seed": 0, "backend": "numpy"}
    mlp = xpmlp.MLP([3, 8, outputs], ensemble=3, **arguments)
    mlp.fit(X, targets.get(kind, y), epochs=5, batch_size=None, optimizer=xpmlp.Adam(0.05))
    p, each = mlp.predict_proba(X), mlp.predict_proba(X, each=True)
    assert each.shape == (3, 90, 2)
    assert_close(p, each.mean(axis=0), atol=1e-6)
    found = mlp.predict(X)
    rule = p > 0.5 if kind == "multilabel" else p.argmax(axis=1)
    assert np.array_equal(found, rule)
    assert mlp.predict(X, each=True).shape == (3, *found.shape)
    accuracy = mlp.evaluate(X, targets.get(kind, y))["accuracy"]
    right = found == targets["multilabel"] if kind == "multilabel" else found == y
    assert_close(accuracy, np.mean(right.all(axis=1) if right.ndim > 1 else right), atol=1e-12)


def test_predictions_are_in_the_library_of_the_inputs(torch_backend: Any, data: Any) -> None:
    import torch

    mlp = xpmlp.MLP(SIZES, ensemble=2, backend=torch_backend, seed=0)
    mlp.fit(*data, epochs=1)
    made = mlp.predict_proba(torch.tensor(data[0]), each=True)
    assert isinstance(made, torch.Tensor)
    assert_close(made.numpy(), mlp.predict_proba(data[0], each=True), atol=1e-6)


# Files, copies, and going on


@pytest.mark.parametrize("sharing", ["none", "mini", "full"])
def test_files_copies_and_other_backends(
    tmp_path: Any, sharing: str, data: Any, torch_backend: Any
) -> None:
    import pickle

    mlp = xpmlp.MLP(
        SIZES, ensemble=3, sharing=sharing, normalization="batch", backend="numpy", seed=1
    )
    mlp.fit(*data, epochs=2)
    expected = mlp.predict_proba(data[0], each=True)
    mlp.save(tmp_path / "a.xpmlp")
    loaded = xpmlp.load(tmp_path / "a.xpmlp", backend="numpy")
    pickled = pickle.loads(pickle.dumps(mlp))
    for other in (loaded, pickled, mlp.copy(), mlp.copy(dtype="float64")):
        assert_close(other.predict_proba(data[0], each=True), expected, atol=1e-6)
        assert other.seeds == mlp.seeds
    mlp.to(torch_backend)
    assert_close(mlp.predict_proba(data[0], each=True), expected, atol=1e-6)
    pickled.fit(*data, epochs=1, continued=True)
    assert pickled.epochs_trained == 3


def test_a_file_says_how_many_networks_there_are(tmp_path: Any) -> None:
    from xpmlp.errors import CheckpointError
    from xpmlp.storage import tensorfile

    path = tmp_path / "a.xpmlp"
    for sharing in ("none", "mini"):
        xpmlp.MLP(SIZES, ensemble=3, sharing=sharing, backend="numpy").save(path)
        config, tensors = tensorfile.read(path)
        config["arguments"]["ensemble"] = 10**9
        tensorfile.write(path, config, tensors)
        with pytest.raises(CheckpointError, match="shape"):
            xpmlp.load(path, backend="numpy")


def test_lists_of_seeds_and_penalties_are_kept(tmp_path: Any) -> None:
    mlp = xpmlp.MLP(SIZES, ensemble=2, seed=[5, 9], l2=[0.0, 0.1], backend="numpy")
    mlp.save(tmp_path / "a.xpmlp")
    loaded = xpmlp.load(tmp_path / "a.xpmlp", backend="numpy")
    assert loaded.seeds == (5, 9)
    assert loaded.penalty == mlp.penalty
    assert loaded.member(1).penalty.l2 == 0.1


@pytest.mark.parametrize("sharing", ["none", "full"])
def test_a_run_resumes_bit_for_bit(tmp_path: Any, sharing: str, data: Any) -> None:
    """From a checkpoint within an epoch, with each network's history."""

    class Stop(xpmlp.Callback):
        every = 3

        def on_batch_end(self, training: Any) -> None:
            if training.total == 9:
                raise KeyboardInterrupt

    def run(path: Any, callbacks: Any = (), **options: Any) -> Any:
        mlp = xpmlp.MLP(SIZES, ensemble=3, sharing=sharing, dropout=0.2, backend="numpy", seed=1)
        fit = {"epochs": 4, "batch_size": 20, "checkpoints": path, "checkpoint_every": 1}
        history = mlp.fit(*data, callbacks=callbacks, **fit, **options)
        return mlp, history

    whole, expected = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part", [Stop()])
    resumed, history = run(tmp_path / "part", resume=True)
    for name, value in whole.state_dict().items():
        assert np.array_equal(resumed.state_dict()[name], value), name
    assert history["loss"] == expected["loss"]
    assert history.each == expected.each


def test_some_networks_go_on_as_they_were(data: Any) -> None:
    """A part of an ensemble, in the middle of a run, trains as if the others were still there."""
    optimizer = xpmlp.Adam(0.01)
    mlp = xpmlp.MLP(SIZES, ensemble=4, seed=3, dtype="float64", backend="numpy")
    mlp.fit(*data, epochs=2, batch_size=20, optimizer=optimizer)
    part = subset(mlp, [3, 1])
    for model in (mlp, part):
        model.fit(*data, epochs=2, batch_size=20, optimizer=optimizer, continued=True)
    for name, value in mlp.state_dict().items():
        assert_close(part.state_dict()[name], value[[3, 1]], atol=1e-12)
    assert subset(xpmlp.MLP(SIZES, ensemble=2, backend="numpy"), [1]).progress is None


def test_it_says_what_it_is() -> None:
    mlp = xpmlp.MLP(SIZES, ensemble=3, sharing="mini", targets="labels", backend="numpy")
    assert "(3, n, 8)" in mlp.summary()
    assert "networks: 3, which share all but a factor of each input" in mlp.summary()
    assert "(r · x) W" in mlp.summary()
    assert "networks" in repr(mlp)
    assert "networks" not in repr(xpmlp.MLP(SIZES, backend="numpy"))


# What is refused


def test_which_networks_diverged(backend: Any, data: Any) -> None:
    mlp = xpmlp.MLP(SIZES, ensemble=3, backend=backend, seed=0)
    before = mlp.parameters["dense1.W"]
    ignored = np.errstate(all="ignore")  # the imitated device computes with NumPy, which warns
    with ignored, pytest.raises(DivergenceError, match="of 3 networks 1 became") as caught:
        mlp.fit(*data, epochs=3, batch_size=20, optimizer=xpmlp.SGD(PerNetwork([0.1, 1e30, 0.1])))
    assert caught.value.networks == (1,)
    assert np.array_equal(mlp.parameters["dense1.W"], before)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"ensemble": 0}, "ensemble: found 0"),
        ({"ensemble": True}, "ensemble: found True"),
        ({"ensemble": 2.0}, "ensemble: found 2.0"),
        ({"sharing": "mini"}, "without ensemble"),
        ({"ensemble": 2, "sharing": "some"}, "unknown sharing 'some'"),
        ({"ensemble": 2, "seed": [1, 2, 3]}, "3 seeds for ensemble=2"),
        ({"ensemble": 2, "l2": [0.1]}, "l2: found 1 numbers; expected one number, or 2"),
        ({"ensemble": 2, "sharing": "full", "l1": [0.1, 0.2]}, "expected one number"),
    ],
)
def test_arguments_that_cannot_work(arguments: Any, says: str) -> None:
    with pytest.raises(InvalidValueError, match=says):
        xpmlp.MLP(SIZES, backend="numpy", **arguments)


def test_what_one_network_has_and_several_do_not(data: Any) -> None:
    X, y = data
    with pytest.raises(InvalidTypeError, match="found 2 seeds"):
        xpmlp.MLP(SIZES, seed=[1, 2], backend="numpy")
    with pytest.raises(InvalidTypeError, match="custom layers"):
        xpmlp.MLP(SIZES, ensemble=2, normalization=lambda name, units: None, backend="numpy")
    many = xpmlp.MLP(SIZES, ensemble=2, targets="labels", backend="numpy")
    for refused in (
        lambda: xpmlp.explain(many, X[0], y[0]),
        lambda: xpmlp.verify(many, X, y),
        lambda: xpmlp.check_gradient(many, X, y),
        lambda: xpmlp.Objective(many, X, y),
        lambda: many.fit(X, y, callbacks=[xpmlp.Diagnosis()], epochs=1),
    ):
        with pytest.raises(InvalidValueError, match=r"ensemble of 2 networks.*mlp.member\(0\)"):
            refused()
    with pytest.raises(InvalidValueError, match="expected 0 to 1"):
        many.member(2)
    with pytest.raises(InvalidValueError, match="predicts classes"):
        many.predict(X, return_std=True)
    one = xpmlp.MLP(SIZES, targets="labels", backend="numpy")
    for refused in (
        lambda: one.member(0),
        lambda: one.predict(X, each=True),
        lambda: one.predict_proba(X, each=True),
        lambda: one.evaluate(X, y, each=True),
    ):
        with pytest.raises(InvalidValueError, match="this model is one network"):
            refused()


def test_rates_that_do_not_fit() -> None:
    for wrong in ([], "0.1", 0.1):
        with pytest.raises(InvalidTypeError, match="a learning rate for each network"):
            PerNetwork(wrong)
    for arguments in ({}, {"ensemble": 3}, {"ensemble": 2, "sharing": "mini"}):
        mlp = xpmlp.MLP([1, 1], backend="numpy", **arguments)
        with pytest.raises(InvalidValueError, match="found 2 rates for"):
            mlp.fit([[1.0], [2.0]], [1.0, 2.0], optimizer=xpmlp.SGD(PerNetwork([0.1, 0.2])))


def test_a_link_whose_mean_is_not_known(data: Any) -> None:
    class Odd(xpmlp.losses.MSE):
        link = "tanh"

    mlp = xpmlp.MLP([3, 4, 1], ensemble=2, loss=Odd(), targets="values", backend="numpy")
    with pytest.raises(InvalidValueError, match="link 'tanh'; use each=True"):
        mlp.predict(data[0])
    assert mlp.predict(data[0], each=True).shape == (2, 90)


def test_which_arrays_are_each_networks_own() -> None:
    def own(**settings: Any) -> set[str]:
        mlp = xpmlp.MLP([3, 4, 2], normalization="batch", ensemble=2, backend="numpy", **settings)
        names = {*mlp.network.layout.slots, *mlp.network.statistics.slots}
        return {name for name in names if mlp.network.is_of_each(name)}

    assert own(sharing="mini") == {"dense1.r", "norm1.mean", "norm1.var"}
    assert own(sharing="none") >= {"dense1.W", "dense1.b", "norm1.g", "norm1.b", "norm1.mean"}
    full = own(sharing="full")
    assert full >= {"dense1.r", "dense1.s", "dense1.b", "dense2.b", "norm1.var"}
    assert not full & {"dense1.W", "norm1.g", "norm1.b"}
