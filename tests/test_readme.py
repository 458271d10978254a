"""The README's promises that a test can keep."""

import re
from pathlib import Path
from typing import Any

import pytest

import xpmlp
from xpmlp.cli import parser
from xpmlp.nn.activations import ACTIVATIONS
from xpmlp.nn.losses import LOSSES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def example(number: int) -> str:
    """The code of an example, of which there are two."""
    found: list[str] = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(found) == 3
    return found[number]


def test_the_estimators_example_runs() -> None:
    pytest.importorskip("sklearn", reason="the README's example is of scikit-learn's data")
    names: dict[str, Any] = {}
    exec(example(1), names)
    assert names["model"].best_validation_score_ > 0.95


def test_the_library_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="the README's example moves a model to torch")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(example(0), names)
    history = names["history"]
    assert isinstance(history, dict)
    assert len(history["val_accuracy"]) == 20
    assert history["val_accuracy"][-1] > 0.95
    assert (tmp_path / "digits.xpmlp").exists()


def test_the_example_of_an_interruption_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data, newest = xpmlp.data.load("digits"), tmp_path / "run/step-000001200.xpmlp"
    weights, written = [], []
    for _ in range(2):
        mlp = xpmlp.MLP([64, 8, 10], backend="numpy", seed=0)
        exec(example(2), {"mlp": mlp, "data": data})
        assert mlp.epochs_trained == 100
        weights.append(mlp.state_dict()["dense1.W"])
        written.append(newest.stat().st_mtime_ns)
    assert written[0] == written[1]  # the second time there was nothing left to do
    assert (weights[0] == weights[1]).all()
    assert {"step-000000500.xpmlp", "best.xpmlp"} < {p.name for p in (tmp_path / "run").iterdir()}


def test_it_names_every_activation_and_loss() -> None:
    listed = {row.split("|")[1].strip(): row for row in README.splitlines() if row.startswith("| ")}
    found = {kind: set(re.findall(r"`(\w+)`", listed[kind])) for kind in ("activations", "losses")}
    assert found["activations"] == set(ACTIVATIONS) - {"exp"}  # exp is Poisson's link
    assert found["losses"] == set(LOSSES)


def test_the_commands_and_pictures_it_names_exist() -> None:
    commands = set(re.findall(r"xpmlp (train|evaluate|predict|info|\w+)\b", README))
    known = {"train", "evaluate", "predict", "info", "explain", "verify", "xor", "pictures"}
    assert known <= commands
    for command in known:
        with pytest.raises(SystemExit) as stop:
            parser.parse([command, "--help"])
        assert stop.value.code == 0
    for picture in re.findall(r"docs/pictures/\w+\.(?:png|gif)", README):
        assert (ROOT / picture).exists()


def test_the_tests_that_documents_name_exist() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "backends/README.md"]
    names = {
        name.removeprefix("tests/")
        for path in documents
        if path.exists()
        for name in re.findall(r"`([\w/]*test_\w+\.py)`", path.read_text(encoding="utf-8"))
    }
    assert len(names) > 20
    assert [name for name in names if not (ROOT / "tests" / name).is_file()] == []
