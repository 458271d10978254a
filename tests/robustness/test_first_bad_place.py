"""NaN, infinity and wrong labels are refused by value and first place, at every door."""

import re
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_any_input import CLASSES, ENTRIES, VALUES, W, X, Y, fitted, refusal

from xpmlp.errors import InvalidValueError

GOOD = {
    "fit y": VALUES,
    "sample_weight": np.ones(len(X)),
    "validation y": Y,
    "evaluate y": Y,
    "load_state_dict": np.ones(W),
}
"""What each entry takes, to be spoiled; the others take X."""


@pytest.mark.parametrize("theirs", [False, True], ids=["host", "device"])
def test_nan_and_infinity(request: Any, backend: Any, theirs: bool, draws: Any, tried: Any) -> None:
    """Whether they come from the host or as arrays of the library."""
    mlp, found = fitted(backend), []

    @settings(max_examples=draws(20, 100, 2000), derandomize=True, deadline=None)
    @given(
        name=st.sampled_from(sorted(ENTRIES)),
        dtype=st.sampled_from(["float32", "float64"]),
        bad=st.lists(
            st.tuples(st.integers(0, 10**6), st.sampled_from([np.nan, np.inf, -np.inf])),
            min_size=1,
            max_size=4,
        ),
    )
    def check(name: str, dtype: str, bad: list[tuple[int, float]]) -> None:
        entry, data = ENTRIES[name], GOOD.get(name, X).astype(dtype)
        for at, value in bad:
            data.flat[at % data.size] = value
        first = min(at % data.size for at, _ in bad)
        place = ", ".join(str(int(i)) for i in np.unravel_index(first, data.shape))
        passed = backend.asarray(data) if theirs else data
        error = refusal(mlp, lambda: entry.call(mlp, passed))
        found.append(error)
        assert isinstance(error, InvalidValueError)
        expected = f"{entry.name}: found {data.flat[first]} at {entry.name}[{place}]; expected"
        assert str(error).startswith(expected)

    check()
    library, where = request.node.callspec.params["backend"], "device" if theirs else "host"
    tried(f"{len(found)} arrays of the {where} with NaN or infinity, {library}: 0 taken")


@pytest.mark.parametrize("name", ["fit X", "fit y", "sample_weight", "predict", "load_state_dict"])
def test_numbers_beyond_the_range_of_the_model(name: str) -> None:
    """Or they would be infinite from here on."""
    mlp, entry, data = fitted("numpy", "float32"), ENTRIES[name], GOOD.get(name, X).copy()
    data.flat[2] = 1e39
    place = ", ".join(str(int(i)) for i in np.unravel_index(2, data.shape))
    error = refusal(mlp, lambda: entry.call(mlp, data))
    at = re.escape(f"{entry.name}[{place}]")
    assert re.match(rf"{entry.name}: found (1e\+39|inf) at {at}; .*float32", str(error)), error


def test_labels_that_are_no_classes(backend: Any) -> None:
    """The value, its place and what is allowed; of other dtypes than whole numbers the first."""
    mlp = fitted(backend)
    for name, bad, theirs in product(
        ["fit y", "validation y", "evaluate y"], [-1, CLASSES, 2**40, 0.5, 1.0, True], [False, True]
    ):
        entry, place = ENTRIES[name], 3 if type(bad) is int else 0
        y = Y.astype(np.int64 if type(bad) is int else type(bad))
        y[place] = bad
        error = refusal(mlp, partial(entry.call, mlp, backend.asarray(y) if theirs else y))
        assert isinstance(error, InvalidValueError)
        pattern = rf"{entry.name}: found (.* )?{y[place]} at {entry.name}\[{place}\].* 0 to 3"
        assert re.match(pattern, str(error)), error
