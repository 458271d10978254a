"""Statistics in one pass: compared with exact arithmetic, and merged from any workers' blocks."""

import math
from fractions import Fraction

import numpy as np
import pytest
from conftest import assert_close, make_backend
from hypothesis import given
from hypothesis import strategies as st

from xpmlp.arrays import host
from xpmlp.arrays.moments import merged, of_block
from xpmlp.arrays.rows import HostRows

numbers = st.lists(st.floats(-1e300, 1e300, allow_subnormal=False), min_size=1, max_size=40)


def in_blocks(x: np.ndarray, sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    parts = np.split(x, np.cumsum(sizes)[:-1])
    return np.array(sizes), np.stack([of_block(np, part) for part in parts])


@given(numbers, st.data())
def test_blocks_together_are_exact(values: list[float], data: st.DataObject) -> None:
    cuts = data.draw(st.sets(st.integers(1, max(len(values) - 1, 1)), max_size=8))
    edges = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    x = np.array(values)[:, None]
    low, high, mean, deviation = merged(*in_blocks(x, np.diff(edges).tolist()))[:, 0]
    exact = [Fraction(value) for value in values]
    expected = sum(exact) / len(exact)
    spread = max(exact) - min(exact)
    assert (low, high) == (min(values), max(values))
    assert abs(Fraction(mean) - expected) <= Fraction(4e-15) * max(map(abs, exact)) + Fraction(
        1e-320
    )
    variance = sum((value - expected) ** 2 for value in exact) / len(exact)
    if spread:
        relative = math.sqrt(variance / spread**2)
        assert deviation / float(spread) == pytest.approx(relative, rel=1e-12, abs=4e-16)
    else:
        assert deviation == 0


def test_a_large_mean_costs_no_digits() -> None:
    x = 1.7e9 + np.linspace(0, 1, 20_000)[:, None]
    mean, deviation = HostRows(make_backend("numpy"), x).moments()
    assert_close(mean, [1.7e9 + 0.5], rtol=1e-15)
    exact = x - 1.7e9  # these differences have no rounding error
    assert_close(deviation, exact.std(axis=0), rtol=1e-13)


def test_workers_merge_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "BLOCK_ROWS", 7)
    x = np.random.default_rng(2).lognormal(0, 5, (100, 3))
    alone = HostRows(make_backend("numpy"), x)
    whole = alone.statistics()
    for workers in (2, 3, 15):
        parts = [alone.partial(blocks) for blocks in np.array_split(np.arange(15), workers)]
        counts, blocks = (np.concatenate(each) for each in zip(*parts, strict=True))
        np.testing.assert_array_equal(merged(counts, blocks), whole, strict=True)
    assert_close(whole[2:], [x.mean(axis=0), x.std(axis=0)], rtol=1e-13)
