"""Callbacks for users: files while a model trains, its progress, and what they share."""

import copy
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xpmlp_backends

import xpmlp
from xpmlp.callbacks import display
from xpmlp.errors import DivergenceError, InvalidValueError
from xpmlp.nn.schedules import Custom

Weights = dict[str, np.ndarray]


def data(rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((rows, 4))
    return X, (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 1)


def network(backend: Any = "numpy") -> xpmlp.MLP:
    return xpmlp.MLP([4, 8, 3], backend=backend, seed=5)


def fit(mlp: xpmlp.MLP, *callbacks: xpmlp.Callback, **options: Any) -> xpmlp.History:
    given: dict[str, Any] = {"epochs": 7, "batch_size": 20, "optimizer": xpmlp.Adam(0.05)}
    return mlp.fit(*data(), callbacks=callbacks, **given | options)


def held_out(wrong: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Validation data; with wrong labels, the better the fit the worse are its figures."""
    X, y = data()
    return X, (y + 1) % 3 if wrong else y


class Seen(xpmlp.Callback):
    """The weights after each epoch."""

    def __init__(self) -> None:
        self.weights: list[Weights] = []
        self.ended = 0

    def on_epoch_end(self, training: Any) -> None:
        self.weights.append(training.mlp.state_dict())

    def on_train_end(self, training: Any) -> None:
        self.ended += 1


class Stop(xpmlp.Callback):
    """The end after an epoch, counted from 1."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, training: Any) -> None:
        if training.epoch + 1 == self.epoch:
            training.stop()


class Refuse(xpmlp.Callback):
    """A callback that does not like the training."""

    def on_train_begin(self, training: Any) -> None:
        raise RuntimeError("no")


def assert_same(found: Weights, expected: Weights) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert np.array_equal(found[name], value), name


def loaded(path: Path) -> Weights:
    return xpmlp.load(path, backend="numpy").state_dict()


@pytest.mark.parametrize("metrics", [True, False])
@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("real", [True, False])
def test_what_is_measured_is_known_before(metrics: bool, validation: bool, real: bool) -> None:
    X, y = data()
    target = X[:, :3] if real else y
    told: list[tuple[str, ...]] = []

    class Ask(xpmlp.Callback):
        def on_train_begin(self, training: Any) -> None:
            told.append(training.measures)

    split = 0.25 if validation else 0.0
    history = network().fit(
        X, target, epochs=1, metrics=metrics, validation_split=split, callbacks=[Ask()]
    )
    assert told == [tuple(history)]


# SaveModel


def test_a_file_is_that_of_its_epoch(backend: Any, tmp_path: Path) -> None:
    seen, mlp = Seen(), network(backend)
    history = fit(mlp, xpmlp.SaveModel(tmp_path / "e{epoch}.xpmlp"), seen, epochs=3)
    assert sorted(os.listdir(tmp_path)) == ["e1.xpmlp", "e2.xpmlp", "e3.xpmlp"]
    for epoch in (1, 2, 3):
        assert_same(loaded(tmp_path / f"e{epoch}.xpmlp"), seen.weights[epoch - 1])
        assert xpmlp.load(tmp_path / f"e{epoch}.xpmlp").epochs_trained == epoch
    assert len(history["loss"]) == 3


def test_one_file_is_there_at_each_time(tmp_path: Path) -> None:
    checkpoint = xpmlp.SaveModel(tmp_path / "m.xpmlp")
    epochs: list[int] = []

    class Look(xpmlp.Callback):
        def on_epoch_end(self, training: Any) -> None:
            assert checkpoint.saved == tmp_path / "m.xpmlp"
            epochs.append(xpmlp.load(checkpoint.saved).epochs_trained)

    fit(network(), checkpoint, Look(), epochs=3)
    assert epochs == [1, 2, 3]


def test_every_third_epoch_and_the_last(tmp_path: Path) -> None:
    seen = Seen()
    fit(network(), xpmlp.SaveModel(str(tmp_path / "{epoch:03d}.xpmlp"), epochs=3), seen)
    assert sorted(os.listdir(tmp_path)) == ["003.xpmlp", "006.xpmlp", "007.xpmlp"]
    for epoch in (3, 6, 7):
        assert_same(loaded(tmp_path / f"00{epoch}.xpmlp"), seen.weights[epoch - 1])


@pytest.mark.parametrize("stop_first", [True, False])
def test_the_last_epoch_of_a_training_that_stops(stop_first: bool, tmp_path: Path) -> None:
    """Its own weights, not those that early stopping goes back to."""
    seen, stopping = Seen(), xpmlp.EarlyStopping(patience=3)
    checkpoint = xpmlp.SaveModel(tmp_path / "{epoch}.xpmlp", epochs=100)
    callbacks = [stopping, checkpoint] if stop_first else [checkpoint, stopping]
    mlp = network()
    history = fit(mlp, seen, *callbacks, epochs=50, validation_data=held_out(wrong=True))
    last = len(history["loss"])
    assert last < 50
    assert os.listdir(tmp_path) == [f"{last}.xpmlp"]
    assert_same(loaded(tmp_path / f"{last}.xpmlp"), seen.weights[-1])
    assert stopping.best_epoch is not None
    assert_same(mlp.state_dict(), seen.weights[stopping.best_epoch])


class Says(xpmlp.Callback):
    """Adds a metric to the history, one value after each epoch."""

    def __init__(self, name: str, values: list[float]) -> None:
        self.name, self.values = name, values

    def on_epoch_end(self, training: Any) -> None:
        training.history.setdefault(self.name, []).append(self.values[training.epoch])


@pytest.mark.parametrize(
    ("name", "values", "latest", "best"),
    [
        ("val_accuracy", [0.5, 0.9, 0.8, 0.9, 0.7], False, 1),
        ("val_accuracy", [0.5, 0.9, 0.8, 0.9, 0.7], True, 3),
        ("val_rmse", [3.0, 1.0, 2.0, 1.0, 1.5], False, 1),
        ("val_rmse", [3.0, 1.0, 2.0, 1.0, 1.5], True, 3),
        ("val_mae", [3.0, 2.0, 1.0, 2.0, 1.5], True, 2),
        ("val_log_loss", [3.0, 2.0, 1.0, 0.5, 1.5], True, 3),
    ],
)
def test_which_of_equally_good_epochs_is_kept(
    name: str, values: list[float], latest: bool, best: int
) -> None:
    seen, stopping = Seen(), xpmlp.EarlyStopping(9, name, latest=latest)
    mlp = network()
    fit(mlp, Says(name, values), seen, stopping, epochs=5)
    assert stopping.best_epoch == best
    assert_same(mlp.state_dict(), seen.weights[best])
    assert ("latest" in stopping.settings()) == latest


def improvements(values: list[float], sign: float, of: int = 1) -> list[int]:
    """Epochs, from 1, in which a figure is better than in all that count before."""
    best, found = np.inf, []
    for epoch, value in enumerate(values, start=1):
        if epoch % of == 0 and sign * value < best:
            best = sign * value
            found.append(epoch)
    return found


@pytest.mark.parametrize(
    ("monitor", "wrong", "sign"),
    [(None, True, 1), (None, False, 1), ("val_accuracy", True, -1), ("accuracy", True, -1)],
)
@pytest.mark.parametrize("epochs", [1, 2])
def test_only_what_is_better(
    monitor: str | None, wrong: bool, sign: float, epochs: int, tmp_path: Path
) -> None:
    seen = Seen()
    checkpoint = xpmlp.SaveModel(tmp_path / "{epoch}.xpmlp", epochs, monitor, best_only=True)
    history = fit(network(), checkpoint, seen, epochs=9, validation_data=held_out(wrong))
    expected = improvements(history[monitor or "val_loss"], sign, epochs)
    assert sorted(os.listdir(tmp_path)) == [f"{epoch}.xpmlp" for epoch in expected]
    assert 1 <= len(expected) < 9 or (monitor, wrong, epochs) == (None, False, 1)
    for epoch in expected:
        assert_same(loaded(tmp_path / f"{epoch}.xpmlp"), seen.weights[epoch - 1])


@pytest.mark.filterwarnings("ignore:the training loss ran away")
def test_without_validation_the_loss_is_watched(tmp_path: Path) -> None:
    checkpoint = xpmlp.SaveModel(tmp_path / "{epoch}.xpmlp", best_only=True)
    rates = Custom(0.05, lambda time, total: 20.0 if 2 <= time < 3 else 1.0)
    history = fit(network(), checkpoint, optimizer=xpmlp.Adam(rates), metrics=False)
    expected = improvements(history["loss"], 1)
    assert sorted(os.listdir(tmp_path)) == [f"{epoch}.xpmlp" for epoch in expected]
    assert 1 < len(expected) < 7


def test_the_best_is_that_of_one_training(tmp_path: Path) -> None:
    mlp, checkpoint = network(), xpmlp.SaveModel(tmp_path / "m.xpmlp", best_only=True)
    fit(mlp, checkpoint)
    fresh = network()
    fit(fresh, checkpoint, epochs=1)  # its first epoch is worse than the other's last
    assert_same(loaded(tmp_path / "m.xpmlp"), fresh.state_dict())


def test_fields_are_figures_of_the_epoch(tmp_path: Path) -> None:
    path = tmp_path / "{{run}}" / "{epoch:03d}-{val_loss:.4f}-{accuracy:.2f}.xpmlp"
    checkpoint = xpmlp.SaveModel(path, epochs=7)
    history = fit(network(), checkpoint, validation_data=held_out())
    last = {name: values[-1] for name, values in history.items()}
    name = f"007-{last['val_loss']:.4f}-{last['accuracy']:.2f}.xpmlp"
    assert checkpoint.saved == tmp_path / "{run}" / name
    assert checkpoint.saved.is_file()


def test_a_continued_training_counts_on(tmp_path: Path) -> None:
    mlp, checkpoint = network(), xpmlp.SaveModel(tmp_path / "{epoch}-{loss}.xpmlp", epochs=2)
    fit(mlp, checkpoint, epochs=3)
    history = fit(mlp, checkpoint, epochs=2, continued=True)
    expected = [f"{epoch}-{history['loss'][epoch - 1]}.xpmlp" for epoch in (2, 3, 4, 5)]
    assert sorted(os.listdir(tmp_path)) == expected


@pytest.mark.parametrize(
    "path",
    [
        "{val_loss}.xpmlp",  # there is no validation data
        "{accuracy}.xpmlp",  # nor metrics, though the history has those of before
        "{}.xpmlp",
        "{0}.xpmlp",
        "{loss:d}.xpmlp",
        "{loss.mean}.xpmlp",
        "{epoch.xpmlp",
        "epoch}.xpmlp",
    ],
)
def test_a_wrong_path_is_refused_before_training(path: str, tmp_path: Path) -> None:
    mlp, seen = network(), Seen()
    fit(mlp, epochs=2)
    before = mlp.state_dict()
    with pytest.raises(InvalidValueError, match=r"SaveModel: path .* cannot be filled") as raised:
        fit(mlp, seen, xpmlp.SaveModel(tmp_path / path), Refuse(), metrics=False, continued=True)
    assert str(tmp_path / path) in str(raised.value)
    assert str(raised.value).endswith("the fields epoch, loss, learning_rate, seconds")
    assert os.listdir(tmp_path) == []
    assert (mlp.epochs_trained, seen.ended, seen.weights) == (2, 1, [])
    assert_same(mlp.state_dict(), before)
    fit(mlp, epochs=1, continued=True)  # what it goes on from is still there


class Score(xpmlp.Callback):
    """Measures something of its own."""

    def on_epoch_end(self, training: Any) -> None:
        training.history.setdefault("val_f1", []).append(0.25)


def test_fields_may_be_what_a_callback_measures(tmp_path: Path) -> None:
    checkpoint = xpmlp.SaveModel(tmp_path / "{epoch}-{val_f1:.3f}.xpmlp", epochs=2)
    fit(network(), Score(), checkpoint, epochs=2)
    assert os.listdir(tmp_path) == ["2-0.250.xpmlp"]


@pytest.mark.parametrize(("before", "trained"), [([], 0), ([xpmlp.ShowProgress], 0), ([Score], 1)])
def test_an_unknown_field_is_refused_as_early_as_possible(
    before: list[Any], trained: int, tmp_path: Path
) -> None:
    """At once, or after an epoch if a custom callback before may have measured it."""
    mlp, checkpoint = network(), xpmlp.SaveModel(tmp_path / "{epochs}.xpmlp", epochs=3)
    with pytest.raises(InvalidValueError, match=r"cannot be filled .'epochs'.; .*epoch, loss, acc"):
        fit(mlp, *(kind() for kind in before), checkpoint, Score())
    assert mlp.epochs_trained == trained
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 0}, "epochs is 0; expected 1 or more"),
        ({"monitor": "val_loss"}, "monitor='val_loss' chooses nothing without best_only=True"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidValueError, match=said):
        xpmlp.SaveModel("m.xpmlp", **options)


@pytest.mark.parametrize("kind", ["SaveModel", "EarlyStopping"])
def test_a_figure_that_is_not_measured_is_no_monitor(kind: str, tmp_path: Path) -> None:
    for name in ("val_accuracy", "accuracy", "f1"):
        mlp = network()
        fit(mlp, epochs=2, validation_data=held_out())  # the history has the first two from here
        watching = {
            "SaveModel": xpmlp.SaveModel(tmp_path / "m", monitor=name, best_only=True),
            "EarlyStopping": xpmlp.EarlyStopping(monitor=name),
        }[kind]
        with pytest.raises(InvalidValueError, match=f"{kind}: this training has no '{name}', only"):
            fit(mlp, watching, metrics=False, continued=True)


def test_a_figure_of_ones_own_can_be_watched(tmp_path: Path) -> None:
    """Another callback, before, adds it to the history."""

    class Score(xpmlp.Callback):
        def on_epoch_end(self, training: Any) -> None:
            training.history.setdefault("f1", []).append([0.1, 0.3, 0.2, 0.2][training.epoch])

    checkpoint = xpmlp.SaveModel(tmp_path / "{epoch}.xpmlp", monitor="f1", best_only=True)
    stopping = xpmlp.EarlyStopping(patience=2, monitor="f1")
    fit(network(), Score(), checkpoint, stopping)
    assert stopping.best_epoch == 1
    assert sorted(os.listdir(tmp_path)) == ["1.xpmlp", "2.xpmlp"]


def test_a_file_that_cannot_be_written_ends_the_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    mlp, seen = network(), Seen()
    with pytest.raises(OSError, match="file"):
        fit(mlp, seen, xpmlp.SaveModel(tmp_path / "file" / "m.xpmlp", epochs=2))
    assert mlp.epochs_trained == 2
    assert_same(mlp.state_dict(), seen.weights[1])
    assert seen.ended == 1


def test_a_training_that_diverges_leaves_the_file_of_before(tmp_path: Path) -> None:
    seen, mlp = Seen(), network()
    rates = Custom(0.05, lambda time, total: 1e30 if time >= 4 else 1.0)
    checkpoint = xpmlp.SaveModel(tmp_path / "m.xpmlp", epochs=3)
    with pytest.raises(DivergenceError):
        fit(mlp, seen, checkpoint, optimizer=xpmlp.SGD(rates))
    assert len(seen.weights) == 4
    assert_same(loaded(tmp_path / "m.xpmlp"), seen.weights[2])


# The others


def test_who_has_not_begun_does_not_end() -> None:
    before, after = Seen(), Seen()
    with pytest.raises(RuntimeError, match="no"):
        fit(network(), before, Refuse(), after)
    assert (before.ended, after.ended) == (1, 0)


def test_a_training_that_fails_leaves_nothing_to_go_on_from() -> None:
    class Fail(xpmlp.Callback):
        def on_epoch_end(self, training: Any) -> None:
            raise KeyboardInterrupt

    mlp = network()
    fit(mlp, epochs=1)
    assert mlp.progress is not None
    with pytest.raises(KeyboardInterrupt):
        fit(mlp, Fail(), continued=True)
    assert mlp.progress is None


# ShowProgress


def columns(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_lines_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    shown = xpmlp.ShowProgress()
    history = fit(network(), shown, epochs=2, validation_data=held_out())
    head, *rows = columns(capsys.readouterr().out)
    assert " ".join(head) == ("epoch loss accuracy val. loss val. accuracy examples/s time left")
    assert [row[0] for row in rows] == ["1/2", "2/2"]
    for epoch, row in enumerate(rows):
        assert float(row[1]) == pytest.approx(history["loss"][epoch], abs=1e-4)
        assert float(row[2]) == pytest.approx(100 * history["accuracy"][epoch], abs=0.01)
        assert float(row[4]) == pytest.approx(history["val_loss"][epoch], abs=1e-4)


@pytest.mark.parametrize("validation", [True, False])
def test_without_metrics_there_is_no_accuracy(validation: bool) -> None:
    stream, mlp = io.StringIO(), network()
    fit(mlp, epochs=1, validation_data=held_out())  # what the history has is shown no more
    options = {"validation_data": held_out()} if validation else {}
    fit(mlp, xpmlp.ShowProgress(stream), epochs=2, metrics=False, continued=True, **options)
    head, *rows = columns(stream.getvalue())
    middle = "val. loss val. accuracy " if validation else ""
    assert " ".join(head) == f"epoch loss {middle}examples/s time left"
    assert [row[0] for row in rows] == ["2/3", "3/3"]
    assert {len(row) for row in rows} == {7 if validation else 4}  # 50.00 % is two words


def test_the_time_left_is_that_of_this_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs of before took none of it."""
    stream, mlp = io.StringIO(), network()
    fit(mlp, epochs=90)

    class Slow(xpmlp.ShowProgress):
        def on_train_begin(self, training: Any) -> None:
            now = lambda: 10.0 * training.total / training.steps  # noqa: E731
            monkeypatch.setattr(display, "perf_counter", now)
            super().on_train_begin(training)

    fit(mlp, Slow(stream), epochs=10, continued=True)
    rows = [row for row in columns(stream.getvalue())[1:] if row[-1] != "left"]
    assert rows[0][0] == "91/100"
    assert [row[-1] for row in rows] == [f"{s // 60}:{s % 60:02}" for s in range(90, -1, -10)]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)
    monkeypatch.setattr(display, "INTERVAL", 1e-9)
    return Terminal()


@pytest.mark.parametrize("metrics", [True, False])
def test_a_terminal_gets_a_live_line(terminal: Terminal, metrics: bool) -> None:
    X, y = data(400)
    shown = xpmlp.ShowProgress(terminal)
    network().fit(X, y, epochs=2, batch_size=10, callbacks=[shown], metrics=metrics)
    said = terminal.getvalue()
    assert said.count("examples/s") > 20  # it looks again and again, as the live line wishes
    assert "2/2" in said
    assert ("accuracy" in said) is metrics
    assert said.count(HIDE) == said.count(SHOW) == 1


def test_the_cursor_comes_back_when_another_callback_refuses(terminal: Terminal) -> None:
    with pytest.raises(RuntimeError, match="no"):
        fit(network(), xpmlp.ShowProgress(terminal), Refuse())
    said = terminal.getvalue()
    assert said.rindex(SHOW) > said.rindex(HIDE)


def test_a_terminal_without_rich_gets_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    fit(network(), xpmlp.ShowProgress(terminal), epochs=2)
    assert len(terminal.getvalue().splitlines()) == 3
    assert "\x1b" not in terminal.getvalue()


@pytest.mark.parametrize(
    "callback",
    [xpmlp.ShowProgress(), xpmlp.SaveModel("unused.xpmlp", epochs=9), xpmlp.EarlyStopping()],
    ids=lambda callback: type(callback).__name__,
)
def test_callbacks_can_be_copied_and_used_again(
    callback: xpmlp.Callback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Estimators that hold them are cloned and sent to other processes."""
    monkeypatch.chdir(tmp_path)
    for one in (callback, copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        assert len(fit(network(), one, epochs=2)["loss"]) == 2
        pickle.loads(pickle.dumps(one))
        assert type(copy.deepcopy(one)) is type(callback)


@pytest.mark.slow
def test_the_command_line_is_not_imported_for_it() -> None:
    code = """
import sys, xpmlp
callbacks = [xpmlp.ShowProgress()]
xpmlp.MLP([2, 2], backend="numpy").fit([[0.0, 1.0]], [0], epochs=1, callbacks=callbacks)
print(*[name for name in sys.modules if name.startswith("xpmlp.cli")], "rich" in sys.modules)
"""
    roots = [str(Path(m.__file__ or "").parents[1]) for m in (xpmlp, xpmlp_backends)]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(roots)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False"
