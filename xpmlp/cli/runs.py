"""The folder of one training run, which never overwrites another's."""

import contextlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpmlp.atomic import write_atomically
from xpmlp.callbacks import Callback
from xpmlp.cli.output import to_json
from xpmlp.errors import InvalidValueError

if TYPE_CHECKING:
    from xpmlp.model import MLP
    from xpmlp.training import Training

MODEL, HISTORY, RESULT, PICTURE = "model.xpmlp", "history.jsonl", "result.json", "picture.png"
"""The files of a run."""


class RunFolder(Callback):
    """A folder that belongs to this run; as a callback it appends each epoch to the history.

    Parameters
    ----------
    path : Path
        An existing folder without a run in it.
    held_out : str
        What the library's ``val_`` figures were measured on: ``"test"`` or ``"val"``.

    Raises
    ------
    InvalidValueError
        If there is a run in it already.
    """

    def __init__(self, path: Path, held_out: str) -> None:
        self.path = path
        self.held_out = held_out
        present = [n for n in (MODEL, HISTORY, RESULT, PICTURE) if (path / n).exists()]
        try:
            if present:
                raise FileExistsError
            # Creating it is the claim: of two runs at the same time only one succeeds.
            self._history = open(path / HISTORY, "x", encoding="utf-8")  # noqa: SIM115
        except FileExistsError:
            raise InvalidValueError(
                f"--out {path}: found a run there already ({', '.join(present) or HISTORY}); "
                "nothing was changed. Give another folder, or remove that one first"
            ) from None

    @classmethod
    def claim(cls, out: str | None, name: str, held_out: str) -> "RunFolder":
        """Take the folder ``out``, or the next free one of ``runs/name``, ``runs/name-2``, ..."""
        if out is not None:
            path = Path(out).expanduser()
            if path.exists() and not path.is_dir():
                raise InvalidValueError(f"--out {path}: found a file; expected a folder")
            path.mkdir(parents=True, exist_ok=True)
            return cls(path, held_out)
        for number in count(1):
            path = Path("runs", name if number == 1 else f"{name}-{number}")
            with contextlib.suppress(FileExistsError):
                path.mkdir(parents=True)
                break
        return cls(path, held_out)

    def on_epoch_end(self, training: "Training") -> None:
        """Append the epoch at once, so that a crash loses nothing."""
        row = {name: values[-1] for name, values in training.history.items()}
        self._history.write(to_json({"epoch": training.epoch + 1} | self.named(row)) + "\n")
        self._history.flush()

    def on_train_end(self, training: "Training") -> None:
        """Close the history."""
        self._history.close()

    def named(self, figures: dict[str, Any]) -> dict[str, Any]:
        """Call the ``val_`` figures what they are."""
        return {name.replace("val_", f"{self.held_out}_"): v for name, v in figures.items()}

    def save_model(self, mlp: "MLP") -> Path:
        """Write the model."""
        mlp.save(self.path / MODEL)
        return self.path / MODEL

    def save_result(self, result: dict[str, Any]) -> None:
        """Write the result as JSON."""
        write_atomically(self.path / RESULT, (to_json(result, indent=2) + "\n").encode())

    @contextlib.contextmanager
    def keeping(self, mlp: "MLP") -> Iterator[None]:
        """After a failure keep what was learned and note it on the error; or leave no trace."""
        try:
            yield
        except BaseException as error:
            self._history.close()
            with contextlib.suppress(OSError):  # the failure may be a full disk
                if mlp.epochs_trained:
                    path = self.save_model(mlp)
                    error.add_note(f"the model as of epoch {mlp.epochs_trained} is in {path}")
                else:
                    (self.path / HISTORY).unlink()
                    self.path.rmdir()
            raise
