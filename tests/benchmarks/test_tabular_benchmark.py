"""The benchmark on tables measures what it says, and goes on where it was."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("pandas")
from sklearn import metrics

from benchmarks import __main__ as start
from benchmarks.tabular import contestants, main, measure, report, run, sets

QUICK = ["--quick", "--folds", "1", "--threads", "1"]
OURS = ("fast", "plain", "sklearn-mlp", "hist-gb")


@pytest.fixture(autouse=True)
def _same_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process keeps its cores and threads."""
    monkeypatch.setattr(run, "prepare_process", lambda threads: threads or 1)


def test_a_tiny_run_and_going_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results" / "tabular.jsonl"
    first = ["--sets", "breast", "diabetes", "--contestants", *OURS, *QUICK, "--out", str(out)]
    main(first)
    lines = run.read(out)
    assert {run.key(line) for line in lines} == {
        (name, 0, who) for name in ("breast", "diabetes") for who in OURS
    }
    assert all(math.isfinite(line["error"]) and line["fit_seconds"] > 0 for line in lines)
    said = capsys.readouterr().out
    assert "mean normalised error over 2 sets" in said
    with open(out, "a") as file:
        file.write('{"set": "bre')  # a kill in the middle of a line
    out.write_text("\n".join(out.read_text().splitlines()[1:]))
    main(first)
    assert len(run.read(out)) == len(lines)
    assert len(capsys.readouterr().out.split("mean normalised")[0].splitlines()) <= 3
    main(["--report", "--out", str(out)])
    assert "wins/ties/losses" in capsys.readouterr().out


def test_no_fit_begins_after_the_minutes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tabular.jsonl"
    main(["--sets", "breast", "--contestants", "fast", *QUICK, "--minutes", "0", "--out", str(out)])
    assert run.read(out) == []
    assert "the same command goes on from here" in capsys.readouterr().out


def test_who_is_not_installed_is_left_out_with_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contestants, "find_spec", lambda name: None)
    monkeypatch.setattr(sets, "find_spec", lambda name: None if name == "ISLP" else name)
    who = ["--contestants", "hist-gb", "td", "lightgbm"]
    main(["--sets", "oj", *who, *QUICK, "--out", str(tmp_path / "tabular.jsonl")])
    said = capsys.readouterr().out
    for line in ("oj: ISLP", "td: pytabkit", "lightgbm: lightgbm"):
        assert f"left out: {line} is not installed" in said
    assert "no results" in said


@pytest.mark.parametrize("option", ["--sets", "--contestants"])
def test_unknown_names_are_refused(option: str) -> None:
    with pytest.raises(SystemExit, match="known are"):
        main([option, "nobody", *QUICK])
    with pytest.raises(SystemExit):
        main(["--folds", "6"])


def test_it_is_one_of_the_benchmarks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["benchmarks", "tabular", "--report", "--out", str(tmp_path / "none.jsonl")]
    monkeypatch.setattr(start.sys, "argv", arguments)
    start.main()
    assert capsys.readouterr().out.strip() == "no results"


def test_there_are_enough_sets_of_both_kinds() -> None:
    kinds = [one.kind for one in sets.SETS]
    assert kinds.count("classes") == kinds.count("values") == 14
    assert len({one.name for one in sets.SETS}) == len(kinds)
    assert list(sets.BY_NAME)[:2] == ["breast", "diabetes"]


@pytest.mark.parametrize("name", ["breast", "digits", "diabetes"])
def test_a_table_has_no_target_among_its_columns(name: str) -> None:
    one = sets.BY_NAME[name]
    X, y = one.table()
    assert one.why_not is None
    assert len(X) == len(y)
    assert one.target not in X
    assert 200 <= len(X) <= 50_000


def test_columns_become_numbers_and_categories() -> None:
    pandas = pytest.importorskip("pandas")
    rows = 30_000
    frame = pandas.DataFrame(
        {
            "rownames": range(rows),
            "n": np.arange(rows),
            "t": ["a", None, "b"] * (rows // 3),
            "f": [True, False] * (rows // 2),
            "y": [np.nan, 1.0, 2.0] * (rows // 3),
            "gone": range(rows),
        }
    )
    one = sets.TabularSet("made", "pandas", "y", "values", lambda: frame, ("gone",))
    X, y = one.table()
    assert list(X) == ["n", "t", "f"]
    assert [str(X[name].dtype) for name in X] == ["float64", "category", "category"]
    assert len(X) == sets.MOST_ROWS == 20_000
    assert not np.isnan(y).any()
    again, _ = one.table()
    assert (again["n"] == X["n"]).all()
    classes = sets.TabularSet("made", "nothing_like_it", "t", "classes", lambda: frame)
    assert classes.table()[1].tolist()[:2] == [0, 1]
    assert classes.why_not == "nothing_like_it is not installed"


def test_folds_are_the_same_for_everyone_and_cover_all_rows() -> None:
    y = np.repeat([0, 1, 2], [50, 30, 3])
    with_classes, again = run.folds("classes", y), run.folds("classes", y)
    assert sorted(np.concatenate([test for _, test in with_classes])) == list(range(83))
    for (a, b), (c, d) in zip(with_classes, again, strict=True):
        assert (a == c).all()
        assert (b == d).all()
        assert abs(np.sum(y[b] == 0) - 10) <= 1
    assert len(run.folds("values", y)) == 5


def probabilities(n: int = 400) -> Any:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([0.3, 0.5, 0.7], n)
    return p, np.array([rng.choice(3, p=row) for row in p])


def test_classes_are_measured_as_by_scikit_learn() -> None:
    p, y = probabilities()
    found = measure.of_classes(p, y)
    assert found["error"] == pytest.approx(1 - metrics.accuracy_score(y, p.argmax(axis=1)))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, p), rel=1e-6)
    assert found["naive"] == pytest.approx(1 - np.bincount(y).max() / 400)


def test_true_probabilities_err_by_chance_alone() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1.0, 1.0, 1.0], 400)
    y = np.array([rng.choice(3, p=each) for each in p])
    by_chance = measure.error_by_chance(p)
    assert measure.calibration_error(p, y) == pytest.approx(by_chance, rel=0.5)
    assert measure.error_by_chance(np.tile(p, (100, 1))) < by_chance / 5  # as 1 / √n


def test_calibration_error_by_hand() -> None:
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    y = np.array([0, 1, 0, 0])
    # Bins of 0.9: |0.5 − 0.9| of half of the rows; of 0.6: |0.5 − 0.6| of the other half.
    assert measure.calibration_error(p, y) == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)


def test_a_temperature_repairs_overconfidence_on_rows_that_did_not_set_it() -> None:
    p, y = probabilities(4000)
    sharp = measure.heated(np.clip(p, 1e-9, 1), 1 / 3)
    found = measure.of_classes(sharp, y)
    assert measure.temperature(np.clip(sharp, 1e-12, 1), y) == pytest.approx(3.0, rel=0.2)
    assert found["ece_scaled"] < found["ece"] / 2
    assert found["log_loss_scaled"] < found["log_loss"]


def test_intervals_cover_what_they_say() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=4000)
    found = measure.of_values(np.zeros(4000), y)
    assert found["coverage"] == pytest.approx(0.9, abs=0.02)
    assert found["error"] == pytest.approx(found["naive"], rel=0.01)
    assert found["mae"] == pytest.approx(math.sqrt(2 / math.pi), rel=0.05)
    assert measure.half_width(np.arange(1.0, 20.0)) == 18.0
    assert measure.half_width(np.arange(5.0)) == math.inf
    (a, b), (c, d) = measure.halves(5)
    assert sorted([*a, *b]) == sorted([*c, *d]) == list(range(5))


def line(name: str, who: str, error: float, **more: Any) -> dict[str, Any]:
    found = {"set": name, "fold": 0, "contestant": who, "kind": "classes", "error": error}
    return found | {"naive": 0.5, "fit_seconds": 1.0, "ece": 0.1} | more


def test_the_report_counts_wins_and_compares_the_same_recipes() -> None:
    results = [
        line("a", "fast", 0.1, fit_seconds=1.0, fit_cpu_seconds=0.5),
        line("a", "td-s", 0.2, fit_seconds=4.0, fit_cpu_seconds=1.0),
        line("b", "fast", 0.3, fit_seconds=1.0),
        line("b", "td-s", 0.3001, fit_seconds=2.0),
        line("c", "fast", 0.3, kind="values", coverage=0.9),
        {"set": "c", "fold": 0, "contestant": "td-s", "failed": "ValueError: no"},
    ]
    said = "\n".join(report.lines(results))
    assert "mean normalised error over 2 sets" in said
    assert "fast 1/1/0" in " ".join(said.replace(" - ", " ").split())
    assert "fast by td-s, 2 sets: 0.4000 / 0.5001 = 0.7998" in said
    assert "  time: median 0.375, from 0.250 to 0.500" in said
    assert "  processor's time: median 0.500" in said
    assert "failed: c, fold 0, td-s: ValueError: no" in said


def test_a_failure_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def fit(self, X: Any, y: Any) -> None:
            raise RuntimeError("no memory")

    made = {"fast": contestants.Contestant(lambda kind, threads, seed: Broken())}
    monkeypatch.setattr(contestants, "CONTESTANTS", made)
    found = list(
        run.results([sets.BY_NAME["diabetes"]], ["fast"], 1, 1, set(), run.Clock(None), quick=True)
    )
    assert [result["failed"] for result in found] == ["RuntimeError: no memory"]
    assert json.loads(json.dumps(found)) == found


def test_missing_numbers_are_filled_for_those_who_take_none() -> None:
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame({"a": [1.0, np.nan, 3.0], "b": pandas.Categorical(["x", None, "y"])})
    filled = contestants.Filled().fit_transform(X)
    assert filled["a"].tolist() == [1.0, 2.0, 3.0]
    assert filled["a is missing"].tolist() == [0.0, 1.0, 0.0]
