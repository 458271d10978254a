"""The record of MNIST: what is measured, what a line must have, and the lines that are there."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_backend

from benchmarks.mnist import job, main, records, run
from xpmlp.nn.augmented import Augment
from xpmlp.training.digit_recipes import RECIPES


def lines() -> list[dict[str, Any]]:
    return records.read(run.RECORDS)


def example() -> dict[str, Any]:
    """A line that is right."""
    return {
        "recipe": "quick",
        "seed": 0,
        "library": "xpmlp",
        "backend": "numpy",
        "threads": 2,
        "device": "cpu",
        "measured_on": "test",
        "epochs": 2,
        "seconds": 4.5,
        "setup_seconds": 3,
        "error": 1.4,
        "error_of_one_look": 1.5,
        "to": {"98": 2.25, "98.5": 4.5, "99": None, "99.3": None},
        "curve": [[1, 2.25, 98.2], [2, 4.5, 98.5]],
        "settings": {},
        "environment": {"date": "2026-12-01", "cpu": "x", "cores_used": 2, "versions": {"a": "1"}},
    }


def test_each_recorded_line_is_one() -> None:
    for line in lines():
        records.check(line)
        assert line["measured_on"] == "test", records.key(line)
        made = RECIPES[line["recipe"]]
        assert line["settings"] == json.loads(json.dumps(vars(made))), records.key(line)
        assert line["epochs"] == made.epochs, records.key(line)


def test_no_run_is_there_twice_and_the_page_has_the_table_of_all() -> None:
    assert max(Counter(map(records.key, lines())).values(), default=1) == 1
    text = run.PAGE.read_text(encoding="utf-8")
    assert records.on_page(text) == "\n".join(records.table(lines()) if lines() else [])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": "0"}, "seed: found '0'; expected int"),
        ({"error": float("nan")}, "error: found nan"),
        ({"more": 1}, r"fields: found \['more'\]"),
        ({"measured_on": "train"}, "measured_on"),
        ({"environment": {"date": "2026"}}, "found no cpu, cores_used, versions"),
        ({"curve": []}, "curve: expected"),
        ({"curve": [[2, 1.0, 98.2], [1, 4.5, 98.5]]}, "epochs that do not rise"),
        ({"curve": [[1, 5.0, 98.2], [2, 4.5, 98.5]]}, "seconds that do not rise"),
        ({"curve": [[1, 2.25, 98.2]]}, "an end that is not the run's"),
        ({"error_of_one_look": 1.2}, "another than the curve ends with"),
        ({"to": {"98": 2.25}}, "to: found"),
        ({"to": {"98": 1.0, "98.5": 4.5, "99": None, "99.3": None}}, "to 98 %: found 1.0"),
        ({"to": {"98": 2.25, "98.5": 4.5, "99": 4.5, "99.3": None}}, "to 99 %: found 4.5"),
    ],
)
def test_a_line_that_is_no_record_is_refused(change: dict[str, Any], says: str) -> None:
    records.check(example())
    with pytest.raises(ValueError, match=says):
        records.check(example() | change)


def test_the_table() -> None:
    other = example() | {"seed": 1, "error": 1.6}
    other["to"] = {"98": 3.25, "98.5": None, "99": None, "99.3": None}
    head, rule, row = records.table([other, example()])
    assert head.count("|") == rule.count("|") == row.count("|")
    assert "xpmlp, numpy, 2 threads | 2 | 1.50 ± 0.14 % | 1.40, 1.60 | 2.8 (5.8) |  |" in row


def test_the_table_is_written_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{records.BEGIN}\nold\n{records.END}\nafter\n")
    records.write_page(page, ["| a |"])
    assert page.read_text() == f"before\n{records.BEGIN}\n\n| a |\n\n{records.END}\nafter\n"
    assert records.on_page(page.read_text()) == "| a |"
    page.write_text("nothing")
    with pytest.raises(ValueError, match="found no marks"):
        records.write_page(page, [])


@pytest.fixture
def same_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run here: a fresh process takes seconds to begin."""
    monkeypatch.setattr(run, "prepare_process", lambda threads: threads or 1)
    monkeypatch.setattr(run, "child_json", lambda module, text: job.main(text))


QUICK = ["--quick", "--seeds", "1", "--threads", "1", "--libraries", "xpmlp", "--recipes"]


@pytest.mark.usefixtures("same_process")
def test_a_tiny_run_and_going_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "records" / "mnist.jsonl"
    main([*QUICK, "quick", "--out", str(out)])
    (line,) = records.read(out)
    records.check(line)
    assert line["measured_on"] == "noise"
    assert "quick xpmlp numpy 1 0" in capsys.readouterr().out
    with open(out, "a") as file:
        file.write('{"recipe": "go')  # a kill in the middle of a line
    main([*QUICK, "quick", "--out", str(out)])
    assert "quick xpmlp numpy 1 0" not in capsys.readouterr().out
    assert records.read(out) == [line]
    main(["--report", "--out", str(out)])
    assert "| quick | xpmlp, numpy, 1 threads | 1 |" in capsys.readouterr().out


@pytest.mark.usefixtures("same_process")
def test_what_augmentation_costs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--cost", "--quick"])
    rows = capsys.readouterr().out.strip().splitlines()
    assert rows[2].startswith("| none |")
    assert any(row.startswith("| elastic |") and "×" in row for row in rows)


def test_it_knows_all_recipes() -> None:
    assert tuple(RECIPES) == run.NAMES


def test_what_is_tried_is_no_record(capsys: pytest.CaptureFixture[str]) -> None:
    for tried in (["--quick"], ["--validation"], ["--epochs", "1"]):
        with pytest.raises(SystemExit):
            main(tried)
        assert "give another file with --out" in capsys.readouterr().err


@pytest.mark.usefixtures("same_process")
def test_the_peer_trains(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "mnist.jsonl"
    main([*QUICK[:-3], "--libraries", "pytorch", "--recipes", "good", "--out", str(out)])
    (line,) = records.read(out)
    records.check(line)


@pytest.mark.parametrize("spec", ["shift:2", "rotate:20", "scale:0.2", "shear:0.2", "elastic:34"])
def test_the_peers_pictures_vary_as_ours(spec: str) -> None:
    """Other numbers, but as much: the mean distance of variants from a picture."""
    torch = pytest.importorskip("torch")
    from benchmarks.mnist.pytorch import augmented

    torch.manual_seed(0)
    at = np.arange(28) - 13.5
    picture = np.exp(-((at[:, None] - 2) ** 2 + (2 * at[None, :]) ** 2) / 40).astype(np.float32)
    x = np.tile(picture.reshape(1, -1), (600, 1))
    theirs = augmented(torch.from_numpy(x), (spec,)).numpy()
    ours: Any = Augment.of(spec, (28, 28))
    found = ours(make_backend("numpy-plain").ops, x, np.array([3, 4], np.int32))
    distances = [np.linalg.norm(made - x, axis=1) for made in (found, theirs)]
    assert np.mean(distances[0]) == pytest.approx(np.mean(distances[1]), rel=0.1)
    assert np.std(distances[0]) == pytest.approx(np.std(distances[1]), rel=0.2)
