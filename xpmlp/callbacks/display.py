"""Show training while it runs: a line per epoch, and a live line on a terminal."""

import sys
from time import perf_counter
from typing import Any, TextIO

from xpmlp.storage.streams import put
from xpmlp.training.history import number, score
from xpmlp.training.loop import Callback, Training

INTERVAL = 0.3
"""Seconds between two updates within an epoch; each waits for the device."""

ROWS = 30
"""Most epochs that get a line on a terminal; the live line shows all of them."""


def display(stream: TextIO, held_out: str) -> Callback:
    """Return the live display if ``stream`` is a terminal and rich is installed, else plain lines.

    Parameters
    ----------
    stream : text file
    held_out : str
        Which data are evaluated after each epoch: ``"test"`` or ``"val"``.
    """
    if stream.isatty():
        try:
            import rich.console
        except ImportError:
            return Lines(stream, held_out)
        console = rich.console.Console(file=stream, highlight=False)
        if console.is_terminal and not console.is_dumb_terminal:
            return Live(console, held_out)
    return Lines(stream, held_out)


class Lines(Callback):
    """Plain lines, one per epoch."""

    before = 0.0  # epochs done before this run began or resumed, as a fraction

    def __init__(self, stream: TextIO, held_out: str) -> None:
        self.stream = stream
        self.label = "test" if held_out == "test" else "val."

    def on_train_begin(self, training: Training) -> None:
        """Print the head of the table."""
        self.started = perf_counter()
        # The last step counts as not done: the end of an epoch takes time as well.
        self.before = training.epoch + min(training.step, training.steps - 1) / training.steps
        metric = {"r2": "R2"}.get(training.mlp.task.metric.name, "accuracy")
        head = f"{'epoch':>9} {'loss':>9}"
        if training.metrics:
            head += f" {metric:>9}"
        if training.validation is not None:
            head += f" {self.label + ' loss':>10} {self.label + ' ' + metric:>14}"
        self.print(f"{head} {'examples/s':>11} {'time left':>10}", "dim")

    def on_epoch_end(self, training: Training) -> None:
        """Print the epoch's row."""
        self.print(self.row(training))

    def row(self, training: Training) -> str:
        """Return the values of the last epoch, in the columns of the head."""
        last = {name: values[-1] for name, values in training.history.items()}
        metric = training.mlp.task.metric.name
        row = f"{f'{training.epoch + 1}/{training.epochs}':>9} {number(last['loss']):>9}"
        if training.metrics:
            row += f" {score(metric, last[metric]):>9}"
        if training.validation is not None:
            row += f" {number(last['val_loss']):>10} {score(metric, last[f'val_{metric}']):>14}"
        left = self.left(training, training.epoch + 1)
        return f"{row} {training.examples / max(last['seconds'], 1e-9):>11,.0f} {left:>10}"

    def left(self, training: Training, done: float) -> str:
        """Return an estimate of the time left; ``done`` counts parts of epochs as well."""
        pace = (perf_counter() - self.started) / (done - self.before)
        seconds = pace * (training.epochs - done)
        minutes, seconds = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

    def print(self, text: str, style: str = "") -> None:
        """Print a line."""
        put(text, self.stream)


class Live(Lines):
    """Lines for a terminal, and below them a live line that is updated within epochs."""

    def __init__(self, console: Any, held_out: str) -> None:
        super().__init__(console.file, held_out)
        self.console = console
        self.every = 0

    def on_train_begin(self, training: Training) -> None:
        """Print the head and start the live line."""
        from rich.live import Live as LiveLine

        super().on_train_begin(training)
        self.every = 8  # a guess; the first update measures the time of a step
        self.looked = self.started
        self.line = LiveLine(console=self.console, auto_refresh=False, transient=True)
        self.line.start()

    def on_epoch_begin(self, training: Training) -> None:
        """Note the time, and the step: not 0 if a run resumes within the epoch."""
        self.epoch_started, self.first_step = perf_counter(), training.step

    def on_batch_end(self, training: Training) -> None:
        """Show loss and speed, and choose when to update again."""
        loss = training.batch_loss  # waits for the device, so that the time is that of the steps
        now = perf_counter()
        pace = (now - self.epoch_started) / (training.step - self.first_step)
        self.every = power_of_two(INTERVAL / pace)
        self.show(training, loss, training.batch_size / pace)

    def on_epoch_end(self, training: Training) -> None:
        """Print the row of every epoch, or of every n-th if there are many."""
        first = int(self.before)
        stride = -(-(training.epochs - first) // ROWS)
        done = training.epoch + 1
        if done % stride == 0 or done in (first + 1, training.epochs):
            self.print(self.row(training))
        if perf_counter() - self.looked > INTERVAL:
            history = training.history
            speed = training.examples / max(history["seconds"][-1], 1e-9)
            self.show(training, history["loss"][-1], speed)

    def on_train_end(self, training: Training) -> None:
        """Remove the live line."""
        self.line.stop()

    def show(self, training: Training, loss: float, speed: float) -> None:
        """Draw the live line."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        self.looked = perf_counter()
        done = training.epoch + training.step / training.steps
        line = Table.grid(padding=(0, 2))
        line.add_row(
            f"{f'{training.epoch + 1}/{training.epochs}':>9}",
            ProgressBar(total=training.epochs, completed=done, width=20),
            f"loss {number(loss)}",
            f"{speed:,.0f} examples/s",
            f"{self.left(training, done)} left",
        )
        self.line.update(line, refresh=True)

    def print(self, text: str, style: str = "") -> None:
        """Print a line above the live one."""
        self.console.print(text, style=style, markup=False, soft_wrap=True)


class ShowProgress(Callback):
    """Show training: a line per epoch, and a live line on a terminal with rich installed.

    Parameters
    ----------
    stream : text file, optional
        Standard output if omitted.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream

    def on_train_begin(self, training: Training) -> None:
        """Print the head of the table."""
        self._shown = display(sys.stdout if self.stream is None else self.stream, "val")
        self._pass_on("on_train_begin", training)

    def on_epoch_begin(self, training: Training) -> None:
        """Note the time."""
        self._pass_on("on_epoch_begin", training)

    def on_batch_end(self, training: Training) -> None:
        """Draw the live line."""
        self._pass_on("on_batch_end", training)

    def on_epoch_end(self, training: Training) -> None:
        """Print the epoch's line."""
        self._pass_on("on_epoch_end", training)

    def on_train_end(self, training: Training) -> None:
        """Remove the live line."""
        self._pass_on("on_train_end", training)
        del self._shown  # a terminal can be neither copied nor pickled, a callback can

    def _pass_on(self, event: str, training: Training) -> None:
        getattr(self._shown, event)(training)
        self.every = self._shown.every  # the live line chooses when to update again


def power_of_two(steps: float) -> int:
    """Return the largest power of two up to a number of steps, at least 1.

    For ``every``: JAX compiles once for each number of steps that run at once.
    """
    return 1 << max(int(min(steps, 2**30)).bit_length() - 1, 0)
