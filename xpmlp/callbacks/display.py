"""Show training while it runs: a line per epoch, and a live line on a terminal."""

import sys
from shutil import get_terminal_size
from time import perf_counter
from typing import Any, TextIO

from xpmlp.storage.streams import put
from xpmlp.training.callback import Callback
from xpmlp.training.history import number, score
from xpmlp.training.loop import Training

INTERVAL = 0.3
"""Seconds between two updates within an epoch; each waits for the device."""

PAUSE = 20.0
"""Seconds between two lines within an epoch where there is no live line, as in a pipe."""

ROWS = 30
"""Most epochs that get a line on a terminal; the live line shows all of them."""


class ShowProgress(Callback):
    """Show training: a line per epoch, and a live line on a terminal with rich installed.

    Elsewhere a long epoch gets a line every 20 seconds or so.

    Parameters
    ----------
    stream : text file, optional
        Standard output if omitted.
    held_out : {"val", "test"}
        What to call the validation data.
    lines : int, optional
        Most epochs that get a line, evenly spaced. By default all; on a terminal 30, because the
        live line shows all.

    Examples
    --------
    >>> import io
    >>> mlp, points = xpmlp.MLP([2, 8, 2], backend="numpy", seed=0), xpmlp.data.make_xor(n=100)
    >>> lines = io.StringIO()  # by default the lines are printed
    >>> history = mlp.fit(points.X, points.y, epochs=2, callbacks=[xpmlp.ShowProgress(lines)])
    >>> [line.split()[0] for line in lines.getvalue().splitlines()]
    ['epoch', '1/2', '2/2']
    """

    before = 0.0  # epochs done before this run began or resumed, as a fraction
    console: Any = None
    line: Any = None  # the live line, on a console

    everywhere = False

    def __init__(
        self, stream: TextIO | None = None, held_out: str = "val", lines: int | None = None
    ) -> None:
        self.stream, self.lines = stream, lines
        self.label = "test" if held_out == "test" else "val."

    def on_train_begin(self, training: Training) -> None:
        """Print the head of the table, and start the live line on a terminal."""
        self.started = self.looked = perf_counter()
        # The last step counts as not done: the end of an epoch takes time as well.
        self.before = training.epoch + min(training.step, training.steps - 1) / training.steps
        self.console = self.find_console()
        self.columns = self.choose_columns(training)
        self.print(" ".join(f"{name:>{width}}" for name, width in self.columns.items()), "dim")
        self.every = 64  # a guess; the first update measures the time of a step
        if self.console is not None:
            from rich.live import Live

            self.every = 8
            self.line = Live(console=self.console, auto_refresh=False, transient=True)
            self.line.start()

    def on_epoch_begin(self, training: Training) -> None:
        """Note the time, and the step: not 0 if a run resumes within the epoch."""
        self.epoch_started, self.first_step = perf_counter(), training.step

    def on_batch_end(self, training: Training) -> None:
        """Show loss and speed, and choose when to update again."""
        loss = training.batch_loss  # waits for the device, so that the time is that of the steps
        now = perf_counter()
        pace = (now - self.epoch_started) / (training.step - self.first_step)
        self.every = power_of_two((PAUSE if self.line is None else INTERVAL) / pace)
        if self.line is not None:
            self.show(training, loss, training.batch_size / pace)
        elif now - self.looked >= PAUSE / 2:
            self.looked, part = now, training.step / training.steps
            left = self.left(training, training.epoch + part)
            epoch = f"{training.epoch + 1}/{training.epochs}"
            self.print(f"{epoch:>9} {number(loss):>9}  {100 * part:.0f} % of epoch, {left} left")

    def on_epoch_end(self, training: Training) -> None:
        """Print the epoch's row; every n-th row, if there are more than there should be."""
        first, done, most = int(self.before), training.epoch + 1, self.lines
        if most is None and self.line is not None:
            most = ROWS
        stride = -(-(training.epochs - first) // most) if most else 1
        if done % stride == 0 or done in (first + 1, training.epochs):
            self.print(self.row(training))
        if self.line is not None and perf_counter() - self.looked > INTERVAL:
            history = training.history
            speed = training.examples / max(history["seconds"][-1], 1e-9)
            self.show(training, history["loss"][-1], speed)

    def on_train_end(self, training: Training) -> None:
        """Remove the live line."""
        if self.line is not None:
            self.line.stop()
        self.line = self.console = None  # neither can be copied or pickled, a callback can

    def find_console(self) -> Any:
        """Return rich's console if the stream is a terminal and rich is installed, else None."""
        stream = self.stream or sys.stdout
        if not stream.isatty():
            return None
        try:
            import rich.console
        except ImportError:
            return None
        console = rich.console.Console(file=stream, highlight=False)
        return console if console.is_terminal and not console.is_dumb_terminal else None

    def choose_columns(self, training: Training) -> dict[str, int]:
        """Return the columns that fit in a line, each with its width."""
        metric = {"r2": "R2", "loss": ""}.get(training.mlp.task.measures[-1], "accuracy")
        columns = {"epoch": 9, "loss": 9}
        columns |= {metric: 9} if training.metrics else {}
        if training.validation is not None:
            columns |= {f"{self.label} loss": 10}
            columns |= {f"{self.label} {metric}": 14} if metric else {}
            columns |= {m.name: max(len(m.name), 9) for m in training.named}
        columns |= {"examples/s": 11, "time left": 10}
        room = get_terminal_size().columns
        for spare in (
            "examples/s",
            f"{self.label} loss",
            "time left",
            *(m.name for m in training.named),
        ):
            if sum(columns.values()) + len(columns) - 1 > room:
                columns.pop(spare, None)
        return columns

    def row(self, training: Training) -> str:
        """Return the values of the last epoch, in the columns of the head."""
        last = {name: values[-1] for name, values in training.history.items()}
        metric = training.mlp.task.measures[-1]
        named = {"r2": "R2"}.get(metric, "accuracy")
        texts = {"epoch": f"{training.epoch + 1}/{training.epochs}"}
        for prefix, label in (("", ""), ("val_", f"{self.label} ")):
            if prefix + "loss" in last:
                texts[label + "loss"] = number(last[prefix + "loss"])
            if prefix + metric in last and metric != "loss":
                texts[label + named] = score(metric, last[prefix + metric])
        for measure in training.named:
            texts[measure.name] = number(last[f"val_{measure.name}"])
        texts["examples/s"] = f"{training.examples / max(last['seconds'], 1e-9):,.0f}"
        texts["time left"] = self.left(training, training.epoch + 1)
        return " ".join(f"{texts[name]:>{width}}" for name, width in self.columns.items())

    def left(self, training: Training, done: float) -> str:
        """Return an estimate of the time left; ``done`` counts parts of epochs as well."""
        pace = (perf_counter() - self.started) / (done - self.before)
        seconds = pace * (training.epochs - done)
        minutes, seconds = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

    def show(self, training: Training, loss: float, speed: float) -> None:
        """Draw the live line."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        self.looked = perf_counter()
        done = training.epoch + training.step / training.steps
        line, wide = Table.grid(padding=(0, 2)), self.console.width >= 80
        line.add_row(
            f"{f'{training.epoch + 1}/{training.epochs}':>9}",
            *([ProgressBar(total=training.epochs, completed=done, width=20)] if wide else []),
            f"loss {number(loss)}",
            *([f"{speed:,.0f} examples/s"] if wide else []),
            f"{self.left(training, done)} left",
        )
        self.line.update(line, refresh=True)

    def print(self, text: str, style: str = "") -> None:
        """Print a line, above the live one if there is one."""
        if self.console is None:
            put(text, self.stream or sys.stdout)
        else:
            self.console.print(text, style=style, markup=False, soft_wrap=True)


def power_of_two(steps: float) -> int:
    """Return the largest power of two up to a number of steps, at least 1.

    For ``every``: JAX compiles once for each number of steps that run at once.
    """
    return 1 << max(int(min(steps, 2**30)).bit_length() - 1, 0)
