"""The GPU benchmark, tried without a GPU: who trains, what it says, when it fails, when it ends."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from gpu_cases import a_case, everything

from benchmarks import environment, gpu, report, training
from benchmarks.contestants import Contestant, Xpmlp, prepare
from benchmarks.gpu import estimate, goals, mnist, steps
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.precision import Within, jax_products, torch_products
from benchmarks.problems import Problem

CPU = {
    "xpmlp torch": "torch",
    "xpmlp jax": "jax",
    "PyTorch eager": "torch",
    "PyTorch graph": "torch",
    "JAX jit + scan": "jax",
}
"""Who can be tried on a CPU, and what is needed for it."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "SETTLE", 0.0)
    monkeypatch.setattr(steps, "CALL", 0.0)


@pytest.fixture(autouse=True)
def no_documentation(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any) -> Path:
    """Where a benchmark that ran on a GPU would write; nothing here did."""
    path: Path = tmp_path_factory.mktemp("docs") / "gpu.md"
    path.write_text("")
    monkeypatch.setattr(estimate, "DOCS", path)
    return path


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


# Who trains


@pytest.mark.parametrize("name", CPU)
def test_contestants_do_the_same(name: str) -> None:
    pytest.importorskip(CPU[name])
    problem = Problem.make((784, 8, 10), 8, 5)
    contestant = steps.makers(problem, "float32", "cpu")[name]()
    contestant.start()
    contestant.train(3, 2)  # a later start forgets it
    found = training.losses({name: contestant}, problem, steps=5, epochs=3)
    assert len(found[name]) == 3
    assert training.disagreeing(found, 1e-5) == []


@pytest.mark.parametrize("name", ["PyTorch eager", "PyTorch graph"])
def test_bf16_rounds_and_is_still_the_same_training(name: str) -> None:
    pytest.importorskip("torch")
    problem = Problem.make((784, 64, 10), 32, 5)
    made = steps.makers(problem, "bf16", "cpu")[name]()
    found = training.losses({name: made}, problem, 5, 2)
    assert training.disagreeing(found, steps.TOLERANCES["bf16"]) == []
    assert training.disagreeing(found, 1e-6) == [name]


def test_a_gathered_order_is_one_of_all_rows() -> None:
    pytest.importorskip("jax")
    contestant: Any = steps.makers(Problem.make((2, 4, 2), 8, 4), "float32", "cpu")[
        "JAX jit + scan"
    ]().contestant  # type: ignore[attr-defined]
    first, second = (contestant._order(32, True).tolist() for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(32))
    assert first != second


def test_jax_elsewhere_than_asked_is_left_out() -> None:
    jax = pytest.importorskip("jax")
    if jax.default_backend() == "gpu":
        pytest.skip("JAX has a GPU here")
    maker = steps.makers(Problem.make((2, 4, 2), 8, 4), "float32", "cuda")["JAX jit + scan"]
    made, left_out = prepare({"JAX": maker})
    assert not made
    assert left_out == {"JAX": "JAX computes on cpu, not on gpu"}


def test_whoever_computes_in_another_precision_is_left_out() -> None:
    backend = Xpmlp(Problem.make((2, 4, 2), 8, 2), "numpy").mlp.backend
    backend.precision = "tf32"
    problem = Problem.make((2, 4, 2), 8, 2)
    made, left_out = prepare({"it": partial(steps.exactly, problem, "float32", backend)})
    assert not made
    assert "it computes in tf32, not in float32" in left_out["it"]


def test_the_precision_is_set_for_the_calls_and_restored() -> None:
    torch = pytest.importorskip("torch")
    seen: list[str] = []

    class Looks:
        def __init__(self) -> None:
            self.start()

        def start(self) -> None:
            seen.append(torch.get_float32_matmul_precision())

        def train(self, steps: int, epochs: int = 1, shuffle: bool = True) -> list[float]:
            self.start()
            return []

        def predict(self, X: Any) -> Callable[[], Any]:
            return self.start

    assert torch.get_float32_matmul_precision() == "highest"
    contestant: Contestant = Within(partial(torch_products, "tf32"), Looks)
    contestant.start()
    contestant.train(1)
    assert torch.get_float32_matmul_precision() == "highest"
    with torch_products("tf32"), torch_products("float32"):
        contestant.start()
        seen.append(torch.get_float32_matmul_precision())
        assert not torch.backends.cuda.matmul.allow_tf32  # as torch.compile reads it
    assert seen == ["high"] * 4 + ["highest"]
    assert torch.get_float32_matmul_precision() == "highest"


def test_jax_has_a_name_for_each_precision() -> None:
    jax = pytest.importorskip("jax")
    before = jax.config.jax_default_matmul_precision
    for precision in gpu.PRECISIONS:
        with jax_products(precision):
            assert jax.config.jax_default_matmul_precision not in (None, before)
    assert jax.config.jax_default_matmul_precision == before


# The time


def test_parts_share_what_is_left() -> None:
    clock = Clock()
    budget = Budget(100.0, clock)
    clock.now += 10
    part = budget.share(4, reserve=50.0)
    assert (budget.left, part.left) == (90.0, 10.0)
    clock.now += 12
    assert (budget.spent, part.left) == (22.0, -2.0)


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 3), (1e9, 6)])
def test_rounds_end_with_the_budget_but_not_too_early(seconds: float, expected: int) -> None:
    problem = Problem.make((2, 4, 2), 8, 2)
    chosen: Any = {steps.US: partial(Xpmlp, problem, "numpy")}
    case = steps.measure(problem, "float32", chosen, 6, Budget(seconds))
    assert case["rounds"] == expected
    assert len(case["rows"][steps.US]["us_per_step"]["rounds"]) == expected


def test_what_there_is_no_time_for_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock, shares = Clock(), []

    def case(precision: str, batch: int, _: Namespace, share: Budget) -> dict[str, Any]:
        shares.append(share.seconds)
        clock.now += 90.0
        return a_case(precision, batch) | {"least_seconds": 80.0}

    monkeypatch.setattr(gpu, "measure_case", case)
    options = gpu._parse(["--budget", "400", "--out", str(tmp_path)])
    results: dict[str, Any] = {
        "environment": {"date": "2026-01-01"},
        "settings": vars(options) | {"out": ""},
        "cases": [],
        "left_out": {},
        "failures": [],
    }
    gpu.measure(results, options, Budget(400.0, clock))
    measured = [(case["batch"], case["precision"]) for case in results["cases"]]
    assert measured == [(128, "tf32"), (128, "float32"), (8192, "tf32"), (8192, "float32")]
    assert shares == [360 / 9, 270 / 8, 180 / 7, 90 / 6]
    assert list(results["left_out"])[:2] == ["batch 1024, tf32", "batch 1024, float32"]
    assert results["left_out"]["batch 1024, tf32"] == "40 s were left; it needs 80 s"
    gpu._mnist(results, options, Budget(15.0, clock))
    assert results["left_out"]["MNIST"] == "5 s were left; it needs 20 s"
    assert results["failures"] == []
    kept = json.loads((tmp_path / "gpu-2026-01-01.json").read_text())
    assert len(kept["cases"]) == 4


def test_a_case_that_breaks_is_said_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def case(precision: str, batch: int, *_: Any) -> dict[str, Any]:
        if batch == 8192:
            raise ValueError("the eighth")
        return a_case(precision, batch)

    monkeypatch.setattr(gpu, "measure_case", case)
    monkeypatch.setattr(mnist, "run", lambda _: {"test_accuracy": 0.98, "seconds": 1.0})
    with pytest.raises(SystemExit, match=r"failed:\nbatch 8192, tf32: ValueError: the eighth$"):
        gpu.main(["--precisions", "tf32", "--out", str(tmp_path)])
    (path,) = tmp_path.glob("*.json")
    results = json.loads(path.read_text())
    assert [case["batch"] for case in results["cases"]] == [128, 1024]
    assert results["mnist"]["test_accuracy"] == 0.98


def test_mnist_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mnist, "run", lambda _: {"test_accuracy": 0.98, "seconds": 1.0})
    gpu.main(["--only", "mnist", "--out", str(tmp_path)])
    (path,) = tmp_path.glob("gpu-*-mnist.json")
    assert json.loads(path.read_text())["cases"] == []


def test_mnist_alone_fails_if_it_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(_: float) -> dict[str, float]:
        raise mnist.LeftOutError("there is no GPU")

    monkeypatch.setattr(mnist, "run", run)
    with pytest.raises(SystemExit, match=r"failed:\nMNIST was left out: there is no GPU$"):
        gpu.main(["--only", "mnist", "--out", str(tmp_path)])


def test_steps_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def case(precision: str, batch: int, *_: Any) -> dict[str, Any]:
        return a_case(precision, batch)

    monkeypatch.setattr(gpu, "measure_case", case)
    monkeypatch.setattr(mnist, "run", None)
    gpu.main(["--only", "steps", "--out", str(tmp_path), "--batches", "128"])
    (path,) = tmp_path.glob("gpu-*-128.json")
    assert len(json.loads(path.read_text())["cases"]) == 3


# The goals, and what makes it fail


def test_goals_are_met_or_missed() -> None:
    small = a_case("tf32", 128, xpmlp_cupy=30.0, PyTorch_eager=240.0, PyTorch_graph=44.0)
    large = a_case("tf32", 8192, xpmlp_cupy=150.0, PyTorch_graph=149.0)
    compared = goals.compare([small, large])
    found = {each["goal"]: (each["met"], each["measured"]) for each in compared}
    assert found["≥ 8 × PyTorch eager's speed"] == (True, pytest.approx(8.0))
    assert found["≥ 3 × torch.compile's speed"] == (True, pytest.approx(100 / 30))
    assert found["≥ 1.5 × PyTorch graph's speed"] == (False, pytest.approx(44 / 30))
    assert found["≤ 1.5 × our own floor"] == (True, pytest.approx(1.25))
    assert found["≥ 1 × the fastest rival's speed"][0] is False
    assert len(found) == len(goals.GOALS)
    text = "\n".join(goals.lines(compared))
    assert "1.47 missed" in text
    assert "8.00 met" in text


def test_what_was_not_measured_is_neither() -> None:
    case = a_case("tf32", 128)
    del case["rows"]["JAX jit + scan"], case["floor"]
    found = {each["goal"]: each["met"] for each in goals.compare([case])}
    assert found["≥ 1.8 × JAX scan's speed"] is None
    assert found["≤ 1.5 × our own floor"] is None


@pytest.mark.parametrize("name", goals.CAPTURED)
def test_it_fails_where_we_fell_back(name: str) -> None:
    case = a_case("tf32", 128)
    assert goals.failures([case]) == []
    case["rows"][name]["execution"] = {"mode": "eager", "notes": ["no graphs"]}
    assert goals.failures([case]) == [f"batch 128, tf32: {name} fell back: no graphs"]
    assert f"{name}: eager; no graphs" in gpu.closing(everything([case]))


def test_it_fails_for_other_losses_or_without_cupy() -> None:
    case = a_case("tf32", 128) | {"disagree": ["xpmlp jax"]}
    assert goals.failures([case]) == ["batch 128, tf32: xpmlp jax has other losses"]
    del case["rows"][steps.US]
    assert goals.failures([case])[-1] == "xpmlp cupy did not run"
    assert goals.failures([]) == ["xpmlp cupy did not run"]


# What is written


def test_tables_fit_a_terminal_and_name_the_device() -> None:
    cases = [
        a_case(precision, batch, PyTorch_eager=98_765.0, xpmlp_cupy=12.3)
        for precision in gpu.PRECISIONS
        for batch in gpu.STEPS
    ]
    for case in cases:
        case["disagree"] = ["PyTorch compile"]
    text = gpu.lines(everything(cases))
    assert "2026-01-01, NVIDIA H200, 143771 MiB, driver 580.1" in text
    for line in text:
        assert len(line) <= report.WIDTH, line


def test_what_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    cases = [a_case("tf32", 128), a_case("float32", 128)]
    del cases[1]["rows"]["PyTorch graph"], cases[1]["floor"]
    results = everything(cases)
    gpu.finish(results, tmp_path, Budget(1.0))
    assert {path.name for path in tmp_path.iterdir()} == {
        f"gpu-2026-01-01.{suffix}" for suffix in ("json", "md", "png")
    }
    kept = json.loads((tmp_path / "gpu-2026-01-01.json").read_text())
    assert kept["cases"][0]["rows"][steps.US]["execution"]["mode"] == "captured in CUDA graphs"
    assert kept["goals"]
    assert "Batch 128, tf32" in (tmp_path / "gpu-2026-01-01.md").read_text()


@pytest.mark.slow
def test_the_whole_run_on_a_cpu(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("jax")
    arguments = ["--quick", "--device", "cpu", "--precisions", "float32", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"failed:\nxpmlp cupy did not run$"):
        gpu.main([*arguments, "--contestants", *CPU])
    (path,) = tmp_path.glob("*.json")
    results = json.loads(path.read_text())
    (case,) = results["cases"]
    assert set(case["rows"]) == set(CPU)
    assert case["disagree"] == []
    assert case["rows"]["xpmlp torch"]["execution"]["mode"] == "eager"
    assert results["environment"]["versions"]["torch"]
    assert path.with_suffix(".md").exists()


def test_a_contestant_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"--contestants: found \['NumPy'\]; expected of \['xp"):
        gpu.main(["--quick", "--contestants", "NumPy", "--out", str(tmp_path)])


def test_the_driver_is_asked_for_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.gpus() == []
    if sys.platform == "win32":
        pytest.skip("a shell script is not a program here")
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 580.95.05, 143771 MiB'\n")
    program.chmod(0o755)
    expected = {"name": "NVIDIA H200", "driver": "580.95.05", "memory": "143771 MiB"}
    assert environment.gpus() == [expected]
