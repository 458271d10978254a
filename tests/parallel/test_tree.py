"""The sum in a fixed order, whoever has which shards."""

import numpy as np
import pytest
from parallel.together import together

from xpmlp.nn.orders import cuts
from xpmlp.parallel.communicator import Alone, barrier, gather
from xpmlp.parallel.tree import EngineSum, Tree, children, owned, slices, whole_nodes


def keep(array, memory):
    memory[...] = array
    return memory


def summed(worker, leaves, some, kind=Tree):
    """The sum of leaves of which a worker has its own; twice, as memory is used again."""
    tree = kind(len(leaves), worker, leaves.shape[1], lambda n: np.empty(n), keep)
    for _ in range(2):
        scratch = np.empty(leaves.shape[1])  # each shard leaves its sums in the same memory

        def each(scratch=scratch):
            for leaf in leaves[tree.own[0] : min(tree.own[1], some)]:
                scratch[...] = leaf
                yield scratch

        with np.errstate(invalid="ignore"):
            made = np.array(tree.sum(each(), some))
    return made


def by_hand(leaves):
    """The sum by the definition of the tree."""
    if len(leaves) < 2:
        return leaves[0]
    _, (middle, _) = children((0, len(leaves)))
    return by_hand(leaves[:middle]) + by_hand(leaves[middle:])


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 8, 12, 16])
def test_the_sum_has_the_bits_of_the_tree_on_any_number_of_workers(shards):
    leaves = np.random.default_rng(shards).normal(size=(shards, 300)) * 1e8
    expected = by_hand(leaves)
    assert (expected != leaves.sum(axis=0)).any() or shards < 4
    for size in range(1, min(shards, 6) + 1):
        for found in together(size, lambda worker: summed(worker, leaves, shards)):
            assert (found == expected).all()


@pytest.mark.parametrize("some", range(1, 9))
@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_shards_without_rows_are_left_out(some, size):
    leaves = np.random.default_rng(some).normal(size=(8, 70))
    expected = summed(Alone(), leaves, some)
    assert np.allclose(expected, leaves[:some].sum(axis=0))
    for found in together(size, lambda worker: summed(worker, leaves, some)):
        assert (found == expected).all()


def test_minus_zero_and_numbers_that_are_not_finite_come_through():
    leaves = np.array([[-0.0, np.inf, np.nan, 1.0], [-0.0, -np.inf, 1.0, 2.0]])
    for found in together(2, lambda worker: summed(worker, leaves, 2)):
        assert np.signbit(found[0])
        assert np.isnan(found[1:3]).all()
        assert found[3] == 3.0


@pytest.mark.parametrize("some", [1, 3, 8])
def test_the_engine_sums_the_same_up_to_rounding(some):
    leaves = np.random.default_rng(0).normal(size=(8, 70))
    for size in (1, 2, 3):
        for found in together(size, lambda worker: summed(worker, leaves, some, EngineSum)):
            np.testing.assert_allclose(found, leaves[:some].sum(axis=0), rtol=1e-12, atol=1e-12)


def test_each_worker_sends_twice_the_array_whatever_their_number():
    sent = {}
    for size in (2, 4, 8):
        leaves = np.ones((8, 6400))

        def work(worker, leaves=leaves, size=size):
            summed(worker, leaves, 8)
            sent[size] = worker._board.sent[worker.rank]

        together(size, work)
    for size, bytes_sent in sent.items():
        # Two sums, each of a scatter and a gather of 8-byte numbers.
        assert bytes_sent == pytest.approx(2 * 2 * 8 * 6400 * (1 - 1 / size), rel=0.1)


@pytest.mark.parametrize("shards", range(1, 18))
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_subtrees_have_each_shard_once(shards, size):
    nodes = [
        node for rank in range(size) for node in whole_nodes((0, shards), owned(shards, rank, size))
    ]
    assert [i for node in nodes for i in range(*node)] == list(range(shards))


@pytest.mark.parametrize("length", [0, 1, 64, 65, 1000])
def test_slices_have_each_element_once(length):
    for size in range(1, 6):
        assert [i for a, b in slices(length, size) for i in range(a, b)] == list(range(length))


@pytest.mark.parametrize("rows", range(20))
@pytest.mark.parametrize("least", [1, 2])
def test_cuts_have_each_row_once_and_none_is_too_small(rows, least):
    found = cuts(rows, 8, least)
    assert len(found) == 8
    assert [i for a, b in found for i in range(a, b)] == list(range(rows))
    sizes = [b - a for a, b in found if b > a]
    assert not sizes or max(sizes) - min(sizes) <= 1
    assert rows < least or all(size >= least for size in sizes)
    assert [b > a for a, b in found] == sorted([b > a for a, b in found], reverse=True)


def test_values_are_gathered_in_the_order_of_the_workers():
    def work(worker):
        barrier(worker)
        return gather(worker, {"rank": worker.rank, "text": "é" * worker.rank, "none": None})

    for found in together(3, work):
        assert [one["rank"] for one in found] == [0, 1, 2]
        assert [one["text"] for one in found] == ["", "é", "éé"]
    assert gather(Alone(), 3) == [3]
