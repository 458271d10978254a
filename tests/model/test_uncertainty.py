"""How sure a model is: temperatures, intervals and sets against what they promise."""

import copy
import pickle
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import assert_close

import xpmlp
from xpmlp import Calibration, metrics
from xpmlp.errors import CheckpointError, InvalidTypeError, InvalidValueError
from xpmlp.losses import CustomLoss, Quantiles
from xpmlp.model.calibration import HOTTEST, PRIOR, temperature_of
from xpmlp.model.outputs import mean_and_std
from xpmlp.nn.distributions import mixture
from xpmlp.storage import tensorfile

LOSSES = {"points": (None, 1), "gaussian": ("gaussian", 2), "quantiles": (Quantiles(), 3)}


def straight(outputs: int = 1, backend: Any = "numpy", **options: Any) -> xpmlp.MLP:
    """A network that returns its inputs."""
    options = {"targets": "values", "dtype": "float64"} | options
    mlp = xpmlp.MLP([outputs, outputs], backend=backend, **options)
    mlp.load_state_dict({"dense1.W": np.eye(outputs), "dense1.b": np.zeros(outputs)})
    return mlp


def noisy(n: int, seed: int = 0, columns: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Values whose noise grows, far from 0 and of another size."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 2))
    noise = (0.2 + X[:, 1:] ** 2) * rng.standard_normal((n, columns))
    y = 300 + 20 * (np.sin(3 * X[:, :1]) + noise)
    return X, y[:, 0] if columns == 1 else y


def fitted(which: str, backend: Any = "numpy", columns: int = 1, **options: Any) -> xpmlp.MLP:
    loss, each = LOSSES[which]
    mlp = xpmlp.MLP(
        [2, 16, each * columns], "tanh", loss=loss, scaling="standard", backend=backend, seed=0,
        **options,
    )  # fmt: skip
    X, y = noisy(400, 1, columns)
    mlp.fit(X, y, epochs=20, batch_size=32, optimizer=xpmlp.Adam(0.02))
    return mlp


# What a network predicts


def test_standard_deviations_are_in_the_units_of_the_targets(backend: Any) -> None:
    """Those of outputs that are known: μ = x₀, ln σ² = x₁."""
    mlp = straight(2, backend, loss="gaussian", scaling="standard")
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((30, 2)), 50 + 4 * rng.standard_normal(30)
    mlp.fit(X, y, epochs=1, optimizer=xpmlp.SGD(1e-30))
    z = (X - X.mean(axis=0)) / X.std(axis=0)
    mean, std = mlp.predict(X, return_std=True)
    assert_close(mean, y.mean() + y.std() * z[:, 0], rtol=1e-12)
    assert_close(std, y.std() * np.exp(0.5 * z[:, 1]), rtol=1e-12)
    assert_close(mlp.predict(X), mean, rtol=1e-13)


@pytest.mark.parametrize("which", LOSSES)
def test_shapes(which: str) -> None:
    X, y = noisy(50, 2, 3)
    for columns, shape in ((1, (50,)), (3, (50, 3))):
        mlp = fitted(which, columns=columns)
        assert mlp.predict(X).shape == shape
        if which == "gaussian":
            assert [a.shape for a in mlp.predict(X, return_std=True)] == [shape, shape]
        if which == "quantiles":
            found = mlp.predict_quantiles(X)
            assert found.shape == (*shape, 3)
            assert (np.diff(found, axis=-1) >= 0).all()
            assert_close(found[..., 1], mlp.predict(X), rtol=1e-12)
        mlp.calibrate(X, y[:, 0] if columns == 1 else y)
        intervals = mlp.predict_interval(X)
        assert intervals.shape == (*shape, 2)
        assert intervals.dtype == np.float64
        assert (intervals[..., 0] <= intervals[..., 1]).all()


def test_results_are_where_the_rows_are(backend: Any) -> None:
    X, y = noisy(60, 3)
    for which in LOSSES:
        mlp = fitted(which, backend)
        mlp.calibrate(X, y)
        there = backend.asarray(X)
        results = [mlp.predict_interval(there, 0.8)]
        expected = [mlp.predict_interval(X, 0.8)]
        if which == "gaussian":
            results += mlp.predict(there, return_std=True)
            expected += mlp.predict(X, return_std=True)
        if which == "quantiles":
            results.append(mlp.predict_quantiles(there))
            expected.append(mlp.predict_quantiles(X))
        for found, right in zip(results, expected, strict=True):
            assert backend.owns(found)
            assert_close(backend.to_numpy(found), right, of_max=1e-6)


@pytest.mark.parametrize("which", LOSSES)
def test_the_same_on_every_backend(backend: Any, which: str) -> None:
    X, y = noisy(60, 3)
    mlp, right = fitted(which, dtype="float64"), fitted(which, dtype="float64").to(backend)
    mlp.calibrate(X, y)
    right.calibrate(X, y)
    assert_close(right.calibration.scores, mlp.calibration.scores, of_max=1e-10)
    assert_close(right.predict_interval(X), mlp.predict_interval(X), of_max=1e-9)


def test_the_standard_deviation_follows_the_noise() -> None:
    mlp = fitted("gaussian")
    X = np.array([[0.0, 0.0], [0.0, 0.95]])
    calm, wild = mlp.predict(X, return_std=True)[1]
    assert 2 < calm < 8  # 20 · 0.2 is 4
    assert 12 < wild < 40  # 20 · 1.1 is 22
    X, y = noisy(2000, 4)
    assert metrics.gaussian_log_loss(y, *mlp.predict(X, return_std=True)) < (
        metrics.gaussian_log_loss(y, mlp.predict(X), np.full(2000, (y - mlp.predict(X)).std()))
    )


def test_quantiles_are_where_their_share_of_the_rows_is() -> None:
    mlp, (X, y) = fitted("quantiles"), noisy(4000, 5)
    below = (y[:, None] < mlp.predict_quantiles(X)).mean(axis=0)
    assert_close(below, [0.05, 0.5, 0.95], atol=0.08)


def test_a_mixture_has_the_moments_of_all_its_draws(backend: Any) -> None:
    rng = np.random.default_rng(0)
    means, deviations = rng.normal(0, 3, (4, 2)), rng.uniform(0.5, 2, (4, 2))
    given = map(backend.asarray, (means, deviations**2))
    mean, variance = map(backend.to_numpy, mixture(backend.xp, *given))
    drawn = means[:, None] + deviations[:, None] * rng.standard_normal((4, 200_000, 2))
    assert_close(mean, drawn.mean(axis=(0, 1)), atol=0.02)
    assert_close(variance, drawn.var(axis=(0, 1)), rtol=0.02)
    stacked = np.stack([means, deviations], axis=1)
    assert_close(mean_and_std(np, stacked)[1], deviations)


# Intervals


def test_intervals_by_hand(backend: Any) -> None:
    """Of 20 residuals 1, 2, ..., 20 the k-th smallest, k = ⌈21 c⌉."""
    X = np.zeros((20, 1))
    y = np.random.default_rng(0).permutation(np.arange(1.0, 21)) * np.resize([1, -1], 20)
    mlp = straight(backend=backend)
    assert mlp.calibrate(X, y).rows == 20
    for coverage, reach in ((0.5, 11), (0.9, 19), (20 / 21, 20), (0.01, 1), (1 / 21, 1)):
        assert_close(mlp.predict_interval([[7.0]], coverage), [[7.0 - reach, 7.0 + reach]])


def test_intervals_of_several_targets_by_hand() -> None:
    X, y = np.zeros((20, 2)), np.stack([np.arange(1.0, 21), 10 * np.arange(1.0, 21)], axis=1)
    mlp = straight(2)
    mlp.calibrate(X, y)
    assert_close(mlp.predict_interval([[0.0, 5.0]], 0.5), [[[-11, 11], [-105, 115]]])


def test_intervals_in_units_of_the_deviation_by_hand() -> None:
    """μ = x₀, ln σ² = x₁: residuals 1, ..., 20 at σ = 2 are 0.5, ..., 10 deviations."""
    mlp = straight(2, loss="gaussian")
    mlp.calibrate(np.tile([3.0, np.log(4.0)], (20, 1)), 3 + np.arange(1.0, 21))
    found = mlp.predict_interval([[0.0, 0.0], [1.0, np.log(100.0)]], 0.5)
    assert_close(found, [[-5.5, 5.5], [-54.0, 56.0]], rtol=1e-12)


def test_intervals_of_quantiles_by_hand() -> None:
    """Both ends move by the same, outward or inward; where they would cross, to their middle."""
    mlp = straight(2, loss=Quantiles([0.1, 0.9]))
    z = np.log(np.expm1(4.0))  # its softplus is 4
    X = np.tile([0.0, z], (20, 1))  # from 0 to 4
    mlp.calibrate(X, np.full(20, 7.0))
    assert_close(mlp.predict_interval([[10.0, z]], 0.5), [[7.0, 17.0]], rtol=1e-12)
    mlp.calibrate(X, np.full(20, 1.0))
    assert_close(mlp.predict_interval([[10.0, z]], 0.5), [[11.0, 13.0]], rtol=1e-12)
    narrow = np.log(np.expm1(0.5))
    assert_close(mlp.predict_interval([[10.0, narrow]], 0.5), [[10.25, 10.25]], rtol=1e-12)


def test_the_nearest_pair_of_quantiles_is_taken() -> None:
    """Of four quantiles one pair for 90 %, another for 50 %; a single one is a pair with itself."""
    steps = np.log(np.expm1(1.0))
    mlp = straight(4, loss=Quantiles([0.05, 0.25, 0.75, 0.95]))
    mlp.calibrate(np.tile([0.0, steps, steps, steps], (20, 1)), np.full(20, 1.5))
    # The outer pair, 0 and 3, has the scores −1.5; the inner, 1 and 2, has −0.5.
    x = [[0.0, *[np.log(np.expm1(2.0))] * 3]]  # 0, 2, 4, 6
    assert_close(mlp.predict_interval(x, 0.9), [[1.5, 4.5]], rtol=1e-12)
    assert_close(mlp.predict_interval(x, 0.5), [[2.5, 3.5]], rtol=1e-12)
    one = straight(1, loss=Quantiles([0.5]))
    one.calibrate(np.zeros((20, 1)), np.arange(1.0, 21))
    assert_close(one.predict_interval([[0.0]], 0.5), [[-11.0, 11.0]])


@pytest.mark.parametrize("which", LOSSES)
def test_coverage_over_many_calibrations(which: str) -> None:
    """On average at least what was asked, and at most 1/(n + 1) more; here within 5 errors."""
    mlp, n, tries = fitted(which), 59, 150
    X, y = noisy(tries * n, 6)
    new, truth = noisy(3000, 7)
    for coverage in (0.5, 0.9):
        found = []
        for k in range(tries):
            mlp.calibrate(X[k * n : (k + 1) * n], y[k * n : (k + 1) * n])
            found.append(metrics.coverage(truth, mlp.predict_interval(new, coverage)))
        exact = ceil((n + 1) * coverage) / (n + 1)
        error = np.std(found) / tries**0.5 + (0.25 / 3000) ** 0.5
        assert abs(np.mean(found) - exact) < 5 * error


# Temperatures and sets


def problem(n: int, times: float, seed: int = 0, classes: int = 4) -> tuple[Any, Any]:
    """Logits and labels drawn by them; the logits are then too large by this factor."""
    rng = np.random.default_rng(seed)
    z = 2 * rng.standard_normal((n, classes))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    y = (p.cumsum(axis=1) < rng.uniform(size=(n, 1))).sum(axis=1)
    return times * z, np.minimum(y, classes - 1)


@pytest.mark.parametrize("times", [0.3, 1.0, 4.0])
def test_the_temperature_is_found_again(backend: Any, times: float) -> None:
    z, y = problem(5000, times)
    mlp = straight(4, backend, targets="labels")
    before = metrics.calibration_error(y, mlp.predict_proba(z))
    assert mlp.calibrate(z, y).temperature == pytest.approx(times, rel=0.05)
    new, labels = problem(5000, times, seed=1)
    p = mlp.predict_proba(new)
    e = np.exp(new / mlp.calibration.temperature)
    assert_close(p, e / e.sum(axis=1, keepdims=True), rtol=1e-9)
    assert metrics.calibration_error(labels, p) < 0.03
    if times != 1:
        assert metrics.calibration_error(labels, p) < 0.5 * before
    decisions = mlp.predict(new)
    mlp.calibration = None
    assert (mlp.predict(new) == decisions).all()
    e = np.exp(new)
    assert_close(mlp.predict_proba(new), e / e.sum(axis=1, keepdims=True), rtol=1e-9)


@pytest.mark.parametrize("softmax", [True, False])
@pytest.mark.parametrize("n", [20, 2000])
def test_the_temperature_is_the_least_of_its_objective(n: int, softmax: bool) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    z, y = problem(n, 2.0)
    target = np.eye(4)[y]

    def objective(log_t: float) -> float:
        u = z * np.exp(-log_t)
        if softmax:
            log_p = u - np.log(np.exp(u).sum(axis=1, keepdims=True))
            rows = -np.sum(target * log_p, axis=1)
        else:
            rows = np.sum(np.logaddexp(0, u) - u * target, axis=1)
        return float(rows.sum() + log_t**2 / (2 * PRIOR**2))

    expected = optimize.minimize_scalar(objective, bounds=(-3, 3), method="bounded")
    found = temperature_of(z, target, softmax)
    assert np.log(found) == pytest.approx(expected.x, abs=1e-4)


def test_rows_that_are_all_right_cannot_say_how_sure_to_be() -> None:
    """The log loss alone would be least at a temperature of 0."""
    found = temperature_of(10 * np.eye(5), np.eye(5), True)
    assert 0.5 < found < 1
    assert temperature_of(10 * np.eye(50), np.eye(50), True) < found


def test_rows_that_are_as_good_as_chance() -> None:
    rng = np.random.default_rng(0)
    z, target = 1e3 * rng.standard_normal((20_000, 3)), np.eye(3)[rng.integers(0, 3, 20_000)]
    assert temperature_of(z, target, True) == HOTTEST
    huge = np.array([[3e38, -3e38], [3e38, -3e38]])
    assert 1 / HOTTEST <= temperature_of(huge, np.eye(2), True) <= HOTTEST


KINDS: dict[str, Callable[[np.ndarray], tuple[dict[str, Any], np.ndarray, int]]] = {
    "labels": lambda y: ({}, y, 4),
    "one-hot": lambda y: ({"targets": "one_hot"}, np.eye(4)[y], 4),
    "binary": lambda y: ({"targets": "binary"}, y % 2, 1),
    "multilabel": lambda y: ({"targets": "multilabel"}, np.eye(4, dtype=int)[y], 4),
    "sigmoids for labels": lambda y: ({"loss": "binary_cross_entropy"}, y, 4),
    "mse and softmax": lambda y: ({"loss": "mse", "output": "softmax"}, y, 4),
    "mse and sigmoid": lambda y: (
        {"loss": "mse", "output": "sigmoid", "targets": "binary"}, y % 2, 1
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_of_every_kind_of_classes(backend: Any, kind: str) -> None:
    """The logits divided by T: where the network has probabilities itself, those of before."""
    z, labels = problem(300, 3.0)
    options, y, outputs = KINDS[kind](labels)
    mlp = straight(outputs, backend, **{"targets": "labels"} | options)
    before = mlp.predict_proba(z[:, :outputs])
    temperature = mlp.calibrate(z[:, :outputs], y).temperature
    assert temperature > 1
    after = mlp.predict_proba(z[:, :outputs])
    if "softmax" in kind or kind in ("labels", "one-hot"):
        p = before ** (1 / temperature)
        expected = p / p.sum(axis=1, keepdims=True)
    else:
        odds = np.exp(np.log(before / (1 - before)) / temperature)
        expected = odds / (1 + odds)
    assert_close(after, expected, atol=1e-7)
    assert_close(mlp.copy("numpy").predict_proba(z[:, :outputs]), after, rtol=1e-12)


def test_soft_targets_calibrate_too() -> None:
    z, _ = problem(3000, 1.0)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    mlp = straight(4, targets="one_hot")
    assert mlp.calibrate(5 * z, p).temperature == pytest.approx(5, rel=0.02)


def test_sets_by_hand(backend: Any) -> None:
    """A class is in the set if its probability is at least the k-th largest of the right ones."""
    p = np.arange(1, 21) / 40.0
    logits = np.stack([np.log(p), np.log(0.5 * (1 - p)), np.log(0.5 * (1 - p))], axis=1)
    mlp = straight(3, backend, targets="labels")
    mlp.calibrate(logits, np.zeros(20, int))
    # ⌈21 · 0.8⌉ = 17: the 17-th largest of 1/40, ..., 20/40 is 4/40.
    new = np.log([[0.6, 0.3, 0.1000001], [0.85, 0.09, 0.06], [0.4, 0.5, 0.1]])
    found = mlp.predict_set(new, 0.8)
    assert found.dtype == bool
    assert found.tolist() == [[True] * 3, [True, False, False], [True, True, found[2, 2]]]
    # ⌈21 · 0.04⌉ = 1: only 0.5 or more, and always the most probable class.
    new = np.log([[0.6, 0.3, 0.1], [0.45, 0.3, 0.25]])
    assert mlp.predict_set(new, 0.04).tolist() == [[True, False, False], [True, False, False]]


def test_sets_of_two_classes(backend: Any) -> None:
    rng = np.random.default_rng(0)
    z = 2 * rng.standard_normal((2000, 1))
    y = (rng.uniform(size=2000) < 1 / (1 + np.exp(-z[:, 0]))).astype(int)
    mlp = straight(1, backend, targets="binary")
    mlp.calibrate(z[:1000], y[:1000])
    sets = mlp.predict_set(z[1000:], 0.9)
    assert sets.shape == (1000, 2)
    assert 0.85 < metrics.coverage(y[1000:], sets) < 0.95
    assert 0.2 < sets.all(axis=1).mean() < 0.7


@pytest.mark.parametrize("times", [0.3, 4.0])
def test_coverage_of_sets_over_many_calibrations(times: float) -> None:
    """Whether the probabilities are right or not."""
    n, tries = 59, 150
    z, y = problem(tries * n, times)
    new, truth = problem(3000, times, seed=1)
    mlp = straight(4, targets="labels")
    for coverage in (0.7, 0.9):
        found, plain = [], []
        for k in range(tries):
            mlp.calibrate(z[k * n : (k + 1) * n], y[k * n : (k + 1) * n])
            sets = mlp.predict_set(new, coverage)
            found.append(metrics.coverage(truth, sets))
            plain.append(sets.sum(axis=1).mean())
        exact = ceil((n + 1) * coverage) / (n + 1)
        error = np.std(found) / tries**0.5 + (0.25 / 3000) ** 0.5
        # The most probable class is added, which covers more than was asked.
        assert exact - 5 * error < np.mean(found) < exact + 0.1 + 5 * error
        assert 1 <= np.mean(plain) < 3.5


# Kept, ended, refused


def calibrated(which: str = "quantiles") -> tuple[xpmlp.MLP, np.ndarray, np.ndarray]:
    mlp, (X, y) = fitted(which), noisy(60, 3)
    mlp.calibrate(X, y)
    return mlp, X, y


def through_a_file(mlp: xpmlp.MLP, folder: Path) -> xpmlp.MLP:
    mlp.save(folder / "m.xpmlp")
    return xpmlp.load(folder / "m.xpmlp", backend=mlp.backend)


WAYS: dict[str, Callable[[xpmlp.MLP, Path], xpmlp.MLP]] = {
    "file": through_a_file,
    "pickle": lambda mlp, _: pickle.loads(pickle.dumps(mlp)),
    "deepcopy": lambda mlp, _: copy.deepcopy(mlp),
    "copy": lambda mlp, _: mlp.copy(),
    "copy to another backend": lambda mlp, _: mlp.copy("numpy"),
    "move": lambda mlp, _: mlp.to("numpy"),
}


@pytest.mark.parametrize("which", LOSSES)
@pytest.mark.parametrize("way", WAYS)
def test_a_calibration_is_kept(way: str, which: str, tmp_path: Path) -> None:
    mlp, X, _ = calibrated(which)
    expected, known = mlp.predict_interval(X), mlp.calibration
    made = WAYS[way](mlp, tmp_path)
    assert made.calibration == known
    assert_close(made.calibration.scores, known.scores)
    assert_close(made.predict_interval(X), expected)


def test_a_temperature_is_kept_in_a_file(tmp_path: Path) -> None:
    z, y = problem(200, 3.0)
    for kind in KINDS:
        options, target, outputs = KINDS[kind](y)
        mlp = straight(outputs, **{"targets": "labels"} | options)
        mlp.calibrate(z[:, :outputs], target)
        expected = mlp.predict_proba(z[:, :outputs])
        assert_close(through_a_file(mlp, tmp_path).predict_proba(z[:, :outputs]), expected)


def test_a_model_without_one_has_no_entry(tmp_path: Path) -> None:
    """As files of before: they are the same, and load the same."""
    fitted("points").save(tmp_path / "m.xpmlp")
    config, tensors = tensorfile.read(tmp_path / "m.xpmlp")
    assert "calibration" not in config
    assert not [name for name in tensors if name.startswith("calibration")]
    assert xpmlp.load(tmp_path / "m.xpmlp").calibration is None


def test_what_ends_a_calibration() -> None:
    mlp, X, y = calibrated("points")
    mlp.fit(X, y, epochs=1, continued=True)
    assert mlp.calibration is None
    mlp.calibrate(X, y)
    mlp.load_state_dict(mlp.state_dict())
    assert mlp.calibration is None
    mlp.calibrate(X, y)
    objective = xpmlp.Objective(mlp, X, y)
    assert mlp.calibration is not None
    objective.adopt(objective.start())
    assert mlp.calibration is None


def test_a_copy_for_something_else_has_none() -> None:
    mlp, _, _ = calibrated("points")
    assert mlp.copy(dropout=0.1).calibration is mlp.calibration
    assert mlp.copy(loss="mae").calibration is None
    assert mlp.copy(scaling=None).calibration is None


def test_rates_have_intervals_too() -> None:
    """Of counts, in counts: the scores are those of exp of the output."""
    mlp = straight(1, loss="poisson")
    mlp.calibrate(np.zeros((20, 1)), np.arange(1.0, 21))  # rates of 1: 0, 1, ..., 19 off
    assert_close(mlp.predict_interval([[np.log(5.0)]], 0.5), [[-5.0, 15.0]], rtol=1e-12)


def test_what_does_not_end_it() -> None:
    """A fit that is refused, a calibration that is refused, a look at the model."""
    mlp, X, y = calibrated("points")
    known = mlp.calibration
    with pytest.raises(InvalidValueError):
        mlp.fit(X, y[:-1])
    with pytest.raises(InvalidValueError):
        mlp.calibrate(X, np.full(60, np.nan))
    mlp.evaluate(X, y)
    mlp.predict(X)
    assert mlp.calibration is known


def test_too_few_rows() -> None:
    mlp, X, y = calibrated("points")
    with pytest.raises(InvalidValueError, match="calibrate: found 19 rows; expected 20 or more"):
        mlp.calibrate(X[:19], y[:19])
    match = "coverage=0.99 after a calibration on 60 rows; expected at most 0.9836, or 99 rows"
    with pytest.raises(InvalidValueError, match=match):
        mlp.predict_interval(X, 0.99)
    mlp.calibrate(*noisy(99))
    mlp.predict_interval(X, 0.99)  # just enough


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1, 2, float("nan")])
def test_a_coverage_that_is_none(coverage: float) -> None:
    mlp, X, _ = calibrated("points")
    with pytest.raises(InvalidValueError, match=r"coverage is .*; expected a number in \(0, 1\)"):
        mlp.predict_interval(X, coverage)


@pytest.mark.parametrize("coverage", ["0.9", True, None, [0.9]])
def test_a_coverage_that_is_no_number(coverage: Any) -> None:
    mlp, X, _ = calibrated("points")
    with pytest.raises(InvalidTypeError, match=r"coverage=.*expected a number in \(0, 1\)"):
        mlp.predict_interval(X, coverage)


def test_what_a_model_cannot_say() -> None:
    X = np.eye(4)
    values, classes = straight(4), straight(4, targets="labels")
    labels = straight(4, targets="multilabel")
    for call, match in (
        (lambda: values.predict_interval(X), r"found no calibration; call mlp.calibrate\(X, y\)"),
        (lambda: classes.predict_set(X), "found no calibration"),
        (lambda: classes.predict_interval(X), "predicts classes; use predict_set"),
        (lambda: values.predict_set(X), "predicts values; use predict_interval"),
        (lambda: labels.predict_set(X), "predicts several labels in a row; use predict_proba"),
        (lambda: values.predict(X, return_std=True), "return_std=True for the loss 'mse'"),
        (lambda: values.predict_quantiles(X), "predict_quantiles: found the loss 'mse'"),
        (lambda: xpmlp.MLP([4, 1]).calibrate(X, X[0]), "has not been trained"),
    ):
        with pytest.raises(InvalidValueError, match=match):
            call()


def test_outputs_that_are_no_probabilities() -> None:
    mlp = straight(4, targets="labels", loss="mse")
    with pytest.raises(InvalidValueError, match="outputs that are no probabilities, by the loss"):
        mlp.calibrate(np.eye(4).repeat(5, axis=0), np.arange(4).repeat(5))


def test_outputs_that_only_the_loss_knows() -> None:
    def first(xp: Any, z: Any, y: Any) -> Any:
        e = z[:, :1] - y
        return 0.5 * xp.sum(e * e, axis=1), xp.concat((e, xp.zeros_like(e)), axis=1)

    X, y = noisy(40)
    mlp = xpmlp.MLP([2, 2], loss=CustomLoss(first), backend="numpy")
    mlp.fit(X, y, epochs=1)
    with pytest.raises(InvalidValueError, match="only the loss 'custom' knows"):
        mlp.calibrate(X, y)


def test_predictions_that_are_not_finite() -> None:
    mlp = straight(1, dtype="float32")
    mlp.load_state_dict({"dense1.W": np.array([[1e38]]), "dense1.b": np.zeros(1)})
    with (
        np.errstate(over="ignore"),
        pytest.raises(InvalidValueError, match="predictions that are NaN or infinite"),
    ):
        mlp.calibrate(np.full((20, 1), 1e3), np.zeros(20))


def with_entry(change: Callable[[dict[str, Any], dict[str, Any]], Any], path: Path) -> Path:
    """Write a model file with a changed calibration, and a checksum that is right."""
    calibrated("quantiles")[0].save(path)
    config, tensors = tensorfile.read(path)
    tensors = dict(tensors)
    change(config, tensors)
    tensorfile.write(path, config, tensors)
    return path


def entries(**changes: Any) -> Callable[..., Any]:
    return lambda config, tensors: config["calibration"].update(changes)


def scores(change: Callable[[np.ndarray], Any]) -> Callable[..., Any]:
    def changed(config: Any, tensors: Any) -> None:
        tensors["calibration.scores"] = change(tensors["calibration.scores"])

    return changed


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (entries(rows=5), "rows of the calibration: found 5"),
        (entries(rows=True), "rows of the calibration"),
        (entries(rows=61), r"calibration.scores: found .*\(1, 61, 1\)"),
        (entries(temperature=0.0), "temperature of the calibration: found 0.0"),
        (entries(temperature=1e9), "temperature of the calibration"),
        (entries(temperature="1"), "temperature of the calibration"),
        (lambda c, t: c.update(calibration=[]), "calibration is"),
        (lambda c, t: c["calibration"].pop("rows"), "does not fit its arrays"),
        (lambda c, t: c.update(kind=None, columns=None), "cannot have one"),
        (lambda c, t: t.pop("calibration.scores"), "calibration.scores: found None"),
        (lambda c, t: c.pop("calibration"), "calibration.scores"),
        (lambda c, t: c.update(columns=2), "columns of the targets: found 2"),
        (lambda c, t: c.update(columns=None), "columns of the targets: found None"),
        (scores(lambda s: s[:, ::-1]), "numbers that do not ascend"),
        (scores(lambda s: s * np.nan), "numbers that do not ascend"),
        (scores(lambda s: np.where(s == s.max(), np.inf, s)), "numbers that do not ascend"),
        (scores(lambda s: s.astype(np.float32)), "expected float64"),
        (scores(lambda s: s[:, :, [0, 0]]), r"found .*\(1, 60, 2\)"),
    ],
)
def test_a_file_with_another_calibration(change: Any, match: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=match):
        xpmlp.load(with_entry(change, tmp_path / "m.xpmlp"), backend="numpy")


def test_a_file_of_a_model_that_cannot_be_calibrated(tmp_path: Path) -> None:
    mlp = straight(4, targets="labels", loss="mse", output="softmax")
    z, y = problem(100, 3.0)
    mlp.calibrate(z, y)
    mlp.save(tmp_path / "m.xpmlp")
    config, tensors = tensorfile.read(tmp_path / "m.xpmlp")
    config["arguments"]["output"] = None
    tensorfile.write(tmp_path / "m.xpmlp", config, dict(tensors))
    with pytest.raises(CheckpointError, match="cannot have one"):
        xpmlp.load(tmp_path / "m.xpmlp", backend="numpy")


def test_several_labels_have_no_scores(tmp_path: Path) -> None:
    mlp = straight(4, targets="multilabel")
    z, y = problem(100, 3.0)
    mlp.calibrate(z, np.eye(4)[y])
    mlp.save(tmp_path / "m.xpmlp")
    config, tensors = tensorfile.read(tmp_path / "m.xpmlp")
    tensorfile.write(
        tmp_path / "m.xpmlp", config, dict(tensors) | {"calibration.scores": np.zeros((1, 100, 1))}
    )
    with pytest.raises(CheckpointError, match="expected float64 of shape None"):
        xpmlp.load(tmp_path / "m.xpmlp", backend="numpy")


def test_it_says_what_it_is() -> None:
    assert repr(Calibration(50, 1.2345)) == "Calibration(rows=50, temperature=1.23)"
    assert repr(calibrated("points")[0].calibration) == "Calibration(rows=60)"


def test_sparse_rows_and_many_batches() -> None:
    """More rows than a batch, of which the last is short, and a sparse matrix."""
    sparse = pytest.importorskip("scipy.sparse")
    mlp = fitted("gaussian")
    X, y = noisy(5000, 8)
    mlp.calibrate(X, y)
    found = mlp.predict_interval(X, 0.9)
    assert_close(found[4990:], mlp.predict_interval(X[4990:], 0.9), rtol=1e-5)
    given = sparse.csr_array(X)
    assert_close(mlp.predict_interval(given, 0.9), found, rtol=1e-5)
    std = mlp.predict(X, return_std=True)[1]
    assert_close(mlp.predict(given, return_std=True)[1], std, rtol=1e-5)


def test_a_table_is_calibrated_with_frames() -> None:
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame({"a": rng.standard_normal(300), "b": rng.choice(["x", "y"], 300)})
    y = 2 * frame["a"].to_numpy() + (frame["b"] == "x") + 0.1 * rng.standard_normal(300)
    mlp = xpmlp.MLP([3, 1], table="auto", scaling="standard", backend="numpy", seed=0)
    mlp.fit(frame[:200], y[:200], batch_size=20, epochs=40, optimizer=xpmlp.Adam(0.05))
    mlp.calibrate(frame[200:], y[200:])
    assert metrics.coverage(y[:200], mlp.predict_interval(frame[:200], 0.9)) > 0.8


def test_a_backend_of_another_library_is_told_apart() -> None:
    """Rows of PyTorch on a NumPy model: the intervals are PyTorch's."""
    torch = pytest.importorskip("torch")
    mlp, X, _ = calibrated("points")
    found = mlp.predict_interval(torch.tensor(X))
    assert isinstance(found, torch.Tensor)
    assert_close(found.numpy(), mlp.predict_interval(X), rtol=1e-9)
