"""A sum over shards in a fixed order, whoever has which of them.

Shards are the leaves of a binary tree, and each node adds its right side to its left. So the sum
has the same bits on any number of workers. Each worker adds up the whole subtrees that it has; then
every worker gets one slice of all these sums, adds the rest of the tree for that slice, and sends
the result to all. With one subtree for each worker that is what a ring all-reduce sends: twice the
array, whatever the number of workers.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from time import perf_counter

from xpmlp.nn.contract import Array
from xpmlp.parallel.communicator import Communicator

Node = tuple[int, int]
"""The leaves from the first to before the second."""

ALIGNED = 64
"""Slices are so many elements, or a multiple of it."""


def children(node: Node) -> tuple[Node, Node]:
    """Return both sides of a node: the left has the largest power of two of leaves that fits.

    Examples
    --------
    >>> children((0, 8)), children((4, 7))
    (((0, 4), (4, 8)), ((4, 6), (6, 7)))
    """
    first, last = node
    middle = first + (1 << ((last - first - 1).bit_length() - 1))
    return (first, middle), (middle, last)


def owned(shards: int, rank: int, size: int) -> Node:
    """Return the shards of a worker.

    Examples
    --------
    >>> [owned(8, rank, 3) for rank in range(3)]
    [(0, 2), (2, 5), (5, 8)]
    """
    return shards * rank // size, shards * (rank + 1) // size


def whole_nodes(node: Node, within: Node) -> Iterator[Node]:
    """Yield the largest nodes at or below ``node`` that lie in a range, from left to right.

    Examples
    --------
    >>> list(whole_nodes((0, 8), (2, 5)))
    [(2, 4), (4, 5)]
    """
    if node[0] >= within[1] or node[1] <= within[0]:
        return
    if within[0] <= node[0] and node[1] <= within[1]:
        yield node
        return
    for child in children(node):
        yield from whole_nodes(child, within)


def total(node: Node, known: dict[Node, Array | None]) -> Array | None:
    """Return the sum of a node from those of nodes below it; None if all of its leaves are empty.

    It may be written into the first of them.
    """
    if node in known:
        return known[node]
    left, right = (total(child, known) for child in children(node))
    return added(left, right)


def added(left: Array | None, right: Array | None) -> Array | None:
    """Return the sum, in the left array where the library can."""
    if left is None or right is None:
        return right if left is None else left
    left += right
    return left


def slices(length: int, size: int) -> list[tuple[int, int]]:
    """Return where the slice of each worker begins and ends.

    Examples
    --------
    >>> slices(200, 2)
    [(0, 128), (128, 200)]
    """
    blocks = -(-length // ALIGNED)
    ends = [min(blocks * rank // size * ALIGNED, length) for rank in range(size)]
    return list(pairwise([*ends, length]))


class Tree:
    """Adds up the shards of a worker, then those of all.

    Parameters
    ----------
    shards : int
    together : Communicator
    length : int
        Of each shard's flat array.
    empty : callable (length) -> Array
        Makes memory.
    keep : callable (array, memory) -> Array
        Copies an array to memory, or makes a copy if the library has no mutable arrays.

    Attributes
    ----------
    own : Node
        The shards of this worker.
    waited : float
        Seconds spent on the exchange with other workers, and on waiting for them.
    """

    def __init__(
        self,
        shards: int,
        together: Communicator,
        length: int,
        empty: Callable[[int], Array],
        keep: Callable[[Array, Array], Array],
    ) -> None:
        self.root: Node = (0, shards)
        self.together, self._empty, self._keep = together, empty, keep
        self._length, self._bounds = length, slices(length, together.size)
        ranges = [owned(shards, rank, together.size) for rank in range(together.size)]
        self.own = ranges[together.rank]
        self._nodes = [list(whole_nodes(self.root, one)) for one in ranges]
        self._free: list[Array] = []
        self._last: Array = None
        self._buffers: dict[Node, Array] = {}
        self.waited = 0.0

    def sum(self, leaves: Iterator[Array], some: int) -> Array:
        """Return the sum over all shards of all workers; it is valid until the next.

        Parameters
        ----------
        leaves : iterator of Array
            The shards of this worker that have rows, each valid until the next.
        some : int
            How many of all shards have rows: the first ones.
        """
        self._release(self._last)
        mine = self._nodes[self.together.rank]
        own = {node: self._sum(node, leaves, some, keep=True) for node in mine}
        if self.together.size == 1:
            self._last = made = total(self.root, own)
            assert made is not None
            return made
        begun = perf_counter()
        made = self._over_all(own, some)
        self.waited += perf_counter() - begun
        return made

    def _sum(self, node: Node, leaves: Iterator[Array], some: int, keep: bool) -> Array | None:
        if node[0] >= some:
            return None
        if node[1] - node[0] == 1:
            return self._kept(next(leaves)) if keep else next(leaves)
        first, second = children(node)
        left = self._sum(first, leaves, some, keep=True)
        # A single shard to the right is added as it is, without a copy.
        right = self._sum(second, leaves, some, keep=False)
        made = added(left, right)
        if second[1] - second[0] > 1:
            self._release(right)
        return made

    def _kept(self, leaf: Array) -> Array:
        return self._keep(leaf, self._free.pop() if self._free else self._empty(self._length))

    def _release(self, memory: Array | None) -> None:
        if memory is not None:
            self._free.append(memory)

    def _over_all(self, own: dict[Node, Array | None], some: int) -> Array:
        """Add up this worker's slice of all subtrees, and return the slices of all."""
        rank, size = self.together.rank, self.together.size
        begin, end = self._bounds[rank]
        nothing, known = self._empty(0), dict[Node, Array | None]()
        for i in range(max(map(len, self._nodes))):  # the i-th subtree of each worker
            there = [nodes[i] if i < len(nodes) else None for nodes in self._nodes]
            mine = there[rank]
            sent = None if mine is None else own[mine]
            send = [nothing if sent is None else sent[a:b] for a, b in self._bounds]
            receive = [
                nothing if node is None or node[0] >= some else self._buffer(node, end - begin)
                for node in there
            ]
            receive[rank] = send[rank]
            self.together.exchange(send, receive)
            known |= {
                node: None if node[0] >= some else part
                for node, part in zip(there, receive, strict=True)
                if node is not None
            }
        part, result = total(self.root, known), self._buffer(self.root, self._length)
        receive = [result[a:b] for a, b in self._bounds]
        receive[rank][...] = part
        self.together.exchange([receive[rank]] * size, receive)
        for array in own.values():
            self._release(array)
        return result

    def _buffer(self, node: Node, length: int) -> Array:
        found = self._buffers.get(node)
        if found is None:
            found = self._buffers[node] = self._empty(length)
        return found


class EngineSum(Tree):
    """Adds up the shards of a worker as ``Tree`` does, and the workers as their engine does."""

    def _over_all(self, own: dict[Node, Array | None], some: int) -> Array:
        made: Array | None = None
        for node in self._nodes[self.together.rank]:
            made = added(made, own[node])
        if made is None:  # none of this worker's shards has rows
            made = self._empty(self._length)
            made[...] = 0.0
        self.together.all_reduce(made)
        for array in own.values():
            if array is not made:
                self._release(array)
        self._last = made
        return made
