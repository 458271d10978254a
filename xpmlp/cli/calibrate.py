"""``xpmlp train --calibrate``, and what ``evaluate`` and ``predict`` say of a calibration."""

from dataclasses import replace
from typing import Any

import numpy as np

from xpmlp import metrics
from xpmlp.arrays.stored import some_rows
from xpmlp.data import Dataset
from xpmlp.errors import InvalidValueError
from xpmlp.mlp import MLP
from xpmlp.model.calibration import LEAST
from xpmlp.model.outputs import probable
from xpmlp.training.history import percent
from xpmlp.training.prepare import split

ENOUGH = 100
"""Rows for a useful calibration. Where a tenth of the data is fewer, up to a quarter is taken."""

COVERAGE = 0.9
"""Of the intervals that are measured."""

Held = tuple[Any, np.ndarray]


def hold_out(data: Dataset, seed: int) -> tuple[Dataset, Held]:
    """Split off rows to calibrate on.

    Returns
    -------
    data : Dataset
        With the other training rows.
    held : (X, y)

    Raises
    ------
    InvalidValueError
        If there are too few training rows.
    """
    n = len(data.X)
    if n < 4 * LEAST:
        raise InvalidValueError(
            f"--calibrate: found {n} training rows, of which {LEAST} are held out; expected "
            f"{4 * LEAST} or more"
        )
    count = min(max(n // 10, ENOUGH), n // 4)
    kept, aside = map(np.sort, split(seed, n, count / n))
    held = some_rows(data.X, aside), data.y[aside]
    return replace(data, X=some_rows(data.X, kept), y=data.y[kept]), held


def calibrate(mlp: MLP, held: Held, data: Dataset) -> dict[str, Any]:
    """Calibrate a model, and return what this has changed on the test rows, if there are some."""
    before = of_probabilities(mlp, data.X_test, data.y_test) if len(data.X_test) else {}
    found = mlp.calibrate(*held)
    record: dict[str, Any] = {"rows": found.rows}
    if mlp.task.kind != "values":
        record["temperature"] = found.temperature
    if len(data.X_test):
        record |= {f"test_{name}_before": value for name, value in before.items()}
        made = of_probabilities if mlp.task.kind != "values" else of_intervals
        values = made(mlp, data.X_test, data.y_test)
        record |= {f"test_{name}": value for name, value in values.items()}
    return record


def of_probabilities(mlp: MLP, X: Any, y: Any) -> dict[str, float]:
    """Return log loss and calibration error; nothing if the outputs are no probabilities."""
    if probable(mlp.task) is None:
        return {}
    p = mlp.predict_proba(X)
    return {
        "log_loss": metrics.log_loss(y, p),
        "calibration_error": metrics.calibration_error(y, p),
    }


def of_intervals(mlp: MLP, X: Any, y: Any) -> dict[str, Any]:
    """Return which share of the targets is in its interval, and how wide intervals are."""
    found = mlp.predict_interval(X, COVERAGE)
    covered, width = metrics.coverage(y, found), metrics.width(found)
    return {"covered": np.mean(covered).item(), "width": np.mean(width).item()}


def lines(record: dict[str, Any]) -> list[str]:
    """Return what ``train`` says of a calibration."""
    said = [f"on {record['rows']:,} rows held out"]
    if "temperature" in record:
        said.append(f"temperature {record['temperature']:.3g}")
    if "test_calibration_error" in record:
        before, after = (
            percent(record[f"test_calibration_error{when}"]) for when in ("_before", "")
        )
        said.append(f"calibration error on the test rows {before} before, {after} after")
    if "test_covered" in record:
        said.append(interval_line(record["test_covered"], record["test_width"]))
    return said


def interval_line(covered: float, width: float) -> str:
    """Return a line about measured intervals."""
    return (
        f"{COVERAGE:.0%} intervals: {percent(covered)} of the rows are inside, mean width "
        f"{width:.4g}"
    )
