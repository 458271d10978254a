"""A run: it trains with ``fit``, pauses where it is told to, and ends when nobody is there."""

import threading
from typing import Any

import numpy as np
import pytest
from conftest import assert_close
from page import begun, finished, until

import xpmlp
from xpmlp.errors import InvalidValueError
from xpmlp.play.frames import Viewer, activations, first_inputs, short
from xpmlp.play.network import network_of, optimizer_of, problem_of
from xpmlp.play.run import KEPT, Run
from xpmlp.play.settings import Settings
from xpmlp.play.stories import STORIES
from xpmlp.play.why import diagnosed, explained

pytestmark = pytest.mark.filterwarnings("ignore")  # the page says what is wrong with a run

SMALL = {"points": 60, "hidden": [3], "epochs": 4, "batch_size": 16}


def place(run: Run) -> tuple[str, int, int]:
    return run.last.status, run.last.epoch, run.last.step


def test_a_run_goes_where_it_is_told_to() -> None:
    with begun(SMALL) as run:
        steps = run.mlp.progress
        assert steps is None
        assert place(run) == ("paused", 0, 0)
        run.advance("step")
        assert place(run) == ("paused", 0, 1)
        run.advance("step")
        assert place(run) == ("paused", 0, 2)
        run.advance("epoch")
        assert place(run) == ("paused", 1, 0)
        run.advance("epoch")
        assert place(run) == ("paused", 2, 0)
        run.advance("step")
        assert place(run) == ("paused", 2, 1)
        run.pause()
        assert place(run) == ("paused", 2, 1)
        finished(run)
        assert place(run) == ("done", 4, 0)
        run.go()  # nothing is left to do
        run.pause()
        run.advance("step")
        assert place(run) == ("done", 4, 0)


def test_pausing_changes_no_number() -> None:
    """Stepping, pausing and looking give the losses of a plain fit, bit for bit."""
    settings = Settings.checked(SMALL | {"dropout": 0.2, "normalization": "batch"})
    data = problem_of(settings)
    mlp = network_of(settings, data)
    history = mlp.fit(
        data.X, data.y, epochs=4, batch_size=16, optimizer=optimizer_of(settings),
        validation_data=data.held_out,
    )  # fmt: skip
    with begun(settings.as_json() | {"pace": None}) as run:
        viewer = Viewer(run)
        for _ in range(5):
            run.advance("step")
            viewer.frame(run.last, 0)
        run.advance("epoch")
        explained(viewer, {"row": 0})
        finished(run)
        for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
            assert run.history[name] == history[name], name
        for name, value in mlp.parameters.items():
            assert (run.mlp.parameters[name] == value).all()


def test_a_step_is_that_of_the_optimizer() -> None:
    """One step of SGD on all rows: the weights less the rate times PyTorch's gradient."""
    torch = pytest.importorskip("torch")
    given = {"points": 40, "hidden": [3], "optimizer": "sgd", "learning_rate": 0.5}
    with begun(given | {"batch_size": 40, "epochs": 2}) as run:
        before = run.viewer.parameters
        run.advance("step")  # the only one of the epoch
        values = {n: torch.tensor(v, requires_grad=True) for n, v in before.items()}
        x = torch.tensor(run.problem.X, dtype=torch.float32)
        y = torch.tensor(run.problem.y, dtype=torch.float32)[:, None]
        h = torch.tanh(x @ values["dense1.W"] + values["dense1.b"])
        z = h @ values["dense2.W"] + values["dense2.b"]
        torch.nn.functional.binary_cross_entropy_with_logits(z, y).backward()
        after = Viewer(run).look_at(run.last).parameters
        for name, value in values.items():
            assert_close(after[name], before[name] - 0.5 * value.grad.numpy(), atol=1e-6)


def test_a_closed_tab_stops_the_run() -> None:
    with begun({"epochs": 10_000}, patience=0.0) as run:
        run.go()
        until(lambda: run.last.status == "paused")
        epoch = run.last.epoch
        assert epoch < 10_000
        run.go()  # it goes on when somebody comes
        until(lambda: run.last.status == "paused" and run.last.epoch > epoch)


def test_many_who_want_different_things_wait_for_ever_for_nothing() -> None:
    with begun({"epochs": 10_000, "hidden": [2], "points": 40}) as run:
        wishes = [run.go, run.go, run.pause, lambda: run.advance("step"), run.pause]

        def wish(k: int) -> None:
            for turn in range(15):
                wishes[(k + turn) % len(wishes)]()

        threads = [threading.Thread(target=wish, args=[k], daemon=True) for k in range(6)]
        for thread in threads:
            thread.start()
        until(lambda: not any(thread.is_alive() for thread in threads))
        run.pause()
        assert run.last.status == "paused"


def test_a_pace_is_kept_and_pausing_does_not_wait_for_it() -> None:
    with begun({"pace": 1, "batch_size": 2000, "epochs": 10_000}) as run:  # one epoch in a second
        run.go()
        run.pause()
        assert run.last.epoch <= 1
        run.go()
    assert not run._thread.is_alive()


def test_snapshots_are_made_for_those_who_wait() -> None:
    with begun({"epochs": 10_000}) as run:
        run.go()
        number = run.last.number
        until(lambda: len(run.history.get("loss", ())) > 50)
        assert run.last.number == number  # nobody has asked for any
        for _ in range(3):
            number = run.last.number
            run.want()
            until(lambda number=number: run.last.number > number)
            assert run.last.status == "running"


def test_whoever_waits_gets_a_snapshot_however_slow_the_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A question is soon forgotten, but not while its bell hangs there."""
    monkeypatch.setattr("xpmlp.play.run.WANTED", 0.0)
    with begun({"epochs": 10_000}) as run:
        run.go()
        number = run.last.number
        run.bells.add(lambda: None)
        until(lambda: run.last.number > number)


def test_bells_ring_for_every_snapshot() -> None:
    rung: list[int] = []
    with begun(SMALL) as run:
        run.bells.add(lambda: rung.append(run.last.number))
        run.advance("step")
        assert rung[-1] == run.last.number
        finished(run)
        assert rung[-1] == run.last.number


def test_a_failure_is_said_in_one_line() -> None:
    with begun({"optimizer": "sgd", "learning_rate": 100.0, "data": "waves", "epochs": 50}) as run:
        finished(run)
        assert run.last.status == "failed"
        assert run.last.message is not None
        assert run.last.message.startswith("the training diverged in epoch")
        assert "\n" not in run.last.message
        assert short(run, run.last)["message"] == run.last.message
        assert "learning rate too large" in {
            found["what"] for found in diagnosed(Viewer(run))["findings"]
        }


def test_settings_that_do_not_go_together_are_refused_at_once() -> None:
    with (
        pytest.raises(InvalidValueError, match="takes labels"),
        begun({"data": "line", "loss": "sparse_categorical_cross_entropy"}),
    ):
        pass


def test_a_fit_that_fails_before_its_first_epoch() -> None:
    """Batch normalization cannot take batches of one row."""
    with begun({"normalization": "batch", "batch_size": 1}) as run:
        run.join()
        assert run.last.status == "failed"
        run.go()
        assert len(Viewer(run).frame(run.last, 0)) > 100


def test_the_film_keeps_some_epochs_of_all() -> None:
    with begun({"points": 20, "epochs": 500, "hidden": [1]}) as run:
        finished(run)
        epochs = [shot.epoch for shot in run.film]
        assert epochs[0] == 0
        assert KEPT / 2 <= len(epochs) <= KEPT
        assert len(set(np.diff(epochs))) == 1
        assert 500 - epochs[-1] < epochs[1]


def test_a_viewer_sees_what_the_network_computes(backend: Any) -> None:
    """Activations, outputs and weights of a snapshot, on every backend."""
    settings = Settings.checked(SMALL | {"data": "waves", "pace": None, "hidden": [4, 3]})
    data = problem_of(settings)
    mlp = network_of(settings, data).to(backend)
    mlp.fit(data.X, data.y, epochs=2, optimizer=optimizer_of(settings))
    viewer = mlp.copy(backend="numpy")
    found = activations(viewer, first_inputs(viewer, data.X))
    values, h = mlp.parameters, data.X
    for k, units in enumerate(found, start=1):
        h = np.tanh(h @ values[f"dense{k}.W"] + values[f"dense{k}.b"])
        assert_close(units, h, atol=1e-5)
    assert len(found) == 2


# Stories

ENDS: dict[str, Any] = {
    "three-neurons": lambda train, test: train < 0.9,
    "fifty-neurons": lambda train, test: train > 0.95 and test > 0.9,
    "explosion": None,
    "remedy-1": lambda train, test: test > 0.85,
    "remedy-3": lambda train, test: test > 0.85,
    "remedy-4": lambda train, test: test > 0.75,
    "slip": None,
    "no-slip": lambda train, test: test > 0.9,
    "rate-too-small": lambda train, test: train < 0.7,
    "rate-right": lambda train, test: test > 0.9,
    "underfitting": lambda train, test: train < 0.8,
    "overfitting": lambda train, test: train > 0.95 and test < 0.9,
}
"""What the accuracies have to be for what a story says; None for a run that fails."""

SAID = {
    "explosion": "learning rate too large",
    "three-neurons": "underfitting",
    "rate-too-small": "learning rate too small",
    "rate-too-large": "learning rate too large",
    "dead-relus": "dead units",
    "underfitting": "underfitting",
    "overfitting": "overfitting",
}
"""What the diagnosis has to find."""


@pytest.mark.sampled(3)
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_each_story_shows_what_it_says(story: Any) -> None:
    settings = story.as_json()["settings"] | {"pace": None}
    with begun(settings) as run:
        finished(run)
        viewer = Viewer(run)
        if story.name in ENDS and ENDS[story.name] is None:
            assert run.last.status == "failed"
        elif story.name in ENDS:
            assert run.last.status == "done"
            train, test = run.history["accuracy"][-1], run.history["val_accuracy"][-1]
            assert ENDS[story.name](train, test), (train, test)
        if story.name in SAID:
            found = {each["what"] for each in diagnosed(viewer)["findings"]}
            assert SAID[story.name] in found
        viewer.frame(run.last, 0)


def test_stories_have_what_the_page_shows() -> None:
    names = [story.name for story in STORIES]
    assert len(set(names)) == len(names) == 18
    for story in STORIES:
        told = story.as_json()
        assert told["settings"]["story"] == story.name
        assert all(told[key] for key in ("title", "text", "look", "group"))


def test_the_original_s_mistake_is_its_only_difference() -> None:
    slip, right = (s.as_json()["settings"] for s in STORIES if s.group == "slip")
    assert {n for n in slip if slip[n] != right[n]} == {"slip", "story"}
    with begun(slip) as run:
        W = np.full((2, 2), 2.0)
        wrong = run.mlp.penalty.add_gradient(np, W, np.zeros((2, 2)))
        assert_close(wrong, np.full((2, 2), slip["l2"] * 16.0), rtol=1e-12)
    assert xpmlp.MLP([2, 1], l2=0.5).penalty.add_gradient(np, W, 0 * W)[0, 0] == 1.0
