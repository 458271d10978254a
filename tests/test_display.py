"""The live display, on a terminal that is a string."""

import io
import sys

import numpy as np
import pytest

import xpmlp
from xpmlp import display as progress

console = pytest.importorskip("rich.console")


def train(callback: xpmlp.Callback, epochs: int, rows: int = 600) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(rows, 4)), rng.integers(0, 3, rows)
    mlp = xpmlp.MLP([4, 8, 3], backend="numpy", seed=0)
    mlp.fit(X, y, epochs=epochs, batch_size=10, validation_data=(X, y), callbacks=[callback])


def terminal(width: int = 80) -> "console.Console":
    return console.Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)


def test_a_file_gets_plain_lines() -> None:
    stream = io.StringIO()
    shown = progress.display(stream, "test")
    assert type(shown) is progress.Lines
    train(shown, 2)
    assert len(stream.getvalue().splitlines()) == 3
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_without_rich_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    assert type(progress.display(stream, "test")) is progress.Lines


def test_the_live_line_moves_within_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 1e-9)
    screen = terminal()
    train(progress.Live(screen, "test"), 2)
    said = screen.file.getvalue()
    assert said.count("left") > 20
    assert "1/2" in said
    assert said.endswith(("\x1b[?25h", "\x1b[2K", "\r"))  # the line is gone, the cursor back


def test_looks_are_rare() -> None:
    class Counting(progress.Live):
        looks = 0

        def on_batch_end(self, training: "xpmlp.training.Training") -> None:
            self.looks += 1
            super().on_batch_end(training)

    shown = Counting(terminal(), "test")
    train(shown, 5, rows=6000)  # well under a second a time: one first look, then by the clock
    assert 1 <= shown.looks <= 10


def test_many_epochs_leave_few_lines() -> None:
    screen = terminal()
    train(progress.Live(screen, "val"), 95, rows=50)
    said = screen.file.getvalue()
    rows = [line for line in said.splitlines() if "/95 " in line and "%" in line]
    assert 20 <= len(rows) <= progress.ROWS + 2
    assert "95/95" in said
    assert "val. accuracy" in said


def test_time_left_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = progress.Lines(io.StringIO(), "test")
    shown.started = 0.0

    class Fake:
        epochs = 10

    monkeypatch.setattr(progress, "perf_counter", lambda: 8.0)
    assert shown.left(Fake(), 1) == "1:12"
    monkeypatch.setattr(progress, "perf_counter", lambda: 800.0)
    assert shown.left(Fake(), 1) == "2:00:00"
