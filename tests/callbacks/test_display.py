"""The live display, on a terminal that is a string."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xpmlp
from xpmlp.callbacks import display as progress

console = pytest.importorskip("rich.console")


def train(callback: xpmlp.Callback, epochs: int, rows: int = 600) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(rows, 4)), rng.integers(0, 3, rows)
    mlp = xpmlp.MLP([4, 8, 3], backend="numpy", seed=0)
    mlp.fit(X, y, epochs=epochs, batch_size=10, validation_data=(X, y), callbacks=[callback])


class Live(xpmlp.ShowProgress):
    """On a console that is given, not on the stream's."""

    def __init__(self, console: Any, held_out: str) -> None:
        super().__init__(console.file, held_out)
        self.given = console

    def find_console(self) -> Any:
        return self.given


def terminal(width: int = 80) -> "console.Console":
    return console.Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def test_a_file_gets_plain_lines() -> None:
    stream = io.StringIO()
    train(xpmlp.ShowProgress(stream, "test"), 2)
    assert len(stream.getvalue().splitlines()) == 3
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_without_rich_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    assert xpmlp.ShowProgress(stream, "test").find_console() is None


def test_the_live_line_moves_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 1e-9)
    screen = terminal()
    train(Live(screen, "test"), 2)
    said = screen.file.getvalue()
    assert said.count("left") > 20
    assert "1/2" in said
    assert said.endswith(("\x1b[?25h", "\x1b[2K", "\r"))  # the line is gone, the cursor back


def test_looks_are_rare() -> None:
    class Counting(Live):
        looks = 0

        def on_batch_end(self, training: "xpmlp.training.loop.Training") -> None:
            self.looks += 1
            super().on_batch_end(training)

    shown = Counting(terminal(), "test")
    train(shown, 5, rows=6000)  # well under a second a time: one first look, then by the clock
    assert 1 <= shown.looks <= 10


def resume(folder: Path, every: int, callback: xpmlp.Callback) -> None:
    """Train in epochs of 60 steps, and go on from the first checkpoint."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(600, 4)), rng.integers(0, 3, 600)

    def fit(callback: xpmlp.Callback, resume: bool) -> None:
        keep = xpmlp.Checkpoints(folder, every=every, best=False)
        mlp = xpmlp.MLP([4, 8, 3], backend="numpy", seed=0)
        options = {"callbacks": [callback], "checkpoints": keep, "resume": resume}
        mlp.fit(X, y, epochs=2, batch_size=10, **options)

    class Stop(xpmlp.Callback):
        def on_batch_end(self, training: "xpmlp.training.loop.Training") -> None:
            if training.total == 2 * every:
                raise KeyboardInterrupt

    stop = Stop()
    stop.every = every
    with pytest.raises(KeyboardInterrupt):
        fit(stop, resume=False)
    fit(callback, resume=True)


def test_what_a_resumed_epoch_had_done_is_not_counted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine where every step takes a second."""
    shown: list[tuple[float, int, str]] = []

    class Noted(Live):
        def on_train_begin(self, training: "xpmlp.training.loop.Training") -> None:
            monkeypatch.setattr(progress, "perf_counter", lambda: float(training.total))
            super().on_train_begin(training)

        def show(self, training: "xpmlp.training.loop.Training", loss: float, speed: float) -> None:
            done = training.epoch + training.step / training.steps
            shown.append((speed, training.total, self.left(training, done)))

    resume(tmp_path, 50, Noted(terminal(), "test"))
    speed, total, left = shown[0]
    assert 50 < total < 60  # within the epoch with which it went on
    assert speed == pytest.approx(10)
    assert left == f"{(120 - total) // 60}:{(120 - total) % 60:02}"


def test_an_epoch_that_is_resumed_after_its_last_step(tmp_path: Path) -> None:
    screen = terminal()
    resume(tmp_path, 60, Live(screen, "test"))
    assert "      1/2 " in screen.file.getvalue()


def test_many_epochs_leave_few_lines() -> None:
    screen = terminal()
    train(Live(screen, "val"), 95, rows=50)
    said = screen.file.getvalue()
    rows = [line for line in said.splitlines() if "/95 " in line and "%" in line]
    assert 20 <= len(rows) <= progress.ROWS + 2
    assert "95/95" in said
    assert "val. accuracy" in said


@pytest.mark.parametrize(("epochs", "lines"), [(10, 3), (10, 20), (17, 16), (3, 1)])
def test_no_more_epochs_get_a_line_than_asked_for(epochs: int, lines: int) -> None:
    stream = io.StringIO()
    train(xpmlp.ShowProgress(stream, lines=lines), epochs, rows=20)
    shown = [line.split()[0] for line in stream.getvalue().splitlines()[1:]]
    assert (shown[0], shown[-1]) == (f"1/{epochs}", f"{epochs}/{epochs}")
    assert len(shown) <= min(lines + 1, epochs)


def test_time_left_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = xpmlp.ShowProgress(io.StringIO(), "test")
    shown.started = 0.0

    class Fake:
        epochs = 10

    monkeypatch.setattr(progress, "perf_counter", lambda: 8.0)
    assert shown.left(Fake(), 1) == "1:12"
    monkeypatch.setattr(progress, "perf_counter", lambda: 800.0)
    assert shown.left(Fake(), 1) == "2:00:00"


def test_a_long_epoch_gets_a_line_now_and_then_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine where every step takes a second."""
    stream = io.StringIO()

    class Slow(xpmlp.ShowProgress):
        def on_train_begin(self, training: "xpmlp.training.loop.Training") -> None:
            monkeypatch.setattr(progress, "perf_counter", lambda: float(training.total))
            super().on_train_begin(training)

    train(Slow(stream, "test"), 1, rows=1000)
    lines = [line for line in stream.getvalue().splitlines() if "of epoch" in line]
    assert "64 % of epoch, 0:36 left" in lines[0]


@pytest.mark.parametrize(("width", "left_out"), [(80, ""), (70, "examples/s"), (50, "test loss")])
def test_the_columns_fit(monkeypatch: pytest.MonkeyPatch, width: int, left_out: str) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    stream = io.StringIO()
    train(xpmlp.ShowProgress(stream, "test"), 1)
    head, row = stream.getvalue().splitlines()
    assert len(head) == len(row) <= width
    assert left_out not in head or not left_out
    assert "test accuracy" in head


def test_named_metrics_have_columns() -> None:
    lines = io.StringIO()
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((40, 2)), np.arange(40) % 2
    xpmlp.MLP([2, 4, 2], backend="numpy", seed=0).fit(
        X,
        y,
        epochs=2,
        validation_split=0.5,
        metrics=["log_loss"],
        callbacks=[xpmlp.ShowProgress(stream=lines)],
    )
    head, first, _ = lines.getvalue().splitlines()
    assert "log_loss" in head.split()
    assert len(first.split()) == len(head.replace("time left", "left").replace("val ", "").split())
