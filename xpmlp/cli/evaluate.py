"""``xpmlp evaluate``: loss and accuracy on labeled data, and each class."""

from argparse import Namespace
from typing import Any

from xpmlp.cli.models import Trained
from xpmlp.cli.output import Output
from xpmlp.errors import DataError, short
from xpmlp.inspect.plots import confusion_counts
from xpmlp.training.history import number, percent, score


def run(args: Namespace) -> None:
    """Evaluate as the options say.

    Raises
    ------
    DataError
        If the data have no labels, or labels that the model does not know.
    """
    out = Output(args.json)
    trained = Trained.load(args)
    X, y = trained.data(args)
    if y is None:
        raise DataError(f"{args.data}: found no labels to compare with; use xpmlp predict")
    mlp = trained.mlp
    values = mlp.evaluate(X, y)
    record: dict[str, Any] = {**values, "rows": len(X), "backend": mlp.backend.name}
    metric = mlp.task.measures[-1]
    name, loss = {"r2": "R2"}.get(metric, metric), number(values["loss"])
    lines = [f"{len(X):,} rows: {name} {score(metric, values[metric])}, loss {loss}"]
    if trained.seen(args):
        out.say(
            f"note: the model was trained on part of a file of this name ({args.data}), so these "
            "values may be too good; result.json of the run has those of the test part"
        )
    if trained.classes:
        record["classes"] = per_class(y, mlp.predict(X), trained.classes)
        lines += ["", *table(record["classes"])]
    out.show(lines)
    out.record(record)


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


def table(found: list[dict[str, Any]]) -> list[str]:
    """Lay ``per_class`` out in 80 columns."""
    width = max(5, *(min(24, len(row["class"])) for row in found))
    lines = [
        f"{'class':<{width}} {'rows':>8} {'recall':>10} {'precision':>10}  most often mistaken for"
    ]
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
