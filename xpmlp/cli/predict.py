"""``xpmlp predict``: a trained model's predictions for rows of data, or for pictures."""

from argparse import Namespace
from typing import Any

import numpy as np

from xpmlp.cli.models import Trained
from xpmlp.cli.output import Output
from xpmlp.cli.read_pictures import are_pictures, predict_picture, predict_pictures
from xpmlp.cli.tables import OUT, write
from xpmlp.errors import InvalidValueError, short
from xpmlp.mlp import MLP
from xpmlp.storage.paths import expanded
from xpmlp.training.history import percent


def run(args: Namespace) -> int:
    """Predict as the options say; return 2 if one of several pictures cannot be read, else 0.

    Raises
    ------
    DataError
        If the data or the picture cannot be read or do not fit the model.
    """
    if args.limit is not None and args.limit < 1:
        raise InvalidValueError(f"--limit: found {args.limit}; expected 1 or more")
    trained, out = Trained.load(args), Output(args.json)
    _check_calibrated(trained.mlp, args)
    if are_pictures(args.data):
        if args.sets is not None:
            raise InvalidValueError("--sets: found pictures; only rows of data have sets")
        paths = [expanded(name, "DATA") for name in args.data]
        if len(paths) == 1 and not paths[0].is_dir():
            predict_picture(trained, paths[0], args.show, out)
            return 0
        return predict_pictures(trained, paths, args.limit, args.show, out)
    if args.show:
        raise InvalidValueError(f"--show: found {args.data[0]}; only pictures can be shown")
    args.data = args.data[0]
    _rows(trained, args, out)
    return 0


def _rows(trained: Trained, args: Namespace, out: Output) -> None:
    path = None if args.out is None else expanded(args.out, "--out")
    if path is not None and path.suffix.lower() not in OUT:
        raise InvalidValueError(f"--out {path}: expected a file with one of {', '.join(OUT)}")
    found = trained.data(args, as_text=path is not None and path.suffix.lower() in (".csv", ".tsv"))
    for note in found.notes:
        out.row("note", note)
    some = slice(args.limit)
    X, y = found.X[some], None if found.y is None else found.y[some]
    columns = _columns(trained, X)
    if args.interval is not None:
        columns |= _intervals(trained.mlp, X, args.interval)
    elif args.sets is not None:
        columns["set"] = _sets(trained, X, args.sets)
    if path is not None:
        write(path, found.frame and found.frame[some], columns)
        out.say(f"{len(X):,} rows with their predictions in {path}")
    records = _records(trained, columns, y)
    if path is None:
        out.show(_lines(trained, records))
    out.record(records)


def _check_calibrated(mlp: MLP, args: Namespace) -> None:
    """Refuse --interval and --sets for a model that cannot say them."""
    for option, asked, other, fits in (
        ("--interval", args.interval, "--sets", mlp.task.kind == "values"),
        ("--sets", args.sets, "--interval", mlp.task.kind != "values"),
    ):
        if asked is None:
            continue
        if not fits:
            what = "values" if mlp.task.kind == "values" else "classes"
            raise InvalidValueError(f"{option}: this model predicts {what}; use {other}")
        if mlp.calibration is None:
            raise InvalidValueError(
                f"{option}: this model has no calibration; train it with xpmlp train --calibrate, "
                "or call mlp.calibrate(X, y) in Python and save it"
            )


def _intervals(mlp: MLP, X: Any, coverage: float) -> dict[str, Any]:
    """Return lower and upper ends by the name of a column."""
    found = mlp.predict_interval(X, coverage)
    if found.ndim == 2:
        return {"lower": found[:, 0], "upper": found[:, 1]}
    names = mlp.metadata.get("label") or range(1, found.shape[1] + 1)
    ends = {"lower": found[:, :, 0].T, "upper": found[:, :, 1].T}
    return {f"{end} {n}": v for end, of in ends.items() for n, v in zip(names, of, strict=True)}


def _sets(trained: Trained, X: Any, coverage: float) -> list[str]:
    """Return the classes in each row's set, as text."""
    classes = np.array(trained.classes, object)
    return [", ".join(classes[row]) for row in trained.mlp.predict_set(X, coverage)]


def _columns(trained: Trained, X: Any) -> dict[str, Any]:
    """Return the prediction, and of classes all probabilities, by the name of a column."""
    mlp, classes = trained.mlp, trained.classes
    if mlp.task.kind == "multilabel":
        chances = mlp.predict_proba(X)
        named = dict(zip(classes or (), (chances >= 0.5).T.astype(int), strict=True))
        made = {f"prediction {name}": values for name, values in named.items()}
        return made | {f"probability {n}": p for n, p in zip(classes or (), chances.T, strict=True)}
    if classes:
        chances = mlp.predict_proba(X)
        made = {"prediction": np.array(classes, object)[chances.argmax(axis=1)]}
        return made | {f"probability {n}": p for n, p in zip(classes, chances.T, strict=True)}
    values = mlp.predict(X)
    if values.ndim == 1:
        return {"prediction": values}
    names = mlp.metadata.get("label") or range(1, values.shape[1] + 1)
    return {f"prediction {n}": v for n, v in zip(names, values.T, strict=True)}


def _records(trained: Trained, columns: dict[str, Any], y: Any) -> list[dict[str, Any]]:
    """Return each row's prediction, its probability, and the label if there is one."""
    classes, many = trained.classes, "prediction" not in columns
    predicted = [columns[name].tolist() for name in columns if name.startswith("prediction")]
    values: Any = [list(row) for row in zip(*predicted, strict=True)] if many else predicted[0]
    rows = [{"row": index + 1, "prediction": value} for index, value in enumerate(values)]
    chances = [columns[name] for name in columns if name.startswith("probability ")]
    if trained.mlp.task.kind == "multilabel":
        for row, each in zip(rows, np.transpose(chances).tolist(), strict=True):
            on = values[row["row"] - 1]
            row["prediction"] = [name for name, yes in zip(classes or (), on, strict=True) if yes]
            row["probabilities"] = dict(zip(classes or (), each, strict=True))
    elif classes:
        for row, chance in zip(rows, np.max(chances, axis=0).tolist(), strict=True):
            row["probability"] = chance
    for end in ("lower", "upper"):
        ends = [columns[n].tolist() for n in columns if n == end or n.startswith(f"{end} ")]
        for row, *each in zip(rows, *ends, strict=True) if ends else ():
            row[end] = each if many else each[0]
    for row, chosen in zip(rows, columns.get("set", ()), strict=False):
        row["set"] = chosen
    for row, label in zip(rows, [] if y is None else y.tolist(), strict=False):
        row["label"] = _label(trained, label)
    return rows


def _label(trained: Trained, label: Any) -> Any:
    """Return a label as it was in the data; None where there is none."""
    if trained.mlp.task.kind == "multilabel":
        return [name for name, on in zip(trained.classes or (), label, strict=True) if on == 1]
    if trained.classes:
        return None if label < 0 else trained.classes[label]
    return None if label != label else label


def _lines(trained: Trained, rows: list[dict[str, Any]]) -> list[str]:
    """Lay the rows out in columns, with a header; the true label is marked where it differs."""
    title = ["row", "prediction", *(["probability"] if "probability" in rows[0] else [])]
    further = [name for name in ("lower", "upper", "set") if name in rows[0]]
    title += further
    title += ["label"] if any("label" in row for row in rows) else []
    cells = [title]
    for row in rows:
        line = [f"{row['row']:,}", _text(row["prediction"])]
        line += [percent(row["probability"])] if "probability" in row else []
        line += [_text(row[name]) for name in further]
        if "label" in title:
            label = row.get("label")
            wrong = trained.classes and label is not None and label != row["prediction"]
            line.append(("" if label is None else _text(label)) + ("  wrong" if wrong else ""))
        cells.append(line)
    widths = [max(len(line[k]) for line in cells) for k in range(len(title))]
    texts = {"prediction", "set", "label"} if trained.classes else set()
    lined = [
        [
            c.ljust(w) if t in texts else c.rjust(w)
            for t, c, w in zip(title, line, widths, strict=True)
        ]
        for line in cells
    ]
    return ["  ".join(line).rstrip() for line in lined]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return f"{value:.6g}" if isinstance(value, int | float) else short(str(value), 24)
