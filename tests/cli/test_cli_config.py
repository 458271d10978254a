"""``xpmlp train --config run.toml``: what a file may say, and the file in each run folder."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp.cli import config, main, train
from xpmlp.cli.parser import parse

Capture = pytest.CaptureFixture[str]
QUICK = ["train", "--epochs", "2", "--backend", "numpy", "--quiet"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XPMLP_BACKEND", raising=False)
    monkeypatch.setattr(train, "draw", lambda *_: False)


def file(text: str) -> str:
    Path("run.toml").write_text(text, encoding="utf-8")
    return "run.toml"


def refused(text: str, capsys: Capture, *more: str) -> str:
    capsys.readouterr()
    assert main(["train", "--config", file(text), *more]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert not Path("runs").exists()
    return said.err


def settings(folder: str) -> dict[str, Any]:
    with open(Path(folder, "run.toml"), "rb") as opened:
        return tomllib.load(opened)


def test_a_file_has_all_kinds_of_settings() -> None:
    text = """
    # a comment
    data = "table.csv"
    hidden = [8, 4]
    lr = 0.5
    batch_size = 7
    early-stopping = 2
    residual = true
    calibrate = false
    header = false
    label = ["a", "b"]
    drop = ["c d", "-e"]
    numeric = "f"
    categorical = []
    """
    args = config.with_file(parse(["train", "--config", file(text)]))
    expected = {
        "data": "table.csv",
        "hidden": [8, 4],
        "lr": 0.5,
        "batch_size": 7,
        "early_stopping": 2,
        "residual": True,
        "header": False,
        "label": ["a", "b"],
        "drop": ["c d", "-e"],
        "numeric": ["f"],
    }
    assert {name: getattr(args, name) for name in expected} == expected
    assert (args.calibrate, args.categorical) == (False, None)
    assert args.given.keys() - {"command", "config"} == expected.keys()


def test_the_command_line_wins() -> None:
    path = file('data = "mnist"\nhidden = [8, 4]\ndrop = ["a", "b"]\nlabel = "x"\nlr = 0.5\n')
    options = ["--hidden", "3", "--drop", "c", "--label", "y", "--seed", "2"]
    args = config.with_file(parse(["train", "digits", *options, "--config", path]))
    assert (args.data, args.hidden, args.drop, args.label) == ("digits", [3], ["c"], ["y"])
    assert (args.lr, args.seed) == (0.5, 2)


def test_an_empty_list_of_units_is_no_hidden_layer() -> None:
    assert config.with_file(parse(["train", "--config", file("hidden = []")])).hidden == []
    assert config.with_file(parse(["train", "--config", file("hidden = 5")])).hidden == [5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning-rat = 1", "unknown setting 'learning-rat'. Did you mean"),
        ("epoch = 3", "unknown setting 'epoch'. Did you mean 'epochs'?"),
        ("resume = 'x'", "unknown setting 'resume'"),
        ("config = 'x'", "unknown setting 'config'"),
        ("[network]\nhidden = [3]", "unknown setting 'network'"),
        ("lr = 'fast'", "argument --lr: invalid float value: 'fast'"),
        ("lr = true", "lr: found True; expected a text or a number"),
        ("lr = [1]", "lr: found [1]; expected a text or a number"),
        ("lr = 2020-01-01", "lr: found datetime.date(2020, 1, 1); expected a text or a number"),
        ("hidden = [[3]]", "hidden: found [3]; expected a text or a number"),
        ("data = {a = 1}", "data: found {'a': 1}; expected a text or a number"),
        ("residual = 1", "residual: found 1; expected true or false"),
        ("dtype = 'float23'", "did you mean float32?"),
        ("lr = ", "Invalid value (at "),
        ("lr = 1\nlr = 2", "Cannot overwrite a value (at "),
        ("a = " + "[" * 5000, "recursion"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_file_and_setting(
    text: str, said: str, capsys: Capture
) -> None:
    error = refused(text, capsys)
    assert error.startswith("xpmlp: error: run.toml: ")
    assert said in error


def test_a_file_that_is_not_there_or_no_text(capsys: Capture) -> None:
    assert main(["train", "--config", "nowhere.toml"]) == 2
    assert "nowhere.toml: No such file" in capsys.readouterr().err
    Path("run.toml").write_bytes(b"lr = \xff")
    assert main(["train", "--config", "run.toml"]) == 2
    assert "run.toml: 'utf-8' codec can't decode" in capsys.readouterr().err


def test_a_run_is_repeated_from_its_folder(capsys: Capture) -> None:
    assert main([*QUICK, "xor", "--dropout", "0.25", "--hidden", "7", "--seed", "3"]) == 0
    found = settings("runs/xor")
    assert (found["dropout"], found["hidden"], found["seed"]) == (0.25, [7], 3)
    assert (found["data"], found["batch-size"], found["lr"]) == ("xor", 8, 0.01)
    assert not {"out", "quiet", "json", "config", "resume", "debug"} & set(found)
    assert main(["train", "--config", "runs/xor/run.toml", "--quiet"]) == 0
    one, two = (
        xpmlp.load(f"runs/{name}/model.xpmlp", backend="numpy") for name in ("xor", "xor-2")
    )
    for name, value in one.state_dict().items():
        np.testing.assert_array_equal(value, two.state_dict()[name])
    assert settings("runs/xor-2") == found
    assert main(["train", "--config", "runs/xor/run.toml", "--seed", "4", "--quiet"]) == 0
    assert settings("runs/xor-3") == found | {"seed": 4}


def test_a_table_with_a_recipe_is_repeated_too() -> None:
    rng = np.random.default_rng(0)
    name = 'a "name", with \\ and é.csv'
    lines = [f"{x:.3f};{'ab'[int(x > 0)]}" for x in rng.normal(size=60)]
    Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = ["--no-header", "--recipe", "fast", "--out", "one", "--hidden", "5"]
    assert main([*QUICK, name, *options]) == 0
    found = settings("one")
    assert (found["recipe"], found["hidden"], found["header"]) == ("fast", [5], False)
    assert found["data"] == str(Path(name).absolute())
    assert not {"activation", "dropout", "optimizer"} & set(found)
    assert main(["train", "--config", "one/run.toml", "--out", "two", "--quiet"]) == 0
    results = [json.loads(Path(run, "result.json").read_text()) for run in ("one", "two")]
    assert results[0]["test_loss"] == results[1]["test_loss"]
    assert "--no-header" in json.loads(Path("one/settings.json").read_text())["arguments"]


def test_resuming_takes_no_file(capsys: Capture) -> None:
    Path("run").mkdir()
    Path("run/settings.json").write_text('{"arguments": ["xor"]}')
    assert "found --config" in refused("lr = 1", capsys, "--resume", "run")


def test_a_runs_settings_cannot_name_a_file(capsys: Capture) -> None:
    Path("run").mkdir()
    Path("run/settings.json").write_text('{"arguments": ["xor", "--config=other.toml"]}')
    assert main(["train", "--resume", "run"]) == 2
    assert "found --config" in capsys.readouterr().err


def test_texts_are_written_so_that_they_are_read_again() -> None:
    texts = ["", "a'b\"c\\d", "tab\t line\n", "\x00\x1f\x7f", "é 漢 😀 \u2028", "# [x] = y"]
    values = {**{f"t{i}": text for i, text in enumerate(texts)}, "many": texts, "header": False}
    numbers = {"a": 1e-05, "b": float("inf"), "c": -3, "d": 1e300, "yes": True}
    made = config.written(parse(["train"]).__class__(**values, **numbers, none=None, no=False))
    assert tomllib.loads(made.decode()) == values | numbers


def test_options_of_the_network_reach_it(capsys: Capture) -> None:
    path = file('data = "xor"\nhidden = [6]\nactivation = "tanh"\nbackend = "numpy"\nepochs = 2\n')
    assert main(["train", "--config", path]) == 0
    said = capsys.readouterr().out
    assert "network   2-6-2 tanh: 32 parameters, float32" in said
    assert "run.toml" in said
    assert max(map(len, said.splitlines())) <= 80
