"""Frames: what the page draws is what the network says, and each epoch is told once."""

from typing import Any

import numpy as np
import pytest
from conftest import assert_close
from page import begun, finished, unpacked

from xpmlp.play.frames import BINS, ROWS, SIDE, UNIT_SIDE, Viewer, number, shades, state
from xpmlp.play.run import Run

pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = {"points": 60, "hidden": [3, 2], "epochs": 6}


def frame(viewer: Viewer, after: int = 0) -> tuple[Any, dict[str, np.ndarray]]:
    return unpacked(viewer.frame(viewer.run.last, after))


def level(about: Any, name: str, values: np.ndarray) -> np.ndarray:
    """Bytes as the numbers they stand for."""
    low, high = next(each["range"] for each in about["arrays"] if each["name"] == name)
    return low + values / 255 * (high - low)


def plane(run: Run, side: int) -> np.ndarray:
    """The places that a picture shows, from the top left."""
    found = run.problem.plane
    assert found is not None
    x, y = np.linspace(*found.x, side), np.linspace(*found.y, side)
    return np.array([[(a, b) for a in x] for b in y[::-1]])


def test_the_boundary_is_what_the_network_predicts() -> None:
    with begun(SMALL | {"data": "moons"}) as run:
        finished(run)
        head, arrays = frame(Viewer(run))
        places = plane(run, SIDE).reshape(-1, 2)
        chances = run.mlp.predict_proba(places)[:, 1].reshape(SIDE, SIDE)
        assert_close(level(head, "boundary", arrays["boundary"]), chances, atol=0.51 / 255)
        left, right = chances[:, 0].mean(), chances[:, -1].mean()
        assert left != right  # else a mirrored picture would pass


def test_units_are_their_activations() -> None:
    with begun(SMALL) as run:
        finished(run)
        head, arrays = frame(Viewer(run))
        values, h = run.mlp.parameters, plane(run, UNIT_SIDE).reshape(-1, 2)
        for k in range(2):
            h = np.tanh(h @ values[f"dense{k + 1}.W"] + values[f"dense{k + 1}.b"])
            shown = level(head, f"units:{k}", arrays[f"units:{k}"])
            assert shown.shape == (run.settings.hidden[k], UNIT_SIDE, UNIT_SIDE)
            assert_close(shown, h.T.reshape(shown.shape), atol=1.1 / 255)


def test_values_are_scaled_by_the_targets() -> None:
    with begun(SMALL | {"data": "waves"}) as run:
        finished(run)
        head, arrays = frame(Viewer(run))
        predicted = run.mlp.predict(plane(run, SIDE).reshape(-1, 2)).reshape(SIDE, SIDE)
        low, high = run.problem.y.min(), run.problem.y.max()
        shown = level(head, "boundary", arrays["boundary"])
        assert_close(shown, np.clip(predicted, low, high), atol=0.51 / 255 * (high - low))
        assert head["score"]["name"] == "r2"


def test_two_outputs_become_one_picture() -> None:
    with begun(SMALL | {"loss": "sparse_categorical_cross_entropy"}) as run:
        finished(run)
        head, arrays = frame(Viewer(run))
        chances = run.mlp.predict_proba(plane(run, SIDE).reshape(-1, 2))[:, 1]
        shown = level(head, "boundary", arrays["boundary"])
        assert_close(shown, chances.reshape(SIDE, SIDE), atol=0.51 / 255)


def test_weights_and_biases_are_the_network_s() -> None:
    for given in ({}, {"bias": False, "hidden": []}, {"normalization": "layer"}):
        with begun(SMALL | given) as run:
            finished(run)
            _, arrays = frame(Viewer(run))
            for k in range(len(run.mlp.sizes) - 1):
                assert (arrays[f"weights:{k}"] == run.mlp.parameters[f"dense{k + 1}.W"]).all()
            assert ("biases:0" in arrays) == run.settings.bias


def test_gradients_are_counted_by_their_size() -> None:
    with begun(SMALL | {"batch_size": 2000, "test_share": 0.0, "l2": 0.01}) as run:
        _, arrays = frame(Viewer(run))
        counts = arrays["gradients"]
        assert counts.shape == (3, len(BINS) - 1)
        assert counts.sum(axis=1).tolist() == [9, 8, 3]
        # Central differences of the loss, weight by weight, of the first layer.
        assert len(run.problem.y) <= ROWS
        mlp, X, y = run.viewer.copy(dtype="float64"), run.problem.X, run.problem.y
        values, sizes = mlp.state_dict(), []
        for name in ("dense1.W", "dense1.b"):
            for place in np.ndindex(values[name].shape):
                losses = []
                for move in (1e-5, -1e-5):
                    moved = {n: v.copy() for n, v in values.items()}
                    moved[name][place] += move
                    mlp.load_state_dict(moved)
                    losses.append(mlp.evaluate(X, y)["loss"])
                sizes.append(abs(losses[0] - losses[1]) / 2e-5)
        expected = np.histogram(np.clip(np.log10(sizes), -8, 2), BINS)[0]
        assert np.abs(counts[0] - expected).sum() <= 2  # one may lie at the edge of a bin


def test_digits_have_no_plane() -> None:
    with begun({"data": "digits", "hidden": [4], "epochs": 1}) as run:
        finished(run)
        _, arrays = frame(Viewer(run))
        assert set(arrays) == {"weights:0", "weights:1", "biases:0", "biases:1", "gradients"}
        told = state(run)
        assert (told["plane"], told["points"], told["sizes"]) == (None, None, [64, 4, 10])


def test_more_classes_have_an_index_and_how_sure(tmp_path: Any) -> None:
    rows = [f"{x / 7:.3f},{y / 5:.3f},{'abc'[(x + y) % 3]}" for x in range(9) for y in range(9)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["u,v,kind", *rows]))
    with begun({"data": "table", "label": "kind", "epochs": 3, "hidden": [4]}, path) as run:
        finished(run)
        head, arrays = frame(Viewer(run))
        found = run.problem.plane
        assert found is not None
        chances = run.mlp.predict_proba(found.inputs(plane(run, SIDE).reshape(-1, 2)))
        assert (arrays["boundary"].ravel() == chances.argmax(axis=1)).all()
        sure = level(head, "sure", arrays["sure"]).ravel()
        assert_close(sure, chances.max(axis=1), atol=0.51 / 255)
        assert state(run)["classes"] == ["a", "b", "c"]


def test_each_epoch_is_told_once() -> None:
    with begun(SMALL) as run:
        viewer, told, after = Viewer(run), [], 0
        for _ in range(6):
            run.advance("epoch")
            head, _ = frame(viewer, after)
            assert head["history"]["since"] == len(told)
            told += head["history"]["train"]
            after = head["frame"]
        assert told == run.history["loss"]
        everything = frame(viewer, 0)[0]["history"]
        assert everything["train"] == run.history["loss"]
        assert everything["test"] == run.history["val_loss"]
        assert frame(viewer, after)[0]["history"]["train"] == []
        assert frame(viewer, 10**9)[0]["history"]["since"] == 0


def test_losses_are_those_of_the_epoch_or_of_the_weights_shown() -> None:
    with begun(SMALL) as run:
        viewer = Viewer(run)
        X, y = run.problem.X, run.problem.y
        head, _ = frame(viewer)
        assert head["loss"]["train"] == pytest.approx(run.viewer.evaluate(X, y)["loss"])
        run.advance("step")
        head, _ = frame(viewer)
        assert head["step"] == 1
        assert head["loss"]["train"] == pytest.approx(run.viewer.evaluate(X, y)["loss"])
        run.advance("epoch")
        head, _ = frame(viewer)
        assert head["loss"] == {"train": run.history["loss"][0], "test": run.history["val_loss"][0]}
        assert head["score"]["test"] == run.history["val_accuracy"][0]
        assert head["rate"] == 0.01


def test_a_network_that_overflowed_can_be_drawn() -> None:
    with begun({"hidden": [3], "epochs": 2}) as run:
        viewer = Viewer(run)
        flat = np.full_like(run.last.flat, np.nan)
        flat[::2] = np.inf
        object.__setattr__(run.last, "flat", flat)
        head, arrays = frame(viewer)
        assert head["loss"]["train"] is None
        assert np.isfinite(arrays["boundary"]).all()


def test_numbers_as_json_takes_them() -> None:
    assert [number(v) for v in (None, float("nan"), float("inf"), 1, np.float32(2))] == [
        None, None, None, 1.0, 2.0,
    ]  # fmt: skip
    _, data = shades("x", np.array([np.nan, np.inf, -np.inf, 0.5]), 0.0, 1.0)
    assert [*data] == [0, 255, 0, 128]
    assert [*shades("x", np.ones(2), 1.0, 1.0)[1]] == [0, 0]
