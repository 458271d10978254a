"""What a model and a data set print, in a terminal and in a notebook."""

import numpy as np
import pytest

import xpmlp
from xpmlp.data import load
from xpmlp.data.dataset import Dataset
from xpmlp.show.facts import as_html, as_text, listed


def test_a_model_prints_activation_loss_parameters_and_training() -> None:
    mlp = xpmlp.MLP([2, 3, 3, 2], ["relu", "tanh"], backend="numpy", seed=0)
    assert repr(mlp).splitlines()[1:] == [
        "  activation  relu, tanh",
        "  loss        inferred from the targets",
        "  parameters  29",
        "  trained     not yet",
    ]
    mlp.fit(np.eye(2), [0, 1], epochs=2)
    assert "sparse_categorical_cross_entropy, output softmax" in repr(mlp)
    assert "trained     2 epochs, 0." in repr(mlp)
    mlp.progress = None
    assert repr(mlp).endswith("2 epochs")


def test_an_output_that_was_asked_for_is_named() -> None:
    mlp = xpmlp.MLP([2, 3], output="sigmoid", targets="values", backend="numpy")
    assert "loss: mse, output sigmoid" in mlp.summary()
    assert "mse, output sigmoid" in repr(mlp)


def test_a_notebook_shows_the_layers_of_a_model() -> None:
    page = xpmlp.MLP([2, 3, 2], backend="numpy")._repr_html_()
    assert page.count("<table>") == 2
    assert "z = x W + b" in page
    assert "<script" not in page


def test_a_data_set_prints_its_rows_and_classes() -> None:
    assert repr(load("digits")).splitlines() == [
        "Dataset 'digits'",
        "  training  1,438 rows, 64 features, uint8",
        "  test      359 rows",
        "  targets   10 classes: 0, 1, 2, …, 9",
        "  images    8 × 8",
        "  scaling   auto",
    ]
    y = np.zeros((2, 3))
    data = Dataset("<i>", np.zeros((2, 2)), y, np.zeros((0, 2)), y[:0], features=("a", "b"))
    assert "3 values in a row" in repr(data)
    assert "features  a, b" in repr(data)
    assert "&lt;i&gt;" in data._repr_html_()


@pytest.mark.parametrize(("n", "text"), [(2, "0, 1"), (7, "0, 1, 2, …, 6")])
def test_long_lists_are_cut(n: int, text: str) -> None:
    assert listed([str(k) for k in range(n)]) == text


def test_facts_are_aligned_and_escaped() -> None:
    rows = [("a", "1", "<"), ("long", "2", "")]
    assert as_text("T", rows) == "T\n  a     1  <\n  long  2"
    assert as_text("T", []) == "T"
    assert "&lt;</td>" in as_html("T", rows)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_layers_as_a_data_frame(library: str) -> None:
    pytest.importorskip(library)
    mlp = xpmlp.MLP([3, 5, 2], normalization="batch", ensemble=4, backend="numpy")
    frame = mlp.summary_frame(library)
    assert type(frame).__module__.startswith(library)
    assert list(frame.columns) == ["layer", "output", "parameters", "computes"]
    assert sum(frame["parameters"]) == mlp.network.layout.count
    assert list(frame["layer"])[:2] == ["dense1", "norm1"]
    assert set(frame["output"]) == {"(4, n, 5)", "(4, n, 2)"}
    for text in frame["computes"]:
        assert text in mlp.summary()
