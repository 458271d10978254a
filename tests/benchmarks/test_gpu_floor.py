"""Our floor and the parts of a step: counted and timed on imitations, and written to the docs."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import make_backend
from emulation import device, emulated
from gpu_cases import a_case, everything

from benchmarks.contestants import Xpmlp, prepare
from benchmarks.gpu import estimate, floor, graphs, parts
from benchmarks.problems import Problem

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
    for text, found in ((DOT, (3, 1)), ("digraph dot {}", (0, 0))):
        assert graphs.captured(SimpleNamespace(debug_dot_str=lambda _, text=text: text)) == found


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


def test_the_gaps_of_a_step_are_counted_once() -> None:
    """Three nodes of 2 µs, one of them a product of 10 µs with the gap after it: 14 µs."""
    cupy = FakeCupy()
    with graphs.watching(cupy) as found:
        cupy.cuda.Stream().end_capture()
    cupy.cuda.Stream().end_capture()  # nobody watches any more
    assert len(found) == 1
    timed = [
        {"part": "2x2: dW", "is_product": True, "nodes": 1.0, "us": 10.0},
        {"part": "adam", "is_product": False, "nodes": 1.0, "us": 5.0},
    ]
    empty = floor._empty_step(cupy, cupy.cuda.Stream(), found, timed)
    expected = {"nodes": 3.0, "others": 2.0, "steps_per_graph": 1, "us": 4.0, "us_per_node": 2.0}
    assert empty == pytest.approx(expected)
    summed = floor.summary({"empty kernels": empty, "parts": timed}, {}, 21.0)
    assert summed["us"] == pytest.approx(14.0)
    assert summed["times_the_floor"] == pytest.approx(1.5)


def test_a_floor_without_its_parts_is_none_and_says_why() -> None:
    empty = partial(floor._empty_step, FakeCupy(), None)
    made, left_out = prepare(
        {"no graphs": partial(empty, [], []), "unknown": lambda: empty([], None)}
    )
    found = floor.summary(made, left_out, 30.0)
    assert found["us"] is found["times_the_floor"] is None
    case = a_case("tf32", 128) | {"floor": found}
    text = "\n".join(floor.lines([case]))
    assert "left out: no graphs: none of 0 captured graphs" in text
    assert "left out: unknown: the nodes of the products are not known" in text
    assert estimate.lines([case]) == []


# On the emulated device


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The imitation of CuPy, whose graphs describe themselves as CUDA's do."""
    make_backend("cupy-emulated")  # or a skip
    for module, name in ((graphs, "LAUNCHES"), (graphs, "TIMINGS"), (parts, "REPEATED")):
        monkeypatch.setattr(module, name, 2)

    def described(self: Any, flags: int = 0) -> str:
        return "\n".join(f'"graph_1_node_{k}"[{name}]' for k, (name, _) in enumerate(self.nodes))

    monkeypatch.setattr(device.Graph, "debug_dot_str", described)
    made = emulated.cupy_module()
    made.RawKernel = lambda code, name: lambda *_: device.put(name, microsecond)  # type: ignore[attr-defined]
    return made


def microsecond() -> None:
    device.Clock.now += 1e-6


def timed_step(cupy: Any, precision: str) -> dict[str, Any]:
    """The floor of a small network on the emulated device: a product takes 2 µs there."""
    problem = Problem.make((784, 16, 12, 10), 8, 2)
    with graphs.watching(cupy) as found:
        ours = Xpmlp(problem, emulated.backend(precision=precision), precision=precision)
        ours.start()
        ours.train(2)
    alone = emulated.backend(precision=precision, capture=False)
    row = {"steps_per_call": 2, "us_per_step": {"median": 100.0}}
    return floor.compare(cupy, found, ours, Xpmlp(problem, alone, precision=precision), row)


def test_every_kernel_and_product_of_a_step_is_timed_alone(cupy: Any) -> None:
    found = timed_step(cupy, "float32")
    assert not found["left_out"]
    products = [each for each in found["parts"] if each["is_product"]]
    names = [
        f"{shape}: {kind}" for shape in ("784x16", "16x12", "12x10") for kind in ("x W + b", "dW")
    ]
    assert sorted(each["part"] for each in products) == sorted([*names, "16x12: dX", "12x10: dX"])
    assert [each["us"] for each in products] == [pytest.approx(2.0)] * 8
    others = {each["part"] for each in found["parts"]} - {each["part"] for each in products}
    assert {"gather", "assess", "slope", "accumulate", "adam"} <= others
    empty, nodes = found["empty"], sum(each["nodes"] for each in products)
    assert empty["others"] == pytest.approx(empty["nodes"] - nodes, abs=0.5)
    assert found["us"] == pytest.approx(empty["others"] + 16.0)


def test_what_a_product_launches_itself_is_part_of_it(cupy: Any) -> None:
    """Wherever bfloat16 copies of factors are made, they are counted once."""
    found = timed_step(cupy, "bf16")
    nodes = sum(each["nodes"] for each in found["parts"])
    assert found["empty"]["nodes"] - 2 <= nodes <= found["empty"]["nodes"]


def test_the_imitation_is_as_it_was_afterwards(cupy: Any) -> None:
    backend = emulated.backend()
    before = type(backend.kernels).__call__, type(backend.products).__call__
    timed_step(cupy, "float32")
    assert (type(backend.kernels).__call__, type(backend.products).__call__) == before


# Predicted and measured


def cases() -> list[dict[str, Any]]:
    return [a_case("float32", 128, xpmlp_cupy=50.0), a_case("tf32", 128, xpmlp_cupy=40.0)]


def test_what_was_predicted_adds_up() -> None:
    for predicted in estimate.PREDICTED.values():
        *summed, whole = predicted.values()
        assert sum(summed) == whole


def test_groups_and_the_rest_add_up_to_the_step() -> None:
    found = estimate.times(cases()[0])
    assert found[estimate.PRODUCTS] == pytest.approx(25.0)
    assert found[estimate.OURS] == found["slope"] == pytest.approx(5.0)
    assert found[estimate.ADAM] == pytest.approx(5.0)
    assert found[estimate.REST] == pytest.approx(15.0)
    assert found[estimate.STEP] == 50.0
    assert found[estimate.GAP] == pytest.approx(2.5)


def test_predicted_and_measured_stand_side_by_side() -> None:
    text = estimate.lines([*cases(), a_case("bf16", 1024)])
    assert "µs, batch 128               predicted  float32  predicted  tf32" in text
    assert "products                         31.0     25.0       22.0  20.0" in text
    assert "784x512: dW                         -     15.0          -  12.0" in text
    assert "µs, batch 1024              bf16" in text


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the documentation's page with an empty table."""
    path = tmp_path / "gpu.md"
    path.write_text(f"before\n{estimate.block([], estimate.NOT_YET)}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(estimate, "DOCS", path)
    return path


def test_the_documentation_has_the_table() -> None:
    text = estimate.DOCS.read_text(encoding="utf-8")
    assert text.count(estimate.BEGIN) == text.count(estimate.END) == 1
    if estimate.NOT_YET in text:
        assert estimate.block([], estimate.NOT_YET) in text


def test_a_full_run_on_a_gpu_fills_the_table_in_again_and_again(docs: Path) -> None:
    for date in ("2026-01-01", "2026-01-02"):
        results = everything(cases())
        results["environment"]["date"] = date
        assert estimate.fill(results) == "the table in gpu.md was filled in"
    text = docs.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "not yet measured" not in text.lower()
    assert "Measured on 2026-01-02: NVIDIA H200, driver 580.1." in text
    assert "2026-01-01" not in text
    assert "| products | 31.0 | 25.0 | 22.0 | 20.0 |" in text


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"quick": True}, "this was no full run on a GPU"),
        ({"device": "cpu"}, "this was no full run on a GPU"),
        ({"gpus": []}, "this was no full run on a GPU"),
        ({"failures": ["batch 128, tf32: fell back"]}, "batch 128, tf32: fell back"),
        ({"cases": [a_case("tf32", 128)]}, "there are no parts of a step in float32"),
        ({"cases": [a_case("float32", 8192)]}, "there are no parts of a step in float32, tf32"),
    ],
)
def test_no_other_run_touches_the_table(docs: Path, changed: Any, reason: str) -> None:
    before = docs.read_text(encoding="utf-8")
    results = everything(cases())
    for part in (results, results["settings"], results["environment"]):
        part |= {name: value for name, value in changed.items() if name in part}
    assert estimate.fill(results) == f"the table in gpu.md was left as it is: {reason}"
    assert docs.read_text(encoding="utf-8") == before


def test_a_page_without_marks_is_left_as_it_is(docs: Path) -> None:
    docs.write_text(f"{estimate.END} no table {estimate.BEGIN}", encoding="utf-8")
    assert estimate.fill(everything(cases())).endswith("its marks are not there")


def test_a_backend_without_cublaslt_has_no_floor() -> None:
    ours = SimpleNamespace(
        problem=None, mlp=SimpleNamespace(backend=SimpleNamespace(products=print))
    )
    with pytest.raises(RuntimeError, match="no products that can be captured"):
        floor.compare(None, [], ours, ours, {})  # type: ignore[arg-type]
