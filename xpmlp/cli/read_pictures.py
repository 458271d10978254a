"""``xpmlp predict`` for pictures: one, several, or all in a folder."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xpmlp.cli.models import Trained
from xpmlp.cli.output import WIDTH, Output
from xpmlp.data.images import SUFFIXES, Picture
from xpmlp.data.picture_folder import is_labelled, pictures_in, subfolders
from xpmlp.errors import DataError, short
from xpmlp.storage.paths import expanded
from xpmlp.training.history import percent

TOP = 3
"""Classes shown for a picture."""

LITTLE = 16
"""Images with fewer rows and columns lose too much of a picture."""

SHADES = " .:-=+*#%@"
"""From paper to ink."""

_LOG = logging.getLogger(__name__)


def are_pictures(names: Sequence[str]) -> bool:
    """Whether these are pictures or folders of them; several can be nothing else."""
    path = expanded(names[0], "DATA")
    if len(names) > 1 or path.suffix.lower() in SUFFIXES:
        return True
    return path.is_dir() and (bool(pictures_in(path)) or is_labelled(path))


def predict_picture(trained: Trained, path: Path, show: bool, out: Output) -> None:
    """Predict one picture, and say what was done to it."""
    picture = trained.picture(path)
    out.say(f"{path}: {picture.done}", indent="  ")
    found = _prediction(trained, picture)
    width = min(40, max(len(line["class"]) for line in found["top"]))
    out.show([_chance(t["class"], t["probability"], width) for t in found["top"]])
    if show:
        out.show(drawn(picture.row, trained))
    for warning in picture.warnings:
        out.say(f"note: {warning}", indent="  ")
    _say_if_little(trained, out)
    out.record(found | ({"warnings": list(picture.warnings)} if picture.warnings else {}))


def predict_pictures(
    trained: Trained, paths: Sequence[Path], limit: int | None, show: bool, out: Output
) -> int:
    """Predict several pictures in a line each; return 2 if one cannot be read, else 0."""
    files = [file for path in paths for file in _files(path)][:limit]
    names = [str(file) if len(str(file)) <= 48 else f"...{str(file)[-45:]}" for file in files]
    width, longest = max(map(len, names)), max(map(len, trained.classes or ("",)))
    records: list[dict[str, Any]] = []
    for file, name in zip(files, names, strict=True):
        try:
            picture = trained.picture(file)
        except DataError as error:
            _LOG.warning("%s", error)
            records.append({"file": str(file), "error": str(error)})
            continue
        found = _prediction(trained, picture)
        line = _chance(found["prediction"], found["probability"], min(longest, 18))
        out.show([f"{name:<{width}}  {line}"])
        if show:
            out.show(drawn(picture.row, trained))
        for warning in picture.warnings:
            out.say(f"  note: {warning}", indent="    ")
        records.append({"file": str(file)} | found | {"warnings": list(picture.warnings)})
    _say_if_little(trained, out)
    out.record(records)
    return 2 if any("error" in record for record in records) else 0


def _files(path: Path) -> list[Path]:
    """Return a picture itself, or the pictures in a folder, else those in its subfolders."""
    if path.is_dir():
        found = pictures_in(path) or [p for f in subfolders(path) for p in pictures_in(f)]
        if not found:
            raise DataError(
                f"{path}: found a folder, expected pictures in it: {', '.join(SUFFIXES)}"
            )
        return found
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{path}: found no picture, expected {', '.join(SUFFIXES)}, or a folder of them; give "
            "other data one at a time"
        )
    return [path]


def _prediction(trained: Trained, picture: Picture) -> dict[str, Any]:
    """Return the most probable class, and the ``TOP`` most probable."""
    chances = trained.mlp.predict_proba(picture.row)[0]
    best = sorted(range(len(chances)), key=lambda k: -chances[k])[:TOP]
    names = trained.classes or ()
    top = [{"class": names[k], "probability": float(chances[k])} for k in best]
    return {"prediction": top[0]["class"], "probability": top[0]["probability"], "top": top}


def _chance(name: Any, probability: Any, width: int) -> str:
    return f"{short(name, width):<{width}} {percent(probability):>9}"


def drawn(row: Any, trained: Trained) -> list[str]:
    """Draw the pixels that the network sees with characters, in at most 80 columns.

    A character is about twice as high as wide, so a pixel is two of them, or, in large images,
    every second row is left out.
    """
    facts = trained.image or {}
    image = np.asarray(row, dtype=np.float64).reshape(facts["shape"]) / facts["maximum"]
    step = -(-(image.shape[1] + 2) // WIDTH)
    wide = 2 * image.shape[1] + 2 <= WIDTH
    seen = image if wide else image[:: 2 * step, ::step]
    levels = np.clip(np.ceil(seen * (len(SHADES) - 1)), 0, len(SHADES) - 1).astype(int)
    lines = ["".join(SHADES[k] * (2 if wide else 1) for k in line) for line in levels]
    edge = f"+{'-' * len(lines[0])}+"
    return [edge, *(f"|{line}|" for line in lines), edge]


def _say_if_little(trained: Trained, out: Output) -> None:
    height, width = (trained.image or {})["shape"]
    if max(height, width) < LITTLE and set(trained.classes or ()) == set("0123456789"):
        out.say(
            f"note: this model sees {width}x{height} pixels, which is small; one trained on "
            "MNIST's 28x28 reads pictures better: xpmlp train mnist",
            indent="  ",
        )
