"""A network that reads a digit drawn on the page: trained here, or from a model file."""

from pathlib import Path
from threading import Lock, Thread
from typing import Any

import numpy as np

from xpmlp.callbacks import Callback
from xpmlp.data import load_digits
from xpmlp.data.images import as_row, checked_facts, pixel_facts
from xpmlp.errors import CheckpointError, InvalidValueError
from xpmlp.mlp import MLP, load
from xpmlp.nn.layers import Pass
from xpmlp.nn.optimizers import Adam
from xpmlp.nn.schedules import Cosine
from xpmlp.play.frames import activations, first_inputs
from xpmlp.play.run import Left
from xpmlp.play.strokes import PAD, ink_of, rewritten
from xpmlp.training.loop import Training

HIDDEN, EPOCHS, RATE, BATCH, DROPOUT, HANDS = 128, 20, 5e-3, 64, 0.2, 6
"""With these it reads 98 % of the test digits, after a few seconds."""

MNIST_REACH = 20 / 28
"""The share of its images that the ink of MNIST takes, for models that do not say it."""


class Reader:
    """Reads digits. It is empty until it has trained, or got a model.

    Attributes
    ----------
    status : {"empty", "training", "ready", "failed"}
    """

    def __init__(self) -> None:
        self.status, self.source, self.epoch = "empty", "", 0
        self.message: str | None = None
        self.accuracy: float | None = None
        self._lock, self._left = Lock(), False
        self._mlp: MLP | None = None
        self._facts: dict[str, Any] = {}
        self._thread: Thread | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a network to read with."""
        return self._mlp is not None

    @property
    def left(self) -> bool:
        """Whether nobody wants it any more."""
        return self._left

    def state(self) -> dict[str, Any]:
        """Return where it is, for the page."""
        return {
            "status": self.status,
            "message": self.message,
            "source": self.source,
            "epoch": self.epoch,
            "epochs": EPOCHS,
            "accuracy": self.accuracy,
            "sizes": [] if self._mlp is None else list(self._mlp.sizes),
        }

    def train(self) -> None:
        """Begin to train on the digits that come with scikit-learn, unless it does already."""
        with self._lock:
            if self.status == "training":
                return
            self.status, self.message, self.epoch, self.accuracy = "training", None, 0, None
            self._thread = Thread(target=self._train, name="digits", daemon=True)
            self._thread.start()

    def leave(self) -> None:
        """End the training."""
        self._left = True

    def join(self) -> None:
        """Wait for the training."""
        if self._thread is not None:
            self._thread.join()

    def _train(self) -> None:
        try:
            data = load_digits()
            facts = pixel_facts(data.X, (8, 8))
            if self._left:
                raise Left
            more = rewritten(data.X, facts, HANDS)
            sizes = [64, HIDDEN, 10]
            mlp = MLP(sizes, targets="labels", dropout=DROPOUT, backend="numpy", seed=0)
            mlp.fit(
                np.concatenate([data.X, more]),
                np.tile(data.y, 1 + HANDS),
                epochs=EPOCHS,
                batch_size=BATCH,
                optimizer=Adam(Cosine(RATE)),
                validation_data=(data.X_test, data.y_test),
                callbacks=[_Progress(self)],
            )
            self._use(mlp, facts, "digits")
        except Left:
            self.status = "empty"
        except Exception as error:  # whatever it is, the page says it
            self.status, self.message = "failed", " ".join(str(error).split())

    def open(self, path: Path) -> None:
        """Take a model from a file.

        Raises
        ------
        CheckpointError
            If it is no valid model, or no model of digits.
        """
        mlp = load(path, backend="numpy")
        kind = None if mlp.known_task is None else mlp.known_task.kind
        digits = mlp.sizes[0] in (64, PAD**2) and mlp.sizes[-1] == 10
        if not digits or kind not in ("labels", "one_hot"):
            raise CheckpointError(
                f"{path.name}: found a network {'-'.join(map(str, mlp.sizes))}; expected one of "
                "digits, with 64 or 784 inputs and 10 classes"
            )
        side = round(mlp.sizes[0] ** 0.5)
        plain = {"shape": [side, side], "maximum": 1.0, "reach": 1.0 if side == 8 else MNIST_REACH}
        facts = checked_facts(mlp.metadata.get("image"), mlp.sizes[0]) or plain
        if facts["shape"] != [side, side]:
            facts = plain
        self.accuracy, self.message = None, None
        self._use(mlp, facts, path.name)

    def _use(self, mlp: MLP, facts: dict[str, Any], source: str) -> None:
        with self._lock:
            self._mlp, self._facts, self.source, self.status = mlp, facts, source, "ready"

    def read(self, pixels: Any) -> dict[str, Any]:
        """Return what the network makes of a drawn digit.

        Parameters
        ----------
        pixels : list of 28 lists of 28 numbers
            From 0, paper, to 255, ink.

        Raises
        ------
        InvalidValueError
            For other pixels, without ink, or before there is a network.
        """
        ink = ink_of(pixels)
        with self._lock:
            mlp, facts = self._mlp, self._facts
            if mlp is None:
                raise InvalidValueError("no network is there yet; train one, or open a model file")
            row = as_row(ink, facts, "uint8" if mlp.scaling.pixels else mlp.dtype)
            chances = mlp.predict_proba(row)[0]
            x = first_inputs(mlp, row)
            digit = int(chances.argmax())
            side = facts["shape"][0]
            seen = row[0] / (255 if row.dtype == np.uint8 else facts["maximum"])
            return {
                "digit": digit,
                "probabilities": np.nan_to_num(chances).tolist(),
                "hidden": [np.nan_to_num(units[0]).tolist() for units in activations(mlp, x)],
                "gradient": np.nan_to_num(slope(mlp, x, digit)).tolist(),
                "side": side,
                "seen": np.clip(seen, 0.0, 1.0).tolist(),
                "note": NOTE if side == 8 else None,
            }


NOTE = (
    "This network sees 8 by 8 pixels, and misreads one drawing of four. A model of MNIST, which "
    "you can open, sees 28 by 28."
)


class _Progress(Callback):
    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def on_epoch_end(self, training: Training) -> None:
        self.reader.epoch = training.finished
        self.reader.accuracy = training.history["val_accuracy"][-1]
        if self.reader.left:
            raise Left


def slope(mlp: MLP, x: Any, digit: int) -> Any:
    """Return the gradient of a class's score over the mean of all, by the inputs.

    The score is the output before softmax, whose slope vanishes where the network is sure.
    """
    views = mlp.network.layout.views(np, mlp.weights.flat)
    run = Pass(statistics=mlp.network.statistics.views(np, mlp.weights.statistics))
    z, backward = mlp.network.body.forward(mlp.backend.ops, views, x, run)
    dz = np.full_like(z, -1.0 / z.shape[1])
    dz[:, digit] += 1.0
    dx, _ = backward(dz)
    return np.asarray(dx)[0]
