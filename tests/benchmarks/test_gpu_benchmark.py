"""The GPU benchmark, tried without a GPU: who trains, what it says, when it fails, when it ends."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import environment, gpu, report, rounds, training
from benchmarks.contestants import Contestant, Xpmlp, prepare
from benchmarks.gpu import floor, goals, mnist, steps
from benchmarks.gpu.budget import Budget
from benchmarks.gpu.precision import Within, jax_products, torch_products
from benchmarks.problems import Problem

ROOT = Path(__file__).resolve().parents[2]
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
    assert "MNIST" in results["left_out"]
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


# The floor

DOT = """digraph dot {
subgraph cluster_1 {
label="graph_1" graph[style="dashed"];
"graph_1_node_0"[style="bold" shape="record" label="{KERNEL
| {ID | 0 (topoId: 2) | gather\\<\\<\\<1,128,0\\>\\>\\>}
}"];
"graph_1_node_1"[style="bold" shape="record" label="{KERNEL
| {ID | 1 (topoId: 1) | _Z10xpmlp_AdamPf\\<\\<\\<1,128,0\\>\\>\\>}
}"];
"graph_1_node_2"[style="solid" shape="record" label="{
MEMCPY
| {{ID | node handle} | {2 (topoId: 0) | 0x0}}
}"];
"graph_1_node_0" -> "graph_1_node_1" [headlabel=0];
"graph_1_node_1" -> "graph_1_node_2";
}
}
"""


def test_nodes_and_steps_are_counted() -> None:
    assert floor.captured(DOT) == (3, 1)
    assert floor.captured("digraph dot {}") == (0, 0)


class FakeCupy(SimpleNamespace):
    """What the floor asks of CuPy: a launch takes 2 µs for each kernel in the graph."""

    def __init__(self) -> None:
        outer, self.kernels, self.now = self, 0, 0.0

        class Stream:
            def __init__(self, non_blocking: bool = False) -> None:
                self.begun = 0

            def __enter__(self) -> None: ...

            def __exit__(self, *_: object) -> None: ...

            def synchronize(self) -> None: ...

            def begin_capture(self) -> None:
                self.begun = outer.kernels

            def end_capture(self) -> Any:
                count = outer.kernels - self.begun
                return SimpleNamespace(
                    launch=partial(outer.launch, count), debug_dot_str=lambda flags: DOT
                )

        class Event:
            def record(self, _: object) -> None:
                self.at = outer.now

            def synchronize(self) -> None: ...

        def elapsed(begin: Any, end: Any) -> float:
            milliseconds: float = end.at - begin.at
            return milliseconds

        self.cuda = SimpleNamespace(Stream=Stream, Event=Event, get_elapsed_time=elapsed)

    def launch(self, count: int, _: object) -> None:
        self.now += 2e-3 * count

    def kernel(self, *_: object) -> None:
        self.kernels += 1

    def RawKernel(self, code: str, name: str) -> Callable[..., None]:  # noqa: N802
        assert name in code
        return self.kernel


def test_the_floor_is_what_its_graphs_take() -> None:
    cupy = FakeCupy()
    with floor.watching(cupy) as graphs:
        cupy.cuda.Stream().end_capture()
    cupy.cuda.Stream().end_capture()  # nobody watches any more
    assert len(graphs) == 1
    assert floor._empty_step(cupy, graphs) == {
        "nodes": 3.0,
        "steps_per_graph": 1,
        "us": pytest.approx(6.0),
    }
    problem = Problem.make((784, 8, 10), 4, 1)
    seen = []

    def product(a: Any, b: Any, out: Any) -> None:
        assert (a @ b).shape == out.shape
        seen.append((a.flags.c_contiguous, b.flags.c_contiguous))
        cupy.kernel()

    product.timed = nullcontext  # type: ignore[attr-defined]
    backend = SimpleNamespace(asarray=lambda x: x.copy(), products=product)
    alone = floor.products_alone(cupy, backend, problem)
    assert [each["product"] for each in alone] == [
        *("4x784 by 784x8", "784x4 by 4x8"),
        *("4x8 by 8x10", "8x4 by 4x10", "4x10 by 10x8"),
    ]
    assert [each["us"] for each in alone] == [pytest.approx(2.0)] * 5
    assert set(seen) == {(True, True), (False, True), (True, False)}
    made = {"empty kernels": floor._empty_step(cupy, graphs), "products": alone}
    found = floor.summary(made, {}, 24.0)
    assert found["us"] == pytest.approx(16.0)
    assert found["times_the_floor"] == pytest.approx(1.5)


def test_a_floor_without_its_parts_is_none_and_says_why() -> None:
    made, left_out = prepare(
        {
            "empty kernels": lambda: floor._empty_step(FakeCupy(), []),
            "products": lambda: floor._with_products(object()),
        }
    )
    found = floor.summary(made, left_out, 30.0)
    assert found["us"] is found["times_the_floor"] is None
    text = "\n".join(floor.lines([a_case("tf32", 128) | {"floor": found}]))
    assert "left out: empty kernels: none of 0 captured graphs" in text
    assert "left out: products: this CuPy backend has no products" in text


# The goals, and what makes it fail


def a_case(precision: str, batch: int, **us: float) -> dict[str, Any]:
    """A case with everyone, at 100 µs unless said otherwise, and long names of what is missing."""
    names = list(steps.makers(Problem.make((2, 4, 2), 8, 1), precision))
    times = {name: us.get(name.replace(" ", "_"), 100.0) for name in names}
    ours = times[steps.US]
    rows: dict[str, Any] = {
        name: {
            "us_per_step": rounds.spread([time]) | {"rounds": [time]},
            "times_ours": time / ours,
            "steps_per_call": 30_720,
            "first_seconds": 12.0,
            "loss_off": 1.2e-6,
        }
        for name, time in times.items()
    }
    for name in goals.CAPTURED:
        rows[name]["execution"] = {"mode": "captured in CUDA graphs", "notes": []}
    parts = {
        "empty kernels": {"nodes": 13.5, "steps_per_graph": 32, "us": 0.3 * ours},
        "products": [{"product": "a", "us": 0.5 * ours}],
        "steps in order": rounds.spread([ours]),
        "autotune table": [("product", "candidates"), ("8192x784 by 784x512" * 6, 16)],
    }
    return {
        "precision": precision,
        "batch": batch,
        "steps": 480,
        "flops_per_step": 26_000_000_000,
        "losses": {},
        "tolerance": 1e-3,
        "disagree": [],
        "left_out": {"xpmlp jax": "it could not be imported, said at great length " * 3},
        "rounds": 15,
        "least_seconds": 20.0,
        "rows": rows,
        "floor": floor.summary(parts, {}, ours),
    }


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


def everything(cases: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "environment": {
            "date": "2026-01-01",
            "python": "3.12.1",
            "cpu": "A processor",
            "cores_used": 16,
            "load_average": 0.25,
            "gpus": [{"name": "NVIDIA H200", "driver": "580.1", "memory": "143771 MiB"}],
            "versions": {f"a-package-{k}": "0.1.0.dev0" for k in range(9)},
            "variables": {"XLA_FLAGS": "--a-very-long-one " * 9},
        },
        "settings": {
            "budget": 420.0,
            "batches": None,
            "precisions": gpu.PRECISIONS,
            "contestants": None,
            "quick": False,
        },
        "cases": cases,
        "left_out": {"MNIST": "it is not there, which is said at great length " * 3},
        "failures": ["a failure that is said at great length " * 3],
        "goals": goals.compare(cases),
        "mnist": {"test_accuracy": 0.985, "seconds": 123.4, "memory_used": 1.2e12},
        "seconds": 400.0,
    }


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
    program(tmp_path / "nvidia-smi", "echo 'NVIDIA H200, 580.95.05, 143771 MiB'")
    expected = {"name": "NVIDIA H200", "driver": "580.95.05", "memory": "143771 MiB"}
    assert environment.gpus() == [expected]


def program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.mark.skipif(sys.platform != "linux", reason="the script is for Linux")
@pytest.mark.parametrize("broken", ["", "pytest", "benchmarks"])
def test_one_script_does_everything(tmp_path: Path, broken: str) -> None:
    program(tmp_path / "nvidia-smi", "echo a GPU")
    program(tmp_path / "python", f'echo "$PYTHONPATH: $*"; [ "$2" != "{broken}" ]')
    done = subprocess.run(
        [str(ROOT / "scripts" / "gpu"), "out"],
        cwd=tmp_path,
        env={
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            "PYTHON": str(tmp_path / "python"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == bool(broken)
    (log,) = (tmp_path / "out").glob("gpu-*.txt")
    assert log.read_text() == done.stdout
    wanted = ("-m xpmlp info", "-m pytest -m gpu", f"--budget 420 --out {tmp_path / 'out'}")
    for each in ("a GPU", f"{ROOT}:{ROOT / 'backends'}", *wanted):
        assert each in done.stdout
