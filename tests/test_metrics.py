"""Metrics against scikit-learn, and by hand."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close

from xpmlp import metrics
from xpmlp.errors import InvalidValueError

RNG = np.random.default_rng(0)
P = RNG.dirichlet(np.ones(3), 200)
Y = RNG.integers(0, 3, 200)
SIDES = RNG.uniform(size=(200, 4))
LABELS = RNG.integers(0, 2, (200, 4))


def test_log_loss_is_scikit_learns() -> None:
    theirs = pytest.importorskip("sklearn.metrics")
    assert metrics.log_loss(Y, P) == pytest.approx(theirs.log_loss(Y, P), rel=1e-12)
    each = [theirs.log_loss(LABELS[:, k], SIDES[:, k]) for k in range(4)]
    assert metrics.log_loss(LABELS, SIDES) == pytest.approx(sum(each), rel=1e-12)


def test_the_log_loss_of_what_was_impossible_is_finite() -> None:
    assert 700 < metrics.log_loss([0], [[0.0, 1.0]]) < 710


def test_reliability_by_hand() -> None:
    """Three rows at 0.6, of which two are right; one at 0.9, which is wrong; one at 1.0, right."""
    p = np.array([[0.6, 0.4], [0.4, 0.6], [0.6, 0.4], [0.9, 0.1], [0.0, 1.0]])
    y = [0, 1, 1, 1, 1]
    found = metrics.reliability(y, p, bins=5)
    assert found.rows.tolist() == [0, 0, 3, 0, 2]
    assert_close(found.confidence[[2, 4]], [0.6, 0.95], rtol=1e-15)
    assert_close(found.accuracy[[2, 4]], [2 / 3, 0.5], rtol=1e-15)
    assert np.isnan(found.accuracy[[0, 1, 3]]).all()
    expected = 3 / 5 * (2 / 3 - 0.6) + 2 / 5 * (0.95 - 0.5)
    assert metrics.calibration_error(y, p, bins=5) == pytest.approx(expected, rel=1e-12)


def test_probabilities_by_which_the_classes_are_drawn_are_calibrated() -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(3), 20_000)
    y = (p.cumsum(axis=1) < rng.uniform(size=(20_000, 1))).sum(axis=1)
    assert metrics.calibration_error(y, p) < 0.02
    surer = p**3 / (p**3).sum(axis=1, keepdims=True)
    gap = surer.max(axis=1).mean() - (surer.argmax(axis=1) == y).mean()
    assert metrics.calibration_error(y, surer) == pytest.approx(gap, abs=0.01)


def test_several_labels_count_each() -> None:
    found = metrics.reliability(LABELS, SIDES, bins=10)
    assert found.rows.sum() == LABELS.size
    assert found.rows[:5].sum() == 0  # the surer side is at 0.5 or more
    right = (SIDES > 0.5) == LABELS
    assert np.nansum(found.rows * found.accuracy) == pytest.approx(right.sum())


def test_coverage_and_width_by_hand() -> None:
    intervals = np.array([[[0, 1], [5, 9]], [[1, 4], [0, 0]]])
    assert_close(metrics.coverage([[1.0, 4.9], [0.9, 0.0]], intervals), [0.5, 0.5])
    assert_close(metrics.width(intervals), [2.0, 2.0])
    assert metrics.coverage([0.5, 4.5], intervals[:, 0]) == 0.5
    assert metrics.width(intervals[:, 0]) == 2.0
    sets = np.array([[True, False, False], [False, True, True]])
    assert metrics.coverage([0, 0], sets) == 0.5
    assert metrics.coverage([0, 2], sets) == 1.0


def test_the_quantile_loss_is_scikit_learns() -> None:
    theirs = pytest.importorskip("sklearn.metrics").mean_pinball_loss
    y, predicted = RNG.standard_normal((50, 2)), RNG.standard_normal((50, 2, 3))
    each = [theirs(y, predicted[:, :, k], alpha=q) for k, q in enumerate((0.1, 0.5, 0.8))]
    found = metrics.pinball(y, predicted, [0.1, 0.5, 0.8])
    assert found == pytest.approx(np.mean(each), rel=1e-12)
    assert metrics.pinball(y, predicted[:, :, 0], 0.1) == pytest.approx(each[0], rel=1e-12)


def test_the_gaussian_log_loss_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    y, mean, std = RNG.standard_normal((2, 40, 3)), RNG.standard_normal((40, 3)), None
    std = np.exp(RNG.standard_normal((40, 3)))
    expected = -stats.norm(mean, std).logpdf(y[0]).sum(axis=1).mean()
    assert metrics.gaussian_log_loss(y[0], mean, std) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: metrics.log_loss([0, 1], P), r"found shapes \(2,\) and \(200, 3\)"),
        (lambda: metrics.log_loss([], np.zeros((0, 3))), "found shapes"),
        (lambda: metrics.log_loss(Y, P[:, 0]), "found shapes"),
        (lambda: metrics.log_loss(Y + 1, P), "from 1 to 3; expected class indices from 0 to 2"),
        (lambda: metrics.log_loss(Y - 1, P), "expected class indices"),
        (lambda: metrics.log_loss(Y * 1.0, P), "found float64"),
        (lambda: metrics.reliability(Y, P, bins=0), "bins: found 0"),
        (lambda: metrics.coverage(Y, P), "found shapes|expected a last axis of 2"),
        (lambda: metrics.coverage(LABELS, LABELS > 0), "expected class indices"),
        (lambda: metrics.coverage([], np.zeros((0, 2))), "at least one row"),
        (lambda: metrics.coverage(0.5, [0, 1]), "at least one row"),
        (lambda: metrics.pinball(Y, P, [0.1, 0.9]), "expected a last axis of 2"),
        (lambda: metrics.pinball(Y, P, 0.5), "found shapes"),
        (lambda: metrics.gaussian_log_loss(Y, Y, P), "found shapes"),
    ],
)
def test_shapes_that_do_not_fit(call: Any, match: str) -> None:
    with pytest.raises(InvalidValueError, match=match):
        call()
