import numpy as np
import pytest
from conftest import assert_close


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.1]),
        ([np.nan], [np.nan]),
        ([1.0], [np.nan]),
        ([1.0, 2.0], [[1.0, 2.0]]),
        ([np.inf], [1.0]),
    ],
)
def test_it_fails_on_unequal_arrays(actual: list, expected: list) -> None:
    with pytest.raises(AssertionError):
        assert_close(actual, expected, rtol=1e-6)


def test_it_passes_within_its_tolerance() -> None:
    assert_close([1.0, np.inf], [1.0 + 1e-9, np.inf], rtol=1e-8)
    assert_close([1.0, 1e-9], [1.0, 0.0], of_max=1e-8)
