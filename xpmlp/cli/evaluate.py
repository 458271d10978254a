"""``xpmlp evaluate``: loss and accuracy on labeled data, each class, or the typical error."""

from argparse import Namespace
from typing import Any

import numpy as np

from xpmlp.arrays.stored import some_rows
from xpmlp.cli.calibrate import interval_line, of_intervals, of_probabilities
from xpmlp.cli.models import Trained
from xpmlp.cli.output import Output
from xpmlp.errors import DataError, short
from xpmlp.inspect.plots import confusion_counts
from xpmlp.mlp import MLP
from xpmlp.training.history import number, percent


def run(args: Namespace) -> None:
    """Evaluate as the options say.

    Raises
    ------
    DataError
        If the data have no labels, or labels that the model does not know.
    """
    out = Output(args.json)
    trained = Trained.load(args)
    mlp, found = trained.mlp, trained.data(args)
    for note in found.notes:
        out.row("note", note)
    if found.y is None:
        label = ", ".join(mlp.metadata.get("label") or ())
        raise DataError(
            f"{args.data}: found no labels to compare with"
            + (f", expected the column {label}" if label else "")
            + "; use xpmlp predict"
        )
    X, y = labelled(found.X, found.y, out)
    values = mlp.evaluate(X, y)
    record: dict[str, Any] = {**values, "rows": len(y), "backend": mlp.backend.name}
    record |= calibration(mlp, X, y)
    if trained.seen(args):
        out.say(
            f"note: the model was trained on part of a file of this name ({args.data}), so these "
            "values may be too good; result.json of the run has those of the test part"
        )
    if mlp.task.kind == "multilabel":
        record["labels"] = per_label(y, mlp.predict(X), trained.classes or ())
        lines = [f"{len(y):,} rows: {percent(values['accuracy'])} of the labels right", ""]
        lines[1:1] = of_calibration(mlp, record)
        lines += table(record["labels"], "label")
    elif trained.classes:
        record["classes"] = per_class(y, mlp.predict(X), trained.classes)
        lines = of_classes(y, values, trained.classes, record)
        lines += [*of_calibration(mlp, record), "", *table(record["classes"])]
    else:
        lines = of_values(y, mlp.predict(X), values, record) + of_calibration(mlp, record)
    out.show(lines)
    out.record(record)


def calibration(mlp: MLP, X: Any, y: Any) -> dict[str, Any]:
    """Return how far probabilities are off; of a calibrated model's intervals, what they cover."""
    if mlp.task.kind == "values":
        return {} if mlp.calibration is None else {"interval": of_intervals(mlp, X, y)}
    found: dict[str, Any] = of_probabilities(mlp, X, y)
    loss = found.pop("log_loss", None)
    if mlp.calibration is not None:
        found["calibrated"] = {"temperature": mlp.calibration.temperature, "log_loss": loss}
    return found


def of_calibration(mlp: MLP, record: dict[str, Any]) -> list[str]:
    """Return a line about probabilities or intervals; none if there is nothing to say."""
    if "interval" in record:
        return [interval_line(record["interval"]["covered"], record["interval"]["width"])]
    if "calibration_error" not in record:
        return []
    line = f"calibration error {percent(record['calibration_error'])}"
    if "calibrated" in record:
        found = record["calibrated"]
        line += (
            f", log loss {number(found['log_loss'])} at the temperature {found['temperature']:.3g}"
        )
    return [line]


def labelled(X: Any, y: Any, out: Output) -> tuple[Any, Any]:
    """Return the rows that have a label, and say how many have none."""
    none = np.isnan(y) if y.dtype.kind == "f" else y < 0
    none = none.any(axis=1) if y.ndim == 2 else none
    if not none.any():
        return X, y
    out.row("note", f"rows without a label are left out: {none.sum():,}")
    return some_rows(X, np.flatnonzero(~none)), y[~none]


def of_classes(y: Any, values: Any, classes: tuple[str, ...], record: dict[str, Any]) -> list[str]:
    """Return accuracy and log loss, beside what the most frequent class alone would give."""
    counts = np.bincount(y, minlength=len(classes))
    most = int(counts.argmax())
    record["most_frequent"] = {"class": classes[most], "share": float(counts[most] / len(y))}
    right, share = values["accuracy"], counts[most] / len(y)
    guess = f"always {short(classes[most], 24)!r}, the most frequent class: {percent(share)}"
    meaning = (
        "The model is no better than the most frequent class."
        if right <= share
        else f"Of 100 rows the model gets about {round(100 * right)} right."
    )
    return [
        f"{len(y):,} rows: accuracy {percent(right)}, log loss {number(values['loss'])}",
        guess,
        meaning,
    ]


def of_values(y: Any, predicted: Any, values: Any, record: dict[str, Any]) -> list[str]:
    """Return the typical error in the targets' units, beside that of always predicting the mean."""
    error, spread = np.abs(predicted - y), np.abs(y - y.mean(axis=0))
    found = {
        "typical_error": np.median(error),
        "mean_error": error.mean(),
        "of_mean": spread.mean(),
    }
    record |= {name: float(value) for name, value in found.items()}
    lines = [f"{len(y):,} rows: R2 {values['r2']:.4f}, loss {number(values['loss'])}"]
    lines.append(
        f"typical error {found['typical_error']:.4g} (half of the rows are closer), mean error "
        f"{found['mean_error']:.4g}"
    )
    lines.append(f"always the mean, {y.mean():.6g}: mean error {found['of_mean']:.4g}")
    times = found["of_mean"] / max(found["mean_error"], 1e-300)
    lines.append(
        "The model is no better than always predicting the mean."
        if times <= 1
        else f"The model's errors are {times:.1f} times smaller than those of the mean."
    )
    return lines


def per_label(y: Any, predicted: Any, labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return rows, recall and precision of each of several labels; see ``per_class``."""
    found = []
    for k, name in enumerate(labels):
        row = per_class(y[:, k], np.asarray(predicted)[:, k], ("no", "yes"))[1]
        found.append(row | {"class": name, "mistaken_for": None})
    return found


def per_class(y: Any, predicted: Any, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return rows, recall, precision, and the most frequent mistake of each class.

    Recall is the share of a class's rows that are predicted as it; precision is the share of
    the rows predicted as it that belong to it. None if there are no such rows.
    """
    counts = confusion_counts(y, predicted, len(classes))
    found = []
    for index, name in enumerate(classes):
        rows, called = int(counts[index].sum()), int(counts[:, index].sum())
        right = int(counts[index, index])
        wrong = counts[index].copy()
        wrong[index] = 0
        taken = int(wrong.argmax())
        found.append(
            {
                "class": name,
                "rows": rows,
                "recall": right / rows if rows else None,
                "precision": right / called if called else None,
                "mistaken_for": classes[taken] if wrong[taken] else None,
                "mistaken_times": int(wrong[taken]),
            }
        )
    return found


def table(found: list[dict[str, Any]], what: str = "class") -> list[str]:
    """Lay ``per_class`` out in 80 columns."""
    width = max(5, *(min(24, len(row["class"])) for row in found))
    last = "  most often mistaken for" if what == "class" else ""
    lines = [f"{what:<{width}} {'rows':>8} {'recall':>10} {'precision':>10}{last}"]
    for row in found:
        recall, precision = (
            "-" if row[key] is None else percent(row[key]) for key in ("recall", "precision")
        )
        wrong = row["mistaken_for"]
        mistake = f"{short(wrong, 16)} ({row['mistaken_times']:,})" if wrong is not None else ""
        lines.append(
            f"{short(row['class'], width):<{width}} {row['rows']:>8,} {recall:>10} "
            f"{precision:>10}  {mistake}".rstrip()
        )
    return lines
