"""``xpmlp train --resume``: which run, with which options, and what is said of it."""

import errno
import json
import math
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
from small_mnist import PAYLOADS, use_small
from test_cli_resume import QUICK, RUN, Interrupt, history, interrupted, weights

import xpmlp
from xpmlp.callbacks import Callback
from xpmlp.cli import main, runs, train

Capture = pytest.CaptureFixture[str]
HINT = "to resume: xpmlp train --resume"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XPMLP_BACKEND", raising=False)
    monkeypatch.setattr(train, "draw", lambda *_: False)


def contents() -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def refused(arguments: list[str], capsys: Capture) -> str:
    """The one line of a command that changes nothing."""
    before = contents()
    capsys.readouterr()
    assert main(["train", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert contents() == before
    return error


# Which run


PLACES = ["~/runs/xor", "~/runs/xor/checkpoints", "runs/xor/checkpoints"]
PLACES += [f"runs/xor/{name}" for name in ("model.xpmlp", "settings.json", "history.jsonl")]


@pytest.mark.parametrize("place", PLACES)
def test_a_run_is_found(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert main([*QUICK, "--out", "whole", "--quiet"]) == 0
    interrupted(monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["train", "--resume", place]) == 0
    assert weights(RUN) == weights(Path("whole"))
    assert "resuming after step 60 " in capsys.readouterr().out


def test_a_run_in_a_folder_of_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, "--out", "checkpoints")
    assert main(["train", "--resume", "checkpoints"]) == 0


def test_an_empty_name_is_no_run_and_begins_none(capsys: Capture) -> None:
    assert "--resume: found an empty name" in refused(["--resume", ""], capsys)
    assert not Path("runs").exists()


# From where


def test_it_is_said_from_where_it_goes_on(capsys: Capture) -> None:
    assert main([*QUICK, "--checkpoint-every", "30", "--quiet"]) == 0
    files = sorted((RUN / "checkpoints").glob("step-*"))
    steps = [int(path.stem[5:]) for path in files]
    for path, step in zip((files[0], RUN), (steps[0], steps[-1]), strict=True):
        (RUN / "result.json").unlink()
        assert main(["train", "--resume", str(path)]) == 0
        said = " ".join(capsys.readouterr().out.split())
        epoch = math.ceil(4 * step / steps[-1])
        assert (
            f"resuming after step {step} (epoch {epoch} of 4), from step-{step:09d}.xpmlp" in said
        )


def test_a_run_without_a_checkpoint_starts_from_the_beginning_and_says_so(capsys: Capture) -> None:
    assert main([*QUICK, "--quiet"]) == 0
    whole, rows = weights(RUN), history(RUN)
    (RUN / "result.json").unlink()
    capsys.readouterr()
    assert main(["train", "--resume", str(RUN)]) == 0
    said = capsys.readouterr().out
    assert "no checkpoint yet: starting from the beginning\n" in said
    assert "resuming" not in said
    assert (weights(RUN), history(RUN)) == (whole, rows)
    assert main([*QUICK]) == 0
    assert "from the beginning" not in capsys.readouterr().out


# With which options


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (["--activation", "relu"], "--activation"),
        (["--seed", "0"], "--seed"),
        (["digits"], "the data 'digits'"),
    ],
)
def test_what_equals_its_default_is_given_too(
    given: list[str], found: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    interrupted(monkeypatch, "--activation", "tanh", "--seed", "3")
    error = refused([*given, "--resume", str(RUN)], capsys)
    assert f"found {found}. Leave it out" in error


def test_the_data_may_go_back_to_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch, "--data-on", "host")
    assert main(["train", "--resume", str(RUN), "--data-on", "auto"]) == 0
    assert json.loads((RUN / "result.json").read_text())["settings"]["data_on"] == "auto"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["xor", "--epochs=many"], "invalid int value: 'many'"),
        (["xor", "--evil"], "unrecognized arguments: --evil"),
        (["xor", "--help"], "found --help"),
        (["xor", "--json=other.json"], "found --json"),
        (["xor", "--out=other", "--resume=x"], "found --out"),
    ],
)
def test_settings_that_are_no_runs(
    wrong: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    interrupted(monkeypatch)
    (RUN / "settings.json").write_text(json.dumps({"arguments": wrong}))
    error = refused(["--resume", str(RUN)], capsys)
    assert f"{RUN}/settings.json: cannot be read (" in error
    assert words in error
    assert capsys.readouterr().out == ""


def test_the_folder_of_mnist_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_small(monkeypatch)
    Path("here").mkdir()
    for name, content in PAYLOADS.items():
        Path("here", name).write_bytes(content)
    monkeypatch.setenv("XPMLP_DATA_DIR", "here")
    monkeypatch.setattr("test_cli_resume.QUICK", ["train", "mnist", "--epochs", "2"])
    interrupted(monkeypatch, "--backend", "numpy", "--hidden", "4", epoch=1)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    monkeypatch.delenv("XPMLP_DATA_DIR")
    assert main(["train", "--resume", str(tmp_path / "runs/mnist")]) == 0


# How to resume


@pytest.mark.parametrize("name", ["two  spaces", "-x", "it's; $HOME", "tab\there", "- a"])
def test_the_command_that_is_said_goes_on(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    interrupted(monkeypatch, f"--out={name}")
    command = capsys.readouterr().err.split("to resume: ")[1]
    assert command.endswith("\n")
    assert main(shlex.split(command)[1:]) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda: Path("data.csv").write_text("a,b,label\n" + "1,2,x\n2,1,y\n" * 50),
        lambda: Path("data.csv").write_text("a,label\n" + "1,x\n2,y\n" * 50),
        lambda: [p.write_bytes(b"x") for p in Path("run/checkpoints").iterdir()],
    ],
    ids=["other data", "other columns", "damaged checkpoints"],
)
def test_what_is_refused_would_be_refused_again(
    change: Any, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    Path("data.csv").write_text("a,b,label\n" + "1,2,x\n2,3,y\n" * 50)
    options = ["train", "data.csv", "--epochs", "4", "--out", "run", "--hidden", "4"]
    monkeypatch.setattr("test_cli_resume.QUICK", options)
    interrupted(monkeypatch, "--backend", "numpy")
    change()
    assert HINT not in refused(["--resume", "run"], capsys)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "No space left on device"), 2),
        (MemoryError(), 2),
        (xpmlp.errors.DeviceMemoryError("the device ran out of memory"), 2),
        (RuntimeError("a fault"), None),
    ],
)
def test_what_may_pass_says_how_to_go_on(
    error: BaseException, status: int | None, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    class Fail(Callback):
        def on_epoch_begin(self, training: Any) -> None:
            if training.epoch == 2:
                raise error

    monkeypatch.setattr(train, "ShowProgress", lambda *_: Fail())
    if status is None:
        with pytest.raises(RuntimeError) as caught:
            main([*QUICK, "--checkpoint-every", "30"])
        assert caught.value.__notes__[-1] == f"{HINT} {RUN}"
    else:
        assert main([*QUICK, "--checkpoint-every", "30"]) == status
        assert f"{HINT} {RUN}\n" in capsys.readouterr().err


@pytest.mark.parametrize("asked", [[], ["--checkpoint-every", "30"]])
def test_a_run_that_is_finished_needs_no_hint_and_no_checkpoints(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    write = runs.write_atomically

    def interrupt(path: Path, content: bytes) -> None:
        write(path, content)
        if path.name == "result.json":
            raise KeyboardInterrupt

    monkeypatch.setattr(train, "PAUSE", 0.0)
    monkeypatch.setattr(runs, "write_atomically", interrupt)
    assert main([*QUICK, "--quiet", *asked]) == 130
    error = capsys.readouterr().err
    assert error == f"xpmlp: interrupted; the run is finished, see {RUN}/result.json\n"
    assert (RUN / "checkpoints").exists() == bool(asked)  # asked for, they stay


def test_ctrl_c_again_stops_the_saving_but_the_hint_is_given(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(xpmlp.MLP, "save", lambda *_: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr(train, "ShowProgress", lambda *_: Interrupt(2))
    assert main([*QUICK, "--checkpoint-every", "30"]) == 130
    assert capsys.readouterr().err == f"xpmlp: interrupted; {HINT} {RUN}\n"


def test_a_kill_before_the_file_of_settings_is_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(monkeypatch)
    made, left = RUN / "run.toml", RUN / f".run.toml.{'0a' * 8}.tmp"
    text = made.read_bytes()
    made.rename(left)
    assert main(["train", "--resume", str(RUN)]) == 0
    assert made.read_bytes() == text
    assert not left.exists()
