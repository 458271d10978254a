"""Our own floor: what a step of so many kernels, with these matrix products, takes at least.

It has two parts, both in CUDA graphs and timed with CUDA events: as many empty kernels as the
captured step has nodes, and each matrix product alone, again and again, its factors in the cache.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

from benchmarks.contestants import Xpmlp, prepare, products
from benchmarks.gpu.steps import US
from benchmarks.problems import Problem
from benchmarks.report import WIDTH, not_there, table
from benchmarks.rounds import spread

REPEATED = 20
"""How often a product stands in its graph."""

LAUNCHES, TIMINGS = 10, 15
"""How often a graph is launched within a timing, and how often that is timed."""

NODE = re.compile(r'^"graph_\d+_node_\d+"\s*\[', re.MULTILINE)
"""The beginning of a node in the text that CUDA writes about a graph; an edge has no bracket."""

VERBOSE = 1
"""CUDA's flag for a text that has the kernels' names."""

EMPTY = 'extern "C" __global__ void nothing() {}'


class Captured(NamedTuple):
    """A captured graph: its nodes, and how many steps they are."""

    nodes: int
    steps: int


def captured(dot: str) -> Captured:
    """Count nodes and steps of a graph; each step has one kernel with "adam" in its name."""
    nodes = NODE.split(dot)[1:]
    return Captured(len(nodes), sum("adam" in node.lower() for node in nodes))


@contextmanager
def watching(cupy: Any) -> Iterator[list[Any]]:
    """Collect the graphs that are captured on CuPy's streams in the meantime."""
    found: list[Any] = []
    stream = cupy.cuda.Stream
    before = stream.end_capture

    def end_capture(self: Any) -> Any:
        found.append(before(self))
        return found[-1]

    stream.end_capture = end_capture
    try:
        yield found
    finally:
        stream.end_capture = before


def graph_times(cupy: Any, body: Callable[[], object]) -> list[float]:
    """Capture what a function launches, and return the microseconds of a launch of its graph."""
    cuda = cupy.cuda
    stream, begin, end = cuda.Stream(non_blocking=True), cuda.Event(), cuda.Event()
    times = []
    with stream:
        body()  # compiles
        stream.synchronize()
        stream.begin_capture()
        try:
            body()
        except BaseException:
            with suppress(Exception):
                stream.end_capture()
            raise
        graph = stream.end_capture()
        for _ in range(1 + TIMINGS):
            begin.record(stream)
            for _ in range(LAUNCHES):
                graph.launch(stream)
            end.record(stream)
            end.synchronize()
            times.append(cuda.get_elapsed_time(begin, end) * 1e3 / LAUNCHES)
    return times[1:]


def empty_kernels(cupy: Any, count: int) -> list[float]:
    """Return the microseconds of a graph of so many kernels that do nothing."""
    kernel = cupy.RawKernel(EMPTY, "nothing")

    def body() -> None:
        for _ in range(count):
            kernel((1,), (1,), ())

    return graph_times(cupy, body)


def products_alone(cupy: Any, backend: Any, problem: Problem) -> list[dict[str, Any]]:
    """Return the microseconds of each of the step's matrix products, by its fastest algorithm."""
    found = []
    for each in products(problem.sizes, problem.batch):
        a, b, out = (_moved(backend, x) for x in each)
        with backend.products.timed():
            backend.products(a, b, out)
        times = graph_times(cupy, partial(_again, backend.products, a, b, out))
        name = f"{'x'.join(map(str, a.shape))} by {'x'.join(map(str, b.shape))}"
        found.append({"product": name, "us": median(times) / REPEATED})
    return found


def _again(product: Callable[[Any, Any, Any], object], a: Any, b: Any, out: Any) -> None:
    for _ in range(REPEATED):
        product(a, b, out)


def _moved(backend: Any, x: Any) -> Any:
    """Move an array to the device; what is a transpose here is one there."""
    return backend.asarray(x) if x.flags.c_contiguous else backend.asarray(x.T).T


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
    backend = contestant.mlp.backend
    row = case["rows"][US]
    epochs = max(row["steps_per_call"] // problem.steps, 1)
    made, left_out = prepare(
        {
            "empty kernels": lambda: _empty_step(cupy, graphs),
            "products": lambda: products_alone(cupy, _with_products(backend), problem),
            "steps in order": lambda: spread(in_order(contestant, problem, epochs)),
            "autotune table": lambda: _autotune(backend),
        }
    )
    return summary(made, left_out, row["us_per_step"]["median"])


def _empty_step(cupy: Any, graphs: Iterable[Any]) -> dict[str, Any]:
    counts = [captured(graph.debug_dot_str(VERBOSE)) for graph in graphs]
    most = max((count for count in counts if count.steps), default=None)
    if most is None:
        raise RuntimeError(f"none of {len(counts)} captured graphs has a step with Adam")
    return {
        "nodes": most.nodes / most.steps,
        "steps_per_graph": most.steps,
        "us": median(empty_kernels(cupy, most.nodes)) / most.steps,
    }


def _with_products(backend: Any) -> Any:
    if not callable(getattr(backend, "products", None)):
        raise RuntimeError("this CuPy backend has no products(a, b, out) that can be captured")
    return backend


def _autotune(backend: Any) -> list[list[Any]]:
    if not hasattr(getattr(backend, "products", None), "table"):
        raise RuntimeError("this CuPy backend's products have no table()")
    return [list(row) for row in backend.products.table()]


def summary(made: Mapping[str, Any], left_out: dict[str, str], ours: float) -> dict[str, Any]:
    """Add up the floor; without one of its parts there is none."""
    empty, alone = made.get("empty kernels"), made.get("products")
    products_us = sum(each["us"] for each in alone) if alone else None
    floor = empty["us"] + products_us if empty and products_us is not None else None
    return {
        "empty": empty,
        "products": alone,
        "products_us": products_us,
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
        "Our own floor: a graph of as many empty kernels, and the products alone",
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
