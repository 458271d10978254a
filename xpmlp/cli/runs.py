"""The folder of a training run, which never overwrites another run."""

import contextlib
import json
import shlex
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from xpmlp import __version__
from xpmlp.checkpoints.folder import Checkpoints
from xpmlp.cli.config import CONFIG
from xpmlp.cli.output import to_json
from xpmlp.cli.parser import NOT_OF_THE_RUN, parsed_quietly
from xpmlp.errors import DataError, InvalidValueError, XpmlpError, naming
from xpmlp.mlp import MLP
from xpmlp.storage.atomic import write_atomically
from xpmlp.storage.locking import locked, quietly
from xpmlp.storage.paths import expanded
from xpmlp.training.callback import Callback
from xpmlp.training.loop import Training

MODEL, HISTORY, RESULT, PICTURE = "model.xpmlp", "history.jsonl", "result.json", "picture.png"
SETTINGS, CHECKPOINTS = "settings.json", "checkpoints"
"""The files of a run, and the folder from which it is resumed."""


@dataclass(eq=False)
class RunFolder(Callback):
    """The folder of this run; as a callback it writes each epoch to the history.

    Attributes
    ----------
    path : Path
    held_out : {"test", "val"}
        What the ``val_`` metrics are measured on.
    checkpoints : Checkpoints
    say : callable
        Prints a sentence.
    resume : bool or Path
        Whether to resume the interrupted run in it, or from which of its checkpoints.
    ours : bool
        Whether the folder was made for this run, so that it is removed if it stays empty.
    launcher : str
        What comes before the command that resumes it: ``"mpiexec -n 4 "``.
    """

    path: Path
    held_out: str
    checkpoints: Checkpoints
    say: Callable[[str], None]
    resume: bool | Path = False
    ours: bool = False
    launcher: str = ""

    @classmethod
    def find(cls, resume: str) -> tuple[Path, bool | Path]:
        """Return the folder of an interrupted run, and the checkpoint if one is given.

        Raises
        ------
        InvalidValueError
            If there is no run, or it is finished.
        """
        given = expanded(resume, "--resume")
        path = given.parent if given.is_file() else given
        if path.name == CHECKPOINTS and not (path / SETTINGS).exists():
            path = path.parent
        if not (path / SETTINGS).is_file():
            raise InvalidValueError(
                f"--resume {resume}: found no run there; expected a folder with {SETTINGS}, as "
                "xpmlp train makes it"
            )
        if (path / RESULT).exists():
            raise InvalidValueError(f"--resume {resume}: this run is finished, see {path / RESULT}")
        checkpoint = given.is_file() and given.parent.name == CHECKPOINTS
        return path, given if checkpoint else True

    @staticmethod
    def free(out: str | None, name: str) -> tuple[Path, bool]:
        """Make the folder ``out``, or ``runs/name``, ``runs/name-2``, ...; say if it is new."""
        if out is not None:
            path = expanded(out, "--out")
            if path.exists() and not path.is_dir():
                raise InvalidValueError(f"--out {path}: found a file; expected a folder")
            ours = not path.exists()
            path.mkdir(parents=True, exist_ok=True)
            return path, ours
        for number in count(1):
            path = Path("runs", name if number == 1 else f"{name}-{number}")
            with contextlib.suppress(FileExistsError):
                path.mkdir(parents=True)
                break
        return path, True

    @contextlib.contextmanager
    def owned(self, arguments: Sequence[str], config: bytes) -> Iterator[None]:
        """Lock the folder; write the run's arguments and settings to it if the run is new.

        Raises
        ------
        RunLockedError
            If another process trains in it.
        InvalidValueError
            If there is a run in it already.
        """
        try:
            with locked(self.path, "a run"):
                if not self.resume:
                    self._refuse_another_run()
                    self._write(SETTINGS, {"xpmlp": __version__, "arguments": list(arguments)})
                if not (self.path / CONFIG).exists():  # or a kill came before it
                    write_atomically(self.path / CONFIG, config)
                yield
        finally:
            if self.ours:
                with contextlib.suppress(OSError):
                    self.path.rmdir()  # fails unless it is empty

    def _refuse_another_run(self) -> None:
        known = (MODEL, HISTORY, RESULT, PICTURE, SETTINGS, CONFIG, CHECKPOINTS)
        present = [name for name in known if (self.path / name).exists()]
        if not present:
            return
        hint = "Give another folder, or remove that one first"
        if (self.path / SETTINGS).exists() and not (self.path / RESULT).exists():
            hint = f"Resume it: {self.command}. Or give another folder"
        raise InvalidValueError(
            f"--out {self.path}: found a run there already ({', '.join(present)}); nothing was "
            f"changed. {hint}"
        )

    @property
    def command(self) -> str:
        """What to type to resume this run."""
        name = str(self.path)
        given = f"{'=' if name[0] == '-' else ' '}{shlex.quote(name)}"
        return f"{self.launcher}xpmlp train --resume{given}"

    def on_train_begin(self, training: Training) -> None:
        """Begin the history with the epochs before the interruption, and say where it was."""
        if self.checkpoints.resumed_from is not None:
            epoch = training.finished + (training.step > 0)
            self.say(
                f"resuming after step {training.total} (epoch {epoch} of {training.epochs}), from "
                f"{self.checkpoints.resumed_from.name}"
            )
        elif self.resume:
            self.say("no checkpoint yet: starting from the beginning")
        rows = [self._row(training, epoch) for epoch in range(training.finished)]
        write_atomically(self.path / HISTORY, "".join(rows).encode())

    def on_epoch_end(self, training: Training) -> None:
        """Append the epoch at once: a crash loses nothing."""
        path = self.path / HISTORY
        with naming(path), open(path, "a", encoding="utf-8") as file:
            file.write(self._row(training, training.epoch))

    def _row(self, training: Training, epoch: int) -> str:
        metrics = {name: values[epoch] for name, values in training.history.items()}
        return to_json({"epoch": epoch + 1} | self.named(metrics)) + "\n"

    def named(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Rename the ``val_`` metrics to what they are measured on."""
        return {name.replace("val_", f"{self.held_out}_"): v for name, v in metrics.items()}

    def save_model(self, mlp: MLP) -> Path:
        """Write the model, and return its path."""
        mlp.save(self.path / MODEL)
        return self.path / MODEL

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result, which marks the run as finished, then remove the checkpoints.

        In this order, a kill in between costs only disk space; in the other, the training.
        """
        self._write(RESULT, result)
        self._remove_checkpoints()

    def _remove_checkpoints(self) -> None:
        if not self.checkpoints.every:  # nobody asked for them
            quietly(self.checkpoints.remove)

    def _write(self, name: str, value: Any) -> None:
        write_atomically(self.path / name, (to_json(value, indent=2) + "\n").encode())

    @contextlib.contextmanager
    def keeping(self, mlp: MLP) -> Iterator[None]:
        """After a failure save the model and say where, or remove what this run has written."""
        try:
            yield
        except BaseException as error:
            if (self.path / RESULT).exists():
                error.add_note(f"the run is finished, see {self.path / RESULT}")
                self._remove_checkpoints()
                raise
            begun = self.resume or self.checkpoints.files()
            # The disk may be full; a second Ctrl-C ends the saving, not the hints.
            with contextlib.suppress(OSError, KeyboardInterrupt):
                if mlp.epochs_trained:
                    path = self.save_model(mlp)
                    error.add_note(f"the model of epoch {mlp.epochs_trained} is in {path}")
                elif not begun:
                    self._remove()
            if begun and not _is_refusal(error):
                error.add_note(f"to resume: {self.command}")
            raise

    def _remove(self) -> None:
        """Remove what this run has written."""
        self.checkpoints.remove()
        for name in (HISTORY, SETTINGS, CONFIG):
            (self.path / name).unlink(missing_ok=True)


def _is_refusal(error: BaseException) -> bool:
    """Whether resuming would fail again: for all of xpmlp's errors but those of memory."""
    return isinstance(error, XpmlpError) and not isinstance(error, MemoryError)


def arguments_of(folder: Path) -> Namespace:
    """Read the arguments of a run.

    Raises
    ------
    DataError
        If the file is not as ``xpmlp train`` writes it.
    """
    path = folder / SETTINGS
    try:
        arguments = json.loads(path.read_text(encoding="utf-8"))["arguments"]
        if not isinstance(arguments, list) or not all(isinstance(a, str) for a in arguments):
            raise TypeError("its arguments are not a list of text")
        return _parsed(arguments)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); expected the arguments of a run, as xpmlp train "
            "writes them"
        ) from error


def _parsed(arguments: Sequence[str]) -> Namespace:
    """Parse a run's arguments; ValueError for those that a run does not have."""
    run = parsed_quietly(["train", *arguments])
    for name in run.given:
        if name in NOT_OF_THE_RUN[1:]:
            raise ValueError(f"found --{name}")
    return run
