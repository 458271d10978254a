"""``xpmlp train --checkpoint-every`` and ``--resume``; tests/robustness has what interrupts."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from robustness.faults import kill, started

import xpmlp
from xpmlp.callbacks import Callback
from xpmlp.cli import main, train
from xpmlp.storage.locking import locked

Capture = pytest.CaptureFixture[str]
QUICK = ["train", "xor", "--epochs", "4", "--backend", "numpy"]
RUN = Path("runs/xor")
BAD_NUMBER, BAD_LIST = '{"arguments": 3}', '{"arguments": [3]}'


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XPMLP_BACKEND", raising=False)
    monkeypatch.setattr(train, "draw", lambda *_: False)


class Interrupt(Callback):
    """Ctrl-C at the beginning of an epoch, for once."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_begin(self, training: Any) -> None:
        if training.epoch == self.epoch:
            raise KeyboardInterrupt


def interrupted(monkeypatch: pytest.MonkeyPatch, *more: str, epoch: int = 2) -> None:
    with monkeypatch.context() as context:
        context.setattr(train, "ShowProgress", lambda *_: Interrupt(epoch))
        assert main([*QUICK, "--checkpoint-every", "30", *more]) == 130


def weights(folder: Path) -> dict[str, bytes]:
    mlp = xpmlp.load(folder / "model.xpmlp", backend="numpy")
    return {name: value.tobytes() for name, value in mlp.state_dict().items()}


def history(folder: Path) -> list[dict[str, Any]]:
    rows = map(json.loads, (folder / "history.jsonl").read_text().splitlines())
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_a_run_goes_on_from_any_folder_and_ends_as_if_uninterrupted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    rng = np.random.default_rng(0)
    np.savez("data.npz", X=rng.normal(size=(90, 3)), y=rng.integers(0, 2, 90))
    options = ["--hidden", "7", "7", "--lr", "0.003", "--early-stopping", "3", "--residual"]
    monkeypatch.setattr(
        "test_cli_resume.QUICK", ["train", "data.npz", *options, "--epochs", "4", "--seed", "3"]
    )
    assert main([*QUICK, "--backend", "numpy", "--out", "whole"]) == 0
    assert not Path("whole/checkpoints").exists()
    interrupted(monkeypatch, "--backend", "numpy", "--out", "part")
    assert "to resume: xpmlp train --resume part" in capsys.readouterr().err
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert main(["train", "--resume", str(tmp_path / "part")]) == 0
    monkeypatch.chdir(tmp_path)
    assert weights(Path("part")) == weights(Path("whole"))
    assert history(Path("part")) == history(Path("whole"))
    kept = {path.name for path in Path("part/checkpoints").iterdir()}
    assert kept == {"step-000000012.xpmlp", "best.xpmlp"}  # asked for, so they stay
    said = capsys.readouterr().out
    assert "    3/4 " in said
    assert "    2/4 " not in said


def test_from_a_checkpoint_of_ones_choice(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert main([*QUICK, "--out", "whole", "--quiet"]) == 0
    interrupted(monkeypatch, epoch=3)
    first = min((RUN / "checkpoints").glob("step-*"))
    assert main(["train", "--resume", str(first)]) == 0
    assert weights(RUN) == weights(Path("whole"))
    assert history(RUN) == history(Path("whole"))
    assert "    2/4 " in capsys.readouterr().out


def test_a_damaged_checkpoint_gives_way_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: Capture
) -> None:
    interrupted(monkeypatch)
    newest, before = sorted((RUN / "checkpoints").glob("step-*"), reverse=True)[:2]
    newest.write_bytes(newest.read_bytes()[:-1])
    capsys.readouterr()
    assert main(["train", "--resume", str(newest)]) == 2
    error = capsys.readouterr().err
    assert f"{before.absolute()} is valid: resume from it" in error
    assert error.count("\n") == 1
    assert main(["train", "--resume", str(RUN)]) == 0
    assert f"Resuming from {before.absolute()}" in caplog.text
    error = capsys.readouterr().err
    assert error.startswith(f"xpmlp: warning: {newest.absolute()}")
    assert error.count("\n") == 1


def test_where_it_computes_and_what_it_says_may_be_another(
    monkeypatch: pytest.MonkeyPatch, torch_backend: Any, capsys: Capture
) -> None:
    interrupted(monkeypatch)
    capsys.readouterr()
    again = ["train", "--resume", str(RUN), "--backend", "torch", "--device", "cpu", "--json", "-"]
    assert main([*again, "--data-on", "host"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["backend"], result["epochs"]) == ("torch", 4)
    assert result["settings"]["data_on"] == "host"


@pytest.mark.parametrize(
    ("more", "found"),
    [
        (["--lr", "0.1"], "--lr"),
        (["--epochs", "9"], "--epochs"),
        (["--out", "other"], "--out"),
        (["mnist"], "the data 'mnist'"),
        (["--checkpoint-every", "5"], "--checkpoint-every"),
        (["--residual"], "--residual"),
    ],
)
def test_nothing_else_may(
    more: list[str], found: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    interrupted(monkeypatch)
    before = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(["train", *more, "--resume", str(RUN)]) == 2
    error = capsys.readouterr().err
    assert f"--resume continues a run with its own settings; found {found}. Leave it out" in error
    assert error.count("\n") == 1
    assert {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()} == before


def test_what_cannot_be_resumed(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def refused(folder: str, words: str) -> None:
        capsys.readouterr()
        assert main(["train", "--resume", folder]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1

    refused("nowhere", "--resume nowhere: found no run there; expected a folder with settings.json")
    assert main([*QUICK, "--quiet"]) == 0
    refused(str(RUN), "this run is finished, see runs/xor/result.json")
    (RUN / "result.json").unlink()
    for wrong in ("", "{", "[]", "{}", BAD_NUMBER, BAD_LIST, "[" * 10**5, "\xff"):
        (RUN / "settings.json").write_text(wrong, encoding="latin-1")
        refused(str(RUN), "settings.json: cannot be read")


def test_arguments_of_a_hostile_file_are_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    interrupted(monkeypatch)
    for wrong, words in (
        (["nothing.csv"], "no such file"),
        (["xor", "--epochs=5"], "other epochs: found 5; it had 4"),
    ):
        (RUN / "settings.json").write_text(json.dumps({"arguments": wrong}))
        assert main(["train", "--resume", str(RUN)]) == 2
        assert words in capsys.readouterr().err


def test_an_interrupted_run_is_not_overwritten(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    interrupted(monkeypatch)
    before = {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main([*QUICK, "--out", str(RUN)]) == 2
    assert "Resume it: xpmlp train --resume runs/xor" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in RUN.rglob("*") if path.is_file()} == before


def test_of_two_runs_in_a_folder_the_second_is_refused_until_the_first_is_dead(
    capsys: Capture,
) -> None:
    reading, writing = os.pipe()

    def train_for_long() -> None:
        with locked(RUN, "a run"):
            os.write(writing, b"!")
            time.sleep(60)

    RUN.mkdir(parents=True)
    child = started(train_for_long)
    assert os.read(reading, 1) == b"!"
    assert main([*QUICK, "--out", str(RUN)]) == 2
    error = capsys.readouterr().err
    assert f"{RUN}: a run is under way there already, by process {child} on " in error
    assert error.count("\n") == 1
    kill(child)
    assert main([*QUICK, "--out", str(RUN), "--quiet"]) == 0


def test_without_a_wish_there_is_one_checkpoint_a_minute_and_none_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[list[str]] = []

    class Look(Callback):
        def on_epoch_begin(self, training: Any) -> None:
            seen.append([path.name for path in Path().glob("*/**/checkpoints/*")])

    monkeypatch.setattr(train, "ShowProgress", lambda *_: Look())
    monkeypatch.setattr(train, "PAUSE", 0.0)
    assert main(QUICK) == 0
    assert [len([n for n in names if n.startswith("step")]) for names in seen] == [0, 1, 2, 2]
    assert not (RUN / "checkpoints").exists()
    monkeypatch.setattr(train, "PAUSE", 60.0)
    seen.clear()
    assert main([*QUICK, "--out", "again"]) == 0
    assert not any(name.startswith("step") for names in seen for name in names)


@pytest.mark.parametrize("wrong", ["0", "-3"])
def test_a_wrong_number_of_steps_is_said_by_its_flag(wrong: str, capsys: Capture) -> None:
    assert main([*QUICK, f"--checkpoint-every={wrong}"]) == 2
    assert f"--checkpoint-every: found {wrong}" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_file_cannot_choose_a_module_to_import(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    """A run on an array library by its module's name: who resumes it says so again."""
    pytest.importorskip("array_api_strict")
    interrupted(monkeypatch, "--backend", "array_api_strict")
    (tmp_path / "evil.py").write_text("open('evil.txt', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    settings = RUN / "settings.json"
    recorded = settings.read_text()
    settings.write_text(recorded.replace("array_api_strict", "evil"))
    capsys.readouterr()
    assert main(["train", "--resume", str(RUN)]) == 2
    assert "add --backend evil" in capsys.readouterr().err
    assert not Path("evil.txt").exists()
    settings.write_text(recorded)
    assert main(["train", "--resume", str(RUN), "--backend", "array_api_strict"]) == 0
