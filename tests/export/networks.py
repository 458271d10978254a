"""Networks of every kind, for the tests of exports."""

from functools import cache
from itertools import product
from typing import Any

import numpy as np

import xpmlp
from xpmlp.nn.activations import ACTIVATIONS

ROWS = 40
KINDS: dict[str, tuple[str | None, int]] = {
    "labels": (None, 3), "binary": (None, 1), "multilabel": (None, 3), "one_hot": (None, 3),
    "labels, mse": ("mse", 3), "values": (None, 1), "two values": (None, 2),
    "gaussian": ("gaussian", 2), "quantiles": ("quantiles", 3), "poisson": ("poisson", 1),
}  # fmt: skip
"""Loss and outputs, by what is learned."""

MEMBERS: tuple[dict[str, Any], ...] = (
    {}, {}, {}, {"ensemble": 3}, {"ensemble": 3, "sharing": "mini"},
    {"ensemble": 3, "sharing": "full"},
)  # fmt: skip
PIECES: tuple[dict[str, Any], ...] = (
    {}, {}, {"residual": True}, {"input_scale": True, "activation_mix": True},
    {"parametrization": "ntk"}, {"bias": False}, {"dropout": 0.2, "input_dropout": 0.1},
)  # fmt: skip
SCALINGS = (None, "standard", "robust")


@cache
def data() -> np.ndarray:
    """Numbers, some of them large, and a category in column 3."""
    X = np.random.default_rng(5).standard_normal((ROWS, 5)) * [1, 3, 1, 1, 2] + [0, 20, 0, 0, 1]
    X[:, 3] = np.arange(ROWS) % 4
    return X


@cache
def targets(kind: str) -> np.ndarray:
    rng, X = np.random.default_rng(6), data()
    if kind.startswith("labels"):
        return rng.integers(0, 3, ROWS)
    if kind == "binary":
        return rng.integers(0, 2, ROWS)
    if kind == "one_hot":
        return np.eye(3)[rng.integers(0, 3, ROWS)]
    if kind == "multilabel":
        return np.append(rng.integers(0, 2, (ROWS - 1, 3)), [[1, 1, 0]], axis=0)
    if kind == "two values":
        return X[:, :2] * 2 + 1
    return np.abs(X[:, 0]).round() if kind == "poisson" else X[:, 0] * 3 + 7


def fitted(
    kind: str = "labels", activation: str = "relu", backend: Any = "numpy", **more: Any
) -> xpmlp.MLP:
    """A network that was trained a little."""
    loss, outputs = KINDS[kind]
    more = {"scaling": "standard", "seed": 3} | more
    mlp = xpmlp.MLP([5, 8, 8, outputs], activation, loss=loss, backend=backend, **more)
    fit = {"epochs": 1, "optimizer": xpmlp.Adam(1e-3), "batch_size": 20}
    mlp.fit(data(), targets(kind), **fit)
    return mlp


def embeddings() -> list[Any]:
    categories = {3: 4}
    return [
        xpmlp.Embedding("pbld", categories=categories, frequencies=3),
        xpmlp.Embedding("piecewise", columns=[0, 2], categories=categories, bins=4, outputs=3),
        xpmlp.Embedding(None, categories=categories, size=3),
    ]


def small(rng: np.random.Generator, n_in: int, n_out: int) -> np.ndarray:
    return rng.standard_normal((n_in, n_out)) / (5 * n_in)


def cases(without: tuple[str, ...] = ()) -> list[Any]:
    """Settings of networks: each activation with each kind of targets, the rest in turn."""
    found = []
    norms = (None, "layer", "batch")
    for k, (name, kind) in enumerate(product(ACTIVATIONS, KINDS)):
        settings = {
            "normalization": norms[k % 3],
            "scaling": SCALINGS[k // 3 % 3],
            **MEMBERS[k % 6],
            **PIECES[k % 7],
        }
        if k % 4 == 0:
            settings["embedding"] = embeddings()[k // 4 % 3]
            settings["scaling"] = settings["scaling"] or "standard"  # large angles lose digits
        if name == "exp":  # of which two in a row overflow soon
            settings |= {"initializer": small, "scaling": "standard"}
        if kind == "poisson":  # rates are exp(z): the rounding of a large z is not small
            settings |= {"scaling": "standard", "zero_last": True}
        settings = {n: v for n, v in settings.items() if n not in without}
        if "ensemble" in without:
            settings.pop("sharing", None)
        found.append((f"{name}-{kind}-{k}", name, kind, settings))
    return found


def varied() -> list[tuple[str, str, dict[str, Any]]]:
    """Few networks that have every piece between them: kind, activation, settings."""
    pieces = {"input_scale": True, "activation_mix": True, "parametrization": "ntk"}
    periodic, piecewise, categories = embeddings()
    return [
        ("labels", "softmax", {"ensemble": 2, "embedding": periodic, "normalization": "batch"}),
        ("quantiles", "selu", {"ensemble": 2, "sharing": "full", "embedding": piecewise, **pieces}),
        ("binary", "mish", {"embedding": categories, "bias": False, "normalization": "batch"}),
        ("values", "swish", {"ensemble": 2, "sharing": "mini", "scaling": "robust"}),
        ("gaussian", "sign", {"ensemble": 2, "normalization": "layer", "residual": True}),
        ("multilabel", "binary_step", {"scaling": None}),
        ("poisson", "gelu", {"ensemble": 2, "sharing": "full", "normalization": "batch"}),
    ]


def product_of_all() -> list[tuple[str, str, dict[str, Any], bool]]:
    """Each activation with each kind of target, normalization, way of skipping and of several
    networks, without and with a table: activation, kind, settings, whether there is a table.

    Their order is drawn, so that the first few are of every sort.
    """
    norms, skips = ((None, "layer", "batch"), (False, True))
    axes = (ACTIVATIONS, KINDS, norms, skips, MEMBERS[2:], (False, True))
    found = []
    for name, kind, normalization, residual, members, table in product(*axes):
        settings = {"normalization": normalization, "residual": residual, **members}
        if name == "exp":  # of which two in a row overflow soon
            settings |= {"initializer": small}
        if kind == "poisson":  # rates are exp(z): the rounding of a large z is not small
            settings |= {"zero_last": True}
        found.append((name, kind, settings, table))
    return [found[i] for i in np.random.default_rng(22).permutation(len(found))]


def with_table(kind: str, activation: str, **more: Any) -> xpmlp.MLP:
    """A network that was trained a little, of a table of numbers and texts."""
    X, (loss, outputs) = people(ROWS), KINDS[kind]
    table = xpmlp.Table(categorical=["zone"]).fit(X)
    sizes, settings = [table.width, 8, 8, outputs], {"backend": "numpy", "seed": 3} | more
    mlp = xpmlp.MLP(sizes, activation, loss=loss, table=table, **settings)
    mlp.fit(X, targets(kind), epochs=1, optimizer=xpmlp.Adam(1e-3), batch_size=20)
    return mlp


def inputs(mlp: xpmlp.MLP) -> np.ndarray:
    """What it is compared on: other rows than those of the fit, in its dtype."""
    X = data()[:11].copy()
    X[:, :3] += 0.25
    return X.astype("uint8" if mlp.scaling.pixels else mlp.dtype)


def expected(mlp: xpmlp.MLP, X: Any) -> np.ndarray:
    """What an export has to predict, shape (n, outputs)."""
    made = mlp.predict(X) if mlp.task.kind == "values" else mlp.predict_proba(X)
    return np.asarray(made).reshape(len(made), -1)


def assert_same(found: Any, mlp: xpmlp.MLP, X: Any, float64: float = 1e-12) -> None:
    """Compare with the model's predictions, by their largest magnitude where that is above 1."""
    wanted = expected(mlp, X)
    found = np.asarray(found, dtype=np.float64).reshape(wanted.shape)
    bound = (1e-6 if mlp.dtype == "float32" else float64) * max(1.0, np.abs(wanted).max())
    assert np.isfinite(wanted).all()
    assert np.abs(found - wanted).max() <= bound


def people(n: int = 60) -> dict[str, list[Any]]:
    """A table with all kinds of columns but dates, some cells missing."""
    rng = np.random.default_rng(8)
    ages = [None if i % 7 == 0 else float(a) for i, a in enumerate(rng.normal(40, 10, n).round(1))]
    towns = [("Rome", "Oslo", "Bonn", None, "Graz, Süd")[i] for i in rng.integers(0, 5, n)]
    streets = [f"street {i}" for i in rng.integers(0, 14, n)]
    return {
        "age": ages,
        "town": towns,
        "member": [("yes", "no")[i] for i in rng.integers(0, 2, n)],
        "street": streets,
        "zone": [int(i) for i in rng.integers(1, 4, n)],
        "rooms": [float(i) for i in rng.integers(1, 9, n)],
        "row_id": list(range(n)),
    }


def of_people(scaling: str | None = "standard", codes: bool = False, **more: Any) -> xpmlp.MLP:
    """A network of that table."""
    X = people()
    table = xpmlp.Table(categorical=["zone"], scaling=scaling, codes=codes).fit(X)
    embedding = None
    if codes:
        embedding = xpmlp.Embedding(
            "piecewise", columns=table.numbers, categories=table.categories, bins=4
        )
    sizes = [table.width, 8, 2]
    mlp = xpmlp.MLP(sizes, table=table, embedding=embedding, backend="numpy", seed=1, **more)
    mlp.fit(X, (np.array(X["rooms"]) > 4).astype(int), epochs=2)
    mlp.metadata = {"classes": ["few", 'ma"ny']}
    return mlp


def strangers() -> dict[str, list[Any]]:
    """Other rows: with what training has not seen, and nothing."""
    X = {name: cells[:6] for name, cells in people().items()}
    X["age"] = [None, 41.5, float("nan"), 12.0, 99.0, 3.0]
    X["town"] = ["Berlin", None, "Oslo", "Rome", "NA", "Graz, Süd"]
    X["street"] = ["elsewhere", "street 1", "street 2", "street 3", "street 13", "street 1"]
    return X
