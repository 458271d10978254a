"""The README's promises that a test can keep: its code, commands, pictures, figures and words."""

import json
import re
import shutil
import tomllib
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp import schedules
from xpmlp.cli import main, parser
from xpmlp.nn.activations import ACTIVATIONS
from xpmlp.nn.losses import LOSSES
from xpmlp.nn.optimizers import OPTIMIZERS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHANGES = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
TEXTS = [
    *(path.name for path in sorted(ROOT.glob("*.md")) if path.name != "CONTRIBUTING.md"),
    *(f"docs/why/{name}.md" for name in ("array_api", "measured", "randomness", "recorded_step")),
]
"""Texts that keep to the rules of length."""


def blocks(language: str) -> list[str]:
    """The README's code of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


COMMANDS = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
STRANGERS = [line for line in COMMANDS if line.startswith("python3 -m venv")]
"""The two that .ci/run and scripts/release run."""

PICTURES = {
    "xor.gif": ("xpmlp xor --gif", "runs/xor/xor.gif"),
    "digits.png": ("xpmlp train digits", "runs/digits/picture.png"),
}
"""The README's pictures: what makes them, and where."""

NAMED = [line.removeprefix(".venv/bin/") for line in COMMANDS if line not in STRANGERS]
NAMED += re.findall(r"`(xpmlp [^`]*)`", README)
ELSEWHERE = ["xpmlp play", *(made for made, _ in PICTURES.values())]
"""Commands that other tests run: the page is served until Ctrl-C."""

OTHERS = [command for command in NAMED if command not in ELSEWHERE]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with the README's data and nothing else."""
    shutil.copytree(ROOT / "docs/data", tmp_path / "docs/data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XPMLP_BACKEND", "numpy")
    return tmp_path


def test_the_example_runs(folder: Path) -> None:
    (example,) = blocks("python")
    assert len(example.splitlines()) <= 10
    names: dict[str, Any] = {}
    exec(example, names)
    data = names["data"]
    assert names["mlp"].evaluate(data.X_test, data.y_test)["accuracy"] > 0.95
    assert (folder / "digits.xpmlp").exists()


ASKED = re.findall(r"\| `(MLPClassifier\(.*)` \|", README)


@pytest.mark.parametrize("code", ASKED)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_scikit_learn_lacks_runs_here_and_not_there(code: str) -> None:
    theirs = pytest.importorskip("sklearn.neural_network", reason="compared with scikit-learn")
    from sklearn.datasets import load_iris

    from xpmlp.sklearn import MLPClassifier

    X, y = load_iris(return_X_y=True)
    names = {"X": X, "y": y, "X_val": X[::3], "y_val": y[::3], "classes": [0, 1, 2]}
    names["__name__"] = __name__
    eval(code, {**names, "MLPClassifier": MLPClassifier})
    with pytest.raises((TypeError, AttributeError)):
        eval(code, {**names, "MLPClassifier": theirs.MLPClassifier})


def test_there_are_two_commands_and_their_like_for_windows() -> None:
    assert len(STRANGERS) == 2
    assert len(ASKED) == 4
    windows = [line for block in blocks("powershell") for line in block.splitlines()]
    to_windows = {"python3": "python", " &&": ";", ".venv/bin/": ".venv\\Scripts\\"}
    for here, there in zip(STRANGERS, windows, strict=True):
        for old, new in to_windows.items():
            here = here.replace(old, new)
        assert here == there


@pytest.mark.parametrize("command", OTHERS)
@pytest.mark.usefixtures("undrawn")
def test_the_other_commands_run(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("duckdb", reason="it reads tables")
    assert main(command.split()[1:]) == 0
    assert capsys.readouterr().out


def test_the_first_command_is_one_of_ours() -> None:
    asked = STRANGERS[0].rpartition(".venv/bin/xpmlp ")[2].split()
    assert parser.parse(asked).command == "train"


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_the_commands_make_these_pictures(name: str, folder: Path) -> None:
    pytest.importorskip("matplotlib")
    from PIL import Image

    command, made = PICTURES[name]
    assert command in README
    assert main(command.split()[1:]) == 0
    with Image.open(folder / made) as new, Image.open(ROOT / "docs/pictures" / name) as old:
        assert new.size == old.size
        frames = getattr(old, "n_frames", 1)
        assert getattr(new, "n_frames", 1) == frames
        for image in (new, old):
            image.seek(frames - 1)
        pixels = [np.asarray(image.convert("RGB"), np.float64) for image in (new, old)]
    assert np.abs(pixels[0] - pixels[1]).mean() < 2  # of 255: rounding moves a point, no more


def links(text: str) -> set[str]:
    return {
        target.partition("#")[0]
        for target in re.findall(r"\]\(([^)]+)\)", text)
        if not target.startswith(("https://", "#"))
    }


def test_what_it_links_to_exists() -> None:
    found = set(links(README))
    assert len(found) > 8
    assert [link for link in found if not (ROOT / link).is_file()] == []
    assert {f"docs/pictures/{name}" for name in PICTURES} == {
        link for link in found if link.startswith("docs/pictures/")
    }


def test_its_figures_are_those_of_the_log() -> None:
    log = ROOT / "benchmarks/results/cpu-2026-11-21-training-inference.json"
    training = json.loads(log.read_text())["training"]
    rows = re.findall(r"^\| ([\d-]+), (\d+) \| (.*) \|$", README, flags=re.MULTILINE)
    assert [network for network, *_ in rows] == list(training)
    for network, batch, cells in rows:
        measured = training[network]["rows"]
        assert int(batch) == training[network]["batch"]
        numbers = [float(cell.strip(" ×").replace(",", "")) for cell in cells.split("|")]
        ours, alone, *others = numbers
        assert ours == pytest.approx(measured["xpmlp numpy"]["us_per_step"]["median"], rel=0.005)
        assert alone == pytest.approx(measured["products only"]["us_per_step"]["median"], rel=0.005)
        names = ("PyTorch eager", "scikit-learn", "JAX jit + scan")
        for name, times in zip(names, others, strict=True):
            assert times == pytest.approx(measured[name]["times_xpmlp_numpy"], rel=0.02)


def test_the_changelog_counts_what_there_is() -> None:
    bases = {"Schedule", "Custom", "schedule"}
    counts = {
        "activations": len(ACTIVATIONS.keys() - {"exp"}),  # exp is Poisson's link
        "losses": len(LOSSES),
        "optimizers": len(OPTIMIZERS),
        "schedules": len(set(schedules.__all__) - bases),
    }
    for kind, number in counts.items():
        assert f"{number} {kind}" in CHANGES


def test_the_version_is_the_same_everywhere() -> None:
    assert f"## {xpmlp.__version__}\n" in CHANGES or "## Unreleased\n" in CHANGES
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    released = re.findall(r"^## (\d[\d.]*)$", CHANGES, flags=re.MULTILINE)[0]
    assert f"\nversion: {released}\n" in cited
    assert f"xpmlp {released}, " in README
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"\nlicense: {project['license']}\n" in cited


def sentences(text: str) -> list[list[str]]:
    """The words of each sentence, without front matter, code, tables, headings and pictures."""
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    text = re.sub(r"^(```+).*?^\1\n", "\n", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    text = re.sub(r"^(?:\||#|!\[).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`|\$[^$]*\$", "code", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^ *(?:[-*]|\d+\.) ", "\n", text, flags=re.MULTILINE)
    parts = re.split(r"\n\s*\n|(?<=[.!?])[*_]*\s", text)
    return [words for part in parts if (words := re.findall(r"[\w'’.-]*\w[\w'’-]*", part))]


def test_sentences_are_counted() -> None:
    text = "# No\n\nOne two, `three four`. Five [six](no.md) 8.5?\n\n| no | no |\n\n- nine\n- ten\n"
    assert list(map(len, sentences(text))) == [3, 3, 1, 1]


@pytest.mark.parametrize("name", TEXTS)
def test_sentences_are_short(name: str) -> None:
    found = sentences((ROOT / name).read_text(encoding="utf-8"))
    assert [" ".join(words) for words in found if len(words) > 30] == []
    assert mean(map(len, found)) <= 12


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150
    assert len(CHANGES.splitlines()) <= 80


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
