"""Recipes on the command line: when a table gets one, and what the run says and keeps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp.cli import main, recipes

Capture = pytest.CaptureFixture[str]
RUN = ["--backend", "numpy", "--out", "run"]
SHORT = [*RUN, "--epochs", "24"]


@pytest.fixture(autouse=True)
def _folder(undrawn: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XPMLP_BACKEND", raising=False)
    rng = np.random.default_rng(0)
    rows = []
    for k, size in enumerate(rng.normal(size=150)):
        town = f"town {k * 7 % 12}"
        kind = "small" if size < 0 else "large"
        rows.append(f"{'' if k % 10 == 3 else f'{size:.4f}'},{town},{k % 5},{10 * size:.3f},{kind}")
    Path("table.csv").write_text("\n".join(["size,town,rooms,price,kind", *rows]) + "\n")


def result() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(Path("run/result.json").read_text())
    return made


def test_a_table_gets_the_best_recipe_and_its_best_epoch_is_kept(capsys: Capture) -> None:
    assert main(["train", "table.csv", "--label", "kind", "--drop", "price", *SHORT]) == 0
    said = capsys.readouterr().out
    assert "selu, recipe best" in said
    assert max(map(len, said.splitlines())) <= 80
    epochs = [line for line in said.splitlines() if line.split()[:1] and "/24" in line.split()[0]]
    assert len(epochs) <= recipes.LINES + 1
    rows = [json.loads(row) for row in Path("run/history.jsonl").read_text().splitlines()]
    values = [row["val_accuracy"] for row in rows]
    best = max(k for k, value in enumerate(values) if value == max(values)) + 1
    assert f"the weights of epoch {best} of 24" in " ".join(said.split())
    assert result()["settings"] == {
        "recipe": "best",
        "lr": 0.04,
        "batch_size": 256,
        "test_fraction": 0.2,
        "precision": "float32",
        "data_on": "auto",
    }
    mlp = xpmlp.load("run/model.xpmlp", backend="numpy")
    assert mlp.sizes[1:] == (256, 256, 256, 2)
    assert mlp.table.settings["drop"] == ["price"]
    assert mlp.table.categories
    assert main(["evaluate", "run", "table.csv"]) == 0
    assert main(["predict", "run", "table.csv", "--out", "predicted.csv"]) == 0
    assert len(Path("predicted.csv").read_text().splitlines()) == 151


def test_values_stay_in_the_range_of_the_training_rows(capsys: Capture) -> None:
    options = ["--label", "price", "--drop", "kind", "--hidden", "16", "--recipe", "best"]
    assert main(["train", "table.csv", *options, *SHORT]) == 0
    assert "mish, recipe best" in capsys.readouterr().out
    mlp = xpmlp.load("run/model.xpmlp", backend="numpy")
    found = mlp.predict({"size": [1e6, -1e6], "town": ["town 1"] * 2, "rooms": [1.0, 2.0]})
    assert (mlp.scaling.target_low <= found).all()
    assert (found <= mlp.scaling.target_high).all()


@pytest.mark.parametrize(
    "option",
    [["--recipe", "plain"], ["--hidden", "8"], ["--lr", "0.01"], ["--early-stopping", "5"]],
)
def test_an_option_of_the_plain_network_means_that(option: list[str], capsys: Capture) -> None:
    assert main(["train", "table.csv", "--label", "kind", *option, *SHORT]) == 0
    assert "recipe" not in capsys.readouterr().out
    assert result()["settings"]["recipe"] == "plain"
    assert result()["settings"]["activation"] == "relu"


def test_options_that_change_a_recipe(capsys: Capture) -> None:
    changes = ["--recipe", "fast", "--hidden", "12", "6", "--lr", "0.02", "--epochs", "3"]
    assert main(["train", "table.csv", "--label", "kind", *changes, *RUN]) == 0
    assert "-12-6-2 selu, recipe fast" in capsys.readouterr().out
    assert result()["sizes"][1:] == [12, 6, 2]
    assert (result()["epochs"], result()["settings"]["lr"]) == (3, 0.02)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["table.csv", "--recipe", "best", "--dropout", "0.1"], "--dropout"),
        (["table.csv", "--recipe", "fast", "--batch-size", "8"], "--batch-size"),
        (["xor", "--recipe", "best"], "no table"),
    ],
)
def test_what_has_no_recipe_is_refused(arguments: list[str], said: str, capsys: Capture) -> None:
    label = ["--label", "kind"] if arguments[0] == "table.csv" else []
    assert main(["train", *arguments, *label, *SHORT]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("run").exists()


def test_an_unknown_recipe_is_refused(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", "table.csv", "--recipe", "better"])
    assert stop.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


def test_a_large_table_is_plain_and_a_line_says_so(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "MANY", 100)
    assert main(["train", "table.csv", "--label", "kind", *SHORT]) == 0
    assert "a large table: --recipe best is better" in capsys.readouterr().out
    assert result()["settings"]["recipe"] == "plain"


def test_several_labels_are_plain() -> None:
    Path("labels.csv").write_text(
        "x,a,b\n" + "".join(f"{k},{k % 2},{k % 3 % 2}\n" for k in range(60))
    )
    labels = ["--label", "a", "--label", "b"]
    assert main(["train", "labels.csv", *labels, *SHORT, "--quiet"]) == 0
    assert result()["settings"]["recipe"] == "plain"


def test_an_interrupted_run_resumes_bit_for_bit(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["train", "table.csv", "--label", "kind", "--recipe", "best", "--epochs", "8"]
    given += ["--hidden", "16", "--backend", "numpy", "--quiet", "--checkpoint-every", "1"]
    assert main([*given, "--out", "whole"]) == 0

    class Interrupts(xpmlp.Callback):
        def on_epoch_end(self, training: Any) -> None:
            if training.epoch == 4:
                raise KeyboardInterrupt

    real = recipes.best_epoch
    monkeypatch.setattr("xpmlp.cli.train.ShowProgress", lambda *args: xpmlp.Callback())
    with monkeypatch.context() as patch:
        patch.setattr(recipes, "best_epoch", lambda made: stops(real(made), Interrupts()))
        main([*given, "--out", "part"])
    assert not Path("part/result.json").exists()
    assert main(["train", "--resume", "part", "--quiet"]) == 0
    whole, part = (xpmlp.load(f"{name}/model.xpmlp", backend="numpy") for name in ("whole", "part"))
    for name, value in whole.state_dict().items():
        np.testing.assert_array_equal(part.state_dict()[name], value)


def stops(best: Any, other: Any) -> Any:
    """Let a callback do what another does after it."""
    own = best.on_epoch_end

    def both(training: Any) -> None:
        own(training)
        other.on_epoch_end(training)

    best.on_epoch_end = both
    return best
