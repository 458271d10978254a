"""Networks for tables against PyTorch's autograd: embeddings, scale, NTK, mixed activations."""

from math import pi
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, make_backend
from oracle import TORCH_ACTIVATIONS, torch

import xpmlp
from xpmlp.errors import InvalidTypeError, InvalidValueError
from xpmlp.nn.layers import Pass
from xpmlp.nn.network import Network
from xpmlp.nn.numeric import BINS
from xpmlp.nn.tabular import smooth_clip
from xpmlp.training.prepare import settle

BAR = {"float64": 1e-12, "float32": 2e-5}
ROWS = 9
SIZES = [6, 7, 7, 3]
CODES = {2: 4, 4: 5}

EMBEDDINGS: dict[str, Any] = {
    "none": None,
    "pbld": xpmlp.Embedding("pbld", categories=CODES, size=3, frequencies=5),
    "pbld of some": xpmlp.Embedding("pbld", columns=[5, 1], frequencies=4, outputs=2),
    "piecewise": xpmlp.Embedding("piecewise", columns=[0, 3, 5], categories=CODES, bins=4),
    "categories": xpmlp.Embedding(None, categories=CODES),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scale": {"input_scale": True},
    "ntk": {"parametrization": "ntk"},
    "mix": {"activation_mix": True},
    "all": {"input_scale": True, "parametrization": "ntk", "activation_mix": True},
    "all, residual, norm": {
        "input_scale": True,
        "parametrization": "ntk",
        "activation_mix": True,
        "residual": True,
        "normalization": "layer",
    },
}


def problem() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((ROWS, SIZES[0]))
    for column, codes in CODES.items():
        X[:, column] = rng.integers(0, codes, ROWS)
    return X, rng.standard_normal((ROWS, SIZES[-1]))


def network(backend: Any, dtype: str, activation: str, embedding: Any, **options: Any) -> xpmlp.MLP:
    """A network of which every parameter is a random number, fitted to the inputs."""
    options |= {"embedding": embedding, "backend": backend, "dtype": dtype, "targets": "values"}
    mlp = xpmlp.MLP(SIZES, activation, scaling=None, seed=1, **options)
    X, y = problem()
    settle(mlp, X.astype(dtype), y.astype(dtype))
    rng = np.random.default_rng(5)
    values = {n: rng.uniform(-0.8, 0.8, v.shape) for n, v in mlp.parameters.items()}
    mlp.load_state_dict(mlp.state_dict() | values)
    return mlp


def linear(mlp: xpmlp.MLP, p: Any, h: Any, i: int) -> Any:
    root = h.shape[1] ** 0.5 if mlp.network.architecture.parametrization == "ntk" else 1.0
    return h @ p[f"dense{i}.W"] / root + p[f"dense{i}.b"]


def embedded(spec: Any, p: Any, x: Any) -> Any:
    """The embedding with PyTorch's own functions, one input at a time."""
    if spec is None:
        return x
    coded = {c.place for c in spec.categories}
    numbers = [] if spec.numbers is None else spec.columns
    numbers = [j for j in range(x.shape[1]) if j not in coded] if numbers is None else numbers
    kept = [j for j in range(x.shape[1]) if j not in coded]
    kept = [j for j in kept if j not in numbers] if spec.numbers == "piecewise" else kept
    parts = [x[:, kept]]
    for k, j in enumerate(numbers):
        if spec.numbers == "pbld":
            theta = 2 * pi * x[:, j, None] * p["embedding.frequency"][k] + p["embedding.phase"][k]
            parts.append(torch.cos(theta) @ p["embedding.V"][k] + p["embedding.c"][k])
        else:
            edge, slope, low, high = (p[name][k] for name in BINS)
            share = torch.clamp((x[:, j, None] - edge) * slope, low, high)
            parts.append(share @ p["embedding.V"][k])
    parts += [p[f"category{c.place}.E"][x[:, c.place].long()] for c in spec.categories]
    return torch.cat(parts, dim=1)


def expected_output(mlp: xpmlp.MLP, p: Any, x: Any) -> Any:
    a = mlp.network.architecture
    h = embedded(a.embedding, p, x)
    h = h * p["scale.g"] if a.input_scale else h
    for i, f in enumerate(a.activations, start=1):
        before, z = h, linear(mlp, p, h, i)
        if a.normalization:
            z = torch.nn.functional.layer_norm(z, z.shape[1:], p[f"norm{i}.g"], p[f"norm{i}.b"])
        h = TORCH_ACTIVATIONS[f.name](z)
        h = p[f"mix{i}.a"] * h + (1 - p[f"mix{i}.a"]) * z if a.activation_mix else h
        h = before + h if a.residual and before.shape == h.shape else h
    return linear(mlp, p, h, len(a.sizes) - 1)


@pytest.mark.parametrize("dtype", BAR)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("embedding", EMBEDDINGS)
@pytest.mark.sampled(7)
def test_outputs_and_gradients(backend: Any, embedding: str, options: str, dtype: str) -> None:
    """Of every parameter, and of the inputs."""
    for activation in ("mish", "selu", "tanh"):
        mlp = network(backend, dtype, activation, EMBEDDINGS[embedding], **OPTIONS[options])
        X, dy = (a.astype(dtype) for a in problem())
        X = X + np.array(0.01 * ~np.isin(np.arange(SIZES[0]), [*CODES]), dtype)  # off the edges
        flat, statistics = mlp.weights.flat, mlp.weights.statistics
        run = Pass(training=True, statistics=mlp.network.statistics.views(backend.xp, statistics))
        views = mlp.network.layout.views(backend.xp, flat)
        z, backward = mlp.network.body.forward(backend.ops, views, backend.asarray(X), run)
        dx, grads = backward(backend.asarray(dy))
        assert set(grads) == set(mlp.parameters)

        p = {n: torch.tensor(v.astype(float)) for n, v in mlp.state_dict().items()}
        for name in mlp.parameters:
            p[name].requires_grad_()
        x = torch.tensor(X.astype(float), requires_grad=True)
        y = expected_output(mlp, p, x)
        (y * torch.tensor(dy.astype(float))).sum().backward()
        bar = BAR[dtype]
        assert_close(backend.to_numpy(z), y.detach().numpy(), of_max=bar)
        assert_close(backend.to_numpy(dx), x.grad.numpy(), of_max=bar)
        for name, grad in grads.items():
            assert_close(backend.to_numpy(grad), p[name].grad.numpy(), of_max=bar, atol=1e-14)


@pytest.mark.parametrize("options", ["scale", "all, residual, norm"])
@pytest.mark.parametrize("embedding", EMBEDDINGS)
@pytest.mark.sampled(3)
def test_finite_differences(embedding: str, options: str) -> None:
    mlp = network(
        make_backend("numpy"), "float64", "mish", EMBEDDINGS[embedding], **OPTIONS[options]
    )
    assert xpmlp.check_gradient(mlp, *problem(), points=120).error <= 1e-6


def test_clipping_leaves_small_numbers_and_bounds_large_ones(backend: Any) -> None:
    x = np.array([[-1e300, -3.0, -1e-3, 0.0, 0.5, 4.0, 1e300]])
    x = np.where(np.abs(x) > 1e30, np.sign(x) * np.finfo(np.float32).max, x)
    for dtype, bar in (("float64", 1e-15), ("float32", 1e-6)):
        found = backend.to_numpy(smooth_clip(backend.xp, backend.asarray(x, dtype)))
        held = np.clip(x, -1e18, 1e18)
        assert_close(found, held / np.sqrt(1 + (held / 3) ** 2), rtol=bar)
        assert np.all(np.abs(found) <= 3 * (1 + bar))
    share = backend.asarray(np.array([0.0, 1 / 9]))
    two = backend.asarray(np.array([[700.0, 3.0]]))
    found = backend.to_numpy(smooth_clip(backend.xp, two, share))
    assert_close(found, [[700.0, 3.0 / np.sqrt(2.0)]], rtol=1e-15)


def test_ntk_starts_as_the_same_function(rng: np.random.Generator) -> None:
    """With any initializer; "auto" is N(0, 1)."""
    X = rng.standard_normal((20, 9))
    for initializer in ("he", "glorot_normal", "uniform"):
        plain, ntk = (
            xpmlp.MLP(
                [9, 40, 30, 2],
                initializer=initializer,
                parametrization=name,
                targets="values",
                dtype="float64",
                seed=3,
                backend="numpy",
            )
            for name in ("standard", "ntk")
        )
        assert_close(ntk.predict(X), plain.predict(X), of_max=1e-12)
    W = xpmlp.MLP([400, 500, 2], parametrization="ntk", seed=0, backend="numpy").parameters
    assert abs(float(W["dense1.W"].std()) - 1.0) < 0.01
    assert abs(float(W["dense2.W"].std()) - 1.0) < 0.1


def test_first_biases_and_a_last_layer_of_zeros() -> None:
    def model(**options: Any) -> dict[str, np.ndarray]:
        return xpmlp.MLP([300, 2000, 50, 3], seed=2, backend="numpy", **options).parameters

    p = model(bias_initializer="normal", zero_last=True)
    assert abs(p["dense1.b"].mean()) < 0.1
    assert abs(p["dense1.b"].std() - 1.0) < 0.1
    assert not np.array_equal(p["dense1.b"][:50], p["dense2.b"])
    assert not p["dense3.W"].any()
    assert p["dense2.W"].any()
    uniform = model(bias_initializer="uniform")["dense1.b"]
    assert 0.95 < np.abs(uniform).max() * np.sqrt(300) <= 1.0
    custom = model(bias_initializer=lambda rng, n_in, n_out: np.full(n_out, n_in))
    assert custom["dense2.b"].tolist() == [2000.0] * 50
    # What was there before is drawn as before.
    assert np.array_equal(p["dense1.W"], model()["dense1.W"])
    assert not model()["dense1.b"].any()


def test_first_values_are_those_of_the_publications() -> None:
    spec = xpmlp.Embedding("pbld", categories={400: 300}, sigma=0.1)
    p = xpmlp.MLP([401, 3], embedding=spec, seed=2, backend="numpy", input_scale=True).parameters
    assert abs(p["embedding.frequency"].std() - 0.1) < 0.005
    assert 0.99 * pi < np.abs(p["embedding.phase"]).max() <= pi
    assert 0.99 < np.abs(p["embedding.V"]).max() * 4 <= 1.0
    assert abs(p["category400.E"].std() - 1.0) < 0.05
    assert (p["scale.g"] == 1).all()
    spec = xpmlp.Embedding("piecewise", outputs=16)
    V = xpmlp.MLP([400, 3], embedding=spec, seed=2, backend="numpy").parameters["embedding.V"]
    assert V.shape == (400, 50, 16)
    assert not V[:, :-2].any()
    assert 0.99 < np.abs(V[:, -2:]).max() * 4 <= 1.0


def test_the_layers_of_an_embedding_are_its_width() -> None:
    for spec in EMBEDDINGS.values():
        mlp = xpmlp.MLP(SIZES, embedding=spec, backend="numpy", input_scale=True)
        width = SIZES[0] if spec is None else spec.width(SIZES[0])
        assert mlp.parameters["dense1.W"].shape == (width, SIZES[1])
        assert mlp.parameters["scale.g"].shape == (width,)
        assert f"(n, {width})" in mlp.summary()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: xpmlp.Embedding("plr"), InvalidValueError, "numbers.*'plr'"),
        (lambda: xpmlp.Embedding(columns=[1.5]), InvalidValueError, "columns: found 1.5"),
        (lambda: xpmlp.Embedding(columns=3), InvalidTypeError, "indices of inputs"),
        (lambda: xpmlp.Embedding(categories=[3]), InvalidTypeError, "number of codes"),
        (lambda: xpmlp.Embedding(categories={0: 0}), InvalidValueError, "categories: found 0"),
        (lambda: xpmlp.Embedding(columns=[2], categories={2: 9}), InvalidValueError, "input 2"),
        (lambda: xpmlp.Embedding(outputs=1), InvalidValueError, "outputs: found 1; .* of 2 or"),
        (lambda: xpmlp.Embedding(bins=True), InvalidValueError, "bins: found True"),
        (lambda: xpmlp.Embedding(sigma=0), InvalidValueError, "sigma: found 0"),
        (lambda: Network.of(ARGUMENTS | {"embedding": "pbld"}), InvalidTypeError, "xpmlp.Embed"),
        (
            lambda: Network.of(ARGUMENTS | {"embedding": xpmlp.Embedding(columns=[6])}),
            InvalidValueError,
            "found input 6; the network has 6, 0 to 5",
        ),
        (
            lambda: Network.of(ARGUMENTS | {"parametrization": "ntkk"}),
            InvalidValueError,
            "Did you mean 'ntk'",
        ),
        (lambda: Network.of(ARGUMENTS | {"input_scale": 1}), InvalidTypeError, "input_scale"),
        (
            lambda: Network.of(ARGUMENTS | {"bias_initializer": "he"}),
            InvalidValueError,
            "bias_initializer.*'he'",
        ),
        (lambda: Network.of(ARGUMENTS | {"bias_initializer": 3}), InvalidTypeError, "found 3"),
        (
            lambda: Network.of(
                ARGUMENTS | {"bias_initializer": lambda rng, n_in, n_out: np.ones(n_in)}
            ).initial_values(0),
            InvalidValueError,
            r"found shape \(6,\); expected \(7,\)",
        ),
    ],
)
def test_what_cannot_work_is_refused(make: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


ARGUMENTS = xpmlp.MLP(SIZES, backend="numpy").arguments
