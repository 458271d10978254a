"""Model cards: what they say, and that names from files stay text."""

import re
from pathlib import Path

import numpy as np
import pytest

import xpmlp

rng = np.random.default_rng(0)
X = rng.standard_normal((50, 3))
Y = np.arange(50) % 4


def rows(card: str) -> dict[str, str]:
    """The first two cells of every row of its tables."""
    found = re.findall(r"^\| (.+?) \| (.*?) \|", card, re.MULTILINE)
    return {name: value for name, value in found if name != "---"}


def test_a_card_has_all_that_the_model_knows() -> None:
    mlp = xpmlp.MLP([3, 6, 4], l2=0.01, scaling="standard", backend="numpy", seed=7)
    mlp.metadata = {"classes": ["a", "b", "c", "d"], "data": "letters", "label": ["letter"]}
    optimizer = xpmlp.Adam(0.02, clip_norm=1.0)
    history = mlp.fit(X, Y, epochs=3, batch_size=25, optimizer=optimizer, validation_split=0.2)
    card = mlp.card("Letters", "letters.xpmlp", {"test accuracy": 0.123456789, "rows": 1200})
    goal = "A multilayer perceptron that predicts which of 4 classes it is, from 3 numbers."
    assert card.startswith(f"# Letters\n\n{goal}")
    found = rows(card)
    expected = {
        "dense1": "(n, 6)",
        "parameters": "52, float32",
        "loss": f"{history['loss'][-1]:.6g}",
        "val_accuracy": f"{history['val_accuracy'][-1]:.6g}",
        "output": "softmax",
        "L2 penalty": "0.01",
        "inputs": "(n, 3)",
        "data": "letters",
        "classes": "a, b, c, d",
        "training rows": "40",
        "scaling of the inputs": "standard",
        "epochs": "3",
        "steps": "6",
        "seed": "7",
        "test accuracy": "0.123457",
        "rows": "1,200",
    }
    assert {name: found[name] for name in expected} == expected
    assert found["optimizer"] == "Adam(learning_rate=0.02, clip_norm=1.0)"
    assert "| loss | sparse_categorical_cross_entropy |" in card
    assert f"xpmlp {xpmlp.__version__}" in card
    assert f"NumPy {np.__version__}" in card


@pytest.mark.parametrize(
    ("options", "targets", "said"),
    [
        ({"targets": "values"}, X[:, 0], "predicts a number, from 3 numbers"),
        ({"targets": "binary"}, Y % 2, "predicts which of two classes it is"),
    ],
)
def test_what_it_predicts(options: dict[str, str], targets: np.ndarray, said: str) -> None:
    mlp = xpmlp.MLP([3, 4, 1], backend="numpy", seed=0, **options)
    mlp.fit(X, targets, epochs=1)
    card = mlp.card()
    assert said in card
    assert ("predict_proba" in card) is (options["targets"] == "binary")


def test_several_outputs() -> None:
    mlp = xpmlp.MLP([3, 2], targets="multilabel", backend="numpy")
    assert "which of 2 labels apply" in mlp.card()
    assert "predicts numbers" in xpmlp.MLP([3, 2], targets="values", backend="numpy").card()


def test_a_network_that_is_not_trained_and_an_ensemble() -> None:
    mlp = xpmlp.MLP([3, 4, 2], ensemble=3, backend="numpy")
    card = mlp.card()
    assert "on 3 numbers, not trained yet." in card
    assert rows(card)["networks"] == "3, whose predictions are averaged"
    assert rows(card)["seed"].endswith("(drawn)")
    assert "after the last epoch" not in card


def test_the_code_runs_and_loads_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mlp = xpmlp.MLP([3, 6, 4], backend="numpy", seed=7)
    mlp.fit(X, Y, epochs=1)
    mlp.save("a 'model'.xpmlp")
    code = re.findall(r"```python\n(.*?)```", mlp.card(path="a 'model'.xpmlp"), re.DOTALL)[0]
    names = {"X": X}
    exec(code, names)
    np.testing.assert_array_equal(names["mlp"].predict(X), mlp.predict(X))  # type: ignore[attr-defined]


def test_a_table_has_its_columns() -> None:
    frame = {"size": list(X[:, 0]), "a|b": ["x", "y"] * 25, "_id_": list(X[:, 1])}
    table = xpmlp.Table().fit(frame)
    mlp = xpmlp.MLP([table.width, 4], table=table, backend="numpy", seed=0)
    mlp.fit(frame, Y, epochs=1)
    card = mlp.card()
    assert "from 3 columns of a table" in card
    assert "| size | number |" in card
    assert "| a\\|b | category |" in card
    assert "| \\_id\\_ | " in card
    assert "a data frame with these columns" in card


def test_many_classes_and_columns_are_cut() -> None:
    frame = {f"c{k}": list(X[:, 0]) for k in range(25)}
    table = xpmlp.Table().fit(frame)
    mlp = xpmlp.MLP([table.width, 30], table=table, backend="numpy", targets="labels")
    mlp.metadata = {"classes": [f"class {k}" for k in range(30)]}
    card = mlp.card()
    assert "class 19 and 10 more" in card
    assert "| and 5 more |  |" in card
    assert "c24" not in card


def test_names_are_no_markup() -> None:
    mlp = xpmlp.MLP([3, 2], targets="labels", backend="numpy")
    evil = "<img src=x>\n# head `code` [link](http://x) *b* _i_ &lt; ~~s~~"
    mlp.metadata = {"classes": [evil, "b_c"], "data": 3, "label": evil}
    card = mlp.card(evil, results={evil: evil})
    without = re.sub(r"\\[<`\[*_&~]", "", card)  # what is left has a meaning in Markdown
    for raw in ("<img", "\n# head", "`code", "[link", "*b", " _i", "&lt", "~s"):
        assert raw not in without
    assert "b_c" in card
    assert len(card.splitlines()[0]) < 400
