"""The records: what a line must have, and the table of all of them."""

import json
from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

Line = dict[str, Any]

TO = ("98", "98.5", "99", "99.3")

FIELDS: dict[str, Any] = {
    "recipe": str, "seed": int, "library": str, "backend": str, "threads": int, "device": str,
    "measured_on": str, "epochs": int, "seconds": float, "setup_seconds": float, "error": float,
    "error_of_one_look": float, "to": dict, "curve": list, "settings": dict, "environment": dict,
}  # fmt: skip
"""The fields of a line, and their types."""

NEEDED = ("date", "cpu", "cores_used", "versions")
"""What the environment says at least."""


def key(line: Line) -> tuple[Any, ...]:
    """Return what makes a run another one."""
    return tuple(line[name] for name in ("recipe", "library", "backend", "threads", "seed"))


def read(path: Path) -> list[Line]:
    """Return the lines of a file; one that a kill has cut off is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def check(line: Line) -> None:
    """Refuse a line that is no record.

    Raises
    ------
    ValueError
        Says what is wrong.
    """
    if set(line) != set(FIELDS):
        raise ValueError(f"fields: found {sorted(set(line) ^ set(FIELDS))} missing or unknown")
    for name, kind in FIELDS.items():
        expected = (int, float) if kind is float else kind
        if not isinstance(line[name], expected) or isinstance(line[name], bool):
            raise ValueError(f"{name}: found {line[name]!r}; expected {kind.__name__}")
        if kind is float and not (isfinite(line[name]) and line[name] >= 0):
            raise ValueError(f"{name}: found {line[name]!r}; expected a number of 0 or more")
    if lacking := [name for name in NEEDED if not line["environment"].get(name)]:
        raise ValueError(f"environment: found no {', '.join(lacking)}")
    if line["measured_on"] not in ("test", "validation", "noise"):
        raise ValueError(f"measured_on: found {line['measured_on']!r}")
    _check_curve(line)


def _check_curve(line: Line) -> None:
    """Refuse a curve that does not lead to what is said of it."""
    curve = line["curve"]
    if not curve or any(len(point) != 3 for point in curve):
        raise ValueError("curve: expected [epoch, seconds, accuracy in per cent] of epochs")
    epochs, seconds, accuracies = zip(*curve, strict=True)
    for name, values in (("epochs", epochs), ("seconds", seconds)):
        if list(values) != sorted(values) or values[0] < 0:
            raise ValueError(f"curve: found {name} that do not rise")
    if epochs[-1] != line["epochs"] or seconds[-1] > line["seconds"] + 0.05:
        raise ValueError("curve: found an end that is not the run's")
    if abs(100 - accuracies[-1] - line["error_of_one_look"]) > 0.01:
        raise ValueError("error_of_one_look: found another than the curve ends with")
    if tuple(line["to"]) != TO:
        raise ValueError(f"to: found {tuple(line['to'])}; expected {TO}")
    for target, found in line["to"].items():
        first = next((at for _, at, a in curve if a >= float(target)), None)
        if found != first:
            raise ValueError(f"to {target} %: found {found}; the curve reaches it after {first}")


HEAD = ("recipe", "library, backend", "seeds", "error", "each", "98 %", "98.5 %", "99 %", "99.3 %")


def table(lines: Iterable[Line]) -> list[str]:
    """Return a table in Markdown: mean errors, and medians of seconds, warm and cold."""
    groups: dict[tuple[Any, ...], list[Line]] = {}
    for line in lines:
        name = (line["recipe"], line["library"], line["backend"], line["device"], line["threads"])
        groups.setdefault(name, []).append(line)
    rows = [_row(name, found) for name, found in groups.items()]
    return [_line(HEAD), _line(["---"] * len(HEAD)), *map(_line, rows)]


BEGIN, END = "<!-- records: python -m benchmarks mnist --page -->", "<!-- end of records -->"


def on_page(text: str) -> str:
    """Return the part of a page that has the table."""
    return text.partition(BEGIN)[2].partition(END)[0].strip()


def write_page(path: Path, lines: list[str]) -> None:
    """Put the table between the marks of a page."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path}: found no marks for the table")
    made = "\n".join([before + BEGIN, "", *lines, "", END + after])
    path.write_text(made, encoding="utf-8")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(name: tuple[Any, ...], lines: list[Line]) -> list[str]:
    recipe, library, backend, device, threads = name
    lines = sorted(lines, key=lambda line: line["seed"])
    errors = [line["error"] for line in lines]
    spread = f" ± {stdev(errors):.2f}" if len(errors) > 1 else ""
    where = f"{threads} threads" if device == "cpu" else device
    who = f"{library}, {backend}, {where}" if library != backend else f"{library}, {where}"
    each = ", ".join(f"{error:.2f}" for error in errors)
    times = [_time(lines, target) for target in TO]
    return [recipe, who, str(len(lines)), f"{mean(errors):.2f}{spread} %", each, *times]


def _time(lines: list[Line], target: str) -> str:
    """Return the median seconds, warm and, in brackets, cold; empty if a seed did not get there."""
    found = [line["to"][target] for line in lines]
    if None in found:
        return ""
    cold = median(line["to"][target] + line["setup_seconds"] for line in lines)
    return f"{median(found):.1f} ({cold:.1f})"
