"""Our own floor: what a step of so many kernels, with these matrix products, takes at least.

It has two parts, both in CUDA graphs and timed with CUDA events: each matrix product alone, again
and again, with its epilogue and its factors in the cache; and an empty kernel for each other node
of the captured step. So the gap after each node is counted once.
"""

from collections.abc import Iterable, Mapping, Sequence
from time import perf_counter
from typing import Any

from benchmarks.contestants import Xpmlp, prepare
from benchmarks.gpu import parts
from benchmarks.gpu.graphs import captured, time_graph, watching
from benchmarks.gpu.steps import US, exactly, without_capture
from benchmarks.problems import Problem
from benchmarks.report import WIDTH, not_there, table
from benchmarks.rounds import spread

EMPTY = 'extern "C" __global__ void nothing() {}'


def empty_kernels(cupy: Any, stream: Any, count: int) -> float:
    """Return the microseconds of a graph of so many kernels that do nothing."""
    kernel = cupy.RawKernel(EMPTY, "nothing")

    def body() -> None:
        for _ in range(count):
            kernel((1,), (1,), ())

    return time_graph(cupy, stream, body).us


def in_order(contestant: Xpmlp, problem: Problem, epochs: int) -> list[float]:
    """Return the microseconds of our steps where no order is drawn on the host."""
    times = []
    for _ in range(4):
        begin = perf_counter()
        contestant.train(problem.steps, epochs, shuffle=False)
        times.append((perf_counter() - begin) / (problem.steps * epochs) * 1e6)
    return times[1:]


def measure(problem: Problem, precision: str, case: Mapping[str, Any]) -> dict[str, Any]:
    """Measure what the floor of this case is made of, and compare.

    Parts that cannot be measured are left out, with the reason.
    """
    import cupy

    with watching(cupy) as graphs:
        contestant = Xpmlp(problem, "cupy", precision=precision)
        contestant.start()
        contestant.train(problem.steps)
    eager = exactly(problem, precision, without_capture())
    return compare(cupy, graphs, contestant, eager, case["rows"][US])


def compare(
    cupy: Any, graphs: Sequence[Any], ours: Xpmlp, eager: Xpmlp, row: Mapping[str, Any]
) -> dict[str, Any]:
    """Measure the parts of a floor, and compare with our row of the case.

    Parameters
    ----------
    cupy : module
    graphs : sequence of cupy.cuda.Graph
        What ``ours`` captured.
    ours, eager : Xpmlp
        The same training, captured and eager.
    row : dict
    """
    problem, backend = ours.problem, _with_products(ours.mlp.backend)
    stream = cupy.cuda.Stream(non_blocking=True)
    epochs = max(row["steps_per_call"] // problem.steps, 1)
    made, left_out = prepare({"parts": lambda: parts.measure(cupy, stream, eager, backend)})
    rest, reasons = prepare(
        {
            "empty kernels": lambda: _empty_step(cupy, stream, graphs, made.get("parts")),
            "steps in order": lambda: spread(in_order(ours, problem, epochs)),
            "autotune table": lambda: [list(row) for row in backend.products.table()],
        }
    )
    return summary(made | rest, left_out | reasons, row["us_per_step"]["median"])


def _with_products(backend: Any) -> Any:
    if not hasattr(backend.products, "timed"):  # cuBLAS's
        raise RuntimeError("this CuPy backend has no products that can be captured")
    return backend


def _empty_step(
    cupy: Any, stream: Any, graphs: Iterable[Any], timed: Sequence[Mapping[str, Any]] | None
) -> dict[str, Any]:
    """Time an empty kernel for each node of a step that is no product's."""
    if timed is None:
        raise RuntimeError("the nodes of the products are not known")
    counts = [captured(graph) for graph in graphs]
    most = max((count for count in counts if count.steps), default=None)
    if most is None:
        raise RuntimeError(f"none of {len(counts)} captured graphs has a step with Adam")
    products = sum(each["nodes"] for each in timed if each["is_product"])
    others = max(round(most.nodes - most.steps * products), 1)
    us = empty_kernels(cupy, stream, others)
    return {
        "nodes": most.nodes / most.steps,
        "others": others / most.steps,
        "steps_per_graph": most.steps,
        "us": us / most.steps,
        "us_per_node": us / others,
    }


def summary(made: Mapping[str, Any], left_out: dict[str, str], ours: float) -> dict[str, Any]:
    """Add up the floor; without one of its parts there is none."""
    empty, timed = made.get("empty kernels"), made.get("parts")
    products = sum(each["us"] for each in timed if each["is_product"]) if timed else None
    floor = empty["us"] + products if empty and products is not None else None
    return {
        "empty": empty,
        "parts": timed,
        "products_us": products,
        "us": floor,
        "ours_us": ours,
        "times_the_floor": ours / floor if floor else None,
        "in_order": made.get("steps in order"),
        "autotune": made.get("autotune table"),
        "left_out": left_out,
    }


def lines(cases: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the table of the floors, and what is missing of them."""
    found = [case for case in cases if case.get("floor")]
    if not found:
        return []
    head = ("µs per step", "nodes", "empty", "products", "floor", US, "× floor", "in order")
    rows: list[Any] = []
    missing: dict[str, str] = {}
    for case in found:
        floor = case["floor"]
        empty, order = floor["empty"] or {}, floor["in_order"] or {}
        rows.append(
            (
                f"{case['batch']}, {case['precision']}",
                empty.get("nodes"),
                empty.get("us"),
                *(floor[key] for key in ("products_us", "us", "ours_us", "times_the_floor")),
                order.get("median"),
            )
        )
        missing |= floor["left_out"]
    return [
        "Our own floor: the products alone, and an empty kernel for each other node",
        *table(head, rows),
        '"in order" draws no order of the rows on the host',
        *not_there(missing),
    ]


def autotune_lines(cases: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the tables of the algorithms that were chosen for the products."""
    made: list[str] = []
    for case in cases:
        rows = (case.get("floor") or {}).get("autotune")
        if rows:
            title = f"Algorithms of the products: batch {case['batch']}, {case['precision']}"
            made += ["", title, *(line[:WIDTH] for line in table(rows[0], rows[1:]))]
    return made[1:]
