"""Why the network says what it says: each unit's sum with its numbers, and the diagnosis."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeGuard

import numpy as np

from xpmlp.errors import InvalidValueError, short
from xpmlp.inspect.diagnose.course import Finding
from xpmlp.inspect.diagnose.diagnosis import findings
from xpmlp.inspect.explain import Explanation, explain
from xpmlp.play.frames import Viewer, number
from xpmlp.play.network import optimizer_of
from xpmlp.play.settings import LAYERS, LIMITS, Settings

TERMS = 6
"""Most products that a unit's sum is written with; a longer one is cut."""

EARLY = 20
"""Epochs before which a paused run is not judged as if it were over."""


def row_of(viewer: Viewer, given: dict[str, Any]) -> tuple[Any, Any]:
    """Return the input and target that the page asks about: a row, or a point of the plane.

    Raises
    ------
    InvalidValueError
        If there is no such row, or it is no point.
    """
    problem, plane = viewer.run.problem, viewer.plane
    X, y = problem.rows
    row, point, target = given.get("row"), given.get("point"), given.get("target")
    if point is None:
        if not _is_whole(row) or not 0 <= row < len(y):
            raise InvalidValueError(
                f"row: found {short(repr(row), 40)}; expected a number from 0 to {len(y) - 1}"
            )
        return X[row], y[row]
    numbers = isinstance(point, list) and len(point) == 2 and all(map(_is_number, point))
    if plane is None or not numbers:
        found = short(repr(point), 40)
        raise InvalidValueError(f"point: found {found}; expected two numbers on a plane")
    if target is None:
        target = 0
    most = None if problem.classes is None else len(problem.classes) - 1
    if not _is_number(target) or (
        most is not None and not (_is_whole(target) and 0 <= target <= most)
    ):
        expected = "a number" if most is None else f"a class from 0 to {most}"
        raise InvalidValueError(f"target: found {short(repr(target), 40)}; expected {expected}")
    return plane.inputs(np.array([point], float))[0], y.dtype.type(target)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def explained(viewer: Viewer, given: dict[str, Any]) -> dict[str, Any]:
    """Return the forward and backward pass of one row, unit by unit.

    Raises
    ------
    InvalidValueError
        See ``row_of``.
    """
    run = viewer.run
    x, target = row_of(viewer, given)
    with run.looking:
        mlp = viewer.look_at(run.last)
        step = explain(
            mlp, x, target, optimizer_of(run.settings), features=run.problem.inputs,
            classes=run.problem.classes,
        )  # fmt: skip
        chances = (
            mlp.predict(x[None]) if run.problem.classes is None else mlp.predict_proba(x[None])
        )
    hidden = len(mlp.sizes) - 2
    names = [run.problem.inputs, *(_units(k, n) for k, n in enumerate(mlp.sizes[1:], start=1))]
    found = [layer_of(step, k, names[k - 1], k <= hidden) for k in range(1, hidden + 2)]
    return {
        **{name: getattr(run.last, name) for name in ("epoch", "step", "status")},
        "run": run.number,
        "inputs": [*map(number, step["X"].values[0])],
        "layers": found,
        "loss": {"formula": step["Loss"].text, "value": number(step["Loss"].values)},
        "target": number(target),
        "output": [*map(number, np.ravel(chances))],
        "notes": list(step.notes),
    }


def _units(layer: int, count: int) -> list[str]:
    return [f"h{layer}[{unit + 1}]" for unit in range(count)]


def layer_of(step: Explanation, k: int, names: Sequence[str], hidden: bool) -> dict[str, Any]:
    """Return what happens in layer k, from 1."""
    known = step.quantities
    ours = [q for name, q in known.items() if name in _of_layer(k)]
    dense = next(q for q in ours if q.name == f"z{k}")
    out = ours[-1] if hidden else known.get("p", ours[-1])
    W, b = known[f"W{k}"].values, known.get(f"b{k}")
    x = known[_input_of(dense.formula)].values[0]
    dz, dW, db = (known.get(f"dLoss/d{name}{k}") for name in "zWb")
    units = []
    for j in range(W.shape[1]):
        bias = None if b is None else b.values.ravel()[j]
        units.append(
            {
                "sum": sum_of(x, W[:, j], bias, dense.values[0, j]),
                "z": number(dense.values[0, j]),
                "a": number(out.values[0, j]),
                "delta": None if dz is None else number(dz.values[0, j]),
                "bias": number(bias),
                "weights": [*map(number, W[:, j])],
                "inputs": [*map(number, x)],
                "names": list(names),
                "gradients": [] if dW is None else [*map(number, dW.values[:, j])],
                "bias_gradient": None if db is None else number(db.values.ravel()[j]),
            }
        )
    backward = [q.text for q in known.values() if q.name in (f"dLoss/d{n}{k}" for n in "hnzWb")]
    return {
        "name": f"hidden layer {k}" if hidden else "output",
        "formula": dense.text,
        "forward": [q.text for q in ours if q.formula],
        "backward": backward,
        "units": units,
    }


def _of_layer(k: int) -> tuple[str, ...]:
    return tuple(f"{letter}{k}" for letter in "znhdr")


def _input_of(formula: str) -> str:
    """Return the name of what a dense layer takes: of ``h1 W2 + b2`` it is ``h1``."""
    return formula.split()[0]


def sum_of(x: Any, w: Any, bias: Any, z: Any) -> str:
    """Write a unit's sum with its numbers: ``0.5·0.1 − 0.2·0.3 + 0.1 = 0.09``."""
    terms = [f"{_digits(a)}·{_digits(v)}" for a, v in zip(x[:TERMS], w[:TERMS], strict=True)]
    if len(x) > TERMS:
        terms.append("…")
    if bias is not None:
        terms.append(_digits(bias))
    return f"{' + '.join(terms)} = {_digits(z).strip('()')}"


def _digits(value: Any) -> str:
    text = f"{float(value):.4g}".replace("-", "−")
    return f"({text})" if text.startswith("−") else text


# The diagnosis


def diagnosed(viewer: Viewer) -> dict[str, Any]:
    """Return what is wrong with the run so far, and for each finding settings that may help."""
    run = viewer.run
    course, last = run.diagnosis.course, run.last
    if course is None or not course.measurements:
        return {"findings": [], "epoch": 0}
    over = last.status in ("done", "failed") or (last.status == "paused" and last.epoch >= EARLY)
    course = replace(course, measurements=list(course.measurements), finished=over)
    return {
        "epoch": course.last.epoch,
        "findings": [
            {
                "what": found.name,
                "evidence": found.evidence,
                "change": found.change,
                "settings": remedy(found, run.settings),
            }
            for found in findings(course)
        ],
    }


def remedy(found: Finding, settings: Settings) -> dict[str, Any] | None:
    """Return the settings to change; None where none of the page's would help."""
    low, high = LIMITS["learning_rate"]
    rate, widest = settings.learning_rate, int(LIMITS["hidden"][1])
    slower, faster = (float(f"{r:.3g}") for r in (max(rate / 10, low), min(rate * 30, high)))
    wider = [min(2 * units, widest) for units in settings.hidden] or [8]
    if len(wider) < LAYERS and wider == list(settings.hidden):
        wider = [*wider, wider[-1]]
    changes: dict[str, dict[str, Any]] = {
        "learning rate too large": {"learning_rate": slower},
        "learning rate too small": {"learning_rate": faster},
        "exploding gradients": {"clip_norm": 1.0},
        "vanishing gradients": {"activation": "relu", "initializer": "auto"},
        "saturated units": {"activation": "relu", "initializer": "auto"},
        "dead units": {"activation": "leaky_relu", "learning_rate": slower},
        "identical units": {"initializer": "auto"},
        "initial weights too large": {"initializer": "auto"},
        "overfitting": {"l2": max(10 * settings.l2, 0.001), "dropout": 0.2},
        "underfitting": {"hidden": wider, "l1": 0.0, "l2": 0.0, "dropout": 0.0},
    }
    patch = changes.get(found.name)
    if patch is None or patch.items() <= settings.as_json().items():
        return None
    return patch
