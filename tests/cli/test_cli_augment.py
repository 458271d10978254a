"""``--augment``, recipes for digits, and the pictures of variants and mistakes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp.cli import main
from xpmlp.data import Dataset
from xpmlp.training.digit_recipes import RECIPES, digit_recipe
from xpmlp.tutorial import pictures

Capture = pytest.CaptureFixture[str]
DIGITS = ["train", "digits", "--hidden", "16", "--epochs", "2", "--backend", "numpy"]
pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def result(run: str) -> Any:
    return json.loads(Path(run, "result.json").read_text())


def weights(run: str) -> dict[str, np.ndarray]:
    return xpmlp.load(f"{run}/model.xpmlp", backend="numpy").state_dict()


def test_a_run_varies_its_pictures_and_its_folder_repeats_it(capsys: Capture) -> None:
    options = ["--augment", "elastic:4", "rotate", "--average", "0.9"]
    assert main([*DIGITS, *options, "--out", "one"]) == 0
    assert "each step varies its pictures: elastic:4, rotate" in capsys.readouterr().out
    found = result("one")["settings"]
    assert (found["augment"], found["average"]) == (["elastic:4", "rotate"], 0.9)
    assert main(["train", "--config", "one/run.toml", "--out", "two"]) == 0
    assert main([*DIGITS, "--out", "plain"]) == 0
    one, two, plain = map(weights, ("one", "two", "plain"))
    assert all((one[name] == two[name]).all() for name in one)
    assert any((one[name] != plain[name]).any() for name in one)

    data = xpmlp.data.load("digits")
    mlp = xpmlp.MLP([64, 16, 10], dropout=0.2, image_shape=(8, 8), backend="numpy", seed=0)
    optimizer = xpmlp.Adam(xpmlp.schedules.Cosine(2e-3), average=0.9)
    mlp.fit(
        *(data.X, data.y),
        epochs=2,
        batch_size=64,
        optimizer=optimizer,
        augment=["elastic:4", "rotate"],
    )
    for name, value in mlp.state_dict().items():
        assert_close(one[name], value)


def test_data_that_are_no_pictures(capsys: Capture) -> None:
    assert main(["train", "xor", "--augment", "shift"]) == 2
    assert "--augment: found xor, whose rows are no pictures" in capsys.readouterr().err
    assert main([*DIGITS, "--augment", "shft"]) == 2
    assert "Did you mean 'shift'" in capsys.readouterr().err


@pytest.fixture
def small_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A data set with pictures of 28 by 28 pixels, in the place of digits."""
    rng = np.random.default_rng(0)

    def load(*ignored: Any, **options: Any) -> Dataset:
        X, y = rng.integers(0, 256, (60, 784)).astype(np.uint8), np.arange(60) % 10
        parts = {"X": X[:40], "y": y[:40], "X_test": X[40:], "y_test": y[40:]}
        return Dataset("digits", **parts, classes=tuple("0123456789"), image_shape=(28, 28))

    monkeypatch.setattr("xpmlp.cli.train.load", load)


@pytest.mark.usefixtures("small_digits")
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_for_digits_stands_for_options(name: str, capsys: Capture) -> None:
    options = ["--backend", "numpy", "--epochs", "1", "--hidden", "8", "--out", "run"]
    assert main(["train", "digits", "--recipe", name, *options]) == 0
    assert f"{name}, which stands for other options" in capsys.readouterr().out
    found, made = result("run")["settings"], digit_recipe(name)
    assert found["recipe"] == "plain"
    assert (result("run")["sizes"], found["lr"]) == ([784, 8, 10], made.learning_rate)
    assert (found["augment"], found["average"]) == (list(made.augment), made.average)
    assert (found["dropout"], found["batch_size"]) == (made.dropout, made.batch_size)
    assert main(["train", "--config", "run/run.toml", "--out", "again"]) == 0
    one, other = weights("run"), weights("again")
    assert one.keys() == other.keys()


@pytest.mark.parametrize("name", ["quick", "good", "best"])
def test_a_recipe_for_digits_refuses_other_pictures(name: str, capsys: Capture) -> None:
    assert main(["train", "digits", "--recipe", name]) == 2
    assert "pictures of 28x28 pixels, such as mnist" in capsys.readouterr().err


def test_a_recipe_trains_what_the_command_line_trains() -> None:
    """Its arguments are those of ``MLP`` and ``fit``."""
    made = digit_recipe("good")
    mlp = xpmlp.MLP(**made.network(), backend="numpy", seed=0)
    X = np.random.default_rng(0).integers(0, 256, (20, 784)).astype(np.uint8)
    mlp.fit(X, np.arange(20) % 10, **made.fit() | {"epochs": 1})
    assert mlp.augment is not None
    with pytest.raises(xpmlp.errors.InvalidValueError, match="'quick'"):
        digit_recipe("quik")


def test_evaluating_and_predicting_by_several_variants(capsys: Capture) -> None:
    assert main([*DIGITS, "--augment", "shift:1", "--out", "run", "--quiet"]) == 0
    data, mlp = xpmlp.data.load("digits"), xpmlp.load("run/model.xpmlp", backend="numpy")
    capsys.readouterr()
    given = ["run", "digits", "--backend", "numpy", "--augment-rounds", "3", "--json", "-"]
    assert main(["evaluate", *given]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = mlp.evaluate(data.X_test, data.y_test, augment_rounds=3)
    assert (found["loss"], found["accuracy"]) == pytest.approx(tuple(expected.values()))
    assert found["loss"] != pytest.approx(mlp.evaluate(data.X_test, data.y_test)["loss"])
    assert main(["predict", *given, "--limit", "4"]) == 0
    text = capsys.readouterr().out
    chances = mlp.predict_proba(data.X_test[:4], augment_rounds=3).max(axis=1)
    rows = json.loads(text)
    rows = rows["predictions"] if isinstance(rows, dict) else rows
    assert [row["probability"] for row in rows] == pytest.approx(chances.tolist(), rel=1e-4)
    assert main([*DIGITS, "--out", "plain", "--quiet"]) == 0
    assert main(["evaluate", "plain", *given[1:]]) == 2
    assert "last trained without augmentation" in capsys.readouterr().err


@pytest.mark.slow
def test_pictures_of_variants_and_of_mistakes(capsys: Capture) -> None:
    assert main(["pictures", "augment", "--out", "p", "--augment", "shift", "--row", "2"]) == 0
    assert Path("p/augment.png").stat().st_size > 1000
    assert main([*DIGITS, "--out", "run", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["pictures", "errors", "run", "--out", "p", "--backend", "numpy"]) == 0
    said = capsys.readouterr().out
    data, mlp = xpmlp.data.load("digits"), xpmlp.load("run/model.xpmlp", backend="numpy")
    wrong = int((mlp.predict(data.X_test) != data.y_test).sum())
    assert f"{min(wrong, 50)} of {wrong} mistakes on 359 pictures" in " ".join(said.split())
    assert Path("p/errors.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["errors"], "found errors without a model"),
        (["augment", "model.xpmlp"], "found a model"),
        (["eror"], "Did you mean 'errors'"),
    ],
)
def test_pictures_that_cannot_be(arguments: list[str], says: str, capsys: Capture) -> None:
    assert main(["pictures", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_model_of_other_inputs_has_no_picture_of_mistakes(capsys: Capture) -> None:
    assert main(["train", "xor", "--epochs", "1", "--out", "run", "--backend", "numpy"]) == 0
    assert main(["pictures", "errors", "run", "--backend", "numpy"]) == 2
    assert "found a model of 2 inputs" in capsys.readouterr().err


def test_smaller_pictures_get_smaller_distances() -> None:
    elastic, rotate, _, shift = pictures.like_28((28, 28))
    assert (elastic.strength, elastic.sigma, shift.strength) == (34.0, 4.0, 2.0)
    small, same, _, step = pictures.like_28((14, 14))
    assert small.strength / small.sigma == pytest.approx(0.5 * elastic.strength / elastic.sigma)
    assert (same, step.strength) == (rotate, 1.0)
