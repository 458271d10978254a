"""``explain``: the slides' numbers in every format, and every claim against plain NumPy."""

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import test_worked_step as slides
from conftest import assert_close

import xpmlp
from xpmlp.errors import InvalidValueError, XpmlpError
from xpmlp.inspect.explain import Explanation, explain, explain_worked_step, worked_step
from xpmlp.inspect.explain.drawing import LETTER
from xpmlp.inspect.explain.notation import latex, markup
from xpmlp.nn.optimizers import OPTIMIZERS

SLIDES = {
    "X": [[1.76405235, 0.40015721]],
    "W1": slides.W1,
    "W2": slides.W2,
    "h1": slides.H1,
    "h2": slides.H2,
    "dLoss/dh2": slides.DLOSS_DH2,
    "dh2/dz2": slides.DH2_DZ2,
    "dz2/dW2": slides.H1,
    "dLoss/dW2": slides.DLOSS_DW2,
    "dz2/dh1": slides.W2,
    "dLoss/dh1": slides.DLOSS_DH1,
    "dh1/dz1": slides.DH1_DZ1,
    "dz1/dW1": [[1.76405235, 0.40015721]],
    "dLoss/dW1": slides.DLOSS_DW1,
    "W1*": slides.NEW_W1,
    "W2*": slides.NEW_W2,
}
X = np.array([[0.3, -1.2, 0.7], [1.1, 0.4, -0.6], [-0.8, 0.9, 0.2]])
LABELS = np.array([0, 2, 1])


def double(backend: Any) -> Any:
    if "float64" not in backend.capabilities:
        pytest.skip(f"{backend.name} has no float64")
    return backend


def network(backend: Any = "numpy", sizes: Any = (3, 4, 3), **options: Any) -> xpmlp.MLP:
    return xpmlp.MLP(sizes, **{"dtype": "float64", "seed": 3, **options}, backend=backend)


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"-?\d+\.\d{8}(?!\d)", text.replace("−", "-"))]


# The worked step


def test_every_number_of_the_slides(backend: Any) -> None:
    explanation = explain_worked_step(double(backend))
    for name, expected in SLIDES.items():
        assert_close(explanation[name].values, expected, **slides.PRINTED)
        assert explanation[name].shape == np.shape(expected)


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_every_format_prints_the_numbers_of_the_slides(backend: Any, form: str) -> None:
    explanation = explain_worked_step(double(backend))
    printed = set(numbers(getattr(explanation, form)()))
    for name, expected in SLIDES.items():
        for value in np.ravel(expected):
            assert round(float(value), 8) in printed, f"{name}: {value}"


def test_the_walk_is_that_of_the_slides() -> None:
    text = explain_worked_step().text()
    for line in (
        "z1 = X W1",
        "h1 = sigmoid(z1)",
        "dLoss/dW2 = dLoss/dh2 · dh2/dz2 · dz2/dW2",
        "dLoss/dW1 = dLoss/dh1 · dh1/dz1 · dz1/dW1",
        "dLoss/dh2 = −(y − h2)",
        "W1* = W1 − 0.001 dLoss/dW1",
    ):
        assert f"\n{line}" in text


def test_the_pieces_multiply_to_the_whole(backend: Any) -> None:
    e = explain(*worked_step(double(backend)))
    v = {name: q.values for name, q in e.quantities.items()}
    dz2 = v["dLoss/dh2"] * v["dh2/dz2"]
    assert_close(v["dLoss/dW2"], v["dz2/dW2"].T @ dz2, atol=1e-15)
    dz1 = (dz2 @ v["dz2/dh1"].T) * v["dh1/dz1"]
    assert_close(v["dLoss/dW1"], v["dz1/dW1"].T @ dz1, atol=1e-15)
    assert_close(v["W1*"], v["W1"] - 0.001 * v["dLoss/dW1"], atol=1e-15)
    assert v["Loss*"] < v["Loss"]


# Any network


KINDS: dict[str, dict[str, Any]] = {
    "softmax inside": {"activation": "softmax"},
    "gelu, layer norm": {"activation": "gelu", "normalization": "layer"},
    "batch norm, dropout": {"activation": "mish", "normalization": "batch", "dropout": 0.4},
    "residual": {"sizes": (3, 4, 4, 4, 3), "activation": "tanh", "residual": True},
    "residual on the inputs": {"sizes": (3, 3, 3), "activation": "elu", "residual": True},
    "penalties": {"activation": "swish", "l1": 0.01, "l2": 0.1},
    "no bias, inputs dropped": {"activation": "softplus", "bias": False, "input_dropout": 0.3},
    "smoothing": {"loss": xpmlp.losses.SparseCategoricalCrossEntropy(0.1)},
    "no hidden layer": {"sizes": (3, 3)},
    "custom activation": {"activation": (lambda xp, z: xp.sin(z), lambda xp, z: xp.cos(z))},
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.sampled(3)
def test_gradients_equal_finite_differences(backend: Any, kind: str, training: bool) -> None:
    mlp = network(double(backend), **KINDS[kind])
    before = mlp.state_dict()
    explanation = explain(mlp, X, LABELS, "adam", training=training)
    gradients = [q for q in explanation.quantities.values() if q.difference is not None]
    assert len(gradients) == len(mlp.network.layout.slots)
    for q in gradients:
        assert q.error is not None
        assert q.error < 1e-9, f"{q.name}: {q.error}"
    assert max(map(len, explanation.text().splitlines())) <= 80
    assert "<svg" in explanation.html()
    for name, value in mlp.state_dict().items():
        assert_close(value, before[name])


def test_the_link_is_shown_and_walked_together_with_the_loss() -> None:
    e = explain(network(), X, LABELS)
    z = e["z2"].values
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    assert_close(e["p"].values, p, atol=1e-15)
    assert_close(e["dLoss/dz2"].values, (p - np.eye(3)[LABELS]) / 3, atol=1e-15)
    assert_close(e["L"].values, -np.log(p[np.arange(3), LABELS]), atol=1e-14)
    assert "differentiated together" in e.text()
    assert "dLoss/dp" not in e.quantities


def test_softmax_between_layers_has_a_matrix_for_each_example() -> None:
    e = explain(network(activation="softmax"), X, LABELS)
    h, J = e["h1"].values, e["dh1/dz1"].values
    assert_close(J, h[:, :, None] * (np.eye(4) - h[:, None, :]), atol=1e-15)
    dz = np.einsum("ni,nij->nj", e["dLoss/dh1"].values, J)
    assert_close(e["dLoss/dz1"].values, dz, atol=1e-15)


def test_a_residual_block_adds_both_ways_back() -> None:
    e = explain(network(sizes=(3, 4, 4, 3), activation="tanh", residual=True), X, LABELS)
    v = {name: q.values for name, q in e.quantities.items()}
    assert_close(v["r2"], v["h1"] + v["h2"], atol=1e-15)
    through = v["dLoss/dz2"] @ v["W2"].T
    assert_close(v["dLoss/dh1"], v["dLoss/dr2"] + through, atol=1e-15)


def test_normalization_dropout_and_penalty_in_their_parts() -> None:
    mlp = network(normalization="layer", dropout=0.5, l2=0.1, activation="tanh")
    e = explain(mlp, X, LABELS, training=True)
    v = {name: q.values for name, q in e.quantities.items()}
    z = v["z1"]
    scale = np.sqrt(z.var(axis=1, keepdims=True) + 1e-5)
    assert_close(v["u1"], (z - z.mean(axis=1, keepdims=True)) / scale, atol=1e-13)
    assert set(np.unique(v["m1"])) <= {0.0, 2.0}
    assert_close(v["d1"], v["h1"] * v["m1"])
    assert_close(v["dR/dW1"], 0.1 * v["W1"], atol=1e-15)
    assert_close(v["dLoss/dW1"], v["dE/dW1"] + v["dR/dW1"], atol=1e-15)
    assert_close(v["Loss"], v["L"].mean() + v["R"], atol=1e-14)


def check_update(mlp: xpmlp.MLP, optimizer: str) -> None:
    e = explain(mlp, X, LABELS, optimizer)
    mlp.fit(X, LABELS, epochs=1, batch_size=None, optimizer=optimizer, shuffle=False)
    assert_close(e["W1*"].values, mlp.parameters["dense1.W"], atol=1e-14)
    assert_close(e["b2*"].values, mlp.parameters["dense2.b"], atol=1e-14)
    assert_close(e["Loss*"].values, mlp.evaluate(X, LABELS)["loss"], atol=1e-14)


def test_the_update_is_what_fit_does(backend: Any) -> None:
    check_update(network(double(backend), max_norm=0.8), "adamw")


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "adamw"])
def test_the_update_of_every_optimizer(optimizer: str) -> None:
    check_update(network(), optimizer)


def test_clipping_is_named_and_applied() -> None:
    e = explain(network(), X, LABELS, xpmlp.SGD(1.0, clip_value=0.01))
    assert np.max(np.abs(e["W2"].values - e["W2*"].values)) <= 0.01 + 1e-12
    assert "clip_value=0.01" in e.text()


@pytest.mark.parametrize(
    ("options", "y"),
    [
        ({}, np.eye(3)[LABELS]),
        ({}, X * 2),
        ({"loss": "mae"}, X),
        ({"loss": "huber"}, X),
        ({"loss": "quantile"}, X),
        ({"loss": "poisson"}, np.abs(np.round(X))),
        ({"loss": "binary_cross_entropy"}, np.array([[1, 1, 0], [0, 1, 1], [0, 0, 0]])),
        ({"loss": lambda xp, z, y: (xp.sum((z - y) ** 4, axis=1), 4 * (z - y) ** 3)}, X),
    ],
)
def test_every_kind_of_target_and_loss(options: dict[str, Any], y: np.ndarray) -> None:
    e = explain(network(activation="tanh", **options), X, y)
    assert all(q.error < 1e-8 for q in e.quantities.values() if q.error is not None)
    assert e.markdown()


def test_one_example_needs_no_batch_axis(backend: Any) -> None:
    mlp = network(backend, dtype="float32")
    whole = explain(mlp, mlp.backend.asarray(X[:1], "float32"), LABELS[:1])
    one = explain(mlp, X[0], LABELS[0])
    assert one["z1"].shape == (1, 4)
    assert_close(one["dLoss/dW1"].values, whole["dLoss/dW1"].values)
    assert (one["dLoss/dW1"].error or 0) < 1e-5
    assert_close(explain(mlp, X[0], np.eye(3)[0])["h1"].values, one["h1"].values)


def test_a_kink_is_named() -> None:
    mlp = network(sizes=(2, 3, 1), activation="relu")
    e = explain(mlp, np.zeros((1, 2)), np.array([[1.0]]))
    assert "kink" in e.text()
    assert "kink" not in explain_worked_step().text()


def test_an_untrained_model_stays_so() -> None:
    mlp = network()
    explain(mlp, X, LABELS)
    assert mlp.known_task is None


@pytest.fixture(scope="module")
def large() -> Explanation:
    rows = np.random.default_rng(0).normal(size=(1, 300))
    return explain(network(sizes=(300, 20, 3)), rows, np.array([1]))


def test_a_large_network_shows_the_first_and_last_values(large: Explanation) -> None:
    text = large.text()
    assert max(map(len, text.splitlines())) <= 80
    assert len(text) < 20_000
    assert "..." in text
    assert "(300, 20)" in text
    q = large["dLoss/dW1"]
    assert q.values.shape == (300, 20)  # all of them, to look up
    assert q.difference is not None
    assert np.isfinite(q.difference).sum() == 36
    assert np.isfinite(q.difference[:3, -3:]).all()
    assert q.error is not None
    assert q.error < 1e-6
    assert len(large.markdown()) < 40_000
    assert r"\dots" in large.markdown()


def test_the_page_of_a_large_network_draws_some_units(large: Explanation) -> None:
    page = large.html()
    assert len(page) < 120_000
    assert "⋮" in page
    assert "W1[299, 19] = " in page
    assert "W1[150, 10] = " not in page


def test_full_shows_all() -> None:
    mlp = network(sizes=(21, 10, 2))
    rows = np.zeros((1, 21))
    short, full = (explain(mlp, rows, np.array([1]), full=f) for f in (False, True))
    assert "..." in short.text()
    assert "..." not in full.text()
    assert r"\dots" not in full.markdown()
    assert np.isfinite(full["dLoss/dW1"].difference).all()  # type: ignore[call-overload]
    with pytest.raises(XpmlpError, match="full"):
        explain(mlp, rows, np.array([1]), full="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        *((name, [[0.5, 1.0, 2.0]]) for name in ("mse", "mae", "huber", "quantile", "poisson")),
        ("poisson_deviance", [[0.5, 1.0, 2.0]]),
        ("binary_cross_entropy", [[1, 0, 1]]),
        ("categorical_cross_entropy", [[0, 1, 0]]),
        ("sparse_categorical_cross_entropy", [1]),
    ],
)
def test_every_loss(loss: str, y: Any) -> None:
    e = explain(network(loss=loss), X[:1], np.array(y))
    assert e["dLoss/dW1"].error is not None
    assert e["dLoss/dW1"].error < 1e-5
    assert loss in e.text()


def test_features_and_classes_have_their_names() -> None:
    features, classes = ["width", "height", "<depth>"], ["cat", "dog", "a very long name of a fox"]
    e = explain(network(), X[:2], LABELS[:2], features=features, classes=classes)
    assert "the inputs: width, height, <depth>" in e.text()
    assert "the targets: cat, a very long name of a fox" in e.text()
    assert "the prediction: cat, dog, a very long" in e.text()
    page = e.html()
    assert ">&lt;depth&gt;</text>" in page
    assert ">a very long nam…</text>" in page
    assert "<depth>" not in page
    mlp = network()
    mlp.metadata["classes"] = classes
    assert "the targets: cat" in explain(mlp, X[:1], LABELS[:1]).text()
    with pytest.raises(InvalidValueError, match="classes: found 2 names; the network has 3"):
        explain(network(), X, LABELS, classes=["a", "b"])


def test_a_table_names_its_inputs() -> None:
    frame = {"size": [1.0, 2.0, 3.0], "color": ["red", "blue", "red"]}
    mlp = xpmlp.MLP([3, 2, 2], backend="numpy", dtype="float64", seed=0, table="auto")
    mlp.fit(frame, [0, 1, 0], epochs=1)
    e = explain(mlp, {name: values[:1] for name, values in frame.items()}, [0])
    assert "the inputs: size, color: " in e.text()
    assert e["X"].shape == (1, 3)


def test_it_is_short_by_itself_and_a_table_in_a_notebook() -> None:
    e = explain_worked_step()
    assert len(repr(e).splitlines()) == 1 + len(e.sections)
    assert "z1, h1, z2, h2, Loss" in repr(e)
    part = e._repr_html_()
    assert part.count("<svg") == 2
    assert "<script" not in part
    assert "<html" not in part
    assert part.startswith("<style>\n.xpmlp {")  # nothing else on the page changes


def test_labels_on_crossing_lines_say_whose_they_are_and_do_not_overlap() -> None:
    page = explain_worked_step().html()
    assert '<tspan class="whose">1→2</tspan>' in page
    first = page[page.index("<svg") : page.index("</svg>")]
    labels = re.findall(r'class="weight" x="([\d.]+)" y="([\d.]+)"', first)
    assert len(labels) == 12
    for column in {x for x, _ in labels}:
        heights = np.sort([float(y) for x, y in labels if x == column])
        assert np.diff(heights).min() >= LETTER - 0.11
    alone = explain(network(sizes=(3, 1)), X[:1], np.array([[1.0]])).html()
    assert "whose" not in alone.partition("<body")[2]


def test_an_unknown_quantity_gets_a_suggestion() -> None:
    with pytest.raises(InvalidValueError, match=r"Did you mean .dLoss/d"):
        explain_worked_step()["dLoss/dh9"]


# Formats


class Page(HTMLParser):
    """Checks that elements nest, and keeps what could reach for the network."""

    VOID = frozenset({"meta", "line", "circle", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if self.get_starttag_text() and not (self.get_starttag_text() or "").endswith("/>"):
            self.open += [] if tag == "meta" else [tag]
        self.references += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action")]

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(params=["worked", "deep"])
def explanation(request: pytest.FixtureRequest) -> Explanation:
    if request.param == "worked":
        return explain_worked_step()
    mlp = network(sizes=(3, 4, 4, 3), residual=True, normalization="batch", dropout=0.2, l1=0.1)
    return explain(mlp, X, LABELS, xpmlp.AdamW(1e-2, clip_norm=1.0), training=True)


def test_the_page_is_well_formed_and_stands_alone(explanation: Explanation) -> None:
    page, text = Page(), explanation.html()
    page.feed(text)
    page.close()
    assert page.open == []
    assert page.references == []
    assert not re.search(r"https?:|url\(|@import|<script|<link|<img", text)
    assert text.count("<svg") == 2
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    lines = sum(q.values.size for n, q in explanation.quantities.items() if re.match(r"W\d$", n))
    assert page.tags.count("line") == 2 * lines


def test_markdown_closes_what_it_opens(explanation: Explanation) -> None:
    text = explanation.markdown()
    blocks = text.split("$$")
    assert len(blocks) % 2 == 1
    for block in blocks[1::2]:
        assert block.count("{") == block.count("}")
        assert block.count(r"\left") == block.count(r"\right")
        assert block.count(r"\begin{bmatrix}") == block.count(r"\end{bmatrix}")
        assert block.isascii(), block


def test_one_notation_in_three_forms() -> None:
    assert latex("dLoss/dW2 = h1ᵀ") == r"\frac{d\mathrm{Loss}}{dW_{2}} = h_{1}^{\top}"
    assert latex("√(σ² + ε)") == r"\sqrt{\sigma ^2 + \varepsilon }"
    assert markup("z1 < W1*") == "<i>z</i><sub>1</sub> &lt; <i>W</i><sub>1</sub><sup>*</sup>"
