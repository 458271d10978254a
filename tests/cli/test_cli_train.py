"""``xpmlp train`` as a person or a script uses it, in a folder of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xpmlp_backends.numpy.backend import NumpyBackend

import xpmlp
from xpmlp.callbacks import Callback
from xpmlp.cli import main, train
from xpmlp.nn.contract import Execution, Memory

Capture = pytest.CaptureFixture[str]
FILES = {"model.xpmlp", "history.jsonl", "result.json", "picture.png", "settings.json", "run.toml"}
QUICK = ["train", "xor", "--epochs", "3", "--backend", "numpy"]


@pytest.fixture(autouse=True)
def _folder(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.node.get_closest_marker("drawn"):
        request.getfixturevalue("undrawn")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XPMLP_BACKEND", raising=False)


def rows(folder: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, "history.jsonl").read_text().splitlines()]


@pytest.mark.drawn
def test_digits_with_all_defaults(capsys: Capture) -> None:
    assert main(["train"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("data      digits: 1,438 training rows, 359 test rows; 64 features")
    assert "301,066 parameters" in said.out
    assert "chosen because" in said.out
    assert said.err == ""
    assert {p.name for p in Path("runs/digits").iterdir()} == FILES

    result = json.loads(Path("runs/digits/result.json").read_text())
    assert result["test_accuracy"] >= 0.97
    assert result["epochs"] == len(rows("runs/digits")) == 20
    assert rows("runs/digits")[-1]["test_accuracy"] == result["test_accuracy"]

    mlp = xpmlp.load("runs/digits/model.xpmlp", backend="numpy")
    assert mlp.metadata["classes"] == [str(k) for k in range(10)]
    assert mlp.metadata["image"] == {"shape": [8, 8], "maximum": 255, "reach": 1.0}


def test_xor_is_learned() -> None:
    assert main(["train", "xor", "--quiet", "--backend", "numpy"]) == 0
    assert json.loads(Path("runs/xor/result.json").read_text())["test_accuracy"] >= 0.97


def test_one_plain_line_per_epoch(capsys: Capture) -> None:
    main(QUICK)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "/3 " in line] == ["1/3", "2/3", "3/3"]
    assert lines[-3].startswith("test accuracy")
    assert lines[-2].startswith("saved in runs/xor: model.xpmlp, ")


def test_the_precision_asked_for_and_the_one_there_is(capsys: Capture) -> None:
    main([*QUICK, "--precision", "tf32"])
    said = " ".join(capsys.readouterr().out.split())
    assert "parameters, float32, matrix products in tf32 (in float32 on cpu)" in said
    result = json.loads(Path("runs/xor/result.json").read_text())
    assert (result["precision"], result["settings"]["precision"]) == ("float32", "tf32")
    assert xpmlp.load("runs/xor/model.xpmlp", backend="numpy").precision == "tf32"
    main(QUICK)
    assert "products" not in capsys.readouterr().out


def test_quiet_says_nothing(capsys: Capture) -> None:
    assert main([*QUICK, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_json_on_stdout_leaves_the_rest_to_stderr(capsys: Capture) -> None:
    main([*QUICK, "--json", "-", "--seed", "4"])
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert (result["seed"], result["epochs"], result["backend"]) == (4, 3, "numpy")
    assert {"test_accuracy", "test_loss", "seconds", "device"} <= set(result)
    assert "test accuracy" in said.err


def test_json_file() -> None:
    main([*QUICK, "--quiet", "--json", "deep/result.json"])
    assert json.loads(Path("deep/result.json").read_text())["folder"] == str(Path("runs/xor"))


def test_next_free_folder() -> None:
    for _ in range(3):
        assert main([*QUICK, "--quiet"]) == 0
    assert {p.name for p in Path("runs").iterdir()} == {"xor", "xor-2", "xor-3"}


@pytest.mark.parametrize("name", sorted(FILES))
def test_an_old_run_is_never_overwritten(name: str, capsys: Capture) -> None:
    Path("mine").mkdir()
    Path("mine", name).write_text("precious")
    assert main([*QUICK, "--out", "mine"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("xpmlp: error: --out mine: found a run there already")
    assert [p.read_text() for p in Path("mine").iterdir()] == ["precious"]


def test_other_files_in_the_folder_stay() -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("precious")
    assert main([*QUICK, "--quiet", "--out", "mine"]) == 0
    assert Path("mine/notes.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mnits"], "Did you mean 'mnist'?"),
        (["none.csv"], "no such file: none.csv"),
        (["xor", "--backend", "nump"], "Did you mean 'numpy'?"),
        (["xor", "--activation", "rellu"], "Did you mean 'relu'?"),
        (["xor", "--optimizer", "adm"], "Did you mean 'adam'?"),
        (["xor", "--lr", "-1"], "expected a positive number"),
        (["xor", "--epochs", "0"], "epochs: found 0"),
        (["xor", "--early-stopping", "0"], "patience is 0"),
        (["xor", "--hidden", "0"], "found"),
        (["xor", "--out", "/dev/null"], "found a file; expected a folder"),
        (["xor", "--out", ""], "--out: found an empty name"),
        (["xor", "--label", "5"], "label: found '5' for xor; only tables"),
        (["mnist", "--data-dir", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_folder(
    arguments: list[str], message: str, capsys: Capture
) -> None:
    assert main(["train", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("xpmlp: error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


def test_a_folder_that_was_there_stays_and_one_that_was_made_goes() -> None:
    Path("mine").mkdir()
    for name in ("mine", "new"):
        assert main([*QUICK, "--out", name, "--lr", "1e30"]) == 2
    assert Path("mine").is_dir()
    assert not Path("new").exists()


def test_names_from_a_file_do_not_steer_the_terminal(capsys: Capture) -> None:
    Path("data.csv").write_text("\x1b[31mred,b\n1,2\n3,4\n")
    assert main(["train", "data.csv", "--label", "nope"]) == 2
    error = capsys.readouterr().err
    assert "red" in error
    assert "\x1b" not in error


def test_debug_shows_the_traceback(capsys: Capture) -> None:
    assert main(["train", "mnits", "--debug"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.splitlines()[-1].startswith("xpmlp: error: ")


def test_divergence_keeps_the_last_good_epoch(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spoil(Callback):
        every = 1

        def on_batch_end(self, training: Any) -> None:
            if training.epoch == 2:
                training.state = training.state._replace(params=training.state.params * np.nan)

    monkeypatch.setattr(train, "ShowProgress", lambda *_: Spoil())
    assert main(QUICK) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the model of epoch 2 is in" in error
    assert xpmlp.load("runs/xor/model.xpmlp", backend="numpy").epochs_trained == 2
    assert len(rows("runs/xor")) == 2


def test_ctrl_c_keeps_what_was_learned(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupt(Callback):
        def on_epoch_begin(self, training: Any) -> None:
            if training.epoch == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(train, "ShowProgress", lambda *_: Interrupt())
    assert main(QUICK) == 130
    error = capsys.readouterr().err
    assert error.startswith("xpmlp: interrupted; the model of epoch 1 is in")
    assert {p.name for p in Path("runs/xor").iterdir()} == FILES - {"result.json", "picture.png"}


@pytest.mark.drawn
def test_no_matplotlib_costs_the_picture_only(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(QUICK) == 0
    assert "pip install 'xpmlp[cli]'" in " ".join(capsys.readouterr().out.split())
    assert {p.name for p in Path("runs/xor").iterdir()} == FILES - {"picture.png"}


def test_no_scikit_learn_is_said_with_the_command(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert main(["train"]) == 2
    assert "pip install 'xpmlp[cli]'" in capsys.readouterr().err


def test_early_stopping_leaves_the_test_part_alone(capsys: Capture) -> None:
    assert main(["train", "xor", "--early-stopping", "2", "--epochs", "200", "--lr", "0.5"]) == 0
    assert "val. accuracy" in capsys.readouterr().out
    history = rows("runs/xor")
    assert len(history) < 200
    assert "val_loss" in history[0]
    assert not any(name.startswith("test_") for name in history[0])
    mlp = xpmlp.load("runs/xor/model.xpmlp", backend="numpy")
    data = xpmlp.data.load("xor")
    result = json.loads(Path("runs/xor/result.json").read_text())
    assert mlp.evaluate(data.X_test, data.y_test)["loss"] == pytest.approx(result["test_loss"])


def test_every_option_reaches_the_network() -> None:
    options = "--hidden 8 8 --activation tanh --optimizer sgd --l2 0.01 --schedule constant"
    more = "--normalization layer --residual --dtype float64 --dropout 0.1 --batch-size 50"
    last = "--lr 0.05 --seed 9 --data-on host"
    assert main([*QUICK, "--quiet", *options.split(), *more.split(), *last.split()]) == 0
    mlp = xpmlp.load("runs/xor/model.xpmlp", backend="numpy")
    architecture = mlp.network.architecture
    assert (mlp.sizes, mlp.dtype, mlp.seed, mlp.penalty.l2) == ((2, 8, 8, 2), "float64", 9, 0.01)
    assert [a.name for a in architecture.activations] == ["tanh", "tanh"]
    assert (architecture.normalization, architecture.residual) == ("layer", True)
    assert architecture.dropout == (0.1, 0.1)
    assert rows("runs/xor")[0]["learning_rate"] == 0.05
    settings = json.loads(Path("runs/xor/result.json").read_text())["settings"]
    assert (settings["optimizer"], settings["batch_size"]) == ("sgd", 50)
    assert settings["data_on"] == "host"


@pytest.mark.parametrize("where", ["auto", "device", "host"])
def test_data_on_reaches_the_training(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    fit = xpmlp.MLP.fit

    def noted(self: xpmlp.MLP, *args: Any, **options: Any) -> Any:
        asked.append(options["data_on"])
        return fit(self, *args, **options)

    monkeypatch.setattr(xpmlp.MLP, "fit", noted)
    assert main([*QUICK, "--quiet", *([] if where == "auto" else ["--data-on", where])]) == 0
    assert asked == [where]


def test_the_environment_names_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("XPMLP_BACKEND", "torch")
    assert main(["train", "xor", "--epochs", "1", "--quiet"]) == 0
    assert json.loads(Path("runs/xor/result.json").read_text())["backend"] == "torch"


def test_regression_from_a_file(rng: np.random.Generator, capsys: Capture) -> None:
    X = rng.normal(size=(200, 3))
    table = np.column_stack([X, X @ [1.0, -2.0, 0.5]])
    np.savetxt("line.csv", table, delimiter=",", header="a,b,c,goal", comments="")
    options = ["--hidden", "--epochs", "40", "--lr", "0.05", "--dropout", "0", "--batch-size", "20"]
    assert main(["train", "line.csv", *options, "--label", "goal"]) == 0
    assert "test R2" in capsys.readouterr().out
    result = json.loads(Path("runs/line/result.json").read_text())
    assert result["test_r2"] > 0.99
    assert "test_accuracy" not in result
    assert {p.name for p in Path("runs/line").iterdir()} == FILES


def test_without_a_test_part(rng: np.random.Generator, capsys: Capture) -> None:
    np.savez("two.npz", X=rng.normal(size=(60, 2)), y=rng.integers(0, 3, 60))
    assert main(["train", "two.npz", "--epochs", "2", "--test-fraction", "0"]) == 0
    assert "no test part" in capsys.readouterr().out
    assert json.loads(Path("runs/two/result.json").read_text())["test_accuracy"] is None
    assert {p.name for p in Path("runs/two").iterdir()} == FILES


@pytest.mark.slow
def test_two_runs_at_once_get_two_folders() -> None:
    code = "import sys; from xpmlp.cli import main; sys.exit(main(sys.argv[1:]))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, *QUICK, "--quiet"]
    runs = [subprocess.Popen(command, env=env) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    assert {p.name for p in Path("runs").iterdir()} == {"xor", "xor-2"}


class Gpu(NumpyBackend):
    """A stand-in for a GPU backend: memory, and a run that has something to say."""

    notes: tuple[str, ...] = ()

    def memory(self) -> Memory:
        return Memory(3 * 2**29, 2**33, 2**37)

    def compile(self, step: Any) -> Any:
        run = super().compile(step)
        notes = self.notes

        class Noted:
            execution = Execution("captured in CUDA graphs", notes)

            def __call__(self, *args: Any) -> Any:
                return run(*args)

        return Noted()


def test_speed_memory_and_how_the_steps_ran_are_said(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = ("the head of 1 output runs as plain calls, because no kernel fits it", "b is slow")
    monkeypatch.setattr(Gpu, "notes", notes)
    monkeypatch.setattr("xpmlp_backends.numpy.backend.NumpyBackend", Gpu)
    assert main([*QUICK, "--early-stopping", "5"]) == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    text = " ".join(said.split())
    found = re.search(
        r"speed ([\d,]+) examples/s, steps captured in CUDA graphs; "
        r"1.5 GiB of 128.0 GiB GPU memory in use",
        text,
    )
    assert found, said
    result = json.loads(Path("runs/xor/result.json").read_text())
    assert float(found[1].replace(",", "")) == round(result["examples_per_second"])
    rows = round(0.9 * result["train_rows"])  # the others are held out
    assert result["examples_per_second"] * result["seconds"] == pytest.approx(3 * rows, rel=1e-6)
    assert result["memory"] == {"used": 3 * 2**29, "free": 2**33, "total": 2**37}
    assert result["execution"] == {"mode": "captured in CUDA graphs", "notes": list(notes)}
    for note in notes:
        assert f"warning: {note}" in text
    assert said.count("warning:") == 2


def test_nothing_is_said_of_memory_where_it_is_the_hosts(capsys: Capture) -> None:
    assert main(QUICK) == 0
    said = capsys.readouterr().out
    assert re.search(r"^speed     [\d,]+ examples/s, steps recorded$", said, re.MULTILINE)
    assert "memory" not in said
    assert "warning" not in said
    assert json.loads(Path("runs/xor/result.json").read_text())["memory"] is None


@pytest.mark.filterwarnings("ignore:the training loss ran away")
def test_the_diagnosis_names_classes(capsys: Capture) -> None:
    rng = np.random.default_rng(0)
    lines = [
        f"{a:.4f},{b:.4f},{'rare' if k > 395 else 'common'}"
        for k, (a, b) in enumerate(rng.normal(size=(400, 2)))
    ]
    Path("table.csv").write_text("\n".join(["a,b,kind", *lines]))
    assert main(["train", "table.csv", "--diagnose", "--epochs", "20", "--backend", "numpy"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "class imbalance" in said
    assert "Class 'rare' has" in said
    assert "predicted as class 'rare'" in said
