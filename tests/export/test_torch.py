"""``to_torch`` and ``from_torch``: modules of PyTorch that compute what the model does."""

import io
import pickle
import sys
from typing import Any

import networks
import numpy as np
import pytest
from conftest import assert_close, make_backend
from networks import assert_same, fitted, inputs

import xpmlp
from xpmlp.errors import InvalidTypeError, InvalidValueError, MissingExtraError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn

CASES = networks.cases(without=("ensemble", "embedding"))


def run(network: Any, X: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(network(torch.tensor(X)).numpy())


@pytest.mark.sampled(6)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_every_network_predicts_the_same(case: Any, dtype: str) -> None:
    _, activation, kind, settings = case
    mlp = fitted(kind, activation, dtype=dtype, **settings)
    X = inputs(mlp)
    assert_same(run(mlp.to_torch(), X), mlp, X)


PIECES = {"input_scale": True, "activation_mix": True, "parametrization": "ntk"}


@pytest.mark.parametrize(
    ("kind", "activation", "settings"),
    [
        ("labels", "exp", {"residual": True, "initializer": networks.small}),
        ("quantiles", "selu", {**PIECES, "scaling": "robust"}),
        ("binary", "mish", {"bias": False, "normalization": "batch"}),
        ("poisson", "binary_step", {"normalization": "layer", "zero_last": True}),
    ],
)
def test_every_piece(kind: str, activation: str, settings: Any) -> None:
    mlp = fitted(kind, activation, **settings)
    X = inputs(mlp)
    assert_same(run(mlp.to_torch(), X), mlp, X)


def test_a_plain_network_is_pytorchs_modules() -> None:
    mlp = fitted(scaling=None, normalization="batch", dropout=0.25, input_dropout=0.125)
    network = mlp.to_torch("logits")
    names = [type(module).__name__ for module in network]
    block = ["Linear", "BatchNorm1d", "ReLU", "Dropout"]
    assert names == ["Dropout", *block, *block, "Linear"]
    assert (network[0].p, network[4].p, network.training) == (0.125, 0.25, False)


@pytest.mark.parametrize("kind", ["labels", "binary", "multilabel", "one_hot"])
def test_logits_are_those_of_the_probabilities(kind: str) -> None:
    for more in ({}, {"output": "sigmoid" if kind in ("binary", "multilabel") else "softmax"}):
        mlp = fitted(kind) if not more else of_output(kind, more["output"])
        z, X = mlp.to_torch("logits"), inputs(mlp)
        p = torch.softmax if kind in ("labels", "one_hot") else lambda z, axis: torch.sigmoid(z)
        found = p(torch.tensor(run(z, X)), -1).numpy()
        wanted = networks.expected(mlp, X)
        assert_close(found, wanted[:, 1:] if kind == "binary" else wanted, atol=1e-6)


def of_output(kind: str, output: str) -> xpmlp.MLP:
    outputs = 1 if kind == "binary" else 3
    settings = {"output": output, "loss": "mse", "targets": kind, "backend": "numpy", "seed": 0}
    mlp = xpmlp.MLP([5, 8, outputs], **settings)
    mlp.fit(networks.data() / 30, networks.targets(kind), epochs=1)
    return mlp


def test_there_are_no_logits_of_values() -> None:
    with pytest.raises(InvalidValueError, match="no probabilities"):
        fitted("values").to_torch("logits")
    with pytest.raises(InvalidValueError, match="Did you mean 'logits'"):
        fitted().to_torch("logit")


@pytest.mark.parametrize("output", [None, "softmax"])
def test_calibrated_probabilities(output: str | None) -> None:
    mlp = fitted() if output is None else of_output("labels", output)
    mlp.calibrate(networks.data() / (1 if output is None else 30), networks.targets("labels"))
    assert mlp.calibration is not None
    assert mlp.calibration.temperature != 1
    X = inputs(mlp) / (1 if output is None else 30)
    X = X.astype("float32")
    assert_same(run(mlp.to_torch(), X), mlp, X)


def test_pixels_are_bytes() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (30, 5)).astype("uint8"), rng.integers(0, 3, 30)
    mlp = xpmlp.MLP([5, 8, 3], backend="numpy", seed=0)
    mlp.fit(X, y, epochs=1)
    assert_same(run(mlp.to_torch(), X), mlp, X)


def test_limits_of_values() -> None:
    from dataclasses import replace

    mlp = fitted("two values")
    low, high = np.array([0.0, 1.0]), np.array([0.5, 3.0])
    mlp.scaling = replace(mlp.scaling, target_low=low, target_high=high)
    assert_same(run(mlp.to_torch(), inputs(mlp)), mlp, inputs(mlp))


def test_pytorch_trains_it_as_we_do() -> None:
    """Gradients of the modules are those of the model: batch normalization in training, too."""
    mlp = fitted("labels", "tanh", scaling=None, normalization="batch", dtype="float64")
    network = mlp.to_torch("logits").train()
    X, y = torch.tensor(networks.data()), torch.tensor(networks.targets("labels"))
    nn.functional.cross_entropy(network(X), y).backward()
    with torch.no_grad():
        for p in network.parameters():
            p -= 0.1 * p.grad
    mlp.fit(X, y, epochs=1, batch_size=None, optimizer=xpmlp.SGD(0.1), shuffle=False)
    assert_close(network[0].weight.detach().numpy().T, mlp.parameters["dense1.W"], atol=1e-12)
    assert_close(network[1].running_var.numpy(), mlp.state_dict()["norm1.var"], atol=1e-12)


def test_it_can_be_saved_and_pickled() -> None:
    mlp = fitted("quantiles", "exp", residual=True, initializer=networks.small)
    network, X = mlp.to_torch(), inputs(mlp)
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other = fitted("quantiles", "exp", residual=True, initializer=networks.small, seed=9).to_torch()
    other.load_state_dict(torch.load(file))
    assert_same(run(other, X), mlp, X)
    assert_same(run(pickle.loads(pickle.dumps(network)), X), mlp, X)


@pytest.mark.parametrize("name", ["numpy", "torch"])
def test_memory_is_shared_if_asked_for(name: str) -> None:
    mlp = fitted(backend=make_backend(name), scaling=None)
    own, shared = mlp.to_torch(), mlp.to_torch(copy=False)
    with torch.no_grad():
        shared[0].weight += 1.0
        own[0].bias += 1.0
    assert_close(mlp.parameters["dense1.W"], shared[0].weight.detach().numpy().T)
    assert (mlp.parameters["dense1.b"] != own[0].bias.detach().numpy()).all()


def test_memory_that_cannot_be_shared_is_an_error() -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    assert jax
    mlp = fitted().copy(backend="jax")
    assert_same(run(mlp.to_torch(), inputs(mlp)), mlp, inputs(mlp))
    with pytest.raises(InvalidValueError, match="expected one on 'torch', 'numpy' or 'cupy'"):
        mlp.to_torch(copy=False)


@pytest.mark.parametrize(
    ("mlp", "said"),
    [
        ({"ensemble": 2}, r"pass one of them: mlp.member\(0\)"),
        ({"embedding": xpmlp.Embedding("pbld")}, "has an embedding"),
        ({"activation": (lambda xp, z: 2 * z, lambda xp, z: 0 * z + 2)}, "is a custom one"),
    ],
)
def test_what_pytorch_has_no_modules_for_is_refused(mlp: dict[str, Any], said: str) -> None:
    made = xpmlp.MLP([5, 4, 4, 3], targets="labels", backend="numpy", **mlp)
    with pytest.raises(InvalidValueError, match=said):
        made.to_torch()
    if "ensemble" in mlp:
        X = inputs(made)
        assert_same(run(made.member(1).to_torch(), X), made.member(1), X)


def test_custom_layers_are_refused_by_name() -> None:
    from xpmlp.nn.normalization import layer_norm

    def mine(name: str, units: int) -> Any:
        return layer_norm(name, units)

    made = xpmlp.MLP([5, 4, 3], normalization=mine, targets="labels", backend="numpy")
    with pytest.raises(InvalidValueError, match="custom layer 'mine'"):
        made.to_torch()


def test_without_pytorch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    mlp, network = fitted(), nn.Sequential(nn.Linear(2, 2))
    monkeypatch.setitem(sys.modules, "torch", None)
    for call in (mlp.to_torch, lambda: xpmlp.MLP.from_torch(network)):
        with pytest.raises(MissingExtraError, match=r"pip install 'xpmlp\[torch\]'"):
            call()


# Back


ACTIVATIONS = (
    nn.Sigmoid(), nn.Tanh(), nn.ReLU(), nn.LeakyReLU(), nn.ELU(), nn.SELU(), nn.GELU(),
    nn.GELU("tanh"), nn.Softplus(), nn.SiLU(), nn.Mish(), nn.Softmax(dim=1), nn.Identity(),
)  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_networks_of_pytorch_come_in(activation: Any, norm: str | None, backend: Any) -> None:
    torch.manual_seed(0)
    made = {"batch": nn.BatchNorm1d(8, eps=1e-3), "layer": nn.LayerNorm(8)}
    block = [*([made[norm]] if norm else []), activation, nn.Dropout(0.25)]
    layers = nn.Flatten(), nn.Linear(5, 8), *block, nn.Linear(8, 3), nn.Softmax(dim=-1)
    network, X = nn.Sequential(*layers), inputs(fitted())
    with torch.no_grad():
        network(torch.tensor(networks.data(), dtype=torch.float32))  # running statistics
    network.eval()
    mlp = xpmlp.MLP.from_torch(network, backend=backend)
    assert mlp.network.architecture.dropout == (0.25,)
    assert_close(mlp.predict_proba(X), run(network, X), atol=1e-6)


def test_what_comes_back_is_the_same() -> None:
    for kind in ("labels", "multilabel"):
        for norm in (None, "batch", "layer"):
            mlp = fitted(kind, scaling=None, normalization=norm, dtype="float64", input_dropout=0.5)
            again = xpmlp.MLP.from_torch(mlp.to_torch(), backend="numpy")
            assert again.dtype == "float64"
            assert again.task.kind == kind
            assert again.network.architecture.input_dropout == 0.5
            for name, value in mlp.state_dict().items():
                assert_close(again.state_dict()[name], value, atol=1e-15)


def test_logits_and_values_need_targets() -> None:
    network = nn.Sequential(nn.Linear(5, 4, bias=False), nn.Linear(4, 1), nn.Tanh())
    mlp = xpmlp.MLP.from_torch(network, targets="values", backend="numpy")
    assert mlp.network.architecture.activations[0].name == "identity"
    X = inputs(fitted())
    assert_close(mlp.predict(X), run(network, X)[:, 0], atol=1e-6)
    mlp = xpmlp.MLP.from_torch(nn.Sequential(nn.Linear(5, 1), nn.Sigmoid()), backend="numpy")
    assert mlp.task.kind == "binary"
    with pytest.raises(InvalidValueError, match="not been trained"):
        xpmlp.MLP.from_torch(nn.Sequential(nn.Linear(5, 3)), backend="numpy").predict(X)


def test_normalizations_without_parameters() -> None:
    for norm in (nn.LayerNorm(4, elementwise_affine=False), nn.BatchNorm1d(4, affine=False)):
        network = nn.Sequential(nn.Linear(5, 4), norm, nn.Linear(4, 1)).eval()
        mlp = xpmlp.MLP.from_torch(network, targets="values", backend="numpy")
        X = inputs(fitted())
        assert_close(mlp.predict(X), run(network, X)[:, 0], atol=1e-5)


LINEAR = nn.Linear(5, 5)


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([nn.Conv1d(1, 2, 3)], r"module 0, Conv1d"),
        ([LINEAR, nn.ReLU(), nn.BatchNorm1d(5)], "module 2, BatchNorm1d"),
        ([LINEAR, nn.LayerNorm(5), nn.BatchNorm1d(5)], "module 2, BatchNorm1d"),
        ([LINEAR, nn.ReLU(), nn.Tanh()], "module 2, Tanh"),
        ([LINEAR, nn.LeakyReLU(0.2)], r"module 1, LeakyReLU\(negative_slope=0.2\)"),
        ([LINEAR, nn.ELU(2.0)], "module 1, ELU"),
        ([LINEAR, nn.Softmax(dim=0)], "module 1, Softmax"),
        ([LINEAR, nn.Dropout(), nn.Dropout()], "module 2, Dropout"),
        ([LINEAR, nn.Flatten()], "module 1, Flatten"),
        ([LINEAR, nn.Dropout()], "after the last Linear"),
        ([LINEAR, nn.LayerNorm(5)], "after the last Linear"),
        ([LINEAR, nn.LayerNorm(5), LINEAR, LINEAR], "expected the same in all of them"),
        ([LINEAR, nn.LayerNorm(5, eps=0.1), LINEAR], "eps=1e-05"),
        ([LINEAR, nn.LayerNorm((2, 5)), LINEAR], "expected 5 features"),
        ([LINEAR, nn.BatchNorm1d(5, track_running_stats=False), LINEAR], "running statistics"),
        ([], "found no Linear"),
    ],
)
def test_other_modules_are_refused_by_name(layers: list[Any], said: str) -> None:
    with pytest.raises(InvalidValueError, match=said):
        xpmlp.MLP.from_torch(nn.Sequential(*layers))


def test_other_types_are_refused() -> None:
    with pytest.raises(InvalidTypeError, match=r"found Linear; expected a torch.nn.Sequential"):
        xpmlp.MLP.from_torch(nn.Linear(2, 3))
    with pytest.raises(InvalidTypeError, match=r"in torch.bfloat16; expected float32 or float64"):
        xpmlp.MLP.from_torch(nn.Sequential(nn.Linear(2, 3, dtype=torch.bfloat16)))
