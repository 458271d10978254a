"""The CPU benchmark measures what it says. No test asserts a time."""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import (
    cpu,
    estimators,
    inference,
    memory,
    reaching,
    report,
    rounds,
    scaling,
    startup,
    training,
)
from benchmarks.contestants import Products, Xpmlp, prepare, products
from benchmarks.peers import Jax, ScikitLearn, Torch
from benchmarks.problems import Problem, expected_classes, flops
from benchmarks.rounds import interleave
from benchmarks.settings import Settings

SMALL = ((2, 16, 2), 8, 5)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "SETTLE", 0.0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("sizes", [(5, 3), (784, 128, 10), (7, 6, 5, 4)])
def test_floor_computes_the_products_of_a_step_and_no_more(
    sizes: tuple[int, ...], training: bool
) -> None:
    done = sum(
        2 * a.shape[0] * a.shape[1] * b.shape[1] for a, b, _ in products(sizes, 32, training)
    )
    assert done == flops(sizes, 32, training)


def test_flops_by_hand() -> None:
    first, last = 784 * 128, 128 * 10
    assert flops((784, 128, 10), 100) == 200 * (2 * first + 3 * last)
    assert flops((784, 128, 10), 100, training=False) == 200 * (first + last)


def test_a_contestant_with_another_learning_rate_is_found() -> None:
    problem = Problem.make(*SMALL)
    found = training.losses(
        {
            "floor": Products(problem),
            "right": Xpmlp(problem, "numpy"),
            "wrong": Xpmlp(replace(problem, rate=2e-3), "numpy"),
        },
        problem,
        steps=5,
        epochs=4,
    )
    assert training.disagreeing(found) == ["wrong"]


@pytest.mark.parametrize("sizes", [(2, 16, 2), (784, 8, 10)])
@pytest.mark.parametrize(("module", "peer"), [("torch", Torch), ("jax", Jax), ("sklearn", None)])
def test_peers_do_the_same(sizes: tuple[int, ...], module: str, peer: Any) -> None:
    pytest.importorskip(module)
    problem = Problem.make(sizes, 8, 5)
    contestant = (peer or ScikitLearn)(problem)
    contestant.start()
    contestant.train(2)  # a later start forgets it
    found = training.losses({module: contestant}, problem, steps=5, epochs=3)
    assert len(found[module]) == 3
    assert training.disagreeing(found) == []


def test_predictions_are_those_of_the_weights() -> None:
    problem = Problem.make((784, 8, 10), 16, 2)
    X = problem.X.astype(np.float32) / np.float32(255)
    contestant = Xpmlp(replace(problem, X=X), "numpy")
    contestant.train(1)
    contestant.start()
    assert (contestant.predict(X)() == expected_classes(problem, X)).all()


def test_a_missing_peer_is_left_out_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    problem = Problem.make(*SMALL)
    makers = training.makers(problem)
    chosen = {name: makers[name] for name in ("xpmlp numpy", "PyTorch eager")}
    made, left_out = prepare(chosen)
    assert list(made) == ["xpmlp numpy"]
    assert list(left_out) == ["PyTorch eager"]
    network = training.measure(problem, 1, {training.FLOOR: partial(Products, problem), **chosen})
    assert list(network["rows"]) == [training.FLOOR, "xpmlp numpy"]
    text = training.lines({problem.name: network})
    assert any(line.startswith("left out: PyTorch eager: ") for line in text)


def test_the_rounds_are_interleaved() -> None:
    order: list[str] = []
    names = ("a", "b")
    before = {name: partial(order.append, name) for name in names}
    times = interleave({name: partial(sum, range(1000)) for name in names}, 3, 1e-4, before)
    assert order == ["a", "b"] * 3
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}


def test_time_to_an_accuracy() -> None:
    epochs = [(1.0, 0.95), (2.0, 0.98), (1.0, 0.97)]
    assert reaching.reached(epochs, 0.975) == 3.0
    assert reaching.reached(epochs, 0.99) is None
    summary = reaching.summary([{"start": 0.5, "epochs": epochs}, {"start": 1.5, "epochs": epochs}])
    assert summary["warm"]["0.975"] == 3.0
    assert summary["cold"]["0.975"] == 4.0
    assert summary["cold"]["0.99"] is None


def everything() -> dict[str, Any]:
    """Results with numbers as large as they may get, and long names and reasons."""
    names, wide = list(training.makers(Problem.make(*SMALL))), 1_234_567.8
    times = {"median": wide, "q1": wide, "q3": wide, "min": wide, "max": wide, "over_python": wide}
    ratios = {"times_the_floor": 12_345.6, "times_xpmlp_numpy": 12_345.6}
    left_out = {names[-1]: "it could not be imported, which is said at great length " * 3}
    trained = {"us_per_step": times, "first_seconds": 1234.5} | ratios
    called = {"us_per_call": times, "us_over_the_floor": wide, "same_classes": 1.0} | ratios
    reached = [{"start": 10.0, "epochs": [(1000.0, 0.985)]}]
    scaled = [{"at": n, "seconds": 1000.0, "flops": n * 10**9} for n in (64, 600_000)]
    scaled = [row | {"gflops_per_second": 1234.5} for row in scaled]
    peaks = {"first_peak": wide, "peak": wide, "imported": wide, "more": wide}
    versions = {f"a-package-{k}": "0.1.0.dev0" for k in range(9)}
    return {
        "environment": {
            "date": "2026-01-01",
            "cpu": "A processor",
            "cores_used": 2,
            "load_average": 0.25,
            "blas": "openblas 0.3.31.188.0, SkylakeX kernels, 2 threads",
            "openblas_coretype": None,
            "versions": versions,
        },
        "training": {
            "784-2048-2048-10": {
                "batch": 1024,
                "flops_per_step": 32_472_000_000,
                "rows": dict.fromkeys(names, trained),
                "disagree": names,
                "left_out": left_out,
            }
        },
        "inference": {
            "784-2048-2048-10": {
                "rows": {10_000: dict.fromkeys(names, called)},
                "left_out": left_out,
            }
        },
        "estimators": {
            "MNIST / 255, float64, 5 epochs": {
                name: {
                    "seconds": times,
                    "times_xpmlp": 12_345.6,
                    "epochs": 200,
                    "accuracy": 0.985,
                    "apart": 0.0,
                    "dtype": "float64",
                }
                for name in (estimators.US, "without numba", estimators.THEM)
            },
            "left_out": {"MNIST": "it could not be read, which is said at great length " * 3},
        },
        "memory": {
            "rows": 60_000,
            "contestants": dict.fromkeys(names, peaks),
            "left_out": left_out,
        },
        "startup": {"milliseconds": dict.fromkeys(startup.PROGRAMS, times), "left_out": left_out},
        "scaling": {"width": scaled, "rows": scaled},
        "accuracy": {
            "epochs": 100,
            "seeds": 10,
            "contestants": dict.fromkeys(reaching.TRAINERS, reaching.summary(reached)),
            "left_out": left_out,
        },
    }


@pytest.mark.parametrize("module", [training, inference, memory, startup, scaling, reaching])
def test_tables_fit_a_terminal(module: Any) -> None:
    part = next(part for part, name in cpu.PARTS.items() if name == module.__name__)
    for line in module.lines(everything()[part]):
        assert len(line) <= report.WIDTH, line


@pytest.mark.slow
def test_what_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    results = everything()
    cpu.write(results, tmp_path)
    stems = {path.name for path in tmp_path.iterdir()}
    date = "2026-01-01"
    pictures = {f"cpu-{date}.png", f"cpu-{date}-scaling.png"}
    assert stems == pictures | {f"cpu-{date}.json", f"cpu-{date}.md"}
    assert json.loads((tmp_path / f"cpu-{date}.json").read_text())["memory"] == results["memory"]
    assert all(len(line) <= report.WIDTH for line in cpu.about(results["environment"]))
    assert len(cpu.disagreeing(results)) == len(training.makers(Problem.make(*SMALL)))


@pytest.mark.slow
def test_some_parts_do_not_replace_all(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    results = everything()
    cpu.write(results, tmp_path)
    whole = (tmp_path / "cpu-2026-01-01.json").read_bytes()
    cpu.write({k: v for k, v in results.items() if k not in ("memory", "scaling")}, tmp_path)
    assert (tmp_path / "cpu-2026-01-01.json").read_bytes() == whole
    assert (
        tmp_path / "cpu-2026-01-01-training-inference-startup-accuracy-estimators.json"
    ).exists()


def test_a_network_that_is_not_there_is_said() -> None:
    with pytest.raises(SystemExit, match="found 9-9-9; expected of 2-16-2, "):
        training.run(Settings(True, 1, ("9-9-9",), 1, 1))


def test_estimators_that_train_otherwise_are_found() -> None:
    found = estimators.measure(*next(estimators.cases(quick=True))[1:], rounds=1)
    assert estimators.disagreeing({"digits": found}) == []
    assert {row["epochs"] for row in found.values()} == {2}
    found[estimators.US] |= {"apart": 1e-3}
    assert estimators.disagreeing({"digits": found, "left_out": {}}) == ["xpmlp of digits"]
