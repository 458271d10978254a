"""CUDA graphs for measurements: what is in a graph, and how long it takes."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from statistics import median
from typing import Any, NamedTuple

LAUNCHES, TIMINGS = 10, 15
"""How often a graph is launched within a timing, and how often that is timed."""

NODE = re.compile(r'^"graph_\d+_node_\d+"\s*\[', re.MULTILINE)
"""The beginning of a node in the text that CUDA writes about a graph; an edge has no bracket."""

VERBOSE = 1
"""CUDA's flag for a text that has the kernels' names."""


class Captured(NamedTuple):
    """A captured graph: its nodes, and how many steps they are."""

    nodes: int
    steps: int


def captured(graph: Any) -> Captured:
    """Count nodes and steps of a graph; each step has one kernel with "adam" in its name."""
    nodes = NODE.split(graph.debug_dot_str(VERBOSE))[1:]
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


class Timed(NamedTuple):
    """A graph that was timed: its nodes, and the median microseconds of a launch."""

    nodes: int
    us: float


def time_graph(cupy: Any, stream: Any, body: Callable[[], object]) -> Timed:
    """Capture what a function launches, and time the launches of its graph with events."""
    cuda = cupy.cuda
    begin, end = cuda.Event(), cuda.Event()
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
    return Timed(captured(graph).nodes, median(times[1:]))
