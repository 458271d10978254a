"""Trained models for ``evaluate``, ``predict`` and ``explain``: the file, its classes, its data."""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpmlp.cli.runs import MODEL
from xpmlp.data import NAMES, Evaluation, Known, load_evaluation
from xpmlp.data.images import Picture, checked_facts, read_image
from xpmlp.data.labels import map_labels
from xpmlp.data.picture_folder import is_labelled, read_labelled
from xpmlp.data.table import Table
from xpmlp.errors import DataError
from xpmlp.mlp import MLP, load
from xpmlp.model.rounds import varied
from xpmlp.storage.paths import expanded


@dataclass(frozen=True)
class Trained:
    """A model, and what its file says about its training data.

    ``classes`` is None for regression, ``image`` is from `xpmlp.data.images.pixel_facts` or None.
    """

    mlp: MLP
    classes: tuple[str, ...] | None
    image: dict[str, Any] | None

    @classmethod
    def load(cls, args: Namespace) -> "Trained":
        """Read the model file, or the one in a run folder.

        Raises
        ------
        CheckpointError
            If the file is broken.
        InvalidValueError
            For --augment-rounds of a model that was trained without augmentation.
        """
        path = expanded(args.model, "MODEL")
        mlp = load(path / MODEL if path.is_dir() else path, args.backend, args.device)
        if rounds := getattr(args, "augment_rounds", 0):
            mlp = varied(mlp, rounds)
        count = 0 if mlp.task.kind == "values" else max(2, mlp.sizes[-1])
        names = _texts(mlp.metadata.get("classes"), count) or tuple(map(str, range(count)))
        return cls(mlp, names or None, checked_facts(mlp.metadata.get("image"), mlp.sizes[0]))

    def data(self, args: Namespace, as_text: bool = False) -> Evaluation:
        """Load inputs, and targets or None, in the form the model takes."""
        if is_labelled(args.data):
            X, labels, where = read_labelled(expanded(args.data, "DATA"), self.picture, args.label)
            return Evaluation(X, map_labels(labels, self.classes, where))
        metadata = self.mlp.metadata
        share, seed = metadata.get("test_fraction"), metadata.get("seed")
        return load_evaluation(
            args.data,
            classes=self.classes,
            n_features=self.mlp.sizes[0],
            known=self._known(),
            label=args.label,
            header=args.header,
            as_text=as_text,
            data_dir=args.data_dir,
            test_fraction=share if isinstance(share, float) else 0.2,
            seed=seed if isinstance(seed, int) else 0,
        )

    def _known(self) -> Known:
        """Return what the model knows of tables; one trained on arrays takes as many numbers."""
        metadata, width = self.mlp.metadata, self.mlp.sizes[0]
        if self.mlp.table is not None:
            columns, label = (_names(metadata.get(key)) for key in ("columns", "label"))
            return Known(self.mlp.table, columns, label)
        numbered = [f"column {place + 1}" for place in range(width)]
        names = _texts(metadata.get("features"), width) or numbered
        return Known(Table.of_numbers(names), label=_names(metadata.get("label")))

    def picture(self, path: Path) -> Picture:
        """Read a picture in the form the model takes.

        Raises
        ------
        DataError
            If the model was not trained on images, or the picture cannot be read.
        """
        if self.image is None or self.classes is None:
            raise DataError(
                f"{path}: this model was not trained on images with classes, so it cannot read a "
                "picture; give it data as for xpmlp evaluate"
            )
        return read_image(path, self.image, "uint8" if self.mlp.scaling.pixels else self.mlp.dtype)

    def seen(self, args: Namespace) -> bool:
        """Whether the rows may be training rows: all rows of a file of the same name."""
        return args.data not in NAMES and Path(args.data).stem == self.mlp.metadata.get("data")


def _names(value: Any) -> tuple[str, ...]:
    """Return a list of names from a file as a tuple; empty if it is not valid."""
    return _texts(value, len(value) if isinstance(value, list) else 0) or ()


def _texts(value: Any, count: int) -> tuple[str, ...] | None:
    """Return a list of names from a file as a tuple, or None if it is not valid."""
    good = isinstance(value, list) and len(value) == count
    return tuple(value) if good and all(isinstance(v, str) for v in value) else None
