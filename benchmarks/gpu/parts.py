"""Each kernel and each matrix product of our step, timed alone.

A step is taken eagerly, and its calls of kernels and products are noted with their arguments. Then
each is repeated in a CUDA graph: a product with its epilogue, as the step uses it. The gap between
two nodes is part of the time; the data may be in the cache.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

from benchmarks.contestants import Xpmlp
from benchmarks.gpu.graphs import time_graph

REPEATED = 20
"""How often a call stands in its graph."""


class Part(NamedTuple):
    """A call that a step makes.

    Attributes
    ----------
    name : str
        The kernel's, or the weights' shape and what is computed with them.
    is_product : bool
    again : callable
        Makes the same call.
    """

    name: str
    is_product: bool
    again: Callable[[], object]


def measure(cupy: Any, stream: Any, eager: Xpmlp, backend: Any) -> list[dict[str, Any]]:
    """Time each call of a step.

    Parameters
    ----------
    cupy : module
    stream : cupy.cuda.Stream
        Where graphs are captured and launched.
    eager : Xpmlp
        Takes the step.
    backend : CupyBackend
        Repeats the calls, with the algorithms that it has chosen for its products.
    """
    found = []
    for part in of_a_step(eager, backend):

        def body(part: Part = part) -> None:
            for _ in range(REPEATED):
                part.again()

        with backend.products.timed():
            timed = time_graph(cupy, stream, body)
        found.append(
            {
                "part": part.name,
                "is_product": part.is_product,
                "nodes": timed.nodes / REPEATED,
                "us": timed.us / REPEATED,
            }
        )
    return found


def of_a_step(eager: Xpmlp, backend: Any) -> list[Part]:
    """Return the calls of the second step; the first one tries algorithms."""
    eager.start()
    eager.train(1, shuffle=False)
    parts: list[Part] = []
    inside: list[str] = []
    kernel = partial(_kernel, backend)
    product = partial(_product, backend)
    with ExitStack() as stack:
        for owner, note in ((backend.kernels, kernel), (backend.products, product)):
            stack.enter_context(_noting(type(owner), note, parts, inside))
        eager.train(1, shuffle=False)
    return parts


@contextmanager
def _noting(
    owner: Any, note: Callable[..., Part | None], parts: list[Part], inside: list[str]
) -> Iterator[None]:
    """Note the calls of a class's objects, but not those that are made by another of them."""
    before = owner.__call__

    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        inside.append(owner.__name__)
        try:
            result = before(self, *arguments, **named)
        finally:
            inside.pop()
        if not inside and (part := note(result, *arguments, **named)):
            parts.append(part)
        return result

    owner.__call__ = call
    try:
        yield
    finally:
        owner.__call__ = before


def _kernel(backend: Any, result: Any, name: str, *arguments: Any) -> Part:
    return Part(name.partition(",")[0], False, partial(backend.kernels, name, *arguments))


def _product(backend: Any, result: Any, a: Any, b: Any, *out: Any, **named: Any) -> Part | None:
    if result is None:  # cuBLASLt has no such epilogue; another call follows
        return None
    again = partial(backend.products, a, b, **named | {"out": result})
    if not a.flags.c_contiguous:
        return Part(f"{a.shape[0]}x{b.shape[1]}: dW", True, again)
    if not b.flags.c_contiguous:
        return Part(f"{b.shape[1]}x{b.shape[0]}: dX", True, again)
    return Part(f"{b.shape[0]}x{b.shape[1]}: x W + b", True, again)
