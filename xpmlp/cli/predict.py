"""``xpmlp predict``: a trained model's predictions for rows of data, or for a picture."""

from argparse import Namespace
from pathlib import Path
from typing import Any

from xpmlp.cli.images import SUFFIXES, read_image
from xpmlp.cli.models import Trained
from xpmlp.cli.output import Output
from xpmlp.errors import DataError, InvalidValueError, short
from xpmlp.storage.paths import expanded
from xpmlp.training.history import percent

TOP = 3
"""Classes shown for a picture."""


def run(args: Namespace) -> None:
    """Predict as the options say.

    Raises
    ------
    DataError
        If the data or the picture cannot be read or do not fit the model.
    """
    if args.limit is not None and args.limit < 1:
        raise InvalidValueError(f"--limit: found {args.limit}; expected 1 or more")
    trained, out = Trained.load(args), Output(args.json)
    if Path(args.data).suffix.lower() in SUFFIXES:
        _picture(trained, expanded(args.data, "DATA"), out)
    else:
        _rows(trained, args, out)


def _picture(trained: Trained, path: Path, out: Output) -> None:
    mlp, facts = trained.mlp, trained.image
    if facts is None or trained.classes is None:
        raise DataError(
            f"{path}: this model was not trained on images with classes, so it cannot read a "
            "picture; give it data as for xpmlp evaluate"
        )
    row, done = read_image(path, facts, "uint8" if mlp.scaling.pixels else mlp.dtype)
    out.say(f"{path}: {done}", indent="  ")
    chances = mlp.predict_proba(row)[0]
    best = sorted(range(len(chances)), key=lambda k: -chances[k])[:TOP]
    top: list[dict[str, Any]]
    top = [{"class": trained.classes[k], "probability": float(chances[k])} for k in best]
    width = min(40, max(len(line["class"]) for line in top))
    lines = [f"{short(t['class'], width):<{width}} {percent(t['probability']):>9}" for t in top]
    out.show(lines)
    out.record({"prediction": top[0]["class"], "probability": top[0]["probability"], "top": top})


def _rows(trained: Trained, args: Namespace, out: Output) -> None:
    X, y = trained.data(args)
    X, y = X[: args.limit], y[: args.limit] if y is not None else None
    found = _predictions(trained, X, y)
    width = min(24, max(len(row["prediction"]) for row in found)) if trained.classes else 0
    out.show([_line(row, width) for row in found])
    out.record(found)


def _predictions(trained: Trained, X: Any, y: Any) -> list[dict[str, Any]]:
    """Return each row's most probable class or its value or values, and the label if known."""
    rows: list[dict[str, Any]]
    labels = None if y is None else y.tolist()
    if trained.classes:
        chances = trained.mlp.predict_proba(X)
        best = zip(chances.argmax(axis=1), chances.max(axis=1), strict=True)
        rows = [{"prediction": trained.classes[k], "probability": float(p)} for k, p in best]
        labels = None if labels is None else [trained.classes[k] for k in labels]
    else:
        rows = [{"prediction": value.tolist()} for value in trained.mlp.predict(X)]
    for index, row in enumerate(rows):
        rows[index] = {"row": index + 1} | row
        if labels is not None:
            rows[index]["label"] = labels[index]
    return rows


def _line(row: dict[str, Any], width: int) -> str:
    """Format a row, with the label if it differs from the prediction."""
    if "probability" not in row:
        label = f"   label {_values_text(row['label'])}" if "label" in row else ""
        return f"{row['row']:>7}  {_values_text(row['prediction'])}{label}"
    name = f"{short(row['prediction'], width):<{width}}"
    wrong = row.get("label", row["prediction"]) != row["prediction"]
    label = f"   label {short(row['label'], 24)}" if wrong else ""
    return f"{row['row']:>7}  {name} {percent(row['probability']):>9}{label}"


def _values_text(value: Any) -> str:
    return " ".join(f"{v:.6g}" for v in (value if isinstance(value, list) else [value]))
