"""Recipes: the published numbers, and a training run compared with PyTorch's autograd and Adam."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp.errors import InvalidValueError
from xpmlp.nn.layers import Pass
from xpmlp.training.recipes import Recipe, recipe

PUBLISHED = {
    # Activation, highest rate, smoothing, dropout, weight decay, clamped (Holzmüller et al. 2024).
    ("fast", 3): ("selu", 0.04, 0.1, 0.0, 0.0, False),
    ("fast", 0): ("mish", 0.07, 0.0, 0.0, 0.0, False),
    ("best", 3): ("selu", 0.04, 0.1, 0.15, 0.02, False),
    ("best", 0): ("mish", 0.2, 0.0, 0.15, 0.02, True),
}


def numbers(n: int = 40) -> Any:
    rng = np.random.default_rng(3)
    return {"a": rng.normal(size=n), "b": rng.exponential(size=n), "c": rng.normal(5, 2, n)}


def network(made: Recipe, X: Any, **options: Any) -> tuple[xpmlp.MLP, Any]:
    table = made.table().fit(X)
    return xpmlp.MLP(**made.network(table), **{"seed": 0} | options), table.transform(X)


@pytest.mark.parametrize(("name", "classes"), PUBLISHED)
def test_the_numbers_are_those_published(name: str, classes: int) -> None:
    made = recipe(name, classes)
    found = (
        *(made.activation, made.learning_rate, made.label_smoothing, made.dropout),
        *(made.weight_decay, made.clamps),
    )
    assert found == PUBLISHED[name, classes]
    assert (made.hidden, made.epochs, made.batch_size) == ((256, 256, 256), 256, 256)


def test_labels_are_not_smoothed_where_probabilities_count() -> None:
    smoothing = {m: recipe("fast", 2, m).label_smoothing for m in ("accuracy", "log_loss", "auc")}
    assert smoothing == {"accuracy": 0.1, "log_loss": 0.0, "auc": 0.0}


@pytest.mark.parametrize("given", [("slow", 2), ("fast", -1)])
def test_what_is_no_recipe_is_refused(given: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"fast|expected 0"):
        recipe(*given)


def test_large_categories_are_codes_for_an_embedding_of_eight() -> None:
    X = {"town": [f"town {k % 12}" for k in range(60)], "sex": ["f", "m"] * 30}
    made = recipe("best", 2)
    table = made.table(xpmlp.Table(categorical=["town"])).fit(X)
    arguments = made.network(table)
    mlp = xpmlp.MLP(**arguments, backend="numpy", seed=0)
    assert table.categories == {0: 13}
    assert mlp.parameters["category0.E"].shape == (13, 8)
    assert arguments["embedding"].numbers is None
    assert recipe("fast", 2).table().fit(X).categories == {}


def test_without_numbers_and_codes_there_is_no_embedding() -> None:
    made = recipe("best", 2)
    table = made.table().fit({"sex": ["f", "m"] * 9})
    assert made.network(table)["embedding"] is None


def test_first_biases_and_the_last_layer_of_fast() -> None:
    made = replace(recipe("fast", 0), hidden=(64, 64))
    mlp, _ = network(made, numbers(), backend="numpy")
    made.prepare(mlp, np.zeros(40))
    values = mlp.parameters
    assert not values["dense3.W"].any()
    assert not values["dense3.b"].any()
    assert 0.7 < values["dense2.b"].std() < 1.3
    assert 0.9 < values["dense2.W"].std() < 1.1


@pytest.mark.parametrize("sharing", ["none", "mini", "full"])
def test_first_weights_of_an_ensemble(sharing: str) -> None:
    """Networks that share nothing have those that each has alone; what others make varies by 1."""
    made = replace(recipe("best", 3), hidden=(16, 8))
    y, still = np.arange(40) % 3, xpmlp.SGD(0.1, groups={"*": {"rate": 0}})

    def first(**options: Any) -> tuple[xpmlp.MLP, Any]:
        mlp, x = network(made, numbers(), backend="numpy", dtype="float64", **options)
        mlp.fit(x, y, epochs=1, optimizer=still)
        return mlp, x

    mlp, x = first(ensemble=3, sharing=sharing)
    if sharing == "none":
        alone, _ = first(seed=mlp.seeds[2])
        for name, value in alone.state_dict().items():
            np.testing.assert_array_equal(mlp.member(2).state_dict()[name], value)
        return
    values, h = mlp.state_dict(), x
    for layer in mlp.network.layers:
        h, _ = layer.forward(mlp.backend.ops, values, h, Pass(statistics=values))
        if f"{layer.name}.W" in layer.shapes:
            b = values[f"{layer.name}.b"]
            z = h - b if f"{layer.name}.b" in layer.shapes else h
            np.testing.assert_allclose(z.reshape(-1, z.shape[-1]).std(axis=0), 1.0, rtol=1e-6)
            assert (np.abs(b) < np.abs(z).max()).all()


def test_predicted_values_end_where_the_targets_do(backend: Any, tmp_path: Any) -> None:
    made = replace(recipe("best", 0), hidden=(8,))
    X = numbers()
    y = X["a"] * 10
    mlp, inputs = network(made, X, backend=backend)
    made.prepare(mlp, y)
    mlp.fit(inputs, y, epochs=3, optimizer=xpmlp.Adam(0.1))
    far = {name: 100 * values for name, values in X.items()}
    for model in (mlp, mlp.copy()):
        found = np.asarray(model.predict(far), np.float64)
        assert y.min() - 1e-5 <= found.min() <= found.max() <= y.max() + 1e-5
    mlp.save(tmp_path / "model.xpmlp")
    kept = xpmlp.load(tmp_path / "model.xpmlp", backend="numpy").scaling
    assert (kept.target_low, kept.target_high) == (y.min(), y.max())


class First(xpmlp.Callback):
    """The weights before the first step."""

    def on_train_begin(self, training: Any) -> None:
        parameters = training.mlp.parameters
        self.values = {n: np.asarray(v, np.float64) for n, v in parameters.items()}


def test_first_weights_of_best_come_from_the_data() -> None:
    made = replace(recipe("best", 3), hidden=(16, 8))
    mlp, X = network(made, numbers(), backend="numpy", dtype="float64")
    before, begin = mlp.parameters, First()
    mlp.fit(X, np.arange(40) % 3, epochs=1, callbacks=[begin])
    for name in ("dense1.W", "dense3.W", "dense1.b", "dense3.b"):
        assert not np.allclose(begin.values[name], before[name])
    assert np.array_equal(begin.values["scale.g"], np.ones(12))


def torch_run(made: Recipe, p: dict[str, Any], x: Any, y: Any, epochs: int, batch: int) -> Any:
    """Train the recipe with PyTorch: NTK, mixed activations, groups of rates and decays."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    p = {n: torch.tensor(v, dtype=torch.float64, requires_grad=True) for n, v in p.items()}
    act = {"selu": functional.selu, "mish": functional.mish}[made.activation]
    last = len(made.hidden) + 1

    def forward(x: Any) -> Any:
        if "embedding.V" in p:
            theta = 2 * math.pi * x[:, :, None] * p["embedding.frequency"] + p["embedding.phase"]
            e = torch.einsum("nmk,mko->nmo", torch.cos(theta), p["embedding.V"]) + p["embedding.c"]
            x = torch.cat([x, e.reshape(len(x), -1)], dim=1)
        h = x * p["scale.g"]
        for i in range(1, last + 1):
            z = h @ p[f"dense{i}.W"] / math.sqrt(h.shape[1]) + p[f"dense{i}.b"]
            share = p.get(f"mix{i}.a", torch.ones(()))
            h = z if i == last else z + share * (act(z) - z)
        return h

    def factor(name: str) -> float:
        if name == "scale.g":
            return 6.0
        return 0.1 if name.endswith((".b", ".a")) or name.startswith("embedding") else 1.0

    adam = torch.optim.Adam([{"params": [v], "name": n} for n, v in p.items()], betas=(0.9, 0.95))
    steps = len(x) // batch
    for k in range(epochs * steps):
        t = k / (epochs * steps)
        rate = made.learning_rate * 0.5 * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * t)))
        decay = made.weight_decay * (
            1.0 if t < 0.5 else 0.5 * (1 + math.cos(math.pi * (2 * t - 1)))
        )
        rows = slice(k % steps * batch, (k % steps + 1) * batch)
        z = forward(torch.tensor(x[rows]))
        if made.classes:
            target = torch.tensor(y[rows], dtype=torch.int64)
            loss = functional.cross_entropy(z, target, label_smoothing=made.label_smoothing)
        else:
            loss = 0.5 * functional.mse_loss(z[:, 0], torch.tensor(y[rows]))
        adam.zero_grad()
        loss.backward()
        for group in adam.param_groups:
            own = factor(group["name"])
            group["lr"] = rate * own
            held = 0.0 if group["name"].endswith(".b") else decay * own * own
            with torch.no_grad():
                group["params"][0].mul_(1 - rate * held)
        adam.step()
    return {name: value.detach().numpy() for name, value in p.items()}


@pytest.mark.parametrize(("name", "classes"), PUBLISHED)
@pytest.mark.sampled(2)
def test_a_training_run_is_that_of_pytorch(name: str, classes: int, backend: Any) -> None:
    made = replace(recipe(name, classes), hidden=(8, 6), dropout=0.0)
    X = numbers(32)
    y = np.arange(32) % classes if classes else (X["a"] - X["a"].mean()) / X["a"].std()
    mlp, x = network(made, X, backend=backend, dtype="float64")
    made.prepare(mlp, y)
    optimizer, begin = made.optimizer(mlp.parameters), First()
    options: Any = {"batch_size": 8, "shuffle": False, "callbacks": [begin]}
    mlp.fit(x, y, epochs=3, optimizer=optimizer, **options)
    first = begin.values
    expected = torch_run(made, first, x, y, epochs=3, batch=8)
    for parameter, value in mlp.parameters.items():
        np.testing.assert_allclose(value, expected[parameter], rtol=1e-6, atol=1e-8)
        assert not np.array_equal(value, first[parameter])


def test_sizes_follow_table_and_recipe() -> None:
    made = recipe("fast", 1)
    mlp, _ = network(made, numbers(), backend="numpy")
    assert list(pairwise(mlp.sizes)) == [(3, 256), (256, 256), (256, 256), (256, 2)]
    values = made.network(made.table().fit(numbers()))
    assert values["targets"] == "labels"
    assert recipe("fast", 0).network(made.table().fit(numbers()), values=3)["sizes"][-1] == 3
