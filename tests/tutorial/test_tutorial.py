"""The tutorial's runs: the figures that are promised, and pictures that are what they should be."""

from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp.tutorial import exploding, original, overfitting, pictures, xor
from xpmlp.tutorial.panels import Panels

image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")

COLOURS = 64
"""Colours of a picture that has something on it."""


def looks_drawn(path: Path, least: tuple[int, int] = (600, 300)) -> None:
    with image.open(path) as found:
        assert found.format == "PNG"
        assert all(size >= wanted for size, wanted in zip(found.size, least, strict=True))
        assert len(found.convert("RGB").getcolors(1 << 24)) > COLOURS
    assert path.stat().st_size < 2_000_000


# XOR


@pytest.mark.slow
def test_ten_hidden_neurons_reach_97_percent_on_fresh_points() -> None:
    shares = [xor.learn(10, seed=seed, backend="numpy").accuracy for seed in range(10)]
    assert np.mean(shares) >= 0.97


def test_the_boundary_is_recorded_from_before_the_training_to_its_end(backend: Any) -> None:
    run = xor.learn(5, epochs=6, backend=backend)
    epochs = [frame.epoch for frame in run.frames]
    assert (epochs[0], epochs[-1]) == (0, 6)
    assert len(set(epochs)) == len(epochs) <= 41
    assert sum(0 < epoch < 1 for epoch in epochs) >= 5  # where most happens
    assert all(frame.chances.shape == (xor.SIDE, xor.SIDE) for frame in run.frames)
    assert not np.array_equal(run.frames[0].chances, run.frames[-1].chances)
    assert run.accuracy == run.mlp.evaluate(run.data.X_test, run.data.y_test)["accuracy"]


def test_a_frame_says_what_the_network_says() -> None:
    run = xor.learn(5, epochs=3, backend="numpy")
    corner = np.array([[-run.reach, -run.reach], [run.reach, -run.reach]])
    expected = run.mlp.predict_proba(corner)[:, 1]
    np.testing.assert_allclose(run.frames[-1].chances[0, [0, -1]], expected, rtol=1e-5)
    within = next(frame for frame in run.frames if 0.5 < frame.epoch < 1)
    assert not np.array_equal(within.chances, run.frames[0].chances)


def test_long_trainings_have_no_more_frames_and_more_of_them_early() -> None:
    run = xor.learn(3, epochs=200, backend="numpy")
    epochs = np.array([frame.epoch for frame in run.frames])
    assert epochs[-1] == 200
    assert len(epochs) <= 41
    assert np.all(np.diff(epochs) > 0)
    assert np.sum(epochs <= 50) > np.sum(epochs > 150)


@pytest.mark.slow
def test_the_panels_as_a_picture_and_as_an_animation(tmp_path: Path) -> None:
    run = xor.learn(10, backend="numpy")
    began = process_time()
    panels = Panels([run])
    panels.gif(tmp_path / "xor.gif")
    panels.png(tmp_path / "xor.png")
    assert process_time() - began < 10
    looks_drawn(tmp_path / "xor.png", (1000, 350))
    assert (tmp_path / "xor.gif").stat().st_size < 2_000_000
    with image.open(tmp_path / "xor.gif") as film:
        assert film.n_frames == len(run.frames)
        assert film.info["loop"] == 0
        assert film.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        film.seek(film.n_frames - 1)
        last = np.asarray(film.convert("RGB"), dtype=float)
    with image.open(tmp_path / "xor.png") as still:
        expected = np.asarray(still.convert("RGB"), dtype=float)
    assert np.abs(last - expected).mean() < 4  # of 255: the palette's rounding


@pytest.mark.slow
def test_several_runs_are_rows_of_one_picture(tmp_path: Path) -> None:
    runs = [xor.learn(hidden, epochs=4, backend="numpy") for hidden in (1, 3, 50)]
    panels = Panels(runs)
    panels.png(tmp_path / "xor.png")
    panels.gif(tmp_path / "xor.gif")
    looks_drawn(tmp_path / "xor.png", (1000, 1000))
    assert [run.name for run in runs][:2] == ["1 hidden neuron", "3 hidden neurons"]


# Exploding


@pytest.fixture(scope="module")
def outcomes() -> list[exploding.Outcome]:
    return exploding.compare(backend="numpy")


@pytest.mark.slow
def test_the_run_explodes_and_the_remedies_change_that(
    outcomes: list[exploding.Outcome], tmp_path: Path
) -> None:
    verdicts = {o.trial.name: o.verdict for o in outcomes}
    assert len(verdicts) == 8
    assert verdicts["learning rate 0.5"] == "exploded"
    assert verdicts["a smaller learning rate"] == "learned"
    assert verdicts["gradient clipping"] == "learned"
    base = outcomes[0]
    assert base.losses[base.exploded - 2] > 1e6 if base.exploded else False
    exploding.picture(outcomes, tmp_path / "exploding.png")
    looks_drawn(tmp_path / "exploding.png", (1200, 600))


@pytest.mark.slow
def test_the_paragraph_says_of_every_run_what_came_of_it(
    outcomes: list[exploding.Outcome],
) -> None:
    text = exploding.describe(outcomes)
    for outcome in outcomes:
        assert outcome.trial.name in text
    assert f"step {outcomes[0].exploded}" in text


def test_the_paragraph_follows_the_runs() -> None:
    """Nothing is said that these made-up runs do not show."""
    helped, fails = (exploding.REMEDIES[k] for k in (0, 5))
    boom = np.array([0.5, 1e9, np.nan])
    fine = np.array([0.5, 0.4, 0.1])
    text = exploding.describe(
        [
            exploding.Outcome(exploding.BASE, boom, 3, [], np.nan),
            exploding.Outcome(helped, boom, 3, [], np.nan),
            exploding.Outcome(fails, fine, 3, [0.1], 0.99),
        ]
    )
    assert "did not help, the loss still exploded: a smaller learning rate (step 3)" in text
    assert "What helped: a stronger L2 penalty (99 %)." in text
    assert "guess" not in text
    stable = exploding.Outcome(exploding.BASE, fine, 3, [0.1], 0.99)
    assert "did not explode" in exploding.describe([stable])


# The original


@pytest.mark.slow
def test_the_original_with_its_slip_as_recomputed() -> None:
    """100,000 steps; the figures are those of an independent program."""
    result = original.repeat(replace(original.EXPLODES, steps=100_000))
    assert f"{result.loss:.6f}" == "0.254963"
    assert f"{result.squares:,.0f}" == "15,528"


@pytest.mark.parametrize("slip", [True, False])
def test_a_step_of_the_original_is_the_one_of_its_equations(slip: bool) -> None:
    row = original.Row(4, 0.003, 0.1, 4, slip)
    X, y = original.points(50)
    p = original.network(row).parameters
    w1, w2 = p["dense1.W"], p["dense2.W"]
    for _ in range(3):
        h1 = 1 / (1 + np.exp(-X @ w1))
        h2 = 1 / (1 + np.exp(-h1 @ w2))
        dz2 = -(y - h2) * h2 * (1 - h2)
        dz1 = dz2 @ w2.T * h1 * (1 - h1)
        add1, add2 = (np.sum(w**2) if slip else w for w in (w1, w2))
        w1, w2 = w1 - 0.003 * (X.T @ dz1 + 0.1 * add1), w2 - 0.003 * (h1.T @ dz2 + 0.1 * add2)
    h2 = 1 / (1 + np.exp(-1 / (1 + np.exp(-X @ w1)) @ w2))
    loss = (np.sum((y - h2) ** 2) + 0.1 * (np.sum(w1**2) + np.sum(w2**2))) / 100
    result = original.repeat(row)
    assert result.loss == pytest.approx(loss, rel=1e-12)
    assert result.squares == pytest.approx(np.sum(w1**2), rel=1e-12)


def test_the_slip_explodes_where_the_right_gradient_does_not(tmp_path: Path) -> None:
    """A large λ does in a moment what the original's does in 100,000."""
    row = original.Row(50, 0.003, 0.01, 4_000)
    slipped, right = (original.repeat(replace(row, slip=slip)) for slip in (True, False))
    assert slipped.exploded
    assert not right.exploded
    assert "it is not the gradients that explode" in original.describe(slipped, right)
    assert "exploded" in "\n".join(original.table([slipped, right]))
    original.picture([slipped, right], tmp_path / "original.png")
    looks_drawn(tmp_path / "original.png")


# Pictures


@pytest.mark.slow
def test_the_pictures(tmp_path: Path) -> None:
    pictures.activations_picture(tmp_path / "activations.png")
    pictures.network_picture(tmp_path / "network.png", xpmlp.MLP([64, 13, 12, 10], seed=0))
    digits = xpmlp.data.load("digits")
    pictures.digits_picture(tmp_path / "digits.png", digits)
    pictures.augment_picture(tmp_path / "augment.png", digits, "shift", row=3)
    for name in ("activations", "network", "digits", "augment"):
        looks_drawn(tmp_path / f"{name}.png")


def test_an_overfit_knows_the_points_and_misses_the_star(tmp_path: Path) -> None:
    line, good, over = overfitting.three_fits(backend="numpy")
    assert over.error < 0.5 < good.error < line.error
    assert good.miss < 8 < min(line.miss, over.miss)
    overfitting.picture([line, good, over], tmp_path / "overfitting.png")
    looks_drawn(tmp_path / "overfitting.png", (1200, 400))
