"""The order of rows in a file: each once, some groups open at a time, the same for any workers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpmlp.nn import orders, random
from xpmlp.nn.orders import cuts, shard_runs, stored_order

groups = st.lists(st.integers(0, 40), min_size=1, max_size=30).filter(any)


@given(groups, st.integers(1, 50), st.integers(1, 9), st.none() | st.integers(1, 70), st.booleans())
def test_every_row_comes_once(
    sizes: list[int], buffer: int, shards: int, batch: int, pairs: bool
) -> None:
    order = stored_order(3, 5, sizes, buffer, shards, batch, 1 + pairs)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(sum(sizes)))


@given(groups, st.integers(1, 50))
def test_what_is_open_fits_in_the_buffer_or_is_one_group(sizes: list[int], buffer: int) -> None:
    """From the first row of a group to its last, at most one larger group or a buffer are open."""
    order = stored_order(0, 1, sizes, buffer)
    if sum(sizes) <= buffer:
        return
    group = np.repeat(np.arange(len(sizes)), sizes)[order]
    first = {g: int(np.argmax(group == g)) for g in set(group.tolist())}
    last = {g: len(group) - 1 - int(np.argmax(group[::-1] == g)) for g in first}
    for place in range(len(group)):
        opened = [g for g in first if first[g] <= place <= last[g]]
        assert len(opened) == 1 or sum(sizes[g] for g in opened) <= buffer


@given(groups, st.integers(1, 50), st.integers(2, 8), st.integers(1, 70), st.data())
def test_a_worker_needs_the_runs_of_its_shards_alone(
    sizes: list[int], buffer: int, shards: int, batch: int, data: st.DataObject
) -> None:
    n = sum(sizes)
    if n <= buffer:
        return
    order = stored_order(7, 2, sizes, buffer, shards, batch)
    parts = [order[start : start + batch] for start in range(0, n, batch)]
    ends = [cuts(len(part), shards) for part in parts]
    expected = [
        np.concatenate([part[slice(*each[s])] for part, each in zip(parts, ends, strict=True)])
        for s in range(shards)
    ]
    wanted = data.draw(st.sets(st.integers(0, shards - 1), min_size=1))
    found = shard_runs(7, 2, sizes, buffer, [len(run) for run in expected], wanted)
    for shard, run in zip(sorted(wanted), found, strict=True):
        np.testing.assert_array_equal(run, expected[shard])
    # A run is consecutive in the shuffled groups: the groups of two shards meet in one at most.
    group = np.repeat(np.arange(len(sizes)), sizes)
    touched = [set(group[run].tolist()) for run in expected]
    assert sum(map(len, touched)) <= sum(map(bool, sizes)) + shards - 1


def test_shards_have_as_many_rows_but_for_one() -> None:
    def sizes(*args: int, **more: int) -> list[int]:
        return [stop - start for start, stop in cuts(*args, **more)]

    assert sizes(10, 4) == [2, 3, 2, 3]
    assert sizes(2, 4) == [1, 1, 0, 0]
    assert sizes(7, 4, least=2) == [2, 2, 3, 0]
    assert sizes(1, 4, least=2) == [1, 0, 0, 0]
    assert sizes(0, 4) == [0, 0, 0, 0]
    order = stored_order(0, 0, [16] * 8, 32, shards=4, batch_size=32)
    group = order.reshape(4, 4, 8) // 16  # step, shard, row
    for shard in range(4):
        assert len(np.unique(group[:, shard])) == 2


def test_epochs_and_seeds_differ_and_come_again() -> None:
    sizes = [10] * 10
    made = {key: stored_order(*key, sizes, 30).tolist() for key in ((0, 0), (0, 1), (1, 0))}
    assert len({tuple(order) for order in made.values()}) == 3
    assert made[0, 1] == stored_order(0, 1, sizes, 30).tolist()
    assert made[0, 0] != sorted(made[0, 0])


def test_rows_are_mixed_within_the_buffer() -> None:
    order = stored_order(0, 0, [100] * 100, 1000)
    group = order.reshape(10, 1000) // 100
    counts = np.array([np.unique(window).size for window in group])
    np.testing.assert_array_equal(counts, 10)
    # Of each tenth of a window, every group has some: χ² with 9 degrees of freedom stays small.
    tenths = group.reshape(10, 10, 100)
    for window in tenths:
        seen = np.array([np.bincount(part, minlength=100)[np.unique(window)] for part in window])
        assert ((seen - 10.0) ** 2 / 10).sum(axis=1).max() < 33.7  # one in 10,000


def test_data_that_fit_in_the_buffer_have_the_order_of_memory() -> None:
    np.testing.assert_array_equal(
        stored_order(4, 2, [3, 0, 5], 8, shards=4, batch_size=3), random.permutation(4, 2, 8)
    )


@pytest.mark.parametrize(("n", "dtype"), [(2**31, np.int32), (2**31 + 1, np.int64)])
def test_rows_beyond_32_bits_have_64(n: int, dtype: type) -> None:
    assert random.row_dtype(n) is dtype


def test_numbers_of_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    small = stored_order(0, 0, [5] * 9, 12, 2, 7)
    monkeypatch.setattr(orders, "row_dtype", lambda n: np.int64)
    large = stored_order(0, 0, [5] * 9, 12, 2, 7)
    assert large.dtype == np.int64
    np.testing.assert_array_equal(small, large)
